"""From trajectories with advantages to rows of tokens: always as many as the plan says, whatever was played.

TRL's loss knows rows, not trajectories, and wants exactly as many as it asked for. What is missing is filled with rows
whose mask is 0, and each row's advantages are scaled so that TRL's mean over rows is the mean that the plan asks for.
This is exact because the clipped surrogate is homogeneous in the advantage, dual clip included:
min(r cA, clip(r) cA) = c min(r A, clip(r) A) for c > 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from gift_dsl.plan import AlgorithmPlan, BatchPlan
from gift_dsl.train.credit import Credited
from gift_dsl.train.overlong import is_cut


@dataclass(frozen=True, slots=True)
class Row:
    """One sequence as the optimizer sees it.

    Attributes:
        prompt_ids: before the first sampled id; at least one.
        completion_ids: at least one.
        mask: 1 on sampled ids.
        logprobs: as the engine reported them; 0.0 elsewhere.
        advantages: of each completion id, already multiplied by `weight`; 0.0 where nothing was sampled.
        weight: what makes TRL's aggregation the plan's. Terms of the loss that know no advantage (KL) need it as well.
        episode: id of the episode; empty for a row that only fills up.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    advantages: tuple[float, ...]
    weight: float
    episode: str

    @property
    def length(self) -> int:
        """Ids in all."""
        return len(self.prompt_ids) + len(self.completion_ids)


@dataclass(frozen=True, slots=True)
class Update:
    """The rows of one optimizer update, longest first, so that micro-batches are even and memory peaks at once.

    Attributes:
        rows: as many as the plan says.
        num_trajectories: trained in it; with 0 the optimizer has nothing to step for.
        num_tokens: sampled ids among them.
    """

    rows: tuple[Row, ...]
    num_trajectories: int
    num_tokens: int


def make_updates(
    credited: Sequence[Credited], batch: BatchPlan, algorithm: AlgorithmPlan, *, filler_id: int
) -> tuple[Update, ...]:
    """The updates of one step.

    Trajectories are cut into mini-batches in the order given, the last one smaller, or empty where too few are left;
    further epochs repeat them. Within an update every trajectory weighs the same (or every token, by `loss: token`),
    however many sequences it has and however many rows only fill up.

    Args:
        credited: what was kept; trajectories that cannot be trained on are left out here.
        batch: sizes.
        algorithm: its `loss`, `overlong` and `epochs` are used.
        filler_id: any token id.

    Returns:
        `batch.updates` of them.

    Raises:
        ValueError: there is more than the plan has rows for.
    """
    trained = [one for one in credited if is_trained(one, algorithm)]
    size, num_windows = batch.rows_per_update // batch.rows_per_trajectory, batch.updates // algorithm.epochs
    if len(trained) > size * num_windows:
        raise ValueError(f"{len(trained)} trajectories do not fit into {num_windows} updates of {size}")
    windows = [trained[size * index : size * (index + 1)] for index in range(num_windows)]
    usual_tokens = sum(num_sampled(one) for one in trained) / num_windows
    updates = tuple(_update(window, batch, algorithm, usual_tokens, filler_id) for window in windows)
    return updates * algorithm.epochs


def rows_of_rank(update: Update, rank: int, processes: int) -> tuple[Row, ...]:
    """The rows of one process: every n-th, so that the micro-batches of all processes are equally long."""
    return update.rows[rank::processes]


def is_trained(credited: Credited, algorithm: AlgorithmPlan) -> bool:
    """Whether a trajectory has tokens to train on, and is not left out for being cut."""
    is_left_out = algorithm.overlong == "mask" and is_cut(credited.trajectory)
    return num_sampled(credited) > 0 and not is_left_out


def num_sampled(credited: Credited) -> int:
    """Sampled ids of a trajectory, over all its sequences."""
    return sum(sum(sequence.mask) for sequence in credited.trajectory.sequences)


def row_weight(algorithm: AlgorithmPlan, share: float, rows_per_trajectory: float, tokens_ratio: float) -> float:
    """What the advantages of a row are multiplied by, so that TRL's aggregation becomes ours.

    `trajectory`: TRL takes the mean over rows of the means over their tokens; a row counts for the share that it has in
        the tokens of its trajectory, and rows for as many as there are to a trajectory.
    `constant`: TRL divides a sum over tokens by rows x length; ours by trajectories x length.
    `token`: TRL divides by the tokens of a mean update, ours by those of this one.

    Args:
        algorithm: its `loss` is used.
        share: tokens of the row over those of its trajectory.
        rows_per_trajectory: rows of the update, fillers included, over trajectories trained in it.
        tokens_ratio: tokens of a mean update of this step over those of this one.
    """
    match algorithm.loss:
        case "trajectory":
            return rows_per_trajectory * share
        case "constant":
            return rows_per_trajectory
        case "token":
            return tokens_ratio
        case _:
            assert_never(algorithm.loss)


def _update(
    window: Sequence[Credited], batch: BatchPlan, algorithm: AlgorithmPlan, usual_tokens: float, filler_id: int
) -> Update:
    num_tokens = sum(num_sampled(one) for one in window)
    rows: list[Row] = []
    for one in window:
        whole = num_sampled(one)
        for index, sequence in enumerate(one.trajectory.sequences):
            if any(sequence.mask):
                share = sum(sequence.mask) / whole
                weight = row_weight(algorithm, share, batch.rows_per_update / len(window), usual_tokens / num_tokens)
                rows.append(_row(one, index, weight))
    if len(rows) > batch.rows_per_update:
        raise ValueError(f"{len(rows)} sequences do not fit into the {batch.rows_per_update} rows of an update")
    rows.sort(key=lambda row: -row.length)
    fillers = [_filler(filler_id)] * (batch.rows_per_update - len(rows))
    return Update((*rows, *fillers), len(window), num_tokens)


def _row(credited: Credited, index: int, weight: float) -> Row:
    sequence = credited.trajectory.sequences[index]
    return Row(
        prompt_ids=sequence.prompt_ids,
        completion_ids=sequence.completion_ids,
        mask=sequence.mask,
        logprobs=sequence.logprobs,
        advantages=tuple(weight * advantage for advantage in credited.advantages[index]),
        weight=weight,
        episode=credited.trajectory.episode,
    )


def _filler(token: int) -> Row:
    return Row((token,), (token,), (0,), (0.0,), (0.0,), 0.0, "")

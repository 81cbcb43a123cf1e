"""Which groups of a step are trained on, and how many more must be played before there are enough."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch

from gift_dsl.plan import AlgorithmPlan
from gift_dsl.records import Group
from gift_dsl.train.advantage import group_std

SMALLEST_STD: Final = 1e-6
"""At most this, and the returns of a group count as equal."""

Start = tuple[Group, ...]
"""The groups of one start: one, or one for each role where several seats are trained."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a step is trained on.

    Attributes:
        kept: groups in the order played.
        num_played, num_kept, num_tied, num_void: groups by game, one of several games counting for each; `tied` have
            equal returns, in `void` ones fewer than half of the members have any.
    """

    kept: tuple[Group, ...]
    num_played: Mapping[str, int]
    num_kept: Mapping[str, int]
    num_tied: Mapping[str, int]
    num_void: Mapping[str, int]


def select(groups: Sequence[Group], algorithm: AlgorithmPlan, most: int) -> Selection:
    """StarPO-S: the starts whose RAW returns, penalties included, differ most (Wang et al. 2025, arXiv:2504.20073).

    A start is kept whole: where several seats are trained, the groups of all its roles go together.

    Args:
        groups: everything that the step played, refills included, in the order played.
        algorithm: its `keep`, `scope`, `drop_zero`, `baseline` and `dynamic_sampling` are used.
        most: starts that the plan has rows for (`BatchPlan.kept_groups`).
    """
    starts = starts_of(groups)
    scores = [uncertainty(start) for start in starts]
    # Beside a running mean equal returns have an advantage all the same: SPIRAL drops advantages of 0, not ties.
    drops = algorithm.dynamic_sampling or (algorithm.drop_zero and algorithm.baseline == "group")
    tasks = [start[0].task if algorithm.scope == "per_task" else "" for start in starts]
    chosen = set(best_starts(scores, tasks, keep=algorithm.keep, drop_zero=drops, most=most))
    kept = [group for index, start in enumerate(starts) if index in chosen for group in start if is_viable(group)]
    viable = [group for group in groups if is_viable(group)]
    return Selection(
        kept=tuple(kept),
        num_played=_by_game(groups),
        num_kept=_by_game(kept),
        num_tied=_by_game(group for group in viable if return_std(group) <= SMALLEST_STD),
        num_void=_by_game(group for group in groups if not is_viable(group)),
    )


def missing_groups(groups: Sequence[Group], algorithm: AlgorithmPlan, most: int, refills: int) -> int:
    """DAPO's dynamic sampling (Yu et al. 2025, arXiv:2503.14476, eq. 11): how many further starts are to be played.

    As many as should close the gap at the share of useful ones so far, and at most one step's worth. Never a function
    of the number of processes: the same plan plays the same groups everywhere.

    Args:
        groups: everything that the step has played.
        algorithm: its `dynamic_sampling`, `groups_per_step` and `max_refills` are used.
        most: starts that are wanted.
        refills: rounds played after the first.

    Returns:
        0 once there are enough, or when no further round is allowed: then what there is, is trained on.
    """
    if not algorithm.dynamic_sampling or refills >= algorithm.max_refills:
        return 0
    scores = [uncertainty(start) for start in starts_of(groups)]
    useful = sum(score is not None and score > SMALLEST_STD for score in scores)
    gap = max(0, most - useful)
    return min(algorithm.groups_per_step, math.ceil(gap * (len(scores) + 2) / (useful + 1)))


def best_starts(
    scores: Sequence[float | None], tasks: Sequence[str], *, keep: float, drop_zero: bool, most: int
) -> list[int]:
    """Indices of the starts to keep, best first.

    Of the n starts of a task its `num_kept` best; n counts all that were played, not only those in question. Where
    these are more than `most`, the best of every task come before the second of any. With `keep: 1` nothing is ranked:
    the first in the order played are kept, as in DAPO.

    Args:
        scores: of each start; None where it cannot be trained on.
        tasks: within which starts compete; one and the same name for all to compete with each other.
        keep: share of the starts.
        drop_zero: never keep one whose returns are all equal.
        most: starts in all.
    """
    if keep == 1.0:
        return sorted(ranked(scores, drop_zero=drop_zero))[:most]
    played = Counter(tasks)
    places: Counter[str] = Counter()
    chosen: list[tuple[int, int]] = []
    for index in ranked(scores, drop_zero=drop_zero):
        if places[tasks[index]] < num_kept(keep, played[tasks[index]]):
            chosen.append((places[tasks[index]], index))
        places[tasks[index]] += 1
    return [index for _, index in sorted(chosen, key=lambda one: one[0])][:most]


def ranked(scores: Sequence[float | None], *, drop_zero: bool) -> list[int]:
    """Indices by falling score, ties by rising index: the order does not depend on how a library breaks them.

    Scores are compared to 9 decimals, so that two ways of summing one set of returns tie.
    """
    candidates = {
        index: round(score, 9)
        for index, score in enumerate(scores)
        if score is not None and (score > SMALLEST_STD or not drop_zero)
    }
    return sorted(candidates, key=lambda index: (-candidates[index], index))


def num_kept(keep: float, played: int) -> int:
    """Groups kept of those played: at least one, else whole ones only."""
    return max(1, math.floor(keep * played + 1e-9))


def uncertainty(start: Start) -> float | None:
    """How much a policy's returns from one start differ (StarPO-S, eq. 7): the std of its group's raw returns.

    Of several roles the root of the mean of their variances, each weighing as many members as it has: roles have
    baselines of their own, so what lies between them does not count. None where no group is viable.
    """
    viable = [group for group in start if is_viable(group)]
    if not viable:
        return None
    if len(viable) == 1:
        return return_std(viable[0])
    sizes = [len(group.trajectories) for group in viable]
    squares = math.fsum(size * return_std(group) ** 2 for size, group in zip(sizes, viable, strict=True))
    return math.sqrt(squares / sum(sizes))


def return_std(group: Group) -> float:
    """The sample std (ddof 1) of a group's raw returns; void members do not count."""
    returns = [torch.nan if one.raw_return is None else one.raw_return for one in group.trajectories]
    return group_std(torch.tensor([returns], dtype=torch.float64)).item()


def is_viable(group: Group) -> bool:
    """Whether at least half of its members, and one at least, have a return."""
    alive = sum(not one.is_void for one in group.trajectories)
    return alive > 0 and 2 * alive >= len(group.trajectories)


def starts_of(groups: Iterable[Group]) -> list[Start]:
    """Groups of one start together, in the order played."""
    starts: dict[str, list[Group]] = {}
    for group in groups:
        starts.setdefault(_start_id(group), []).append(group)
    return [tuple(start) for start in starts.values()]


def _start_id(group: Group) -> str:
    """A group of one role has its own id and number of members; the episodes keep those of the start.

    An episode is called start/member, and where several seats are trained start/member/seat.
    """
    if all(one.episode == f"{group.id}/{one.member}" for one in group.trajectories):
        return group.id
    return group.trajectories[0].episode.rsplit("/", 2)[0]


def _by_game(groups: Iterable[Group]) -> Mapping[str, int]:
    return Counter(game for group in groups for game in {part.game for part in group.trajectories[0].parts})

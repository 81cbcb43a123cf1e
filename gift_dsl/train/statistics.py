"""What one step logs: flat names and numbers.

Names begin with what they are about: `return`, `game/<name>/…`, `groups/<name>/…`, `opponent/<name>/…`, `update/…`,
`mismatch/…`, `time/…`. Rates are shares in [0, 1] of the plays of a game, times are seconds.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import torch
from torch import Tensor

from gift_dsl.plan import AlgorithmPlan
from gift_dsl.records import PartRecord, Trajectory
from gift_dsl.train.importance import Mismatch
from gift_dsl.train.select import Selection
from gift_dsl.train.state import num_sampled_ids
from gift_dsl.train.step import Step

OUTCOMES: Final = ("success", "draw", "loss", "bad_format", "illegal_action", "void", "unplayed")


def step_metrics(step: Step, algorithm: AlgorithmPlan) -> dict[str, float]:
    """Of what was played and selected.

    Args:
        step: with the clock of this process.
        algorithm: for the number of groups asked for.
    """
    trajectories = [one for group in step.played for one in group.trajectories]
    returns = [one.raw_return for one in trajectories if one.raw_return is not None]
    tokens = sum(map(num_sampled_ids, trajectories))
    clock = step.clock
    return {
        "return": statistics.fmean(returns) if returns else 0.0,
        "return_std": statistics.stdev(returns) if len(returns) > 1 else 0.0,
        "episodes": len(trajectories),
        "void_share": sum(one.is_void for one in trajectories) / max(1, len(trajectories)),
        "policy_tokens": tokens,
        "entropy": _surprise(trajectories) / max(1, tokens),
        "refills": step.refills,
        **{name: value for game, parts in by_game(trajectories).items() for name, value in _game(game, parts)},
        **_groups(step.selection),
        **_opponents(trajectories),
        "update/trajectories": sum(update.num_trajectories for update in step.updates) / max(1, algorithm.epochs),
        "time/play_s": clock.play,
        "time/generate_s": clock.generate,
        "time/opponents_s": clock.opponents,
        "time/environment_s": clock.environment + clock.recording,
        "tokens_per_s": tokens / clock.play if clock.play else 0.0,
    }


def _surprise(trajectories: Sequence[Trajectory]) -> float:
    """Sum of -log p over all sampled ids, nats; divided by their number it estimates the entropy of the policy."""
    return -math.fsum(math.fsum(sequence.logprobs) for one in trajectories for sequence in one.sequences)


class TokenSums(NamedTuple):
    """Sums over the sampled tokens of the updates of a step; those of micro-batches and processes add up.

    Attributes:
        tokens: how many.
        entropy: of the policy's distribution, nats; exact, of the tokens that are trained on.
        kl: k3 estimate to the reference, where there is one.
        clipped_low, clipped_high: tokens whose ratio is past the clip range on the side where their gradient is 0.
    """

    tokens: float
    entropy: float
    kl: float
    clipped_low: float
    clipped_high: float


def token_sums(mask_BT: Tensor, *terms_BT: Tensor) -> Tensor:
    """The `TokenSums` of a micro-batch, float64 and without gradient: from all terms but the first, in their order."""
    return torch.stack([(term.detach().double() * mask_BT).sum() for term in (torch.ones_like(mask_BT), *terms_BT)])


def clipped(ratio_BT: Tensor, advantages_BT: Tensor, rule: AlgorithmPlan) -> tuple[Tensor, Tensor]:
    """Which tokens have no gradient because their ratio is below, or above, the clip range or the dual clip."""
    low_BT = (ratio_BT < 1 - rule.clip_low) & (advantages_BT < 0)
    high_BT = (ratio_BT > 1 + rule.clip_high) & (advantages_BT > 0)
    if rule.dual_clip != "off":
        high_BT |= (ratio_BT > rule.dual_clip) & (advantages_BT < 0)
    return low_BT, high_BT


def update_metrics(logged: Sequence[Mapping[str, float]], sums: TokenSums, mismatch: Mismatch) -> dict[str, float]:
    """Of the updates of a step, those without trajectories left out.

    Args:
        logged: what the trainer logged of each; means are taken, of the gradient's norm the largest too.
        sums: over their tokens; means are taken.
        mismatch: of engine and trainer; not logged where nothing was compared.
    """
    found = {
        f"update/{name}": statistics.fmean(one[name] for one in logged)
        for name in ("loss", "grad_norm", "learning_rate")
        if logged
    }
    if logged:
        tokens = max(1.0, sums.tokens)
        found |= {
            "update/grad_norm_max": max(one["grad_norm"] for one in logged),
            "update/entropy": sums.entropy / tokens,
            "update/kl": sums.kl / tokens,
            "update/clip_share_low": sums.clipped_low / tokens,
            "update/clip_share_high": sums.clipped_high / tokens,
            "update/clip_share": (sums.clipped_low + sums.clipped_high) / tokens,
        }
    if mismatch.num_tokens:
        found |= {
            "mismatch/abs_difference": mismatch.abs_difference,
            "mismatch/kl": mismatch.kl,
            "mismatch/truncated_share": mismatch.truncated,
        }
    return found


def by_game(trajectories: Sequence[Trajectory]) -> Mapping[str, list[PartRecord]]:
    """Every part that was dealt, by name of its game in alphabetical order."""
    found: dict[str, list[PartRecord]] = {}
    for trajectory in trajectories:
        for part in trajectory.parts:
            found.setdefault(part.game, []).append(part)
    return dict(sorted(found.items()))


def _game(game: str, parts: Sequence[PartRecord]) -> Iterator[tuple[str, float]]:
    """Rates of those that were played; how many were not stands beside."""
    counts = Counter(part.outcome for part in parts)
    played = len(parts) - counts["void"] - counts["unplayed"]
    for outcome in OUTCOMES:
        whole = len(parts) if outcome in ("void", "unplayed") else played
        yield f"game/{game}/{outcome}", counts[outcome] / whole if whole else 0.0
    yield f"game/{game}/plays", played
    rewards = [part.reward for part in parts if part.reward is not None]
    yield f"game/{game}/reward", statistics.fmean(rewards) if rewards else 0.0
    yield f"game/{game}/truncated", sum(part.truncated > 0 for part in parts) / len(parts)
    yield f"game/{game}/opponent_illegal", sum(part.opponent_illegal for part in parts)


def _groups(selection: Selection) -> dict[str, float]:
    counted = {
        "played": selection.num_played,
        "kept": selection.num_kept,
        "tied": selection.num_tied,
        "void": selection.num_void,
    }
    return {
        f"groups/{game}/{what}": float(counts.get(game, 0))
        for game in sorted(selection.num_played)
        for what, counts in counted.items()
    }


def _opponents(trajectories: Sequence[Trajectory]) -> dict[str, float]:
    """Turns of each that could not be answered."""
    turns, voids = Counter[str](), Counter[str]()
    for trajectory in trajectories:
        for turn in trajectory.turns:
            if turn.sequence is None:
                turns[turn.player] += 1
                voids[turn.player] += turn.end == "fault"
    return {f"opponent/{name}/void": voids[name] / turns[name] for name in sorted(turns) if voids[name]}

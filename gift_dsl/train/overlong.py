"""What becomes of trajectories with turns that were cut or nearly so (Yu et al. 2025, DAPO, arXiv:2503.14476)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from gift_dsl.records import Trajectory, TurnRecord


def soft_penalty(tokens: int, limit: int, cache: int) -> float:
    """DAPO's soft overlong punishment (eq. 13).

        0                            tokens <= limit - cache
        (limit - cache - tokens) / cache     in between
        -1                           tokens >= limit

    Args:
        tokens: of the answer.
        limit: most tokens that it may have.
        cache: tokens over which the penalty grows; one longer than the limit counts as the limit.

    Returns:
        A number in [-1, 0], to be added to a reward in [0, 1].
    """
    width = min(cache, limit)
    return -min(max(tokens - (limit - width), 0) / width, 1.0)


def with_soft_penalty(trajectory: Trajectory, limits: Mapping[str, int], cache: int) -> Trajectory:
    """The trajectory with the penalty of its overlong turns.

    Each part costs as much as its longest turn does, and the return is lowered by the mean over the parts: of a single
    turn exactly DAPO's penalty, and never more than 1 however many turns there are. A turn that was cut counts as one
    at its limit. Selection comes before this: DAPO's dynamic sampling looks at what was achieved, not at length.

    Args:
        trajectory: as played; a void one is given back as it is.
        limits: most tokens of a turn, by label of the part.
        cache: see `soft_penalty`.
    """
    if trajectory.is_void:
        return trajectory
    turns, parts = list(trajectory.turns), list(trajectory.parts)
    added: list[float] = []
    for index, part in enumerate(parts):
        own = [number for number, turn in enumerate(turns) if _is_in(trajectory, turn, index)]
        costs = {number: _cost(turns[number], limits[part.label], cache) for number in own}
        longest = min(costs, key=costs.__getitem__, default=None)
        if longest is not None and costs[longest] < 0:
            cost = costs[longest] / len(parts)
            turns[longest] = replace(turns[longest], penalty=turns[longest].penalty + cost)
            parts[index] = replace(part, penalty=part.penalty + cost)
            added.append(cost)
    penalty = trajectory.penalty + math.fsum(added)
    return replace(trajectory, turns=tuple(turns), parts=tuple(parts), penalty=penalty)


def is_cut(trajectory: Trajectory) -> bool:
    """Whether any turn was cut at its token limit: such trajectories are not trained on under `overlong: mask`."""
    return any(part.truncated for part in trajectory.parts)


def _is_in(trajectory: Trajectory, turn: TurnRecord, part: int) -> bool:
    """Whether a turn is the policy's, and of this part."""
    if turn.sequence is None or turn.span is None or turn.span[0] == turn.span[1]:
        return False
    return trajectory.sequences[turn.sequence].parts[turn.span[0]] == part


def _cost(turn: TurnRecord, limit: int, cache: int) -> float:
    return -1.0 if turn.end == "truncated" else soft_penalty(turn.tokens, limit, cache)

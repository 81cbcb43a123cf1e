"""What each part and each turn of a trajectory earned, where a return is a sum of what its parts earned."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from gift_dsl.plan import AllOf, Leaf, Node, leaves
from gift_dsl.play.deal import Dealt
from gift_dsl.play.reward import PartResult, composite_return
from gift_dsl.records import PartRecord, Trajectory

ADDITIVE: Final = frozenset({"mean", "sum", "weighted", "difficulty"})
"""Aggregations that are linear in the rewards of the parts."""


def part_shares(tree: Dealt, *, step: int = 0, rates: Mapping[str, float] | None = None) -> Mapping[str, float]:
    """How much the reward of each part adds to the return: R = sum of share * reward + penalties.

    Args:
        tree: what was played.
        step: of the weights.
        rates: success rate by label as read at the step's start, for `difficulty` only.

    Returns:
        By label, at least 0.

    Raises:
        ValueError: the return is no sum over its parts (by aggregation or by a gate).
    """
    if not _is_additive(tree):
        raise ValueError("a return is split among its parts only under mean, sum, weighted or difficulty, without gate")
    labels = [leaf.label for leaf in leaves(tree)]
    return {label: composite_return(tree, _only(label, labels), step=step, rates=rates) for label in labels}


def part_values(trajectory: Trajectory, shares: Mapping[str, float]) -> tuple[float, ...]:
    """What each part added to the return, its penalties included, in the order played. Their sum is the raw return.

    Raises:
        ValueError: it is not; the shares are those of something else.
    """
    values = tuple(_reward(part) * shares[part.label] + part.penalty for part in trajectory.parts)
    whole = trajectory.raw_return
    if whole is None or not math.isclose(math.fsum(values), whole, abs_tol=1e-6):
        raise ValueError(f"the parts of {trajectory.episode} add up to {math.fsum(values)}, its return is {whole}")
    return values


def turn_values(trajectory: Trajectory, shares: Mapping[str, float]) -> tuple[float, ...]:
    """What each turn of the policy earned, by number of the turn. The sum is the raw return.

    A penalty falls on the turn that caused it, all else that a part is worth on the part's last turn; where the policy
    had no turn in it, on its last turn before, and before its first turn on that one.
    """
    turns = list(policy_turns(trajectory))
    if not turns:
        return ()
    earned = [0.0] * (max(turn.number for turn in turns) + 1)
    last = turns[0].number
    for index, value in enumerate(part_values(trajectory, shares)):
        own = [turn for turn in turns if turn.part == index]
        for turn in own:
            earned[turn.number] += turn.penalty
        last = own[-1].number if own else last
        earned[last] += value - math.fsum(turn.penalty for turn in own)
    return tuple(earned)


def returns_to_go(values: Sequence[float], discount: float = 1.0) -> tuple[float, ...]:
    """What is earned from each place on: G_k = sum over j >= k of discount^(j-k) v_j (Sutton and Barto, eq. 3.8)."""
    found: list[float] = []
    later = 0.0
    for value in reversed(values):
        later = value + discount * later
        found.append(later)
    return tuple(reversed(found))


class PolicyTurn(NamedTuple):
    """A turn of the policy that has tokens: its number in the trajectory, the index of its part, its penalty."""

    number: int
    part: int
    penalty: float


def policy_turns(trajectory: Trajectory) -> Iterator[PolicyTurn]:
    """Every turn with sampled ids, in order."""
    for turn in trajectory.turns:
        if turn.sequence is not None and turn.span is not None and turn.span[0] < turn.span[1]:
            sequence, place = trajectory.sequences[turn.sequence], turn.span[0]
            yield PolicyTurn(sequence.turns[place], sequence.parts[place], turn.penalty)


def _is_additive(node: Node) -> bool:
    if isinstance(node, Leaf):
        return True
    is_sum = isinstance(node, AllOf) and node.reward in ADDITIVE and node.gate == "none"
    return is_sum and all(_is_additive(part) for part in node.parts)


def _only(label: str, labels: Sequence[str]) -> Mapping[str, PartResult]:
    """All that one part can earn, and nothing for the others."""
    return {other: PartResult(float(other == label), True) for other in labels}


def _reward(part: PartRecord) -> float:
    if part.reward is None:
        raise ValueError(f"{part.label} has no reward: a void trajectory is not credited")
    return part.reward

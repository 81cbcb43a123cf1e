"""Which outcomes a token is credited with, and the advantage that follows for each of them.

A trajectory has columns: one under `trajectory`, one for each part under `to_go` and `segment`, one for each turn of
the policy under `discount`. A column has a value and is compared with the same column of the group's other members.

Dimensions: K columns, E members of the group; NaN where a member is void or has no such column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import assert_never

import torch
from torch import Tensor

from gift_dsl.plan import AlgorithmPlan
from gift_dsl.records import Group, Trajectory
from gift_dsl.records import Sequence as TokenSequence
from gift_dsl.train.advantage import EPS, batch_std, centred, group_relative_advantages, pooled_std
from gift_dsl.train.baseline import RoleBaselines, role_key
from gift_dsl.train.outcomes import part_values, policy_turns, returns_to_go, turn_values

Shares = Mapping[str, Mapping[str, float]]
"""`part_shares` of what was played, by task; not looked at under `credit: trajectory`."""
Places = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Credit:
    """What the tokens of one trajectory are credited with.

    Attributes:
        values: of each column.
        keys: of each column, games and roles that its value is a return of.
        places: for each sequence and each of its completion ids the column; meaningless on given ids.
    """

    values: tuple[float, ...]
    keys: tuple[str, ...]
    places: Places


@dataclass(frozen=True, slots=True)
class Credited:
    """A trajectory, and for each of its sequences the advantage of each completion id: 0.0 on given ids."""

    trajectory: Trajectory
    advantages: tuple[tuple[float, ...], ...]


def credit_groups(
    groups: Sequence[Group], shares: Shares, algorithm: AlgorithmPlan, baselines: RoleBaselines | None = None
) -> tuple[Credited, ...]:
    """The advantages of one batch, in order of group and member; void members are left out.

    Under `trajectory`, `to_go` and `discount` all columns of a group are divided by one std, so that the direction of
    the gradient is that of the return. `segment` divides each part by its own std and leaves out what a part does to
    later ones: biased wherever contexts are shared, by choice.

    Args:
        groups: those that are trained on.
        shares: of every task among them.
        algorithm: its `credit`, `discount`, `baseline` and `advantage_scale` are used.
        baselines: as they were at the step's start, for `baseline: role`.
    """
    credits = [[credit_of(one, shares, algorithm) for one in group.trajectories] for group in groups]
    values = [_columns(group) for group in credits]
    std = batch_std(torch.cat([one.flatten() for one in values])) if values else torch.zeros(())
    credited: list[Credited] = []
    for group, group_credits, values_KE in zip(groups, credits, values, strict=True):
        if baselines is None:
            advantages_KE = _against_group(values_KE, algorithm, std)
        else:
            advantages_KE = _against_roles(values_KE, _baselines(group_credits, baselines), algorithm, std)
        credited += _placed(group, group_credits, advantages_KE)
    return tuple(credited)


def credit_of(trajectory: Trajectory, shares: Shares, algorithm: AlgorithmPlan) -> Credit | None:
    """The columns of a trajectory; None for a void one."""
    whole, parts = trajectory.raw_return, trajectory.parts
    if whole is None:
        return None
    by_part = tuple(sequence.parts for sequence in trajectory.sequences)
    rest = tuple(role_key(parts[index:]) for index in range(len(parts)))
    match algorithm.credit:
        case "trajectory":
            nowhere = tuple((0,) * len(sequence.mask) for sequence in trajectory.sequences)
            return Credit((whole,), rest[:1], nowhere)
        case "to_go":
            return Credit(returns_to_go(part_values(trajectory, shares[trajectory.task])), rest, by_part)
        case "segment":
            own = tuple(role_key([part]) for part in parts)
            return Credit(part_values(trajectory, shares[trajectory.task]), own, by_part)
        case "discount":
            values = returns_to_go(turn_values(trajectory, shares[trajectory.task]), algorithm.discount)
            keys = {turn.number: rest[turn.part] for turn in policy_turns(trajectory)}
            by_turn = tuple(sequence.turns for sequence in trajectory.sequences)
            return Credit(values, tuple(keys.get(number, "") for number in range(len(values))), by_turn)
        case _:
            assert_never(algorithm.credit)


def role_returns(groups: Sequence[Group], shares: Shares, algorithm: AlgorithmPlan) -> Iterator[tuple[str, float]]:
    """What `RoleBaselines.updated` takes at the end of a step: of every group played, kept or not."""
    for group in groups:
        for trajectory in group.trajectories:
            credit = credit_of(trajectory, shares, algorithm)
            if credit is not None:
                yield from zip(credit.keys, credit.values, strict=True)


def _against_group(values_KE: Tensor, algorithm: AlgorithmPlan, std: Tensor) -> Tensor:
    match algorithm.advantage_scale:
        case "none":
            return centred(values_KE)
        case "batch":
            return centred(values_KE) / (std + EPS)
        case "group" if algorithm.credit == "segment":
            return group_relative_advantages(values_KE)
        case "group":
            return centred(values_KE) / (pooled_std(values_KE) + EPS)
        case _:
            assert_never(algorithm.advantage_scale)


def _against_roles(values_KE: Tensor, baselines_KE: Tensor, algorithm: AlgorithmPlan, std: Tensor) -> Tensor:
    """A running mean has no std of its own: `advantage_scale: group` divides by nothing."""
    scale = std + EPS if algorithm.advantage_scale == "batch" else 1.0
    return ((values_KE - baselines_KE) / scale).nan_to_num(nan=0.0)


def _columns(credits: Sequence[Credit | None]) -> Tensor:
    """Values of a group, float64 [columns, members]."""
    width = max((len(credit.values) for credit in credits if credit is not None), default=0)
    rows = [() if credit is None else credit.values for credit in credits]
    padded = [[*row, *[torch.nan] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.float64).reshape(len(rows), width).T


def _baselines(credits: Sequence[Credit | None], baselines: RoleBaselines) -> Tensor:
    """What the values of a group are compared with, float64 [columns, members]."""
    compared = [
        None if credit is None else Credit(tuple(baselines[key] for key in credit.keys), credit.keys, ())
        for credit in credits
    ]
    return _columns(compared)


def _placed(group: Group, credits: Sequence[Credit | None], advantages_KE: Tensor) -> Iterator[Credited]:
    by_member = [[float(value) for value in column] for column in advantages_KE.T]
    for trajectory, credit, own in zip(group.trajectories, credits, by_member, strict=True):
        if credit is not None:
            pairs = zip(trajectory.sequences, credit.places, strict=True)
            yield Credited(trajectory, tuple(_on_tokens(sequence, places, own) for sequence, places in pairs))


def _on_tokens(sequence: TokenSequence, places: Sequence[int], advantages: Sequence[float]) -> tuple[float, ...]:
    return tuple(advantages[place] if sampled else 0.0 for sampled, place in zip(sequence.mask, places, strict=True))

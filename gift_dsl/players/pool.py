"""A pool draws the name of who plays: by fixed weights, or more often those that the trainee does not beat yet."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, assert_never

from gift_dsl.plan import JsonMap


@dataclass(frozen=True, slots=True)
class Pool:
    """Who may be drawn, and how.

    Attributes:
        members: names; at least one.
        weights: positive, one a member.
        by: `weight`: these alone. `hard` and `even`: times a function of the trainee's win rate, see `shares`.
        power: exponent of `hard`, positive.
        window: number of latest games against a member that its win rate counts, at least 1.
    """

    members: tuple[str, ...]
    weights: tuple[float, ...]
    by: Literal["weight", "hard", "even"] = "weight"
    power: float = 2.0
    window: int = 200


@dataclass(frozen=True, slots=True)
class PoolState:
    """What is remembered of the games against each member: the trainee's latest scores in [0, 1], oldest first."""

    scores: Mapping[str, tuple[float, ...]] = field(
        default_factory=lambda: MappingProxyType(dict[str, tuple[float, ...]]())
    )

    def win_rate(self, member: str) -> float:
        """Mean score of the trainee against a member; a draw counts half, and 0.5 stands for no game yet."""
        scores = self.scores.get(member, ())
        return sum(scores) / len(scores) if scores else 0.5

    def to_json(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return {"scores": {member: list(scores) for member, scores in self.scores.items()}}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> PoolState:
        """The inverse of `to_json`."""
        return cls(MappingProxyType({member: tuple(scores) for member, scores in values["scores"].items()}))


@dataclass(frozen=True, slots=True)
class PoolChoice:
    """A pool as it stands at the start of a step: the table draws from it, and nothing it draws changes it."""

    pool: Pool
    state: PoolState

    def choose(self, rng: random.Random) -> str:
        """The name of who plays."""
        return draw(self.pool, self.state, rng)


def make_pool(params: JsonMap) -> Pool:
    """The pool of a plan's `params`; a member is a name, or a name with its weight."""
    members: Sequence[Any] = params["members"]
    pairs = [(item, 1.0) if isinstance(item, str) else (item["opponent"], item["weight"]) for item in members]
    names, weights = zip(*pairs, strict=True)
    return Pool(names, weights, params["by"], params["power"], params["window"])


def shares(pool: Pool, state: PoolState) -> tuple[float, ...]:
    """Probability of each member (prioritised fictitious self-play, Vinyals et al. 2019, AlphaStar).

        P(j) ∝ weight_j · f(x_j),   hard: f(x) = (1 - x)^power,   even: f(x) = x (1 - x)

    with x_j the trainee's win rate against j. Where every f is 0 (all are beaten) the weights alone decide.
    """
    priorities = [
        weight * _priority(pool, state.win_rate(name)) for name, weight in zip(pool.members, pool.weights, strict=True)
    ]
    if not any(priorities):
        priorities = list(pool.weights)
    total = math.fsum(priorities)
    return tuple(priority / total for priority in priorities)


def draw(pool: Pool, state: PoolState, rng: random.Random) -> str:
    """The name of who plays."""
    return rng.choices(pool.members, shares(pool, state))[0]


def record(pool: Pool, state: PoolState, member: str, score: float) -> PoolState:
    """The state after one more game against a member, in which the trainee scored `score` in [0, 1]."""
    scores = (*state.scores.get(member, ()), score)[-pool.window :]
    return PoolState(MappingProxyType({**state.scores, member: scores}))


def _priority(pool: Pool, win_rate: float) -> float:
    match pool.by:
        case "weight":
            return 1.0
        case "hard":
            return (1.0 - win_rate) ** pool.power
        case "even":
            return win_rate * (1.0 - win_rate)
        case _:
            assert_never(pool.by)

"""What an evaluation of games found: every round as data, and the counts, rates and intervals that follow from them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Final, Literal

from gift_dsl.records import OutcomeName
from gift_dsl.stats import Interval, clustered_mean

PLAYED: Final[tuple[OutcomeName, ...]] = ("success", "draw", "loss", "bad_format", "illegal_action")
"""Outcomes that are the policy's."""
MISSING: Final[tuple[OutcomeName, ...]] = ("void", "unplayed")
"""Outcomes that say nothing of it: a player gave no answer, here or in a part before."""


@dataclass(frozen=True, slots=True)
class Round:
    """One seat's result of one play of a game.

    Attributes:
        number: of the instance, in the order drawn: rounds of one number share their instance.
        instance: its canonical key.
        seat: of the policy, counted from 0.
        role: of that seat; empty where the game has none.
        outcome: what it counts as.
        reward: in [0, 1] before penalties; None where the outcome is missing.
        truncated: turns cut at their token limit.
        opponent_illegal: actions of opponents that could not be played.
        chance: success rate of a uniform player here, where the game states it.
    """

    number: int
    instance: str
    seat: int
    role: str
    outcome: OutcomeName
    reward: float | None
    truncated: int = 0
    opponent_illegal: int = 0
    chance: float | None = None

    @property
    def is_missing(self) -> bool:
        """Whether it has no result."""
        return self.outcome in MISSING

    @property
    def success(self) -> float:
        """1.0 for a success, else 0.0."""
        return float(self.outcome == "success")


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of rounds, and what they say.

    Attributes:
        counts: by outcome, all of `PLAYED` and `MISSING`.
        rate: successes of the rounds with a result; None without any.
        rate_bounds: the rate if every missing round had failed, and if every one had succeeded.
        interval: of the rate, 95 %, clustered by instance; it holds the intervals at both bounds.
        score: mean reward of the rounds with a result (a draw is worth what the game says); None without any.
        score_interval: as `interval`.
        chance: mean success rate of a uniform player on these rounds; None where the game does not state it.
        truncated: turns cut at their token limit.
        opponent_illegal: actions of opponents that could not be played.
    """

    counts: Mapping[OutcomeName, int]
    rate: float | None
    rate_bounds: Interval
    interval: Interval
    score: float | None
    score_interval: Interval
    chance: float | None
    truncated: int
    opponent_illegal: int

    @property
    def successes(self) -> int:
        """Rounds that succeeded."""
        return self.counts["success"]

    @property
    def rounds(self) -> int:
        """Rounds with a result."""
        return sum(self.counts[name] for name in PLAYED)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "rounds": self.rounds,
            "successes": self.successes,
            "rate": self.rate,
            "rate_bounds": list(self.rate_bounds),
            "interval": list(self.interval),
            "counts": {name: self.counts[name] for name in PLAYED} | {"void": self.counts["void"]},
            "unplayed": self.counts["unplayed"],
            "truncated": self.truncated,
            "opponent_illegal": self.opponent_illegal,
            "score": self.score,
            "score_interval": list(self.score_interval),
            "chance": self.chance,
        }


def tally(rounds: Sequence[Round]) -> Tally:
    """Count rounds; those of one number are one cluster."""
    counted = Counter(one.outcome for one in rounds)
    played = [one for one in rounds if not one.is_missing]
    chances = [one.chance for one in rounds if one.chance is not None]
    return Tally(
        counts={name: counted[name] for name in (*PLAYED, *MISSING)},
        rate=_mean([one.success for one in played]),
        rate_bounds=_bounds(rounds, lambda one: one.success),
        interval=_interval(rounds, lambda one: one.success),
        score=_mean([one.reward or 0.0 for one in played]),
        score_interval=_interval(rounds, lambda one: one.reward or 0.0),
        chance=_mean(chances) if len(chances) == len(rounds) else None,
        truncated=sum(one.truncated for one in rounds),
        opponent_illegal=sum(one.opponent_illegal for one in rounds),
    )


@dataclass(frozen=True, slots=True)
class GameScore:
    """One game as it was played in an evaluation, alone or as a part of a chain.

    Attributes:
        label: of the part; the game's name where it was played alone.
        game: its name.
        chain: name of the chain it was a part of; None: alone.
        split: of its instances.
        held_out: the split again, or `none` where the family is too small to be split.
        opponents: names of all who could sit in the other seats.
        rounds: every result, in the order of instances.
    """

    label: str
    game: str
    chain: str | None
    split: Literal["dev", "test"]
    held_out: Literal["dev", "test", "none"]
    opponents: tuple[str, ...]
    rounds: tuple[Round, ...]

    @property
    def total(self) -> Tally:
        """Of all rounds."""
        return tally(self.rounds)

    @property
    def by_place(self) -> Mapping[str, Tally]:
        """By role where the game has roles, else by seat; empty where all rounds are of one seat."""
        places: defaultdict[str, list[Round]] = defaultdict(list)
        for one in self.rounds:
            places[one.role or f"seat {one.seat}"].append(one)
        return {place: tally(places[place]) for place in sorted(places)} if len(places) > 1 else {}

    def to_json(self) -> dict[str, Any]:
        """Plain values, without the rounds."""
        return {
            "game": self.game,
            "chain": self.chain,
            "split": self.split,
            "held_out": self.held_out,
            "opponents": list(self.opponents),
            **self.total.to_json(),
            "by": {place: part.to_json() for place, part in self.by_place.items()},
        }


def _mean(values: Sequence[float]) -> float | None:
    return fmean(values) if values else None  # not by `sum`, which rounds otherwise before Python 3.12


def _clusters(
    rounds: Iterable[Round], value: Callable[[Round], float], missing: float | None = None
) -> list[list[float]]:
    """The values by instance; rounds without a result have the value `missing`, or are left out."""
    found: defaultdict[int, list[float]] = defaultdict(list)
    for one in rounds:
        if not one.is_missing:
            found[one.number].append(value(one))
        elif missing is not None:
            found[one.number].append(missing)
    return list(found.values())


def _bounds(rounds: Sequence[Round], value: Callable[[Round], float]) -> Interval:
    """The mean with every missing round at 0, and at 1; (0, 1) without rounds."""
    if not rounds:
        return 0.0, 1.0
    known = math.fsum(value(one) for one in rounds if not one.is_missing)
    return known / len(rounds), (known + sum(one.is_missing for one in rounds)) / len(rounds)


def _interval(rounds: Sequence[Round], value: Callable[[Round], float]) -> Interval:
    low, high = clustered_mean(_clusters(rounds, value, 0.0))
    if any(one.is_missing for one in rounds):
        high = clustered_mean(_clusters(rounds, value, 1.0))[1]
    return low, high

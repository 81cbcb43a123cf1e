"""Ratings of players from games against each other: Bradley and Terry (1952, Biometrika 39), with bootstrap intervals.

    P(i beats j) = g_i / (g_i + g_j),   Elo_i = 400 log10 g_i, the mean of all players 0

A draw counts as half a win of each. One game that is shared evenly is added to every pair that has met: without it a
player who has lost every game has no rating at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from gift_dsl.rng import stream
from gift_dsl.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_PRIOR: Final = 0.5
_TOLERANCE: Final = 1e-7
_MOST_STEPS: Final = 5000


@dataclass(frozen=True, slots=True)
class Meeting:
    """One game between two players.

    Attributes:
        first: a name.
        second: another name.
        score: of the first, in [0, 1]; the second has the rest.
        instance: what was played; meetings of one pair on one instance are drawn again together.
    """

    first: str
    second: str
    score: float
    instance: str


@dataclass(frozen=True, slots=True)
class Rating:
    """How strong a player is.

    Attributes:
        player: its name.
        elo: 0 is the mean of all players; 400 more are ten times the odds.
        interval: 95 %, of instances drawn again.
        games: it played.
        score: mean, in [0, 1].
    """

    player: str
    elo: float
    interval: Interval
    games: int
    score: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "player": self.player,
            "elo": self.elo,
            "interval": list(self.interval),
            "games": self.games,
            "score": self.score,
        }


def rate(meetings: Sequence[Meeting], seed: int, *, resamples: int = 500) -> tuple[Rating, ...]:
    """The ratings of all who met, the strongest first.

    Args:
        meetings: every game; all players must be connected through games.
        seed: of the bootstrap.
        resamples: drawn for the intervals.

    Raises:
        ValueError: there is no meeting, somebody met himself, or two groups of players never met.
    """
    import numpy as np

    names = sorted({name for one in meetings for name in (one.first, one.second)})
    places = {name: index for index, name in enumerate(names)}
    _check(meetings, places)
    size = len(names)
    drawn = np.zeros((resamples + 1, size, size))
    generator = np.random.default_rng(stream(seed, "ratings").getrandbits(128))
    for (first, second), clusters in _clusters(meetings).items():
        sums, back = np.array(clusters).T
        weights = np.ones((resamples + 1, len(clusters)))
        weights[1:] = generator.multinomial(len(clusters), np.full(len(clusters), 1 / len(clusters)), size=resamples)
        drawn[:, places[first], places[second]] = weights @ sums
        drawn[:, places[second], places[first]] = weights @ back
    elo = 400 * np.log10(_strengths(drawn))
    low, high = np.quantile(elo[1:], [0.025, 0.975], axis=0)
    won, played = drawn[0].sum(1), (drawn[0] + drawn[0].T).sum(1)
    ratings = [
        Rating(
            player=name,
            elo=float(elo[0, index]),
            interval=(float(low[index]), float(high[index])),
            games=round(played[index]),
            score=float(won[index] / played[index]),
        )
        for name, index in places.items()
    ]
    return tuple(sorted(ratings, key=lambda rating: -rating.elo))


def _clusters(meetings: Sequence[Meeting]) -> Mapping[tuple[str, str], list[tuple[float, float]]]:
    """By pair: for each instance the points of the one and the other."""
    found: defaultdict[tuple[str, str], defaultdict[str, list[float]]]
    found = defaultdict(lambda: defaultdict(lambda: [0.0, 0.0]))
    for one in meetings:
        is_turned = one.first > one.second
        points = found[(one.second, one.first) if is_turned else (one.first, one.second)][one.instance]
        points[is_turned] += one.score
        points[not is_turned] += 1 - one.score
    return {pair: [(points[0], points[1]) for points in by.values()] for pair, by in found.items()}


def _check(meetings: Sequence[Meeting], places: Mapping[str, int]) -> None:
    if not meetings:
        raise ValueError("nobody met")
    for one in meetings:
        if one.first == one.second or not 0 <= one.score <= 1:
            raise ValueError(f"two players meet, with a score in [0, 1]: {one}")
    reached, waiting = {meetings[0].first}, [meetings[0].first]
    met: defaultdict[str, set[str]] = defaultdict(set)
    for one in meetings:
        met[one.first].add(one.second)
        met[one.second].add(one.first)
    while waiting:
        new = met[waiting.pop()] - reached
        reached |= new
        waiting += new
    if len(reached) < len(places):
        rest = ", ".join(sorted(places.keys() - reached))
        raise ValueError(f"no game connects {', '.join(sorted(reached))} with {rest}")


def _strengths(all_won: Floats) -> Floats:
    """Maximum likelihood by the minorise-maximise steps of Hunter (2004, Annals of Statistics 32, equation 3).

    Args:
        all_won: points of each player (row) against each (column) [B, N, N], B sets of games of N players.

    Returns:
        Strengths [B, N] whose geometric mean is 1.
    """
    import numpy as np

    has_met = all_won[0] + all_won[0].T > 0
    won = all_won + _PRIOR * has_met
    games = won + won.transpose(0, 2, 1)
    points = won.sum(2)
    strengths = np.ones_like(points)
    for _ in range(_MOST_STEPS):
        sums = strengths[:, :, None] + strengths[:, None, :]
        new = points / (games / sums).sum(2)
        new /= np.exp(np.log(new).mean(1, keepdims=True))
        change = float(np.abs(new / strengths - 1).max())
        strengths = new
        if change < _TOLERANCE:
            break
    return strengths

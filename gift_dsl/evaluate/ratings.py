"""Ratings of players from games against each other: Bradley and Terry (1952, Biometrika 39), with intervals.

    P(i beats j) = g_i / (g_i + g_j),   Elo_i = 400 log10 g_i, the mean of all players 0

A draw counts as half a win of each. To each pair that has met h games are added that are shared evenly, h being the
leverage of the pair's games, and as many in all as there are free ratings: Jeffreys' prior, which takes the first order
of the bias away (Firth 1993, Biometrika 80). Of two players it is one game. Without it a player who has lost every game
has no rating at all; such ratings are marked.

Intervals are those of a Bayesian bootstrap (Rubin 1981, Annals of Statistics 9). In each draw the instances of a pair
have weights from Gamma(1), and two more that are as large as the mean one, one won and one lost, from Gamma(h/2). Of
two players, where an instance is one game without a draw, the rate is then from Beta(won + 1/2, lost + 1/2), the
posterior of Jeffreys; games that share an instance are drawn together, and twenty won games of twenty have an interval,
too, which drawing them again has not.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from gift_dsl.rng import stream
from gift_dsl.stats import Interval

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_ELO: Final = 400 / math.log(10)
_TOLERANCE: Final = 1e-9
_MOST_STEPS: Final = 500
_RIDGE: Final = 1e-13
_LEAST_RATE: Final = 1e-12


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
        interval: 95 %.
        games: it played.
        score: mean, in [0, 1].
        rests_on_prior: it is finite only because of the games that are added: it won, or lost, every point against
            those whom the points connect, directly or through others. Its rating says how many games there were; the
            outer end of its interval says how far Jeffreys' prior reaches.
    """

    player: str
    elo: float
    interval: Interval
    games: int
    score: float
    rests_on_prior: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "player": self.player,
            "elo": self.elo,
            "interval": list(self.interval),
            "games": self.games,
            "score": self.score,
            "rests_on_prior": self.rests_on_prior,
        }


def rate(meetings: Sequence[Meeting], seed: int, *, resamples: int = 500) -> tuple[Rating, ...]:
    """The ratings of all who met, the strongest first.

    Args:
        meetings: every game; all players must be connected through games.
        seed: of the intervals.
        resamples: drawn for the intervals.

    Raises:
        ValueError: there is no meeting, somebody met himself, or two groups of players never met.
    """
    import numpy as np

    names = sorted({name for one in meetings for name in (one.first, one.second)})
    places = {name: index for index, name in enumerate(names)}
    _check(meetings, places)
    size = len(names)
    won, drawn = np.zeros((size, size)), np.zeros((resamples, size, size))
    by_pair = {tuple(places[one] for one in pair): np.array(found) for pair, found in _clusters(meetings).items()}
    for (first, second), clusters in by_pair.items():
        won[first, second], won[second, first] = clusters.sum(0)
    strengths, leverages = _reduced(won)
    generator = np.random.default_rng(stream(seed, "ratings").getrandbits(128))
    for (first, second), clusters in by_pair.items():
        rates = _rates(clusters, float(leverages[first, second]), resamples, generator)
        drawn[:, first, second], drawn[:, second, first] = clusters.sum() * rates, clusters.sum() * (1 - rates)
    elo = _ELO * strengths
    low, high = np.quantile(_ELO * _fit(drawn), [0.025, 0.975], axis=0)
    tied = _tied(won > 0)
    scored, played = won.sum(1), (won + won.T).sum(1)
    ratings = [
        Rating(
            player=name,
            elo=float(elo[index]),
            interval=(float(low[index]), float(high[index])),
            games=round(played[index]),
            score=float(scored[index] / played[index]),
            rests_on_prior=index not in tied,
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


def _rates(clusters: Floats, leverage: float, resamples: int, generator: np.random.Generator) -> Floats:
    """Draws of the share of a pair's points that the first of them makes, see the module.

    Args:
        clusters: points of the first and the second on each instance [K, 2].
        leverage: of the pair, in [0, 1].
        resamples: B.
        generator: of the weights.

    Returns:
        Shares in (0, 1) [B].
    """
    import numpy as np

    added = generator.gamma(leverage / 2, size=(resamples, 2)) * clusters.sum() / len(clusters)
    points = generator.gamma(1.0, size=(resamples, len(clusters))) @ clusters + added
    return np.clip(points[:, 0] / points.sum(1), _LEAST_RATE, 1 - _LEAST_RATE)


def _tied(is_scored: NDArray[np.bool_]) -> set[int]:
    """The largest group within which everybody made points against everybody, directly or through others.

    Where all are one group the likelihood has a maximum (Ford 1957, American Mathematical Monthly 64). Nobody is in the
    group where the largest is a single player, or there are two of that size.

    Args:
        is_scored: whether each (row) made points against each (column) [N, N].
    """
    size = len(is_scored)
    reaches = is_scored.copy()
    for middle in range(size):
        reaches |= reaches[:, [middle]] & reaches[[middle], :]
    mutual = reaches & reaches.T
    groups = {frozenset(j for j in range(size) if i == j or mutual[i, j]) for i in range(size)}
    largest = max(map(len, groups))
    found = [group for group in groups if len(group) == largest]
    return set(found[0]) if largest > 1 and len(found) == 1 else set()


def _reduced(won: Floats) -> tuple[Floats, Floats]:
    """Firth's estimate: that of the points and of the added games, whose leverages are those at the estimate.

    Args:
        won: points of each player (row) against each (column) [N, N].

    Returns:
        Natural logarithms of strengths, of mean 0 [N], and leverages [N, N], whose upper triangle has the sum N - 1.
    """
    import numpy as np

    games = won + won.T
    leverages = (games > 0).astype(float)
    strengths = np.zeros(len(won))
    for _ in range(_MOST_STEPS):
        strengths = _fit((won + leverages / 2)[None])[0]
        expected = 1 / (1 + np.exp(strengths[None, :] - strengths[:, None]))
        spread = games * expected * (1 - expected)
        covariance = np.linalg.inv(_curvature(spread))
        own = np.diag(covariance)
        new = spread * (own[:, None] + own[None, :] - 2 * covariance)
        change = float(np.abs(new - leverages).max())
        leverages = new
        if change < _TOLERANCE:
            break
    return strengths, leverages


def _curvature(spread: Floats) -> Floats:
    """Of the likelihood [..., N, N], from the variances of points; their mean is held."""
    import numpy as np

    size = spread.shape[-1]
    return np.eye(size) * (spread.sum(-1)[..., None, :] + _RIDGE) - spread + 1 / size


def _fit(won: Floats) -> Floats:
    """Maximum likelihood by Newton's steps, damped so that each makes the likelihood larger.

    With the range b of a step the damping is log(1 + b)/b (Sun and Tran-Dinh 2019, Mathematical Programming 178): a
    logistic loss has third derivatives no larger than its second.

    Args:
        won: points of each player (row) against each (column) [B, N, N], B sets of games of N players; each who has met
            another has some of the points.

    Returns:
        Natural logarithms of strengths [B, N], of mean 0.
    """
    import numpy as np

    games, points = won + won.transpose(0, 2, 1), won.sum(2)
    found: Floats = np.zeros_like(points)
    for _ in range(_MOST_STEPS):
        step = _newton(found, games, points)
        reach = step.max(1, keepdims=True) - step.min(1, keepdims=True) + _RIDGE
        found += step * np.log1p(reach) / reach
        if float(reach.max()) < _TOLERANCE:
            break
    return found - found.mean(1, keepdims=True)


def _newton(strengths: Floats, games: Floats, points: Floats) -> Floats:
    import numpy as np

    expected = 1 / (1 + np.exp(strengths[:, None, :] - strengths[:, :, None]))
    slope = points - (games * expected).sum(2)
    curved = _curvature(games * expected * (1 - expected))
    return cast("Floats", np.linalg.solve(curved, slope[:, :, None]))[:, :, 0]

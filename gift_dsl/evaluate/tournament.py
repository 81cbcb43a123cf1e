"""Everybody against everybody: checkpoints, scripted players and endpoints over games and seats.

A pair plays the same instances as every other pair, each instance from all seats. In a game for one both play alone,
and who does better on an instance has won it; in a game for more than two, each plays once among copies of the other.
Whoever is measured is held to stricter rules than the other seats (a turn that was cut, a thought that is required), so
each of a pair is measured in half of their rounds; and who has no legal action loses, in whatever seat.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Final

from gift_dsl.errors import UsageError
from gift_dsl.evaluate.games import Arena, GamesRequest, evaluate_games
from gift_dsl.evaluate.kept import KeptResults
from gift_dsl.evaluate.ratings import Meeting, Rating, rate
from gift_dsl.evaluate.scores import Round
from gift_dsl.play.seats import Choice, Seat, TableGame
from gift_dsl.stats import Interval, clustered_mean

TOURNAMENT_SCHEMA: Final = "gift-tournament/1"
ROUNDS: Final = "rounds"
"""The first word of the names of tasks that are kept: the rounds of (game, player, opponent)."""


@dataclass(frozen=True, slots=True, eq=False)
class Lists:
    """Who enters, and for what.

    Attributes:
        contestants: by name.
        games: by name, on one split.
        system_prompt: of every conversation.
        max_context: longest sequence of a model in tokens; None: no limit.
        kept: where the rounds of finished pairings are; None: they are not kept.
        tell: is told of each pairing, in a line.
    """

    contestants: Mapping[str, Seat]
    games: Mapping[str, TableGame]
    system_prompt: str = ""
    max_context: int | None = None
    kept: KeptResults | None = None
    tell: Callable[[str], None] = lambda _line: None


@dataclass(frozen=True, slots=True)
class Encounter:
    """Two contestants in one game.

    Attributes:
        game: its name.
        first: a name.
        second: another name.
        rounds: with a result.
        score: mean of the first, in [0, 1]; the second has the rest; None without a round.
        interval: of it, 95 %, clustered by instance.
        void: rounds without a result.
    """

    game: str
    first: str
    second: str
    rounds: int
    score: float | None
    interval: Interval
    void: int


@dataclass(frozen=True, slots=True)
class TournamentResult:
    """Who is how strong.

    Attributes:
        encounters: of each game, each pair.
        ratings: by game, the strongest first; empty for a game without any round.
        overall: of all games together, each with the weight of its rounds.
    """

    encounters: tuple[Encounter, ...]
    ratings: Mapping[str, tuple[Rating, ...]]
    overall: tuple[Rating, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": TOURNAMENT_SCHEMA,
            "overall": [rating.to_json() for rating in self.overall],
            "games": {game: [rating.to_json() for rating in ratings] for game, ratings in self.ratings.items()},
            "encounters": [
                {
                    "game": one.game,
                    "first": one.first,
                    "second": one.second,
                    "rounds": one.rounds,
                    "score": one.score,
                    "interval": list(one.interval),
                    "void": one.void,
                }
                for one in self.encounters
            ],
        }


async def play_tournament(lists: Lists, request: GamesRequest) -> TournamentResult:
    """A round robin of all contestants in the games asked for; `rounds` are those of one pair in one game.

    Raises:
        UsageError: fewer than two contestants.
        LimitReached, MachineError: as the players raise them.
    """
    if len(lists.contestants) < 2:
        raise UsageError("a tournament needs at least two contestants")
    encounters: list[Encounter] = []
    meetings: dict[str, list[Meeting]] = {}
    for name in request.games:
        found = await _play_game(_Hall(lists, request, name))
        encounters += [encounter for encounter, _ in found]
        meetings[name] = [meeting for _, met in found for meeting in met]
    everything = [meeting for met in meetings.values() for meeting in met]
    return TournamentResult(
        tuple(encounters),
        {name: _rated(met, len(lists.contestants), request.seed) for name, met in meetings.items()},
        _rated(everything, len(lists.contestants), request.seed),
    )


def _rated(meetings: Sequence[Meeting], num_contestants: int, seed: int) -> tuple[Rating, ...]:
    """Nobody is rated before everybody has met somebody."""
    names = {name for one in meetings for name in (one.first, one.second)}
    return rate(meetings, seed) if len(names) == num_contestants else ()


@dataclass(frozen=True, slots=True, eq=False)
class _Hall:
    """One game of a tournament."""

    lists: Lists
    request: GamesRequest
    name: str
    alone: dict[str, tuple[Round, ...]] = field(default_factory=lambda: {})

    @property
    def game(self) -> TableGame:
        """Every seat is open, whatever the spec trains, and in each of them unplayable actions end alike."""
        game = self.lists.games[self.name]
        retries = game.plan.illegal_retries
        rollout = replace(game.plan.rollout, opponent_illegal_retry=retries, opponent_illegal_then="forfeit")
        return replace(game, plan=replace(game.plan, trainee_seat="any", trainee_role=None, rollout=rollout))

    @property
    def is_duel(self) -> bool:
        """What one of two wins the other loses: one play tells of both."""
        return self.game.facts.seats == 2 and self.game.facts.zero_sum

    async def rounds(self, player: str, opponent: str | None) -> tuple[Round, ...]:
        """The rounds of one player against copies of another, or alone; taken from the disk where they are kept."""
        kept, task = self.lists.kept, (ROUNDS, self.name, player, *([] if opponent is None else [opponent]))
        what = f"{self.name}: {player}" + ("" if opponent is None else f" against {opponent}")
        found = None if kept is None else kept.find(task)
        if found is not None:
            self.lists.tell(f"{what}: done before")
            return tuple(Round(**one) for one in found["rounds"])
        rounds = await self._play(player, opponent)
        if kept is not None:
            kept.keep(task, {"rounds": [asdict(one) for one in rounds]})
        self.lists.tell(f"{what}: {len(rounds)} rounds")
        return rounds

    async def _play(self, player: str, opponent: str | None) -> tuple[Round, ...]:
        game = self.game
        players: dict[str, Seat | Choice] = dict(self.lists.contestants)
        arena = Arena(
            self.lists.contestants[player], {self.name: game}, players, self.lists.system_prompt, self.lists.max_context
        )
        opponents = {} if opponent is None else {self.name: opponent}
        # Of each instance the first seat's group alone: the same pair the other way round plays the second seat.
        share = (0, 2) if self.is_duel and opponent is not None else self.request.share
        request = replace(self.request, games=(self.name,), chains={}, opponents=opponents, share=share)
        return (await evaluate_games(arena, request)).games[0].rounds


async def _play_game(hall: _Hall) -> list[tuple[Encounter, list[Meeting]]]:
    found: list[tuple[Encounter, list[Meeting]]] = []
    if hall.game.facts.seats == 1:
        hall.alone.update({name: await hall.rounds(name, None) for name in hall.lists.contestants})
    for first, second in combinations(hall.lists.contestants, 2):
        points = await _points(hall, first, second)
        meetings = [
            Meeting(first, second, score, f"{hall.name}/{number}") for number, score in points if score is not None
        ]
        found.append((_encounter(hall.name, (first, second), points), meetings))
    return found


_Points = Sequence[tuple[int, float | None]]
"""Of each meeting: the number of the instance, and what the first of two scored; None without a result."""


async def _points(hall: _Hall, first: str, second: str) -> _Points:
    facts = hall.game.facts
    if facts.seats == 1:
        pairs = zip(hall.alone[first], hall.alone[second], strict=True)
        return [(one.number, _better(_score(one, hall.game), _score(other, hall.game))) for one, other in pairs]
    points = [(one.number, _score(one, hall.game)) for one in await hall.rounds(first, second)]
    back = [(one.number, _score(one, hall.game)) for one in await hall.rounds(second, first)]
    return [*points, *((number, None if score is None else 1 - score) for number, score in back)]


def _score(one: Round, game: TableGame) -> float | None:
    """A draw is half a win, whatever it is worth in training."""
    if one.is_missing or game.facts.graded:
        return one.reward
    return 0.5 if one.outcome == "draw" else one.success


def _better(first: float | None, second: float | None) -> float | None:
    if first is None or second is None:
        return None
    return 0.5 if first == second else float(first > second)


def _encounter(game: str, names: tuple[str, str], points: _Points) -> Encounter:
    clusters: defaultdict[int, list[float]] = defaultdict(list)
    for number, score in points:
        if score is not None:
            clusters[number].append(score)
    played = [score for cluster in clusters.values() for score in cluster]
    return Encounter(
        game=game,
        first=names[0],
        second=names[1],
        rounds=len(played),
        score=fmean(played) if played else None,
        interval=clustered_mean(list(clusters.values())),
        void=len(points) - len(played),
    )

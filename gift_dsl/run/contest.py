"""A tournament of what runs trained, of scripted players and of endpoints; and what each of them gives away.

    <output>.json       the result, `gift-tournament/1`
    <output>/           a file for each pairing, and for what each contestant gives away in a game, once it is finished

The same tournament goes on from what is there, with the result of an unbroken one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import json_text, write_whole
from gift_dsl.errors import UsageError
from gift_dsl.evaluate.exploit import measure_exploitability
from gift_dsl.evaluate.games import Arena, GamesRequest
from gift_dsl.evaluate.kept import KeptResults, Task
from gift_dsl.evaluate.tournament import ROUNDS, TOURNAMENT_SCHEMA, Lists, play_tournament
from gift_dsl.games.minimax import EXACT_CELLS
from gift_dsl.plan import GamePlan, OpponentPlan, Plan, digest, to_json
from gift_dsl.play.seats import ModelPlayer, Seat, TableGame
from gift_dsl.players.look import check_servers
from gift_dsl.players.make import Services, make_player, server_of
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.run.request import Tell
from gift_dsl.run.seating import table_games
from gift_dsl.run.subjects import find_device, model_of_run

_SOLVER: Final = "minimax"
_LOST: Final = "given-away"
_MODELS: Final = ("openai", "local")
_LEAST_INSTANCES: Final = 20


Which = int | Literal["start", "best", "final"]
"""A checkpoint of a run: what it began with, the best on dev, its finished model, or a step of its last stages."""


@dataclass(frozen=True, slots=True, eq=False)
class EnteredRun:
    """A model that a run keeps, as a contestant."""

    run: RunDirectory
    checkpoint: Which


@dataclass(frozen=True, slots=True, eq=False)
class ContestRequest:
    """Who enters, and for what.

    Attributes:
        plan: whose games, prompts and sampling hold for everybody.
        runs: whose models enter.
        players: that enter besides: scripted ones, endpoints, local models.
        games: names of games of the plan.
        split: of their instances.
        rounds: of each pair in each game.
        samples: plays of each instance that a solver looks at; 0: it is not asked.
        output: the JSON file; what is finished is kept in a folder of its name.
    """

    plan: Plan
    runs: tuple[EnteredRun, ...]
    players: tuple[OpponentPlan, ...]
    games: tuple[str, ...]
    split: Literal["dev", "test"]
    rounds: int
    samples: int
    output: Path


def play_contest(request: ContestRequest, make_services: Callable[[], Services], tell: Tell) -> dict[str, Any]:
    """Everybody against everybody, and each against a solver where there is one; written to `request.output`.

    Pairings that an earlier call finished are not played again.

    Returns:
        A `gift-tournament/1` document, with `contestants`, `protocol` and `exploitability` beside.

    Raises:
        UsageError: fewer than two contestants, one name twice, or a player that cannot play a game.
        MachineError: a model, dataset, key or endpoint is missing.
        LimitReached: of dollars or calls.
    """
    games = table_games(request.plan, request.games, request.split)
    names = [*_run_names(request.runs), *(one.name for one in request.players)]
    _check(request, names, games)
    services = make_services()
    servers = [server_of(one, request.plan.runtime.base_urls) for one in request.players if one.type == "openai"]
    asyncio.run(check_servers(servers, services.find_key))
    tell(f"{len(names)} contestants: {', '.join(names)}; {request.rounds} rounds of each pair in each game")
    entered = dict(_entered(request, names, services))
    asked = _games_request(request)
    stage = request.plan.stages[-1]
    kept = KeptResults(request.output.with_suffix(""), partial(_digest, request, asked, entered))
    seats = {name: one.seat for name, one in entered.items()}
    lists = Lists(seats, games, stage.system_prompt, stage.max_context, kept, tell)

    async def play() -> dict[str, Any]:
        async with services.network:
            found = (await play_tournament(lists, asked)).to_json()
            found["exploitability"] = await _exploitability(lists, request, asked)
        return found

    document = asyncio.run(play())
    sources = [str(one.run.path) + _mark(one.checkpoint) for one in request.runs] + [
        one.type for one in request.players
    ]
    document["contestants"] = dict(zip(names, sources, strict=True))
    document["protocol"] = {
        "split": asked.split,
        "rounds": asked.rounds,
        "temperature": asked.temperature,
        "max_tokens": asked.max_tokens,
        "history": asked.history,
        "seed": asked.seed,
        "samples": request.samples,
    }
    request.output.parent.mkdir(parents=True, exist_ok=True)
    write_whole(request.output, json_text(document))
    tell(f"written: {request.output}")
    return document


def contest_name(request: ContestRequest) -> str:
    """A name for the file of a tournament: the same for the same contestants, games and options."""
    asked = {
        "runs": [str(one.run.path.resolve()) + _mark(one.checkpoint) for one in request.runs],
        "players": [to_json(one) for one in request.players],
        "games": list(request.games),
        "rounds": request.rounds,
        "samples": request.samples,
        "spec": request.plan.spec_hash,
    }
    return f"tournament-{request.split}-{digest(TOURNAMENT_SCHEMA, asked)[:8]}.json"


@dataclass(frozen=True, slots=True, eq=False)
class _Entered:
    """A contestant: who sits, and what that depends on, as plain values."""

    seat: Seat
    identity: Any


def _digest(request: ContestRequest, asked: GamesRequest, entered: Mapping[str, _Entered], task: Task) -> str:
    """Digest of all that the result of a task depends on."""
    kind, game, *names = task
    stage = request.plan.stages[-1]
    return digest(
        f"gift-tournament-{kind}/1",
        {
            "who": [entered[name].identity for name in names],
            "game": to_json(request.plan.game(game)),
            "prompt": [stage.system_prompt, stage.max_context],
            "asked": [asked.split, asked.rounds, asked.temperature, asked.max_tokens, asked.max_replays, asked.seed],
            "history": asked.history,
            "samples": None if kind == ROUNDS else request.samples,
        },
    )


def _run_names(runs: Sequence[EnteredRun]) -> list[str]:
    """Names of the specs where they tell the runs apart, else with the directories'; and which checkpoint, if asked."""
    paths = {one.run.path.resolve(): one.run.plan.runtime.name for one in runs}
    are_told = len(set(paths.values())) == len(paths)
    names = [one.run.plan.runtime.name + ("" if are_told else f"/{one.run.path.name}") for one in runs]
    return [name + _mark(one.checkpoint) for name, one in zip(names, runs, strict=True)]


def _mark(checkpoint: Which) -> str:
    return "" if checkpoint == "final" else f"@{checkpoint}"


def _check(request: ContestRequest, names: Sequence[str], games: Mapping[str, TableGame]) -> None:
    if not games:
        raise UsageError("there is no game to play")
    if len(names) < 2:
        listed = f": there is only `{names[0]}`" if names else ""
        raise UsageError(f"a tournament needs at least two contestants{listed}; add players with --players")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"`{twice}` enters twice, and results could not be told apart")
    for player in request.players:
        for name, game in games.items():
            if player.type not in (*game.facts.players, *_MODELS):
                raise UsageError(f"`{player.name}` cannot play {name}; these can: {', '.join(game.facts.players)}")


def _entered(request: ContestRequest, names: Sequence[str], services: Services) -> Iterable[tuple[str, _Entered]]:
    for name, entered in zip(names, request.runs, strict=False):
        run = entered.run
        examinee = model_of_run(run, run.plan, entered.checkpoint)
        seat = examinee.seat(services)
        assert isinstance(seat, ModelPlayer)
        # as an opponent it keeps the sampling of the tournament
        seat = replace(seat, name=name, **_sampling(request.plan))
        yield name, _Entered(seat, [examinee.identity, to_json(run.plan.model), examinee.thinking])
    for player in request.players:
        seat = _local(request, player) if player.type == "local" else make_player(player, services)
        if isinstance(seat, OpenAIPlayer):
            seat = replace(seat, is_measured=True)  # what it leaves unsaid is its own, and no fault of its server
        yield player.name, _Entered(seat, to_json(player))


def _local(request: ContestRequest, player: OpponentPlan) -> ModelPlayer:
    from gift_dsl.run.stage import local_player

    return local_player(request.plan, player, find_device())


def _sampling(plan: Plan) -> dict[str, Any]:
    sampled = plan.evaluation.final or plan.evaluation
    return {"temperature": sampled.temperature, "max_tokens": sampled.max_tokens}


def _games_request(request: ContestRequest) -> GamesRequest:
    return GamesRequest(
        split=request.split,
        rounds=request.rounds,
        games=request.games,
        seed=request.plan.evaluation.seed,
        history=request.plan.evaluation.history,
        **_sampling(request.plan),
    )


# ── what is given away ──


def has_solver(game: GamePlan) -> bool:
    """Whether it is known what perfect play of a game is: matrix games, and boards of at most nine cells."""
    if game.family == "matrix_games":
        return True
    return game.family == "board" and game.params["height"] * game.params["width"] <= EXACT_CELLS


async def _exploitability(lists: Lists, request: ContestRequest, asked: GamesRequest) -> dict[str, dict[str, Any]]:
    """By game and contestant. On boards the other seat is a perfect player's."""
    if not request.samples:
        return {}
    found: dict[str, dict[str, Any]] = {}
    perfect = make_player(OpponentPlan(_SOLVER, _SOLVER, {"epsilon": 0.0, "depth": None}))
    for name in request.games:
        plan = request.plan.game(name)
        if not has_solver(plan):
            continue
        lists.tell(f"{name}: what {len(lists.contestants)} contestants give away")
        game = replace(lists.games[name], plan=replace(plan, trainee_seat="any", trainee_role=None))
        against = {name: _SOLVER} if plan.family == "board" else {}
        few = replace(
            asked,
            games=(name,),
            rounds=max(min(_LEAST_INSTANCES, asked.rounds), asked.rounds // request.samples),
            opponents=against,
        )
        found[name] = {}
        for contestant, seat in lists.contestants.items():
            arena = Arena(seat, {name: game}, {_SOLVER: perfect}, lists.system_prompt, lists.max_context)
            found[name][contestant] = await _given_away(lists, contestant, arena, few, request.samples)
    return found


async def _given_away(lists: Lists, contestant: str, arena: Arena, few: GamesRequest, samples: int) -> dict[str, Any]:
    """Of one contestant in one game; taken from the disk where it is kept."""
    assert lists.kept is not None
    (name,) = few.games
    task = (_LOST, name, contestant)
    found = lists.kept.find(task)
    if found is None:
        found = (await measure_exploitability(arena, few, samples))[name].to_json()
        lists.kept.keep(task, found)
    return found


def named_runs(named: Sequence[tuple[Path, Which]], opened: Callable[[Path], RunDirectory]) -> tuple[EnteredRun, ...]:
    """Runs by their paths, each checkpoint of them once.

    Raises:
        UsageError: one is named twice.
    """
    if len({(path.resolve(), which) for path, which in named}) < len(named):
        raise UsageError("a run is named twice")
    return tuple(EnteredRun(opened(path), which) for path, which in named)

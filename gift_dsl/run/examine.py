# pyright: basic
"""How good a policy is, while a run goes on: before and after a stage, and every so many steps of it.

Opponents stand still here, so that two numbers can be compared: a pool draws by its weights, and where a snapshot is
to play, the policy does that the stage began with (or whom the spec names as `first`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.evaluate.games import (
    Arena,
    GamesRequest,
    GamesResult,
    OnProgress,
    evaluate_games,
    final_request,
    merge_results,
    probe_request,
)
from gift_dsl.games.game import SPLITS, Split
from gift_dsl.plan import OpponentPlan, Plan, StagePlan, chains_of, leaves
from gift_dsl.play.seats import Choice, ModelPlayer, Seat
from gift_dsl.players.make import Services
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.players.recorder import Recorder
from gift_dsl.run.seating import bind, seated_names, table_games
from gift_dsl.train.team import Team

LoadModel = Callable[[OpponentPlan], ModelPlayer]


class Examiner:
    """Measures one policy against the opponents of a plan.

    Args:
        plan: of the run.
        policy: the live one, or whoever is measured in its place.
        services: for opponents that are asked over HTTP.
        load_model: for opponents that are models.
        start: the policy as the stage began, for snapshots.
    """

    def __init__(
        self,
        plan: Plan,
        policy: Seat,
        services: Services,
        load_model: LoadModel,
        start: Callable[[], Seat],
    ) -> None:
        self.plan, self.policy, self.services, self.load_model = plan, policy, services, load_model
        self.start = start
        self.on_progress: OnProgress | None = None

    def measure(self, stage: StagePlan, request: GamesRequest, team: Team) -> GamesResult:
        """What the policy can do now, measured by all processes together."""
        request = replace(request, share=(team.rank, team.size))
        names = played_names(request)
        games = tuple(game.name for game in self.plan.games if game.name in names)
        arena = Arena(
            policy=self.policy,
            games=table_games(self.plan, games, request.split),
            players=self._players(games, request),
            system_prompt=stage.system_prompt,
            max_context=stage.max_context,
        )

        def work() -> list[GamesResult]:
            return [asyncio.run(self._play(arena, request))]

        return merge_results(team.together(work))

    async def _play(self, arena: Arena, request: GamesRequest) -> GamesResult:
        async with self.services.network:
            return await evaluate_games(arena, request, self.on_progress)

    def _players(self, games: tuple[str, ...], request: GamesRequest) -> Mapping[str, Seat | Choice]:
        names = dict.fromkeys((*seated_names(self.plan, games), *request.opponents.values()))
        seated = [one for one in self.plan.opponents if one.name in names]
        others = [one.name for one in seated if one.type not in ("self", "snapshot")]
        players = dict(bind(others, self.plan, self.services, load_model=self.load_model))
        for opponent in (one for one in seated if one.type == "self"):
            players[opponent.name] = _seat_as(opponent, self.policy)
        for opponent in (one for one in seated if one.type == "snapshot"):
            first = opponent.params.get("first")
            players[opponent.name] = _seat_as(opponent, self.start()) if first is None else players[str(first)]
        return players


def _seat_as(opponent: OpponentPlan, seat: Seat) -> Seat:
    """A player under the name of an opponent, and with its temperature where it says one."""
    temperature = opponent.params.get("temperature")
    if isinstance(seat, ModelPlayer):
        return replace(seat, name=opponent.name, temperature=temperature)
    if isinstance(seat, OpenAIPlayer | Recorder) and temperature is not None:
        seat = seat.with_temperature(temperature)
    return seat


def stage_request(plan: Plan, stage: StagePlan) -> GamesRequest | None:
    """Before and after a stage: its games and its chain on dev, as many rounds as the final evaluation has."""
    evaluation = plan.evaluation
    rounds = [one.rounds for one in (evaluation.final, evaluation.probe) if one is not None]
    if not rounds:
        return None
    return GamesRequest(
        split="dev",
        rounds=rounds[0],
        games=tuple(dict.fromkeys(leaf.game for leaf in leaves(stage.play))),
        chains=chains_of(stage) if evaluation.history == "full" else {},
        temperature=evaluation.temperature,
        max_tokens=evaluation.max_tokens,
        history=evaluation.history,
        seed=evaluation.seed,
    )


def due_probe(plan: Plan, stage: StagePlan, done: int) -> GamesRequest | None:
    """The probe after `done` steps of a stage, if there is one."""
    probe = plan.evaluation.probe
    if probe is None or done % probe.every or stage.type != "grpo":
        return None
    games = {leaf.game for leaf in leaves(stage.play)}
    request = probe_request(plan.evaluation, probe, stage)
    return replace(request, games=tuple(name for name in request.games if name in games or probe.games))


def final_test(plan: Plan) -> GamesRequest | None:
    """The final evaluation, the only reader of test."""
    final = plan.evaluation.final
    return None if final is None else final_request(plan.evaluation, final, plan.stages[-1:])


def played_names(request: GamesRequest) -> set[str]:
    """The games that are played, alone or in a chain."""
    return set(request.games) | {leaf.game for node in request.chains.values() for leaf in leaves(node)}


def read_splits(plan: Plan) -> Mapping[str, tuple[Split, ...]]:
    """For each game, the splits that a run draws its instances from, in the order train, dev, test."""
    tests = [request for stage in plan.stages for request in _requests(plan, stage)]
    if (final := final_test(plan)) is not None:
        tests.append(final)
    drawn = {(name, request.split) for request in tests for name in played_names(request)}
    drawn |= {(leaf.game, "train") for stage in plan.stages for leaf in leaves(stage.play)}
    if plan.model.tiny is not None:  # its words are those of the games
        drawn |= {(game.name, "train") for game in plan.games}
    return {game.name: tuple(split for split in SPLITS if (game.name, split) in drawn) for game in plan.games}


def _requests(plan: Plan, stage: StagePlan) -> Iterator[GamesRequest]:
    """Before, after and in the course of a stage."""
    probe = plan.evaluation.probe
    asked = (stage_request(plan, stage), None if probe is None else due_probe(plan, stage, probe.every))
    yield from (one for one in asked if one is not None)


def write_result(path: Path, result: GamesResult, about: Mapping[str, Any]) -> None:
    """One file for an evaluation, every round in it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, json_text(document_of(result, about)))


def document_of(result: GamesResult, about: Mapping[str, Any]) -> dict[str, Any]:
    """What `write_result` writes."""
    return {**result.to_json(), **about, "plays": rounds_of(result)}


def rounds_of(result: GamesResult) -> list[dict[str, Any]]:
    """Every round as plain values, by label, for comparisons pair by pair."""
    return [
        {"label": score.label, "chain": score.chain, "rounds": [_round(one) for one in score.rounds]}
        for score in result.scores
    ]


def _round(one: Any) -> dict[str, Any]:
    return {
        "number": one.number,
        "instance": one.instance,
        "seat": one.seat,
        "role": one.role,
        "outcome": one.outcome,
        "reward": one.reward,
    }


def read_result(path: Path) -> dict[str, Any] | None:
    """What `write_result` wrote, or None."""
    try:
        return read_object(path)
    except FileNotFoundError:
        return None


def has_gaps(document: Mapping[str, Any]) -> bool:
    """Whether rounds of a result have none, because a server gave no answer."""
    scores = [*document["games"].values(), *(part for parts in document["chains"].values() for part in parts.values())]
    return any(score["counts"]["void"] or score["unplayed"] for score in scores)


def forget_gaps(folder: Path, stages: Iterable[str]) -> None:
    """Remove what was measured before and after stages while a server failed, so that it is measured again."""
    for path in (folder / f"{stage}-{when}.json" for stage in stages for when in ("before", "after")):
        found = read_result(path)
        if found is not None and has_gaps(found):
            path.unlink()

"""One run: the stages in order, each in its own processes, then the evaluation and the records.

Gets a Plan and never sees the YAML it came from. It binds the names of opponents to seats, starts and watches the
processes, and hands train a probe that is built from evaluate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from gift_dsl.data import load
from gift_dsl.games.game import Rows, Split
from gift_dsl.games.params import make_params
from gift_dsl.games.question import QuestionParams
from gift_dsl.games.question_rows import select_rows
from gift_dsl.plan import GamePlan, OpponentPlan, Plan, StagePlan, leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Choice, Evaluation, Seat, Table, TableGame, table_game
from gift_dsl.play.table import OnGroups, play_groups
from gift_dsl.players.make import Services, make_player
from gift_dsl.players.pool import PoolChoice, PoolState, make_pool
from gift_dsl.records import Group


def seated_names(plan: Plan, games: Iterable[str]) -> tuple[str, ...]:
    """Every opponent that these games can seat, members of pools included, in the order of the plan."""
    by_name = {item.name: item for item in plan.opponents}
    waiting = [str(name) for game in games for name in plan.game(game).opponents.values()]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        if by_name[name].type == "pool":
            waiting += make_pool(by_name[name].params).members
    return tuple(name for name in by_name if name in found)


def bind(names: Iterable[str], plan: Plan, services: Services) -> Mapping[str, Seat | Choice]:
    """Players for the names of a plan's opponents.

    Raises:
        UsageError: a name stands for a model, which needs an engine.
        MachineError: a key is missing or may not be sent to its host.
    """
    by_name = {item.name: item for item in plan.opponents}
    seats: dict[str, Seat | Choice] = {}
    for name in names:
        opponent = by_name[name]
        if opponent.type == "pool":
            seats[name] = PoolChoice(make_pool(opponent.params), PoolState())
        else:
            seats[name] = make_player(opponent, services)
    return seats


def rows_of(game: GamePlan, split: Split, folder: Path) -> Rows:
    """The dataset rows of one split that a game's instances come from; none for games without data.

    Raises:
        MachineError: the dataset is not there.
        GiftError: a column is missing.
    """
    if game.family != "question" or "dataset" not in game.params:
        return ()
    params = make_params(QuestionParams, game.params)
    dataset = params.dataset
    assert dataset is not None
    name = dataset.test_split if split == "test" and dataset.test_split is not None else dataset.split
    rows = load(dataset.source, dataset.name, dataset.revision, name, folder)
    return select_rows(params, rows, split)


def table_games(plan: Plan, names: Iterable[str], split: Split) -> Mapping[str, TableGame]:
    """The games of a plan, ready to be played on one split."""
    folder = Path(plan.runtime.folder)
    return {name: table_game(plan.game(name), rows_of(plan.game(name), split, folder)) for name in names}


@dataclass(frozen=True, slots=True)
class Match:
    """Play outside a run: somebody takes the trained seat and nothing is learned.

    Attributes:
        plan: games, opponents and prompts.
        stage: whose composition is played.
        player: who sits in the trained seat, as an opponent of a plan.
        rounds: number of episodes; seats take turns where the game leaves them open.
        seed: of the instances and of everybody's draws.
    """

    plan: Plan
    stage: StagePlan
    player: OpponentPlan
    rounds: int
    seed: int


def play_match(match: Match, services: Services, on_groups: OnGroups | None = None) -> list[Group]:
    """Play a match to its end; nothing is left open however it ends.

    Raises:
        UsageError: a seat needs a model.
        MachineError: a dataset or a key is missing.
    """
    return asyncio.run(_play(match, services, on_groups))


async def _play(match: Match, services: Services, on_groups: OnGroups | None) -> list[Group]:
    match = _for_a_person(match) if match.player.type == "human" else match
    names = tuple(dict.fromkeys(leaf.game for leaf in leaves(match.stage.play)))
    keys = Keys(match.seed, "train", "play", 0, ("play",))
    table = Table(
        games=table_games(match.plan, names, "train"),
        policy=make_player(match.player, services),
        players=bind(seated_names(match.plan, names), match.plan, services),
        system_prompt=match.stage.system_prompt,
        evaluation=Evaluation(temperature=1.0, max_tokens=_most_tokens(match.stage)),
    )
    walks = plan_walks(match.stage.play, keys, range(match.rounds))
    async with services.network:
        return await play_groups(table, keys, walks, 1, on_groups)


def _for_a_person(match: Match) -> Match:
    """The match without what is said to models only; where an endpoint sits too, it needs the answer format."""
    stage = replace(match.stage, system_prompt="")
    if any(opponent.type == "openai" for opponent in match.plan.opponents):
        return replace(match, stage=stage)
    games = tuple(replace(game, prompt=replace(game.prompt, answer="")) for game in match.plan.games)
    return replace(match, stage=stage, plan=replace(match.plan, games=games))


def _most_tokens(stage: StagePlan) -> int:
    return max(leaf.max_tokens_per_turn for leaf in leaves(stage.play))

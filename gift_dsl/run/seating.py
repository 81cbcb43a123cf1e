"""Who sits where: from the names of a plan to players, and from its games to what the table plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from gift_dsl.data import load
from gift_dsl.games.game import Rows, Split
from gift_dsl.games.params import make_params
from gift_dsl.games.question import QuestionParams
from gift_dsl.games.question_rows import select_rows
from gift_dsl.plan import GamePlan, OpponentPlan, Plan
from gift_dsl.play.seats import Choice, ModelPlayer, Seat, TableGame, table_game
from gift_dsl.players.make import Services, make_player
from gift_dsl.players.pool import PoolChoice, PoolState, make_pool


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
        opponent = by_name[name]
        if opponent.type == "pool":
            waiting += make_pool(opponent.params).members
        if opponent.type == "snapshot" and opponent.params.get("first") is not None:
            waiting.append(str(opponent.params["first"]))
    return tuple(name for name in by_name if name in found)


def bind(
    names: Iterable[str],
    plan: Plan,
    services: Services,
    policy: ModelPlayer | None = None,
    load_model: Callable[[OpponentPlan], ModelPlayer] | None = None,
) -> Mapping[str, Seat | Choice]:
    """Players for the names of a plan's opponents; snapshots are left to the stage that takes them.

    Args:
        names: of opponents.
        plan: their types and fields.
        services: what players share.
        policy: the live policy, for `self`.
        load_model: for `local` ones.

    Raises:
        UsageError: a name stands for a model and there is no engine here.
        MachineError: a key is missing or may not be sent to its host, or a model is missing.
    """
    by_name = {item.name: item for item in plan.opponents}
    seats: dict[str, Seat | Choice] = {}
    for name in names:
        opponent = by_name[name]
        match opponent.type:
            case "pool":
                seats[name] = PoolChoice(make_pool(opponent.params), PoolState())
            case "self" if policy is not None:
                seats[name] = replace(policy, name=name, temperature=opponent.params.get("temperature"))
            case "local" if load_model is not None:
                seats[name] = load_model(opponent)
            case "snapshot" if policy is not None:
                continue
            case _:
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

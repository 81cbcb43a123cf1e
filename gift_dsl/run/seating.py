"""Who sits where: from the names of a plan to players, and from its games to what the table plays."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

from gift_dsl.data import is_local, load
from gift_dsl.errors import MachineError
from gift_dsl.games.game import Rows, Split
from gift_dsl.games.params import make_params
from gift_dsl.games.question import Dataset, QuestionParams
from gift_dsl.games.question_rows import cut_rows, read_item
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
    dataset = _dataset(game)
    return () if dataset is None else _read(dataset, game, {split}, folder)[split]


def drawn_rows(game: GamePlan, splits: Iterable[Split], folder: Path) -> Mapping[Split, Rows]:
    """As `rows_of`, for splits that instances will be drawn from; what several are cut from is loaded once.

    Raises:
        MachineError: the dataset is not there, or one of these splits has no rows.
        GiftError: a column is missing, or a row does not hold what it should.
    """
    dataset = _dataset(game)
    wanted: dict[Split, Rows] = dict.fromkeys(splits, ())
    if dataset is None:
        return wanted
    found = _read(dataset, game, set(wanted), folder)
    empty: list[Split] = [split for split in wanted if not found[split]]
    if empty:
        raise MachineError(_without_rows(dataset, empty, found))
    return found


def _dataset(game: GamePlan) -> Dataset | None:
    if game.family != "question" or "dataset" not in game.params:
        return None
    return make_params(QuestionParams, game.params).dataset


def _read(dataset: Dataset, game: GamePlan, splits: Set[Split], folder: Path) -> Mapping[Split, Rows]:
    """At least these splits: those that are cut from the same rows come together."""
    params = make_params(QuestionParams, game.params)

    def rows_named(name: str) -> Rows:
        return load(dataset.source, dataset.name, dataset.revision, name, folder)

    if dataset.test_split is None:
        return cut_rows(params, rows_named(dataset.split))
    found: dict[Split, Rows] = {}
    if splits - {"test"}:
        found |= cut_rows(params, rows_named(dataset.split))
    if "test" in splits:
        _refuse_splits_of_one_file(dataset, folder)
        found["test"] = rows_named(dataset.test_split)
        for row in found["test"]:
            read_item(params, row)  # it is drawn when all training is over
    return found


def _refuse_splits_of_one_file(dataset: Dataset, folder: Path) -> None:
    """The test would be played on the rows of training."""
    if is_local(dataset.source) and (folder / Path(dataset.source).expanduser()).is_file():
        raise MachineError(
            f"`dataset.test_split: {dataset.test_split}` names a split of {dataset.source}, which is one file; "
            "leave it out, and the rows are cut by the hash of their question, or give a folder with a file a split"
        )


def _without_rows(dataset: Dataset, empty: Sequence[Split], found: Mapping[Split, Rows]) -> str:
    """What is wrong with splits that cannot be drawn from, and the repair."""
    if empty == ["test"] and dataset.test_split is not None:
        return f"its test split (`{dataset.test_split}` of {dataset.source}) has no rows; name another `test_split`"
    cut = {split: len(rows) for split, rows in found.items() if split != "test" or dataset.test_split is None}
    counts = ", ".join(f"{number} {split}" for split, number in cut.items())
    splits = f"{' and '.join(empty)} split{'s have' if len(empty) > 1 else ' has'}"
    repair = "give it more rows"
    if "test" in empty:
        repair += ", or a dataset with a split of its own for the test (`dataset.test_split`)"
    return (
        f"its {splits} no rows ({sum(cut.values())} in all in `{dataset.split}` of {dataset.source}, "
        f"cut by the hash of their question into {counts}); {repair}"
    )


def table_games(plan: Plan, names: Iterable[str], split: Split) -> Mapping[str, TableGame]:
    """The games of a plan, ready to be played on one split.

    Raises:
        MachineError: the dataset of a game is not there, or has no rows of this split.
        GiftError: a column is missing, or a row does not hold what it should.
    """
    return {name: table_game(plan.game(name), _rows_to_play(plan, name, split)) for name in names}


def _rows_to_play(plan: Plan, name: str, split: Split) -> Rows:
    try:
        return drawn_rows(plan.game(name), (split,), Path(plan.runtime.folder))[split]
    except MachineError as error:
        raise MachineError(f"game `{name}`: {error}") from error

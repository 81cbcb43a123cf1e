"""A run of ours, or one evaluation, beside a printed row of the GIFT paper."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory, open_run
from gift_dsl.errors import MachineError
from gift_dsl.evaluate.paper import PROTOCOLS, Beside, Measured, beside, lookup, scores_of
from gift_dsl.plan import GamePlan, Plan
from gift_dsl.run.evaluate import read_eval
from gift_dsl.run.tested import tested_checkpoint

BESIDE_SCHEMA: Final = "gift-beside/1"
_OF_SAMPLING: Final = ("temperature", "max_tokens", "history")
_OF_SCORE: Final = ("split", "held_out", "rounds", "opponents")


def beside_paper(path: Path, row: str) -> tuple[dict[str, Any], tuple[Beside, ...]]:
    """Our scores of a run or an evaluation beside a row of the paper.

    Args:
        path: the run's directory, or the `gift-eval/1` file of one evaluation.
        row: `table2/F+I1/nested`.

    Returns:
        A `gift-beside/1` document, and its columns.

    Raises:
        UsageError: the paper has no such row.
        MachineError: there is neither run nor evaluation, or it was evaluated on nothing that the paper has.
    """
    printed = lookup(row)
    scores = _of_file(path) if path.is_file() else _of_run(open_run(path))
    if not set(scores) & {*printed.scores, "avg"}:
        raise MachineError(
            f"{path} has no final result of anything in the row {printed.key}: its columns are "
            f"{', '.join(printed.scores)}"
        )
    columns = beside(printed, scores)
    document = {
        "schema": BESIDE_SCHEMA,
        "run": str(path),
        "row": printed.key,
        "title": printed.title,
        "printed_avg": printed.printed_avg,
        "recomputed_avg": printed.avg,
        "printed_avg_follows": printed.is_consistent,
        "columns": [_to_json(one) for one in columns],
    }
    return document, columns


def _to_json(one: Beside) -> dict[str, Any]:
    return {
        "column": one.column,
        "paper": one.paper,
        "paper_interval": one.paper_interval,
        "paper_protocol": PROTOCOLS.get(one.column),
        "ours": one.ours,
        "our_interval": one.our_interval,
        "ours_gift_v1": one.gift_v1,
        "our_gift_v1_interval": one.gift_v1_interval,
        "our_protocol": None if one.measured is None else dict(one.measured.protocol),
        "difference": one.difference,
        "differs": list(one.differs),
        "note": one.note,
    }


def _of_run(run: RunDirectory) -> dict[str, Measured]:
    """What the final evaluation of a run found."""
    plan = run.plan
    tested, asked = _checkpoint(run, "final"), _checkpoint(run, "benchmarks")
    games = _of_games(tested, lambda name: paper_column(plan.game(name))) if tested else {}
    found = games | (scores_of(asked) if asked else {})
    models = _models(plan)
    return {column: _with_models(one, models) for column, one in found.items()}


def _of_file(path: Path) -> dict[str, Measured]:
    """What one evaluation found. It holds no rules of games: a board is known by what was played on it."""
    found = read_eval(path)
    boards: dict[str, list[str]] = {}
    for play in found["plays"]:
        if play["chain"] is None:
            boards[play["label"]] = [str(one["instance"]) for one in play["rounds"]]

    def column(name: str) -> str | None:
        if name in ("matrix_games", "whos_the_spy"):
            return name
        played = boards.get(name, [])
        return "tictactoe" if played and all(one.startswith("3x3x3:") for one in played) else None

    return _of_games(found, column) | scores_of(found)


def _of_games(tested: Mapping[str, Any], column_of: Callable[[str], str | None]) -> dict[str, Measured]:
    """Success by the paper's columns, per cent."""
    scores: dict[str, Measured] = {}
    for name, score in tested["games"].items():
        column = column_of(name)
        if column is not None and score["rate"] is not None:
            low, high = score["interval"]
            sampling: Mapping[str, Any] = tested["protocol"]
            protocol = {key: sampling[key] for key in _OF_SAMPLING if key in sampling}
            protocol |= {key: score[key] for key in _OF_SCORE if key in score}
            void = score.get("counts", {}).get("void", 0)
            protocol |= {"void": void} if void else {}
            scores[column] = Measured(100 * score["rate"], (100 * low, 100 * high), protocol=protocol)
    return scores


def _models(plan: Plan) -> dict[str, str]:
    """By name of an opponent that is one: its name and what model it is."""
    return {one.name: f"{one.name} ({one.params['model']})" for one in plan.opponents if "model" in one.params}


def _with_models(one: Measured, models: Mapping[str, str]) -> Measured:
    """The protocol with the models of the players that it names."""
    protocol = dict(one.protocol)
    if "opponents" in protocol:
        protocol["opponents"] = [models.get(name, name) for name in protocol["opponents"]]
    if "judge" in protocol:
        protocol["judge"] = models.get(protocol["judge"], protocol["judge"])
    return Measured(one.score, one.interval, one.gift_v1, one.gift_v1_interval, protocol)


def _checkpoint(run: RunDirectory, name: str) -> Mapping[str, Any]:
    """What a final evaluation found of the finished model, or of the last checkpoint; empty where there is none."""
    found = tested_checkpoint(run, name)
    return {} if found is None else found[1]


def paper_column(game: GamePlan) -> str | None:
    """The paper's column of a game, whatever the spec calls it; None where it has none."""
    if game.family in ("matrix_games", "whos_the_spy"):
        return game.family
    size = tuple(game.params.get(key) for key in ("height", "width", "connect"))
    is_tictactoe = game.family == "board" and size == (3, 3, 3) and not game.params.get("gravity")
    return "tictactoe" if is_tictactoe else None

"""A run of ours beside a printed row of the GIFT paper."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory, open_run
from gift_dsl.artifacts.files import read_object
from gift_dsl.errors import MachineError
from gift_dsl.evaluate.paper import Beside, beside, lookup, scores_of
from gift_dsl.plan import GamePlan

BESIDE_SCHEMA: Final = "gift-beside/1"


def beside_paper(path: Path, row: str) -> tuple[dict[str, Any], tuple[Beside, ...]]:
    """Our scores of a run beside a row of the paper.

    Args:
        path: the run's directory.
        row: `table2/F+I1/nested`.

    Returns:
        A `gift-beside/1` document, and its columns.

    Raises:
        UsageError: the paper has no such row.
        MachineError: the folder is no run, or was evaluated on nothing that the paper has.
    """
    printed, run = lookup(row), open_run(path)
    scores, intervals = _of_games(run)
    benchmarks, ends = _of_benchmarks(run)
    scores, intervals = scores | benchmarks, intervals | ends
    if not set(scores) & {*printed.scores, "avg"}:
        raise MachineError(
            f"{path} has no final result of anything in the row {printed.key}: its columns are "
            f"{', '.join(printed.scores)}"
        )
    columns = beside(printed, scores, intervals)
    document = {
        "schema": BESIDE_SCHEMA,
        "run": str(path),
        "row": printed.key,
        "title": printed.title,
        "printed_avg": printed.printed_avg,
        "recomputed_avg": printed.avg,
        "printed_avg_follows": printed.is_consistent,
        "columns": [
            {
                "column": one.column,
                "paper": one.paper,
                "paper_interval": one.paper_interval,
                "ours": one.ours,
                "our_interval": one.our_interval,
                "note": one.note,
            }
            for one in columns
        ],
    }
    return document, columns


def _of_games(run: RunDirectory) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Success on the final test by the paper's columns, per cent."""
    plan, tested = run.plan, _checkpoint(run, "final")
    scores: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for name, score in tested.get("games", {}).items():
        column = paper_column(plan.game(name))
        if column is not None and score["rate"] is not None:
            scores[column] = 100 * score["rate"]
            low, high = score["interval"]
            intervals[column] = (100 * low, 100 * high)
    return scores, intervals


def _of_benchmarks(run: RunDirectory) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    found = _checkpoint(run, "benchmarks")
    return scores_of(found) if found else ({}, {})


def _checkpoint(run: RunDirectory, name: str) -> Mapping[str, Any]:
    """What a final evaluation found of the finished model, or of the last checkpoint; empty where there is none."""
    try:
        found = read_object(run.evaluation / f"{name}.json")["checkpoints"]
    except FileNotFoundError:
        return {}
    return found["final"] if "final" in found else found[list(found)[-1]]


def paper_column(game: GamePlan) -> str | None:
    """The paper's column of a game, whatever the spec calls it; None where it has none."""
    if game.family in ("matrix_games", "whos_the_spy"):
        return game.family
    size = tuple(game.params.get(key) for key in ("height", "width", "connect"))
    is_tictactoe = game.family == "board" and size == (3, 3, 3) and not game.params.get("gravity")
    return "tictactoe" if is_tictactoe else None

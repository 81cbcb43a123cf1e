"""The GIFT paper's tables 2 to 7 as data (arXiv 2601.05633v1), with what follows from their own cells.

Every number is a single run, printed without an interval; game columns are 100 rounds, so about 10 points either way.
The printed Avg is the mean of MMLU, MMLU-Pro, CommonGen and SocialIQA in 33 of 35 rows; two cells do not follow from
their row, and the headline of the paper rests on one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from gift_dsl.errors import UsageError
from gift_dsl.stats import wilson

_FILE: Final = Path(__file__).with_name("paper_tables.json")
_TOLERANCE: Final = 0.0101
"""Of an average of four numbers that were printed with two decimals."""

AVERAGED: Final = ("mmlu", "mmlu_pro", "commongen", "social_iqa")
ITEMS: Final[Mapping[str, int]] = {
    "math500": 500,
    "matrix_games": 100,
    "tictactoe": 100,
    "whos_the_spy": 100,
    "mmlu": 14_042,
    "mmlu_pro": 12_032,
    "commongen": 398,
    "social_iqa": 1_954,
}
"""Items or rounds behind each column. 398 is inferred from the printed percentages."""


@dataclass(frozen=True, slots=True)
class PaperRow:
    """One printed row.

    Attributes:
        key: `table2/F+I1/nested`.
        title: what the table holds.
        scores: by our names of the columns, per cent, in the order printed.
        printed_avg: as printed, per cent.
    """

    key: str
    title: str
    scores: Mapping[str, float]
    printed_avg: float

    @property
    def avg(self) -> float:
        """The mean of the row's own four cells, per cent, two decimals."""
        return round(sum(self.scores[name] for name in AVERAGED) / len(AVERAGED), 2)

    @property
    def is_consistent(self) -> bool:
        """Whether the printed average follows from the row."""
        return abs(self.printed_avg - self.avg) < _TOLERANCE


def lookup(key: str) -> PaperRow:
    """The row of a key (`table2/F+I1/nested`); case does not matter, and `->` is an arrow.

    Raises:
        UsageError: there is no such row.
    """
    rows = {row.key.casefold(): row for row in paper_rows()}
    wanted = key.casefold().replace("->", "→")
    found = rows.get(wanted)
    if found is None:
        close = get_close_matches(wanted, rows, n=3, cutoff=0.4)
        hint = f"; did you mean {', '.join(rows[one].key for one in close)}?" if close else ""
        raise UsageError(f"the paper has no row `{key}`{hint}")
    return found


@lru_cache(maxsize=1)
def paper_rows() -> tuple[PaperRow, ...]:
    """All 35 rows, in the order printed."""
    data: dict[str, Any] = json.loads(_FILE.read_text(encoding="utf-8"))
    columns: list[str] = data["columns"]
    return tuple(
        PaperRow(f"{table}/{name}", content["title"], dict(zip(columns, cells, strict=False)), cells[-1])
        for table, content in data["tables"].items()
        for name, cells in content["rows"].items()
    )


def paper_interval(row: PaperRow, column: str) -> tuple[float, float]:
    """The 95 % interval of a printed cell, per cent, if its items were independent: the paper prints none."""
    total = ITEMS[column]
    low, high = wilson(round(row.scores[column] * total / 100), total)
    return 100 * low, 100 * high


@dataclass(frozen=True, slots=True)
class Beside:
    """One column of ours beside the paper's, per cent.

    Attributes:
        column: our name of it.
        paper: what is printed; for `avg` recomputed from the row.
        paper_interval: of the printed cell; None for `avg`.
        ours: our score; None where we have none.
        our_interval: its 95 % interval; None where we have none.
        note: what is to be known of the printed cell.
    """

    column: str
    paper: float
    paper_interval: tuple[float, float] | None
    ours: float | None
    our_interval: tuple[float, float] | None
    note: str = ""


def beside(
    row: PaperRow, ours: Mapping[str, float], intervals: Mapping[str, tuple[float, float]] | None = None
) -> tuple[Beside, ...]:
    """Our scores beside a row of the paper, column by column, the average last.

    Args:
        row: of the paper.
        ours: scores by column, per cent; `avg` is computed from the four where it is missing and they are there.
        intervals: of ours, per cent.
    """
    known = dict(ours)
    if "avg" not in known and all(name in known for name in AVERAGED):
        known["avg"] = sum(known[name] for name in AVERAGED) / len(AVERAGED)
    ends = intervals or {}
    note = "" if row.is_consistent else f"printed as {row.printed_avg:.2f}, which does not follow from the row"
    columns = [
        Beside(name, score, paper_interval(row, name), known.get(name), ends.get(name))
        for name, score in row.scores.items()
    ]
    return (*columns, Beside("avg", row.avg, None, known.get("avg"), ends.get("avg"), note))


def scores_of(result: Mapping[str, Any]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Scores and intervals, per cent, by the paper's columns, from `BenchmarksResult.to_json()`, in our scoring."""
    scores: dict[str, float] = {}
    intervals: dict[str, tuple[float, float]] = {}
    for place, name in [("results", one) for one in ITEMS] + [("groups", "avg")]:
        values: Mapping[str, Any] = result[place].get(name, {})
        for metric in ("acc", "win_tie", "avg"):
            if values.get(f"{metric},none") is not None:
                scores[name] = 100 * values[f"{metric},none"]
                low, high = result["intervals"][name][f"{metric},none"]
                intervals[name] = (100 * low, 100 * high)
    return scores, intervals

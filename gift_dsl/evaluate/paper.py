"""The GIFT paper's tables 2 to 7 as data (arXiv 2601.05633v1), with what follows from their own cells.

Every number is a single run, printed without an interval; game columns are 100 rounds, so about 10 points either way.
The printed Avg is the mean of MMLU, MMLU-Pro, CommonGen and SocialIQA in 33 of 35 rows; two cells do not follow from
their row, and the headline of the paper rests on one of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from statistics import fmean
from types import MappingProxyType
from typing import Any, Final, cast

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

_SAMPLED: Final[Mapping[str, Any]] = {"temperature": 0.5, "max_tokens": 600}
_GEMINI: Final = "gemini-2.5-flash"
_GAMES: Final[Mapping[str, Mapping[str, Any]]] = {
    "matrix_games": {},
    "tictactoe": {"history": "none", "opponents": _GEMINI},
    "whos_the_spy": {"history": "none", "opponents": _GEMINI},
}
PROTOCOLS: Final[Mapping[str, Mapping[str, Any]]] = {
    name: {"rounds": total, **_SAMPLED, **_GAMES[name]}
    if name in _GAMES
    else {"items": total, "shots": 0, **_SAMPLED, **({"judge": "gpt-4o"} if name == "commongen" else {})}
    for name, total in ITEMS.items()
}
"""How each column was measured, from the evaluation scripts that the authors published; those of table 7, whose models
are behind servers, are not among them, and are taken to be alike."""

_NAMED: Final = ("opponents", "judge")
_SHOWN: Final = (
    "items", "items_there", "limit", "rounds", "void", "split", "held_out", "shots", "temperature", "max_tokens",
    "thinking", "history", "opponents", "judge", "order",
)  # fmt: skip


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
        """The mean of the row's own four cells, per cent, two decimals, a half rounded up as in the paper's rows."""
        total = sum((Decimal(str(self.scores[name])) for name in AVERAGED), Decimal(0))
        return float((total / len(AVERAGED)).quantize(Decimal("0.01"), ROUND_HALF_UP))

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
class Measured:
    """A score of ours for a column of the paper, per cent.

    Attributes:
        score: in our scoring; None where nothing was answered.
        interval: its 95 % interval.
        gift_v1: the same answers in the paper's scoring; None where they were not scored so.
        gift_v1_interval: its 95 % interval.
        protocol: how it was measured, by the names in `PROTOCOLS` and more.
    """

    score: float | None
    interval: tuple[float, float] | None = None
    gift_v1: float | None = None
    gift_v1_interval: tuple[float, float] | None = None
    protocol: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType(dict[str, Any]()))


@dataclass(frozen=True, slots=True)
class Beside:
    """One column of ours beside the paper's, per cent.

    Attributes:
        column: our name of it.
        paper: what is printed; for `avg` recomputed from the row.
        paper_interval: of the printed cell; None for `avg`.
        measured: ours; None where we have none.
        differs: in what ours was not measured as theirs, a phrase each.
        note: what is to be known of the printed cell.
    """

    column: str
    paper: float
    paper_interval: tuple[float, float] | None
    measured: Measured | None
    differs: tuple[str, ...] = ()
    note: str = ""

    @property
    def ours(self) -> float | None:
        """Our score in our scoring; None where we have none."""
        return None if self.measured is None else self.measured.score

    @property
    def our_interval(self) -> tuple[float, float] | None:
        """Its 95 % interval."""
        return None if self.measured is None else self.measured.interval

    @property
    def gift_v1(self) -> float | None:
        """Our score in the paper's scoring."""
        return None if self.measured is None else self.measured.gift_v1

    @property
    def gift_v1_interval(self) -> tuple[float, float] | None:
        """Its 95 % interval."""
        return None if self.measured is None else self.measured.gift_v1_interval

    @property
    def difference(self) -> float | None:
        """Ours minus theirs: in the paper's scoring where there is one, else in ours."""
        like = self.ours if self.gift_v1 is None else self.gift_v1
        return None if like is None else like - self.paper

    @property
    def told(self) -> tuple[str, ...]:
        """Sentences that belong below a table: of the printed cell, of our protocol, of what differs."""
        ours = "" if self.measured is None else _protocol_text(self.measured.protocol)
        differs = f"not measured as in the paper: {'; '.join(self.differs)}" if self.differs else ""
        parts = (self.note, f"ours: {ours}" if ours else "", differs)
        return tuple(part for part in parts if part)


def beside(row: PaperRow, ours: Mapping[str, Measured]) -> tuple[Beside, ...]:
    """Our scores beside a row of the paper, column by column, the average last.

    Args:
        row: of the paper.
        ours: by column; `avg` is computed from the four where it is missing and they are there.
    """
    known = dict(ours)
    if "avg" not in known and all(name in known for name in AVERAGED):
        cells = [known[name] for name in AVERAGED]
        known["avg"] = Measured(_mean([one.score for one in cells]), gift_v1=_mean([one.gift_v1 for one in cells]))
    columns = [
        Beside(name, score, paper_interval(row, name), known.get(name), _differs(name, known.get(name)))
        for name, score in row.scores.items()
    ]
    odd = [one.column for one in columns if one.column in AVERAGED and one.differs and "avg" in known]
    unlike = (f"its columns {', '.join(odd)}",) if odd else ()
    return (*columns, Beside("avg", row.avg, None, known.get("avg"), unlike, _of_average(row)))


def _of_average(row: PaperRow) -> str:
    """What is to be known of the average of a row; nothing where it is the one printed."""
    if row.printed_avg == row.avg:
        return ""
    if not row.is_consistent:
        return f"printed as {row.printed_avg:.2f}, which does not follow from the row"
    return f"printed as {row.printed_avg:.2f}: the row was rounded before this average was taken, not before theirs"


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) else None


def _differs(column: str, ours: Measured | None) -> tuple[str, ...]:
    """In what a score of ours was not measured as the paper's, a phrase each; what nobody wrote down is one of them."""
    if ours is None or ours.score is None:
        return ()
    told = [
        f"{_words(name)} {_value(ours.protocol[name]) if name in ours.protocol else 'not told'}, not {theirs}"
        for name, theirs in PROTOCOLS[column].items()
        if not _is_like(name, ours.protocol.get(name), theirs)
    ]
    if ours.protocol.get("void"):
        told.append(f"without a result and left out: {ours.protocol['void']} (the paper counts them as lost)")
    is_other_scoring = column not in _GAMES and ours.gift_v1 is None
    return (*told, *(["our scoring, not the paper's (`compat: gift_v1` adds it)"] if is_other_scoring else []))


def _is_like(name: str, ours: object, theirs: object) -> bool:
    """Players are alike where the name or the model that ours have is that of the paper's."""
    if name not in _NAMED:
        return ours == theirs
    names = cast("list[object]", ours) if isinstance(ours, list) else [ours]
    return bool(names) and all(str(theirs) in str(one).casefold() for one in names)


def _protocol_text(protocol: Mapping[str, Any]) -> str:
    shown = {name: _value(protocol[name]) for name in _SHOWN if protocol.get(name) not in (None, [], "none")}
    if "items" in shown and "items_there" in shown:
        shown["items"] += f" of {shown.pop('items_there')}"
    return ", ".join(f"{_words(name)} {value}" for name, value in shown.items())


def _words(name: str) -> str:
    return name.replace("_", " ")


def _value(value: object) -> str:
    return " and ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value)


def scores_of(result: Mapping[str, Any]) -> dict[str, Measured]:
    """Scores by the paper's columns, per cent, in our scoring and the paper's, from `BenchmarksResult.to_json()`."""
    scores: dict[str, Measured] = {}
    for place, name in [("results", one) for one in ITEMS] + [("groups", "avg")]:
        values: Mapping[str, Any] = result[place].get(name, {})
        ends: Mapping[str, Any] = result["intervals"].get(name, {})
        for metric in ("acc", "win_tie", "avg"):
            ours, theirs = f"{metric},none", f"{metric},gift_v1"
            if values.get(ours) is not None:
                scores[name] = Measured(
                    100 * values[ours],
                    _per_cent(ends.get(ours)),
                    None if values.get(theirs) is None else 100 * values[theirs],
                    _per_cent(ends.get(theirs)),
                    _protocol(result, name),
                )
    return scores


def _protocol(result: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What a result tells of how it was measured, and of how many items."""
    told: Mapping[str, Any] = result.get("protocols", {}).get(name, {})
    counted: Mapping[str, int] = result.get("n-samples", {}).get(name, {})
    items = {"items": counted["effective"], "items_there": counted["original"]} if counted else {}
    # without counts: `items` of a protocol is a print of the rows
    return {key: value for key, value in told.items() if key in _SHOWN and key != "items"} | items


def _per_cent(ends: Any) -> tuple[float, float] | None:  # noqa: ANN401 - two numbers of a JSON file, or none
    return None if ends is None else (100 * ends[0], 100 * ends[1])

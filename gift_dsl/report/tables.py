"""Tables for people: Markdown for issues and pages, LaTeX for papers. What they hold is plain data from JSON files."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

Align = Literal["left", "right"]

_LATEX: Final = re.compile(r"[\\&%$#_{}~^<>|]")
_ESCAPES: Final[Mapping[str, str]] = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
}
_UNICODE: Final[Mapping[str, str]] = {"–": "--", "—": "---", "→": r"$\rightarrow$", "±": r"$\pm$", "×": r"$\times$"}
_SHOWN: Final = ("kind", "shots", "chat_template", "thinking", "temperature", "max_tokens", "judge", "order", "limit")

_MISSING: Final = ("void", "unjudged")
"""Outcomes without a score: no answer of who is measured, no verdict of the judge."""
_RIGHT: Final[tuple[Align, ...]] = ("right",)
_LEAST_ALIKE: Final = 0.7
"""A judge that is of one opinion in both orders less often is warned of; one that tosses a coin is in a half."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table as text.

    Attributes:
        header: names of the columns.
        rows: cells, as many as there are columns.
        aligns: of the columns; the first is left and the others right where it is empty.
        notes: sentences that belong below it.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    aligns: tuple[Align, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def alignment(self) -> tuple[Align, ...]:
        """One for each column."""
        numbers: tuple[Align, ...] = ("right",) * (len(self.header) - 1)
        return self.aligns or ("left", *numbers)


def to_markdown(table: Table) -> str:
    """With pipes, padded so that it can be read as it is."""
    cells = [[_markdown(cell) for cell in row] for row in (table.header, *table.rows)]
    widths = [max(3, *(len(row[column]) for row in cells)) for column in range(len(table.header))]
    lines = [_markdown_line(row, widths, table.alignment) for row in cells]
    rule = [
        "-" * (width - 1) + (":" if a == "right" else "-") for width, a in zip(widths, table.alignment, strict=True)
    ]
    lines.insert(1, f"| {' | '.join(rule)} |")
    return "\n".join([*lines, *(f"\n{note}" for note in table.notes)]) + "\n"


def to_latex(table: Table) -> str:
    """A `tabular` with the rules of booktabs; notes are comments below it."""
    columns = "".join("r" if align == "right" else "l" for align in table.alignment)
    rows = [" & ".join(map(_latex, row)) + r" \\" for row in (table.header, *table.rows)]
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", rows[0], r"\midrule", *rows[1:], r"\bottomrule"]
    return "\n".join([*lines, r"\end{tabular}", *(f"% {note}" for note in table.notes)]) + "\n"


def benchmarks_table(result: Mapping[str, Any]) -> Table:
    """Scores with intervals and protocols, the average last.

    Args:
        result: of `BenchmarksResult.to_json()`, or `benchmarks.json` of an evaluation.
    """
    rows = [row for name in result["results"] for row in _score_rows(result, "results", name)]
    rows += [row for name in result["groups"] if name == "avg" for row in _score_rows(result, "groups", name)]
    notes = tuple(f"{name}: {_protocol(one)}" for name, one in result["protocols"].items() if name in result["results"])
    header = ("task", "score", "scoring", "%", "95 % interval", "items", "bad format", "unanswered")
    aligns: tuple[Align, ...] = ("left", "left", "left", "right", "right", "right", "right", "right")
    judged = {name: rate for name in result["results"] if (rate := _consistency(result, name)) is not None}
    if judged:
        header, aligns = (*header, "judge alike %"), aligns + _RIGHT
        rows = [(*row, _number(100 * judged[row[0]]) if row[0] in judged else "") for row in rows]
    doubts = tuple(_doubt(name, rate) for name, rate in judged.items() if rate < _LEAST_ALIKE)
    return Table(header, tuple(rows), aligns, (*notes, *doubts))


def _consistency(result: Mapping[str, Any], name: str) -> float | None:
    """Share of a task's items on which its judge said the same in both orders; None where it was not asked so."""
    return result.get("more", {}).get(name, {}).get("consistency")


def _doubt(name: str, rate: float) -> str:
    return (
        f"warning: the judge of {name} gave one verdict in both orders for {_number(100 * rate)} % of the items alone; "
        "the less it does, the more the score is about places and not about sentences"
    )


class Beside(Protocol):
    """One column of ours beside a published one, per cent."""

    @property
    def column(self) -> str:
        """Its name."""
        ...

    @property
    def paper(self) -> float:
        """What is published."""
        ...

    @property
    def paper_interval(self) -> tuple[float, float] | None:
        """Of what is published."""
        ...

    @property
    def ours(self) -> float | None:
        """Our score."""
        ...

    @property
    def our_interval(self) -> tuple[float, float] | None:
        """Of our score."""
        ...

    @property
    def gift_v1(self) -> float | None:
        """Our score in the published one's scoring; None where there is none."""
        ...

    @property
    def gift_v1_interval(self) -> tuple[float, float] | None:
        """Of that score."""
        ...

    @property
    def difference(self) -> float | None:
        """Of ours and the published one."""
        ...

    @property
    def differs(self) -> tuple[str, ...]:
        """In what ours was not measured as the published one."""
        ...

    @property
    def told(self) -> tuple[str, ...]:
        """Sentences that belong below the table."""
        ...


def paper_table(name: str, columns: Sequence[Beside]) -> Table:
    """Our scores beside a row of a paper, with our protocol; a star at each difference that is not like for like."""
    is_scored_so = any(one.gift_v1 is not None for one in columns)
    rows = tuple(
        (
            one.column,
            _number(one.paper),
            _ends(one.paper_interval),
            _number(one.ours),
            _ends(one.our_interval),
            *((_number(one.gift_v1), _ends(one.gift_v1_interval)) if is_scored_so else ()),
            _number(one.difference, signed=True) + (" *" if one.difference is not None and one.differs else ""),
        )
        for one in columns
    )
    notes = [f"{one.column}: {sentence}" for one in columns for sentence in one.told]
    stars = ["* measured otherwise than in the paper, as told above."] if any(one.differs for one in columns) else []
    scored = ("ours, scored as theirs", "its interval") if is_scored_so else ()
    header = ("column", name, "its interval", "ours", "our interval", *scored, "difference")
    last = "Intervals of published cells assume independent items; a single run."
    return Table(header, rows, notes=(*notes, *stars, last))


def _score_rows(result: Mapping[str, Any], place: str, name: str) -> list[tuple[str, ...]]:
    values: Mapping[str, Any] = result[place][name]
    columns = [column for column in values if "," in column and "_stderr," not in column]
    return [_score_row(result, name, column, values[column]) for column in columns if _is_number(values[column])]


def _score_row(result: Mapping[str, Any], name: str, column: str, value: float) -> tuple[str, ...]:
    metric, _, scoring = column.partition(",")
    ends: Sequence[float] | None = result["intervals"].get(name, {}).get(column)
    counts: Mapping[str, int] = result["counts"].get(name, {}).get(scoring, {})
    items = result["n-samples"].get(name, {}).get("effective", "")
    shares = (
        (str(counts.get("bad_format", 0)), str(sum(counts.get(one, 0) for one in _MISSING))) if counts else ("", "")
    )
    interval = None if ends is None else (100 * ends[0], 100 * ends[1])
    shown = "ours" if (counts or name == "avg") and scoring == "none" else scoring
    return (name, metric, shown, _number(100 * value), _ends(interval), str(items), *shares)


def _protocol(protocol: Mapping[str, Any]) -> str:
    parts = [f"{key.replace('_', ' ')} {protocol[key]}" for key in _SHOWN if protocol.get(key) is not None]
    template = protocol.get("template_hash")
    return ", ".join([*parts, *([f"templates {template[:8]}"] if template else [])])


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: float | None, *, signed: bool = False) -> str:
    return "" if value is None else f"{value:+.2f}" if signed else f"{value:.2f}"


def _ends(ends: tuple[float, float] | None) -> str:
    return "" if ends is None else f"{ends[0]:.2f} – {ends[1]:.2f}"


def _markdown(cell: str) -> str:
    return " ".join(cell.split()).replace("|", "\\|")


def _markdown_line(row: Sequence[str], widths: Sequence[int], aligns: Sequence[Align]) -> str:
    cells = [
        cell.rjust(width) if align == "right" else cell.ljust(width)
        for cell, width, align in zip(row, widths, aligns, strict=True)
    ]
    return f"| {' | '.join(cells)} |"


def _latex(cell: str) -> str:
    text = _LATEX.sub(lambda match: _ESCAPES.get(match[0], "\\" + match[0]), " ".join(cell.split()))
    for sign, command in _UNICODE.items():
        text = text.replace(sign, command)
    return text

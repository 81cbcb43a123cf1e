"""Diagnostics for people, programs and GitHub. Nothing that is shown holds a secret or a control character."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.events import split_lines
from gift_dsl.spec.secrets import mask

DEFAULT_WIDTH: Final = 100
_MIN_TEXT: Final = 20
_MAX_MESSAGE: Final = 500
_RED, _YELLOW, _BLUE, _BOLD, _RESET = "\x1b[31m", "\x1b[33m", "\x1b[34m", "\x1b[1m", "\x1b[0m"


def deduplicate(diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Each finding once (by code, span and message), in order of place."""
    unique = {(found.code, found.span, found.message): found for found in reversed(list(diagnostics))}
    return sorted(unique.values(), key=lambda found: (found.span, found.code, found.message))


def render_text(
    diagnostics: Iterable[Diagnostic],
    sources: Mapping[str, str],
    *,
    ascii_only: bool = False,
    color: bool = False,
    width: int | None = None,
) -> str:
    """The diagnostics for a terminal: place, message, excerpt with a caret, hint, notes.

    Args:
        diagnostics: shown in the given order.
        sources: the text of each file that a span may name; without one there is no excerpt.
        ascii_only: escape everything else, for terminals that are not UTF-8.
        color: use ANSI colours.
        width: cut excerpts to this many columns, round the caret; 100 if None.
    """
    screen = _Screen(ascii_only, color, width or DEFAULT_WIDTH)
    lines = {file: split_lines(text) for file, text in sources.items()}
    return "\n".join(screen.block(diagnostic, lines) for diagnostic in diagnostics)


@frozen
class _Screen:
    """How to show; `masked` keeps the lines that were searched for secrets, for those with many findings."""

    ascii_only: bool
    color: bool
    width: int
    masked: dict[str, str] = field(default_factory=lambda: {})

    def block(self, found: Diagnostic, sources: Mapping[str, Sequence[str]]) -> str:
        """All lines of one diagnostic."""
        tone = _RED if found.severity == "error" else _YELLOW
        label = self._paint(f"{found.severity}[{found.code}]", _BOLD + tone)
        rows = [f"{self.text(str(found.span))}: {label}: {self.text(found.message)}"]
        source = sources.get(found.span.file, ())
        margin = "  "
        if found.span.line <= len(source) and source[found.span.line - 1].strip():
            number = str(found.span.line)
            margin = " " * len(number)
            rows += self._excerpt(found, source[found.span.line - 1], number)
        notes = [("help", self.text(found.hint))] if found.hint else []
        notes += [("note", self._note(note)) for note in found.notes]
        return "\n".join([*rows, *(f"{margin} {self._paint('=', _BLUE)} {word}: {text}" for word, text in notes)])

    def _note(self, note: Note) -> str:
        return self.text(f"{note.span}: {note.message}" if note.span else note.message)

    def _paint(self, text: str, color: str) -> str:
        return f"{color}{text}{_RESET}" if self.color else text

    def text(self, text: str) -> str:
        """A text as it may be shown anywhere: without secrets, without what moves the cursor, of bounded length."""
        text = mask(text)
        shown = "".join(self._show(character) for character in text[:_MAX_MESSAGE])
        return shown if len(text) <= _MAX_MESSAGE else shown + self._dots()

    def _dots(self) -> str:
        return "..." if self.ascii_only else "…"

    def _show(self, character: str) -> str:
        """A character as it may be printed: what moves the cursor, reorders text or looks like a space is escaped."""
        if character.isascii():
            return character if character.isprintable() else _escape(character)
        if self.ascii_only or (unicodedata.category(character) in _UNPRINTABLE):
            return _escape(character)
        return character

    def _excerpt(self, found: Diagnostic, line: str, number: str) -> list[str]:
        room = max(self.width - len(number) - 4, _MIN_TEXT)
        start, end = _columns(found, line)
        # A line may hold a megabyte: only what is near the caret is laid out.
        shift = max(0, start - 2 * room)
        near = self._masked_line(found, line)[shift : start + 4 * room]
        cells = [self._show(character) for character in near]
        start, end = start - shift, min(end - shift, len(cells))
        first, last = _window(cells, start, room)
        before = self._dots() if first + shift else ""
        after = self._dots() if last + shift < len(line) else ""
        indent = _width(before) + sum(map(_width, cells[first:start]))
        caret = "^" * max(1, sum(map(_width, cells[start : min(end, last)])))
        bar = self._paint("|" if self.ascii_only else "│", _BLUE)
        tone = _RED if found.severity == "error" else _YELLOW
        return [
            f" {number} {bar} {before}{''.join(cells[first:last])}{after}",
            f" {' ' * len(number)} {bar} {' ' * indent}{self._paint(caret, tone)}",
        ]

    def _masked_line(self, found: Diagnostic, line: str) -> str:
        """The line with its secrets masked, and the whole value where the diagnostic is about a secret."""
        if line not in self.masked:
            self.masked[line] = mask(line)
        masked = self.masked[line]
        if found.secret:
            start, end = _columns(found, line)
            masked = masked[:start] + "*" * (end - start) + masked[end:]
        return masked


def _columns(found: Diagnostic, line: str) -> tuple[int, int]:
    """First and last column of the finding on its first line, from 0, the last exclusive."""
    start = min(found.span.column - 1, len(line))
    end = found.span.end_column - 1 if found.span.end_line == found.span.line else len(line.rstrip())
    return start, max(start, min(end, len(line)))


def _window(cells: Sequence[str], start: int, room: int) -> tuple[int, int]:
    """First and last cell of the part of a line that is shown: a third of the room lies before the caret."""
    widths = [_width(cell) for cell in cells]
    if sum(widths) <= room:
        return 0, len(cells)
    room -= 6  # dots at both ends
    first, used = start, 0
    while first > 0 and used + widths[first - 1] <= room // 3:
        first -= 1
        used += widths[first]
    last, used = first, 0
    while last < len(cells) and used + widths[last] <= room:
        used += widths[last]
        last += 1
    return first, last


_UNPRINTABLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})


def _escape(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _width(text: str) -> int:
    """Columns that a text takes in a terminal."""
    if text.isascii():
        return len(text)
    return sum(_character_width(character) for character in text)


def _character_width(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def to_json(diagnostics: Iterable[Diagnostic]) -> list[dict[str, object]]:
    """The diagnostics as plain data, one object each; secrets are masked."""
    return [
        {
            "code": found.code,
            "severity": found.severity,
            "message": mask(found.message),
            "path": mask(found.path),
            "hint": mask(found.hint) if found.hint is not None else None,
            **_place(found.span),
            "notes": [
                {"message": mask(note.message), **(_place(note.span) if note.span else {})} for note in found.notes
            ],
        }
        for found in diagnostics
    ]


def _place(span: Span) -> dict[str, object]:
    return {
        "file": span.file,
        "line": span.line,
        "column": span.column,
        "end_line": span.end_line,
        "end_column": span.end_column,
    }


def to_github(diagnostics: Iterable[Diagnostic]) -> str:
    """The diagnostics as workflow commands, which GitHub shows beside the lines of a change."""
    return "\n".join(_command(found) for found in diagnostics)


def _command(found: Diagnostic) -> str:
    span, screen = found.span, _Screen(ascii_only=False, color=False, width=DEFAULT_WIDTH)
    place = {"file": screen.text(span.file), "line": span.line, "col": span.column, "endLine": span.end_line}
    place |= {"endColumn": span.end_column, "title": found.code}
    properties = ",".join(f"{key}={_escape_property(str(value))}" for key, value in place.items())
    text = screen.text(found.message) + (f"\nhelp: {screen.text(found.hint)}" if found.hint else "")
    return f"::{found.severity} {properties}::{_escape_data(text)}"


def _escape_data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")

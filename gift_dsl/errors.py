"""What can be wrong, as data: places, diagnostics, and the exception tree.

A wrong spec is an error, a bad completion is data, a bug is a crash. Everything a user can mend ends in a
`GiftError`, whose class decides the exit code of the command line:

    GiftError            1   the run or the evaluation failed
    ├── LimitReached     1   a limit of the spec is reached; the run can be resumed
    ├── UsageError       2   the command was called wrongly
    ├── SpecError        3   the spec is invalid; carries every diagnostic at once
    ├── MachineError     4   this machine is not ready (key, file, endpoint, disk, refused resume)
    └── DifferenceError  5   verify or compare found a difference
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A place in a source text. Lines and columns count from 1; the end is exclusive.

    `file` is the name as the user gave it, `<stdin>`, or `<--set>` for a command line argument.
    """

    file: str
    line: int
    column: int
    end_line: int
    end_column: int

    @property
    def is_argument(self) -> bool:
        """It is in a `--set`."""
        return self.file.startswith("<--set")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Note:
    """A related place: where the inherited value was set, where a name is defined."""

    message: str
    span: Span | None = None


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One finding about a spec.

    Attributes:
        code: stable, kebab-case, one section each in docs/diagnostics.md.
        message: one sentence that shows the value that caused it. Not stable.
        span: the place; every diagnostic has one.
        severity: an error makes the spec invalid, a warning does not.
        hint: the repair, where one is known.
        path: dotted path of the value in the spec ("stages[0].play"); empty for syntax errors.
        notes: related places.
        secret: the excerpt holds a secret and must be masked when it is shown.
    """

    code: str
    message: str
    span: Span
    severity: Severity = "error"
    hint: str | None = None
    path: str = ""
    notes: tuple[Note, ...] = field(default=())
    secret: bool = False


class GiftError(Exception):
    """Something a user can mend. Catch this to catch everything that gift raises on purpose."""

    exit_code: ClassVar[int] = 1


class LimitReached(GiftError):  # noqa: N818 - what happened, in the words of the design
    """One of the spec's `limits` is reached (money, calls, time, tokens). What was done is saved, and can go on."""


class UsageError(GiftError):
    """A command or function was called wrongly (an unknown name, options that exclude each other)."""

    exit_code: ClassVar[int] = 2


class SpecError(GiftError):
    """A spec is invalid. `diagnostics` holds every finding, warnings included, in order of place."""

    exit_code: ClassVar[int] = 3

    def __init__(self, diagnostics: Sequence[Diagnostic]) -> None:
        self.diagnostics: tuple[Diagnostic, ...] = tuple(diagnostics)
        super().__init__("\n".join(f"{d.span}: {d.severity}[{d.code}]: {d.message}" for d in self.diagnostics))


class MachineError(GiftError):
    """This machine is not ready for the spec: a key, a file, an endpoint or disk space is missing."""

    exit_code: ClassVar[int] = 4


class DifferenceError(GiftError):
    """A comparison was asked for and found a difference."""

    exit_code: ClassVar[int] = 5

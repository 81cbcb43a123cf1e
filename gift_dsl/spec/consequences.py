"""One message for one mistake: what only follows from another finding at the same place is left out."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gift_dsl.errors import Diagnostic, Span

_CAUSES: Final = frozenset(
    {
        "unknown-var",
        "nested-var",
        "var-syntax",
        "var-type",
        "env-in-spec",
        "secret-in-spec",
        "yaml-alias",
        "yaml-nan",
        "yaml-nbsp",
    }
)
_FOLLOW: Final = frozenset(
    {
        "bad-name",
        "bad-url",
        "chat-template-missing",
        "chat-template-outside",
        "game-file-missing",
        "game-file-outside",
        "key-at-foreign-host",
        "out-of-range",
        "prompt-file-missing",
        "prompt-file-outside",
        "too-long",
        "too-short",
        "unknown-game",
        "unknown-key",
        "unknown-opponent",
        "unknown-role",
        "unknown-type",
        "unknown-value",
        "unused",
        "wrong-type",
    }
)
_NAMES: Final = frozenset({"unknown-game", "unknown-opponent"})


def without_consequences(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The findings without those that would go with another one.

    A text that holds a variable nobody defined is no number either, nor the name of a game: the first is the mistake.
    A secret in a wrong place is told as a secret.
    """
    wrong = {item.path for item in found if item.code == "wrong-type" and item.path}
    findings = [item for item in found if item.code not in _NAMES or wrong.isdisjoint(_holders(item.path))]
    causes = [item.span for item in findings if item.code in _CAUSES]
    if not causes:
        return findings
    return [
        item for item in findings if item.code not in _FOLLOW or not any(_holds(item.span, cause) for cause in causes)
    ]


def _holders(path: str) -> Iterator[str]:
    """The paths of all that holds a value."""
    for match in re.finditer(r"[.\[]", path):
        yield path[: match.start()]


def _holds(outer: Span, inner: Span) -> bool:
    """Whether a place lies within another one on one line; within a map of many lines much else may be wrong."""
    same = outer.file == inner.file and outer.line == outer.end_line == inner.line == inner.end_line
    return same and outer.column <= inner.column and inner.end_column <= outer.end_column

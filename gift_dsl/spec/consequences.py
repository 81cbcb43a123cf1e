"""One message for one mistake: what only follows from another finding at the same place is left out."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.spec.node import Node

MAX_FINDINGS: Final = 1000
"""Nobody reads more, and a hostile spec could have a million."""
_CAUSES: Final = frozenset(
    {
        "unknown-var",
        "nested-var",
        "var-syntax",
        "var-type",
        "env-in-spec",
        "secret-in-spec",
        "yaml-alias",
        "yaml-braces",
        "yaml-nan",
        "yaml-nbsp",
        "yaml-tag",
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
_IDLE: Final = frozenset({"unused", "no-effect"})
"""What the whole of a sweep decides, not one of its runs."""


def without_consequences(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """The findings without those that would go with another one.

    A text that holds a variable nobody defined is no number either, nor the name of a game: the first is the mistake.
    A secret in a wrong place is told as a secret.
    """
    wrong = {item.path for item in found if item.code == "wrong-type" and item.path}
    findings = [item for item in found if item.code not in _NAMES or wrong.isdisjoint(_holders(item.path))]
    causes = _by_line(span for item in findings if item.code in _CAUSES for span in _places(item))
    return [item for item in findings if item.code not in _FOLLOW or not _holds(item.span, causes)]


def _places(item: Diagnostic) -> Iterator[Span]:
    """Where a cause stands; that of a nested variable is wherever it was asked for, too."""
    yield item.span
    if item.code == "nested-var":
        yield from (note.span for note in item.notes if note.span is not None)


def of_all_runs(per_run: Sequence[Sequence[Diagnostic]], trees: Sequence[Node]) -> list[Diagnostic]:
    """The findings of all runs of a sweep, those of what does nothing only where it does nothing in any of them.

    What another arm uses must not be removed. An arm that has the text and no finding may well be wrong in another
    way, and then nothing is known of it.

    Args:
        per_run: the findings of each run.
        trees: of each run, in the same order.
    """
    everywhere = [{_key(item) for item in found if item.code in _IDLE} for found in per_run]
    doubtful = set[_Key]().union(*everywhere) - set[_Key].intersection(*everywhere) if everywhere else set[_Key]()
    told = {
        key
        for key in doubtful
        if all(key in own or not _has(tree, key[1]) for own, tree in zip(everywhere, trees, strict=True))
    }
    return [item for found in per_run for item in found if _key(item) not in doubtful or _key(item) in told]


_Key = tuple[str, Span]


def _key(item: Diagnostic) -> _Key:
    return item.code, item.span


def _has(tree: Node, span: Span) -> bool:
    """Whether something of a tree was written at this place."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        if node.span == span or span in node.key_spans.values():
            return True
        waiting += (*node.fields.values(), *node.items)
    return False


def most_important(found: Sequence[Diagnostic]) -> list[Diagnostic]:
    """At most `MAX_FINDINGS` of the findings, errors before warnings, in the order they came."""
    if len(found) <= MAX_FINDINGS:
        return list(found)
    kept = sorted(range(len(found)), key=lambda index: (found[index].severity != "error", index))[:MAX_FINDINGS]
    return [found[index] for index in sorted(kept)]


def _holders(path: str) -> Iterator[str]:
    """The paths of all that holds a value."""
    for match in re.finditer(r"[.\[]", path):
        yield path[: match.start()]


def _by_line(spans: Iterable[Span]) -> dict[tuple[str, int], list[tuple[int, int]]]:
    """First and last columns of spans of one line, in order."""
    found: dict[tuple[str, int], list[tuple[int, int]]] = {}
    for span in sorted(spans):
        if span.line == span.end_line:
            found.setdefault((span.file, span.line), []).append((span.column, span.end_column))
    return found


def _holds(outer: Span, causes: Mapping[tuple[str, int], Sequence[tuple[int, int]]]) -> bool:
    """Whether a cause lies within a place of one line; within a map of many lines much else may be wrong."""
    columns = causes.get((outer.file, outer.line), ())
    if outer.line != outer.end_line or not columns:
        return False
    first = bisect_left(columns, (outer.column, 0))
    return first < len(columns) and columns[first][1] <= outer.end_column

"""Paths into a spec, as `--set` and the axes of a sweep write them: `a."b.c".d`, `stages[0].x`, `stages[main].x`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.merge import Merge, merge_patch
from gift_dsl.spec.node import Node, mapping, sequence
from gift_dsl.spec.source import MAX_DEPTH
from gift_dsl.spec.suggest import did_you_mean

_KEY: Final = re.compile(r'"([^"]*)"|([^.\[\]"=\s]+)')
_ITEM: Final = re.compile(r'\[(?:"([^"]*)"|([^\[\]"=]+))\]')


@frozen
class Part:
    """One step of a path: a key of a map, or an item of a list by its index or by its `name`."""

    name: str
    is_item: bool
    span: Span

    def __str__(self) -> str:
        if self.is_item:
            return f"[{self.name}]"
        return self.name if _KEY.fullmatch(self.name) else f'"{self.name}"'


Path = tuple[Part, ...]


class PathError(Exception):
    """A path that cannot be read, or that leads nowhere. Carries the diagnostic (`set-path`)."""

    def __init__(self, message: str, span: Span, hint: str | None = None) -> None:
        super().__init__(message)
        self.diagnostic = Diagnostic("set-path", message, span, hint=hint)


def parse_path(text: str, span: Span) -> Path:
    """The parts of a path. `span` is where `text` stands; each part gets its own piece of it.

    Raises:
        PathError: if the text is no path.
    """
    parts: list[Part] = []
    position = 0
    while position < len(text) or not parts:
        match, is_item = _ITEM.match(text, position), True
        if match is None or not parts:
            start = position + 1 if parts and text[position] == "." else position
            match, is_item = (_KEY.match(text, start) if start == 0 or start > position else None), False
        if match is None or len(parts) == MAX_DEPTH:
            hint = 'write a.b, a."b.c", stages[0].x or stages[main].x'
            raise PathError(f"`{text[:80]}` is not a path", _piece(span, text, position, len(text)), hint)
        name = match[2] if match[1] is None else match[1]
        parts.append(Part(name, is_item, _piece(span, text, match.start(), match.end())))
        position = match.end()
    return tuple(parts)


def _piece(span: Span, text: str, start: int, end: int) -> Span:
    """The part of a span that a part of its text has; all of it where the text is not written as it is read."""
    quotes = span.end_column - span.column - len(text)
    if span.line != span.end_line or quotes not in (0, 2):
        return span
    first = span.column + quotes // 2
    return Span(span.file, span.line, first + start, span.line, first + max(end, start + 1))


def show(path: Sequence[Part]) -> str:
    """The path as text."""
    return "".join(f".{part}" if index and not part.is_item else str(part) for index, part in enumerate(path))


def patch_at(tree: Node, path: Path, value: Node, *, parents_exist: bool, merge: Merge = merge_patch) -> Node:
    """The tree with `value` merged into what stands at `path` (null removes it).

    Maps on the way that are not there are made, as the merge patch `{a: {b: value}}` would; list items are never.

    Args:
        tree: the map to start from.
        path: as `parse_path` gives it.
        value: a merge patch.
        parents_exist: refuse a path of which more than the last part is not in the tree.
        merge: how the value meets what stands there.

    Raises:
        PathError: where the path leads nowhere.
    """

    def descend(node: Node | None, depth: int) -> Node | None:
        if depth == len(path):
            return merge(node, value)
        part = path[depth]
        if parents_exist and (node is None or node.kind not in ("map", "list")):
            raise _missing(tree, path[:depth])
        change = _patch_item if part.is_item else _patch_key
        return change(node, path, depth, lambda child: descend(child, depth + 1))

    patched = descend(tree, 0)
    assert patched is not None
    return patched


Change = Callable[[Node | None], Node | None]


def _patch_key(node: Node | None, path: Path, depth: int, change: Change) -> Node:
    part = path[depth]
    if node is not None and node.kind == "list":
        hint = f"write {show(path[:depth])}[0] or {show(path[:depth])}[name]"
        raise PathError(f"`{show(path[:depth])}` is a list", part.span, hint)
    base = node if node is not None and node.kind == "map" else mapping({}, part.span, {}, "flow")
    fields, key_spans = dict(base.fields), dict(base.key_spans)
    changed = change(fields.get(part.name))
    if changed is None:
        fields.pop(part.name, None)
        key_spans.pop(part.name, None)
    else:
        fields[part.name] = changed
        if depth == len(path) - 1 or part.name not in key_spans:
            key_spans[part.name] = part.span
    return mapping(fields, base.span, key_spans, base.style, base.origin)


def _patch_item(node: Node | None, path: Path, depth: int, change: Change) -> Node:
    index = find_item(node, path, depth)
    assert node is not None
    changed = change(node.items[index])
    items = (*node.items[:index], *(() if changed is None else (changed,)), *node.items[index + 1 :])
    return sequence(items, node.span, node.style, node.origin)


def find_item(node: Node | None, path: Path, depth: int) -> int:
    """Index of the list item that `path[depth]` selects.

    Raises:
        PathError: if there is no such item.
    """
    part, holder = path[depth], show(path[:depth])
    if node is None or node.kind != "list":
        what = "is not there" if node is None else "is not a list"
        raise PathError(f"`{holder}` {what}", part.span, f"write {holder}.{part.name}" if node else None)
    if part.name.isascii() and part.name.isdigit():
        if len(part.name) < 9 and int(part.name) < len(node.items):
            return int(part.name)
        raise PathError(f"`{holder}` has no item {part.name}", part.span, f"it has {len(node.items)} items, from 0")
    names = [name.text if (name := item.fields.get("name")) else None for item in node.items]
    if part.name in names:
        return names.index(part.name)
    hint = did_you_mean(part.name, [name for name in names if name is not None])
    raise PathError(f"`{holder}` has no item with the name `{part.name}`", part.span, hint)


def _missing(tree: Node, path: Path) -> PathError:
    """`path` names no map or list: the error at the first part that does not."""
    node: Node | None = tree
    for depth, part in enumerate(path):
        child = locate(tree, path[: depth + 1])
        if child is None:
            hint = did_you_mean(part.name, node.fields if node else ())
            return PathError(f"there is no `{show(path[: depth + 1])}` in the spec", part.span, hint)
        node = child
    return PathError(f"`{show(path)}` has no entries", path[-1].span)


def locate(tree: Node, path: Path) -> Node | None:
    """The node at `path`, or None."""
    place = indices(tree, path)
    return None if place is None else tree.at(place)


def indices(tree: Node, path: Path) -> tuple[str | int, ...] | None:
    """The path with items by index, so that two spellings of one place are equal; None if it leads nowhere."""
    node: Node | None = tree
    place: list[str | int] = []
    for depth, part in enumerate(path):
        try:
            place.append(find_item(node, path, depth) if part.is_item else part.name)
        except PathError:
            return None
        node = node and node.child(place[-1])
    return tuple(place) if node is not None else None

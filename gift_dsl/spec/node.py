"""A value of a spec that knows where it was written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from types import MappingProxyType
from typing import Any, Final, Literal, cast

from gift_dsl.errors import Span
from gift_dsl.plan import frozen
from gift_dsl.spec.scalars import Scalar, ScalarKind

Kind = Literal["map", "list"] | ScalarKind
Style = Literal["plain", "single", "double", "literal", "folded", "block", "flow"]

Path = tuple[str | int, ...]


def dotted(path: Path) -> str:
    """`stages[0].play` for ("stages", 0, "play")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


NO_KEYS: Final[Mapping[str, Span]] = MappingProxyType({})
CHARACTERS_PER_NODE: Final = 64


@frozen
class Node:
    """A value with its place. Immutable; two nodes are equal only if they are the same one: compare `plain()`.

    Attributes:
        kind: what the value is.
        value: dict[str, Node] in written order | tuple[Node, ...] | the Python scalar. `fields`, `items` and
            `value` of a scalar are the typed views.
        span: from the first to the last character of the value; a value from a variable has the place of its use.
        raw: a scalar as it was written, quotes included ("no", "1.10", '"4"'); empty for maps and lists.
        style: how it was written.
        key_spans: place of each key of a map.
        origin: for a value that came from a variable, the place of the variable's value.
        size: expanded number of nodes, this one included; text counts one more per 64 characters, so that this
            one number bounds both what a walk and what a dump can cost.
        height: 0 for a scalar, one more than the highest child for a map or list.
    """

    kind: Kind
    value: dict[str, Node] | tuple[Node, ...] | Scalar
    span: Span
    raw: str = ""
    style: Style = "plain"
    key_spans: Mapping[str, Span] = field(default_factory=lambda: NO_KEYS)
    origin: Span | None = None
    size: int = 1
    height: int = 0

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @property
    def fields(self) -> Mapping[str, Node]:
        """The entries of a map; empty for anything else."""
        return cast("dict[str, Node]", self.value) if self.kind == "map" else {}

    @property
    def items(self) -> tuple[Node, ...]:
        """The items of a list; empty for anything else."""
        return cast("tuple[Node, ...]", self.value) if self.kind == "list" else ()

    @property
    def text(self) -> str | None:
        """The value of a text; None for anything else."""
        return cast("str", self.value) if self.kind == "text" else None

    def plain(self) -> Any:  # noqa: ANN401  # JSON-like data has no narrower type that callers could use
        """The value as plain JSON-like data, all places forgotten."""
        if self.kind == "map":
            return {key: child.plain() for key, child in self.fields.items()}
        if self.kind == "list":
            return [child.plain() for child in self.items]
        return self.value

    def child(self, part: str | int) -> Node | None:
        """The entry or item that `part` names, or None."""
        if self.kind == "map":
            return self.fields.get(str(part))
        if self.kind == "list" and isinstance(part, int) and 0 <= part < len(self.items):
            return self.items[part]
        return None

    def at(self, path: Sequence[str | int]) -> Node | None:
        """The node at `path` exactly, or None."""
        node: Node | None = self
        for part in path:
            node = node and node.child(part)
        return node

    def span_of(self, loc: Sequence[str | int]) -> Span:
        """The place that a pydantic `loc` means.

        Parts that are not in the tree are skipped (pydantic adds the tags of unions). If the last part is in the
        tree the place is that value's, else a key is missing and the place is the mapping that lacks it. A value of
        several lines is shown by its key or, where it has none, by its first line.
        """
        return self._resolve(loc)[1]

    def key_span_of(self, loc: Sequence[str | int]) -> Span:
        """As `span_of`, but the place of the key where the last part of `loc` names an entry of a map."""
        return self._resolve(loc)[0] or self.span_of(loc)

    def _resolve(self, loc: Sequence[str | int]) -> tuple[Span | None, Span]:
        """The place of the key (None if the last part named no entry of a map) and of the value."""
        node, key, holder, found = self, None, None, not loc
        for part in loc:
            child = node.child(part)
            found = child is not None
            if child is not None:
                key = node.key_spans.get(str(part)) if node.kind == "map" else None
                node, holder = child, key
        missing = not found and bool(loc)
        if node.kind in ("map", "list") and (missing or node.span.line != node.span.end_line):
            return (None if missing else key), holder or node.first_line()
        return (None if missing else key), node.span

    def first_line(self) -> Span:
        """The part of the span that stands on its first line, as far as the first entry or item tells."""
        if self.span.line == self.span.end_line:
            return self.span
        line, column = self.span.line, self.span.column
        inner = [*self.key_spans.values(), *(child.span for child in (*self.fields.values(), *self.items))]
        ends = [s.end_column for s in inner if s.file == self.span.file and s.line == s.end_line == line]
        return Span(self.span.file, line, column, line, max(ends, default=column + 1))

    def placed(self, span: Span) -> Node:
        """The same value used at another place; where it came from is kept as `origin`."""
        return replace(self, span=span, origin=self.origin or self.span)


def mapping(
    fields: dict[str, Node],
    span: Span,
    key_spans: Mapping[str, Span],
    style: Style = "block",
    origin: Span | None = None,
) -> Node:
    """A map node, with size and height worked out."""
    size, height, characters = 1, 0, 0
    for key, child in fields.items():
        size += child.size
        characters += len(key)
        height = max(height, child.height)
    size, height = size + characters // CHARACTERS_PER_NODE, height + 1
    return Node("map", fields, span, "", style, key_spans, origin, size, height)


def sequence(items: tuple[Node, ...], span: Span, style: Style = "block", origin: Span | None = None) -> Node:
    """A list node, with size and height worked out."""
    height = 1 + max((child.height for child in items), default=0)
    return Node("list", items, span, "", style, NO_KEYS, origin, 1 + sum(child.size for child in items), height)


def scalar(kind: ScalarKind, value: Scalar, span: Span, raw: str, style: Style = "plain") -> Node:
    """A scalar node, with its size worked out."""
    return Node(kind, value, span, raw, style, NO_KEYS, None, 1 + len(raw) // CHARACTERS_PER_NODE)


def null(span: Span) -> Node:
    """A null that nobody wrote: in a merge patch it removes."""
    return scalar("null", None, span, "")

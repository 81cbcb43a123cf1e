"""Positioned YAML: from text to a tree of `Node`s in which every value knows where it was written.

The tree is built from events with an explicit stack, so that no input can exhaust Python's. Scalars mean what
`scalars.resolve` says. What YAML allows and a spec does not (tags, directives, several documents, null keys, ...)
is a diagnostic with a stable code; all but the first syntax error are told at once.
"""

from __future__ import annotations

import codecs
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.events import ODD_SPACES, Event, EventKind, Mark, YamlSyntaxError, parse_events, split_lines
from gift_dsl.spec.node import CHARACTERS_PER_NODE, Node, Style, mapping, scalar, sequence
from gift_dsl.spec.scalars import resolve
from gift_dsl.spec.suggest import did_you_mean

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "Node", "decode", "parse_yaml", "too_big"]

MAX_BYTES: Final = 1 << 20
MAX_DEPTH: Final = 48
MAX_NODES: Final = 20_000

# NEL, LS and PS end a line in YAML 1.1 and in many editors, but not in YAML 1.2: the same file must not read two ways.
_CONTROL: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_ODD_SPACE: Final = re.compile(f"[{ODD_SPACES}]")
_PROPERTIES: Final = re.compile(r"(?:[&!]\S*[ \t]+)+")
_STYLES: Final[dict[str, Style]] = {"": "plain", "'": "single", '"': "double", "|": "literal", ">": "folded"}
_MAX_SHOWN: Final = 40
_LINE: Final = re.compile(r"[^\r\n]*")
_GLUED: Final = re.compile(r"([\w-]+):(\S.*)")


def decode(data: bytes, file: str) -> tuple[str | None, list[Diagnostic]]:
    """The text of a file's bytes, or None and why not (`file-too-large`, `yaml-encoding`)."""
    if len(data) > MAX_BYTES:
        return None, [_too_large(file)]
    data = data.removeprefix(codecs.BOM_UTF8)
    try:
        return data.decode("utf-8"), []
    except UnicodeDecodeError as error:
        before = split_lines(data[: error.start].decode("utf-8"))
        line, column = len(before), len(before[-1]) + 1
        message = f"byte 0x{data[error.start]:02x} is not UTF-8"
        hint = "save the file as UTF-8"
        return None, [Diagnostic("yaml-encoding", message, Span(file, line, column, line, column + 1), hint=hint)]


def _too_large(file: str) -> Diagnostic:
    hint = "a spec holds no data: name a dataset or a file instead"
    return Diagnostic("file-too-large", "a spec may have 1 MiB at most", Span(file, 1, 1, 1, 1), hint=hint)


def parse_yaml(text: str, file: str, *, column: int = 1) -> tuple[Node | None, list[Diagnostic]]:
    """The tree of a YAML text, and everything that is wrong with it.

    The tree is None where the text could not be read to its end. Otherwise it holds what could be understood: the
    first of duplicate keys, values without their tags, and no entry for a key that is not text.

    Args:
        text: the whole file; a byte order mark and any line ends are fine.
        file: the name that spans get.
        column: the column (from 1) of the first character, for text cut out of a line.
    """
    text = text.removeprefix("\ufeff")
    if len(text) > MAX_BYTES:
        return None, [_too_large(file)]
    builder = _Builder(text, file, column)
    if _CONTROL.search(text):
        return None, builder.control_characters()
    try:
        return builder.build(parse_events(text)), builder.diagnostics
    except YamlSyntaxError as problem:
        from gift_dsl.spec.syntax import explain

        opened = next((frame.opened for frame in reversed(builder.stack) if frame.flow), None)
        builder.report_syntax(explain(problem, text, file, opened))
    except _UnreadableError:
        pass
    return None, builder.diagnostics


class _UnreadableError(Exception):
    """The text can or must not be read further; the diagnostic says why."""


@dataclass(slots=True, eq=False)
class _Frame:
    """A map or list that is not yet closed."""

    is_map: bool
    opened: Mark
    flow: bool
    anchor: str | None
    end: Mark
    items: list[Node] = field(default_factory=lambda: [])
    fields: dict[str, Node] = field(default_factory=lambda: {})
    key_spans: dict[str, Span] = field(default_factory=lambda: {})
    merged: list[Node] = field(default_factory=lambda: [])
    key: _Key | None = None
    merge_key: Span | None = None


@frozen
class _Key:
    """A key that waits for its value. `text` is None where the entry is dropped because its key is wrong."""

    text: str | None
    span: Span
    end: Mark
    merge: bool = False


class _Builder:
    """Turns the events of one text into a tree."""

    def __init__(self, text: str, file: str, column: int) -> None:
        self.text = text
        self.file = file
        self.column = column
        self.stack: list[_Frame] = []
        self.diagnostics: list[Diagnostic] = []
        self._anchors: dict[str, Node | _Frame] = {}
        self._size = 0
        self._odd_spaces = _ODD_SPACE.search(text) is not None
        self._root: Node | None = None
        self._documents = 0

    # ── places ──

    def _span(self, start: Mark, end: Mark) -> Span:
        first = self.column if start.line == 0 else 1
        last = self.column if end.line == 0 else 1
        return Span(self.file, start.line + 1, start.column + first, end.line + 1, end.column + last)

    def _report(self, code: str, message: str, span: Span, hint: str | None = None, notes: Iterable[Note] = ()) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, hint=hint, notes=tuple(notes)))

    def report_syntax(self, found: Diagnostic) -> None:
        """Add a syntax error, unless it only follows from one that was found on the same line."""
        shift = self.column - 1 if found.span.line == 1 else 0
        span = found.span
        span = Span(span.file, span.line, span.column + shift, span.end_line, span.end_column + shift)
        if found.code == "yaml-braces":
            self.diagnostics = [d for d in self.diagnostics if d.code != "yaml-syntax" or d.span.line != span.line]
        if not any(d.code in ("yaml-braces", "yaml-syntax") and d.span.line == span.line for d in self.diagnostics):
            self._report(found.code, found.message, span, found.hint)

    def control_characters(self) -> list[Diagnostic]:
        """One diagnostic for each kind of character that no spec may hold, at its first place."""
        seen: set[str] = set()
        for number, line in enumerate(split_lines(self.text)):
            for match in _CONTROL.finditer(line):
                if match[0] not in seen:
                    seen.add(match[0])
                    self._control(match[0], Mark(0, number, match.start()))
        return self.diagnostics

    def _control(self, character: str, mark: Mark) -> None:
        code = ord(character)
        escape = f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
        span = self._span(mark, mark._replace(column=mark.column + 1))
        hint = "delete it" if 0xD800 <= code <= 0xDFFF else f'delete it, or write "{escape}" inside double quotes'
        self._report("yaml-control", f"the character U+{code:04X} may not stand in a spec", span, hint)

    # ── events ──

    def build(self, events: Iterable[Event]) -> Node | None:
        """Walk the events; the root node, or None for a text without a value."""
        handlers: dict[EventKind, Callable[[Event], None]] = {
            "scalar": self._scalar,
            "map": self._open,
            "list": self._open,
            "end map": self._close,
            "end list": self._close,
            "alias": self._alias,
            "document": self._document,
        }
        for event in events:
            handlers[event.kind](event)
        if self._root is None or (self._root.kind == "null" and not self._root.raw):
            if not self.diagnostics:
                place = Span(self.file, 1, self.column, 1, self.column)
                self._report("yaml-empty", "there is nothing in this file", place)
            return None
        return self._root

    def _document(self, event: Event) -> None:
        self._documents += 1
        if self._documents > 1:
            hint = "use `sweep:` for several runs, or one file for each spec"
            span = self._span(event.start, event.start._replace(column=event.start.column + 3))
            self._report("yaml-documents", "a second document starts here; a file holds one spec", span, hint)
            raise _UnreadableError

    def _open(self, event: Event) -> None:
        self._tag(event)
        if len(self.stack) >= MAX_DEPTH:
            self._too_deep(event)
        self._grow(1, event)
        opened = (
            event.end._replace(index=event.end.index - 1, column=event.end.column - 1) if event.flow else event.start
        )
        frame = _Frame(event.kind == "map", opened, event.flow and self._opens(opened), event.anchor, event.end)
        if event.anchor:
            self._anchors[event.anchor] = frame
        self.stack.append(frame)

    def _opens(self, mark: Mark) -> bool:
        """Whether a bracket stands here (`[a: 1]` has a map without one)."""
        return self.text[mark.index] in "[{"

    def _close(self, event: Event) -> None:
        frame = self.stack.pop()
        end = event.end if frame.flow else frame.end
        span = self._span(frame.opened, end)
        style: Style = "flow" if frame.flow else "block"
        if frame.is_map:
            self._merge(frame)
            node = mapping(frame.fields, span, frame.key_spans, style)
        else:
            node = sequence(tuple(frame.items), span, style)
        if frame.anchor and self._anchors[frame.anchor] is frame:
            self._anchors[frame.anchor] = node
        self._add(node, frame.opened, end)

    def _alias(self, event: Event) -> None:
        name = event.anchor or ""
        target = self._anchors.get(name)
        if isinstance(target, _Frame):
            hint = "a value cannot hold itself"
            self._report("yaml-recursive", f"`*{name}` stands inside `&{name}`", self._event_span(event), hint)
            raise _UnreadableError
        if target is None:
            hint = did_you_mean(name, self._anchors) or "if it is text, put it in quotes"
            self._report("yaml-alias", f"there is no anchor `&{name}` above", self._event_span(event), hint)
            target = scalar("text", f"*{name}", self._event_span(event), f"*{name}")
        if len(self.stack) + target.height > MAX_DEPTH:
            self._too_deep(event)
        self._grow(target.size, event)
        self._add(target, event.start, event.end)

    def _scalar(self, event: Event) -> None:
        self._tag(event)
        self._grow(1 + len(event.text) // CHARACTERS_PER_NODE, event)
        frame = self.stack[-1] if self.stack else None
        start = self._value_start(event) if event.anchor or event.tag is not None else event.start
        event = event._replace(start=start) if start is not event.start else event
        if event.style == "" and self._odd_spaces:
            self._odd_space(event, is_key=frame is not None and frame.is_map and frame.key is None)
        if frame is not None and frame.is_map and frame.key is None:
            self._key(frame, event)
            if event.anchor:
                self._anchors[event.anchor] = self._text(event, self._event_span(event))
            return
        node = self._value(event)
        if event.anchor:
            self._anchors[event.anchor] = node
        if frame is not None and frame.flow and frame.key is not None and node.kind == "null":
            self._lone_key(frame.key, event)
        self._add(node, event.start, event.end)

    # ── values ──

    def _value_start(self, event: Event) -> Mark:
        """Where the scalar itself begins, behind its anchor and tag."""
        match = _PROPERTIES.match(self.text, event.start.index, event.end.index)
        length = match.end() - match.start() if match else 0
        return Mark(event.start.index + length, event.start.line, event.start.column + length)

    def _value(self, event: Event) -> Node:
        span = self._event_span(event)
        if event.style:
            return self._text(event, span)
        kind, value = resolve(event.text)
        raw = self.text[event.start.index : event.end.index]
        if isinstance(value, float) and not math.isfinite(value):
            shown = event.text if len(event.text) <= _MAX_SHOWN else f"{event.text[:_MAX_SHOWN]}..."
            is_word = event.text.lstrip("+-.").lower() in ("inf", "nan")
            message = (
                f"a number must be finite, and `{shown}` is not" if is_word else f"`{shown}` is too large a number"
            )
            self._report("yaml-nan", message, span)
            value = 0.0
        return scalar(kind, value, span, raw)

    def _text(self, event: Event, span: Span) -> Node:
        text = event.text
        if event.style == '"':
            text = self._surrogates(text, span)
        return scalar("text", text, span, self.text[event.start.index : event.end.index], _STYLES[event.style])

    def _surrogates(self, text: str, span: Span) -> str:
        r"""Join "\ud83d\ude00", which JSON writes for one character; a half alone is no character."""
        if text.isascii():
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            hint = "write the character itself"
            self._report("yaml-control", "half of a surrogate pair is not a character", span, hint)
            return text.encode("utf-8", "replace").decode("utf-8")

    def _add(self, node: Node, start: Mark, end: Mark) -> None:
        """Put a finished node where it belongs: into a list, behind a key, or as a key."""
        if not self.stack:
            self._root = node
            return
        frame = self.stack[-1]
        frame.end = max(frame.end, end)
        if not frame.is_map:
            frame.items.append(node)
        elif frame.key is None:
            frame.key = self._node_key(frame, node, start, end)
        else:
            self._entry(frame, frame.key, node)
            frame.key = None

    def _entry(self, frame: _Frame, key: _Key, node: Node) -> None:
        if key.merge:
            frame.merged.append(node)
        elif key.text is not None:
            frame.fields[key.text] = node
            frame.key_spans[key.text] = key.span

    # ── keys ──

    def _key(self, frame: _Frame, event: Event) -> None:
        span = self._event_span(event)
        frame.end = max(frame.end, event.end)
        if event.style == "" and resolve(event.text)[0] == "null":
            hint = f'write "{event.text}" in quotes if that is the key'
            self._report("yaml-null-key", "a key must be text", span, hint)
            frame.key = _Key(None, span, event.end)
        else:
            text = self._surrogates(event.text, span) if event.style == '"' else event.text
            frame.key = self._text_key(frame, text, span, event.end, event.style == "" and event.text == "<<")

    def _text_key(self, frame: _Frame, text: str, span: Span, end: Mark, merge: bool) -> _Key:
        first = frame.merge_key if merge else frame.key_spans.get(text)
        if first is not None:
            hint = "write `<<: [*a, *b]`" if merge else "delete one of them"
            self._report("duplicate-key", f"duplicate key `{text}`", span, hint, [Note("first given here", first)])
            return _Key(None, span, end)
        if merge:
            frame.merge_key = span
        return _Key(text, span, end, merge)

    def _node_key(self, frame: _Frame, node: Node, start: Mark, end: Mark) -> _Key:
        """A key that is an alias, a map or a list."""
        span = self._span(start, end)
        if node.text is not None:
            return self._text_key(frame, node.text, span, end, merge=False)
        if node.kind == "map" and frame.flow and start.index == frame.opened.index + 1:
            self._braces(frame.opened, end)
        elif not (self.diagnostics and self.diagnostics[-1].code == "yaml-braces"):
            self._report("yaml-syntax", "a key must be text", span, "put the key in quotes")
        return _Key(None, span, end)

    def _braces(self, start: Mark, end: Mark) -> None:
        """`{{ x }}` without quotes: YAML reads a map inside a map."""
        closed = self.text[end.index : end.index + 1] == "}"
        span = self._span(start, end._replace(column=end.column + 1) if closed else end)
        while self.diagnostics and span <= self.diagnostics[-1].span:
            self.diagnostics.pop()  # keys without a value, inside these braces
        inside = any(frame.flow for frame in self.stack[:-1])
        shown = self.text[start.index : end.index + 1] if inside else self._rest_of_line(start).split(" #")[0]
        hint = f"templates live inside text: put the whole value in quotes: '{shown.rstrip()}'"
        self._report("yaml-braces", "`{{` without quotes is a map in YAML", span, hint)

    def _rest_of_line(self, start: Mark) -> str:
        match = _LINE.match(self.text, start.index)
        assert match is not None  # it matches the empty text too
        return match[0]

    def _lone_key(self, key: _Key, event: Event) -> None:
        """`{a, b: 1}` or `{b:1}`: in YAML the key `a` with null, which a spec would silently drop."""
        if (
            key.text is None
            or event.end.index != event.start.index
            or ":" in self.text[key.end.index : event.start.index]
        ):
            return
        start = key.end.index - len(key.text)
        if self.text.startswith(f"{key.text}[", start):
            path = re.split(r"[},]|:\s", self._rest_of_line(key.end._replace(index=start)))[0].rstrip()
            hint = f'write "{path}": ...'
            self._report("yaml-syntax", "inside braces a path with brackets needs quotes", key.span, hint)
        elif key.text.endswith(":"):
            self._report("yaml-syntax", "a space must follow the colon", key.span, f"write `{key.text} ...`")
        elif glued := _GLUED.match(key.text):
            self._report("yaml-syntax", "a space must follow the colon", key.span, f"write `{glued[1]}: {glued[2]}`")
        else:
            self._report("yaml-syntax", f"the key `{key.text}` has no value", key.span, f"write `{key.text}: ...`")

    def _merge(self, frame: _Frame) -> None:
        """`<<`: shallow; local keys win, then earlier maps."""
        for node in frame.merged:
            for source in node.items if node.kind == "list" else (node,):
                if source.kind != "map":
                    self._report("yaml-merge", "`<<` takes a map or a list of maps", source.span)
                for key, value in source.fields.items():
                    if key not in frame.fields:
                        frame.fields[key] = value
                        frame.key_spans[key] = source.key_spans[key]

    # ── limits and traps ──

    def _event_span(self, event: Event) -> Span:
        return self._span(event.start, event.end)

    def _tag(self, event: Event) -> None:
        if event.tag is not None:
            match = re.match(r"(?:&\S*\s+)?(!\S*)", self.text[event.start.index : event.end.index])
            tag = match[1] if match else event.tag
            span = self._span(event.start, event.start._replace(column=event.start.column + max(1, len(tag))))
            hint = "delete it; text that looks like a number goes in quotes"
            self._report("yaml-tag", f"`{tag}` is a YAML tag, and a spec has none", span, hint)

    def _grow(self, size: int, event: Event) -> None:
        self._size += size
        if self._size > MAX_NODES:
            message = f"the file expands to more than {MAX_NODES:,} values here"
            self._report("yaml-bomb", message, self._event_span(event), "use fewer aliases, or several files")
            raise _UnreadableError

    def _too_deep(self, event: Event) -> None:
        self._report("yaml-depth", f"values are nested more than {MAX_DEPTH} deep", self._event_span(event))
        raise _UnreadableError

    def _odd_space(self, event: Event, *, is_key: bool) -> None:
        found = _ODD_SPACE.search(event.text)
        if not found:
            return
        edge = event.text[0] == found[0] or event.text[-1] == found[0] or f":{found[0]}" in event.text
        if not (edge or is_key):
            return
        offset = self.text.index(found[0], event.start.index) - event.start.index
        place = event.start._replace(column=event.start.column + offset) if is_key or offset == 0 else event.start
        message = f"this looks like a space but is another character (U+{ord(found[0]):04X})"
        span = self._span(place, place._replace(column=place.column + 1))
        self._report("yaml-nbsp", message, span, "replace it by an ordinary space")


def too_big(node: Node, span: Span | None = None) -> list[Diagnostic]:
    """`yaml-depth` and `yaml-bomb` for a tree that was put together from several texts."""
    place = span or node.first_line()
    found: list[Diagnostic] = []
    if node.height > MAX_DEPTH:
        found.append(Diagnostic("yaml-depth", f"values are nested more than {MAX_DEPTH} deep", place))
    if node.size > MAX_NODES:
        found.append(Diagnostic("yaml-bomb", f"the spec expands to more than {MAX_NODES:,} values", place))
    return found

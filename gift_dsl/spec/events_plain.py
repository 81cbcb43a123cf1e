"""The events of the part of YAML that specs are written in; for any other text there is no answer.

Read here: one document of block and flow maps and lists; plain and quoted scalars that end on their line (double
quotes without escapes); comments. Anything else gives None, as does every text that may be wrong: anchors, tags, block
texts, tabs, scalars of several lines, odd indentation. So each rule below may refuse too much, never too little.
"""

from __future__ import annotations

import re
from typing import Final

from gift_dsl.spec.events import BLOCK_WORDS, FLOW_WORDS, Event, Mark

MAX_CHARACTERS: Final = 1 << 16
"""Longer texts go to ruamel, which yields its events one by one."""
MAX_DEPTH: Final = 64
MAX_KEY: Final = 1000
"""YAML ends a simple key at 1024 characters."""

# First characters of a plain scalar: no indicator, no odd space, and neither `---` nor `...`.
_FIRST: Final = r"""(?=[^\s\0\-?:,\[\]{}#&*!|>'"%@`.]|-[0-9A-Za-z.]|\.[0-9A-Za-z])"""
_QUOTED: Final = r""""([^"\\\n\0]*+)"|'((?:[^'\n\0]++|'')*)'(?!')"""
_BLOCK: Final = re.compile(rf"({_FIRST}{BLOCK_WORDS})|{_QUOTED}|([\[{{])|(-)(?=[ \n])")
_FLOW: Final = re.compile(rf"({_FIRST}{FLOW_WORDS})|{_QUOTED}|([\[{{])")
_PLAIN, _DOUBLE, _SINGLE, _BRACKET, _DASH = range(1, 6)
_BLANK: Final = re.compile(r"(?: *+(?:#[^\n\0]*+)?\n)* *+(?:#[^\n\0]*+)?")
_STYLES: Final = ("", "", '"', "'")


class _Unknown(Exception):  # noqa: N818  # no error: another reader takes over
    """The text may be YAML, but not of the part that is read here."""


def plain_events(text: str) -> list[Event] | None:
    """The events of `text`, those of `ruamel_events`; None where this part of YAML does not hold it."""
    if len(text) > MAX_CHARACTERS or "\t" in text or "\r" in text:
        return None
    try:
        return _Reader(text).read()
    except _Unknown:
        return None


class _Reader:
    """One pass over a text; `index`, `line` and `column` are those of the next token, column -1 at the end."""

    __slots__ = ("begin", "column", "depth", "events", "index", "line", "text")

    def __init__(self, text: str) -> None:
        self.text = text + "\0"
        self.events: list[Event] = []
        self.index = self.line = self.begin = self.column = self.depth = 0

    def read(self) -> list[Event]:
        self.skip(0)
        start = self.mark()
        self.events.append(Event("document", start, start))
        self.node(-1)
        if self.column >= 0:
            raise _Unknown
        return self.events

    def mark(self) -> Mark:
        return Mark(self.index, self.line, self.index - self.begin)

    def skip(self, index: int) -> None:
        """Go to the next token at or behind `index`, over blanks, comments and line ends."""
        text = self.text
        match = _BLANK.match(text, index)
        assert match is not None  # it matches the empty text too
        end = match.end()
        lines = text.count("\n", index, end)
        if lines:
            self.line += lines
            self.begin = text.rfind("\n", index, end) + 1
        self.index = end
        self.column = end - self.begin if text[end] != "\0" else -1

    def scalar(self, match: re.Match[str]) -> None:
        """A scalar of one line, which starts at the next token."""
        kind, begin, line = match.lastindex or 0, self.begin, self.line
        value = match[kind].replace("''", "'") if kind == _SINGLE else match[kind]
        start, end = match.span()
        first, last = Mark(start, line, start - begin), Mark(end, line, end - begin)
        self.events.append(Event("scalar", first, last, None, None, value, _STYLES[kind]))

    def is_key(self, match: re.Match[str]) -> bool:
        """Whether a scalar is a key; a colon without a space behind it is not decided here."""
        end = match.end()
        if self.text[end] != ":":
            return False
        if self.text[end + 1] not in " \n" or end - match.start() > MAX_KEY:
            raise _Unknown
        return True

    # ── block ──

    def node(self, indent: int, *, after_key: bool = False) -> None:
        """The value at the next token, inside a collection at column `indent`, and the way to the token behind it.

        On the line of its key (`after_key`) no block map or list may start.
        """
        match = _BLOCK.match(self.text, self.index)
        if match is None:
            raise _Unknown
        kind = match.lastindex
        if kind == _BRACKET:
            self.flow()
            self.skip(self.index)
        elif kind == _DASH or self.is_key(match):
            if after_key:
                raise _Unknown
            self.block(match)
        else:
            self.scalar(match)
            self.skip(match.end())
        if self.column > indent:
            raise _Unknown  # several lines, or an error

    def block(self, match: re.Match[str]) -> None:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Unknown
        start, column = self.mark(), self.column
        if match.lastindex == _DASH:
            self.events.append(Event("list", start, start))
            self.items(column)
            kind = "end list"
        else:
            self.events.append(Event("map", start, start))
            self.entries(column, match)
            kind = "end map"
        if self.column == column:
            raise _Unknown  # a list item among keys, or a key among items
        end = self.mark()
        self.events.append(Event(kind, end, end))
        self.depth -= 1

    def entries(self, column: int, match: re.Match[str] | None) -> None:
        while match is not None and match.lastindex != _BRACKET and match.lastindex != _DASH and self.is_key(match):
            self.scalar(match)
            line = self.line
            self.skip(match.end() + 1)
            if self.column > column:
                self.node(column, after_key=self.line == line)
            elif self.column == column and self.at_dash():
                self.unindented(column)
            else:
                here = self.mark()  # ruamel puts an empty value at the next token
                self.events.append(Event("scalar", here, here))
            match = _BLOCK.match(self.text, self.index) if self.column == column else None

    def unindented(self, column: int) -> None:
        """A list under its key, at the key's own column."""
        start = self.mark()
        self.events.append(Event("list", start, Mark(start.index + 1, start.line, column + 1)))
        self.items(column)
        end = self.mark()
        self.events.append(Event("end list", end, end))

    def items(self, column: int) -> None:
        while self.column == column and self.at_dash():
            self.skip(self.index + 1)
            if self.column <= column:
                raise _Unknown  # an empty item
            self.node(column)

    def at_dash(self) -> bool:
        return self.text[self.index] == "-" and self.text[self.index + 1] in " \n"

    # ── flow ──

    def flow(self) -> None:
        """A bracket at the next token; `index` is then behind its end."""
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Unknown
        start, index = self.mark(), self.index
        is_map = self.text[index] == "{"
        end = Mark(index + 1, start.line, start.column + 1)
        self.events.append(Event("map" if is_map else "list", start, end, None, None, "", "", True))
        self.skip(index + 1)
        self.flow_parts("}" if is_map else "]", is_map)
        start, index = self.mark(), self.index
        end = Mark(index + 1, start.line, start.column + 1)
        self.events.append(Event("end map" if is_map else "end list", start, end))
        self.index = index + 1
        self.depth -= 1

    def flow_parts(self, close: str, is_map: bool) -> None:
        text = self.text
        while text[self.index] != close:
            if is_map:
                self.flow_key()
            self.flow_value()
            if text[self.index] == ",":
                self.skip(self.index + 1)
            elif text[self.index] != close:
                raise _Unknown

    def flow_key(self) -> None:
        match = _FLOW.match(self.text, self.index)
        if match is None or match.lastindex == _BRACKET or not self.is_key(match):
            raise _Unknown
        self.scalar(match)
        self.skip(match.end() + 1)

    def flow_value(self) -> None:
        match = _FLOW.match(self.text, self.index)
        if match is None:
            raise _Unknown
        if match.lastindex == _BRACKET:
            self.flow()
            self.skip(self.index)
        else:
            self.scalar(match)
            self.skip(match.end())

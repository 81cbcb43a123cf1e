# pyright: basic
# (ruamel's parser classes carry no usable types; what leaves this file is typed)
"""The events of any YAML text, from ruamel.yaml's pure Python parser: the only file that imports ruamel.

The class below replaces the innermost loops of ruamel's reader and scanner, which saves a third of the time of a
parse, and refuses directives where they stand. That the events are those of `YAML(typ="safe", pure=True).parse` is
a test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)
from ruamel.yaml.parser import Parser
from ruamel.yaml.reader import Reader
from ruamel.yaml.scanner import Scanner, ScannerError
from ruamel.yaml.tokens import ScalarToken, Token

from gift_dsl.spec.events import BLOCK_WORDS, FLOW_WORDS, Event, EventKind, Mark, YamlSyntaxError


def ruamel_events(text: str) -> Iterator[Event]:
    """Yield the events of all documents in `text`.

    `text` holds no control characters other than tab and line ends, no byte order mark, and no NEL, LS or PS.

    Raises:
        YamlSyntaxError: at the first place that is not YAML.
    """
    parser = _Parser(text)
    try:
        while parser.check_event():
            found = parser.get_event()
            convert = _CONVERT.get(type(found))
            if convert is not None:
                yield convert(found)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        problem, context = str(error.problem or error.context), str(error.context or "")
        raise YamlSyntaxError(problem, mark, context, error.context_mark) from error
    except (ValueError, OverflowError) as error:
        # chr() of an escape such as \UFFFFFFFF
        raise YamlSyntaxError("found unknown escape character", parser.get_mark()) from error


def _scalar(event: Any) -> Event:  # noqa: ANN401
    return Event(
        "scalar", event.start_mark, event.end_mark, event.anchor, event.tag, event.value, event.style or "", False
    )


def _start(kind: EventKind, event: Any) -> Event:  # noqa: ANN401
    return Event(kind, event.start_mark, event.end_mark, event.anchor, event.tag, "", "", bool(event.flow_style))


_CONVERT: Final[dict[type, Callable[[Any], Event]]] = {
    ScalarEvent: _scalar,
    MappingStartEvent: lambda event: _start("map", event),
    SequenceStartEvent: lambda event: _start("list", event),
    MappingEndEvent: lambda event: Event("end map", event.start_mark, event.end_mark),
    SequenceEndEvent: lambda event: Event("end list", event.start_mark, event.end_mark),
    AliasEvent: lambda event: Event("alias", event.start_mark, event.end_mark, event.anchor),
    DocumentStartEvent: lambda event: Event("document", event.start_mark, event.end_mark),
}


_BLOCK_WORDS: Final = re.compile(BLOCK_WORDS)
_FLOW_WORDS: Final = re.compile(FLOW_WORDS)
_BLOCK_BLANK: Final = re.compile(r" *(?:#[^\r\n\0]*)?")
_FLOW_BLANK: Final = re.compile(r"[ \t]*(?:#[^\r\n\0]*)?")


class _Parser(Reader, Scanner, Parser):
    """Reader, scanner and parser in one object, reading one text that is in memory from the start."""

    comment_handling = None
    processing_version = scanner_processing_version = (1, 2)  # pyright: ignore[reportAssignmentType]
    # The parents look these up through properties; here all three are the object itself.
    reader: Any = None
    scanner: Any = None
    resolver: Any = None
    # Whether tokens[0] is final: nothing fetched later can put a token before it.
    _ready = False

    def __init__(self, text: str) -> None:
        self.reader = self.scanner = self.resolver = self
        Reader.__init__(self, text, loader=self)
        Scanner.__init__(self, loader=self)
        Parser.__init__(self, loader=self)

    def get_mark(self) -> Mark:
        return Mark(self.index, self.line, self.column)

    def peek(self, index: int = 0) -> str:
        return self.buffer[self.pointer + index]

    def forward(self, length: int = 1) -> None:
        start = self.pointer
        self.pointer = self.index = end = start + length
        passed = self.buffer[start:end]
        last = max(passed.rfind("\n"), passed.rfind("\r"))
        if last < 0:
            self.column += length
            return
        # a carriage return before a line feed does not yet end its line
        ends = passed.count("\n") + passed.count("\r") - (passed + self.buffer[end]).count("\r\n")
        self.line += ends
        self.column = len(passed) - last - 1 if ends else self.column + length

    def check_token(self, *choices: type) -> bool:
        if not self._ready:
            self._make_ready()
        return bool(self.tokens) and (not choices or isinstance(self.tokens[0], choices))

    def peek_token(self) -> Token:
        if not self._ready:
            self._make_ready()
        return self.tokens[0]

    def get_token(self) -> Token:
        token = self.peek_token()
        self._ready = False
        self.tokens_taken += 1
        del self.tokens[0]
        return token

    def _make_ready(self) -> None:
        while not self.done and (not self.tokens or self._may_be_key()):
            self.fetch_more_tokens()
        self._ready = True

    def _may_be_key(self) -> bool:
        """Whether the next token may yet turn out to begin a key, so that a token goes before it."""
        if not self.possible_simple_keys:
            return False
        self.stale_possible_simple_keys()
        taken = self.tokens_taken
        return any(key.token_number == taken for key in self.possible_simple_keys.values())

    def scan_to_next_token(self) -> None:
        blank = _FLOW_BLANK if self.flow_context else _BLOCK_BLANK
        while True:
            match = blank.match(self.buffer, self.pointer)
            assert match is not None  # it matches the empty text too
            self.forward(match.end() - match.start())
            if not self.scan_line_break():
                return
            if not self.flow_context:
                self.allow_simple_key = True

    def scan_plain(self) -> ScalarToken:
        start, simple = self.get_mark(), self.allow_simple_key
        words = (_FLOW_WORDS if self.flow_context else _BLOCK_WORDS).match(self.buffer, self.pointer)
        assert words is not None  # ruamel has looked at the first character
        self.forward(words.end() - words.start())
        end = self.get_mark()
        self.allow_simple_key = False
        spaces = self.scan_plain_spaces(self.indent + 1, start)
        if spaces and self._may_continue():
            # several lines: ruamel's own loop, from the beginning
            self.index, self.line, self.column = start
            self.pointer = start.index
            self.allow_simple_key = simple
            return super().scan_plain()
        return ScalarToken(words.group(), True, start, end)

    def _may_continue(self) -> bool:
        """Whether the plain scalar may go on here, behind spaces and line ends."""
        if not self.flow_context and self.column <= self.indent:
            return False
        return self.peek() not in ("\0 \t\r\n#,:[]{}" if self.flow_context else "\0 \t\r\n#")

    def scan_directive(self) -> None:
        raise ScannerError(None, None, "found a directive", self.get_mark())

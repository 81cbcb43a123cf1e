"""The events of a YAML text.

A spec is nearly always written in a small part of YAML, which `events_plain` reads at a fifth of the cost; whatever it
does not know is read by ruamel, from the beginning. That both give the same events is a test.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final, Literal, NamedTuple

ODD_SPACES: Final = "\u00a0\u1680\u2000-\u200b\u202f\u205f\u3000"
"""Characters that look like a space and are none, as a class of a regular expression."""

EventKind = Literal["document", "map", "end map", "list", "end list", "scalar", "alias"]


class Mark(NamedTuple):
    """A position in the text; all three count from 0. `column` counts code points."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]  # a position, not the method of tuples
    line: int
    column: int


class Event(NamedTuple):
    """One event. `style` is `'`, `"`, `|`, `>` or empty; `flow` is true for `{` and `[`."""

    kind: EventKind
    start: Mark
    end: Mark
    anchor: str | None = None
    tag: str | None = None
    text: str = ""
    style: str = ""
    flow: bool = False


class YamlSyntaxError(Exception):
    """The text is not YAML. `problem` and `context` are ruamel's words; `syntax.explain` turns them into ours."""

    def __init__(self, problem: str, mark: Mark, context: str = "", context_mark: Mark | None = None) -> None:
        super().__init__(problem)
        self.problem = problem
        self.mark = mark
        self.context = context
        self.context_mark = context_mark or mark


def split_lines(text: str) -> list[str]:
    """Lines as the parser counts them: ended by LF, CR LF or CR, and by nothing else."""
    return re.split(r"\r\n|\n|\r", text)


def _words(inside: str) -> str:
    """The part of a plain scalar that stands on its first line: words without the characters `inside`."""
    # A colon belongs to a word unless white space follows; the second and later words start with no `#`.
    colon = r":(?![\0 \t\r\n])"
    word = rf"(?:[^\0 \t\r\n:{inside}]++|{colon})"
    # Only single characters are repeated possessively: groups are repeated wrongly so by Python 3.11.0 to 3.11.4.
    return rf"{word}+(?: ++(?:[^\0 \t\r\n:#{inside}]|{colon}){word}*)*"


BLOCK_WORDS: Final = _words("")
FLOW_WORDS: Final = _words(r",\[\]{}")


def parse_events(text: str) -> Iterator[Event]:
    """Yield the events of all documents in `text`.

    `text` holds no control characters other than tab and line ends, no byte order mark, and no NEL, LS or PS.

    Raises:
        YamlSyntaxError: at the first place that is not YAML.
    """
    from gift_dsl.spec.events_plain import plain_events

    found = plain_events(text)
    if found is not None:
        yield from found
        return
    from gift_dsl.spec.events_ruamel import ruamel_events

    yield from ruamel_events(text)

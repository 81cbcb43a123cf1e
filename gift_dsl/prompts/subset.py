"""What a prompt template may contain, and the check that says so.

A template comes with a shared spec, so it is a stranger's code. Jinja2's sandbox stops escapes into Python, but not
`'a' * 10**9`; therefore everything is refused that is not on a short list, before it is ever compiled:

    statements   if, elif, else; for, at most two deep, over a variable or a part of one, `flatten`ed or not; raw
    expressions  variables, declared fields, subscripts and slices, constants, lists of constants, and, or, not,
                 comparisons, `in`, `+ - / //` on numbers, `~`, `a if b else c`
    filters      FILTERS, with constants as arguments; `flatten`, which is ours, makes one list of a list of lists
    tests        TESTS
    in a loop    `loop.index` and the other LOOP_ATTRIBUTES

There are no calls, so no methods either; nothing assigns, includes, imports or defines.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

MAX_TEXT_BYTES: Final = 32 * 1024
"""Of one template, in UTF-8."""
MAX_NODES: Final = 2_000
"""Of its syntax tree: bounds the memory that one expression can take to this many times the largest value."""
MAX_DEPTH: Final = 40
"""Of its syntax tree."""
MAX_BRACKETS: Final = 12
"""Brackets open at once. Jinja2's parser recurses about 17 frames for each."""
MAX_BLOCKS: Final = 20
"""Statements open at once."""
MAX_LOOPS: Final = 2
MAX_STRING: Final = 2_000
"""Characters of a string constant."""
MAX_NUMBER: Final = 1_000_000
"""Of a number constant, without its sign."""
MAX_CONCATENATED: Final = 64
"""Operands of `~` in a whole template."""
MAX_ITEMS: Final = 16
"""Of a list constant."""
MAX_SEPARATOR: Final = 16
"""Characters that `join` puts between two items, or that `trim` strips."""
MAX_DIGITS: Final = 6
"""Decimals that `round` keeps."""

FILTERS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "abs": 0,
        "capitalize": 0,
        "count": 0,
        "d": 2,
        "default": 2,
        "first": 0,
        "flatten": 0,
        "float": 0,
        "int": 0,
        "join": 1,
        "last": 0,
        "length": 0,
        "lower": 0,
        "round": 1,
        "title": 0,
        "trim": 1,
        "upper": 0,
    }
)
"""Filters by name, with the most arguments each may have."""
TESTS: Final = frozenset({"defined", "false", "none", "true", "undefined"})
LOOP_ATTRIBUTES: Final = frozenset({"first", "index", "index0", "last", "length", "revindex", "revindex0"})

ProblemCode = Literal["template-syntax", "template-forbidden", "template-unknown-variable"]


@dataclass(frozen=True, slots=True)
class TemplateProblem:
    """One reason why a template is refused.

    Attributes:
        line: the place, counted from 1 inside the template's text.
        message: one sentence that shows what caused it.
        hint: the repair, where one is known.
        code: what kind of problem it is. Stable.
    """

    line: int
    message: str
    hint: str | None
    code: ProblemCode


def check_template(text: str, variables: Collection[str]) -> list[TemplateProblem]:
    """Everything that is wrong with a template, in order of lines; of syntax errors only the first.

    Args:
        text: the template.
        variables: names that its values will have when it is rendered.
    """
    if not any(mark in text for mark in ("{{", "{%", "{#")) and len(text.encode(errors="replace")) <= MAX_TEXT_BYTES:
        return []  # plain text needs no parser, and importing one costs 34 ms

    from gift_dsl.prompts.grammar import find_problems

    return find_problems(text, frozenset(variables))


def forbidden(line: int, message: str, hint: str | None = None) -> TemplateProblem:
    """A problem of something that Jinja2 knows and a prompt may not use."""
    return TemplateProblem(line, message, hint, "template-forbidden")

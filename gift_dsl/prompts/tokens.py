"""The allow-list applied to the tokens of a template, before it is parsed.

Jinja2's parser is recursive and converts constants as it goes, so what would exhaust its stack, or make Python's own
conversions fail or warn, must not reach it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from gift_dsl.prompts import subset
from gift_dsl.prompts.sandbox import environment
from gift_dsl.prompts.subset import TemplateProblem, forbidden

_OPENING: Final = frozenset({"autoescape", "block", "call", "filter", "for", "if", "macro", "set", "with"})
# One frame of the parser each, inside one tag: `not not x`, `- - x`, `a if b else c if d else e`.
_RECURSIVE: Final = frozenset({"not", "else", "-", "+"})
_STRING: Final = re.compile(r"(?:[^\\]|\\[nt\\'\"])*")


def token_problems(text: str) -> Iterator[TemplateProblem]:
    """What is wrong with single tokens, or with how deep they nest; `TemplateSyntaxError` where there are none."""
    blocks = 0
    for is_statement, tag in _tags(text):
        line, _, first = tag[0]
        blocks += is_statement * ((first in _OPENING) - first.startswith("end"))
        if blocks > subset.MAX_BLOCKS:
            yield forbidden(line, f"more than {subset.MAX_BLOCKS} statements are open at once")
            return
        yield from _nesting_problems(tag)
        for token in tag:
            yield from _value_problems(*token)


def _tags(text: str) -> Iterator[tuple[bool, list[tuple[int, str, str]]]]:
    """Whether it is a statement, and the tokens, of each pair of delimiters, also of one that is never closed.

    Comments, raw text and blanks are left out.
    """
    is_statement = False
    tag: list[tuple[int, str, str]] = []
    for line, kind, value in environment().lex(text):
        if kind in ("variable_begin", "block_begin"):
            if tag:
                yield is_statement, tag
            is_statement, tag = kind == "block_begin", []
        elif kind in ("name", "operator", "integer", "float", "string"):
            tag.append((line, kind, value))
    if tag:
        yield is_statement, tag


def _nesting_problems(tag: Sequence[tuple[int, str, str]]) -> Iterator[TemplateProblem]:
    brackets = recursions = 0
    for line, kind, value in tag:
        if kind == "operator":
            brackets += (value in "([{") - (value in ")]}")
        recursions += value in _RECURSIVE and kind in ("name", "operator")
        if brackets > subset.MAX_BRACKETS or recursions > subset.MAX_DEPTH:
            yield forbidden(line, "the expression is nested too deeply", "write it in several shorter ones")
            return


def _value_problems(line: int, kind: str, value: str) -> Iterator[TemplateProblem]:
    if kind in ("integer", "float") and len(value) > 32:
        yield forbidden(line, f"a number of {len(value)} characters is not allowed")
    elif kind == "string" and not _STRING.fullmatch(value):
        yield forbidden(line, "a string may use only the escapes \\n \\t \\\\ \\' and \\\"")

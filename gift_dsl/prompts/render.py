"""Rendering: a template and values in, text out, in bounded time and space."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache, partial
from types import TracebackType
from typing import Final

from gift_dsl.errors import GiftError

MAX_CHARS: Final = 65_536


class PromptError(GiftError):
    """A template is refused, or cannot be rendered with its values; says in which line of the template."""


class PromptTooLong(PromptError):  # noqa: N818 - a prompt can be too long without an error in its template
    """The rendered text would be longer than the limit. Rendering stops there."""


def render_prompt(text: str, values: Mapping[str, object], *, max_chars: int = MAX_CHARS) -> str:
    """The text of a prompt. Values are text already: `{{` in one stays as it is.

    Empty lines before the text and blanks after it are dropped, so that templates can be put together.

    Args:
        text: a template; compiled once and kept while among the 256 last used.
        values: variables by name. Text, numbers, none, tuples or lists, mappings, and dataclasses of these.
        max_chars: the longest text that is returned.

    Raises:
        PromptTooLong: the text has more than `max_chars` characters.
        PromptError: the template is outside the allow-list, or reads a value that is missing or of another kind.
    """
    return _renderer(text)(values, max_chars)


@lru_cache(maxsize=256)
def _renderer(text: str) -> Callable[[Mapping[str, object], int], str]:
    from gift_dsl.prompts.grammar import find_problems
    from gift_dsl.prompts.sandbox import RENDER_ERRORS, compile_template, pieces

    for problem in find_problems(text, None):
        raise PromptError(f"prompt template, line {problem.line}: {problem.message}")
    return partial(_render, partial(pieces, compile_template(text)), RENDER_ERRORS)


def _render(
    pieces: Callable[[Mapping[str, object]], Iterator[str]],
    errors: tuple[type[Exception], ...],
    values: Mapping[str, object],
    max_chars: int,
) -> str:
    parts: list[str] = []
    size = 0
    try:
        for piece in pieces(values):
            size += len(piece)
            if size > max_chars:
                raise PromptTooLong(f"the prompt has more than {max_chars} characters; {_start([*parts, piece])}")
            parts.append(piece)
    except errors as error:
        raise PromptError(f"prompt template, line {_line(error.__traceback__)}: {error}") from error
    return "".join(parts).lstrip("\n").rstrip()


def _start(parts: list[str]) -> str:
    return f"it begins {''.join(parts)[:60]!r}"


def _line(traceback: TracebackType | None) -> int:
    """The line of the template in which an error arose; Jinja2 puts it into the traceback."""
    line = 1
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line

"""Plain data as YAML that readers of version 1.1 and of 1.2 understand alike.

`no` and `1:30` are quoted because 1.1 reads them as something else, `1e-06` is written `1.0e-06` because 1.1 reads it
as text, and everything that is not plainly a word is in double quotes, which escape whatever cannot be printed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, cast

Comment = Callable[[tuple[str | int, ...]], str | None]

MAX_WIDTH: Final = 100

# A letter or `/` first, so that nothing here is a number or a date; no `: `, no ` #`, nothing special at either end.
_WORD: Final = re.compile(r"[A-Za-z/][A-Za-z0-9_./@+-]*(?:[ :][A-Za-z0-9_./@+-]+)*\Z")
_READ_AS_OTHERS: Final = frozenset({"y", "n", "yes", "no", "on", "off", "true", "false", "null"})
_LINES: Final = re.compile(r"[^\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]*\Z")
_UNPRINTABLE: Final = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def dump_yaml(data: Mapping[str, Any], comment: Comment | None = None) -> str:
    """A map of plain data as YAML.

    Args:
        data: maps with text keys, lists, texts, finite numbers, truth values and None.
        comment: what to say after the line on which the value at a path begins; None says nothing.
    """
    return "".join(f"{line}\n" for line in _map(data, (), 0, comment or (lambda _: None)))


def _map(data: Mapping[str, Any], path: tuple[str | int, ...], indent: int, comment: Comment) -> Iterator[str]:
    for key, value in data.items():
        yield from _entry(f"{' ' * indent}{scalar(key)}:", value, (*path, key), indent, comment)


def _entry(head: str, value: Any, path: tuple[str | int, ...], indent: int, comment: Comment) -> Iterator[str]:
    """A key or a dash with its value: on one line where that is short, else below it."""
    said = comment(path)
    note = f"  # {said}" if said else ""
    if not isinstance(value, dict | list) or not value:
        yield from _single(head, value, indent, note)
    elif _is_short(head, cast("dict[str, Any] | list[Any]", value)):
        yield f"{head} {flow(value)}{note}"
    else:
        yield f"{head}{note}"
        yield from _inside(cast("dict[str, Any] | list[Any]", value), path, indent + 2, comment)


def _inside(
    value: dict[str, Any] | list[Any], path: tuple[str | int, ...], indent: int, comment: Comment
) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _map(value, path, indent, comment)
        return
    for index, item in enumerate(value):
        if isinstance(item, dict) and item:
            first, *more = _map(cast("dict[str, Any]", item), (*path, index), indent + 2, comment)
            yield from (f"{' ' * indent}- {first.lstrip(' ')}", *more)
        else:
            yield from _entry(f"{' ' * indent}-", item, (*path, index), indent, comment)


def _is_short(head: str, value: dict[str, Any] | list[Any]) -> bool:
    """A list of single values that fits on the line; maps stand in lines of their own, so that each can be noted."""
    flat = isinstance(value, list) and not any(isinstance(item, dict | list) for item in value)
    return flat and len(head) + len(flow(value)) < MAX_WIDTH


def _single(head: str, value: Any, indent: int, note: str) -> Iterator[str]:
    if isinstance(value, str) and "\n" in value.rstrip("\n") and _is_block(value):
        yield from _block(head, value, indent, note)
    else:
        yield f"{head} {flow(value)}{note}"


def _is_block(text: str) -> bool:
    """Whether a text of several lines can be written as one: each line as it is."""
    lines = text.split("\n")
    return bool(_LINES.match(text)) and not lines[0].startswith(" ") and lines[0] != "" and not text.endswith("\n\n")


def _block(head: str, text: str, indent: int, note: str) -> Iterator[str]:
    """`|` keeps one line break at the end, `|-` none."""
    yield f"{head} {'|' if text.endswith(chr(10)) else '|-'}{note}"
    for line in text.removesuffix("\n").split("\n"):
        yield f"{' ' * (indent + 2)}{line}" if line else ""


def flow(value: Any) -> str:
    """A value on one line."""
    if isinstance(value, dict):
        found = cast("dict[str, Any]", value)
        return "{" + ", ".join(f"{scalar(key)}: {flow(item)}" for key, item in found.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(flow(item) for item in cast("Sequence[Any]", value)) + "]"
    return scalar(value)


def scalar(value: Any) -> str:
    """A single value.

    Raises:
        TypeError: it is none.
        ValueError: it is a number that is not finite.
    """
    if value is None or isinstance(value, bool | int):
        return json.dumps(value)
    if isinstance(value, float):
        return _number(value)
    if isinstance(value, str):
        return value if _is_word(value) else _quoted(value)
    raise TypeError(f"{value!r} is not plain data")


def _number(value: float) -> str:
    """As Python writes it, with the dot that YAML 1.1 wants before an exponent."""
    text = json.dumps(value, allow_nan=False)
    mantissa, mark, exponent = text.partition("e")
    return f"{mantissa}.0e{exponent}" if mark and "." not in mantissa else text


def _is_word(text: str) -> bool:
    return bool(_WORD.match(text)) and text.lower() not in _READ_AS_OTHERS


def _quoted(text: str) -> str:
    quoted = json.dumps(text, ensure_ascii=False)
    return _UNPRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", quoted)

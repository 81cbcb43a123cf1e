"""What a plain scalar means: the core schema of YAML 1.2.2 (section 10.3.2), and nothing else.

Fixed here and not left to the YAML library, so that the meaning of a spec cannot change with its version. Unlike
YAML 1.1: `no`, `on`, dates, `1:30`, `1_000` and `0b11` are text, `1e6` is a number, `010` is ten and `0o10` eight.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

ScalarKind = Literal["text", "int", "float", "bool", "null"]
Scalar = str | int | float | bool | None

_NULLS: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS: Final[Mapping[str, bool]] = MappingProxyType(
    {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
)
_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_BASED: Final = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z")
_NOT_FINITE: Final = re.compile(r"(?:([-+]?)\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z")
_MAX_DIGITS: Final = sys.float_info.max_10_exp + 1
_NUMBER_START: Final = frozenset("+-.0123456789")


def resolve(text: str) -> tuple[ScalarKind, Scalar]:
    """Kind and value of a plain scalar.

    A number too large for a double, however it is written, is `("float", inf)`, as `.inf` is; the caller refuses
    what is not finite. Other integers stay exact at any size.
    """
    if text[:1] in _NUMBER_START:
        return _number(text)
    if text in _BOOLS:
        return "bool", _BOOLS[text]
    return ("null", None) if text in _NULLS else ("text", text)


def _number(text: str) -> tuple[ScalarKind, Scalar]:
    if _INT.match(text):
        # int() of thousands of digits is an error in Python, and such a number is no double anyway
        digits = text.lstrip("+-").lstrip("0") or "0"
        value = int(digits) if len(digits) <= _MAX_DIGITS else None
        return _integer(value, -1 if text[0] == "-" else 1)
    if _FLOAT.match(text):
        return "float", float(text)
    if _BASED.match(text):
        return _integer(int(text[2:], 8 if text[1] == "o" else 16), 1)
    if match := _NOT_FINITE.match(text):
        return "float", math.nan if match[1] is None else -math.inf if match[1] == "-" else math.inf
    return "text", text


def _integer(size: int | None, sign: int) -> tuple[ScalarKind, Scalar]:
    """An integer from its absolute value; None where that has too many digits to be worked out."""
    if size is None or size > sys.float_info.max:
        return "float", sign * math.inf
    return "int", sign * size

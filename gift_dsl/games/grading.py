"""Is this answer right? Numbers, choices and texts at once; mathematics in worker processes that can be killed.

Every verdict is a function of the gold answer and the given one. What cannot be compared within the limits is wrong
and says so.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Final, Literal, cast

from gift_dsl.games.answer_text import is_delimited, value_as_latex
from gift_dsl.games.math_pool import MathPool

Kind = Literal["math", "number", "choice", "text"]
Reason = Literal["", "different", "unreadable", "unverifiable"]

_MAX_NUMBER_CHARS: Final = 100
_NUMBER: Final = re.compile(
    r"(?P<sign>[+-]?)\s*(?P<whole>\d{1,3}(?:,\d{3})+|\d*)(?P<point>\.\d+)?(?:[eE](?P<exponent>[+-]?\d{1,3}))?"
)
_FRACTION: Final = re.compile(r"(?P<top>[+-]?\s*\d+)\s*/\s*(?P<bottom>\d+)")
_WRAPPERS: Final = (
    re.compile(r"\$(?P<inner>[^$]*)\$"),
    re.compile(r"\\\((?P<inner>.*)\\\)"),
    re.compile(r"\\boxed\{(?P<inner>[^{}]*)\}"),
    re.compile(r"\*\*(?P<inner>[^*]*)\*\*"),
    re.compile(r"(?P<inner>.+)\."),
)
_TEXT: Final = re.compile(r"\\text(?:bf)?\{(?P<inner>[^{}]*)\}")
_LETTER: Final = r"(?:\(\s*([A-Za-z])\s*\)|([A-Za-z])\)?)[.:]?"
_CHOICE: Final = re.compile(rf"\s*(?:\*\*\s*{_LETTER}\s*\*\*[.:]?|{_LETTER})\s*")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an answer is right, and if not, why.

    Attributes:
        correct: it has the value of the gold answer.
        reason: empty for a right answer; else `different`, `unreadable` (no value was found in the answer) or
            `unverifiable` (time or memory ran out, or the gold answer has no value).
        detail: what else is known, for people.
    """

    correct: bool
    reason: Reason = ""
    detail: str = ""


def grade_text(gold: str, answer: str) -> Verdict:
    """Exact but for case and for the amount of white space."""
    return _equal(fold_text(gold) == fold_text(answer))


def grade_choice(gold: str, answer: str, letters: tuple[str, ...]) -> Verdict:
    """The letter of a choice, with nothing beside it but one pair of marks around it and a full stop or colon."""
    letter = parse_choice(answer, letters)
    return Verdict(False, "unreadable") if letter is None else _equal(letter == gold)


@lru_cache(maxsize=4096)
def grade_number(gold: str, answer: str, tolerance: float = 0.0) -> Verdict:
    """One number whose relative error is at most `tolerance`; exact arithmetic, so 0 means equal.

    Raises:
        ValueError: the gold answer is not a number.
    """
    expected, value = parse_number(gold), parse_number(answer)
    if expected is None:
        raise ValueError(f"the gold answer {gold!r} is not a number")
    if value is None:
        return Verdict(False, "unreadable")
    return _equal(abs(value - expected) <= Fraction(repr(tolerance)) * abs(expected))


@lru_cache(maxsize=65_536)
def grade_math(gold: str, answer: str, timeout_s: float = 5.0) -> Verdict:
    r"""Equality of mathematical values by math-verify, both sides read as LaTeX, gold first, in a worker process.

    The gold answer is read inside `\boxed{}`. Of the given one, what its delimiters hold counts; without delimiters
    all of it does, but for a lead-in and a unit (`answer_text`). A text that is the gold answer needs no parser.

    Args:
        gold: LaTeX without delimiters, as data sets hold it.
        answer: what was answered: bare, delimited, boxed, or a sentence that holds it.
        timeout_s: seconds of one comparison; past them the answer is wrong with the reason `unverifiable`.

    Raises:
        MachineError: math-verify is not installed or its worker does not start.
    """
    if answer.strip() == gold.strip() or _is_same_word(gold, answer):
        return Verdict(True)
    if is_delimited(answer):
        delimited = answer
    else:
        latex = value_as_latex(answer)
        if latex is None:
            return Verdict(False, "unreadable", "no value, or several, in a text without LaTeX delimiters")
        delimited = f"${latex}$"
    reply = _shared_pool(os.getpid()).compare(f"\\boxed{{{gold}}}", delimited, timeout_s)
    return Verdict(reply.correct, cast(Reason, reply.reason), reply.detail)


async def grade_math_async(gold: str, answer: str, timeout_s: float = 5.0) -> Verdict:
    """`grade_math` in a thread: other episodes go on while a worker compares. Both share one cache."""
    return await asyncio.to_thread(grade_math, gold, answer, timeout_s)


def parse_number(text: str) -> Fraction | None:
    """The one number that a text is, however it is marked (`$7$`, `**7**`, `1,000`, `3/4`, `7.`), or None."""
    text = _unwrap(text.replace("\N{MINUS SIGN}", "-").strip())
    if len(text) > _MAX_NUMBER_CHARS:
        return None
    if match := _FRACTION.fullmatch(text):
        bottom = int(match["bottom"])
        return Fraction(int(match["top"].replace(" ", "")), bottom) if bottom else None
    match = _NUMBER.fullmatch(text)
    if match is None or not (match["whole"] or match["point"]):
        return None
    plain = f"{match['sign']}{match['whole'].replace(',', '') or '0'}{match['point'] or ''}e{match['exponent'] or 0}"
    return Fraction(plain)


def parse_choice(text: str, letters: tuple[str, ...]) -> str | None:
    """The letter that a text is (`B`, `b`, ` B.`, `(B)`, `B)`, `**B**`); None for all else and for other letters."""
    match = _CHOICE.fullmatch(text)
    letter = next((group.upper() for group in match.groups() if group), None) if match else None
    return letter if letter in letters else None


def fold_text(text: str) -> str:
    """A text without differences of case and white space."""
    return " ".join(text.casefold().split())


def _unwrap(text: str) -> str:
    for _ in range(len(_WRAPPERS)):
        for wrapper in _WRAPPERS:
            if match := wrapper.fullmatch(text):
                text = match["inner"].strip()
    return text


def _is_same_word(gold: str, answer: str) -> bool:
    r"""Whether the gold answer is a word (`\text{even}`) and the given one the same, marked or not."""
    word = _TEXT.fullmatch(gold.strip())
    return word is not None and fold_text(word["inner"]) == fold_text(_unwrap(answer.strip()))


def _equal(same: bool) -> Verdict:
    return Verdict(True) if same else Verdict(False, "different")


@lru_cache(maxsize=1)
def _shared_pool(_process: int) -> MathPool:
    """One pool a process: a fork must not talk to its parent's workers."""
    pool = MathPool()
    atexit.register(pool.close)
    return pool

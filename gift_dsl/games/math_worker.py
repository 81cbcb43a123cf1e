# pyright: basic
"""The process that compares mathematical answers: requests and verdicts are lines of JSON on stdin and stdout.

It is started as a script and imports nothing of gift_dsl, so that a hung or swollen comparison can be killed. An
answer is right by the rule of `grading.grade_math`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import sys
from typing import IO, Any, Final

_MARKS: Final = ("$", "\\(", "\\[", "\\boxed")
_SPACED_NUMBERS: Final = re.compile(r"\s*[+-]?\d[\d.]*(?:\s+[+-]?\d[\d.]*)+\s*")
_THOUSANDS: Final = re.compile(r"\s*[+-]?\d{1,3}(?: \d{3})+\s*")


def serve(memory_bytes: int) -> None:
    """Answer requests `{"gold", "answer", "timeout_s"}` with `{"correct", "reason", "detail"}` until stdin ends."""
    replies = _take_stdout()
    # Ctrl-C goes to the whole process group; the parent decides when this one ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable(logging.CRITICAL)
    try:
        import math_verify  # noqa: F401  # slow: paid before the first request
    except ImportError as error:
        _send(replies, {"ready": False, "detail": str(error)})
        return
    limit_memory(memory_bytes)
    _send(replies, {"ready": True})
    for line in sys.stdin:
        request = json.loads(line)
        _arm(float(request["timeout_s"]))
        try:
            reply = compare(request["gold"], request["answer"])
        except (MemoryError, RecursionError) as error:
            reply = _verdict("unverifiable", type(error).__name__)
        _arm(0)
        _send(replies, reply)


def compare(gold: str, answer: str) -> dict[str, Any]:
    """The verdict on one answer; both sides are read as LaTeX, gold first (`verify` is not symmetric)."""
    expected = _parse(f"\\boxed{{{gold}}}")
    if not expected:
        return _verdict("unverifiable", "the gold answer is not readable")
    found = _parse(answer)
    marked = any(mark in answer for mark in _MARKS)
    if marked and _verify(expected, found):
        return _verdict("")
    whole = _parse(f"${answer.strip()}$")
    if not found and not whole:
        return _verdict("unreadable")
    if not marked and _is_one_value(expected) and _lists_numbers(answer, whole):
        return _verdict("different", "several values")
    return _verdict("" if _verify(expected, found) or _verify(expected, whole) else "different")


def limit_memory(num_bytes: int) -> None:
    """Cap this process's address space, where the system can (Linux; macOS and Windows cannot)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


def _parse(text: str) -> list[Any]:
    from math_verify import parse

    # Its own alarm cannot stop C code; the parent can stop this process.
    return parse(text, parsing_timeout=None)  # pyright: ignore[reportArgumentType]  # documented, typed as int


def _verify(gold: list[Any], answer: list[Any]) -> bool:
    from math_verify import verify

    return bool(answer) and verify(gold, answer, timeout_seconds=None)


def _is_one_value(expected: list[Any]) -> bool:
    from sympy import Expr

    return isinstance(expected[0], Expr)


def _lists_numbers(answer: str, whole: list[Any]) -> bool:
    """Whether an answer without LaTeX marks is a list ("5 or 6"); read loosely, its last number would count."""
    from sympy import FiniteSet

    if _SPACED_NUMBERS.fullmatch(answer) and not _THOUSANDS.fullmatch(answer):
        return True
    several = whole[0] if whole else None
    return isinstance(several, FiniteSet) and all(getattr(value, "is_number", False) for value in several.args)


def _verdict(reason: str, detail: str = "") -> dict[str, Any]:
    return {"correct": not reason, "reason": reason, "detail": detail}


def _take_stdout() -> IO[str]:
    """The real stdout for replies alone; what a library prints goes to stderr."""
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    return replies


def _arm(seconds: float) -> None:
    """End this process after so much processor time, should the parent be gone and unable to; 0 disarms."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, 2 * seconds)


def _send(replies: IO[str], reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


if __name__ == "__main__":
    serve(int(sys.argv[1]))

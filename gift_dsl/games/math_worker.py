# pyright: basic
"""The process that compares mathematical answers: requests and verdicts are lines of JSON on stdin and stdout.

It is started as a script and imports nothing of gift_dsl, so that a hung or swollen comparison can be killed. The
rule is that of `grading.grade_math`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
from typing import IO, Any


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
    """The verdict on one answer; both sides are LaTeX with delimiters, gold first (`verify` is not symmetric)."""
    from math_verify import verify

    expected = _parse(gold)
    if not expected:
        return _verdict("unverifiable", "the gold answer is not readable")
    found = _parse(answer)
    if not found:
        return _verdict("unreadable")
    return _verdict("" if verify(expected, found, timeout_seconds=None) else "different")


def limit_memory(num_bytes: int) -> None:
    """Cap this process's address space, where the system can (Linux; macOS and Windows cannot)."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (num_bytes, num_bytes))


def _parse(text: str) -> list[Any]:
    """What the delimiters hold; of several parts math-verify chooses, or makes a set of them."""
    from math_verify import LatexExtractionConfig, parse

    # Its own alarm cannot stop C code; the parent can stop this process.
    return parse(text, [LatexExtractionConfig()], parsing_timeout=None)  # pyright: ignore[reportArgumentType]


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

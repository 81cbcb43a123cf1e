"""The process that compares mathematics as the GIFT paper's scripts do: lines of JSON in, `true` or `false` out.

It imports nothing of gift_dsl, so that a comparison that hangs or swells can be killed with it.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
from typing import Any

_MEMORY_BYTES = 2 << 30


def _serve() -> None:
    replies = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what a library prints is no reply
    logging.disable(logging.CRITICAL)
    library: Any = importlib.import_module("math_verify")
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    replies.write("ready\n")
    replies.flush()
    for line in sys.stdin:
        gold, answer = json.loads(line)
        replies.write("true\n" if _is_equal(library, gold, answer) else "false\n")
        replies.flush()


def _is_equal(library: Any, gold: str, answer: str) -> bool:  # noqa: ANN401 - a module
    try:
        # exchanged, and the gold answer without delimiters: that is the point
        return bool(library.verify(library.parse(answer), library.parse(gold)))
    except (MemoryError, RecursionError):
        return False


if __name__ == "__main__":
    _serve()

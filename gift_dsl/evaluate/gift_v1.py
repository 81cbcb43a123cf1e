r"""The scoring of the GIFT paper's own scripts, for comparison (`compat: gift_v1`).

Its rules, defects included:

- the answer is everything from the first `<answer>` to the last `</answer>`; without one the item is wrong;
- of choices the first letter counts that no letter stands before and a full stop, a blank or the end after: `B`, `B.`
  and `Option B` are B, `(B)` and `B)` nothing, `A cat is B.` is A;
- of mathematics the gold answer is parsed without delimiters, so that math-verify sees a part of it or nothing, and
  the arguments of `verify` are exchanged: of MATH-500's own golds about 22 % are called wrong;
- of a judge's reply any capital A counts as A.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Final, Literal

from gift_dsl.errors import MachineError

_ANSWER: Final = re.compile(r"<answer>(.*)</answer>", re.DOTALL)
_WORKER: Final = Path(__file__).with_name("gift_v1_worker.py")
_START_TIMEOUT_S: Final = 120.0
_TIMEOUT_S: Final = 20.0
"""math-verify stops itself after 5 s for each parse and comparison, unless it hangs in C code."""


def read_answer(text: str) -> str | None:
    """What stands between the first opening and the last closing tag; None where that is nothing."""
    match = _ANSWER.search(text)
    return match[1] if match else None


def read_letter(answer: str, last: str) -> str | None:
    """The first letter from A to `last` that looks like a choice."""
    match = re.search(rf"(?<![A-Za-z])([A-{last}])(\.|(?:\s|$))", answer.strip())
    return match[1] if match else None


def read_verdict(reply: str) -> Literal["A", "B", "tie", "neither"] | None:
    """What a judge is taken to have said."""
    if "neither" in reply.lower():
        return "neither"
    if "A" in reply:
        return "A"
    if "B" in reply:
        return "B"
    return "tie" if "tie" in reply else None


def verify_math(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """Whether each (gold, answer) is called equal; what does not end in time is not.

    Raises:
        MachineError: math-verify is not installed.
    """
    verdicts: list[bool] = []
    while len(verdicts) < len(pairs):
        # a comparison that hangs ends its process; the next one goes on behind it
        verdicts += _run(pairs[len(verdicts) :])
        if len(verdicts) < len(pairs):
            verdicts.append(False)
    return verdicts


def _run(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    """The verdicts of one process, up to the first pair that it does not survive."""
    process = subprocess.Popen(
        [sys.executable, "-P", str(_WORKER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
    )
    assert process.stdin is not None
    assert process.stdout is not None
    replies = process.stdout
    lines: SimpleQueue[str] = SimpleQueue()

    def read() -> None:
        for line in replies:
            lines.put(line)
        lines.put("")

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        if _next(lines, _START_TIMEOUT_S) != "ready\n":
            raise MachineError("comparing mathematics needs the package math-verify")
        verdicts: list[bool] = []
        for pair in pairs:
            process.stdin.write(json.dumps(pair) + "\n")
            process.stdin.flush()
            line = _next(lines, _TIMEOUT_S)
            if not line:
                break
            verdicts.append(line == "true\n")
        return verdicts
    finally:
        process.kill()
        process.wait()
        reader.join()
        process.stdout.close()
        with suppress(OSError):  # an unsent request to a process that has ended
            process.stdin.close()


def _next(lines: SimpleQueue[str], timeout_s: float) -> str:
    try:
        return lines.get(timeout=timeout_s)
    except Empty:
        return ""

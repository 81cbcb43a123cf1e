"""Worker processes for mathematical comparisons, each killed and replaced when it exceeds its limits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, LifoQueue, SimpleQueue
from types import TracebackType
from typing import Any, Final

from gift_dsl.errors import MachineError

_WORKER: Final = Path(__file__).with_name("math_worker.py")
_START_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True, slots=True)
class Reply:
    """What a worker found; `reason` and `detail` as in `grading.Verdict`."""

    correct: bool
    reason: str
    detail: str = ""


class MathPool:
    """Up to `workers` processes, started when first needed; usable from any thread.

    Close it, or use it in a `with` statement: workers end with it.
    """

    def __init__(self, workers: int = 4, memory_gib: float = 2.0) -> None:
        self._memory_bytes = int(memory_gib * 2**30)
        self._owner = os.getpid()
        self._closed = False
        # Last in, first out: a worker that runs is taken before a place where none has been started.
        self._places: LifoQueue[_Worker | None] = LifoQueue()
        self._running: set[_Worker] = set()
        for _ in range(workers):
            self._places.put(None)

    def __enter__(self) -> MathPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def compare(self, gold: str, answer: str, timeout_s: float) -> Reply:
        """Whether `answer` has the value of `gold`; waits for a free worker, whose time alone is limited.

        Raises:
            MachineError: no worker starts, or the pool is closed.
        """
        request = {"gold": gold, "answer": answer, "timeout_s": timeout_s}
        # A worker that dies by itself may have been killed by someone else: the answer gets a second one.
        for _ in range(2):
            worker, replied = self._take(), False
            try:
                reply = worker.ask(request, timeout_s)
                replied = True
                return Reply(bool(reply["correct"]), str(reply["reason"]), str(reply["detail"]))
            except _TimeOutError:
                return Reply(False, "unverifiable", f"no verdict after {timeout_s:g} s")
            except _DeathError:
                continue
            finally:
                # Also after an interrupt: a reply that nobody waited for must not answer the next request.
                if not replied:
                    self._discard(worker)
                self._places.put(worker if replied else None)
        return Reply(False, "unverifiable", "the comparison ended its process")

    def close(self) -> None:
        """End all workers; those that compare at this moment too. In a fork of the process it ends none."""
        self._closed = True
        if self._owner == os.getpid():
            for worker in tuple(self._running):
                self._discard(worker)

    def _take(self) -> _Worker:
        """A worker that runs, in the place of one that is free."""
        worker = self._places.get()
        try:
            return worker or self._start()
        except BaseException:
            self._places.put(worker)
            raise

    def _start(self) -> _Worker:
        if self._closed:
            raise MachineError("the pool of math workers is closed")
        worker = _Worker(self._memory_bytes)
        self._running.add(worker)
        try:
            ready = worker.receive(_START_TIMEOUT_S)
        except (_TimeOutError, _DeathError) as error:
            self._discard(worker)
            raise MachineError(f"a math worker did not start within {_START_TIMEOUT_S:g} s") from error
        if not ready["ready"]:
            self._discard(worker)
            raise MachineError(f"comparing mathematics needs the package math-verify: {ready['detail']}")
        return worker

    def _discard(self, worker: _Worker) -> None:
        self._running.discard(worker)
        worker.kill()


class _TimeOutError(Exception):
    """No reply in time."""


class _DeathError(Exception):
    """The worker ended without a reply."""


class _Worker:
    """One process and the thread that reads it (pipes of Windows cannot be waited for with a time-out)."""

    def __init__(self, memory_bytes: int) -> None:
        # -P: the folder of the script is full of modules with common names. A fixed hash seed: sympy's order of terms.
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_WORKER), str(memory_bytes)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            encoding="utf-8",
            env={**os.environ, "PYTHONHASHSEED": "0"},
        )
        self._lines: SimpleQueue[str] = SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def ask(self, request: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except (OSError, ValueError) as error:  # it has ended, or `close` has just ended it
            raise _DeathError from error
        return self.receive(timeout_s)

    def receive(self, timeout_s: float) -> dict[str, Any]:
        try:
            line = self._lines.get(timeout=timeout_s)
        except Empty as error:
            raise _TimeOutError from error
        if not line:
            raise _DeathError
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:  # an unsent request to a process that has ended
                continue

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put("")

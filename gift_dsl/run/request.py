"""What is asked of a run, how it ends, and how its stages are named between processes."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.plan import JsonMap, Plan
from gift_dsl.players.make import FindKey

Tell = Callable[[str], None]
"""Says a line to whoever watches."""
STOPPED: Final = 75
"""Exit code of a process that saved and can go on (EX_TEMPFAIL)."""
FINAL: Final = "final"
"""In place of a stage: the final evaluation."""
BENCHMARKS: Final = "benchmarks"
"""A part of the final evaluation, and what its file is called."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be run.

    Attributes:
        plan: of one run.
        written: the spec's files, by name.
        resolved: the meaning of the spec.
        mode: `new`: refuse where an unfinished run of this plan waits; `resume` or `fresh` decide. `finish`: as
            `resume`, of one run of a sweep: one that is done counts, and where none is there a new one begins.
        disk_gib: estimated need; None where it is not known.
        find_key: gives the key of an endpoint.
        again: the command that would resume it, to be shown.
        anew: the command that would begin it anew, to be shown.
    """

    plan: Plan
    written: Mapping[str, str | bytes]
    resolved: JsonMap
    mode: str
    disk_gib: float | None
    find_key: FindKey
    again: str
    anew: str


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        run: its directory; None where one of a sweep could not begin.
        exit_code: of the design.
        summary: None where it did not come to its end.
        was_done: it was finished before, and nothing had to be done.
        problem: why it could not begin, or go on; None where a process of it says why.
    """

    run: RunDirectory | None
    exit_code: int
    summary: JsonMap | None
    was_done: bool = False
    problem: str | None = None


class Leave(KeyboardInterrupt):
    """A signal came where nothing is lost by ending at once. A KeyboardInterrupt, which asyncio lets through."""


class Stop(list[str]):
    """Names of the signals that asked to stop, the first first."""

    leaves = False

    def note(self, number: int) -> None:
        """A signal has come.

        Raises:
            Leave: inside of `leaving`.
        """
        self.append(signal.Signals(number).name)
        if self.leaves:
            raise Leave

    @contextmanager
    def leaving(self) -> Generator[None]:
        """A block in which nothing would be lost: a signal ends it at once.

        Raises:
            Leave: also for a signal that came before.
        """
        if self:
            raise Leave
        self.leaves = True
        try:
            yield
        finally:
            self.leaves = False

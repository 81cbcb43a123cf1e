"""What servers answered, kept by each process in `answers/<rank>.jsonl`: a resume hears again what was said before.

So a run against a server whose answers nobody can ask for twice is the same run after an interruption.
"""

from __future__ import annotations

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.plan import Plan
from gift_dsl.players.recorder import RecordStore


def open_answers(run: RunDirectory, plan: Plan, rank: int) -> RecordStore | None:
    """The answers that a process has heard and will hear; None where nobody is behind a server.

    Raises:
        MachineError: what was kept cannot be read.
    """
    return RecordStore(run.answers / f"{rank}.jsonl") if plan.runtime.base_urls else None

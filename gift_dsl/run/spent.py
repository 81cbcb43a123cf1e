"""What opponents were asked and cost in all sessions of a run, also in steps that a kill undid.

usage/<rank>.json    of each process of the run, from time to time
usage/<rank>.jsonl   what changed since: a line before each call is sent and one when it has ended, {player, …} with all
                     that the player has used; gone where a session ended by itself

So a kill loses nothing: a call that it cut off counts as one that cost the most that it can. Each process counts its
own calls and may spend its part of what the limits leave.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.artifacts.lines import Lines, read_lines
from gift_dsl.players.usage import Budget, Usage

Spent = dict[str, dict[str, Any]]
"""By player the plain data of a `Usage`."""

_MOST_LINES: Final = 10_000
"""Some 3 MB: those of 5,000 calls."""


class Ledger:
    """The budget of one process of a session, and its books. Safe to share between threads."""

    def __init__(self, run: RunDirectory, limits: Mapping[str, Any], rank: int, size: int) -> None:
        """Open the books; nothing is written before somebody is asked.

        Args:
            run: its directory.
            limits: of the plan.
            rank: of the process.
            size: number of processes.

        Raises:
            MachineError: what earlier sessions wrote cannot be read.
        """
        self._folder, self._rank = run.path / "usage", rank
        self._own = _read(self._folder, rank)
        self._lines: Lines | None = None
        self._unwritten = int(self._since.exists())
        self._lock = threading.RLock()
        total, mine = _totals(read_spent(run)), _totals(self._own)

        def part(key: str, place: int) -> float | None:
            limit = limits.get(key)
            return None if limit is None else mine[place] + max(0.0, limit - total[place]) / size

        calls = part("opponent_calls", 0)
        self.budget = Budget(
            opponent_calls=None if calls is None else int(calls),
            opponent_usd=part("opponent_usd", 1),
            used={name: Usage.from_json(values) for name, values in self._own.items()},
            note=self._note,
        )

    def write(self) -> None:
        """Make what was used survive a crash of the machine, too; nothing where nothing new was.

        Raises:
            MachineError: the disk is full; nothing is lost.
        """
        with self._lock:
            if not self._unwritten:
                return
            write_whole(self._folder / f"{self._rank}.json", json_text(self._own))
            # A kill here leaves lines of which the last say what is in the file. A signal that ends a measurement can
            # come between any two lines, too, and after it whatever was under way is noted.
            lines, self._lines = self._lines, None
            if lines is not None:
                lines.close()
            self._since.unlink(missing_ok=True)
            self._unwritten = 0

    @property
    def _since(self) -> Path:
        return self._folder / f"{self._rank}.jsonl"

    def _note(self, player: str, usage: Usage) -> None:
        """Hand a line to the operating system, so that it outlives this process."""
        with self._lock:
            self._own[player] = usage.to_json()
            if self._lines is None:
                self._folder.mkdir(exist_ok=True)
                self._lines = Lines(self._since)
            self._lines.append({"player": player, **self._own[player]})
            self._unwritten += 1
            if self._unwritten >= _MOST_LINES:
                self.write()


def read_spent(run: RunDirectory) -> Spent:
    """Of all processes of all sessions."""
    spent: Spent = {}
    folder = run.path / "usage"
    for rank in sorted({path.stem for path in folder.glob("[0-9]*.json*")}):
        for name, values in _read(folder, rank).items():
            spent[name] = _sum(spent[name], values) if name in spent else values
    return dict(sorted(spent.items()))


def _read(folder: Path, rank: int | str) -> Spent:
    """Of one process, with what came last: its lines first, as they may become part of the other file meanwhile."""
    since = {line.pop("player"): line for line in read_lines(folder / f"{rank}.jsonl")}
    with suppress(FileNotFoundError):
        return {**read_object(folder / f"{rank}.json"), **since}
    return since


def _sum(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers, and counts by name; a count that a session before this version did not keep is that of the other."""
    added: dict[str, Any] = {}
    for key, value in {**other, **one}.items():
        if key not in one or key not in other:
            added[key] = value
        elif isinstance(value, dict):
            added[key] = dict(Counter[str](one[key]) + Counter[str](other[key]))
        else:
            added[key] = one[key] + other[key]
    return added


def _totals(spent: Spent) -> tuple[float, float]:
    """Calls and US dollars."""
    calls = sum(one["calls"] for one in spent.values())
    return calls, sum(one["usd"] + one["usd_unreported"] for one in spent.values())

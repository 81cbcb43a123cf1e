"""What opponents were asked and cost in all sessions of a run: `usage/<rank>.json`, also for steps that a kill undid.

Each process counts its own calls and may spend its part of what the limits leave.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.players.usage import Budget, Usage

Spent = dict[str, dict[str, Any]]
"""By player the plain data of a `Usage`."""


def open_budget(run: RunDirectory, limits: Mapping[str, Any], rank: int, size: int) -> Budget:
    """The budget of one process of a session.

    Args:
        run: its directory.
        limits: of the plan.
        rank: of the process.
        size: number of processes.
    """
    own = _read(run, rank)
    total, mine = _totals(read_spent(run)), _totals(own)

    def part(key: str, place: int) -> float | None:
        limit = limits.get(key)
        return None if limit is None else mine[place] + max(0.0, limit - total[place]) / size

    calls = part("opponent_calls", 0)
    return Budget(
        opponent_calls=None if calls is None else int(calls),
        opponent_usd=part("opponent_usd", 1),
        used={name: Usage.from_json(values) for name, values in own.items()},
    )


def write_spent(run: RunDirectory, rank: int, budget: Budget) -> None:
    """Note what a process has used; nothing where it asked nobody."""
    own = {name: dict(one.to_json()) for name, one in budget.usages().items()}
    if own:
        folder = run.path / "usage"
        folder.mkdir(exist_ok=True)
        write_whole(folder / f"{rank}.json", json_text(own))


def read_spent(run: RunDirectory) -> Spent:
    """Of all processes of all sessions."""
    spent: Spent = {}
    for path in sorted((run.path / "usage").glob("[0-9]*.json")):
        for name, values in read_object(path).items():
            spent[name] = _sum(spent[name], values) if name in spent else values
    return dict(sorted(spent.items()))


def _read(run: RunDirectory, rank: int) -> Spent:
    try:
        return read_object(run.path / "usage" / f"{rank}.json")
    except FileNotFoundError:
        return {}


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

"""Models of other runs that those runs do not keep, as far as their plans on this machine tell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import LocalOpponent


def check(context: Context) -> Iterator[Diagnostic]:
    """`from_run: {step: best}` of a run that looks for no best model."""
    places: list[tuple[Loc, Any]] = [(("model", "from_run"), context.spec.model.from_run)]
    for name, opponent in context.spec.opponents.items():
        if isinstance(opponent, LocalOpponent):
            places.append((("opponents", name, "from_run"), opponent.from_run))
    for path, given in places:
        if given is None or given.step != "best":
            continue
        reason = _no_best(context.folder / Path(given.run).expanduser())
        if reason is not None:
            yield context.finding(
                "best-not-kept",
                f"the run {given.run} keeps no best model: {reason}",
                (*path, "step"),
                severity="warning",
                hint="write `step: final`",
            )


def _no_best(run: Path) -> str | None:
    """Why a run keeps no best model; None where it does, or where its plan cannot be read."""
    try:
        evaluation: dict[str, Any] = json.loads((run / "plan.json").read_text(encoding="utf-8"))["evaluation"]
        probe, final = evaluation["probe"], evaluation["final"]
        kept: list[Any] = [] if final is None else final["checkpoints"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if probe is None:
        return "it has no `evaluation.probe`"
    return None if "best" in kept else "its `evaluation.final.checkpoints` does not name `best`"

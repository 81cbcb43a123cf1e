"""Every semantic check of a spec, in one list: a file a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from gift_dsl.compiler import (
    addresses,
    batch,
    budget,
    choices,
    composition,
    credit,
    engine,
    evaluation,
    keys,
    measured,
    model,
    names,
    other_runs,
    pins,
    prompts,
    references,
    sampling,
    seats,
    snapshots,
    unused,
)
from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic

Pass = Callable[[Context], Iterator[Diagnostic]]

SHAPE_PASSES: Final[tuple[Pass, ...]] = (
    references.check,
    choices.check,
    composition.check,
    seats.check,
    prompts.check,
    keys.check,
    addresses.check,
    names.check,
    other_runs.check,
    sampling.check,
    snapshots.check,
    evaluation.check,
    measured.check,
    model.check,
    engine.check_sharding,
    pins.check,
)
"""These need only what a spec says; the others compile compositions, so they run when these find no error."""
MEANING_PASSES: Final[tuple[Pass, ...]] = (
    composition.check_weights,
    budget.check,
    batch.check,
    credit.check,
    engine.check_temperatures,
    evaluation.check_history,
    unused.check,
)


def check_meaning(context: Context) -> list[Diagnostic]:
    """Every finding of the semantic passes, in no particular order."""
    found = [item for run in SHAPE_PASSES for item in run(context)]
    if not any(item.severity == "error" for item in found):
        found += [item for run in MEANING_PASSES for item in run(context)]
    return found

"""Snapshots that are never taken: who plays `first` then plays to the end."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.composition import stage_steps
from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import SnapshotOpponent
from gift_dsl.spec.models.stages import GrpoStage


def check(context: Context) -> Iterator[Diagnostic]:
    """`every` against the longest stage of reinforcement learning; steps are counted within a stage."""
    steps = [stage_steps(stage) for stage in context.spec.stages if isinstance(stage, GrpoStage)]
    if not steps or min(steps) < 1:
        return
    for name, opponent in context.spec.opponents.items():
        if isinstance(opponent, SnapshotOpponent) and opponent.every > max(steps):
            first = "the model that the stage began with" if opponent.first is None else f"`{opponent.first}`"
            yield context.finding(
                "snapshot-never-taken",
                f"`{name}` takes a snapshot every {opponent.every} steps, and no stage has more than {max(steps)}: "
                f"{first} plays to the end",
                ("opponents", name, "every"),
                severity="warning",
                hint=f"write an `every` of at most {max(steps)}",
            )

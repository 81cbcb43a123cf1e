"""Names of stages that a run directory and commands give to models of their own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic

RESERVED: Final = ("start", "best", "final")
"""The model that a run began with, its best on dev, the finished one: `stages/start` and `stages/best` lie beside the
models that stages hand on, and `from_run`, `--checkpoint` and results call models so."""


def check(context: Context) -> Iterator[Diagnostic]:
    """Stages that would write where the run keeps another model."""
    for index, stage in enumerate(context.spec.stages):
        if stage.name in RESERVED:
            yield context.finding(
                "reserved-name",
                f"a stage cannot be called `{stage.name}`: runs, `from_run` and results call a model so",
                ("stages", index, "name"),
                hint="give the stage another name, e.g. `train`",
            )

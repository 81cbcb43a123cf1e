"""Whether the engine that plays and the trainer that learns fit together."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.batch import stage_algorithm
from gift_dsl.compiler.composition import compile_play
from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import leaves
from gift_dsl.spec.models.stages import GlowStage, GrpoStage, SftStage


def check_sharding(context: Context) -> Iterator[Diagnostic]:
    """Muon works on whole matrices; DeepSpeed hands an optimizer the weights of all layers in one row, and keeps it."""
    sharding = context.spec.resources.sharding
    if sharding not in ("zero2", "zero3"):
        return
    for index, stage in enumerate(context.spec.stages):
        if _optimizer(context, stage) == "muon":
            yield context.finding(
                "not-with-zero",
                f"stage `{stage.name}` is trained by Muon, which needs whole matrices, and `sharding: {sharding}` cuts "
                "the weights into pieces that are none",
                ("resources", "sharding"),
                hint="use `sharding: fsdp`, or the optimizer `adamw`",
            )
        if index and stage.optimizer == "carry":
            yield context.finding(
                "not-with-zero",
                f"stage `{stage.name}` carries the optimizer of the stage before, which `sharding: {sharding}` keeps "
                "in files of its own",
                ("stages", index, "optimizer"),
                hint="use `sharding: fsdp`, or `optimizer: reset`",
            )


def _optimizer(context: Context, stage: GrpoStage | SftStage | GlowStage) -> str | None:
    match stage:
        case GrpoStage():
            return stage_algorithm(context, stage).optimizer
        case SftStage():
            return stage.sft.optimizer
        case GlowStage():
            return stage.glow.optimizer


def check_temperatures(context: Context) -> Iterator[Diagnostic]:
    """An update has the log-probabilities of one distribution."""
    for index, stage in enumerate(context.spec.stages):
        if not isinstance(stage, GrpoStage):
            continue
        found = {leaf.label: leaf.rollout.temperature for leaf in leaves(compile_play(context, index))}
        if len(set(found.values())) > 1:
            listed = ", ".join(f"{label} {temperature:g}" for label, temperature in found.items())
            yield context.finding(
                "mixed-temperatures",
                f"stage `{stage.name}` samples its games at different temperatures ({listed}), but an update needs the "
                "log-probabilities of one distribution",
                ("stages", index, "play"),
                hint="use one `temperature` for all games of a stage, or play them in stages of their own",
            )

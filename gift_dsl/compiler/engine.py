"""Whether the engine that plays and the trainer that learns fit together."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.composition import compile_play
from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import leaves
from gift_dsl.spec.models.stages import GrpoStage


def check_sharding(context: Context) -> Iterator[Diagnostic]:
    """The engine in the process runs as many steps as its own rows need: shards would wait for each other for ever."""
    resources = context.spec.resources
    has_play = any(isinstance(stage, GrpoStage) for stage in context.spec.stages)
    if resources.sharding in ("fsdp", "zero3") and resources.vllm is None and has_play:
        yield context.finding(
            "sharding-without-vllm",
            f"`sharding: {resources.sharding}` cannot play with the engine in the training process: its processes take "
            "different numbers of steps and would wait for each other's weights for ever",
            ("resources", "sharding"),
            hint="add `resources.vllm`, or use `sharding: zero2`, which keeps whole weights",
        )


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

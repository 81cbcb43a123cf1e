"""What a machine must have before step 1: endpoints, keys, datasets, models, disk; and the memory of a device."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.keys import host_of
from gift_dsl.compiler.memory import MemoryEstimate, MemoryInputs, estimate_memory
from gift_dsl.compiler.model import model_shape
from gift_dsl.compiler.shapes import num_parameters, projections
from gift_dsl.data import is_local
from gift_dsl.plan import Plan, StagePlan, frozen
from gift_dsl.spec.models.opponents import LocalOpponent, OpenAIOpponent, SnapshotOpponent

BYTES_PER_TOKEN_RECORDED = 6.0
"""Of a trajectory shard, gzip level 6: 17.7 kB raw for an episode of about 650 tokens, packed to 0.23 of it."""


@frozen
class Needs:
    """What must be there. Names of keys, never their values.

    Attributes:
        endpoints: one for each `openai` opponent: name, model, host, api_key_env, key_is_set.
        datasets: one for each dataset: name, found on this machine, pinned.
        models: one for each model: name, found on this machine, pinned.
        disk_gib: of checkpoints and trajectories, an estimate; None where the model's size is not known.
    """

    endpoints: tuple[dict[str, Any], ...]
    datasets: tuple[dict[str, Any], ...]
    models: tuple[dict[str, Any], ...]
    disk_gib: float | None

    def to_json(self) -> dict[str, Any]:
        """The same as plain data."""
        return {
            "endpoints": list(self.endpoints),
            "datasets": list(self.datasets),
            "models": list(self.models),
            "disk_gib": None if self.disk_gib is None else round(self.disk_gib, 2),
        }


def _endpoints(context: Context) -> tuple[dict[str, Any], ...]:
    found: list[dict[str, Any]] = []
    for name, opponent in context.spec.opponents.items():
        if isinstance(opponent, OpenAIOpponent):
            key = opponent.api_key_env
            found.append(
                {
                    "name": name,
                    "model": opponent.model,
                    "host": host_of(opponent.base_url),
                    "base_url": opponent.base_url,
                    "api_key_env": key,
                    "key_is_set": None if key is None else bool(os.environ.get(key)),
                }
            )
    return tuple(found)


def _sources(context: Context, plan: Plan) -> tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]]:
    datasets: dict[str, dict[str, Any]] = {}
    for game in plan.games:
        dataset = getattr(context.games[game.name].params, "dataset", None)
        if game.data is not None and dataset is not None:
            pinned = dataset.revision is not None or is_local(dataset.source)
            datasets[game.data.name] = {"name": game.data.name, "found": game.data.sha256 is not None, "pinned": pinned}
    models: list[dict[str, Any]] = []
    if plan.model.print is not None and plan.model.source is not None:
        pinned = plan.model.revision is not None or is_local(plan.model.source)
        models.append({"name": plan.model.source, "found": plan.model.print.sha256 is not None, "pinned": pinned})
    for opponent in context.spec.opponents.values():
        if isinstance(opponent, LocalOpponent) and opponent.source is not None:
            models.append({"name": opponent.source, "found": None, "pinned": opponent.revision is not None})
    return tuple(datasets.values()), tuple(models)


def _disk_gib(context: Context, tokens_total: int) -> float | None:
    shape = model_shape(context)
    if shape is None:
        return None
    parameters, output = num_parameters(shape), context.spec.output
    stored = 2 if context.spec.model.weights == "bf16" else 4
    lora = context.spec.model.lora
    checkpoint = parameters * stored * (3 if lora is None else 0.05)
    recorded = tokens_total * BYTES_PER_TOKEN_RECORDED if output.trajectories == "all" else 0
    return (checkpoint * (output.keep_checkpoints + 1) + recorded) / 2**30


def find_needs(context: Context, plan: Plan, tokens_total: int) -> Needs:
    """The needs of a plan; reads the environment's names and the cache folders, no network."""
    datasets, models = _sources(context, plan)
    return Needs(_endpoints(context), datasets, models, _disk_gib(context, tokens_total))


def estimate_device(context: Context, stages: Sequence[StagePlan], longest: int) -> MemoryEstimate | None:
    """Memory of one device for the most demanding stage; None where the model's layout is not known."""
    shape, spec = model_shape(context), context.spec
    played = [stage for stage in stages if stage.algorithm is not None]
    if shape is None or not stages:
        return None
    resources, vllm, lora = spec.resources, spec.resources.vllm, spec.model.lora
    episodes = max((stage.batch.episodes for stage in played if stage.batch is not None), default=1)
    alive = min(resources.rollout_batch_size or episodes, max(1, episodes // resources.processes))
    snapshots = [item.keep for item in spec.opponents.values() if isinstance(item, SnapshotOpponent)]
    targets = tuple(projections(shape))
    if lora is not None and not isinstance(lora.target_modules, str):
        targets = tuple(dict.fromkeys(target.rpartition(".")[2] for target in lora.target_modules))
    sharding = {
        "none": "ddp" if resources.processes > 1 else "none",
        "fsdp": "fsdp",
        "zero2": "zero2",
        "zero3": "zero3",
    }
    inputs = MemoryInputs(
        shape=shape,
        compute="bf16" if spec.model.weights == "bf16" else spec.precision,
        weights=spec.model.weights,
        optimizer="muon"
        if any(s.algorithm is not None and s.algorithm.optimizer == "muon" for s in stages)
        else "adamw",
        lora_rank=lora.rank if lora is not None else None,
        lora_targets=targets,
        gradient_checkpointing=spec.model.gradient_checkpointing,
        backend=sharding[resources.sharding],  # type: ignore[arg-type]  # the values are the backend's names
        num_processes=resources.processes,
        micro_batch_size=resources.micro_batch_size,
        longest_tokens=max(1, longest),
        rollout_batch=max(1, alive),
        reference_model=any(s.algorithm is not None and s.algorithm.kl_coef > 0 for s in stages),
        engine="transformers" if vllm is None else "vllm-colocate" if vllm.mode == "colocate" else "vllm-serve",
        vllm_gpu_share=vllm.memory_share if vllm is not None and vllm.mode == "colocate" else None,
        device_gib=resources.device_memory_gib,
        num_snapshots=sum(snapshots),
        attention=spec.model.attention,
    )
    return estimate_memory(inputs)

"""What a machine must have before step 1: endpoints, keys, datasets, models, disk."""

from __future__ import annotations

import math
import os
from typing import Any

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.device import reached_names
from gift_dsl.compiler.estimate import seated_names
from gift_dsl.compiler.keys import host_of
from gift_dsl.compiler.model import model_shape
from gift_dsl.compiler.shapes import num_parameters
from gift_dsl.data import is_commit, is_local
from gift_dsl.plan import Plan, StagePlan, frozen, leaves
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
        disk_gib: of checkpoints, models, snapshots and trajectories: an estimate; None where the model's size is open.
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
            pinned = is_commit(dataset.revision) or is_local(dataset.source)
            datasets[game.data.name] = {"name": game.data.name, "found": game.data.sha256 is not None, "pinned": pinned}
    models: list[dict[str, Any]] = []
    if plan.model.print is not None and plan.model.source is not None:
        pinned = is_commit(plan.model.revision) or is_local(plan.model.source)
        models.append({"name": plan.model.source, "found": plan.model.print.sha256 is not None, "pinned": pinned})
    for opponent in context.spec.opponents.values():
        if isinstance(opponent, LocalOpponent) and opponent.source is not None:
            models.append({"name": opponent.source, "found": None, "pinned": is_commit(opponent.revision)})
    return tuple(datasets.values()), tuple(models)


def _disk_gib(context: Context, plan: Plan, tokens_total: int) -> float | None:
    """Checkpoints with two states of an optimizer, models handed on, snapshots and trajectories, at the run's end."""
    shape = model_shape(context)
    if shape is None:
        return None
    output, final = context.spec.output, plan.evaluation.final
    whole = num_parameters(shape) * (2 if context.spec.model.weights == "bf16" else 4)
    checkpoint = whole * (3 if context.spec.model.lora is None else 0.05)
    kept = [_saved(stage.until.max_steps, output.save_every, output.keep_checkpoints) for stage in plan.stages]
    tested = () if final is None else final.checkpoints
    checkpoints = sum(kept) + sum(isinstance(one, int) for one in tested) + 1  # a new one is written before one goes
    models = len(plan.stages) + ("best" in tested)
    snapshots = sum(_snapshots(context, stage) for stage in plan.stages)
    recorded = tokens_total * BYTES_PER_TOKEN_RECORDED if output.trajectories == "all" else 0
    return (checkpoint * checkpoints + whole * (models + snapshots) + recorded) / 2**30


def _saved(steps: int, every: int, keep: int) -> int:
    """Checkpoints that stay of a stage; `keep` where its steps are not known."""
    return keep if not steps else min(keep, math.ceil(steps / every))


def _snapshots(context: Context, stage: StagePlan) -> int:
    """Most snapshots of a stage on the disk: those that a kept checkpoint may still name, and what came since."""
    output, steps = context.spec.output, stage.until.max_steps
    seated = [name for leaf in leaves(stage.play) for name in seated_names(context.games[leaf.game])]
    rules = [context.opponent(name) for name in reached_names(context, seated)] if stage.type == "grpo" else []
    return sum(
        min(steps // rule.every, rule.keep + math.ceil(output.keep_checkpoints * output.save_every / rule.every))
        for rule in rules
        if isinstance(rule, SnapshotOpponent)
    )


def find_needs(context: Context, plan: Plan, tokens_total: int) -> Needs:
    """The needs of a plan; reads the environment's names and the cache folders, no network."""
    datasets, models = _sources(context, plan)
    return Needs(_endpoints(context), datasets, models, _disk_gib(context, plan, tokens_total))

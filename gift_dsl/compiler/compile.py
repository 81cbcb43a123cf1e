"""The compiler's one entry: a spec whose checks found no error becomes a plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from gift_dsl.compiler import evaluation, model, unused
from gift_dsl.compiler.context import Context
from gift_dsl.compiler.device import estimate_device
from gift_dsl.compiler.estimate import StageEstimate, estimate_stage
from gift_dsl.compiler.examinations import EvaluationEstimate, estimate_evaluation
from gift_dsl.compiler.games import compile_game
from gift_dsl.compiler.meaning import spec_hash
from gift_dsl.compiler.memory import NOTE, MemoryEstimate
from gift_dsl.compiler.needs import Needs, find_needs
from gift_dsl.compiler.stages import compile_stage
from gift_dsl.data import digest_of_folder, fingerprint_model
from gift_dsl.plan import FilePrint, OpponentPlan, Plan, RuntimePlan, frozen, missing_prints, plan_hash
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.opponents import LocalOpponent, OpenAIOpponent, OpponentSpec, PoolOpponent, SnapshotOpponent
from gift_dsl.spec.models.spec import Spec


@frozen
class Compiled:
    """A plan and what is known about it before it runs."""

    plan: Plan
    estimates: tuple[StageEstimate, ...]
    memory: MemoryEstimate | None
    needs: Needs
    evaluation: EvaluationEstimate

    def to_json(self) -> dict[str, Any]:
        """The parts of `gift plan --json` that one run has."""
        return {
            "spec_hash": self.plan.spec_hash,
            "plan_hash": plan_hash(self.plan),
            "plan_hash_waits_for": [f"{item.name}: {item.reason}" for item in missing_prints(self.plan)],
            "stages": [estimate.to_json() for estimate in self.estimates],
            "evaluation": self.evaluation.to_json(),
            "memory_gib": None if self.memory is None else {k: round(v, 3) for k, v in self.memory.terms().items()},
            "memory_of": None if self.memory is None else self.memory.where,
            "memory_waiting_gib": None if self.memory is None else round(self.memory.waiting, 3),
            "memory_leaves_out": [] if self.memory is None else list(self.memory.left_out),
            "memory_note": NOTE,
            "needs": self.needs.to_json(),
        }


def _params(opponent: OpponentSpec) -> dict[str, Any]:
    """Every field that belongs to the meaning; addresses and concurrency are of the machine."""
    return {key: value for key, value in plain(opponent).items() if key not in ("type", "base_url", "concurrency")}


def _weights(context: Context, opponent: OpponentSpec) -> FilePrint | None:
    if not isinstance(opponent, LocalOpponent) or opponent.source is None:
        return None
    return fingerprint_model(opponent.source, opponent.revision, context.folder)


def _opponents(context: Context) -> tuple[OpponentPlan, ...]:
    """Every opponent with every field, those that are named without being defined included."""
    spec = context.spec
    plans = [
        OpponentPlan(
            name,
            item.type,
            _params(item),
            _weights(context, item),
        )
        for name, item in spec.opponents.items()
    ]
    seated = {name for game in context.games.values() for name in _names(game.spec.opponents)}
    for name in sorted((seated | set(_named_elsewhere(spec))) - set(spec.opponents)):
        found = context.opponent(name)
        if found is not None:
            plans.append(OpponentPlan(name, found.type, _params(found)))
    return tuple(plans)


def _named_elsewhere(spec: Spec) -> Iterator[str]:
    """Opponents of the final evaluation, members of pools, and who plays before there is a snapshot."""
    final = spec.evaluation.final
    yield from (() if final is None else (final.opponents or {}).values())
    for opponent in spec.opponents.values():
        if isinstance(opponent, PoolOpponent):
            yield from (one if isinstance(one, str) else one.opponent for one in opponent.members)
        elif isinstance(opponent, SnapshotOpponent) and opponent.first is not None:
            yield opponent.first


def _names(given: str | list[str] | dict[str, str] | None) -> list[str]:
    if given is None:
        return []
    return [given] if isinstance(given, str) else list(given.values()) if isinstance(given, dict) else given


def _runtime(context: Context) -> RuntimePlan:
    spec = context.spec
    endpoints = {name: item for name, item in spec.opponents.items() if isinstance(item, OpenAIOpponent)}
    return RuntimePlan(
        name=spec.name,
        run_id=context.run_id,
        folder=str(context.folder),
        resources=plain(spec.resources),
        limits=plain(spec.limits),
        output=plain(spec.output),
        trackers=tuple(spec.trackers),
        base_urls={name: item.base_url for name, item in endpoints.items()},
        concurrency={name: item.concurrency for name, item in endpoints.items()},
    )


def _names_a_run(plan: Plan) -> bool:
    learns = any((stage.data or {}).get("runs") for stage in plan.stages)
    return plan.model.from_run is not None or learns or any(item.params.get("from_run") for item in plan.opponents)


def compile_plan(context: Context) -> Compiled:
    """The plan of a run whose passes found no error."""
    used = unused.used_games(context)
    stages = tuple(compile_stage(context, index) for index in range(len(context.spec.stages)))
    plan = Plan(
        spec_hash=spec_hash(context),
        seed=context.spec.seed,
        compat=context.spec.compat,
        model=model.compile_model(context),
        opponents=_opponents(context),
        games=tuple(compile_game(context, name) for name in context.games if name in used),
        stages=stages,
        evaluation=evaluation.compile_evaluation(context),
        runtime=_runtime(context),
    )
    if _names_a_run(plan):
        from gift_dsl.artifacts.origins import with_origins

        plan = with_origins(plan, digest_of_folder)
    estimates = tuple(estimate_stage(context, stage) for stage in stages)
    total = sum(item.tokens_typical * item.episodes * item.steps for item in estimates)
    measured, needs = estimate_evaluation(context, plan), find_needs(context, plan, total)
    return Compiled(plan, estimates, estimate_device(context, plan, estimates, measured), needs, measured)

"""Which models stand on a device at which time of a run, and the time that asks for the most memory.

It follows `run.stage` and `run.final`: `local` opponents are loaded once for a stage and stay until its end, those of
its probes included; earlier versions of the policy visit while they play; the final test has no optimizer, and whom it
seats instead. Of a pool the members play their shares; how many conversations that is, is an expectation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from gift_dsl.compiler.budget import leaf_tokens, node_tokens
from gift_dsl.compiler.context import Context
from gift_dsl.compiler.estimate import StageEstimate, seated_names
from gift_dsl.compiler.examinations import EvaluationEstimate, Examination
from gift_dsl.compiler.memory import Backend, Guest, MemoryEstimate, MemoryInputs, Optimizer, estimate_memory
from gift_dsl.compiler.model import model_shape
from gift_dsl.compiler.schedule import average_plays, nodes_of
from gift_dsl.compiler.shapes import ModelShape, projections, shape_of
from gift_dsl.data import hub_snapshot, is_local
from gift_dsl.plan import Leaf, Plan, StagePlan, chains_of, frozen, leaves
from gift_dsl.spec.models.opponents import LocalOpponent, OpponentSpec, PoolOpponent, SelfOpponent, SnapshotOpponent
from gift_dsl.spec.models.resources import ResourcesSpec

MOST_EXAMINED: Final = 512
"""Episodes of an evaluation that are alive at once (`evaluate.games`)."""

Others = Callable[[str], Sequence[str]]
"""From a game to the names in its other seats."""


_START: Final = "the model that the last stage began with"
"""Plays in evaluations where a snapshot would, unless somebody is named to."""


@frozen
class _Rollout:
    """What is played at once on one device.

    Attributes:
        plays: of each leaf.
        others: who sits in its other seats.
        groups: that draw an earlier version of the policy by themselves; 0 in an evaluation, where there is one.
        sequences: of the policy.
        tokens: of the longest of them.
    """

    plays: Sequence[tuple[Leaf, float]]
    others: Others
    groups: int
    sequences: int
    tokens: int


def estimate_device(
    context: Context, plan: Plan, stages: Sequence[StageEstimate], evaluation: EvaluationEstimate
) -> MemoryEstimate | None:
    """Memory of one device at the most demanding time of a run; None where the model's layout is not known."""
    shape = model_shape(context)
    if shape is None:
        return None
    device = _Device(context, plan, shape)
    times = [*device.times_of_stages(stages, evaluation), *device.times_of_final(evaluation)]
    left_out = tuple(name for name, found in device.shapes.items() if found is None)
    estimates = [replace(estimate_memory(inputs), where=where, left_out=left_out) for where, inputs in times]
    worst = max(estimates, key=lambda one: (one.peak, one.training_peak + one.rollout_peak))
    return replace(worst, waiting=max(one.waiting for one in estimates))


class _Device:
    """The times of a run; `shapes` are those of the opponents that are models here, None where they are not known."""

    def __init__(self, context: Context, plan: Plan, shape: ModelShape) -> None:
        self.context, self.plan, self.shape = context, plan, shape
        self.shapes: dict[str, ModelShape | None] = {}
        self.processes = context.spec.resources.processes

    # ── times ──

    def times_of_stages(
        self, estimates: Sequence[StageEstimate], evaluation: EvaluationEstimate
    ) -> Iterator[tuple[str, MemoryInputs]]:
        """Rollouts, updates and measurements of each stage."""
        for stage, estimate in zip(self.plan.stages, estimates, strict=True):
            measured = [one for one in evaluation.examinations if one.stage == stage.name]
            seated = [seated_names(self.context.games[leaf.game]) for leaf in leaves(stage.play)]
            seated += [names for one in measured for names in one.opponents.values()]
            here = self._residents(seated)
            longest, waiting = min(estimate.tokens_longest, stage.max_context), self._waiting(stage, bool(measured))
            inputs = replace(_inputs(self.context, stage, self.shape, longest), waiting_copies=waiting)
            yield f"stage {stage.name}", replace(inputs, guests=tuple(here.values()))
            for rollout in self._rollouts(stage):
                yield f"stage {stage.name}", self._playing(inputs, rollout, here)
            for one in measured:
                # before the stage there is no trainer yet, and no engine but the one in the process
                now = replace(inputs, trains=False, engine="transformers") if one.what == "before" else inputs
                for rollout in self._measured(one, stage, self.plan.evaluation.max_tokens):
                    yield f"{_WORDS[one.what]} stage {stage.name}", self._playing(now, rollout, here)

    def times_of_final(self, evaluation: EvaluationEstimate) -> Iterator[tuple[str, MemoryInputs]]:
        """The final test and the benchmarks, of checkpoints and of subjects that are models here."""
        finals = [one for one in evaluation.examinations if one.what == "final"]
        if not finals and not evaluation.benchmarks:
            return
        last, final = self.plan.stages[-1], self.plan.evaluation.final
        here = self._residents([names for one in finals for names in one.opponents.values()], loads_start=True)
        subjects = [self._shape_of(name) for name in evaluation.subjects if self._is_local(name)]
        for shape in dict.fromkeys([self.shape, *(one for one in subjects if one is not None)]):
            inputs = _only_playing(_inputs(self.context, last, shape, 1))
            yield "the final evaluation", replace(inputs, guests=tuple(here.values()))
            for one in finals:
                for rollout in self._measured(one, last, 0 if final is None else final.max_tokens):
                    yield "the final evaluation", self._playing(inputs, rollout, here)

    def _waiting(self, stage: StagePlan, is_measured: bool) -> int:
        """Copies on the CPU: those that are kept, one more while an old one goes, and that of evaluations."""
        seated = [name for leaf in leaves(stage.play) for name in seated_names(self.context.games[leaf.game])]
        played = reached_names(self.context, seated) if stage.type == "grpo" else ()
        rules = [one for one in map(self.context.opponent, played) if isinstance(one, SnapshotOpponent)]
        kept = sum(min(rule.keep, stage.until.max_steps // rule.every) + 1 for rule in rules)
        is_defined = any(isinstance(one, SnapshotOpponent) for one in self.context.spec.opponents.values())
        return kept + (is_measured and is_defined)

    # ── what is played at once ──

    def _rollouts(self, stage: StagePlan) -> Iterator[_Rollout]:
        """Of training: each part of `in_turn` by itself."""
        if stage.batch is None:
            return
        most, size = self.context.spec.resources.rollout_batch_size, stage.batch.group_size
        own = max(size, stage.batch.episodes // self.processes)
        alive = own if most is None else min(own, max(1, most // size) * size)
        labels = {leaf.label: leaf for leaf in leaves(stage.play)}
        for node, _ in nodes_of(stage.play):
            plays = average_plays(node, alive, stage.until.max_steps)
            yield _Rollout(
                plays=[(labels[label], number) for label, number in plays.items()],
                others=lambda game: seated_names(self.context.games[game]),
                groups=alive // size,
                sequences=alive * stage.batch.trained_seats,
                tokens=min(node_tokens(self.context, node).longest, stage.max_context),
            )

    def _measured(self, one: Examination, stage: StagePlan, max_tokens: int) -> Iterator[_Rollout]:
        """Of an evaluation: each game alone, and each chain."""
        alive, chains = min(MOST_EXAMINED, math.ceil(one.rounds / self.processes)), chains_of(stage)
        games = [self.plan.game(name) for name in one.games]
        alone = [Leaf(game.name, game.name, ((0, 1.0),), game.max_turns, game.rollout) for game in games]
        for node in (*alone, *(chains[name] for name in one.chains)):
            parts = {leaf.label: _with_tokens(leaf, max_tokens) for leaf in leaves(node)}
            yield _Rollout(
                plays=[(parts[label], number) for label, number in average_plays(node, alive, 1).items()],
                others=lambda game: self._measured_against(one, game),
                groups=0,
                sequences=alive,
                tokens=min(sum(leaf_tokens(self.context, leaf).longest for leaf in parts.values()), stage.max_context),
            )

    def _measured_against(self, one: Examination, game: str) -> Sequence[str]:
        """Who sits in the other seats of a game that is measured: the names in turn."""
        names, others = [str(name) for name in one.opponents.get(game, ())], self.context.games[game].facts.seats - 1
        return [names[seat % len(names)] for seat in range(others)] if names else []

    # ── who is there ──

    def _playing(self, inputs: MemoryInputs, rollout: _Rollout, here: Mapping[str, Guest]) -> MemoryInputs:
        """A time at which something is played: everybody who is a model, with the conversations that each holds."""
        guests = dict(here)
        for name, leaf, plays in self._turns(rollout):
            opponent = self.context.opponent(name)
            if isinstance(opponent, LocalOpponent) and name not in here:
                continue  # its layout is not known
            if name not in guests:
                copies = _versions(opponent, rollout.groups)
                guests[name] = Guest(shape=self.shape, copies=copies, stays=False)
            own = opponent.max_tokens if isinstance(opponent, LocalOpponent) else leaf.max_tokens_per_turn
            tokens = plays * leaf_tokens(self.context, _with_tokens(leaf, own)).longest
            known = guests[name]
            guests[name] = replace(known, conversations=known.conversations + plays, tokens=known.tokens + tokens)
        return replace(
            inputs,
            rollout_batch=rollout.sequences,
            rollout_tokens=max(1, rollout.tokens),
            guests=tuple(guests.values()),
        )

    def _turns(self, rollout: _Rollout) -> Iterator[tuple[str, Leaf, float]]:
        """The models in the other seats: name, what they play, how often."""
        for leaf, plays in rollout.plays:
            for seated in rollout.others(leaf.game):
                for name, share in self._models(seated, 1.0, is_training=bool(rollout.groups)):
                    yield name, leaf, plays * share

    def _models(self, name: str, share: float, *, is_training: bool) -> Iterator[tuple[str, float]]:
        """The models that a name stands for, each with its share of the plays."""
        opponent = self.context.opponent(name)
        if isinstance(opponent, PoolOpponent):
            whole = sum(1.0 if isinstance(one, str) else one.weight for one in opponent.members)
            for one in opponent.members:
                member, weight = (one, 1.0) if isinstance(one, str) else (one.opponent, one.weight)
                yield from self._models(member, share * weight / whole, is_training=is_training)
        elif isinstance(opponent, SnapshotOpponent) and not is_training:
            if opponent.first is None:
                yield _START, share
            else:
                yield from self._models(opponent.first, share, is_training=is_training)
        elif isinstance(opponent, LocalOpponent | SelfOpponent | SnapshotOpponent):
            yield name, share

    def _residents(self, seated: Sequence[Sequence[str]], *, loads_start: bool = False) -> dict[str, Guest]:
        """The models that are loaded for these seats and stay, by name."""
        names = reached_names(self.context, [str(name) for names in seated for name in names])
        shapes = {name: self._shape_of(name) for name in names if self._is_local(name)}
        found = {name: Guest(shape=shape) for name, shape in shapes.items() if shape is not None}
        if loads_start and any(self._stands_for_start(name) for name in names):
            found[_START] = Guest(shape=self.shape)
        return found

    def _stands_for_start(self, name: str) -> bool:
        opponent = self.context.opponent(name)
        return isinstance(opponent, SnapshotOpponent) and opponent.first is None

    def _is_local(self, name: str) -> bool:
        return isinstance(self.context.opponent(name), LocalOpponent)

    def _shape_of(self, name: str) -> ModelShape | None:
        if name not in self.shapes:
            opponent = self.context.opponent(name)
            assert isinstance(opponent, LocalOpponent)
            self.shapes[name] = _local_shape(self.context, opponent)
        return self.shapes[name]


def reached_names(context: Context, seated: Sequence[str]) -> tuple[str, ...]:
    """Every name that may play, members of pools and who plays before a snapshot included (`run.seating`)."""
    waiting, found = list(seated), dict[str, None]()
    while waiting:
        name = waiting.pop(0)
        opponent = None if name in found else context.opponent(name)
        found[name] = None
        if isinstance(opponent, PoolOpponent):
            waiting += [one if isinstance(one, str) else one.opponent for one in opponent.members]
        elif isinstance(opponent, SnapshotOpponent) and opponent.first is not None:
            waiting.append(opponent.first)
    return tuple(found)


_WORDS: Final[Mapping[str, str]] = {"before": "before", "probe": "probes of", "after": "after"}


def _with_tokens(leaf: Leaf, max_tokens: int) -> Leaf:
    """A leaf whose turns may have so many tokens."""
    return replace(leaf, rollout=replace(leaf.rollout, max_tokens_per_turn=max_tokens))


def _versions(opponent: OpponentSpec | None, groups: int) -> int:
    """Earlier versions of the policy that play at once; none where the live one plays."""
    if isinstance(opponent, SelfOpponent):
        return 0
    if isinstance(opponent, SnapshotOpponent) and opponent.pick == "uniform":
        return min(opponent.keep, max(1, groups))
    return 1


def _local_shape(context: Context, opponent: LocalOpponent) -> ModelShape | None:
    """The layout of a `local` opponent: of a folder on this machine or a known model; None when it is not known."""
    source = opponent.source
    if source is None:
        return None
    is_path = is_local(source)
    folder = context.folder / Path(source).expanduser() if is_path else hub_snapshot("model", source, opponent.revision)
    try:
        return shape_of(source, folder)
    except (OSError, ValueError):
        return shape_of(source, None)


def _only_playing(inputs: MemoryInputs) -> MemoryInputs:
    """The same model after training: whole on each device, adapters merged, in the engine in the process."""
    return replace(inputs, trains=False, lora_rank=None, backend="none", reference_model=False, engine="transformers")


def _inputs(context: Context, stage: StagePlan, shape: ModelShape, longest: int) -> MemoryInputs:
    """What decides the memory of a stage's updates; nobody plays yet."""
    spec, algorithm, supervised = context.spec, stage.algorithm, stage.supervised or {}
    resources, lora = spec.resources, spec.model.lora
    vllm = None if algorithm is None else resources.vllm
    targets = tuple(projections(shape))
    if lora is not None and not isinstance(lora.target_modules, str):
        targets = tuple(dict.fromkeys(target.rpartition(".")[2] for target in lora.target_modules))
    optimizer: Optimizer = algorithm.optimizer if algorithm is not None else supervised["optimizer"]
    return MemoryInputs(
        shape=shape,
        compute="bf16" if spec.model.weights == "bf16" else spec.precision,
        weights=spec.model.weights,
        optimizer=optimizer,
        lora_rank=lora.rank if lora is not None else None,
        lora_targets=targets,
        gradient_checkpointing=spec.model.gradient_checkpointing,
        backend=_backend(resources),
        num_processes=resources.processes,
        micro_batch_size=resources.micro_batch_size,
        longest_tokens=max(1, longest),
        rollout_batch=0,
        reference_model=algorithm is not None and algorithm.kl_coef > 0,
        engine="transformers" if vllm is None else "vllm-colocate" if vllm.mode == "colocate" else "vllm-serve",
        vllm_gpu_share=vllm.memory_share if vllm is not None and vllm.mode == "colocate" else None,
        device_gib=resources.device_memory_gib,
        attention=spec.model.attention,
    )


def _backend(resources: ResourcesSpec) -> Backend:
    """One process has nothing to spread (`train.sharding`)."""
    if resources.processes == 1:
        return "none"
    return "ddp" if resources.sharding == "none" else resources.sharding

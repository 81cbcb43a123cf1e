"""Batch arithmetic: groups, kept trajectories, rows and updates of a step are whole numbers that divide.

And fields of an update rule that contradict each other, or do nothing beside the others.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from gift_dsl.compiler.composition import compile_play, stage_steps
from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.schedule import groups_of_tasks, nodes_of, num_tasks
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import AlgorithmPlan, AnyOf, BatchPlan, Leaf, Node, Play, leaves
from gift_dsl.spec.models.algorithm import PRESETS, resolve_algorithm
from gift_dsl.spec.models.stages import GrpoStage


def stage_algorithm(context: Context, stage: GrpoStage) -> AlgorithmPlan:
    """The update rule of a stage: its own fields over the spec's over the preset's."""
    return resolve_algorithm(context.spec.algorithm, stage.algorithm)


def _kept_of(keep: float, groups: float) -> int:
    return max(1, math.floor(keep * groups + 1e-9))


def kept_groups(play: Play, algorithm: AlgorithmPlan) -> int:
    """Most groups that selection keeps in one step (StarPO-S: `max(1, floor(keep * groups))`, per task if asked)."""
    if algorithm.keep == 1.0 or algorithm.scope == "global":
        return _kept_of(algorithm.keep, algorithm.groups_per_step)
    return max(_kept_per_task(node, algorithm) for node, _ in nodes_of(play))


def _kept_per_task(node: Node, algorithm: AlgorithmPlan) -> int:
    """Most groups kept when groups compete within their task, each task that was played keeping one at least."""
    groups = algorithm.groups_per_step
    # Most are kept when all tasks but one have a single group.
    alone = min(num_tasks(node), groups) - 1
    most = alone + _kept_of(algorithm.keep, groups - alone)
    counts = groups_of_tasks(node, groups)
    return most if counts is None else min(most, sum(_kept_of(algorithm.keep, count) for count in counts))


def _conversations_of(node: Node) -> tuple[int, bool]:
    """Most conversations that a node opens itself, and whether it also speaks in the one it stands in."""
    if isinstance(node, Leaf):
        return 0, True
    inner = [_conversations_of(part) for part in node.parts]
    if isinstance(node, AnyOf):
        return max(inner)
    if node.context == "fresh":
        return sum(own + around for own, around in inner), False
    return sum(own for own, _ in inner), any(around for _, around in inner)


def _turns_of(node: Node) -> int:
    """Most policy turns of one trajectory."""
    if isinstance(node, Leaf):
        return node.max_turns
    turns = [_turns_of(part) for part in node.parts]
    return max(turns) if isinstance(node, AnyOf) else sum(turns)


def rows_per_trajectory(play: Play) -> int:
    """Most sequences of one trajectory; one per turn where thoughts are stripped from the history."""
    nodes = [node for node, _ in nodes_of(play)]
    if any(leaf.rollout.thinking == "strip" for leaf in leaves(play)):
        return max(_turns_of(node) for node in nodes)
    return max(sum(_conversations_of(node)) for node in nodes)


def trained_seats(context: Context, play: Play) -> int:
    """Trajectories of one episode: more than one when every seat of a game is trained."""
    games = [context.games[leaf.game] for leaf in leaves(play)]
    return max(game.facts.seats if game.spec.trainee.seat == "all" else 1 for game in games)


def compile_batch(context: Context, play: Play, algorithm: AlgorithmPlan) -> BatchPlan:
    """Sizes of one step; its check must have passed."""
    seats, rows = trained_seats(context, play), rows_per_trajectory(play)
    kept = kept_groups(play, algorithm)
    trajectories = kept * algorithm.group_size * seats
    mini = trajectories if algorithm.mini_batch_size == "all" else min(algorithm.mini_batch_size, trajectories)
    return BatchPlan(
        groups=algorithm.groups_per_step,
        group_size=algorithm.group_size,
        episodes=algorithm.groups_per_step * algorithm.group_size,
        trained_seats=seats,
        kept_groups=kept,
        rows_per_trajectory=rows,
        rows=trajectories * rows * algorithm.epochs,
        updates=trajectories // mini * algorithm.epochs,
        rows_per_update=mini * rows,
    )


def check(context: Context) -> Iterator[Diagnostic]:
    """Mini-batches divide what is kept; processes and micro-batches divide an update; clips and rates make sense."""
    for index, stage in enumerate(context.spec.stages):
        if isinstance(stage, GrpoStage):
            yield from _check_stage(context, index, stage)
            yield from _clips(context, index, stage)
            yield from _rates(context, index, stage)
            yield from _fields_that_do_nothing(context, index, stage)


def _place(context: Context, index: int, field: str) -> Loc:
    """Where an algorithm field was written: in the stage or at the top; the stage where it has the preset's value."""
    places: tuple[Loc, ...] = (("stages", index, "algorithm", field), ("algorithm", field))
    return next((place for place in places if context.tree.at(place) is not None), ("stages", index))


def _divisors(number: int, near: int) -> str:
    """The two divisors of a number closest to another number, as text."""
    small = [d for d in range(1, math.isqrt(number) + 1) if number % d == 0]
    divisors = {*small, *(number // d for d in small)}
    return " or ".join(str(d) for d in sorted(sorted(divisors, key=lambda d: (abs(d - near), d))[:2]))


def _check_stage(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    play, algorithm = compile_play(context, index), stage_algorithm(context, stage)
    kept = kept_groups(play, algorithm)
    trajectories = kept * algorithm.group_size * trained_seats(context, play)
    mini, name = algorithm.mini_batch_size, stage.name
    if isinstance(mini, int) and mini < trajectories and trajectories % mini:
        yield context.finding(
            "batch-arithmetic",
            f"stage `{name}` keeps {kept} groups x {algorithm.group_size} = {trajectories} trajectories a step, "
            f"which `mini_batch_size: {mini}` does not divide",
            _place(context, index, "mini_batch_size"),
            hint=f"use {_divisors(trajectories, mini)}, or `all`",
        )
        return
    yield from _processes(context, index, compile_batch(context, play, algorithm), name)


def _processes(context: Context, index: int, batch: BatchPlan, name: str) -> Iterator[Diagnostic]:
    resources = context.spec.resources
    if batch.groups % resources.processes:
        yield context.finding(
            "batch-arithmetic",
            f"{batch.groups} groups a step in stage `{name}` cannot be dealt whole to {resources.processes} processes",
            ("resources", "processes"),
            hint=f"use {_divisors(batch.groups, resources.processes)} processes, "
            f"or a `groups_per_step` that {resources.processes} divides",
        )
    together = resources.processes * resources.micro_batch_size
    if batch.rows_per_update % together:
        yield context.finding(
            "batch-arithmetic",
            f"an update of stage `{name}` has {batch.rows_per_update} sequences, which {resources.processes} processes "
            f"x micro-batches of {resources.micro_batch_size} = {together} do not divide",
            ("resources", "micro_batch_size"),
            hint=f"processes x micro_batch_size could be {_divisors(batch.rows_per_update, together)}",
        )


def _clips(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    """A dual clip bounds what the clip leaves unbounded: ratios above 1 + clip_high under a negative advantage.

    Below that it would clip where nothing asks for it: positive advantages earlier than `clip_high` says.
    """
    algorithm = stage_algorithm(context, stage)
    bound, high = algorithm.dual_clip, algorithm.clip_high
    # 1 + 0.1 is more than 1.1 in float64
    if bound == "off" or bound >= 1 + high - 1e-9:
        return
    own = _place(context, index, "dual_clip")
    yield context.finding(
        "dual-clip-low",
        f"stage `{stage.name}` bounds the ratio at `dual_clip: {bound:g}`, below 1 + `clip_high` = {1 + high:g}, where "
        "it is clipped anyhow",
        own if own != ("stages", index) else _place(context, index, "clip_high"),
        hint=f"use a `dual_clip` of at least {1 + high:g}, or `off`",
    )


def _rates(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    """A warm-up ends before the stage and its schedule do; a horizon needs a schedule."""
    algorithm, steps = stage_algorithm(context, stage), stage_steps(stage)
    horizon, warmup = stage.schedule_steps, algorithm.warmup_steps
    if horizon is not None and algorithm.schedule == "constant":
        yield context.finding(
            "no-effect",
            f"`schedule_steps` has no effect in stage `{stage.name}`: `schedule` is constant",
            ("stages", index, "schedule_steps"),
            severity="warning",
            at_key=True,
        )
    last = steps if horizon is None or algorithm.schedule == "constant" else min(steps, horizon)
    if warmup and last and warmup >= last:
        what = "has" if last == steps else "has a schedule of"
        yield context.finding(
            "warmup-too-long",
            f"the learning rate of stage `{stage.name}` rises over {warmup} steps, and the stage {what} {last}",
            _place(context, index, "warmup_steps"),
            severity="warning",
            hint=f"write a `warmup_steps` below {last}",
        )


def _fields_that_do_nothing(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    """Written fields that the rest of the algorithm leaves without effect, and whose value is not the preset's."""
    algorithm, spec = stage_algorithm(context, stage), context.spec
    plays_as_it_trains = spec.precision == "fp32" and spec.resources.vllm is None
    keeps_ties = algorithm.baseline == "role" and not algorithm.dynamic_sampling
    preset, top = PRESETS[algorithm.preset], PRESETS[spec.algorithm.preset or "gift"]
    idle = {
        "max_refills": (not algorithm.dynamic_sampling, "`dynamic_sampling` is off"),
        "discount": (algorithm.credit != "discount", f"`credit` is `{algorithm.credit}`"),
        "baseline_decay": (algorithm.baseline != "role", f"`baseline` is `{algorithm.baseline}`"),
        "overlong_cache": (algorithm.overlong != "penalty", f"`overlong` is `{algorithm.overlong}`"),
        "scope": (algorithm.keep == 1.0, "`keep` is 1, so every group is kept"),
        "min_learning_rate": (algorithm.schedule == "constant", "`schedule` is constant"),
        "drop_zero": (keeps_ties, "`baseline` is `role`, beside which equal returns teach"),
        "importance_cap": (
            plays_as_it_trains,
            "in fp32 the log-probabilities of the run's own engine are the trainer's",
        ),
    }
    for field, (does_nothing, why) in idle.items():
        usual = (
            (("algorithm", field), (preset[field], top[field])),
            (("stages", index, "algorithm", field), (preset[field],)),
        )
        for path, values in usual:
            node = context.tree.at(path)
            if does_nothing and node is not None and node.value not in values:
                message = f"`{field}` has no effect in stage `{stage.name}`: {why}"
                yield context.finding("no-effect", message, path, severity="warning", at_key=True)

"""Rewards that make sense together: conjunctions, credit, control arms, and what compat changes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gift_dsl.compiler.batch import stage_algorithm
from gift_dsl.compiler.composition import compile_play, written
from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.references import named_parts
from gift_dsl.compiler.schedule import nodes_of
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import AllOf, Leaf, Node
from gift_dsl.spec.models.composition import AllOfSpec
from gift_dsl.spec.models.stages import GrpoStage

ADDITIVE: Final = frozenset({"mean", "sum", "weighted", "difficulty"})
STRICT: Final = frozenset({"product", "min", "geometric"})


def check(context: Context) -> Iterator[Diagnostic]:
    """Credit against aggregation in each stage; strict conjunctions over games that can draw."""
    for index, stage in enumerate(context.spec.stages):
        if isinstance(stage, GrpoStage):
            yield from _credit(context, index, stage)
            yield from _baseline(context, index, stage)
    yield from _conjunctions(context)


def _all_ofs(node: Node) -> Iterator[AllOf]:
    if isinstance(node, Leaf):
        return
    if isinstance(node, AllOf):
        yield node
    for part in node.parts:
        yield from _all_ofs(part)


def _credit(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    algorithm = stage_algorithm(context, stage)
    if algorithm.credit not in ("to_go", "segment", "discount"):
        return
    own: Loc = ("stages", index, "algorithm", "credit")
    path: Loc = own if context.tree.at(own) is not None else ("algorithm", "credit")
    nodes = [node for node, _ in nodes_of(compile_play(context, index))]
    compositions = [composition for node in nodes for composition in _all_ofs(node)]
    reason = next((why for composition in compositions if (why := _not_additive(composition))), None)
    if reason is not None:
        yield context.finding(
            "credit-not-additive",
            f"`credit: {algorithm.credit}` splits a return into outcomes of parts, but stage `{stage.name}` {reason}",
            path,
            hint="use `credit: trajectory`, or a reward of mean, sum, weighted or difficulty without a gate",
        )


def _not_additive(composition: AllOf) -> str | None:
    """Why the return of a composition is no sum of its parts' outcomes; None where it is one."""
    if composition.reward not in ADDITIVE:
        return f"aggregates them by `{composition.reward}`"
    return "pays all or nothing (`gate: complete`)" if composition.gate == "complete" else None


def _baseline(context: Context, index: int, stage: GrpoStage) -> Iterator[Diagnostic]:
    """A baseline by role has no std of its own; and StarPO-S has nothing to rank where no returns differ."""
    algorithm = stage_algorithm(context, stage)
    if algorithm.baseline == "role" and algorithm.advantage_scale == "group":
        own: Loc = ("stages", index, "algorithm", "baseline")
        path: Loc = own if context.tree.at(own) is not None else ("algorithm", "baseline")
        yield context.finding(
            "no-effect",
            f"`baseline: role` subtracts a running mean and divides by nothing; `advantage_scale: group` has no effect "
            f"in stage `{stage.name}`",
            path,
            severity="warning",
            hint="write `advantage_scale: none`, or `batch`",
        )


def _drawn(context: Context, play: object) -> Iterator[str]:
    """Games below a written composition that can end in a draw."""
    for name in named_parts(play):
        game = context.games.get(name)
        if game is None:
            yield from _drawn(context, context.spec.games[name])
        elif game.facts.can_draw and not game.facts.graded and 0 < game.spec.reward.draw < 1:
            yield name


def _conjunctions(context: Context) -> Iterator[Diagnostic]:
    for play, path, _ in written(context):
        if not isinstance(play, AllOfSpec) or play.reward not in STRICT:
            continue
        names = sorted(set(_drawn(context, play)))
        if names:
            listed = " and ".join(f"`{name}`" for name in names)
            yield context.finding(
                "conjunction-of-draws",
                f"`reward: {play.reward}` asks for every part at once, but {listed} can end in a draw, which is worth "
                f"{context.games[names[0]].spec.reward.draw:g}",
                (*path, "reward"),
                severity="warning",
                hint="set the game's `reward: {draw: 0}` or `{draw: 1}` to say what a draw counts as",
            )

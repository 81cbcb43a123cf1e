"""Compositions as plan trees: names inlined, singletons gone, every part labelled and with its own budget."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.games import horizon, merge_rollout
from gift_dsl.compiler.references import named_parts
from gift_dsl.compiler.schedule import step_without_weight
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import AllOf, AnyOf, InTurn, Leaf, Node, Play, Schedule
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.stages import GrpoStage, SftStage, StageSpec

MAX_GAMES: Final = 512
"""Most games that one stage may play in one episode, or choose from."""
MAX_NESTING: Final = 16
EQUAL: Final[Schedule] = ((0, 1.0),)


@dataclass(slots=True)
class _Compiler:
    """Compiles one stage's composition; counts how often each game has been met."""

    context: Context
    stage: int
    used: Counter[str] = field(default_factory=Counter[str])

    def node(self, play: object, options: PartSpec | None) -> Play:
        match play:
            case str() if play in self.context.games:
                return self.leaf(play, options)
            case str():
                return self.node(self.context.spec.games[play], options)
            case PartSpec():
                return self.node(play.play, play)
            case AllOfSpec():
                parts = self.parts(play.all_of)
                made: Node = AllOf(
                    parts, _weight(options), play.reward, play.order, play.context, play.feedback, play.gate
                )
                return _alone(parts, options) or made
            case AnyOfSpec():
                parts = self.parts(play.any_of)
                return _alone(parts, options) or AnyOf(parts, _weight(options), play.draw)
            case InTurnSpec():
                parts = self.parts(play.in_turn)
                return _alone(parts, options) or InTurn(parts, tuple(play.blocks or [1] * len(parts)), play.order)
            case _:
                raise TypeError(f"{play!r} is not a composition")

    def parts(self, parts: Sequence[object]) -> tuple[Node, ...]:
        made = [self.node(part, None) for part in parts]
        return tuple(part for part in made if not isinstance(part, InTurn))

    def leaf(self, name: str, options: PartSpec | None) -> Leaf:
        self.used[name] += 1
        game = self.context.games[name]
        rollout = merge_rollout(self.context, self.context.spec.stages[self.stage].rollout, game.spec.rollout)
        if options is not None and options.max_tokens_per_turn is not None:
            rollout = replace(rollout, max_tokens_per_turn=options.max_tokens_per_turn)
        turns = (options.max_turns if options is not None else None) or game.spec.max_turns or horizon(game)
        return Leaf(f"{name}#{self.used[name]}", name, _weight(options), turns, rollout)


def _weight(options: PartSpec | None) -> Schedule:
    if options is None:
        return EQUAL
    if isinstance(options.weight, list):
        return tuple((int(step), float(value)) for step, value in options.weight)
    return ((0, float(options.weight)),)


def _alone(parts: tuple[Node, ...], options: PartSpec | None) -> Node | None:
    """A composition of one part is that part, with the weight of the composition."""
    return replace(parts[0], weight=_weight(options)) if len(parts) == 1 else None


def _relabel(node: Play, used: Counter[str]) -> Play:
    """`math` instead of `math#1` where a game stands once in its stage."""
    if isinstance(node, Leaf):
        return replace(node, label=node.game) if used[node.game] == 1 else node
    parts = tuple(part for part in (_relabel(p, used) for p in node.parts) if not isinstance(part, InTurn))
    return replace(node, parts=parts)


def compile_play(context: Context, stage: int) -> Play:
    """The plan tree of a stage; its checks must have passed."""
    compiler = _Compiler(context, stage)
    return _relabel(compiler.node(context.spec.stages[stage].play, None), compiler.used)


def _walk(play: object, path: Loc, parent: object = None) -> Iterator[tuple[object, Loc, object]]:
    """Every written composition and part below a place, with the composition it stands in. Names are not followed."""
    yield play, path, parent
    match play:
        case AllOfSpec():
            for index, part in enumerate(play.all_of):
                yield from _walk(part, (*path, "all_of", index), play)
        case AnyOfSpec():
            for index, part in enumerate(play.any_of):
                yield from _walk(part, (*path, "any_of", index), play)
        case InTurnSpec():
            for index, part in enumerate(play.in_turn):
                yield from _walk(part, (*path, "in_turn", index), play)
        case PartSpec():
            yield from _walk(play.play, (*path, "play"), parent)
        case _:
            return


def written(context: Context) -> Iterator[tuple[object, Loc, object]]:
    """Every composition and part of the spec with its place and the composition it stands in."""
    for name, play in context.spec.games.items():
        if name not in context.games:
            yield from _walk(play, ("games", name))
    for index, stage in enumerate(context.spec.stages):
        yield from _walk(stage.play, ("stages", index, "play"))


def _in_turn_names(context: Context) -> set[str]:
    """Named compositions that take turns."""
    return {name for name, play in context.spec.games.items() if isinstance(play, InTurnSpec)}


def _sizes(context: Context) -> dict[str, tuple[int, int]]:
    """Games and nesting of each named composition once its names are written out; those in a circle are left out.

    Found without recursion and without writing out: forty names, each twice the next, stand for a billion games.
    """
    sizes: dict[str, tuple[int, int]] = dict.fromkeys(context.games, (1, 0))
    waiting = {name: play for name, play in context.spec.games.items() if name not in context.games}
    needs = {name: set(named_parts(play)) & waiting.keys() for name, play in waiting.items()}
    users: dict[str, list[str]] = {}
    for name, parts in needs.items():
        for part in parts:
            users.setdefault(part, []).append(name)
    ready = [name for name, parts in needs.items() if not parts]
    while ready:
        name = ready.pop()
        sizes[name] = _size(waiting[name], sizes)
        for user in users.get(name, ()):
            needs[user].discard(name)
            if not needs[user]:
                ready.append(user)
    return sizes


def _size(play: object, sizes: Mapping[str, tuple[int, int]]) -> tuple[int, int]:
    """Games and nesting of a written composition, from those of the names in it."""
    match play:
        case str():
            return sizes.get(play, (1, 0))
        case PartSpec():
            return _size(play.play, sizes)
        case AllOfSpec(all_of=parts) | AnyOfSpec(any_of=parts) | InTurnSpec(in_turn=parts):
            inner = [_size(part, sizes) for part in parts]
            return sum(games for games, _ in inner), 1 + max(depth for _, depth in inner)
        case _:
            raise TypeError(f"{play!r} is not a composition")


def _too_large(context: Context) -> Iterator[Diagnostic]:
    """Compositions that stand for more than anybody can play, each at its own place."""
    sizes = _sizes(context)
    plays: list[tuple[Loc, object]] = [
        (("games", name), play)
        for name, play in context.spec.games.items()
        if name in sizes and name not in context.games
    ]
    plays += [(("stages", index, "play"), stage.play) for index, stage in enumerate(context.spec.stages)]
    for path, play in plays:
        games, depth = _size(play, sizes)
        named = any(
            sizes.get(name, (0, 0))[0] > MAX_GAMES or sizes.get(name, (0, 0))[1] > MAX_NESTING
            for name in named_parts(play)
        )
        if named or (games <= MAX_GAMES and depth <= MAX_NESTING):
            continue  # what is too large is told where it becomes so
        what = (
            f"{games:,} games; {MAX_GAMES:,} are the most"
            if games > MAX_GAMES
            else f"compositions {depth} deep; {MAX_NESTING} is the most"
        )
        message = f"with its names written out this stands for {what}"
        yield context.finding("composition-too-large", message, path, at_key=True, hint="nest fewer names")


def check(context: Context) -> Iterator[Diagnostic]:
    """Compositions of a size that can be played; `in_turn` at the top of a stage; blocks and weights that fit."""
    yield from _too_large(context)
    taking_turns = _in_turn_names(context)
    for play, path, parent in written(context):
        name_of_turns = isinstance(play, str) and play in taking_turns
        if parent is not None and (isinstance(play, InTurnSpec) or name_of_turns):
            yield context.finding(
                "in-turn-nested",
                "`in_turn` alternates whole steps, so it can stand only at the top of a stage",
                path,
                hint="use `any_of` here, or make the `in_turn` the stage's `play`",
            )
        if isinstance(play, InTurnSpec) and play.blocks is not None and len(play.blocks) != len(play.in_turn):
            yield context.finding(
                "blocks-length",
                f"`blocks` has {len(play.blocks)} entries, but there are {len(play.in_turn)} parts",
                (*path, "blocks"),
                hint="write one number of steps for each part",
            )
        if isinstance(play, PartSpec) and isinstance(play.weight, list):
            yield from _schedule(context, play, path, parent)
        elif isinstance(play, PartSpec) and play.weight != 1.0:
            yield from _idle_weight(context, path, parent)


def _idle_weight(context: Context, path: Loc, parent: object) -> Iterator[Diagnostic]:
    """A weight where nothing is drawn or weighted."""
    if isinstance(parent, AnyOfSpec) or (isinstance(parent, AllOfSpec) and parent.reward == "weighted"):
        return
    match parent:
        case AllOfSpec():
            where, hint = "an `all_of` without `reward: weighted`", "write `reward: weighted`, or remove it"
        case InTurnSpec():
            where, hint = "`in_turn`", "give each part its number of steps with `blocks`, or remove it"
        case _:
            where, hint = "a part that stands alone", "remove it"
    message = f"`weight` says nothing in {where}"
    yield context.finding("no-effect", message, (*path, "weight"), severity="warning", at_key=True, hint=hint)


def check_weights(context: Context) -> Iterator[Diagnostic]:
    """Draws whose parts all weigh 0 at some step, so that nothing says what that step plays."""
    for index, stage in enumerate(context.spec.stages):
        steps = stage_steps(stage)
        empty = step_without_weight(compile_play(context, index), steps)
        if empty is not None:
            told = f", whose steps are 0 to {steps - 1}" if steps else ""
            yield context.finding(
                "weight-schedule",
                f"at step {empty} of stage `{stage.name}`{told}, every part of an `any_of` weighs 0",
                ("stages", index, "play"),
                hint="keep one of the weights above 0",
            )


def stage_steps(stage: StageSpec) -> int:
    """Most steps of a stage; 0 while the number of recorded episodes is not known."""
    if isinstance(stage, GrpoStage):
        return stage.until.steps or stage.until.max_steps or 0
    scripted, fields = stage.data.scripted, stage.sft if isinstance(stage, SftStage) else stage.glow
    return 0 if scripted is None else math.ceil(scripted.episodes / fields.batch_size) * stage.epochs


def _schedule(context: Context, part: PartSpec, path: Loc, parent: object) -> Iterator[Diagnostic]:
    assert isinstance(part.weight, list)
    steps = [int(step) for step, _ in part.weight]
    place: Loc = (*path, "weight")
    if not isinstance(parent, AnyOfSpec):
        yield context.finding(
            "weight-schedule",
            "only a part of `any_of` can have a weight that changes with the step",
            place,
            at_key=True,
        )
    elif steps != sorted(set(steps)):
        yield context.finding("weight-schedule", f"the steps of a weight must rise, but they are {steps}", place)
    elif all(value == 0 for _, value in part.weight):
        yield context.finding("weight-schedule", "a weight that is always 0 leaves its part out", place)

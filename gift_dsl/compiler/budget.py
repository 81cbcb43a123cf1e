"""Budgets: each part's own turns and tokens cover it, and a whole trajectory fits the context."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from gift_dsl.compiler.composition import compile_play, written
from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.games import horizon
from gift_dsl.compiler.model import model_shape
from gift_dsl.compiler.schedule import nodes_of
from gift_dsl.errors import Diagnostic
from gift_dsl.plan import AllOf, Leaf, Node, Play, frozen
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, PartSpec

TEMPLATE_TOKENS: Final = 12
"""Estimated tokens that a chat template adds for one turn."""
TYPICAL_SHARE: Final = 0.35
"""Estimated share of a turn's token limit that is used."""
TINY_ANSWER: Final = 4
"""Tokens of a turn of the built-in model, whose tokens are words: two tags, the answer, the end."""
TOKENS_OF_A_WORD: Final = 2.0
"""Estimated tokens of a word of a compact wording (`5x`, `P1`, `-2`) for the tokenizer of a pre-trained model."""


@frozen
class Tokens:
    """Estimated tokens of one trajectory.

    Attributes:
        completion: most sampled tokens; exact.
        prompt: tokens that games and template add; an estimate.
        typical: of a usual trajectory, both kinds together; an estimate.
        turns: most policy turns; exact.
    """

    completion: int
    prompt: int
    typical: int
    turns: int

    @property
    def longest(self) -> int:
        """Most tokens of one trajectory."""
        return self.completion + self.prompt


def leaf_tokens(context: Context, leaf: Leaf) -> Tokens:
    """Tokens of one part."""
    facts = context.games[leaf.game].facts
    compact = context.games[leaf.game].spec.prompt.wording == "compact"
    first, later = (max(1, tokens // 5) if compact else tokens for tokens in facts.prompt_tokens)
    template = 0 if compact else TEMPLATE_TOKENS
    prompt = first + later * (leaf.max_turns - 1) + 2 * template * leaf.max_turns
    completion = leaf.max_turns * leaf.max_tokens_per_turn
    return Tokens(completion, prompt, round(_typical(context, leaf, prompt)), leaf.max_turns)


def _typical(context: Context, leaf: Leaf, prompt: int) -> float:
    """Tokens of a usual play."""
    game, turns = context.games[leaf.game], usual_turns(context, leaf)
    sampled, words = usual_sample(context, leaf), game.facts.compact_words
    if game.spec.prompt.wording != "compact" or words is None:
        return turns * prompt / leaf.max_turns + sampled
    asked = words[0] + words[1] * (turns - 1)
    if context.spec.model.source == "tiny":
        return asked + sampled
    return TOKENS_OF_A_WORD * asked + 2 * TEMPLATE_TOKENS * turns + sampled


def usual_turns(context: Context, leaf: Leaf) -> float:
    """Policy turns of a usual play: a game that can be drawn often ends before its last turn."""
    return leaf.max_turns * (0.75 if context.games[leaf.game].facts.can_draw and leaf.max_turns > 1 else 1.0)


def usual_sample(context: Context, leaf: Leaf) -> float:
    """Tokens that the policy samples in a usual play."""
    is_tiny = context.spec.model.source == "tiny"
    each = min(TINY_ANSWER, leaf.max_tokens_per_turn) if is_tiny else TYPICAL_SHARE * leaf.max_tokens_per_turn
    return usual_turns(context, leaf) * each


def node_tokens(context: Context, node: Node) -> Tokens:
    """Tokens of the longest sequence of a composition: the sum of parts that share a context, else the longest part."""
    if isinstance(node, Leaf):
        return leaf_tokens(context, node)
    parts = [node_tokens(context, part) for part in node.parts]
    if isinstance(node, AllOf) and node.context == "shared":
        return Tokens(
            *(sum(getattr(part, name) for part in parts) for name in ("completion", "prompt", "typical", "turns"))
        )
    return max(parts, key=lambda part: part.longest)


def play_tokens(context: Context, play: Play) -> Tokens:
    """Tokens of the longest sequence of a stage's composition."""
    return max((node_tokens(context, node) for node, _ in nodes_of(play)), key=lambda tokens: tokens.longest)


def context_limit(context: Context) -> tuple[int | None, str]:
    """The longest sequence allowed, and where that number comes from; None when the model is not known here."""
    given = context.spec.rollout.max_context
    if given is not None:
        return given, "`rollout.max_context`"
    shape = model_shape(context)
    return (None, "") if shape is None else (shape.max_positions, f"the context of {shape.name}")


def stage_context(context: Context, play: Play) -> int:
    """The longest sequence that the plan allows for: what was asked for, else what the composition needs."""
    limit, _ = context_limit(context)
    if context.spec.rollout.max_context is not None:
        return context.spec.rollout.max_context
    longest = play_tokens(context, play).longest
    return longest if limit is None else min(limit, longest)


def check(context: Context) -> Iterator[Diagnostic]:
    """Turns of each part, then tokens of each stage."""
    yield from _turns_of_games(context)
    yield from _turns_of_parts(context)
    yield from _model_limit(context)
    yield from _evaluation_limit(context)
    limit, source = context_limit(context)
    for index, stage in enumerate(context.spec.stages):
        if limit is not None:
            yield from _tokens(context, index, stage.name, limit, source)


def _turns_of_games(context: Context) -> Iterator[Diagnostic]:
    for name, game in context.games.items():
        turns = game.spec.max_turns
        if turns is not None and turns < horizon(game):
            yield context.finding(
                "budget-below-horizon",
                f"`{name}` may need {horizon(game)} turns and has {turns}: an unfinished game counts as truncated",
                ("games", name, "max_turns"),
                severity="warning",
            )


def _needed(context: Context, play: object) -> tuple[int, str]:
    """Turns that a written part needs, and how they add up."""
    if isinstance(play, str) and play in context.games:
        game = context.games[play]
        turns = game.spec.max_turns or horizon(game)
        return turns, f"{play} {turns}"
    if isinstance(play, str):
        return _needed(context, context.spec.games[play])
    if isinstance(play, PartSpec):
        return _needed(context, play.play) if play.max_turns is None else (play.max_turns, str(play.max_turns))
    if isinstance(play, AllOfSpec):
        needs = [_needed(context, part) for part in play.all_of]
        return sum(turns for turns, _ in needs), " + ".join(text for _, text in needs)
    if isinstance(play, AnyOfSpec):
        return max((_needed(context, part) for part in play.any_of), key=lambda need: need[0])
    return 0, ""


def _turns_of_parts(context: Context) -> Iterator[Diagnostic]:
    for play, path, _ in written(context):
        if not isinstance(play, PartSpec) or play.max_turns is None:
            continue
        needed, how = _needed(context, play.play)
        if play.max_turns < needed:
            yield context.finding(
                "budget-below-part",
                f"this part has {play.max_turns} turns where {needed} are needed ({how})",
                (*path, "max_turns"),
                hint=f"write `max_turns: {needed}`, or leave it out: every part then has its own turns",
            )


def _model_limit(context: Context) -> Iterator[Diagnostic]:
    given, shape = context.spec.rollout.max_context, model_shape(context)
    if given is not None and shape is not None and given > shape.max_positions:
        yield context.finding(
            "budget-exceeds-context",
            f"`rollout.max_context` is {given}, but {shape.name} was made for at most {shape.max_positions} tokens",
            ("rollout", "max_context"),
        )


def _evaluation_limit(context: Context) -> Iterator[Diagnostic]:
    """Turns of evaluation that are longer than a sequence may be: asked for, and never given."""
    limit, source = context_limit(context)
    for path in (("evaluation", "sampling"), ("evaluation", "final", "sampling")):
        node = context.tree.at((*path, "max_tokens"))
        wanted = None if node is None else node.value
        if limit is not None and isinstance(wanted, int) and wanted >= limit:
            yield context.finding(
                "budget-exceeds-context",
                f"a turn of evaluation may have {wanted} tokens, and {source} holds {limit}, the prompt with them",
                (*path, "max_tokens"),
                hint="lower it",
            )


def _tokens(context: Context, index: int, name: str, limit: int, source: str) -> Iterator[Diagnostic]:
    path: Loc = ("stages", index, "play")
    tokens = play_tokens(context, compile_play(context, index))
    if tokens.completion > limit:
        yield context.finding(
            "budget-exceeds-context",
            f"the turns of stage `{name}` may sample {tokens.completion} tokens in one sequence, more than the "
            f"{limit} of {source}, before any prompt is counted",
            path,
            hint="lower `max_tokens_per_turn` or `max_turns` of a part, or give the parts a fresh context",
        )
    elif tokens.longest > limit:
        yield context.finding(
            "context-estimate",
            f"a trajectory of stage `{name}` may need {tokens.completion} sampled tokens and about {tokens.prompt} of "
            f"prompts, more than the {limit} of {source} (an estimate until a tokenizer is loaded)",
            path,
            severity="warning",
        )

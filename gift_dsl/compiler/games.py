"""Games as the run gets them: parameters, seats, rewards and rollout settings with nothing left to decide."""

from __future__ import annotations

from typing import Any, Final

from gift_dsl.compiler.context import BoundGame, Context
from gift_dsl.compiler.prompts import compile_prompt
from gift_dsl.data import fingerprint_dataset, fingerprint_shipped
from gift_dsl.games.params import plain_params
from gift_dsl.plan import FilePrint, GamePlan, JsonMap, RolloutPlan
from gift_dsl.spec.models.fields import Strict, plain
from gift_dsl.spec.models.games import RetrySpec

FORMAT_PENALTY: Final = -0.1
SMALLEST_FAMILY: Final = 30
"""With fewer distinct instances than this a test split would hold a handful: tables say `held-out: none`."""


def merge_rollout(context: Context, *layers: Strict | None) -> RolloutPlan:
    """The rollout settings that hold: each layer's own fields over those before it, over `rollout` of the spec."""
    merged: dict[str, Any] = plain(context.spec.rollout)
    for layer in layers:
        if layer is not None:
            merged |= plain(layer)
    fault: dict[str, Any] = merged["opponent_illegal"]
    return RolloutPlan(
        max_tokens_per_turn=merged["max_tokens_per_turn"],
        temperature=merged["sampling"]["temperature"],
        thinking=merged["thinking"],
        on_truncation=merged["on_truncation"],
        opponent_noise=merged["opponent_noise"],
        opponent_illegal_retry=fault["retry"],
        opponent_illegal_then=fault["then"],
        max_void_share=merged["max_void_share"],
        max_turn_retries=merged["max_turn_retries"],
        turn_timeout_s=merged["turn_timeout_s"],
    )


def illegal_retries(game: BoundGame) -> int:
    """Further tries after an illegal action within one play; 0 forfeits."""
    rule = game.spec.illegal_action
    return rule.retry if isinstance(rule, RetrySpec) else 0


def horizon(game: BoundGame) -> int:
    """Most turns the policy can need in one play of this game, retries of illegal actions included."""
    seat = game.spec.trainee.seat
    turns = game.facts.max_turns[seat] if isinstance(seat, int) else max(game.facts.max_turns)
    return turns + illegal_retries(game)


def held_out(game: BoundGame) -> bool:
    """Whether the family is large enough to keep dev and test instances apart from training."""
    return game.facts.family_size is None or game.facts.family_size >= SMALLEST_FAMILY


def _opponents(context: Context, game: BoundGame) -> tuple[JsonMap, str]:
    """Names by seat order ("1" is the first other seat) or by role."""
    given, others = game.spec.opponents, game.facts.seats - 1
    if game.spec.trainee.seat == "all" or given is None:
        return {}, "seat"
    if isinstance(given, dict):
        return dict(given), "role"
    names = given if isinstance(given, list) else [given] * others
    return {str(index + 1): name for index, name in enumerate(names)}, "seat"


def _data(context: Context, game: BoundGame) -> FilePrint | None:
    dataset = getattr(game.params, "dataset", None)
    if dataset is None:
        return fingerprint_shipped(game.family.files(game.params))
    return fingerprint_dataset(dataset.source, dataset.name, dataset.revision, context.folder)


def _penalty(context: Context, given: float | None, default: float, compat: float) -> float:
    if given is not None:
        return given
    return compat if context.spec.compat == "gift_v1" else default


def compile_game(context: Context, name: str) -> GamePlan:
    """The plan of one game."""
    game = context.games[name]
    spec = game.spec
    opponents, by = _opponents(context, game)
    return GamePlan(
        name=name,
        family=game.family.name,
        params=plain_params(game.params),
        trainee_seat=spec.trainee.seat,
        trainee_role=None if spec.trainee.role == "any" else spec.trainee.role,
        opponents=opponents,
        opponents_by="role" if by == "role" else "seat",
        assign=spec.assign,
        reward=(spec.reward.win, spec.reward.draw, spec.reward.loss),
        max_turns=spec.max_turns or horizon(game),
        illegal_retries=illegal_retries(game),
        format_penalty=_penalty(context, spec.format_penalty, FORMAT_PENALTY, FORMAT_PENALTY),
        illegal_penalty=_penalty(context, spec.illegal_penalty, 0.0, -0.1),
        show_penalty=spec.show_penalty,
        prompt=compile_prompt(context, game),
        rollout=merge_rollout(context, spec.rollout),
        held_out=held_out(game),
        data=_data(context, game),
    )

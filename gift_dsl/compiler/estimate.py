"""What a run will cost before it starts: episodes, tokens, calls and money for each stage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gift_dsl.compiler.budget import TYPICAL_SHARE, play_tokens, usual_sample
from gift_dsl.compiler.context import BoundGame, Context
from gift_dsl.compiler.schedule import average_plays, cycle
from gift_dsl.plan import InTurn, Leaf, Play, StagePlan, frozen, leaves
from gift_dsl.spec.models.opponents import OpenAIOpponent, OpponentSpec, PoolOpponent


@frozen
class StageEstimate:
    """Numbers of one stage. Those named typical or cost are estimates; the others are exact upper bounds.

    Attributes:
        games: what is played, as text.
        steps: most steps; 0 where recordings give them, which are not read.
        groups, group_size, episodes: of one step.
        subgame_episodes: plays of single games in one step, on average.
        rows, updates: of one step; a step of a supervised stage is one update, of episodes whose rows are not counted.
        turns: most policy turns of one episode.
        tokens_typical, tokens_longest: of one episode's longest sequence.
        policy_tokens: typical sampled tokens of one step.
        opponent_calls: requests to endpoints in one step.
        opponent_usd: cost of them in US dollars, None where a price is missing.
        schedule: for `in_turn`: the part of each step of one cycle.
    """

    name: str
    type: str
    kind: str
    games: str
    steps: int
    groups: int
    group_size: int
    episodes: int
    subgame_episodes: float
    rows: int
    updates: int
    turns: int
    tokens_typical: int
    tokens_longest: int
    policy_tokens: int
    opponent_calls: float
    opponent_usd: float | None
    schedule: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """All numbers, with totals over the stage; null where recordings give them."""
        from gift_dsl.plan import to_json

        totals = {
            "episodes": self.episodes * self.steps,
            "subgame_episodes": round(self.subgame_episodes * self.steps),
            "updates": self.updates * self.steps or None,
            "policy_tokens": self.policy_tokens * self.steps,
            "tokens": self.tokens_typical * self.episodes * self.steps,
            "opponent_calls": round(self.opponent_calls * self.steps),
            "opponent_usd": None if self.opponent_usd is None else round(self.opponent_usd * self.steps, 4),
        }
        return {**to_json(self), "steps": self.steps or None, "total": totals}


def describe_play(play: Play) -> str:
    """A composition in one line: `math > matrix` for AND, `math | matrix` for OR, `math, matrix` for turns."""
    if isinstance(play, Leaf):
        return play.label
    mark = {"AllOf": " > ", "AnyOf": " | ", "InTurn": ", "}[type(play).__name__]
    texts = [describe_play(part) for part in play.parts]
    return mark.join(
        f"({text})" if not isinstance(part, Leaf) else text for part, text in zip(play.parts, texts, strict=True)
    )


def kind_of(play: Play) -> str:
    """The paper's word for how a stage composes its games."""
    return {"Leaf": "single", "AllOf": "nested", "AnyOf": "mixed", "InTurn": "in turn"}[type(play).__name__]


def _endpoints(context: Context, opponent: OpponentSpec | None) -> list[tuple[OpenAIOpponent, float]]:
    """The endpoints that an opponent calls, each with the share of its turns."""
    if isinstance(opponent, OpenAIOpponent):
        return [(opponent, 1.0)]
    if not isinstance(opponent, PoolOpponent):
        return []
    members = [(m, 1.0) if isinstance(m, str) else (m.opponent, m.weight) for m in opponent.members]
    whole = sum(weight for _, weight in members)
    return [
        (endpoint, share * weight / whole)
        for name, weight in members
        for endpoint, share in _endpoints(context, context.opponent(name))
    ]


def seated_names(game: BoundGame) -> list[str]:
    """The names in the other seats of one play; none where every seat is trained."""
    given, others = game.spec.opponents, game.facts.seats - 1
    if given is None or game.spec.trainee.seat == "all":
        return []
    if isinstance(given, str):
        return [given] * others
    return list(given) if isinstance(given, list) else [list(given.values())[i % len(given)] for i in range(others)]


def calls_of(context: Context, name: str, opponents: Sequence[str] | None = None) -> tuple[float, float | None]:
    """Requests to endpoints in one play of a game, and their cost in US dollars (None: a price is missing).

    Args:
        context: of the run.
        name: of the game.
        opponents: in the other seats; None: those of training.
    """
    game = context.games[name]
    facts, share = game.facts, 0.75 if game.facts.can_draw else 1.0
    calls, usd, priced = 0.0, 0.0, True
    for seated in seated_names(game) if opponents is None else opponents:
        for endpoint, part in _endpoints(context, context.opponent(seated)):
            turns = share * min(facts.max_turns) * part
            calls += turns
            price = endpoint.usd_per_mtok
            priced = priced and price is not None
            if price is not None:
                prompt = facts.prompt_tokens[0] + facts.prompt_tokens[1] * min(facts.max_turns) / 2
                usd += turns * (prompt * price.input + TYPICAL_SHARE * endpoint.max_tokens * price.output) / 1e6
    return calls, usd if priced else None


def estimate_stage(context: Context, stage: StagePlan) -> StageEstimate:
    """The numbers of one stage."""
    batch, steps = stage.batch, stage.until.max_steps
    episodes = batch.episodes if batch is not None else 0
    tokens = play_tokens(context, stage.play)
    plays = average_plays(stage.play, episodes, steps)
    by_label = {leaf.label: leaf for leaf in leaves(stage.play)}
    calls, usd, sampled = 0.0, 0.0, 0.0
    priced = True
    for label, count in plays.items():
        each, cost = calls_of(context, by_label[label].game)
        calls += each * count
        priced = priced and cost is not None
        usd += (cost or 0.0) * count
        sampled += usual_sample(context, by_label[label]) * count
    names = [describe_play(part) for part in stage.play.parts] if isinstance(stage.play, InTurn) else []
    return StageEstimate(
        name=stage.name,
        type=stage.type,
        kind=kind_of(stage.play),
        games=describe_play(stage.play),
        steps=steps,
        groups=batch.groups if batch is not None else 0,
        group_size=batch.group_size if batch is not None else 0,
        episodes=episodes,
        subgame_episodes=sum(plays.values()),
        rows=batch.rows if batch is not None else 0,
        updates=batch.updates if batch is not None else 1,
        turns=tokens.turns,
        tokens_typical=tokens.typical,
        tokens_longest=tokens.longest,
        policy_tokens=round(sampled),
        opponent_calls=calls,
        opponent_usd=usd if priced else None,
        schedule=tuple(names[index] for index in cycle(stage.play)) if isinstance(stage.play, InTurn) else (),
    )

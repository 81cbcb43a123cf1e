"""Play outside a run: two or more players meet, and nothing is learned."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace

from gift_dsl.plan import OpponentPlan, Plan, StagePlan, leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation, Table
from gift_dsl.play.table import OnGroups, play_groups
from gift_dsl.players.make import Services, make_player
from gift_dsl.records import Group
from gift_dsl.run.seating import bind, seated_names, table_games


@dataclass(frozen=True, slots=True)
class Match:
    """Play outside a run: somebody takes the trained seat and nothing is learned.

    Attributes:
        plan: games, opponents and prompts.
        stage: whose composition is played.
        player: who sits in the trained seat, as an opponent of a plan.
        rounds: number of episodes; seats take turns where the game leaves them open.
        seed: of the instances and of everybody's draws.
    """

    plan: Plan
    stage: StagePlan
    player: OpponentPlan
    rounds: int
    seed: int


def play_match(match: Match, services: Services, on_groups: OnGroups | None = None) -> list[Group]:
    """Play a match to its end; nothing is left open however it ends.

    Raises:
        UsageError: a seat needs a model.
        MachineError: a dataset or a key is missing.
    """
    return asyncio.run(_play(match, services, on_groups))


async def _play(match: Match, services: Services, on_groups: OnGroups | None) -> list[Group]:
    match = _for_a_person(match) if match.player.type == "human" else match
    names = tuple(dict.fromkeys(leaf.game for leaf in leaves(match.stage.play)))
    keys = Keys(match.seed, "train", "play", 0, ("play",))
    table = Table(
        games=table_games(match.plan, names, "train"),
        policy=make_player(match.player, services),
        players=bind(seated_names(match.plan, names), match.plan, services),
        system_prompt=match.stage.system_prompt,
        evaluation=Evaluation(temperature=1.0, max_tokens=_most_tokens(match.stage)),
    )
    walks = plan_walks(match.stage.play, keys, range(match.rounds))
    async with services.network:
        return await play_groups(table, keys, walks, 1, on_groups)


def _for_a_person(match: Match) -> Match:
    """The match without what is said to models only; where an endpoint sits too, it needs the answer format."""
    stage = replace(match.stage, system_prompt="")
    if any(opponent.type == "openai" for opponent in match.plan.opponents):
        return replace(match, stage=stage)
    games = tuple(replace(game, prompt=replace(game.prompt, answer="")) for game in match.plan.games)
    return replace(match, stage=stage, plan=replace(match.plan, games=games))


def _most_tokens(stage: StagePlan) -> int:
    return max(leaf.max_tokens_per_turn for leaf in leaves(stage.play))

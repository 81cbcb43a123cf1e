"""Players of Who's the Spy without a model: what they say is legal, and knowing clues beats knowing nothing."""

from __future__ import annotations

import asyncio
import random
from functools import cache

import pytest

from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import FreeText
from gift_dsl.games.spy import SpyParams
from gift_dsl.games.spy_rules import SpyGame
from gift_dsl.players.clue import CluePlayer
from gift_dsl.players.simple import RandomPlayer
from gift_dsl.rng import stream
from gift_dsl.seat import PlayerFault, Turn
from tests.players.asking import answer, turn_of

GAME = SpyGame(SpyParams())
RANDOM = RandomPlayer("random")
CLUE = CluePlayer("clue", specific=0.85, random_vote=0.0)


def spy_turn(state):
    seat = state.current_player
    return Turn(state.observation(seat), state.legal_actions(), (), None, seat, "spy", "answer")


def action_of(text):
    return text.removeprefix("<answer>").removesuffix("</answer>")


async def play(spy_player, civilian_player, seed):
    """The final state of one game."""
    state = GAME.start(stream(seed, "instance"))
    while not state.is_terminal:
        seat = state.current_player
        player = spy_player if seat == state.spy else civilian_player
        rng = stream(seed, "player", seat, len(state.clues), len(state.votes))
        state = state.apply(action_of(await player.act(spy_turn(state), rng)))
    return state


@cache
def civilian_wins(spy_player, civilian_player, num_games=300):
    async def run():
        finals = [await play(spy_player, civilian_player, seed) for seed in range(num_games)]
        return sum(final.voted_out == final.spy for final in finals)

    return asyncio.run(run())


def interval(wins, num_games=300, z=1.96):
    """Wilson's interval of a rate (Wilson 1927)."""
    rate, spread = wins / num_games, z * z / num_games
    centre, half = rate + spread / 2, z * (rate * (1 - rate) / num_games + spread / num_games / 4) ** 0.5
    return (centre - half) / (1 + spread), (centre + half) / (1 + spread)


@pytest.mark.parametrize("player", [RANDOM, CLUE, CluePlayer("vague", 0.0, 1.0)])
@pytest.mark.parametrize("seed", range(10))
def test_every_description_and_every_vote_is_legal(player, seed):
    assert asyncio.run(play(player, player, seed)).is_terminal  # `apply` refuses anything else


def test_clues_help_civilians():
    assert interval(civilian_wins(RANDOM, CLUE))[0] > interval(civilian_wins(RANDOM, RANDOM))[1]


def test_clues_help_the_spy():
    assert interval(civilian_wins(CLUE, CLUE))[1] < interval(civilian_wins(RANDOM, CLUE))[0]


def test_random_votes_are_drawn_from_all_that_are_legal():
    state = GAME.start(random.Random(1))
    rng = random.Random(2)
    while state.phase == "describe":
        state = state.apply(action_of(asyncio.run(CLUE.act(spy_turn(state), rng))))
    drawn = {action_of(answer(CluePlayer("any", 0.85, 1.0), spy_turn(state), seed)) for seed in range(60)}
    assert drawn == set(state.legal_actions())


def test_a_random_description_is_one_that_may_be_said():
    observation = GAME.start(random.Random(0)).observation(0)
    strict = FreeText(max_chars=8, forbidden=("soft", "sweet"), one_line=True)
    for seed in range(30):
        text = action_of(answer(RANDOM, turn_of(legal=strict, observation=observation), seed))
        assert reason_against(strict, text) is None


def test_where_nothing_may_be_said_a_random_player_says_so():
    observation = GAME.start(random.Random(0)).observation(0)
    with pytest.raises(PlayerFault, match="no list of random texts"):
        answer(RANDOM, turn_of(legal=FreeText(max_chars=1), observation=observation))

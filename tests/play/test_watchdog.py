"""The watchdog: who is waited for is named with the game, the part and the seed, whatever holds an episode up."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace

import pytest

from gift_dsl.play.compose import plan_walks
from gift_dsl.play.seats import model_player
from gift_dsl.play.table import play_groups
from gift_dsl.players.network import Network
from gift_dsl.players.openai import ChatSettings, Endpoint, OpenAIPlayer
from gift_dsl.players.usage import Budget
from tests.play.scripted import (
    KEYS,
    CountGame,
    CountState,
    RandomPlayer,
    ScriptedPolicy,
    counting,
    leaf,
    legal_listed,
    play,
    table_of,
    tagged,
    tictactoe,
    trajectories,
)
from tests.play.test_deal import all_of

PATIENCE_S = 0.02
TOLD_S = 0.2
"""Long enough to be told of a few times on a busy machine."""


def patient(name, **options):
    return leaf(name, turn_timeout_s=PATIENCE_S, **options)


def told(caplog):
    return [record.message for record in caplog.records if record.name == "gift_dsl.play.watchdog"]


@pytest.fixture
def silent_server():
    """A server that takes connections and never answers: its address."""
    import socket

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(64)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/v1"


def test_an_http_opponent_that_never_answers_is_named_with_the_episode_it_holds_up(silent_server, caplog):
    async def play_with_server():
        async with Network() as network:
            endpoint = Endpoint(silent_server, timeout_s=TOLD_S, retries=0)
            player = OpenAIPlayer("qwen", ChatSettings("m", 0.5, 1.0, 10), endpoint, network, Budget())
            solo = counting("solo", CountGame(goal=3, spread=4, seats=1))
            table = table_of(solo, counting(game=CountGame(goal=9, first=0), opponents={"1": "qwen"}), players=[player])
            chain = all_of(leaf("solo"), patient("count", max_turn_retries=0))
            return await play_groups(table, KEYS, plan_walks(chain, KEYS, range(4)), 1)

    found = trajectories(asyncio.run(play_with_server()))
    assert all(one.is_void for one in found)  # the player's own time limit ends it
    lines = told(caplog)
    assert lines
    assert {line.partition(" for")[0] for line in lines} == {"player `qwen` has not answered"}
    assert all("game `count`, part 2, " in line and "seed 7, split train" in line for line in lines)
    assert any("episode nested/0/" in line for line in lines)


def test_a_local_model_that_never_answers_is_named_with_one_episode_and_the_number_of_the_others(caplog):
    class Stuck(ScriptedPolicy):
        async def complete(self, requests):
            await asyncio.sleep(TOLD_S)
            return await super().complete(requests)

    policy = Stuck(lambda request, context: tagged(legal_listed(context)[0]))
    play(table_of(tictactoe(), policy=policy), patient("ttt"), groups=1, members=4)
    first = told(caplog)[0]
    assert first.startswith("model `policy` has not answered for 0.0")
    assert "game `ttt`, part 1, episode nested/0/0/" in first
    assert first.endswith("; so wait 3 more")


def test_a_model_in_an_opponents_seat_is_named_by_its_own_name(caplog):
    class Stuck(ScriptedPolicy):
        async def complete(self, requests):
            await asyncio.sleep(TOLD_S)
            return await super().complete(requests)

    judge = model_player("judge", Stuck(lambda request, context: tagged(legal_listed(context)[0])))
    play(table_of(tictactoe(opponents={"1": "judge"}), players=[judge]), patient("ttt"), members=1)
    assert {line.partition(" has")[0] for line in told(caplog)} == {"model `judge`"}


def test_a_player_on_the_spot_that_holds_up_the_loop_is_named_all_the_same(caplog):
    class Thinking(RandomPlayer):
        async def act(self, turn, rng):
            time.sleep(TOLD_S)  # nothing else runs meanwhile: that is the case
            return await super().act(turn, rng)

    game = counting(game=CountGame(2, 0), opponents={"1": "thinking"})
    play(table_of(game, players=[Thinking("thinking")]), patient("count"), members=1)
    assert told(caplog)[0].startswith("player `thinking` has not answered for 0.0")
    assert "game `count`, part 1" in told(caplog)[0]


def test_a_rule_that_does_not_come_back_is_named_all_the_same(caplog):
    @dataclass(frozen=True)
    class SlowState(CountState):
        def apply(self, action):
            time.sleep(TOLD_S)
            return super().apply(action)

    class SlowGame(CountGame):
        def start(self, rng):
            state = super().start(rng)
            return SlowState(*(getattr(state, name) for name in state.__dataclass_fields__))

    play(table_of(counting(game=SlowGame(2, 0, seats=1))), patient("count"), members=1)
    first = told(caplog)[0]
    assert first.startswith("the rules have not come back for 0.0")
    assert "game `count`, part 1, episode nested/0/0/0, seed 7, split train" in first


def test_a_wait_is_told_of_again_after_twice_the_time(caplog):
    class Slow(RandomPlayer):
        async def act(self, turn, rng):
            await asyncio.sleep(10 * PATIENCE_S)
            return await super().act(turn, rng)

    game = counting(game=CountGame(2, 0), opponents={"1": "slow"})
    play(table_of(game, players=[Slow("slow", waits=True)]), patient("count"), members=1)
    assert 1 <= len(told(caplog)) <= 4


def test_the_same_game_twice_is_told_apart_by_its_label(caplog):
    class Slow(RandomPlayer):
        async def act(self, turn, rng):
            await asyncio.sleep(TOLD_S)
            return await super().act(turn, rng)

    game = counting(game=CountGame(2, 0), opponents={"1": "slow"})
    labelled = replace(patient("count"), label="count#2")
    play(table_of(game, players=[Slow("slow", waits=True)]), all_of(leaf("count"), labelled), groups=8, members=1)
    assert any("game `count`, part 2 (`count#2`)" in line for line in told(caplog))


def test_who_answers_in_time_is_not_told_of(caplog):
    play(table_of(tictactoe()), leaf("ttt"), groups=2, members=2)
    assert told(caplog) == []

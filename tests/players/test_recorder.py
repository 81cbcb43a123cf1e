"""What was said once is said again: exactly, without a network, and after a crash."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from gift_dsl.errors import LimitReached, MachineError
from gift_dsl.players import make_player
from gift_dsl.players.make import Services
from gift_dsl.players.recorder import Recorder, RecordStore
from gift_dsl.players.usage import Budget
from gift_dsl.seat import PlayerFault
from tests.players.asking import openai_plan, outcome, services, turn_of
from tests.players.server import FaultServer, in_order


class Counting:
    """A reply that is never the same twice."""

    def __init__(self):
        self.number = 0

    def __call__(self, body):
        self.number += 1
        return f"<answer>{self.number}</answer>"


def ask(path, asks, *, server=None, replay=False, budget=None, at_once=False, **params):
    """Ask (turn, seed) pairs of a recorded player; the outcomes."""
    server = server or FaultServer(reply=Counting())

    async def run():
        with RecordStore(path) as store:
            shared = services(store=store, replay=replay, budget=budget or Budget())
            async with server, shared.network:
                player = make_player(openai_plan(server.url, retries=0, **params), shared)
                waiting = [outcome(player.act(turn, random.Random(seed))) for turn, seed in asks]
                if at_once:
                    return await asyncio.gather(*waiting)
                return [await one for one in waiting]

    return asyncio.run(run())


def same(first, second):
    return [repr(item) for item in first] == [repr(item) for item in second]


ASKS = [(turn_of("a"), 0), (turn_of("a"), 1), (turn_of("b"), 2), (turn_of("a", "3", "c"), 3)]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "records" / "answers.jsonl"


def test_a_record_answers_as_the_server_did_without_a_network_or_a_key(path):
    said = ask(path, ASKS)
    assert len(set(said)) == 4
    silent = FaultServer()
    assert ask(path, ASKS[::-1], server=silent, replay=True, api_key_env="UNSET_KEY") == said[::-1]
    assert silent.asked == []


def test_a_fault_is_recorded_as_it_was(path):
    said = ask(path, ASKS, server=FaultServer(in_order("ok", "http_500", "malformed"), reply=Counting()))
    assert [type(item) for item in said] == [str, PlayerFault, PlayerFault, str]
    again = ask(path, ASKS, replay=True)
    assert same(said, again)
    assert [(item.reason, item.endpoint) for item in again[1:3]] == [(item.reason, item.endpoint) for item in said[1:3]]


def test_a_resumed_run_hears_again_what_it_heard_and_asks_only_what_is_new(path):
    first = ask(path, ASKS[:2])
    server = FaultServer(reply=Counting())
    resumed = ask(path, ASKS, server=server)
    assert resumed[:2] == first
    assert len(server.asked) == 2


def test_members_of_a_group_that_ask_the_same_get_answers_of_their_own(path):
    assert len(set(ask(path, [(turn_of(), seed) for seed in range(5)]))) == 5


def test_members_whose_noise_is_common_get_one_answer(path):
    server = FaultServer(reply=Counting())
    assert set(ask(path, [(turn_of(), 7)] * 5, server=server, at_once=True)) == {"<answer>1</answer>"}
    assert len(server.asked) == 1


def test_a_request_that_was_never_made_is_named(path):
    ask(path, ASKS)
    (error,) = ask(path, [(turn_of("a\nlittle else"), 0)], replay=True)
    assert isinstance(error, MachineError)
    assert "holds no answer of `server` (m)" in str(error)
    assert "`game`: a little else" in str(error)


def test_a_request_without_messages_is_named_as_well(path):
    turn = turn_of()
    (error,) = ask(path, [(type(turn)(None, (), (), None, 0, "game", "answer"), 0)], replay=True)
    assert str(error).endswith("no message")


@pytest.mark.parametrize(
    ("field", "value"), [("model", "n"), ("temperature", 0.6), ("system", "x"), ("extra_body", {"top_k": 1})]
)
def test_other_sampling_is_another_request(path, field, value):
    ask(path, ASKS)
    assert isinstance(ask(path, ASKS[:1], replay=True, **{field: value})[0], MachineError)


def test_another_address_is_the_same_request(path):
    said = ask(path, ASKS)  # each server has a port of its own
    assert ask(path, ASKS) == said


def test_a_reached_limit_is_not_recorded(path):
    ends = ask(path, ASKS, budget=Budget(opponent_calls=1))
    assert [type(end) for end in ends] == [str, LimitReached, LimitReached, LimitReached]
    assert len(path.read_text().splitlines()) == 1


def test_a_record_is_lines_of_json_that_a_person_can_read(path):
    ask(path, ASKS[:2], server=FaultServer(in_order("ok", "empty")))
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {"key": first["key"], "player": "server", "text": "<answer>1</answer>"}
    assert second["fault"]["reason"] == "the reply is empty, or reasoning alone"


def test_a_line_that_a_crash_has_cut_is_dropped_and_asked_anew(path):
    ask(path, ASKS)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    server = FaultServer(reply=Counting())
    ask(path, ASKS, server=server)
    assert len(server.asked) == 1
    lines = path.read_bytes().splitlines(keepends=True)
    assert lines[:3] == whole.splitlines(keepends=True)[:3]
    assert len(lines) == 4


@pytest.mark.parametrize(
    "line",
    [
        "text",
        "[]",
        "{}",
        '{"key": "xy", "player": "p", "text": "t"}',
        '{"key": "00", "player": "p"}',
        '{"key": "00", "player": 1, "text": "t"}',
        '{"key": "00", "player": "p", "text": 1}',
        '{"key": "00", "player": "p", "fault": {}}',
        '{"key": "00", "player": "p", "fault": "f"}',
    ],
)
def test_any_other_line_that_cannot_be_read_is_an_error_with_its_place(path, line):
    ask(path, ASKS[:1])
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(MachineError, match=r"answers\.jsonl:2 is not a recorded answer"):
        RecordStore(path)


def test_of_two_answers_to_one_request_the_first_is_kept(path):
    with RecordStore(path) as store:
        assert store.put("00", "p", "first") == "first"
        assert store.put("00", "p", "second") == "first"
        assert store.get("00") == "first"
        assert store.get("01") is None
        assert len(store) == 1


def test_a_cancelled_request_is_asked_anew(path):
    server = FaultServer(in_order("stall"), reply=Counting())

    async def run():
        with RecordStore(path) as store:
            shared = services(store=store)
            async with server, shared.network:
                player = make_player(openai_plan(server.url), shared)
                first = asyncio.create_task(player.act(*ASKS[0][:1], random.Random(0)))
                while not server.asked:
                    await asyncio.sleep(0.001)
                second = asyncio.create_task(player.act(*ASKS[0][:1], random.Random(0)))
                await asyncio.sleep(0)
                first.cancel()
                return await asyncio.gather(first, second, return_exceptions=True)

    first, second = asyncio.run(run())
    assert isinstance(first, asyncio.CancelledError)
    assert second == "<answer>1</answer>"


def test_a_recorded_player_at_another_temperature_makes_another_request(tmp_path):
    with RecordStore(tmp_path / "answers.jsonl") as store:
        player = make_player(openai_plan("http://127.0.0.1:9/v1"), Services(store=store))
        warm = player.with_temperature(0.25)
        assert isinstance(player, Recorder)
        assert isinstance(warm, Recorder)
        assert (warm.name, warm.store) == (player.name, store)
        bodies = [one.player.chat.body(()) for one in (player, warm)]
        assert bodies[1] == {**bodies[0], "temperature": 0.25}

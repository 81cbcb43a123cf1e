"""Turns, plans and short waits for the tests of players."""

from __future__ import annotations

import asyncio
import random

from gift_dsl.plan import OpponentPlan
from gift_dsl.players import Services, make_player
from gift_dsl.players.backoff import Backoff
from gift_dsl.players.network import HostLimits, Network
from gift_dsl.seat import Message, Turn

QUICK = Backoff(base_s=0.001, cap_s=0.002, retry_after_cap_s=0.005)
CHAT = {
    "model": "m",
    "temperature": 0.5,
    "top_p": 1.0,
    "max_tokens": 200,
    "thinking": "off",
    "timeout_s": 20.0,
    "retries": 2,
}


def turn_of(*said, legal=("1", "2"), observation=None, state=None, seat=0, tag="answer"):
    """A turn after a conversation of texts, the first and every other one from the game."""
    roles = ("user", "assistant")
    messages = tuple(Message(roles[index % 2], text) for index, text in enumerate(said or ("Your turn.",)))
    return Turn(observation, legal, messages, state, seat, "game", tag)


def openai_plan(url, name="server", **params):
    return OpponentPlan(name, "openai", {**CHAT, "base_url": url, **params})


def services(limits=None, **changes):
    return Services(network=Network(HostLimits(limits), QUICK), **changes)


def answer(player, turn=None, seed=0):
    """What a player that needs no network says."""
    return asyncio.run(player.act(turn or turn_of(), random.Random(seed)))


def ask_server(server, *, turns=1, plan=None, change=None, **params):
    """Ask a server for some turns, one after the other; the answers or exceptions, and the services used."""
    shared = change or services()

    async def run():
        async with server, shared.network:
            player = make_player(plan or openai_plan(server.url, **params), shared)
            return [await outcome(player.act(turn_of(), random.Random(index))) for index in range(turns)]

    return asyncio.run(run()), shared


async def outcome(waiting):
    """The value of an awaitable, or the exception that it raised."""
    try:
        return await waiting
    except Exception as error:  # noqa: BLE001  # the test looks at it
        return error

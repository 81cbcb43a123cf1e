"""Before anything is played a chat API must answer and take the key: one GET of its list of models."""

from __future__ import annotations

import asyncio
import time

import pytest

from gift_dsl.errors import MachineError
from gift_dsl.players import look
from gift_dsl.players.look import check_server
from gift_dsl.players.openai import Endpoint
from tests.players.server import FaultServer, in_order

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(look, "_PAUSES_S", (0.001, 0.002))


def check(server, key=KEY, timeout_s=5.0):
    """What the check says of a server; None where it passes."""

    async def run():
        async with server:
            try:
                await check_server(Endpoint(server.url, key), None if key is None else "RIVAL_KEY", timeout_s)
            except MachineError as error:
                return str(error)
            finally:
                await server.all_closed()

    return asyncio.run(run())


def answering(*kinds):
    return FaultServer(models=in_order(*kinds))


def test_a_server_is_asked_for_its_models_with_its_key_and_for_nothing_else():
    server = FaultServer()
    assert check(server) is None
    (asked,) = server.looked
    assert (asked.path, asked.headers["authorization"]) == ("/v1/models", f"Bearer {KEY}")
    assert server.asked == []


def test_without_a_key_none_is_sent():
    server = FaultServer()
    assert check(server, None) is None
    assert "authorization" not in server.looked[0].headers


@pytest.mark.parametrize("status", [400, 404, 405, 429, 501])
def test_a_server_without_a_list_of_models_passes(status):
    server = answering((status, {}, "no such page"))
    assert check(server) is None
    assert len(server.looked) == 1


def test_a_server_that_takes_connections_and_never_answers_is_refused_in_time():
    server, began = answering("stall"), time.monotonic()
    said = check(server, timeout_s=0.2)
    assert time.monotonic() - began < 5
    assert said == (
        f"{server.host} takes connections, but gives no answer within 0.2 s; wait until its model is loaded, "
        "or correct `base_url`"
    )


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_key_is_named_by_its_variable_and_never_shown(status):
    server = answering((status, {}, f'{{"error": "Incorrect API key provided: {KEY}"}}'))
    said = check(server)
    assert said == f"{server.host} refuses the key in RIVAL_KEY (HTTP {status}); set the variable to one that it takes"
    assert len(server.looked) == 1


def test_a_server_that_wants_a_key_where_the_spec_names_none_says_what_to_write():
    server = answering((401, {}, "Unauthorized"))
    assert "refuses requests without a key (HTTP 401); name the variable that holds one: `api_key_env`" in check(
        server, None
    )


def test_what_a_server_fails_at_for_the_moment_is_asked_again():
    server = answering((503, {}, "Loading model"), "close")
    assert check(server) is None
    assert len(server.looked) == 3


def test_a_server_that_goes_on_failing_is_refused_in_its_words_without_the_key():
    server = answering(*[(503, {}, f'{{"error": {{"message": "Loading model for {KEY}"}}}}')] * 9)
    said = check(server)
    assert said == (
        f"{server.host} fails: HTTP 503: Loading model for *** (3 tries); wait until it is ready, or repair it"
    )
    assert len(server.looked) == 3


def test_a_server_that_speaks_something_else_is_refused():
    said = check(answering(*["close"] * 9))
    assert "gives no answer: " in said
    assert said.endswith("is `base_url` right?")

"""The HTTP player against a server that fails on purpose: a text or a fault, never a hang and never a leak."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import random
import socket
import ssl
import tracemalloc
from collections import Counter
from dataclasses import replace

import pytest

from gift_dsl.errors import LimitReached, MachineError
from gift_dsl.players import make_player
from gift_dsl.players.network import (
    MAX_REPLY_BYTES,
    HostLimits,
    Network,
    Outgoing,
    check_endpoint,
    find_proxy,
    host_of,
)
from gift_dsl.players.openai import Endpoint
from gift_dsl.players.usage import Budget, Usage
from gift_dsl.seat import CutText, PlayerFault
from tests.players.asking import QUICK, ask_server, openai_plan, outcome, services, turn_of
from tests.players.server import FAULTS, FaultServer, completion, in_order, in_random_mix

TRANSIENT = ["http_500", "http_429", "malformed", "empty", "cut", "close"]


def faults_of(shared, name="server"):
    return dict(shared.budget.usage(name).faults)


def test_a_reply_is_the_text_of_the_server():
    server = FaultServer(reply=lambda body: f"<answer>{body['messages'][-1]['content']}</answer>")
    answers, _ = ask_server(server)
    assert answers == ["<answer>Your turn.</answer>"]
    assert server.asked[0].path == "/v1/chat/completions"
    assert server.asked[0].body["temperature"] == 0.5
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize("kind", TRANSIENT)
def test_what_may_pass_is_tried_again(kind):
    answers, shared = ask_server(FaultServer(in_order(kind, kind)), retries=2)
    assert answers == ["<answer>1</answer>"]
    assert shared.budget.usage("server").calls == 3
    assert faults_of(shared) == {"cut" if kind == "close" else kind: 2}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_what_does_not_pass_is_a_fault_that_names_the_endpoint(kind):
    server = FaultServer(lambda _: kind)
    (fault,), shared = ask_server(server, retries=1)
    assert isinstance(fault, PlayerFault)
    assert (fault.player, fault.endpoint) == ("server", server.host)
    assert fault.reason.endswith("(2 tries)")
    assert shared.budget.usage("server").unanswered == 1


@pytest.mark.parametrize("is_measured", [True, False])
def test_running_out_of_tokens_is_an_answer_of_who_is_measured_and_a_fault_of_all_others(is_measured):
    async def run():
        long = (200, {}, completion("<think>so long", finish_reason="length"))
        async with FaultServer(lambda _: long) as server, Network() as network:
            player = make_player(openai_plan(server.url, retries=0), services())
            player = replace(player, network=network, is_measured=is_measured)
            return await outcome(player.act(turn_of(), random.Random(0))), len(server.asked)

    said, num_asked = asyncio.run(run())
    assert num_asked == 1
    if is_measured:
        assert (said, type(said)) == ("", CutText)
    else:
        assert isinstance(said, PlayerFault)
        assert "ended at its token limit" in said.reason


@pytest.mark.parametrize("status", [302, 400, 401, 403, 404])
def test_what_cannot_pass_is_not_tried_again(status):
    server = FaultServer(lambda _: (status, {"Location": "http://127.0.0.1:1/"}, '{"error": {"message": "no"}}'))
    (fault,), _ = ask_server(server, retries=5)
    assert isinstance(fault, PlayerFault)
    assert fault.reason.startswith(f"HTTP {status}: ")
    assert len(server.asked) == 1


def test_a_stalled_socket_is_given_up():
    (fault,), shared = ask_server(FaultServer(lambda _: "stall"), retries=1, timeout_s=0.05)
    assert isinstance(fault, PlayerFault)
    assert fault.reason == "no answer within 0.05 s (2 tries)"
    assert faults_of(shared) == {"timeout": 2}


def test_nobody_at_the_port_is_a_fault():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: a connection is refused
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        (fault,), shared = ask_server(FaultServer(), plan=openai_plan(url, retries=1))
    assert isinstance(fault, PlayerFault)
    assert faults_of(shared) == {"connect": 2}


def test_a_server_without_encryption_where_it_was_expected_is_a_fault_at_once():
    async def greet(_reader, writer):
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        writer.close()

    async def run():
        shared = services()
        async with await asyncio.start_server(greet, "127.0.0.1", 0) as server, shared.network:
            url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
            player = make_player(openai_plan(url, retries=3), shared)
            return await outcome(player.act(turn_of(), random.Random(0))), shared

    fault, shared = asyncio.run(run())
    assert isinstance(fault, PlayerFault)
    assert faults_of(shared) == {"tls": 1}


def test_an_address_that_http_cannot_use_is_a_fault_at_once():
    (fault,), shared = ask_server(FaultServer(), plan=openai_plan("ftp://example.org/v1"))
    assert isinstance(fault, PlayerFault)
    assert faults_of(shared) == {"bad_url": 1}


def test_a_reply_without_end_is_given_up():
    server = FaultServer(lambda _: (200, {}, b"x" * (MAX_REPLY_BYTES + 1)))
    (fault,), _ = ask_server(server, retries=3)
    assert isinstance(fault, PlayerFault)
    assert "longer than" in fault.reason
    assert len(server.asked) == 1


@pytest.mark.parametrize("retry_after", ["0", "86400", "Sun, 01 Mar 2099 12:00:00 GMT"])
def test_retry_after_is_waited_for_but_not_without_end(retry_after):
    answers, shared = ask_server(FaultServer(in_order("http_429"), retry_after=retry_after))
    assert answers == ["<answer>1</answer>"]
    assert faults_of(shared) == {"http_429": 1}


def test_a_key_is_sent_and_never_shown(caplog):
    caplog.set_level(logging.DEBUG)
    quoted = (401, {}, '{"error": {"message": "Incorrect key sk-lab-1234"}}')
    server = FaultServer(in_order("ok", quoted))
    shared = services(find_key=lambda *_: "sk-lab-1234")
    (answer, fault), _ = ask_server(server, turns=2, change=shared, api_key_env="LAB_KEY")
    assert answer == "<answer>1</answer>"
    assert server.asked[0].headers["authorization"] == "Bearer sk-lab-1234"
    player = make_player(openai_plan("http://lab/v1"), shared)
    assert "sk-lab-1234" not in f"{fault} {fault!r} {fault.__cause__!r} {player!r} {caplog.text}"
    assert fault.reason == "HTTP 401: Incorrect key ***"


def test_tokens_and_their_price_are_counted():
    prices = {"usd_per_mtok": {"input": 1.0, "output": 4.0}}
    _, shared = ask_server(FaultServer(in_order("empty")), turns=2, **prices)
    assert shared.budget.usage("server") == Usage(
        calls=3, prompt_tokens=60, completion_tokens=15, usd=pytest.approx(120e-6), faults={"empty": 1}
    )


def test_what_a_server_says_that_it_serves_is_counted():
    def named(**names):
        return 200, {}, json.dumps({**json.loads(completion("3")), **names})

    kinds = [
        named(model="m-2026-01", system_fingerprint="fp_1"),
        named(model="m-2026-01", system_fingerprint="fp_2"),
        named(model="m-2026-01", system_fingerprint=None),
        named(model="m-2026-01", system_fingerprint="fp_1"),
        named(model=["no name"]),
    ]
    _, shared = ask_server(FaultServer(in_order(*kinds)), turns=6)
    served = {"m-2026-01 fp_1": 2, "m-2026-01 fp_2": 1, "m-2026-01": 1}
    assert shared.budget.usage("server").served == served


def test_a_reply_that_tells_no_tokens_counts_at_its_highest_price():
    silent = (200, {}, completion("3", usage=None))
    _, shared = ask_server(FaultServer(in_order(silent)), usd_per_mtok={"input": 0.0, "output": 4.0}, max_tokens=200)
    used = shared.budget.usage("server")
    assert (used.usd, used.unreported, used.usd_unreported) == (0.0, 1, pytest.approx(800e-6))


def test_the_highest_price_of_a_call_is_never_below_its_real_one():
    _, shared = ask_server(FaultServer(in_order("cut")), usd_per_mtok={"input": 1.0, "output": 1.0})
    used = shared.budget.usage("server")
    assert used.usd_unreported > used.usd > 0


def test_a_reached_limit_stops_the_call_before_it_is_made():
    server = FaultServer()
    shared = services(budget=Budget(opponent_calls=2))
    answers, _ = ask_server(server, turns=3, change=shared)
    assert isinstance(answers[2], LimitReached)
    assert len(server.asked) == 2


def test_a_host_has_no_more_requests_under_way_than_its_limit():
    server = FaultServer(latency_s=0.002)

    async def run():
        async with server:
            shared = services({server.host: 3})
            async with shared.network:
                players = [make_player(openai_plan(server.url, name), shared) for name in ("a", "b")]
                turns = [player.act(turn_of(), random.Random(0)) for player in players for _ in range(15)]
                return await asyncio.gather(*turns)

    assert len(asyncio.run(run())) == 30
    assert server.most_busy == 3


def test_players_of_one_host_share_the_smallest_limit():
    limits = HostLimits.smallest([("a", 8), ("b", 4), ("a", 2)])

    async def free(host):
        gate = limits.gate(host)
        return sum([not gate.locked() and await gate.acquire() for _ in range(40)])

    async def run():
        return [await free(host) for host in ("a", "b", "c")]

    assert asyncio.run(run()) == [2, 4, 32]
    assert asyncio.run(run()) == [2, 4, 32]  # another event loop, other gates


def test_connections_are_used_again_and_closed_at_the_end():
    server, connections = FaultServer(), []

    async def run():
        shared = services()
        async with server:
            player = make_player(openai_plan(server.url), shared)
            for _ in range(2):
                async with shared.network:
                    for _ in range(5):
                        await player.act(turn_of(), random.Random(0))
                        connections.append(server.open)
                await server.all_closed()
            await shared.network.aclose()  # nothing is open: nothing happens

    asyncio.run(run())
    assert connections == [1] * 10


def test_a_network_serves_one_event_loop_after_another():
    shared = services()
    for _ in range(2):
        answers, _ = ask_server(FaultServer(), change=shared)
        assert answers == ["<answer>1</answer>"]


@pytest.mark.parametrize("moment", ["waiting for the reply", "between two tries", "waiting at the gate"])
def test_a_cancelled_turn_leaves_nothing_behind(moment):
    server = FaultServer((lambda _: "http_500") if moment == "between two tries" else (lambda _: "stall"))

    async def run():
        async with server:
            shared = services({server.host: 1})
            shared.network.backoff = type(QUICK)(base_s=3600.0, cap_s=3600.0)
            async with shared.network:
                player = make_player(openai_plan(server.url, timeout_s=60.0), shared)
                turns = [asyncio.create_task(player.act(turn_of(), random.Random(0))) for _ in range(3)]
                while not server.asked:
                    await asyncio.sleep(0.001)
                for turn in turns:
                    turn.cancel()
                ends = await asyncio.gather(*turns, return_exceptions=True)
                gate_is_free = not shared.network.limits.gate(server.host).locked()
            await server.all_closed()
            others = asyncio.all_tasks() - {asyncio.current_task()} - server.handlers
            return ends, gate_is_free, others, shared.budget.usage("server")

    ends, gate_is_free, others, used = asyncio.run(run())
    assert [type(end) for end in ends] == [asyncio.CancelledError] * 3
    assert gate_is_free
    assert not others
    assert used.calls == sum(used.faults.values())


def play_against_faults(num_turns, *, share=0.3, seed=0, timeout_s=0.25, retries=1):
    """Many turns at once against a server that fails at random; what each ended in, the server and the counts."""
    server = FaultServer(in_random_mix(share, seed))

    async def run():
        async with server:
            shared = services({server.host: 32})
            async with shared.network:
                player = make_player(openai_plan(server.url, timeout_s=timeout_s, retries=retries), shared)
                turns = [outcome(player.act(turn_of(), random.Random(index))) for index in range(num_turns)]
                ends = await asyncio.gather(*turns)
            await server.all_closed()
            return ends, asyncio.all_tasks() - {asyncio.current_task()} - server.handlers, shared.budget.usage("server")

    return *asyncio.run(run()), server


def check_faults(ends, others, used, server):
    """The laws of a faulty network. A slow machine may add time-outs, and changes none of them."""
    kinds = Counter(type(end) for end in ends)
    assert set(kinds) == {str, PlayerFault}
    assert {end for end in ends if isinstance(end, str)} == {"<answer>1</answer>"}
    assert kinds[PlayerFault] == used.unanswered
    assert not others
    assert used.calls == kinds[str] + sum(used.faults.values())
    assert set(used.faults) <= {*FAULTS, "timeout", "connect"}
    assert set(server.kinds) == {"ok", *FAULTS}
    for kind in ("http_500", "http_429", "malformed", "empty", "cut"):
        assert 0 < used.faults[kind] <= server.kinds[kind]
    assert used.faults["timeout"] >= server.kinds["stall"]
    assert used.prompt_tokens == 20 * (kinds[str] + used.faults["empty"])


def test_every_turn_against_a_faulty_server_is_a_text_or_a_fault():
    check_faults(*play_against_faults(400))


@pytest.mark.slow
def test_thousands_of_turns_against_a_faulty_server_leak_nothing():
    play_against_faults(1000)  # caches are filled
    gc.collect()
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    ends, others, used, server = play_against_faults(5000, seed=1)
    check_faults(ends, others, used, server)
    del ends, server
    gc.collect()
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 1_000_000


@pytest.mark.parametrize(
    ("base_url", "url", "host"),
    [
        ("http://localhost:1414/v1", "http://localhost:1414/v1/chat/completions", "localhost:1414"),
        ("https://A.example/v1/", "https://A.example/v1/chat/completions", "a.example"),
        ("https://a.example:443/v1", "https://a.example:443/v1/chat/completions", "a.example"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1/chat/completions", "[::1]"),
        ("https://a.example/v1?version=2", "https://a.example/v1/chat/completions?version=2", "a.example"),
    ],
)
def test_an_address_is_completed_and_its_host_named(base_url, url, host):
    assert (Endpoint(base_url).url, Endpoint(base_url).host) == (url, host)


@pytest.mark.parametrize("url", ["http:///v1", "localhost", "http://a:b/v1"])
def test_an_address_without_a_host_is_refused(url):
    with pytest.raises(ValueError, match=r"names no host|could not be cast|[Pp]ort"):
        host_of(url)


def test_an_endpoint_where_somebody_listens_passes_the_check_and_is_sent_nothing():
    async def check(server):
        async with server:
            await check_endpoint(server.url)
            await server.all_closed()

    server = FaultServer()
    asyncio.run(check(server))
    assert server.asked == []


def test_an_endpoint_where_nobody_listens_is_named_at_once():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody else can listen here, and this socket does not
        host = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(MachineError, match=f"nobody answers at {host}: "):
            asyncio.run(check_endpoint(f"http://{host}/v1"))


def test_the_check_of_an_endpoint_ends_in_time_and_names_a_proxy_without_its_password(monkeypatch):
    async def never(host, port):
        assert (host, port) == ("proxy.example", 3128)
        await asyncio.sleep(3600)

    monkeypatch.setenv("https_proxy", "http://me:secret@proxy.example:3128")
    monkeypatch.setattr("asyncio.open_connection", never)
    with pytest.raises(MachineError) as caught:
        asyncio.run(check_endpoint("https://api.example/v1", timeout_s=0.01))
    words = "the proxy proxy.example, on the way to api.example: no connection within 0.01 s"
    assert str(caught.value) == f"nobody answers at {words}"


def test_a_proxy_is_used_for_others_and_never_for_this_machine(monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "inside.example")
    assert find_proxy("http://outside.example/v1") == "http://proxy.example:3128"
    assert find_proxy("http://inside.example/v1") is None
    assert find_proxy("https://outside.example/v1") is None
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert find_proxy(f"http://{host}:8000/v1") is None


def test_a_proxy_of_the_machine_is_asked_for_once(monkeypatch):
    server = FaultServer()
    looked_up = []
    monkeypatch.setattr("gift_dsl.players.network.find_proxy", looked_up.append)
    ask_server(server, turns=3)
    assert looked_up == [f"{server.url}/chat/completions"]


def test_a_connection_that_is_not_made_in_time_has_cost_nothing(monkeypatch):
    import aiohttp

    async def hang(*_args, **_options):
        raise aiohttp.ConnectionTimeoutError

    async def run():
        async with Network() as network:
            monkeypatch.setattr(aiohttp.TCPConnector, "connect", hang)
            return await network.post(Outgoing("http://a.example/v1", {}, b"{}", 1.0))

    failure = asyncio.run(run())
    assert (failure.kind, failure.is_transient, failure.is_free) == ("connect", True, True)


def test_a_certificate_that_is_not_trusted_is_no_passing_trouble(monkeypatch):
    # No certificate authority is at hand, so the library's own error is raised where the connection is made.
    import aiohttp

    error = aiohttp.ClientConnectorCertificateError(None, ssl.SSLCertVerificationError("self-signed"))

    async def fail(*_args, **_options):
        raise error

    async def run():
        async with Network() as network:
            monkeypatch.setattr(aiohttp.TCPConnector, "connect", fail)
            return await network.post(Outgoing("https://a.example/v1", {}, b"{}", 1.0))

    monkeypatch.setattr(type(error), "__str__", lambda _: "self-signed")
    failure = asyncio.run(run())
    assert (failure.kind, failure.is_transient) == ("tls", False)

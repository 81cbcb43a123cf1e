"""What opponents cost is counted over all sessions, and limited."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run
from gift_dsl.artifacts.lines import read_lines
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.errors import LimitReached
from gift_dsl.players.usage import Bill
from gift_dsl.run.spent import open_budget, read_spent, write_spent
from gift_dsl.run.summary import make_summary
from tests.players.server import FaultServer
from tests.run.small import SPEC, Told, here, steps


@pytest.fixture
def run(tmp_path):
    (plan,) = api.compile_spec("spec.yaml", SPEC)
    return create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))


def call(budget, times, usd=0.5):
    for _ in range(times):
        budget.start_call("rival", usd)
        budget.end_call("rival", usd, Bill(usd=usd))


def test_what_earlier_sessions_spent_counts(run):
    limits = {"opponent_calls": 5, "opponent_usd": 100.0}
    first = open_budget(run, limits, 0, 1)
    call(first, 3)
    write_spent(run, 0, first)
    second = open_budget(run, limits, 0, 1)
    call(second, 2)
    with pytest.raises(LimitReached, match="5 calls were made"):
        call(second, 1)
    write_spent(run, 0, second)
    assert (read_spent(run)["rival"]["calls"], read_spent(run)["rival"]["usd"]) == (5, 2.5)


def test_what_served_the_opponents_is_in_the_summary(run):
    for rank in (0, 1):
        budget = open_budget(run, {}, rank, 2)
        budget.start_call("rival", 0.0)
        budget.end_call("rival", 0.0, Bill(served=f"m fp_{rank}"))
        budget.start_call("rival", 0.0)
        budget.end_call("rival", 0.0, Bill(served="m fp_0"))
        write_spent(run, rank, budget)
    assert make_summary(run, run.plan)["opponents"] == {"rival": {"served": {"m fp_0": 3, "m fp_1": 1}}}


def test_processes_together_keep_to_a_limit(run):
    limits = {"opponent_calls": 10, "opponent_usd": 3.0}
    for calls in (2, 0):
        budgets = [open_budget(run, limits, rank, 2) for rank in (0, 1)]
        for rank, budget in enumerate(budgets):
            call(budget, calls)
            write_spent(run, rank, budget)
    assert read_spent(run)["rival"]["calls"] == 4
    for budget in budgets:  # of the $3, $2 are spent
        call(budget, 1)
        with pytest.raises(LimitReached, match="opponent_usd"):
            call(budget, 1)


def test_whoever_asks_nobody_writes_nothing(run):
    write_spent(run, 0, open_budget(run, {}, 0, 1))
    assert not (run.path / "usage").exists()
    assert read_spent(run) == {}


@contextmanager
def served():
    """A server that answers, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(FaultServer().__aenter__(), loop).result()
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def test_a_limit_of_calls_stops_a_run_and_more_of_them_let_it_end(tmp_path):
    head = SPEC.replace("steps: 4", "steps: 2").partition("evaluation:")[0]
    text = head.replace("opponents: random", "opponents: rival, trainee: {seat: 1}").replace(
        "data: {scripted: {episodes: 64}}", "data: {scripted: {episodes: 8}}"
    )
    with served() as server:
        text += f"opponents:\n  rival: {{type: openai, base_url: '{server.url}', model: m}}\n"
        told = Told()
        outcome = here(tmp_path, f"{text}limits: {{opponent_calls: 12}}\n", told=told)
        assert outcome.exit_code == 1
        assert outcome.run.status.state == "stopped"
        assert "`limits.opponent_calls` is reached: 12 calls were made" in told.lines[-1]
        assert len(server.asked) == 12
        done = here(tmp_path, f"{text}limits: {{opponent_calls: 1000}}\n", mode="resume")
        assert done.exit_code == 0
        assert steps(done.run) == [("warmup", 0), ("nested", 0), ("nested", 1)]
        assert done.summary["totals"]["opponent_calls"] == len(server.asked)
        last = list(read_lines(done.run.metrics))[-1]
        assert last["usage"]["rival"]["calls"] == len(server.asked)

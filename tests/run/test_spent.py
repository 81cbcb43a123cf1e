"""What opponents cost is counted over all sessions, and limited."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.artifacts.directory import create_run, find_runs
from gift_dsl.artifacts.lines import read_lines
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.errors import LimitReached
from gift_dsl.players.usage import Bill, Usage
from gift_dsl.run import spent
from gift_dsl.run.spent import Ledger, read_spent
from gift_dsl.run.summary import make_summary
from tests.players.server import FaultServer
from tests.run.small import SPEC, Told, command, here, steps


@pytest.fixture
def run(tmp_path):
    (plan,) = api.compile_spec("spec.yaml", SPEC)
    return create_run(tmp_path, plan, written={}, resolved={}, lock=make_lock(plan, Machine(1, 1)))


def call(budget, times, usd=0.5, served=None):
    for _ in range(times):
        budget.start_call("rival", usd)
        budget.end_call("rival", usd, Bill(usd=usd, served=served))


def test_what_earlier_sessions_spent_counts(run):
    limits = {"opponent_calls": 5, "opponent_usd": 100.0}
    first = Ledger(run, limits, 0, 1)
    call(first.budget, 3)
    first.write()
    second = Ledger(run, limits, 0, 1)
    call(second.budget, 2)
    with pytest.raises(LimitReached, match="5 calls were made"):
        call(second.budget, 1)
    second.write()
    assert (read_spent(run)["rival"]["calls"], read_spent(run)["rival"]["usd"]) == (5, 2.5)


def test_what_served_the_opponents_is_in_the_summary(run):
    for rank in (0, 1):
        ledger = Ledger(run, {}, rank, 2)
        call(ledger.budget, 1, served=f"m fp_{rank}")
        call(ledger.budget, 1, served="m fp_0")
        ledger.write()
    assert make_summary(run, run.plan)["opponents"] == {"rival": {"served": {"m fp_0": 3, "m fp_1": 1}}}


def test_processes_together_keep_to_a_limit(run):
    limits = {"opponent_calls": 10, "opponent_usd": 3.0}
    for calls in (2, 0):
        ledgers = [Ledger(run, limits, rank, 2) for rank in (0, 1)]
        for ledger in ledgers:
            call(ledger.budget, calls)
            ledger.write()
    assert read_spent(run)["rival"]["calls"] == 4
    for ledger in ledgers:  # of the $3, $2 are spent
        call(ledger.budget, 1)
        with pytest.raises(LimitReached, match="opponent_usd"):
            call(ledger.budget, 1)


def test_whoever_asks_nobody_writes_nothing(run):
    Ledger(run, {}, 0, 1).write()
    assert not (run.path / "usage").exists()
    assert read_spent(run) == {}


def test_what_a_process_asked_counts_from_then_on_whatever_becomes_of_it(run):
    limits = {"opponent_calls": 8, "opponent_usd": 3.0}
    ledgers = [Ledger(run, limits, rank, 2) for rank in (0, 1)]
    for ledger in ledgers:
        call(ledger.budget, 1, 0.5)
        ledger.budget.start_call("rival", 0.75)  # and nothing is said of it any more
    assert read_spent(run)["rival"] == Usage(4, usd=1.0, unreported=2, usd_unreported=1.5).to_json()
    alone = Ledger(run, limits, 0, 1)
    with pytest.raises(LimitReached, match=r"\$1\.2500 of \$1\.75 are spent"):  # its own, and what is left of all
        call(alone.budget, 1, 0.51)
    call(alone.budget, 1, 0.5)
    alone.write()
    rival = read_spent(run)["rival"]
    assert (rival["calls"], rival["usd"], rival["usd_unreported"]) == (5, 1.5, 1.5)


def test_a_call_that_ended_costs_what_it_did(run):
    ledger = Ledger(run, {}, 0, 1)
    for _ in range(3):
        ledger.budget.start_call("rival", 0.75)
    assert read_spent(run)["rival"]["usd_unreported"] == 2.25
    for _ in range(3):
        ledger.budget.end_call("rival", 0.75, Bill(usd=0.5))
    ledger.budget.give_up("rival")
    assert read_spent(run)["rival"] == Usage(3, usd=1.5, unanswered=1).to_json()


def test_books_are_read_as_they_were_before_or_after_they_are_put_together(run):
    ledger = Ledger(run, {}, 0, 1)
    call(ledger.budget, 2)
    before = read_spent(run)
    lines = (run.path / "usage" / "0.jsonl").read_bytes()
    ledger.write()
    assert [path.name for path in (run.path / "usage").iterdir()] == ["0.json"]
    assert read_spent(run) == before
    (run.path / "usage" / "0.jsonl").write_bytes(lines + b'{"player": "riv')  # a kill between the two, and a torn line
    assert read_spent(run) == before
    again = Ledger(run, {}, 0, 1)
    call(again.budget, 1)
    assert read_spent(run)["rival"]["calls"] == 3
    again.write()
    assert read_spent(run)["rival"]["calls"] == 3
    assert [path.name for path in (run.path / "usage").iterdir()] == ["0.json"]


def test_a_session_that_asks_nobody_puts_the_books_of_a_killed_one_together(run):
    call(Ledger(run, {}, 0, 1).budget, 2)
    before = read_spent(run)
    assert before["rival"]["calls"] == 2
    Ledger(run, {}, 0, 1).write()
    assert [path.name for path in (run.path / "usage").iterdir()] == ["0.json"]
    assert read_spent(run) == before


def test_what_an_older_session_did_not_count_is_what_the_others_counted(run):
    (run.path / "usage").mkdir()
    old = {name: value for name, value in Usage(2, usd=1.0).to_json().items() if name != "served"}
    (run.path / "usage" / "0.json").write_text(json.dumps({"rival": old}))
    ledger = Ledger(run, {}, 1, 2)
    call(ledger.budget, 1, served="m fp_1")
    assert read_spent(run)["rival"] == Usage(3, usd=1.5, served={"m fp_1": 1}).to_json()


def test_lines_of_the_books_do_not_grow_without_end(run, monkeypatch):
    monkeypatch.setattr(spent, "_MOST_LINES", 10)
    ledger = Ledger(run, {}, 0, 1)
    for calls in range(1, 20):
        call(ledger.budget, 1)
        lines = run.path / "usage" / "0.jsonl"
        assert not lines.exists() or len(lines.read_bytes().splitlines()) < 10
        assert read_spent(run)["rival"]["calls"] == calls


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


# ── kills ──

KILLED = (
    SPEC.partition("evaluation:")[0]
    .replace("opponents: random", "opponents: rival, trainee: {seat: 1}")
    .replace("steps: 4", "steps: 1")
    .replace("episodes: 64", "episodes: 8")
    + "evaluation: {sampling: {temperature: 1.0, max_tokens: 6}, probe: {every: 9, rounds: 4, games: [tictactoe]}, "
    "final: {rounds: 6, games: [tictactoe]}}\n"
)
BEFORE, FINAL = "before", "final"


def priced(server, limits="{}"):
    """A spec whose opponent costs 0.1 $ a call, and is asked one thing at a time."""
    price = "usd_per_mtok: {input: 5000, output: 0}"
    rival = f"{{type: openai, base_url: '{server.url}', model: m, max_tokens: 5, concurrency: 1, {price}}}"
    return f"{KILLED}opponents: {{rival: {rival}}}\nlimits: {limits}\n"


def is_at(run, when):
    """Whether a run measures what it begins with, or performs its final test."""
    if when == BEFORE:
        return not (run.evaluation / "warmup-before.json").is_file()
    return (run.stages / "nested").is_dir()


@dataclass
class Killing:
    """Does something to the run of a folder when it asks its server there for the third time; always true.

    Attributes:
        asked: requests until then.
    """

    folder: Path
    when: str
    kill: object
    seen: int = 0
    asked: int | None = None

    def __call__(self, server):
        runs = find_runs(self.folder / "runs", "small")
        self.seen += self.asked is None and bool(runs) and is_at(runs[0], self.when)
        if self.seen == 3 and self.asked is None:
            self.asked = len(server.asked)
            self.kill(self.folder)
        return True


def copy_of(folder, name):
    """What a kill would leave of the run in a folder now, in a folder of its own."""
    (folder / name).mkdir()
    shutil.copytree(folder / "runs", folder / name / "runs")
    return folder / name


@pytest.fixture(scope="module")
def kills(tmp_path_factory):
    """A run from its beginning to its end; requests of it all; and where and when it was as if killed."""
    folder = tmp_path_factory.mktemp("kills")
    moments = [Killing(folder, when, lambda folder, when=when: copy_of(folder, when)) for when in (BEFORE, FINAL)]
    with served() as server:
        server.choose = lambda _asked: "ok" if all(moment(server) for moment in moments) else "close"
        whole = here(folder, priced(server))
        assert whole.exit_code == 0
        yield server, len(server.asked), {moment.when: (folder / moment.when, moment.asked) for moment in moments}


@pytest.mark.parametrize("when", [BEFORE, FINAL])
def test_what_a_killed_session_asked_is_on_the_disk_with_its_highest_cost(kills, when):
    _, _, moments = kills
    folder, asked = moments[when]
    (run,) = find_runs(folder / "runs", "small")
    rival = read_spent(run)["rival"]
    assert rival["calls"] == asked
    assert rival["unreported"] == 1, "the one that was under way"
    assert rival["usd"] == pytest.approx(0.1 * (asked - 1))
    assert rival["usd_unreported"] > 0.1


@pytest.mark.parametrize("when", [BEFORE, FINAL])
def test_a_run_that_goes_on_after_a_kill_counts_the_calls_of_all_sessions(kills, when):
    server, whole, moments = kills
    folder, asked = moments[when]
    server.choose, server.asked[:] = lambda _asked: "ok", []
    done = here(folder, priced(server), mode="resume")
    assert done.exit_code == 0
    calls = asked + len(server.asked)
    assert calls > whole, "what was under way was asked again"
    assert done.summary["totals"]["opponent_calls"] == calls
    assert read_spent(done.run)["rival"]["calls"] == calls
    assert [path.name for path in (done.run.path / "usage").iterdir()] == ["0.json"], "as one that was never killed"


@pytest.mark.slow
@pytest.mark.parametrize("when", [BEFORE, FINAL])
def test_a_limit_of_calls_holds_over_a_session_that_was_killed(tmp_path, when):
    alone = {"RANK": "0", "WORLD_SIZE": "1"}  # one process is the run
    with served() as server:
        process = command(tmp_path, text=priced(server), environment=alone)
        killing = Killing(tmp_path, when, lambda _folder: process.kill())
        server.choose = lambda _asked: "ok" if killing(server) else "close"
        process.communicate()
        assert process.returncode == -9
        limit = killing.asked + 2
        told = Told()
        stopped = here(tmp_path, priced(server, f"{{opponent_calls: {limit}}}"), mode="resume", told=told)
        assert stopped.exit_code == 1
        assert f"`limits.opponent_calls` is reached: {limit} calls were made" in told.lines[-1]
        assert len(server.asked) == limit

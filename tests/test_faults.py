"""Faults to survive: the real table and real HTTP players, against a server that fails in every way it can.

The policy is minimax from the empty board of TicTacToe, which cannot lose: any loss would be a failure's. The server
answers with a legal action that follows from what it was told, so that every play can be repeated without a failure.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest

from gift_dsl import api
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation
from gift_dsl.play.table import play_groups
from gift_dsl.play.voids import TooManyVoids
from gift_dsl.players import make_player
from gift_dsl.players.solvers import MinimaxPlayer
from tests.play.scripted import (
    KEYS,
    SayingPlayer,
    leaf,
    legal_listed,
    play,
    table_of,
    tagged,
    tictactoe,
    trajectories,
)
from tests.players.asking import openai_plan, services
from tests.players.server import FAULTS, FaultServer, in_random_mix

PATIENCE_S = 300  # Nothing here takes as long: whoever still waits then hangs.
GAME = tictactoe(params={}, opponents={"1": "server"})
PERFECT = MinimaxPlayer("policy")
EVAL_KEYS = Keys(1, "test", "final", 0, root=("eval",))


def weak(said):
    """A legal action that follows from the conversation alone."""
    return tagged(random.Random(repr(said)).choice(legal_listed(said[-1])))


def failing(choose, reply=weak):
    return FaultServer(
        choose, reply=lambda body: reply([one["content"] for one in body["messages"]]), retry_after="0.002"
    )


HEALTHY = SayingPlayer(lambda turn, rng: weak([message.content for message in turn.messages]), name="server")


async def against(server, work, **params):
    """What `work(player)` comes to with an HTTP player of the server; afterwards nothing is left behind."""
    async with asyncio.timeout(PATIENCE_S):
        async with server:
            shared = services({server.host: 64})
            async with shared.network:
                plan = openai_plan(server.url, **{"timeout_s": 0.4, "retries": 1, **params})
                done = await work(make_player(plan, shared))
            await server.all_closed()
        assert asyncio.all_tasks() == {asyncio.current_task()}
    return done, shared.budget.usage("server")


def on_http(server, groups, *, policy=PERFECT, members=1, keys=EVAL_KEYS, evaluation=None, **rollout):
    """Trajectories of some groups against a server, and what was used."""
    part = leaf("ttt", **rollout)

    async def work(player):
        table = table_of(GAME, policy=policy, players=[player], evaluation=evaluation)
        return await play_groups(table, keys, plan_walks(part, keys, range(groups)), members)

    done, usage = asyncio.run(against(server, work))
    return trajectories(done), usage


def without_faults(groups, *, policy=PERFECT, members=1, keys=EVAL_KEYS, evaluation=None):
    table = table_of(GAME, policy=policy, players=[HEALTHY], evaluation=evaluation)
    return trajectories(play(table, leaf("ttt"), groups, members, keys))


def moves(trajectory):
    """What was played and how it ended; what was asked in vain left out."""
    turns = [(turn.seat, turn.action, turn.end) for turn in trajectory.turns if turn.end != "fault"]
    (part,) = trajectory.parts
    return turns, part.outcome, part.reward, part.opponent_illegal


def play_steps(server, steps, after=lambda: None):
    """Outcomes of steps of 250 episodes, with as few tries as leave about one in five without a result; and the usage.

    Every episode is also played without failures, and must have gone the same way unless it is void.
    """
    part = leaf("ttt", max_void_share=1.0, max_turn_retries=0)
    outcomes = Counter()

    async def work(player):
        for step in range(steps):
            keys = replace(KEYS, step=step)
            played = []
            for opponent in (player, HEALTHY):
                table = table_of(GAME, policy=PERFECT, players=[opponent])
                played.append(trajectories(await play_groups(table, keys, plan_walks(part, keys, range(50)), 5)))
            outcomes.update(compared(*played, server.host))
            server.asked.clear()
            del played
            after()

    _, usage = asyncio.run(against(server, work))
    assert outcomes.total() == 250 * steps
    assert {"success", "void"} <= outcomes.keys() <= {"success", "draw", "void"}
    assert 0.05 < outcomes["void"] / outcomes.total() < 0.6
    assert server.kinds.keys() == {"ok", *FAULTS}
    assert usage.faults.keys() >= {"http_500", "http_429", "malformed", "empty", "cut", "timeout"}


def test_with_30_percent_of_failures_no_episode_is_lost_to_one():
    play_steps(failing(in_random_mix(0.3, seed=5)), 1)


@pytest.mark.slow
def test_nor_is_one_of_5000_and_memory_stays_flat():
    blocks = []

    def measure():
        gc.collect()
        blocks.append(sys.getallocatedblocks())

    play_steps(failing(in_random_mix(0.3, seed=6)), 20, measure)
    # The records of an episode alone are 20 blocks: one kept in twenty would be seen.
    assert max(blocks[-7:]) - max(blocks[:7]) < 3_000, blocks


def compared(found, whole, host):
    """Outcomes of episodes, each of which is void and says whose failure it was, or went as it would without one."""
    for one, other in zip(found, whole, strict=True):
        (part,) = one.parts
        if one.is_void:
            assert part.outcome == "void"
            assert host in part.reason
            assert one.turns[-1].end == "fault"
        else:
            assert moves(one) == moves(other)
    return Counter(part.outcome for one in found for part in one.parts)


def test_every_failure_that_the_player_gave_up_at_stands_in_a_record():
    server = failing(in_random_mix(0.5, seed=1))
    found, usage = on_http(server, 60, max_turn_retries=1, max_void_share=1.0)
    given_up = sum(turn.end == "fault" for one in found for turn in one.turns)
    assert usage.unanswered == given_up > 0


class TestLongGames:
    """Failures on the server's fourth turn and later, which only long games reach."""

    POLICY = MinimaxPlayer("policy", epsilon=0.6)

    @staticmethod
    def late(seed):
        mix = in_random_mix(0.6, seed)
        return failing(lambda asked: mix(asked) if len(asked.body["messages"]) >= 7 else "ok")

    def results(self, max_replays):
        evaluation = Evaluation(temperature=1.0, max_tokens=40, max_replays=max_replays)
        found, _ = on_http(
            self.late(3), 160, policy=self.POLICY, evaluation=evaluation, max_turn_retries=0, max_void_share=1.0
        )
        return found, without_faults(160, policy=self.POLICY, evaluation=evaluation)

    def test_the_win_rate_is_that_without_failures(self):
        found, whole = self.results(max_replays=50)
        assert [moves(one) for one in found] == [moves(one) for one in whole]
        assert {part.outcome for one in found for part in one.parts} == {"success", "draw", "loss"}

    def test_it_would_not_be_if_episodes_were_only_dropped(self):
        found, whole = self.results(max_replays=0)
        lost = [other.outcome_return for one, other in zip(found, whole, strict=True) if one.is_void]
        kept = [one.outcome_return for one in found if not one.is_void]
        assert len(lost) > 16
        assert sum(lost) / len(lost) < sum(kept) / len(kept) - 0.1


def test_above_the_threshold_training_stops_and_names_the_endpoint_and_the_failures():
    server = failing(in_random_mix(1.0, seed=2, faults=("http_500", "malformed")))
    with pytest.raises(TooManyVoids) as caught:
        on_http(server, 10, keys=KEYS, members=4, max_turn_retries=0, max_void_share=0.2)
    said = str(caught.value)
    assert "of the 40 episodes of nested/0 have no result, more than the 20% that `max_void_share` allows" in said
    assert f"server: HTTP 500: out of memory (2 tries) ({server.host})" in said
    assert "the reply is not JSON" in said


SPEC = """
gift: 1
name: faults
model: {{source: ./nobody}}
opponents:
  server: {{type: openai, base_url: "{url}", model: m, concurrency: 256, timeout_s: {timeout_s}, retries: 0}}
games:
  tictactoe: {{type: tictactoe, opponents: random}}
stages:
  - {{name: main, type: grpo, play: tictactoe, until: {{steps: 1}}}}
rollout: {{max_turn_retries: 0, max_void_share: {share}}}
"""


async def gift_play(server, folder, *options, share=0.2, timeout_s=60, interrupt=None):
    """Exit code, stdout and stderr of `gift play` against a server; `interrupt` is awaited, then Ctrl-C is sent."""
    async with asyncio.timeout(PATIENCE_S), server:
        spec = folder / "faults.yaml"
        spec.write_text(SPEC.format(url=server.url, share=share, timeout_s=timeout_s))
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-W", "default", "-m", "gift_dsl", "play", str(spec), "--as", "random"),
            *("--against", "server", *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if interrupt is not None:
            await interrupt()
            child.send_signal(signal.SIGINT)
        out, err = await child.communicate()
        await server.all_closed()
    return child.returncode, out.decode(), err.decode()


def given_up_at(share):
    """The server fails for good in a share of the positions that it can be asked for."""
    return lambda asked: "http_500" if random.Random(repr(asked.body["messages"])).random() < share else "ok"


class TestPlay:
    """What somebody who types `gift play` sees of it."""

    def test_too_many_void_plays_end_it_with_1_and_name_the_endpoint(self, tmp_path):
        server = failing(lambda _asked: "http_500")
        code, out, err = asyncio.run(gift_play(server, tmp_path, "--rounds", "20", "--json"))
        assert code == 1, err
        document = json.loads(out)
        assert document["outcomes"]["void"] == document["played"] == document["rounds"] == 20
        reason = f"server: HTTP 500: out of memory ({server.host})"
        assert document["games"]["tictactoe"]["failures"] == {reason: 20}
        assert err == (
            "gift: 20 of the 20 plays of tictactoe have no result, more than the 20% that `max_void_share` allows: "
            f"{reason} (20 times)\n"
        )

    def test_as_many_as_allowed_are_counted_and_told(self, tmp_path):
        server = failing(given_up_at(0.1))
        code, out, err = asyncio.run(gift_play(server, tmp_path, "--rounds", "60", share=0.9))
        assert (code, err) == (0, "")
        line, why = out.splitlines()
        counts = {name: int(count) for name, count in re.findall(r"(\w+) (\d+)(?:,|$)", line.partition("rounds: ")[2])}
        assert sum(counts.values()) == 60
        assert why == f"  void {counts['void']}: server: HTTP 500: out of memory ({server.host})"

    @pytest.mark.parametrize("style", ["text", "json"])
    def test_ctrl_c_ends_it_with_130_and_tells_what_was_played(self, tmp_path, style):
        """The server says nothing more in the long games, so that they are never over."""
        stalled, enough = Counter(), asyncio.Event()

        def choose(asked):
            if len(asked.body["messages"]) < 7:
                return "ok"
            stalled["now"] += 1
            if stalled["now"] == 20:
                enough.set()
            return "stall"

        options = ["--rounds", "200", *(["--json"] if style == "json" else [])]
        code, out, err = asyncio.run(gift_play(failing(choose), tmp_path, *options, interrupt=enough.wait))
        assert code == 130, err
        told = re.fullmatch(r"\ngift: interrupted after (\d+) of 200 rounds\n", err)
        assert told, err  # nothing of a task that nobody waited for, and no traceback
        played = int(told[1])
        assert 0 < played < 200
        if style == "text":
            assert re.match(rf"tictactoe: random in {played} of 200 rounds: success \d+", out)
            return
        document = json.loads(out)
        assert document["interrupted"] is True
        assert document["played"] == sum(document["outcomes"].values()) == played
        assert document["outcomes"]["void"] == 0

    def test_a_person_may_press_ctrl_c_while_being_asked(self):
        command = [sys.executable, "-W", "default", "-m", "gift_dsl", "play", "tictactoe", "--as", "human", "--json"]
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as child:
            said = ""
            while not said.endswith("> "):
                said += child.stderr.read(1)
            child.send_signal(signal.SIGINT)
            out, err = child.stdout.read(), child.stderr.read()
        assert (child.returncode, err) == (130, "\ngift: interrupted after 0 of 1 rounds\n")
        assert json.loads(out)["interrupted"] is True

    def test_python_is_given_what_was_over_when_it_was_interrupted(self):
        over = []

        def on_round(text):
            over.append(text)
            if len(over) == 3:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(api.PlayInterrupted, match=r"interrupted after \d+ of 5000 rounds") as caught:
            api.play("tictactoe", options=api.PlayOptions(rounds=5000, on_round=on_round))
        document = caught.value.document
        assert (document["interrupted"], document["played"], document["rounds"]) == (True, len(over), 5000)
        assert len(over) < 5000
        counts = Counter(text.removeprefix("tictactoe: ") for text in over)
        assert {name: count for name, count in document["outcomes"].items() if count} == counts

    def test_python_is_given_the_document_with_the_exception(self, tmp_path):
        async def run():
            async with failing(lambda _asked: "http_500") as server:
                spec = SPEC.format(url=server.url, share=0.2, timeout_s=60)
                options = api.PlayOptions(against="server", rounds=3)
                with pytest.raises(api.PlayFailed) as caught:
                    await asyncio.to_thread(api.play, "-", spec, options)
                return caught.value.document

        assert asyncio.run(run())["outcomes"]["void"] == 3

"""What servers said is kept: a run against one that never says the same twice is the same run after a kill."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

from gift_dsl.artifacts.checkpoints import SEAL
from gift_dsl.artifacts.directory import find_runs
from gift_dsl.evaluate.scores import Round, tally
from gift_dsl.run.examine import forget_gaps
from tests.run.small import SPEC, assert_same, evaluations, here, steps
from tests.run.test_spent import served

TEXT = (
    SPEC.partition("evaluation:")[0]
    .replace("opponents: random", "opponents: rival, trainee: {seat: 1}")
    .replace("steps: 4", "steps: 2")
    .replace("episodes: 64", "episodes: 16")
    + "evaluation: {sampling: {temperature: 1.0, max_tokens: 6}, probe: {every: 1, rounds: 4, games: [tictactoe]}}\n"
)


def against(server):
    return f"{TEXT}opponents:\n  rival: {{type: openai, base_url: '{server.url}', model: m, retries: 0}}\n"


def unpredictable(server):
    """Never the same answer twice, and in no order."""
    chance = random.SystemRandom()
    server.reply = lambda _body: f"<answer>{chance.randint(1, 9)}</answer>"
    answer = server.choose

    def choose(asked):
        server.latency_s = chance.random() / 50
        return answer(asked)

    server.choose = choose


def killed(folder):
    """The run in a folder as if it had been killed just before its last checkpoint was complete."""
    (run,) = find_runs(folder / "runs", "small")
    last = max((run.checkpoints / "nested").glob("checkpoint-*"), key=lambda path: int(path.name.split("-")[1]))
    (last / SEAL).unlink()
    shutil.rmtree(run.stages / "nested")
    run.summary.unlink()
    run.set_status(replace(run.status, state="running"))


def test_a_killed_run_hears_again_what_servers_said(tmp_path):
    first, again = tmp_path / "first", tmp_path / "again"
    first.mkdir()
    with served() as server:
        unpredictable(server)
        unbroken = here(first, against(server))
        assert unbroken.exit_code == 0
        asked = len(server.asked)
        assert asked > 10
        shutil.copytree(first, again)
        killed(again)
        resumed = here(again, against(server), mode="resume")
        assert resumed.exit_code == 0
        assert resumed.run.path.is_relative_to(again)
        assert_same(resumed.run, unbroken.run)
        assert len(server.asked) == asked


def test_after_a_failure_servers_are_asked_again(tmp_path):
    with served() as server:
        server.choose = lambda _asked: "http_500" if len(server.asked) > 30 else "ok"
        failed = here(tmp_path, against(server))
        assert failed.exit_code == 1
        assert "have no result" in failed.run.status.reason
        server.choose = lambda _asked: "ok"
        resumed = here(tmp_path, against(server), mode="resume")
        assert resumed.exit_code == 0
        assert steps(resumed.run) == [("warmup", 0), ("nested", 0), ("nested", 1)]


def made(folder):
    folder.mkdir()
    return folder


def test_what_was_measured_while_a_server_failed_is_measured_again_after_the_failure(tmp_path):
    folder = made(tmp_path / "failed")
    with served() as server:
        unbroken = here(made(tmp_path / "unbroken"), against(server))
        server.choose = lambda _asked: "http_500"
        assert here(folder, against(server)).exit_code == 1
        server.choose = lambda _asked: "ok"
        resumed = here(folder, against(server), mode="resume")
    assert evaluations(resumed.run) == evaluations(unbroken.run)


def measured(*outcomes):
    """What a file of eval/ says of a game, alone without a gap, and in a chain."""
    rounds = [Round(k, f"i{k}", 0, "", outcome, None) for k, outcome in enumerate(outcomes)]
    whole = [one for one in rounds if not one.is_missing]
    return {
        "games": {"tictactoe": tally(whole).to_json()},
        "chains": {"nested": {"tictactoe": tally(rounds).to_json()}},
    }


def test_only_results_with_gaps_of_stages_that_are_not_done_are_forgotten(tmp_path):
    for name, outcomes in {
        "warmup-before": ("void",),
        "nested-before": ("success", "unplayed"),
        "nested-after": ("success", "loss"),
    }.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(measured(*outcomes)))
    forget_gaps(tmp_path, ["nested", "last"])
    assert sorted(path.stem for path in tmp_path.iterdir()) == ["nested-after", "warmup-before"]

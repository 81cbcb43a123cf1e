"""The final test: who is tested, against whom, once, and by all processes of a run together."""

from __future__ import annotations

import json
import shutil
from contextlib import closing

import pytest
import torch
from accelerate import PartialState

from gift_dsl.artifacts.directory import open_run
from gift_dsl.errors import LimitReached
from gift_dsl.evaluate.games import GamesResult
from gift_dsl.run import final
from gift_dsl.run.processes import OwnProcesses, Signals
from gift_dsl.run.request import FINAL
from gift_dsl.run.stage import open_session
from gift_dsl.run.summary import make_summary, summary_text
from tests.evaluate.words import make_model, make_tokenizer, write_rows
from tests.play.scripted import tagged
from tests.run.evaluated import finished_run, serving
from tests.run.small import SPEC


@pytest.fixture
def untested(finished, tmp_path):
    """A copy of a run that trained, before its final test."""
    run = open_run(shutil.copytree(finished.run.path, tmp_path / "run"))
    shutil.rmtree(run.evaluation / "final")
    (run.evaluation / "final.json").unlink()
    return run


def result_of(run):
    """What the final test of a run finds in this process."""
    PartialState(cpu=True)
    with closing(open_session(run, [])) as session:
        final.run_final(session)
    return json.loads((run.evaluation / "final.json").read_text(encoding="utf-8"))


def test_a_snapshot_is_the_model_that_the_last_stage_began_with_whatever_is_tested(untested, monkeypatch):
    began = []

    class Looking(final.Examiner):
        def measure(self, stage, request, team):
            began.append((self.start().policy.model.state_dict(), self.policy.policy.model.state_dict()))
            return GamesResult(request, (), {})

    monkeypatch.setattr(final, "Examiner", Looking)
    result_of(untested)
    start = began[0][0]
    warmed = final.load_policy(untested.plan.model, str(untested.stages / "warmup")).model.state_dict()
    assert all(torch.equal(start[name], warmed[name]) for name in warmed)
    assert not all(torch.equal(began[0][0][name], began[0][1][name]) for name in warmed)


def test_what_was_tested_before_a_stop_is_not_played_again(untested, monkeypatch):
    played = []

    class Stopping(final.Examiner):
        def measure(self, stage, request, team):
            if len(played) == 2:
                played.append("stop")
                raise LimitReached("`limits.opponent_calls` is reached")
            played.append(self.policy)
            return super().measure(stage, request, team)

    monkeypatch.setattr(final, "Examiner", Stopping)
    with pytest.raises(LimitReached):
        result_of(untested)
    assert not (untested.evaluation / "final.json").exists()
    found = result_of(untested)
    assert list(found["checkpoints"]) == ["final", "1", "best"]
    assert len(played) == 4, "two before the stop, the stop, one after it"


def test_other_weights_are_tested_anew(untested):
    before = result_of(untested)
    (untested.evaluation / "final.json").unlink()
    shutil.rmtree(untested.stages / "nested")
    shutil.copytree(untested.stages / "warmup", untested.stages / "nested")
    after = result_of(untested)
    assert after["checkpoints"]["1"] == before["checkpoints"]["1"]
    assert after["checkpoints"]["final"] != before["checkpoints"]["final"]


def test_subjects_play_the_final_test_beside_the_checkpoints(tmp_path):
    folder, tokenizer = tmp_path / "model", make_tokenizer()
    make_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with serving(lambda body: tagged("1")) as server:
        opponents = (
            f'\nopponents:\n  far: {{type: openai, base_url: "{server.url}", model: quick}}\n'
            f"  near: {{type: local, source: {folder}}}\n  me: {{type: self, temperature: 0.25}}\n"
        )
        sets = ("games.tictactoe.opponents=me", "evaluation.subjects=[far, near]", "evaluation.final.rounds=2")
        run = finished_run(tmp_path, *sets, "evaluation.final.checkpoints=[final]", text=SPEC + opponents)
        found = result_of(run)
        sampled = {(one.body["temperature"], one.body["max_tokens"]) for one in server.asked}
    assert list(found["subjects"]) == ["far", "near"]
    for result in found["subjects"].values():
        assert {name: score["rounds"] for name, score in result["games"].items()} == {"arithmetic": 2, "tictactoe": 2}
        assert result["games"]["tictactoe"]["counts"]["void"] == 0
    assert sampled == {(1.0, 6), (0.25, 6)}, "as the policy in the trained seat, with its own temperature in the other"
    assert "tictactoe (far)" in summary_text(make_summary(run, run.plan))


@pytest.mark.slow
def test_two_processes_test_and_ask_what_one_does(tmp_path):
    rows = write_rows(tmp_path / "rows")
    asked = f"evaluation.benchmarks=[{{type: mmlu, data_dir: {rows / 'mmlu'}}}]"
    sets = (asked, "resources.processes=2", "resources.micro_batch_size=2", "evaluation.final.checkpoints=[final]")
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
    one, two = (finished_run(folder, *sets) for folder in folders)
    result_of(one)
    assert OwnProcesses(Signals()).perform(two, FINAL) == 0
    for name in ("final.json", "benchmarks/final/samples_mmlu.jsonl", "benchmarks/final/mmlu.json"):
        assert (two.evaluation / name).read_bytes() == (one.evaluation / name).read_bytes()

"""Stopped or killed at any moment, a run that is resumed is the same run."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import socket

import pytest

from gift_dsl.artifacts.checkpoints import SEAL, Checkpoint, check
from gift_dsl.artifacts.directory import RunDirectory, find_runs
from gift_dsl.artifacts.manifest import check_manifest
from gift_dsl.artifacts.status import Status
from gift_dsl.errors import LimitReached, MachineError, UsageError
from gift_dsl.plan import plan_hash
from gift_dsl.run.examine import Examiner
from gift_dsl.run.progress import StageProgress
from tests.run.small import SPEC, Told, assert_same, evaluations, here, steps, weights


class Killed(BaseException):
    """In place of SIGKILL: nothing of ours catches it."""


def stopped(folder, step=1, text=SPEC, number=signal.SIGTERM, told=None):
    """A run that a signal stopped in a step of stage `nested`."""
    shown = StageProgress.step

    def see(self, record):
        shown(self, record)
        if (record.stage, record.step) == ("nested", step):
            os.kill(os.getpid(), number)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(StageProgress, "step", see)
        return here(folder, text, told=told)


@pytest.fixture(scope="session")
def waiting(tmp_path_factory):
    """The folder of a run that was stopped after two steps of stage `nested`."""
    folder = tmp_path_factory.mktemp("waiting")
    stopped(folder)
    return folder


@pytest.fixture
def run(waiting, tmp_path):
    """The same in `tmp_path`, to be gone on with."""
    shutil.copytree(waiting, tmp_path, dirs_exist_ok=True)
    (found,) = find_runs(tmp_path / "runs", "small")
    return found


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 143)],
)
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(tmp_path, number, code):
    told = Told()
    outcome = stopped(tmp_path, step=0, number=number, told=told)
    assert outcome.exit_code == code
    assert outcome.summary is None
    assert steps(outcome.run)[-1] == ("nested", 0)
    assert isinstance(check(outcome.run.checkpoints / "nested" / "checkpoint-2"), Checkpoint)
    assert (outcome.run.status.state, outcome.run.status.reason) == ("stopped", number.name)
    assert "go on with: gift run SPEC --resume" in told.lines[-1]


def test_a_stopped_run_that_is_resumed_is_the_same_run(tmp_path, run, finished):
    outcome = here(tmp_path, mode="resume")
    assert outcome.exit_code == 0
    assert outcome.run.path == run.path
    assert_same(outcome.run, finished.run)


def test_a_run_that_was_killed_at_many_moments_is_the_same_run(tmp_path, finished, monkeypatch):
    moments = random.Random(7)
    wait, kills = os.fsync, 0
    while True:
        left = moments.randrange(5, 90)

        def fsync(handle):
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            wait(handle)

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", fsync)
            try:
                outcome = here(tmp_path, mode="resume" if kills else "new")
                break
            except Killed:
                kills += 1
            except UsageError:  # killed before the run had a directory
                kills = 0
    assert kills >= 2
    assert outcome.exit_code == 0
    assert_same(outcome.run, finished.run)


@pytest.mark.parametrize("damage", ["cut short", "not sealed"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(tmp_path, run, finished, caplog, damage):
    newest = run.checkpoints / "nested" / "checkpoint-4"
    if damage == "cut short":
        os.truncate(newest / "model.safetensors", 1000)
    else:
        (newest / SEAL).unlink()
    outcome = here(tmp_path, mode="resume")
    (said,) = [one.getMessage() for one in caplog.records if "is skipped" in one.getMessage()]
    assert str(newest) in said
    assert outcome.exit_code == 0
    assert_same(outcome.run, finished.run)


def test_a_signal_while_a_stage_is_measured_ends_at_once_and_loses_nothing(tmp_path, monkeypatch, finished):
    def note(self, text):
        if text.startswith("warmup: after"):
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patched:
        patched.setattr(StageProgress, "note", note)
        outcome = here(tmp_path)
    assert outcome.exit_code == 143
    assert set(evaluations(outcome.run)) == {"warmup-before.json"}
    assert steps(outcome.run) == [("warmup", 0), ("warmup", 1)]
    assert_same(here(tmp_path, mode="resume").run, finished.run)


def test_a_stage_that_reached_its_success_is_not_trained_on_by_a_resume(tmp_path, monkeypatch):
    text = SPEC.replace(
        "until: {steps: 4}", "until: {success: {game: arithmetic, at_least: 0, patience: 1}, max_steps: 4}"
    ).partition("  final:")[0]
    folders = tmp_path / "whole", tmp_path / "parts"
    for folder in folders:
        folder.mkdir()
    whole = here(folders[0], text).run
    assert steps(whole)[-1] == ("nested", 1)

    def note(self, said):
        if said.startswith("nested: after"):
            raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(StageProgress, "note", note)
        with pytest.raises(Killed):
            here(folders[1], text)
    assert_same(here(folders[1], text, mode="resume").run, whole)


def test_a_probe_in_which_a_limit_was_reached_is_made_up_for(tmp_path, monkeypatch, finished):
    step = 4  # the last: nothing is played after it, which would have made up for it

    def measure(self, stage, request, team, real=Examiner.measure):
        if [line[1] + 1 for line in steps(find_runs(tmp_path / "runs", "small")[0]) if line[0] == "nested"][-1:] == [
            step
        ]:
            raise LimitReached("`limits.opponent_calls` is reached: 7 calls were made")
        return real(self, stage, request, team)

    with monkeypatch.context() as patched:
        patched.setattr(Examiner, "measure", measure)
        outcome = here(tmp_path)
    assert outcome.exit_code == 1
    assert f"nested-step-{step:06d}.json" not in evaluations(outcome.run)
    assert_same(here(tmp_path, mode="resume").run, finished.run)


def test_a_limit_stops_a_run_and_a_higher_one_lets_it_go_on(tmp_path, finished):
    told = Told()
    text = f"{SPEC}limits: {{policy_tokens: 100}}\n"
    outcome = here(tmp_path, text, told=told)
    assert outcome.exit_code == 1
    assert outcome.run.status.state == "stopped"
    assert outcome.run.status.reason == "`limits.policy_tokens: 100` is reached"
    assert "limits.policy_tokens: 100" in told.lines[-1]
    before = steps(outcome.run)
    again = here(tmp_path, text, mode="resume")
    assert again.exit_code == 1
    assert steps(again.run) == before, "a limit that is reached already stops before a step"
    assert_same(here(tmp_path, SPEC, mode="resume").run, finished.run)


def test_time_is_a_limit_too(tmp_path):
    outcome = here(tmp_path, f"{SPEC}limits: {{wall_hours: 0.000001}}\n")
    assert outcome.exit_code == 1
    assert outcome.run.status.reason == "`limits.wall_hours: 1e-06` is reached"


# ── which run ──


def test_an_unfinished_run_of_the_plan_asks_whether_to_resume_or_to_begin_anew(tmp_path, run):
    with pytest.raises(UsageError, match=r"--resume .* --fresh") as raised:
        here(tmp_path)
    assert str(run.path) in str(raised.value)


def test_a_finished_run_of_the_plan_does_not_stand_in_the_way(tmp_path, run):
    run.set_status(Status("done"))
    assert stopped(tmp_path, step=0).run.path != run.path


def test_two_commands_never_write_one_run(tmp_path, run):
    with run.hold():
        for mode in ("resume", "new"):
            with pytest.raises(MachineError, match=f"being written by process {os.getpid()} on {socket.gethostname()}"):
                here(tmp_path, mode=mode)
    with run.join(), pytest.raises(MachineError, match="left behind by a command that was killed"):
        here(tmp_path, mode="resume")


def test_a_changed_spec_is_refused_with_what_changed_and_what_of_it_may(tmp_path, run):
    sets = ["algorithm.learning_rate=0.5", "games.arithmetic.generate.high=4", "output.save_every=2"]
    with pytest.raises(MachineError, match="cannot go on with another plan") as raised:
        here(tmp_path, mode="resume", sets=sets)
    text = str(raised.value)
    assert "stages.nested.algorithm.learning_rate: 0.001 -> 0.5 (may not change: results depend on it)" in text
    assert "high: 3 -> 4 (may not change: results depend on it)" in text
    assert "output.save_every: 1 -> 2 (may change)" in text
    assert "--fresh" in text
    assert "spec_hash" not in text


def test_there_is_nothing_to_resume_where_nothing_waits(tmp_path):
    with pytest.raises(UsageError, match="no unfinished run of small"):
        here(tmp_path, mode="resume")


def test_more_steps_under_a_constant_schedule_go_on(tmp_path, finished):
    shorter = here(tmp_path, sets=["stages[1].until.steps=2", "evaluation.final=null"])
    assert steps(shorter.run)[-1] == ("nested", 1)
    hashes = shorter.run.lock["plan_hash"], shorter.run.lock["spec_hash"]
    told = Told()
    longer = here(tmp_path, mode="resume", sets=["evaluation.final=null"], told=told)
    assert longer.run.path == shorter.run.path
    assert "goes on for more steps" in str(told)
    assert steps(longer.run) == steps(finished.run)
    assert weights(longer.run.stages / "nested") == weights(finished.run.stages / "nested")
    # what the run now is stands in its files, and what it was beside them
    run = longer.run
    assert (run.lock["plan_hash"], run.lock["spec_hash"]) == (plan_hash(run.plan), run.plan.spec_hash)
    assert json.loads(run.resolved.read_text())["spec"]["stages"][1]["until"]["steps"] == 4
    earlier = run.earlier / "1"
    assert json.loads((earlier / "spec.resolved.json").read_text())["spec"]["stages"][1]["until"]["steps"] == 2
    lock = json.loads((earlier / "lock.json").read_text())
    assert (lock["plan_hash"], lock["spec_hash"]) == hashes != (run.lock["plan_hash"], run.lock["spec_hash"])
    assert check_manifest(run) == []


def test_a_finished_run_that_is_to_go_on_is_not_done_before_its_plan_says_so(tmp_path, monkeypatch):
    shorter = here(tmp_path, sets=["stages[1].until.steps=2", "evaluation.final=null"])

    def dies(self, plan, **files):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(RunDirectory, "renew", dies)
        with pytest.raises(Killed):
            here(tmp_path, mode="resume", sets=["evaluation.final=null"])
    assert shorter.run.status.state == "stopped"
    longer = here(tmp_path, mode="resume", sets=["evaluation.final=null"])
    assert steps(longer.run)[-1] == ("nested", 3)


def test_a_session_with_another_runtime_is_in_the_lock_and_the_plan(tmp_path, run):
    told = Told()
    resumed = here(tmp_path, mode="resume", sets=["output.keep_checkpoints=1"], told=told).run
    assert resumed.plan.runtime.output["keep_checkpoints"] == 1
    assert json.loads(resumed.resolved.read_text())["spec"]["output"]["keep_checkpoints"] == 1
    assert f"kept in {resumed.earlier / '1'}" in str(told)
    assert told.lines.count("changed: output.keep_checkpoints: 2 -> 1 (may change)") == 1
    assert "not as in the session before" not in str(told)


def test_a_lock_of_another_machine_is_replaced_and_the_difference_is_told(tmp_path, run):
    lock = run.lock
    run.lock_file.write_text(json.dumps({**lock, "python": "3.8.0"}))
    told = Told()
    resumed = here(tmp_path, mode="resume", told=told).run
    assert f"not as in the session before: python: 3.8.0 -> {lock['python']}" in str(told)
    assert resumed.lock == lock
    assert json.loads((resumed.earlier / "1" / "lock.json").read_text())["python"] == "3.8.0"

"""Which run a command goes on with, and what of it: decided without a model, so the stages here are pretended."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import contextmanager
from itertools import count

import pytest
from typer.testing import CliRunner

from gift_dsl import api
from gift_dsl.artifacts.checkpoints import seal
from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.manifest import check_manifest
from gift_dsl.artifacts.status import Status
from gift_dsl.cli import app
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.run import drive
from gift_dsl.run.request import STOPPED
from tests.run.small import Told

SPEC = """\
gift: 1
name: small
seed: 3
model: {source: tiny}
precision: fp32
games:
  tictactoe: {type: tictactoe, opponents: random, prompt: {wording: compact}}
stages:
  - {name: nested, type: grpo, play: tictactoe, until: {steps: 3}}
rollout: {max_tokens_per_turn: 6}
algorithm: {preset: gift_v1, keep: 1.0, groups_per_step: 2, group_size: 4, mini_batch_size: 4, learning_rate: 0.001}
resources: {micro_batch_size: 4, threads: 1}
"""


class Pretend:
    """In place of the processes of a stage: leaves what they would leave, and writes down what was asked of it."""

    done: list[tuple[str, int]]
    codes: list[int]
    clock, takes = 0.0, 0.0

    def __init__(self):
        self.done, self.codes = [], []

    def __call__(self, signals):
        self.signals = signals
        return self

    def perform(self, run: RunDirectory, what: str) -> int:
        """A stage that ends well, unless a code was given for it."""
        stage = run.plan.stages[int(what)]
        self.done.append((stage.name, stage.until.max_steps))
        self.clock += self.takes
        code = self.codes.pop(0) if self.codes else 0
        if code == 0:
            (run.stages / stage.name).mkdir(parents=True)
            (run.stages / stage.name / "steps").write_text(str(stage.until.max_steps))
        return code


@pytest.fixture
def crew(monkeypatch):
    """Whoever performs the stages of this test."""
    monkeypatch.delenv("RANK", raising=False)
    pretend = Pretend()
    monkeypatch.setattr(drive, "OwnProcesses", pretend)
    return pretend


def go(folder, *more, text=SPEC, mode="new", told=None, sets=()):
    """How a run ended; raises what it raises."""
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    (outcome,) = api.run(
        str(folder / "spec.yaml"), None, api.RunOptions(sets=(*sets, *more), mode=mode, tell=told or Told())
    )
    return outcome


def two_stages(first):
    """The spec with a stage before `nested`."""
    other = f"  - {{name: {first}, type: grpo, play: tictactoe, until: {{steps: 2}}}}\n"
    return SPEC.replace("stages:\n", f"stages:\n{other}")


# ── names of stages ──


def test_a_stage_may_be_called_as_another_one_and_a_step(tmp_path, crew):
    text, crew.codes = two_stages("nested-step-x"), [0, 1, 1]
    run = go(tmp_path, text=text).run
    run.evaluation.mkdir()
    (run.evaluation / "nested-step-x-before.json").write_text("{}")
    for step in (2, 4):
        (run.evaluation / f"nested-step-{step:06d}.json").write_text(json.dumps({"step": step}))
    assert go(tmp_path, text=text, mode="resume").exit_code == 1
    assert crew.done == [("nested-step-x", 2), ("nested", 3), ("nested", 3)]
    assert [path.name for path in run.evaluation.iterdir()] == ["nested-step-x-before.json"]


def test_probes_of_a_stage_are_found_by_their_step(tmp_path):
    run = RunDirectory(tmp_path)
    run.evaluation.mkdir()
    for name in ("nested-step-000012", "nested-step-000002", "nested-step-x-before", "nested-step-x-step-000003"):
        (run.evaluation / f"{name}.json").write_text("{}")
    assert list(run.probes("nested")) == [2, 12]
    assert run.probes("nested")[2] == run.evaluation / "nested-step-000002.json"
    assert list(run.probes("nested-step-x")) == [3]
    assert run.probes("other") == {}


# ── what a run that failed says is kept ──


@pytest.mark.parametrize(
    ("codes", "sealed", "said"),
    [
        ([1], (), "failed; nothing was trained yet, begin anew with: gift run SPEC --fresh"),
        ([0, 1], (), "failed; the stages that ended are kept, go on with"),
        ([1], ("warmup",), "failed; the last checkpoint is whole, go on with"),
    ],
)
def test_a_run_that_failed_says_what_of_it_is_kept(tmp_path, crew, codes, sealed, said):
    text, told = two_stages("warmup"), Told()
    if sealed:
        crew.codes = [1]
        run = go(tmp_path, text=text).run
        for stage in sealed:
            folder = run.checkpoints / stage / "checkpoint-1"
            folder.mkdir(parents=True)
            seal(folder, {"step": 1})
    crew.codes = codes
    go(tmp_path, text=text, mode="resume" if sealed else "new", told=told)
    assert told.lines[-1].startswith(said)


def test_a_run_that_failed_after_it_was_measured_goes_on(tmp_path, crew):
    told = Told()

    def measures(run, what):
        run.evaluation.mkdir()
        (run.evaluation / "nested-before.json").write_text("{}")
        return 1

    crew.perform = measures
    go(tmp_path, told=told)
    assert told.lines[-1] == "failed; what was measured is kept, go on with: gift run SPEC --resume"


def test_one_run_of_a_sweep_is_begun_anew_by_its_id(tmp_path, crew):
    told, crew.codes = Told(), [0, 1, 0]
    sweep(tmp_path, told=told)
    assert "failed; nothing was trained yet, begin anew with: gift run SPEC --fresh --only seed=2" in told.lines


@pytest.mark.parametrize(
    "reason",
    ["`limits.opponent_calls` is reached: 3 calls were made", "`limits.opponent_calls: 3` is reached"],
)
def test_a_run_that_a_limit_stopped_says_which_one_to_raise(tmp_path, crew, reason):
    told = Told()

    def stops(run, what):
        run.set_status(Status("running", "nested", reason=reason))
        return STOPPED

    crew.perform = stops
    assert go(tmp_path, told=told).exit_code == 1
    assert told.lines[-1] == (
        f"stopped ({reason}) and saved; raise `limits.opponent_calls`, and go on with: gift run SPEC --resume"
    )


# ── more steps than a finished run was planned for ──

LONGER = "stages[nested].until.steps=4"


class Killed(BaseException):
    """In place of SIGKILL: nothing of ours catches it."""


class Killer:
    """Ends what changes files below a folder before the change of a number, and every later one."""

    def __init__(self):
        self.folder, self.left = "", 0
        sys.addaudithook(self.see)  # for the life of the process; asleep while it has no folder

    def see(self, event, arguments):
        """A change, or not."""
        if not self.folder or event not in ("open", "os.remove", "os.rename", "os.rmdir", "os.mkdir"):
            return
        if event == "open" and not (isinstance(arguments[1], str) and set(arguments[1]) & set("wxa+")):
            return
        if not str(arguments[0]).startswith(self.folder) or str(arguments[0]).endswith((".writer", ".ranks")):
            return
        self.left -= 1
        if self.left < 0:
            raise Killed

    @contextmanager
    def before(self, number, folder):
        """A block that is killed; yields a list that tells whether it was."""
        self.folder, self.left, was = str(folder), number, []
        try:
            yield was
        except Killed:
            was.append(True)
        finally:
            self.folder = ""


KILLER = Killer()


def contents(run):
    """Every file of a run, by name; those that are being written and locks, which begin with a dot, left out."""
    files = (path for path in run.path.rglob("*") if path.is_file() and path.name[0] != ".")
    return {path.relative_to(run.path): path.read_bytes() for path in files}


def test_what_the_machine_lacks_is_found_before_a_finished_run_is_touched(tmp_path, crew, monkeypatch):
    run = go(tmp_path).run
    before = contents(run)
    monkeypatch.setattr(drive, "check_machine", lacking)
    with pytest.raises(MachineError, match="not ready"):
        go(tmp_path, LONGER, mode="resume")
    assert contents(run) == before


def lacking(*_):
    """In place of the check of a machine."""
    raise MachineError("this machine is not ready")


def test_a_run_that_goes_on_for_more_steps_is_finished_anew(tmp_path, crew):
    told = Told()
    run = go(tmp_path).run
    assert go(tmp_path, LONGER, mode="resume", told=told).run.path == run.path
    assert crew.done == [("nested", 3), ("nested", 4)]
    assert "goes on for more steps" in str(told)
    assert (run.stages / "nested" / "steps").read_text() == "4"


@pytest.mark.parametrize("steps", [3, 4])
def test_a_run_that_is_killed_while_it_is_opened_for_more_steps_goes_on_with_either_number(tmp_path, crew, steps):
    (tmp_path / "finished").mkdir()
    finished = go(tmp_path / "finished").run
    for number in count():
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "finished", folder)
        run = RunDirectory(folder / finished.path.relative_to(tmp_path / "finished"))
        crew.codes = [1]
        with KILLER.before(number, run.path) as was:
            go(folder, LONGER, mode="resume")
        if not was:
            break
        crew.codes = []
        if run.status.state == "done":
            assert contents(run) == contents(finished)
        elif steps >= run.plan.stages[0].until.max_steps:
            go(folder, f"stages[nested].until.steps={steps}", mode="resume")
            assert run.status.state == "done"
            assert run.plan.stages[0].until.max_steps == steps
            assert (run.stages / "nested" / "steps").read_text() == str(steps)
            assert check_manifest(run) == []
    assert number > 10


# ── a spec that changed under a run ──


def changed(told):
    """What was told of the spec."""
    return [line.removeprefix("changed: ") for line in told.lines if line.startswith("changed: ")]


def test_whatever_may_change_is_told_and_the_run_goes_on(tmp_path, crew):
    crew.codes, told = [1], Told()
    run = go(tmp_path).run
    sets = ["limits.policy_tokens=7", "output.save_every=5", "resources.micro_batch_size=2", "trackers=[]"]
    assert go(tmp_path, *sets, mode="resume", told=told).run.path == run.path
    assert changed(told) == [
        "resources.micro_batch_size: 4 -> 2 (may change)",
        "limits.policy_tokens: null -> 7 (may change)",
        "output.save_every: 20 -> 5 (may change)",
    ]
    assert crew.done == [("nested", 3)] * 2


def test_a_spec_that_did_not_change_has_nothing_told_of_it(tmp_path, crew):
    crew.codes, told = [1], Told()
    go(tmp_path)
    go(tmp_path, mode="resume", told=told)
    assert changed(told) == []


def test_more_steps_are_told_with_what_else_changed(tmp_path, crew):
    go(tmp_path)
    told = Told()
    go(tmp_path, LONGER, "output.save_every=5", mode="resume", told=told)
    assert changed(told) == [
        "stages.nested.until.steps: 3 -> 4 (may change)",
        "output.save_every: 20 -> 5 (may change)",
    ]


def test_where_something_may_not_change_all_is_listed_with_the_reasons_and_the_run_is_not_touched(tmp_path, crew):
    run = go(tmp_path, "algorithm.schedule=cosine").run
    run.set_status(Status("stopped", "nested"))
    before = contents(run)
    with pytest.raises(MachineError) as raised:
        go(tmp_path, "algorithm.schedule=cosine", LONGER, "output.save_every=5", mode="resume")
    message = str(raised.value)
    assert message.splitlines()[0] == (
        f"{run.path} cannot go on with another plan; a new run: gift run SPEC --fresh. What differs:"
    )
    assert message.splitlines()[1:] == [
        "  stages.nested.until.steps: 3 -> 4 (may not change: the learning rate of all its steps depends on it "
        "(`schedule: cosine`))",
        "  output.save_every: 20 -> 5 (may change)",
    ]
    assert contents(run) == before


def test_more_threads_have_no_effect_and_the_run_says_so(tmp_path, crew):
    crew.codes, told = [1], Told()
    run = go(tmp_path).run
    go(tmp_path, "resources.threads=2", mode="resume", told=told)
    assert changed(told) == [
        "resources.threads: 1 -> 2 (without effect: with as many processes a run keeps its threads, 1)"
    ]
    assert run.lock["threads"] == 1


def test_other_processes_are_told_once_and_bring_their_threads(tmp_path, crew):
    crew.codes, told = [1], Told()
    run = go(tmp_path).run
    sets = ["resources.processes=2", "resources.micro_batch_size=2", "resources.threads=3"]
    go(tmp_path, *sets, mode="resume", told=told)
    assert sum("processes: 1 -> 2" in line for line in told.lines) == 1
    assert "resources.threads: 1 -> 3 (may change)" in changed(told)
    assert (run.lock["processes"], run.lock["threads"]) == (2, 3)


# ── the runs of a sweep ──

SWEEP = f"{SPEC}sweep: {{axes: {{seed: [1, 2, 3]}}}}\n"


def sweep(folder, mode="new", told=None, text=SWEEP):
    """How the runs of a sweep ended; raises what it raises."""
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    return api.run(str(folder / "spec.yaml"), None, api.RunOptions(mode=mode, tell=told or Told()))


def test_a_sweep_that_is_resumed_does_what_is_left_of_it(tmp_path, crew):
    crew.codes = [0, 1, 0]
    first = sweep(tmp_path)
    assert [outcome.exit_code for outcome in first] == [0, 1, 0]
    shutil.rmtree(first[2].run.path.parent)  # as if it had not begun
    told, ended = Told(), contents(first[0].run)
    again = sweep(tmp_path, "resume", told)
    assert [outcome.exit_code for outcome in again] == [0, 0, 0]
    assert len(crew.done) == 5, "the first was done, the second went on, the third began"
    assert again[0].summary == first[0].summary
    assert contents(first[0].run) == ended
    assert again[1].run.path == first[1].run.path
    assert f"done already: {first[0].run.path}" in told.lines


def test_a_sweep_of_which_all_is_done_has_nothing_to_resume(tmp_path, crew):
    sweep(tmp_path)
    with pytest.raises(UsageError, match="all 3 runs"):
        sweep(tmp_path, "resume")
    assert len(crew.done) == 3


def test_a_sweep_goes_on_for_more_steps(tmp_path, crew):
    first = sweep(tmp_path)
    again = sweep(tmp_path, "resume", text=SWEEP.replace("steps: 3", "steps: 4"))
    assert [outcome.run.path for outcome in again] == [outcome.run.path for outcome in first]
    assert crew.done[3:] == [("nested", 4)] * 3


def test_a_run_of_a_sweep_that_waits_is_told_of_before_another_is_trained(tmp_path, crew):
    crew.codes = [0, 0, 1]
    sweep(tmp_path)
    with pytest.raises(UsageError, match="--resume to go on"):
        sweep(tmp_path)
    assert len(crew.done) == 3


MODELS = f"{SPEC}sweep: {{axes: {{model.source: [tiny, ./nope]}}, add: [{{model.source: tiny, seed: 4}}]}}\n"


def test_a_run_that_the_machine_is_not_ready_for_is_told_and_the_next_one_begins(tmp_path, crew):
    told = Told()
    ready, lacking, other = sweep(tmp_path, told=told, text=MODELS)
    assert len(crew.done) == 2
    assert [one.exit_code for one in (ready, lacking, other)] == [0, 4, 0]
    assert (lacking.run, lacking.summary) == (None, None)
    assert "the model folder ./nope does not exist" in str(lacking.problem)
    assert f"gift: {lacking.problem}" in told.lines
    assert told.lines[-1] == "not done: model.source=./nope (exit code 4)"


def test_a_sweep_prints_the_summaries_that_there_are_and_ends_with_its_worst_run(tmp_path, crew):
    (tmp_path / "spec.yaml").write_text(MODELS, encoding="utf-8")
    result = CliRunner().invoke(app, ["run", str(tmp_path / "spec.yaml"), "--json"])
    assert result.exit_code == 4
    assert [one["seed"] for one in json.loads(result.stdout)["runs"]] == [3, 4]


# ── how long a run took ──


def test_the_time_of_a_run_is_that_of_all_its_sessions_and_stages(tmp_path, crew, monkeypatch):
    monkeypatch.setattr(drive, "monotonic", lambda: crew.clock)
    crew.takes, crew.codes = 100.0, [0, 1]
    run = go(tmp_path, text=two_stages("warmup")).run
    assert run.status.wall_s == 200
    crew.clock += 1000  # between the sessions
    outcome = go(tmp_path, text=two_stages("warmup"), mode="resume")
    assert outcome.summary["wall_s"] == 300, "no step was written down: these are the seconds of the command"
    assert run.status.wall_s == 300


def test_what_a_killed_session_had_written_of_its_time_counts(tmp_path, crew):
    crew.codes = [1]
    run = go(tmp_path).run
    run.set_status(Status("running", "nested", 1, wall_s=50.0))
    run.set_status(Status("running", "nested", 1))
    assert go(tmp_path, mode="resume").summary["wall_s"] == pytest.approx(50, abs=20)

"""`gift eval` in several processes: they share the work, find what one finds, and fail as one does."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import fields

import pytest

from gift_dsl import api
from gift_dsl.artifacts.directory import open_run
from gift_dsl.errors import GiftError, LimitReached, MachineError, UsageError
from gift_dsl.run.evaluate import EvalRequest
from gift_dsl.run.ranks import _failure, _order, _request, given_team, services_maker
from gift_dsl.run.subjects import Who
from gift_dsl.train.team import Team
from tests.evaluate.words import write_rows
from tests.run.evaluated import finished_run, plan_of
from tests.run.small import Told

BENCHMARKS = ("mmlu", "math500", "lm_eval/mmlu_anatomy")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = write_rows(tmp_path_factory.mktemp("rows"))
    row = {"question": "What is two and two?", "subject": "anatomy", "choices": ["1", "2", "4", "5"], "answer": 2}
    for split in ("dev", "test"):
        path = folder / "mmlu_anatomy" / "anatomy" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = ({**row, "question": f"{row['question']} {number}"} for number in range(5))
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def evaluated(target, told=None, **options):
    return api.evaluate(str(target), None, api.EvalOptions(tell=told or Told(), **options))


def samples(output):
    """Every kept sample of the benchmarks, by file, without the log-likelihoods."""
    files = sorted((output.with_suffix("") / "benchmarks").glob("samples_*.jsonl"))
    return {path.name: [json.loads(line) for line in path.read_text().splitlines()] for path in files}


def assert_alike(mine, theirs):
    """Equal, but for numbers that were summed in another batch."""
    if isinstance(mine, float):
        assert theirs == pytest.approx(mine, abs=1e-6)
    elif isinstance(mine, dict):
        assert mine.keys() == theirs.keys()
        for key in mine:
            assert_alike(mine[key], theirs[key])
    elif isinstance(mine, list):
        assert len(mine) == len(theirs)
        for one, other in zip(mine, theirs, strict=True):
            assert_alike(one, other)
    else:
        assert mine == theirs


def launched(folder, *words):
    """`gift` by torchrun in two processes."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    command = [sys.executable, *launcher, "-m", "gift_dsl", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_two_processes_find_what_one_finds_and_go_on_where_it_stopped(run, rows, tmp_path):
    own = open_run(shutil.copytree(run.path, tmp_path / "run"))
    asked = {"games": ("arithmetic", "nested"), "rounds": 5, "benchmarks": BENCHMARKS, "data": rows, "limit": 3}
    paths = [tmp_path / f"{name}.json" for name in ("one", "two", "torchrun")]
    one = evaluated(own.path, out=paths[0], **asked)
    two = evaluated(own.path, out=paths[1], processes=2, **asked)
    words = ["--games", "arithmetic,nested", "--rounds", 5, "--benchmarks", ",".join(BENCHMARKS), "--data", rows]
    done = launched(tmp_path, "eval", own.path, *words, "--limit", 3, "--out", paths[2], "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("written: ") == 1, "rank 0 speaks for all"
    for other, path in ((two, paths[1]), (json.loads(done.stdout), paths[2])):
        assert_alike({**one, "duration_s": 0}, {**other, "duration_s": 0})
        assert one["plays"] == other["plays"]
        assert_alike(samples(paths[0]), samples(path))
    told = Told()
    again = evaluated(own.path, told, out=paths[1], **asked)
    assert str(told).count("done before") == 2, "by one process"
    assert {**again, "duration_s": 0} == {**two, "duration_s": 0}


@pytest.mark.slow
def test_what_is_wrong_in_the_processes_is_raised_here_once(run, rows, tmp_path, capfd):
    wrong = tmp_path / "mmlu" / "test.jsonl"
    wrong.parent.mkdir()
    wrong.write_text('{"problem": "1 + 1?"}\n')
    with pytest.raises(MachineError, match=r"row 1 of .*expected `question`.*found `problem`"):
        evaluated(run.path, benchmarks=("mmlu",), data=tmp_path, out=tmp_path / "r.json", processes=2)
    told = capfd.readouterr().err
    assert "Traceback" not in told
    assert "Warning" not in told
    assert not (tmp_path / "r.json").exists()


def test_a_request_that_was_told_to_another_process_is_the_same(tmp_path):
    plan = plan_of(tmp_path)
    request = EvalRequest(
        target="spec.yaml",
        plan=plan,
        who=Who(run="/somewhere", checkpoint=3),
        games=("tictactoe",),
        chains={"nested": plan.stages[-1].play},
        benchmarks=({"type": "mmlu", "limit": 3},),
        split="dev",
        rounds=7,
        history="none",
        output=tmp_path / "result.json",
    )
    told = _request(json.loads(json.dumps(_order(request))))
    for field in fields(EvalRequest):
        assert getattr(told, field.name) == getattr(request, field.name), field.name


def test_limits_hold_for_all_processes_together(tmp_path):
    plan = plan_of(tmp_path, "limits={opponent_calls: 5}")
    shares = [services_maker(plan, lambda env, url: None, Team(rank, 2))().budget for rank in (0, 1)]
    calls = []
    for budget in shares:
        for _ in range(9):
            try:
                budget.start_call("someone", 0.0)
            except LimitReached:
                break
            calls.append(budget)
    assert [calls.count(budget) for budget in shares] == [3, 2]


def test_of_several_failures_the_one_of_whoever_failed_is_told(tmp_path):
    for rank, (kind, message) in enumerate(
        [("GiftError", "another process failed: process 1: LimitReached: no more"), ("LimitReached", "no more")]
    ):
        (tmp_path / f"failed-{rank:06d}.json").write_text(json.dumps({"kind": kind, "message": message}))
    failure = _failure(tmp_path, 1)
    assert (type(failure), str(failure)) == (LimitReached, "no more")
    (tmp_path / "empty").mkdir()
    assert "ended with -9; what was finished is kept" in str(_failure(tmp_path / "empty", -9))
    assert type(_failure(tmp_path / "empty", -9)) is GiftError


@pytest.mark.parametrize("kind", [LimitReached, MachineError, GiftError])
def test_what_a_team_tells_of_another_process_is_not_taken_for_its_own(tmp_path, kind):
    heard = [([], (0 if kind is GiftError else 1 if kind is MachineError else 3, "no more"))]
    with pytest.raises(kind) as told:
        Team(0, 2, lambda own: [own, *heard]).together(list)
    for rank, message in enumerate((str(told.value), "no more")):
        text = json.dumps({"kind": kind.__name__, "message": message})
        (tmp_path / f"failed-{rank:06d}.json").write_text(text)
    assert str(_failure(tmp_path, 1)) == "no more"


def test_a_launcher_with_another_number_of_processes_is_refused(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="the launcher started 4 processes, and 2 were asked for"), given_team(2):
        pass


def test_without_a_launcher_a_process_is_alone():
    with given_team(2) as team:
        assert (team.rank, team.size) == (0, 1)

"""Two processes train as one does, and do not wait for one that has failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.train import processes

ROOT = Path(__file__).resolve().parent.parent.parent


def by_two(what, folder):
    """What each of two processes saw."""
    folder.mkdir(parents=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1"}
    script = str(ROOT / "tests" / "train" / "processes.py")
    done = subprocess.run(
        [*command, script, what, str(folder)], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def by_one(what, folder):
    folder.mkdir(parents=True)
    return json.loads(json.dumps(processes.run(what, folder, 0, 1)))


def assert_close(some, others):
    assert some.keys() == others.keys()
    for name in some:
        assert torch.allclose(torch.tensor(some[name]), torch.tensor(others[name]), rtol=0, atol=1e-5), name


@pytest.mark.slow
def test_two_processes_learn_from_recorded_groups_what_one_does(tmp_path):
    one, two = by_one("recorded", tmp_path / "one"), by_two("recorded", tmp_path / "two")
    assert len(one["losses"]) == 3 * 4
    for process in two:
        assert process["losses"] == pytest.approx(one["losses"], abs=1e-6)
        assert process["ids"] == one["ids"]
        assert process["groups"] == one["groups"]
        assert process["state"] == one["state"]
    assert_close(one["weights"], two[0]["weights"])
    assert two[0]["weights"] == two[1]["weights"]
    assert [process["checkpoints"] for process in two] == [one["checkpoints"], []]
    assert two[1]["metrics"] == []
    for found, expected in zip(two[0]["metrics"], one["metrics"], strict=True):
        assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_two_processes_play_what_one_does(tmp_path):
    one, two = by_one("played", tmp_path / "one"), by_two("played", tmp_path / "two")
    assert two[0]["groups"] == two[1]["groups"]
    assert two[0]["ids"] == two[1]["ids"] == one["ids"]
    assert two[0]["losses"] == pytest.approx(one["losses"], abs=1e-6)
    assert two[0]["metrics"][0] == pytest.approx(one["metrics"][0], abs=1e-5)


@pytest.mark.slow
def test_a_process_does_not_wait_for_one_that_failed(tmp_path):
    first, second = by_two("failing", tmp_path / "two")
    assert first["error"] == "GiftError: another process failed: process 1: ValueError: a bug"
    assert second["error"] == "ValueError: a bug"

"""A run whose processes share the weights of one model is the run of one process that has them all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.run.small import SPEC, assert_same, command, here, metrics, shards, steps
from tests.run.test_processes import finish, is_at, run_in, wait_until, workers

pytestmark = pytest.mark.slow

SHARED = (
    SPEC.partition("  final:")[0]
    .replace("micro_batch_size: 4", "micro_batch_size: 2, sharding: fsdp")
    .replace("episodes: 64", "episodes: 32")
    .replace("steps: 4", "steps: 2")
)
CLOSE = {
    "loss": 1e-6,
    "update/loss": 1e-6,
    "return": 0,
    "policy_tokens": 0,
    "grad_norm": 1e-5,
    "update/grad_norm": 1e-5,
}
"""Metrics, and how far they may be apart: Adam's first steps make much of rounding."""
LAUNCHED = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """By the two ranks of a launcher, which go from stage to stage without ending."""
    folder = tmp_path_factory.mktemp("shared")
    (folder / "spec.yaml").write_text(SHARED, encoding="utf-8")
    process = subprocess.run(
        [sys.executable, *LAUNCHED, "-m", "gift_dsl", "run", "spec.yaml", "--processes", "2"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert process.returncode == 0, process.stderr[-4000:]
    return run_in(folder)


def texts(run):
    """Of every turn, by shard and trajectory."""
    return {
        path: [[turn["text"] for turn in line.get("turns", ())] for line in lines]
        for path, lines in shards(run).items()
    }


def test_two_processes_that_share_weights_do_what_one_does(tmp_path, shared):
    one = here(tmp_path, SHARED).run
    assert steps(one) == steps(shared)
    for mine, other in zip(metrics(one), metrics(shared), strict=True):
        for name in CLOSE.keys() & mine.keys():
            assert other[name] == pytest.approx(mine[name], abs=CLOSE[name], rel=CLOSE[name]), (name, mine["step"])
    assert texts(one) == texts(shared)
    for stage in one.plan.stages:
        mine, other = (load_file(run.stages / stage.name / "model.safetensors") for run in (one, shared))
        assert mine.keys() == other.keys()
        apart = torch.cat([(mine[name] - other[name]).abs().flatten() for name in mine])
        # where there is almost no gradient, Adam takes a whole step by the sign of rounding
        assert (apart > 1e-5).float().mean() < 1e-3, stage.name


def test_a_dead_process_ends_the_others_and_the_run_that_is_resumed_is_the_same(tmp_path, shared):
    process = command(tmp_path, "--processes", "2", text=SHARED)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    run = run_in(tmp_path)
    os.kill(max(workers(run)), signal.SIGKILL)
    _, err = finish(process, 1)
    assert "failed; the last checkpoint is whole" in err
    assert not workers(run)
    finish(command(tmp_path, "--processes", "2", "--resume", text=SHARED))
    assert_same(run, shared)

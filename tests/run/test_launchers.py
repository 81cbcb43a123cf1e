"""What launchers make of a run: `accelerate launch` and torchrun, on a CPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gift_dsl.run.processes import start_together, wait_for
from tests.run.small import SPEC, here, metrics, weights
from tests.run.test_processes import run_in

GRPO = "  - {name: nested, type: grpo, play: chain, until: {steps: 4}}\n"
WARMUP = SPEC.replace(GRPO, "").replace("micro_batch_size: 4", "micro_batch_size: 2").partition("evaluation:")[0]
"""One stage of two updates."""
SEEN = """\
import os, sys
with open(os.environ["SEEN"], "a") as seen:
    what = [word for word in sys.orig_argv if word in ("launch", "run", "gift_dsl.run.worker")]
    seen.write(" ".join([*what, os.environ.get("RANK", "alone")]) + chr(10))
"""
"""Each process of ours says what it is, and which rank."""


@pytest.mark.slow
def test_accelerate_launch_starts_two_ranks_without_a_gpu_and_the_spec_decides_the_precision(tmp_path):
    words = ["--multi_gpu", "--num_processes", "2", "--num_machines", "1", "--dynamo_backend", "no"]
    words += ["--mixed_precision", "bf16", "--main_process_port", "0"]
    done, seen = accelerate(tmp_path, *words)
    assert done.returncode == 0, done.stderr
    assert seen == ["run 0", "run 1"]
    assert json.loads(done.stdout)["totals"]["steps"] == 2, "one summary, that of rank 0"
    assert done.stderr.count("warmup 2/2  loss ") == 1
    (tmp_path / "one").mkdir()
    one = metrics(here(tmp_path / "one", WARMUP).run)
    assert [line["loss"] for line in metrics(run_in(tmp_path))] == pytest.approx(
        [line["loss"] for line in one], rel=1e-6, abs=1e-6
    )


def accelerate(folder, *words, text=WARMUP):
    """`gift run --processes 2` by `accelerate launch`: how it ended, and which processes there were."""
    (folder / "spec.yaml").write_text(text, encoding="utf-8")
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(SEEN, encoding="utf-8")
    path = os.pathsep.join([str(folder / "site"), str(Path(__file__).parents[2])])
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", *words]
    done = subprocess.run(
        [*launch, "-m", "gift_dsl", "run", "spec.yaml", "--processes", "2", "--json"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, "SEEN": str(folder / "seen")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    seen = (folder / "seen").read_text().splitlines()
    return done, sorted(line for line in seen if line.startswith(("run ", "gift_dsl")))


@pytest.mark.slow
def test_accelerate_launch_on_a_cpu_starts_one_process_which_starts_those_that_were_asked_for(tmp_path):
    done, seen = accelerate(tmp_path, "--cpu", "--num_processes", "2")
    assert done.returncode == 0, done.stderr
    assert seen == ["gift_dsl.run.worker 0", "gift_dsl.run.worker 1", "run alone"]
    assert json.loads(done.stdout)["totals"]["steps"] == 2


SETTINGS = {"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR"}


def test_what_somebody_exported_for_accelerate_does_not_reach_the_processes_of_a_run(tmp_path, monkeypatch):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    show = "import os, sys; open(sys.argv[1], 'w').write(' '.join(os.environ))"
    assert wait_for(start_together([sys.executable, "-c", show, str(tmp_path / "names")], 1)) == 0
    names = (tmp_path / "names").read_text().split()
    assert "PATH" in names
    assert not SETTINGS.keys() & set(names)


def test_what_a_launcher_was_told_of_precision_changes_nothing(tmp_path, monkeypatch, finished):
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    text = SPEC.replace(GRPO, "").partition("evaluation:")[0]
    run = here(tmp_path, text).run
    assert weights(run.stages / "warmup") == weights(finished.run.stages / "warmup")

"""What launchers make of a run: `accelerate launch` and torchrun, on a CPU."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gift_dsl.artifacts.checkpoints import latest
from gift_dsl.run.processes import start_together, wait_for
from tests.run.small import SPEC, assert_same, command, here, metrics, steps, weights
from tests.run.test_processes import finish, is_at, run_in, wait_until

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


# ── torchrun ──

LONG = SPEC.replace("micro_batch_size: 4", "micro_batch_size: 2").replace("steps: 4", "steps: 12")
LONG = LONG.partition("evaluation:")[0]
LAST = ("nested", 11)


def torchrun(folder, *words):
    """`gift run` as two ranks of torchrun, started."""
    (folder / "spec.yaml").write_text(LONG, encoding="utf-8")
    launch = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    return subprocess.Popen(
        [sys.executable, *launch, "-m", "gift_dsl", "run", "spec.yaml", "--processes", "2", *words],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ranks(launcher):
    """Pids of a launcher's ranks, by rank."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parent = int((path / "stat").read_text().rpartition(") ")[2].split()[1])
            variables = (path / "environ").read_bytes().split(b"\0") if parent == launcher.pid else ()
            found |= {int(one[5:]): int(path.name) for one in variables if one.startswith(b"RANK=")}
    return found


@pytest.mark.slow
def test_sigterm_to_torchrun_ends_the_step_saves_and_the_resumed_run_is_the_same_run(tmp_path):
    process = torchrun(tmp_path)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    process.send_signal(signal.SIGTERM)
    _, err = finish(process, 1)  # torchrun's own code for a signal; 143 is that of its ranks, which it does not tell
    assert "stopped (SIGTERM) and saved; go on with: gift run spec.yaml --processes 2 --resume" in err
    run = run_in(tmp_path)
    done = steps(run)
    assert done[-1][0] == "nested"
    assert done[-1] != LAST
    assert (run.status.state, run.status.reason) == ("stopped", "SIGTERM")
    assert latest(run.checkpoints / "nested").state["step"] == done[-1][1] + 1
    finish(torchrun(tmp_path, "--resume"))
    assert steps(run)[-1] == LAST
    (tmp_path / "unbroken").mkdir()
    finish(command(tmp_path / "unbroken", "--processes", "2", text=LONG))
    assert_same(run, run_in(tmp_path / "unbroken"))


@pytest.mark.slow
def test_a_rank_of_torchrun_that_is_killed_ends_the_others_which_say_so(tmp_path):
    process = torchrun(tmp_path)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    both = ranks(process)
    os.kill(both[1], signal.SIGKILL)
    start = time.monotonic()
    _, err = finish(process, 1)
    assert time.monotonic() - start < 30
    assert not any(Path(f"/proc/{pid}").exists() for pid in both.values())
    assert "gift: another process of the run has ended" in err
    assert "bug" not in err
    assert "failed; the last checkpoint is whole, go on with: gift run spec.yaml --processes 2 --resume" in err
    run = run_in(tmp_path)
    assert run.status.state == "failed"
    assert run.holder() is None


@pytest.mark.slow
def test_ranks_that_torchrun_left_to_themselves_end_the_step_and_save(tmp_path):
    process = torchrun(tmp_path)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    both = ranks(process)
    process.send_signal(signal.SIGUSR1)  # of which torchrun dies
    _, err = finish(process, -signal.SIGUSR1)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in both.values()), 60)
    run = run_in(tmp_path)
    assert (run.status.state, run.status.reason) == ("stopped", "SIGHUP")
    assert "stopped (SIGHUP) and saved; go on with: gift run spec.yaml --processes 2 --resume" in err
    assert steps(run)[-1] != LAST
    assert latest(run.checkpoints / "nested").state["step"] == steps(run)[-1][1] + 1

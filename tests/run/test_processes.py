"""What only processes can show: death, signals, several ranks, and what is printed where. Each takes half a minute."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gift_dsl.artifacts.directory import find_runs
from tests.run.small import SPEC, assert_same, command, here, metrics, shards, steps

pytestmark = pytest.mark.slow


def run_in(folder):
    (found,) = find_runs(folder / "runs", "small")
    return found


def wait_until(holds, seconds=240.0):
    """Wait for something that another process does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)


def workers(run):
    """Pids of the living processes of a run's stages."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"gift_dsl.run.worker" in words and str(run.path).encode() in words:
                found.append(int(path.parent.name))
    return found


def is_at(folder, stage, step):
    """Whether a run has done a step."""
    runs = find_runs(folder / "runs", "small")
    return bool(runs) and (stage, step) in steps(runs[0])


def finish(process, code=0):
    """Standard output and error of a command that ends so."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, err
    return out, err


def says_only_ours(err):
    """Whether nothing of what libraries say is on standard error."""
    return "Warning" not in err and "[transformers]" not in err and "site-packages" not in err


def test_json_is_all_that_stands_on_standard_output(tmp_path, finished):
    out, err = finish(command(tmp_path, "--json"))
    document = json.loads(out)
    assert document["schema"] == "gift-summary/1"
    assert "nested 4/4  return " in err
    assert says_only_ours(err)
    assert_same(run_in(tmp_path), finished.run)


def test_a_run_whose_command_or_worker_is_killed_is_the_same_run(tmp_path, finished):
    moments = random.Random(11)
    process = command(tmp_path)
    for stage, step, whom in (("warmup", 0, "command"), ("nested", 1, "worker")):
        wait_until(lambda stage=stage, step=step: is_at(tmp_path, stage, step))
        time.sleep(moments.uniform(0, 0.5))
        run = run_in(tmp_path)
        if whom == "worker":
            os.kill(workers(run)[0], signal.SIGKILL)
            _, err = finish(process, 1)
            assert "failed; the last checkpoint is whole, go on with: gift run" in err
            assert run.status.state == "failed"
        else:
            process.kill()
            process.communicate()
            wait_until(lambda run=run: not workers(run))
            assert run.status.state == "running"
            assert run.holder() is None
        process = command(tmp_path, "--resume")
    finish(process)
    assert_same(run_in(tmp_path), finished.run)


def test_ctrl_c_saves_and_a_second_one_leaves_at_once(tmp_path, finished):
    process = command(tmp_path)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    process.send_signal(signal.SIGINT)
    _, err = finish(process, 130)
    assert "stopped (SIGINT) and saved; go on with: gift run" in err
    run = run_in(tmp_path)
    assert run.status.state == "stopped"
    process = command(tmp_path, "--resume")
    wait_until(lambda: workers(run))
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    start = time.monotonic()
    process.communicate()
    assert process.returncode == 143
    assert time.monotonic() - start < 5
    wait_until(lambda: not workers(run))
    assert steps(run)[-1][0] == "nested"
    assert_same(here(tmp_path, mode="resume").run, finished.run)


TWO = SPEC.replace("micro_batch_size: 4", "micro_batch_size: 2")
UNTESTED = TWO.partition("  final:")[0]


def test_two_processes_compute_what_one_does(tmp_path, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)  # unset, accelerate warns and takes a number of its own
    _, err = finish(command(tmp_path, "--processes", "2", text=UNTESTED))
    assert says_only_ours(err)
    two = run_in(tmp_path)
    (tmp_path / "one").mkdir()
    one = here(tmp_path / "one", UNTESTED).run
    assert steps(one) == steps(two)
    for mine, other in zip(metrics(one), metrics(two), strict=True):
        assert mine.keys() == other.keys()
        for name in {"loss", "grad_norm", "update/loss", "update/grad_norm", "return", "policy_tokens"} & mine.keys():
            assert other[name] == pytest.approx(mine[name], abs=1e-6, rel=1e-6), (name, mine["step"])
    assert _texts(one) == _texts(two)


def _texts(run):
    """Of every turn, by shard and trajectory."""
    return {
        path: [[turn["text"] for turn in line.get("turns", ())] for line in lines]
        for path, lines in shards(run).items()
    }


def test_a_dead_rank_ends_the_others(tmp_path):
    process = command(tmp_path, "--processes", "2", text=UNTESTED)
    wait_until(lambda: is_at(tmp_path, "nested", 0))
    run = run_in(tmp_path)
    os.kill(max(workers(run)), signal.SIGKILL)
    _, err = finish(process, 1)
    assert "failed; the last checkpoint is whole" in err
    assert not workers(run)


def test_the_ranks_of_a_launcher_run_all_stages(tmp_path):
    (tmp_path / "spec.yaml").write_text(UNTESTED, encoding="utf-8")
    words = ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "0", "--standalone"]
    process = subprocess.run(
        [sys.executable, *words, "-m", "gift_dsl", "run", "spec.yaml", "--processes", "2", "--json"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    run = run_in(tmp_path)
    assert run.status.state == "done"
    assert steps(run)[-1] == ("nested", 3)
    assert json.loads(process.stdout)["totals"]["steps"] == 6, "one summary, that of rank 0"
    assert process.stderr.count("nested 4/4  return ") == 1


BLOCKED = """\
import socket
connect = socket.socket.connect
def refuse(self, address):
    if self.family != socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        import os
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(repr(address) + "\\n")
        raise OSError("the network is blocked")
    return connect(self, address)
socket.socket.connect = refuse
getaddrinfo = socket.getaddrinfo
def look_up(host, *rest, **more):
    if host not in ("127.0.0.1", "::1", "localhost", None, ""):
        import os
        with open(os.environ["CALLS"], "a") as calls:
            calls.write(repr(host) + "\\n")
    return getaddrinfo(host, *rest, **more)
socket.getaddrinfo = look_up
"""


def test_nobody_is_called_while_a_run_goes_on(tmp_path):
    blocked = tmp_path / "blocked"
    blocked.mkdir()
    (blocked / "sitecustomize.py").write_text(BLOCKED, encoding="utf-8")
    path = os.pathsep.join([str(blocked), str(Path(__file__).parents[2])])
    calls = tmp_path / "calls"
    short = SPEC.replace("steps: 4", "steps: 1").partition("evaluation:")[0]
    environment = {"PYTHONPATH": path, "CALLS": str(calls)}
    finish(command(tmp_path, text=short, environment=environment))
    assert not calls.exists(), calls.read_text(encoding="utf-8")
    call = "import socket; socket.socket().connect(('192.0.2.1', 80))"
    subprocess.run([sys.executable, "-c", call], env={**os.environ, **environment}, capture_output=True, check=False)
    assert calls.read_text(encoding="utf-8") == "('192.0.2.1', 80)\n", "a call would have been noticed"

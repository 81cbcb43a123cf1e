"""A finished run is checked with coreutils alone."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace

import pytest

from gift_dsl.artifacts.checkpoints import seal
from gift_dsl.artifacts.lines import Lines
from gift_dsl.artifacts.manifest import STILL_CHANGING, check_manifest, read_manifest, write_manifest
from gift_dsl.artifacts.trajectories import write_shard
from gift_dsl.errors import MachineError
from tests.artifacts.runs import make_run, played


@pytest.fixture
def run(tmp_path):
    """A run with something in each of its places, and a name that sha256sum escapes."""
    run = make_run(tmp_path)
    write_shard(run, 0, "nested", 0, played())
    with Lines(run.metrics) as metrics:
        metrics.append({"stage_index": 0, "step": 0})
    folder = run.checkpoints / "nested" / "checkpoint-1"
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "back\\slash and\nline ü").write_bytes(b"odd")
    seal(folder, {})
    for name in (*STILL_CHANGING, "summary.json", ".summary.json.partial"):
        (run.path / name).write_text("{}" if name.endswith("json") else "x") if name != "status.json" else None
    write_manifest(run)
    return run


def sha256sum(run):
    command = ["sha256sum", "--check", "--strict", "--quiet", run.manifest.name]
    return subprocess.run(command, cwd=run.path, capture_output=True, text=True, check=False)


needs_sha256sum = pytest.mark.skipif(shutil.which("sha256sum") is None, reason="there is no sha256sum here")


@needs_sha256sum
def test_sha256sum_agrees_until_a_byte_changes(run):
    assert sha256sum(run).returncode == 0
    (run.path / "plan.json").write_bytes(b"{}")
    assert "plan.json: FAILED" in sha256sum(run).stdout


def test_every_file_is_covered_but_those_that_still_change(run):
    with run.hold():
        covered = read_manifest(write_manifest(run)).keys()
    there = {path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file()}
    left_out = {
        "manifest-sha256.txt",
        ".writer",
        ".ranks",
        ".summary.json.partial",
        "status.json",
        "log.txt",
        "report.html",
    }
    assert there - covered == left_out
    assert covered <= there


def test_what_still_changes_may_change(run):
    run.set_status(replace(run.status, state="done"))
    run.log.write_text("more")
    run.report.write_text("again")
    with run.hold():
        assert check_manifest(run) == []


def test_what_was_changed_added_or_removed_is_named(run):
    odd = next((run.checkpoints / "nested" / "checkpoint-1").glob("back*"))
    odd.write_bytes(b"even")
    run.metrics.unlink()
    (run.path / "extra").write_text("")
    assert check_manifest(run) == [
        "metrics.jsonl is missing",
        "extra is new",
        "checkpoints/nested/checkpoint-1/back\\slash and\nline ü was changed",
    ]


def test_one_run_has_one_manifest(run):
    before = run.manifest.read_bytes()
    assert write_manifest(run).read_bytes() == before


def test_a_run_without_a_manifest_did_not_end(tmp_path):
    with pytest.raises(MachineError, match="did not come to its end"):
        check_manifest(make_run(tmp_path))


def test_a_damaged_manifest_is_named(run):
    run.manifest.write_text("not a digest  file\n")
    with pytest.raises(MachineError, match=r"manifest-sha256\.txt:1 is damaged"):
        check_manifest(run)

"""Lines that only grow: whoever is killed while writing loses at most the record that was not yet acknowledged."""

from __future__ import annotations

import errno
import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.artifacts import lines
from gift_dsl.artifacts.lines import Lines, cut, is_until, read_lines
from gift_dsl.artifacts.trajectories import cut_after, read_index, read_shard
from gift_dsl.errors import MachineError
from tests.artifacts.runs import make_run, played

RECORDS = st.lists(st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4), max_size=3), max_size=8)
ROOT = Path(__file__).parent.parent.parent

# Says what it has acknowledged after each record, on a pipe that outlives it.
WRITER = """
import sys
from pathlib import Path
from gift_dsl.artifacts.directory import open_run
from gift_dsl.artifacts.lines import Lines, read_lines
from gift_dsl.artifacts.trajectories import write_shard
from tests.artifacts.runs import played
groups = played()
with open_run(Path(sys.argv[1])).hold() as run:
    first = sum(1 for _ in read_lines(run.metrics))
    with Lines(run.metrics) as metrics:
        print("ready", flush=True)
        for number in range(first, 100_000):
            metrics.append({"stage_index": 0, "step": number, "text": "x" * (number % 3000)})
            print(f"line {number}", flush=True)
            if number % 20 == 0:
                write_shard(run, 0, "nested", number, groups)
                print(f"shard {number}", flush=True)
"""


@given(RECORDS)
def test_what_was_appended_is_read_in_order(tmp_path_factory, records):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    with Lines(path) as opened:
        for record in records[:4]:
            opened.append(record)
        opened.extend(records[4:])
    assert list(read_lines(path)) == records


def test_a_file_that_is_not_there_has_no_lines(tmp_path):
    assert list(read_lines(tmp_path / "none.jsonl")) == []
    assert cut(tmp_path / "none.jsonl", lambda _: False) == 0
    assert list(tmp_path.iterdir()) == []


def test_a_record_is_readable_before_the_file_is_closed(tmp_path):
    with Lines(tmp_path / "a.jsonl") as opened:
        opened.append({"step": 0})
        assert list(read_lines(tmp_path / "a.jsonl")) == [{"step": 0}]
        opened.sync()
        opened.close()


def test_numbers_that_are_not_finite_are_null_in_strict_json(tmp_path):
    with Lines(tmp_path / "a.jsonl") as opened:
        opened.append({"loss": math.nan, "kl": [math.inf, {"x": -math.inf}, 1.5], "step": 1, "text": "NaN"})
    text = (tmp_path / "a.jsonl").read_text()
    assert text == '{"loss":null,"kl":[null,{"x":null},1.5],"step":1,"text":"NaN"}\n'


@given(RECORDS, st.binary(min_size=1, max_size=200_000).filter(lambda torn: b"\n" not in torn), RECORDS)
def test_a_torn_last_line_is_passed_over_and_then_removed(tmp_path_factory, before, torn, after):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    with Lines(path) as opened:
        opened.extend(before)
    with path.open("ab") as opened:
        opened.write(torn)
    assert list(read_lines(path)) == before
    with Lines(path) as opened:
        opened.extend(after)
    assert list(read_lines(path)) == before + after


def test_a_long_torn_line_is_removed(tmp_path):
    path = tmp_path / "a.jsonl"
    for whole in (b"", b'{"a":1}\n'):
        path.write_bytes(whole + b"x" * 200_000)
        Lines(path).close()
        assert path.read_bytes() == whole


@pytest.mark.parametrize("wrong", [b"{\n", b"[1]\n", b"\n", b"\xff\n"])
def test_a_whole_line_that_is_no_record_is_named(tmp_path, wrong):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n' + wrong + b'{"a":2}\n')
    with pytest.raises(MachineError, match=r"a\.jsonl:2 is damaged"):
        list(read_lines(path))
    with pytest.raises(MachineError, match=r"a\.jsonl:2 is damaged"):
        cut(path, lambda _: True)


def test_a_full_disk_leaves_the_records_that_were_there(tmp_path, monkeypatch):
    path = tmp_path / "a.jsonl"
    real = os.write

    def full_after_five(handle, content):
        if len(content) > 5:
            return real(handle, content[:5])
        raise OSError(errno.ENOSPC, "No space left on device")

    with Lines(path) as opened:
        opened.append({"step": 0})
        monkeypatch.setattr(lines.os, "write", full_after_five)
        with pytest.raises(MachineError, match=r"the disk is full: .*a\.jsonl"):
            opened.append({"a": "b"})
        monkeypatch.undo()
        opened.append({"step": 1})
    assert list(read_lines(path)) == [{"step": 0}, {"step": 1}]


# ── resume ──


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=12), st.integers(0, 3), st.integers(-1, 3))
def test_what_came_after_a_checkpoint_is_cut(tmp_path_factory, cursors, stage_index, step):
    path = tmp_path_factory.mktemp("lines") / "metrics.jsonl"
    records = [{"stage_index": stage, "step": number, "n": n} for n, (stage, number) in enumerate(cursors)]
    with Lines(path) as opened:
        opened.extend(records)
    stay = [one for one in records if (one["stage_index"], one["step"]) <= (stage_index, step)]
    assert cut(path, is_until(stage_index, step)) == len(records) - len(stay)
    assert list(read_lines(path)) == stay
    assert cut(path, is_until(stage_index, step)) == 0


def test_a_record_of_no_step_stays(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"event":"resumed"}\n{"stage_index":0,"step":5}\n{"to')
    assert cut(path, is_until(0, 4)) == 1
    assert path.read_text() == '{"event":"resumed"}\n'


def test_lines_that_stay_keep_their_bytes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{ "stage_index": 0,  "step": 1, "x": 1e-30 }\n{"stage_index":0,"step":5}\n')
    cut(path, is_until(0, 4))
    assert path.read_text() == '{ "stage_index": 0,  "step": 1, "x": 1e-30 }\n'


# ── killed ──


def acknowledged(run, delay_s):
    """What a writer said it had written when it was killed at a random moment."""
    command = [sys.executable, "-c", WRITER, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as writer:
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
        said, _ = writer.communicate()
    words = [line.split() for line in said.splitlines(keepends=True) if line.endswith("\n")]
    return [int(number) for kind, number in words if kind == "line"], [
        int(number) for kind, number in words if kind == "shard"
    ]


@pytest.mark.parametrize("seed", range(2))
def test_a_kill_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path, seed):
    check_kills(tmp_path, random.Random(seed), kills=1)


@pytest.mark.slow
def test_many_kills_lose_nothing_that_was_acknowledged(tmp_path):
    check_kills(tmp_path, random.Random(9), kills=6)


def check_kills(tmp_path, rng, kills):
    """Kill the writer, look at what it left, cut it back to the last shard it spoke of, let another go on."""
    run, groups = make_run(tmp_path), [one for group in played() for one in group.trajectories]
    last = -1
    for _ in range(kills):
        records, shards = acknowledged(run, rng.uniform(0.0, 0.15))
        check_metrics(run, max(records, default=last))
        check_shards(run, groups, shards)
        last = max(shards, default=last)
        cut(run.metrics, is_until(0, last))
        cut_after(run, ["nested"], 0, last)
        assert [record["step"] for record in read_lines(run.metrics)] == list(range(last + 1))
        steps = [entry["step"] for entry in read_index(run)]
        assert steps == [step for step in range(0, last + 1, 20) for _ in groups]
    assert run.holder() is None


def check_metrics(run, acknowledged_step):
    """Every record is whole, in order and once; none is missing up to the last that was acknowledged."""
    found = list(read_lines(run.metrics))
    assert [record["step"] for record in found] == list(range(len(found)))
    assert all(record["text"] == "x" * (record["step"] % 3000) for record in found)
    assert acknowledged_step + 1 <= len(found) <= acknowledged_step + 2


def check_shards(run, groups, acknowledged_steps):
    """Every shard is whole, those that were acknowledged are there with all their lines of the index."""
    there = {int(path.name[5:11]): path for path in run.trajectories.rglob("step-*.gz")}
    assert all(list(read_shard(path)) == groups for path in there.values())
    steps = [entry["step"] for entry in read_index(run)]
    assert set(acknowledged_steps) <= set(steps) <= there.keys()
    assert all(steps.count(step) == len(groups) for step in acknowledged_steps)

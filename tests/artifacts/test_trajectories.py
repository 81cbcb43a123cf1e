"""What was played comes back from the disk token for token, and each step is there once."""

from __future__ import annotations

import gzip
import json
import math
import random
import struct
import subprocess
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.artifacts.lines import read_lines
from gift_dsl.artifacts.shard import prompt_key, read_shard_lines, shard_lines
from gift_dsl.artifacts.trajectories import cut_after, index_file, read_index, read_shard, write_shard
from gift_dsl.errors import MachineError
from gift_dsl.records import Group, Sequence, Trajectory
from tests.artifacts.runs import make_run, played, with_logprobs
from tests.play.templates import codec_of

KINDS = ("shared", "fresh", "per-turn", "all-seats", "void", "text")


def trajectories_of(groups):
    return [one for group in groups for one in group.trajectories]


def lines_of(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]


@pytest.fixture
def run(tmp_path):
    return make_run(tmp_path)


def through_json(lines):
    return read_shard_lines(json.loads(json.dumps(line, allow_nan=False)) for line in lines)


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_played_comes_back_as_it_was(kind, run):
    path = write_shard(run, 1, "nested", 7, played(kind))
    assert path == run.path / "trajectories" / "nested" / "step-000007.jsonl.gz"
    assert list(read_shard(path)) == trajectories_of(played(kind))


def test_the_groups_of_these_tests_are_of_every_kind():
    sequences = {kind: [len(one.sequences) for one in trajectories_of(played(kind))] for kind in KINDS}
    assert set(sequences["shared"]) == {1}
    assert set(sequences["fresh"]) == {3}
    assert max(sequences["per-turn"]) > 3
    assert any(one.is_void for one in trajectories_of(played("void")))
    assert {one.parts[0].seat for one in trajectories_of(played("all-seats"))} == {0, 1}


def float32(value):
    return struct.unpack("f", struct.pack("f", value))[0]


def with_drawn_logprobs(kind, narrow):
    rng = random.Random(3)
    return with_logprobs(played(kind), lambda index: narrow(-(rng.expovariate(1.0) ** 3)))


@pytest.mark.parametrize("narrow", [float, float32], ids=["float64", "float32"])
def test_log_probs_come_back_to_the_last_bit(narrow, run):
    groups = with_drawn_logprobs("shared", narrow)
    assert list(read_shard(write_shard(run, 0, "nested", 0, groups))) == trajectories_of(groups)


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1) | st.lists(st.floats(allow_nan=False), min_size=1))
def test_every_log_prob_comes_back(values):
    n = len(values)
    sequence = Sequence((1, 2), tuple(range(n)), (1,) * n, tuple(values), (0,) * n, (0,) * n)
    one = Trajectory("e", "g", 0, "t", (sequence,), (), (), 1.0, 0.0)
    (again,) = through_json(shard_lines(0, "s", 0, [Group("g", "t", (one,))]))
    assert again == one


def test_log_probs_that_are_no_number_are_kept_in_strict_json():
    values = (math.nan, -math.inf, math.inf, -1.5)
    sequence = Sequence((1,), (2, 3, 4, 5), (1,) * 4, values, (0,) * 4, (0,) * 4)
    one = Trajectory("e", "g", 0, "t", (sequence,), (), (), None, 0.0)
    (again,) = through_json(shard_lines(0, "s", 0, [Group("g", "t", (one,))]))
    assert repr(again.sequences[0].logprobs) == repr(values)


SEGMENTS = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.integers(0, 1), st.integers(-1, 1)), max_size=30)


@given(st.lists(st.integers(0, 9), max_size=3), SEGMENTS)
def test_every_pattern_of_sampled_and_given_tokens_comes_back(prompt, tokens):
    ids, mask, parts, turns = zip(*tokens, strict=True) if tokens else ((),) * 4
    sequence = Sequence(tuple(prompt), ids, mask, tuple(-0.5 * own for own in mask), parts, turns)
    one = Trajectory("e", "g", 0, "t", (sequence,), (), (), 1.0, 0.0)
    (again,) = through_json(shard_lines(0, "s", 0, [Group("g", "t", (one,))]))
    assert again == one


def test_a_log_prob_on_a_token_that_was_given_is_a_bug():
    sequence = Sequence((1,), (2,), (0,), (-1.0,), (0,), (-1,))
    one = Trajectory("e", "g", 0, "t", (sequence,), (), (), 1.0, 0.0)
    with pytest.raises(ValueError, match="given has a log-prob"):
        list(shard_lines(0, "s", 0, [Group("g", "t", (one,))]))


def test_a_prompt_is_written_once_for_all_that_share_it(run):
    groups = played("fresh")
    lines = lines_of(write_shard(run, 0, "nested", 0, groups))
    sequences = [sequence for one in trajectories_of(groups) for sequence in one.sequences]
    prompts = [line for line in lines if "ids" in line]
    assert {line["prompt"]: tuple(line["ids"]) for line in prompts} == {
        prompt_key(sequence.prompt_ids): sequence.prompt_ids for sequence in sequences
    }
    assert 1 < len(prompts) == lines[0]["prompts"] < len(sequences) / 3


def test_a_person_reads_a_turn_without_gift(run):
    """zcat shows who said what, which tokens it was, what they were worth and why it failed."""
    path = write_shard(run, 0, "nested", 0, played("text"))
    text = subprocess.run(["gzip", "-dc", str(path)], capture_output=True, check=True).stdout.decode()
    line = json.loads(text.splitlines()[-1])
    turn = next(turn for turn in line["turns"] if turn["player"] == "policy")
    (sequence,) = line["sequences"]
    segment = next(segment for segment in sequence["segments"] if segment["sampled"])
    assert turn["end"] == "action"
    assert f"<answer>{turn['action']}</answer>" in turn["text"]
    assert codec_of("chatml").decode(segment["ids"]) == turn["text"]
    assert turn["span"] == [0, len(segment["ids"])]
    assert len(segment["logprobs"]) == turn["tokens"]
    assert [part["label"] for part in line["parts"]] == ["solo", "ttt", "count"]
    assert {"outcome", "reward"} < line["parts"][0].keys()


def test_the_text_of_a_prompt_is_in_its_ids(run):
    path = write_shard(run, 0, "nested", 0, played("text"))
    lines = lines_of(path)
    shown = codec_of("chatml").decode(next(line["ids"] for line in lines if "ids" in line))
    assert "Answer in <answer>." in shown


def test_equal_plays_are_equal_bytes(tmp_path):
    paths = [write_shard(make_run(tmp_path), 0, "nested", 0, played("shared")) for _ in range(2)]
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_index_finds_a_trajectory(run):
    groups = played("void") + played("shared")
    path = write_shard(run, 1, "nested", 3, groups)
    entries = list(read_index(run))
    for entry, one in zip(entries, trajectories_of(groups), strict=True):
        assert (entry["id"], entry["group"], entry["member"]) == (one.episode, one.group, one.member)
        assert (entry["stage_index"], entry["stage"], entry["step"]) == (1, "nested", 3)
        assert entry["games"] == [part.game for part in one.parts]
        assert entry["task"] == one.task
        assert entry["return"] == one.raw_return
        assert entry["outcomes"] == {part.label: part.outcome for part in one.parts}
        assert entry["tokens"] == sum(sum(sequence.mask) for sequence in one.sequences)
        assert run.trajectories / entry["shard"] == path


def test_a_run_that_has_not_played_has_an_empty_index(run):
    assert list(read_index(run)) == []


def test_a_step_is_recorded_once(run):
    write_shard(run, 0, "nested", 0, played())
    with pytest.raises(MachineError, match="step 0 of stage nested was recorded before"):
        write_shard(run, 0, "nested", 0, played())
    assert len(list(read_index(run))) == 8


# ── resume ──

STAGES = ("warmup", "nested", "nested/2")


def shards(run):
    return sorted(path.relative_to(run.trajectories).as_posix() for path in run.trajectories.rglob("*.gz"))


@pytest.mark.parametrize("last", [(0, -1), (0, 0), (0, 2), (1, -1), (1, 1), (2, 2)])
def test_what_came_after_a_checkpoint_is_gone_and_what_came_before_stays(run, last):
    cursors = [(index, step) for index in range(3) for step in range(3)]
    for index, step in cursors:
        write_shard(run, index, STAGES[index], step, played())
    before = shards(run)
    stay = [cursor for cursor in cursors if cursor <= last]
    assert cut_after(run, STAGES, *last) == len(cursors) - len(stay)
    assert [(entry["stage_index"], entry["step"]) for entry in read_index(run)] == [
        cursor for cursor in stay for _ in range(8)
    ]
    assert set(shards(run)) <= set(before)
    assert {entry["shard"] for entry in read_index(run)} == set(shards(run))
    for index, step in cursors[len(stay) :]:
        write_shard(run, index, STAGES[index], step, played())
    assert shards(run) == before
    assert cut_after(run, STAGES, 2, 2) == 0


def test_a_shard_whose_index_was_never_written_is_cut_as_well(run):
    write_shard(run, 0, "warmup", 0, played())
    write_shard(run, 0, "warmup", 1, played())
    whole = list(read_lines(index_file(run)))
    index_file(run).write_text("".join(json.dumps(line) + "\n" for line in whole[:8]) + '{"id": "torn')
    assert cut_after(run, STAGES, 0, 0) == 1
    assert shards(run) == ["warmup/step-000000.jsonl.gz"]
    assert list(read_index(run)) == whole[:8]


def test_cutting_a_run_that_has_not_played_changes_nothing(run):
    assert cut_after(run, STAGES, 0, -1) == 0


# ── damage ──


def test_a_shard_that_is_not_there_is_named(run):
    with pytest.raises(MachineError, match=r"there is no shard at .*step-000001"):
        list(read_shard(run.trajectories / "nested" / "step-000001.jsonl.gz"))


def test_any_changed_byte_is_found_or_changes_nothing(run):
    path = write_shard(run, 0, "nested", 0, played())
    whole, rng = path.read_bytes(), random.Random(5)
    for place in rng.sample(range(len(whole)), 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x40]) + whole[place + 1 :])
        try:
            found = list(read_shard(path))
        except MachineError as error:
            found, message = None, str(error)
        if found is None:
            assert "step-000000.jsonl.gz is damaged" in message
        else:
            assert found == trajectories_of(played())  # the header has bytes that say nothing


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_a_shard_that_was_cut_short_is_named(run, share):
    path = write_shard(run, 0, "nested", 0, played())
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(MachineError, match=r"step-000000\.jsonl\.gz is damaged"):
        list(read_shard(path))


def test_a_shard_of_another_version_or_with_lines_missing_is_named(run):
    path = write_shard(run, 0, "nested", 0, played())
    header, *rest = gzip.decompress(path.read_bytes()).decode().splitlines()
    other = json.dumps(json.loads(header) | {"schema": "gift-trajectory/2"})
    for lines, message in (
        ([other, *rest], "expected gift-trajectory/1, got 'gift-trajectory/2'"),
        ([header, *rest[:-1]], "8 trajectories were written and 7 are there"),
    ):
        path.write_bytes(gzip.compress("\n".join(lines).encode()))
        with pytest.raises(MachineError, match=message):
            list(read_shard(path))


def test_a_void_member_has_no_return(run):
    one = replace(trajectories_of(played())[0], outcome_return=None)
    path = write_shard(run, 0, "nested", 0, [Group("g", "t", (one,))])
    assert [again.is_void for again in read_shard(path)] == [True]
    assert [entry["return"] for entry in read_index(run)] == [None]

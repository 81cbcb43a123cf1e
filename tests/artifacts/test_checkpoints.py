"""A checkpoint counts when all of it is there as it was sealed; any other is skipped by name and in nobody's way."""

from __future__ import annotations

import errno
import json
import logging
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.artifacts import checkpoints, files
from gift_dsl.artifacts.checkpoints import SEAL, Checkpoint, Incomplete, check, latest, prune, seal
from gift_dsl.errors import MachineError

STATE = {"stage_index": 1, "step": 40, "baselines": {"spy": 0.25}, "pool": [["a", 3]]}


def fill(folder, number):
    """What a trainer leaves: files of several sizes, one of them below, one empty."""
    path = folder / f"checkpoint-{number}"
    (path / "rng").mkdir(parents=True)
    rng = random.Random(number)
    (path / "model.safetensors").write_bytes(rng.randbytes(5000))
    (path / "trainer_state.json").write_text(json.dumps({"global_step": number}))
    (path / "rng" / "0.bin").write_bytes(rng.randbytes(64))
    (path / "empty").write_bytes(b"")
    return path


def sealed(folder, *numbers):
    return [seal(fill(folder, number), STATE | {"step": number}) for number in numbers]


def names(folder):
    return sorted(int(path.name.split("-")[1]) for path in folder.iterdir())


def test_a_sealed_checkpoint_counts_and_gives_its_state_back(tmp_path):
    path = fill(tmp_path, 40)
    assert seal(path, STATE) == check(path) == Checkpoint(path, 40, STATE) == latest(tmp_path)


def test_a_seal_has_the_digest_of_every_file(tmp_path):
    path = fill(tmp_path, 1)
    seal(path, {})
    document = json.loads((path / SEAL).read_text())
    assert document["schema"] == "gift-checkpoint/1"
    assert [file["name"] for file in document["files"]] == sorted(
        ["empty", "model.safetensors", "rng/0.bin", "trainer_state.json"]
    )
    assert document["files"][0] == {
        "name": "empty",
        "bytes": 0,
        "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    }


def test_a_checkpoint_may_hold_its_state_alone(tmp_path):
    path = tmp_path / "checkpoint-3"
    path.mkdir()
    seal(path, STATE)
    assert check(path) == Checkpoint(path, 3, STATE)


def test_a_checkpoint_is_sealed_again_after_a_change(tmp_path):
    path = fill(tmp_path, 1)
    seal(path, STATE)
    (path / "empty").write_text("no longer")
    assert isinstance(check(path), Incomplete)
    seal(path, {"step": 2})
    assert check(path) == Checkpoint(path, 1, {"step": 2})


def test_a_checkpoint_without_its_seal_does_not_count(tmp_path):
    path = fill(tmp_path, 1)
    (path / f".{SEAL}.partial").write_text("{")
    assert check(path) == Incomplete(path, "it has no complete.json: whoever wrote it was interrupted")


@pytest.mark.parametrize("name", ["model.safetensors", "trainer_state.json", "rng/0.bin"])
@settings(max_examples=15)
@given(data=st.data())
def test_any_changed_byte_is_found(tmp_path_factory, name, data):
    path = fill(tmp_path_factory.mktemp("checkpoints"), 1)
    seal(path, STATE)
    whole = (path / name).read_bytes()
    place = data.draw(st.integers(0, len(whole) - 1))
    flipped = whole[place] ^ data.draw(st.integers(1, 255))
    (path / name).write_bytes(whole[:place] + bytes([flipped]) + whole[place + 1 :])
    assert check(path) == Incomplete(path, f"its file {name} has other bytes than when it was sealed")
    assert isinstance(check(path, verify=False), Checkpoint)


def test_a_missing_or_shorter_file_is_found_without_reading_the_others(tmp_path):
    path = fill(tmp_path, 1)
    seal(path, STATE)
    (path / "model.safetensors").write_bytes(b"x" * 4999)
    assert check(path, verify=False) == Incomplete(path, "its file model.safetensors has 4999 bytes, and had 5000")
    (path / "model.safetensors").unlink()
    assert check(path, verify=False) == Incomplete(path, "its file model.safetensors is missing")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "its complete.json is damaged"),
        ("[]", "its complete.json is damaged"),
        ('{"schema": "gift-checkpoint/1"}', "its complete.json is damaged"),
        ('{"schema": "gift-checkpoint/1", "state": {}, "files": {}}', "its complete.json is damaged: files: expected"),
        ('{"schema": "gift-checkpoint/1", "state": {}, "files": [{}]}', "its complete.json is damaged: files[0].name"),
        ('{"schema": "gift-checkpoint/2", "state": {}, "files": []}', "its schema is gift-checkpoint/2"),
    ],
)
def test_a_seal_that_cannot_be_read_does_not_count(tmp_path, content, reason):
    path = fill(tmp_path, 1)
    (path / SEAL).write_text(content)
    found = check(path)
    assert isinstance(found, Incomplete)
    assert found.reason.startswith(reason)


# ── the newest ──


def test_the_newest_is_that_of_the_highest_number(tmp_path):
    sealed(tmp_path, 100, 20, 9)
    assert latest(tmp_path).number == 100


def test_without_checkpoints_there_is_no_newest(tmp_path):
    assert latest(tmp_path / "none") is None
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "checkpoint-final").mkdir()
    assert latest(tmp_path) is None


def test_each_one_that_is_skipped_is_named_with_its_reason(tmp_path, caplog):
    sealed(tmp_path, 20, 40)
    fill(tmp_path, 60)
    (tmp_path / "checkpoint-40" / "empty").unlink()
    with caplog.at_level(logging.WARNING):
        assert latest(tmp_path).number == 20
    skipped = [record.getMessage() for record in caplog.records]
    assert [("checkpoint-60" in skipped[0], "was interrupted" in skipped[0])] == [(True, True)]
    assert [("checkpoint-40" in skipped[1], "file empty is missing" in skipped[1])] == [(True, True)]
    assert len(skipped) == 2


# ── a full disk ──


def test_every_byte_is_on_the_disk_before_the_seal_is(tmp_path, monkeypatch):
    path, done = fill(tmp_path, 1), []
    monkeypatch.setattr(checkpoints, "sync_file", lambda file: done.append(file.name))
    monkeypatch.setattr(checkpoints, "sync_folder", lambda folder: done.append(folder.name))
    monkeypatch.setattr(checkpoints, "write_whole", lambda file, content: done.append(file.name))
    seal(path, STATE)
    assert set(done[:4]) == {"empty", "model.safetensors", "0.bin", "trainer_state.json"}
    assert set(done[4:-1]) == {"rng", "checkpoint-1", tmp_path.name}
    assert done[-1] == SEAL


def test_a_full_disk_while_sealing_says_so_and_the_former_one_still_counts(tmp_path, monkeypatch):
    sealed(tmp_path, 20)
    path = fill(tmp_path, 40)
    real = files.os.fsync

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(MachineError, match=r"the disk is full: .*checkpoint-40/complete\.json.*free some space"):
        seal(path, STATE)
    monkeypatch.setattr(files.os, "fsync", real)
    assert isinstance(check(path), Incomplete)
    assert latest(tmp_path).number == 20


# ── pruning ──


@given(
    st.lists(st.sampled_from(["sealed", "unsealed", "corrupt", "shorter"]), max_size=6), st.integers(1, 3), st.data()
)
def test_pruning_never_takes_the_newest_complete_one_nor_anything_newer(tmp_path_factory, kinds, keep, data):
    folder = tmp_path_factory.mktemp("checkpoints")
    for number, kind in enumerate(kinds):
        path = fill(folder, number)
        if kind != "unsealed":
            seal(path, STATE)
        if kind == "corrupt":
            (path / "model.safetensors").write_bytes(bytes(5000))
        if kind == "shorter":
            (path / "model.safetensors").write_bytes(b"")
    pinned = data.draw(st.sets(st.integers(0, 5)))
    complete = [number for number, kind in enumerate(kinds) if kind == "sealed"]
    before = latest(folder)
    removed = prune(folder, keep, pinned)
    left = names(folder)
    assert latest(folder) == before
    assert sorted([*left, *(int(path.name.split("-")[1]) for path in removed)]) == list(range(len(kinds)))
    if not complete:
        assert len(left) == len(kinds)
        return
    newest = complete[-1]
    assert set(range(newest, len(kinds))) <= set(left)
    assert set(complete) & pinned <= set(left)
    # Older than it: no leftovers, and `keep` - 1 that look complete (their bytes are not read again).
    look_complete = [number for number in range(newest) if kinds[number] in ("sealed", "corrupt")]
    expected = set(look_complete[max(0, len(look_complete) - (keep - 1)) :]) | (set(look_complete) & pinned)
    assert {number for number in left if number < newest} == expected


def test_at_least_one_is_kept(tmp_path):
    with pytest.raises(ValueError, match="at least one checkpoint is kept, not 0"):
        prune(tmp_path, 0)


def test_pruning_nothing_removes_nothing(tmp_path):
    assert prune(tmp_path / "none", 1) == []


def test_a_removal_that_was_interrupted_leaves_a_leftover_and_no_checkpoint(tmp_path, monkeypatch):
    sealed(tmp_path, 20, 40)

    def interrupted(path):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoints.shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prune(tmp_path, 1)
    monkeypatch.undo()
    assert isinstance(check(tmp_path / "checkpoint-20"), Incomplete)
    assert [path.name for path in prune(tmp_path, 1)] == ["checkpoint-20"]

from __future__ import annotations

import hashlib
import time

import pytest

from gift_dsl import api, data
from gift_dsl.data import (
    fingerprint,
    fingerprint_dataset,
    fingerprint_model,
    fingerprint_shipped,
    hub_snapshot,
    is_local,
    load,
)
from gift_dsl.errors import MachineError
from gift_dsl.settings import shipped
from tests.compiler.conftest import BASE


@pytest.mark.parametrize(
    ("source", "local"), [("./data", True), ("/data", True), ("~/d", True), ("org/name", False), ("tiny", False)]
)
def test_a_source_that_starts_like_a_path_is_one(source, local):
    assert is_local(source) is local


def test_a_fingerprint_is_of_names_and_bytes(tmp_path):
    (tmp_path / "a").write_text("1")
    first = fingerprint(tmp_path)
    (tmp_path / "a").write_text("2")
    second = fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, fingerprint(tmp_path)}) == 3


def test_hidden_files_and_other_endings_are_left_out(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    first = fingerprint(tmp_path, (".json",))
    (tmp_path / ".DS_Store").write_text("x")
    (tmp_path / "notes.md").write_text("x")
    assert fingerprint(tmp_path, (".json",)) == first


def test_an_empty_folder_has_no_fingerprint(tmp_path):
    assert fingerprint(tmp_path) is None


def test_a_local_source_that_is_not_there_says_so(tmp_path):
    found = fingerprint_dataset("./nothing", None, None, tmp_path)
    assert found.sha256 is None
    assert found.reason == "./nothing does not exist or is empty"


def hub(home, kind="models", commit="abc"):
    repository = home / "hub" / f"{kind}--org--name"
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    return repository, snapshot


def test_a_hub_repository_is_found_in_the_cache_by_its_branch_or_commit(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    _, snapshot = hub(tmp_path)
    assert hub_snapshot("model", "org/name", None) == snapshot
    assert hub_snapshot("model", "org/name", "abc") == snapshot
    assert hub_snapshot("model", "org/name", "def") is None
    assert hub_snapshot("dataset", "org/name", None) is None


def test_a_blob_of_the_hub_cache_is_named_by_its_digest_and_need_not_be_read(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    repository, snapshot = hub(tmp_path)
    (repository / "blobs").mkdir()
    name = hashlib.sha256(b"weights").hexdigest()
    blob = repository / "blobs" / name
    blob.write_bytes(b"not read")
    (snapshot / "model.safetensors").symlink_to(blob)
    by_name = fingerprint_model("org/name", None, tmp_path)
    (snapshot / "model.safetensors").unlink()
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert by_name.sha256 == fingerprint_model("org/name", None, tmp_path).sha256


def test_the_shipped_word_pairs_are_part_of_a_plan():
    (plan,) = api.check_spec("-", BASE).plans()
    digest = hashlib.sha256((shipped("games") / "data" / "spy_pairs.jsonl").read_bytes()).hexdigest()
    expected = hashlib.sha256(f"data/spy_pairs.jsonl\0{digest}\n".encode()).hexdigest()
    found = plan.game("spy").data
    assert found is not None
    assert found.sha256 == expected
    assert plan.game("sums").data is None
    assert fingerprint_shipped(()) is None


def test_own_word_pairs_need_no_file():
    own = "games.spy.pairs=[{first: sun, second: moon}]"
    (plan,) = api.check_spec("-", BASE, sets=[own]).plans()
    assert plan.game("spy").data is None


@pytest.mark.parametrize("source", ["/proc", "/usr", "/dev", "/proc/self/mem"])
def test_a_source_that_is_no_dataset_is_answered_soon_and_without_a_crash(source, tmp_path):
    before = time.process_time()
    found = fingerprint_dataset(source, None, None, tmp_path)
    assert found.sha256 is None or source == "/proc/self/mem"
    assert time.process_time() - before < 5


def test_a_folder_of_everything_is_no_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(data, "MAX_FILES", 10)
    for number in range(10):
        (tmp_path / f"{number}.jsonl").write_text("{}")
    assert fingerprint_dataset(str(tmp_path), None, None, tmp_path).sha256 is not None
    (tmp_path / "x").mkdir()
    assert "holds more than 10 files" in str(fingerprint_dataset(str(tmp_path), None, None, tmp_path).reason)


def test_only_what_a_reader_opens_is_part_of_a_fingerprint(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "train.jsonl").write_text("{}")
    before = [
        fingerprint_dataset(str(tmp_path), None, None, tmp_path),
        fingerprint_model(str(tmp_path), None, tmp_path),
    ]
    (tmp_path / "movie.mp4").write_text("x")
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "log.out").write_text("x")
    after = [fingerprint_dataset(str(tmp_path), None, None, tmp_path), fingerprint_model(str(tmp_path), None, tmp_path)]
    assert after == before


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    found = fingerprint_dataset("./" + "x" * 300, None, None, tmp_path)
    assert found.sha256 is None
    assert "File name too long" in str(found.reason)
    assert "xxx" in str(found.reason)


@pytest.mark.parametrize(("name", "text"), [("a.jsonl", ""), ("a.jsonl", "\n"), ("a.csv", ""), ("a.json", "[]")])
def test_a_file_without_rows_says_so(tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(
        MachineError, match=rf"split `train` of the dataset \./{name} cannot be loaded: it holds no rows"
    ):
        load(f"./{name}", None, None, "train", tmp_path)


@pytest.mark.parametrize("folder", [False, True])
def test_a_line_that_is_no_json_is_told_once(tmp_path, caplog, capfd, folder):
    path = tmp_path / "rows" / "train.jsonl"
    path.parent.mkdir()
    path.write_text('{"question": "1 + 1?"}\n{"question": "1 + 2\n')
    source = "./rows" if folder else "./rows/train.jsonl"
    with pytest.raises(MachineError, match=r"An error occurred .*: JSON parse error: .* in row 1"):
        load(source, None, None, "train", tmp_path)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")

"""What benchmarks are asked on: which rows count, what stands beside the score, and what is asked again."""

from __future__ import annotations

import json
import shutil

import pytest

from gift_dsl.errors import MachineError
from gift_dsl.evaluate.items import SOURCES, find_items, load_items, read_split
from tests.evaluate.test_benchmarks import NAMES, evaluate, request
from tests.evaluate.words import Saying, solve, write_rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_without_an_item_is_refused_where_it_is_read(name, tmp_path):
    path = tmp_path / f"{SOURCES[name].splits[0]}.jsonl"
    path.write_text("\n")
    with pytest.raises(MachineError, match=f"benchmark `{name}`: nothing to ask in {path}: no rows; expected"):
        load_items(name, tmp_path)


def test_sentences_without_references_are_refused_where_they_are_read(tmp_path):
    row = {"concept_set": ["cat_N"], "human_annotations": []}
    (tmp_path / "test.jsonl").write_text(2 * (json.dumps(row) + "\n"))
    with pytest.raises(MachineError, match=r"`commongen`: nothing to ask in .*: 2 rows, none with references"):
        load_items("commongen", tmp_path)


def test_a_task_of_lm_eval_with_an_empty_file_is_refused(tmp_path):
    (tmp_path / "test.jsonl").write_text("")
    with pytest.raises(MachineError, match=r"the lm-eval task `gsm8k`: no rows in .*test\.jsonl"):
        read_split("gsm8k", tmp_path, "main", "test")


def test_of_several_splits_in_a_folder_the_one_to_train_on_is_asked_last(rows, tmp_path):
    names = ("train.jsonl", "dev.jsonl", "test.jsonl", "commongen_hard.jsonl")
    for name in names:
        references = [{"ref": name}]
        (tmp_path / name).write_text(json.dumps({"concept_set": ["cat_N"], "human_annotations": references}) + "\n")
    for name in reversed(names):
        found = find_items("commongen", tmp_path)
        assert ([item.references for item in found.items], f"{found.split}.jsonl") == ([(name,)], name)
        (tmp_path / name).unlink()


@pytest.mark.parametrize("name", ["math500", "mmlu", "mmlu_pro", "social_iqa"])
def test_rows_to_train_on_are_never_asked_beside_others_or_alone(name, rows, tmp_path):
    shutil.copytree(rows / name, tmp_path, dirs_exist_ok=True)
    [path] = tmp_path.iterdir()
    shutil.copy(path, tmp_path / "train.jsonl")
    assert find_items(name, tmp_path).split == path.stem
    path.unlink()
    with pytest.raises(MachineError, match=r"no rows in .*; found train\.jsonl"):
        find_items(name, tmp_path)


def test_the_split_or_the_file_stands_beside_the_score(rows):
    asked = (
        {"type": "mmlu", "data_dir": "mmlu"},
        {"type": "social_iqa", "data_dir": "social_iqa/validation.jsonl"},
    )
    result = evaluate(Saying(solve), request(rows, benchmarks=asked))
    assert result.protocols["mmlu"]["split"] == "test"
    assert result.protocols["social_iqa"]["split"] == "validation.jsonl"

"""What benchmarks are asked on: which rows count, what stands beside the score, and what is asked again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from gift_dsl.errors import MachineError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest
from gift_dsl.evaluate.items import SOURCES, find_items, load_items, read_split
from gift_dsl.evaluate.judge import Said
from gift_dsl.run.asked import limited, named_benchmarks
from gift_dsl.seat import PlayerFault
from tests.evaluate.test_benchmarks import NAMES, Always, evaluate, request
from tests.evaluate.words import Saying, make_engine, solve, write_rows


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


def write_questions(folder, question="Which bone is number {}?", first=0):
    """Rows of `mmlu_anatomy`, and of its examples."""
    for split in ("test", "dev"):
        path = folder / "anatomy" / f"{split}.jsonl"
        path.parent.mkdir(exist_ok=True)
        rows = [
            {"question": question.format(n), "choices": ["one", "two", "three", "four"], "answer": (n + first) % 4}
            for n in range(3)
        ]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_other_rows_of_a_task_of_lm_eval_are_asked_and_the_same_are_not(tmp_path):
    def ask(shots):
        benchmark = {"type": "lm_eval", "task": "mmlu_anatomy", "data_dir": str(tmp_path), "num_fewshot": shots}
        heard = []
        asked = BenchmarksRequest((benchmark,), seed=1, output=tmp_path / "out")
        result = evaluate(engine, asked, heard.append)
        return result.protocols[f"lm_eval/mmlu_anatomy@{shots}"], any(one.step == "answers" for one in heard)

    engine = make_engine()
    write_questions(tmp_path)
    first, _ = ask(0)
    assert ask(0) == (first, False)
    write_questions(tmp_path, first=1)
    other, was_asked = ask(0)
    assert was_asked
    assert first["items"] != other["items"]
    assert {**first, "items": None} == {**other, "items": None}
    before, _ = ask(1)
    path = tmp_path / "anatomy" / "dev.jsonl"
    path.write_text("".join(reversed(path.read_text().splitlines(keepends=True))))
    after, was_asked = ask(1)
    assert was_asked
    assert before["items"] != after["items"]
    assert ask(0) == (other, False), "no example is shown"


def test_tokens_temperature_and_wording_stand_beside_a_generative_task_of_lm_eval(tmp_path):
    row = {"question": "What is 2 + 1?", "answer": "2 + 1 = 3\n#### 3"}
    for split in ("train", "test"):
        (tmp_path / f"{split}.jsonl").write_text(json.dumps(row) + "\n")

    def protocol(task):
        benchmark = {"type": "lm_eval", "task": task, "data_dir": str(tmp_path), "num_fewshot": 1}
        asked = BenchmarksRequest((benchmark,), seed=1)
        return evaluate(Saying(lambda text: "#### 3"), asked).protocols[f"lm_eval/{task}@1"]

    first, other = protocol("gsm8k"), protocol("gsm8k_cot_zeroshot")
    assert (first["max_tokens"], first["temperature"], first["shots"]) == (256, 0.0, 1)
    assert first["template_hash"] != other["template_hash"]


class Failing:
    """A chat that knows the answers, and gives none to those that say a word."""

    name, waits = "failing", True

    def __init__(self):
        self.word, self.asked = None, []

    async def act(self, turn, rng):
        said = turn.messages[-1].content
        self.asked.append(said)
        if self.word is not None and self.word in said:
            raise PlayerFault(self.name, "no answer")
        return solve(said)


def test_the_same_command_asks_only_what_stayed_without_an_answer(rows, tmp_path):
    asked, player = request(rows, ("mmlu",), output=tmp_path), Failing()
    player.word = "2 + 1"
    first = evaluate(player, asked)
    assert first.counts["mmlu"]["none"]["void"] == 1
    assert first.results["mmlu"]["acc,none"] == 1.0
    player.asked.clear()
    player.word = None
    again = evaluate(player, asked)
    assert [("2 + 1" in said) for said in player.asked] == [True]
    assert again.counts["mmlu"]["none"] == {"correct": 9, "truncated": 0}
    player.asked.clear()
    assert evaluate(player, asked).counts == again.counts
    assert player.asked == []


def test_a_task_of_lm_eval_asks_only_what_stayed_without_an_answer(tmp_path):
    for split in ("train", "test"):
        lines = [json.dumps({"question": f"What is {n} + 1?", "answer": f"#### {n + 1}"}) for n in (1, 2, 3)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines) + "\n")
    benchmark = {"type": "lm_eval", "task": "gsm8k", "data_dir": str(tmp_path), "num_fewshot": 0}
    asked, player = BenchmarksRequest((benchmark,), seed=1, output=tmp_path / "out"), Failing()
    player.word = "2 + 1"
    evaluate(player, asked)
    player.asked.clear()
    player.word = None
    evaluate(player, asked)
    assert [("2 + 1" in said) for said in player.asked] == [True]
    player.asked.clear()
    evaluate(player, asked)
    assert player.asked == []


class Undecided(Always):
    """A judge that has no verdict on one word."""

    word = "word7"

    async def compare(self, concepts, first, second, key):
        said = await super().compare(concepts, first, second, key)
        return Said("hm", None) if self.word is not None and self.word in first + second else said


def test_the_same_command_judges_what_stayed_without_a_verdict_and_asks_the_model_nothing(tmp_path):
    lines = [json.dumps({"concept_set": f"word{n}_N", "scene": [f"A word{n}."]}) for n in range(10)]
    (tmp_path / "test.jsonl").write_text("\n".join(lines) + "\n")
    benchmark, judge = {"type": "commongen", "data_dir": str(tmp_path), "judge": "j"}, Undecided("tie")
    asked, policy = BenchmarksRequest((benchmark,), seed=1, output=tmp_path / "out", judges={"j": judge}), Saying(solve)
    assert evaluate(policy, asked).counts["commongen"]["none"]["unjudged"] == 1
    judge.word = None
    policy.asked.clear()
    assert evaluate(policy, asked).results["commongen"]["win_tie,none"] == 1.0
    assert evaluate(policy, asked).counts["commongen"]["none"] == {"tie": 10, "truncated": 0}
    assert policy.asked == []


def test_another_chat_template_is_another_evaluation(rows, tmp_path):
    asked, policy = request(rows, ("mmlu",), output=tmp_path), Saying(solve)
    evaluate(policy, asked)
    policy.asked.clear()
    evaluate(policy, asked)
    assert policy.asked == []
    render = policy.codec.render
    policy.codec.render = lambda messages, *, open_turn: (
        *policy.codec.encode("Hear:"),
        *render(messages, open_turn=open_turn),
    )
    evaluate(policy, asked)
    assert len(policy.asked) == 9


def test_a_folder_of_rows_is_that_of_the_benchmark_or_of_the_group_of_a_task(tmp_path):
    def place(name):
        [found] = limited(named_benchmarks(plan, [name]), None, tmp_path)
        return Path(found["data_dir"])

    plan = SimpleNamespace(evaluation=SimpleNamespace(benchmarks=()))
    assert place("lm_eval/mmlu_anatomy") == tmp_path
    (tmp_path / "mmlu").mkdir()
    assert place("lm_eval/mmlu_high_school_biology@5") == tmp_path / "mmlu"
    assert place("mmlu") == tmp_path / "mmlu"
    assert place("mmlu_pro") == tmp_path, "ours are never asked on the rows of another"
    (tmp_path / "mmlu_anatomy").mkdir()
    assert place("lm_eval/mmlu_anatomy") == tmp_path / "mmlu_anatomy"


def test_a_message_says_which_folders_are_looked_in(tmp_path):
    with pytest.raises(MachineError, match="with --data also in a folder `mmlu_pro`"):
        load_items("mmlu_pro", tmp_path)
    with pytest.raises(MachineError, match="looks in DIR/mmlu_anatomy"):
        read_split("mmlu_anatomy", tmp_path, "anatomy", "test")

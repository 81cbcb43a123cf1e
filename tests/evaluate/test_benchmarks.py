from __future__ import annotations

import asyncio
import csv
import json
import shutil
from dataclasses import replace

import pytest
import torch

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, Progress, evaluate_benchmarks, request_of_plan
from gift_dsl.evaluate.items import SOURCES, Item, load_items, read_split
from gift_dsl.evaluate.judge import Said, StandInJudge
from gift_dsl.evaluate.own import Grader, read_choice, render_item, shipped_prompts
from gift_dsl.evaluate.subject import Answer, PolicySubject
from gift_dsl.evaluate.summary import average_of, interval_of, plain, standard_error, summarise
from gift_dsl.plan import EvaluationPlan
from gift_dsl.players.chat import ChatSettings
from gift_dsl.players.network import Network
from gift_dsl.players.openai import Endpoint, OpenAIPlayer
from gift_dsl.players.usage import Budget
from gift_dsl.stats import wilson
from tests.evaluate.words import Saying, answer, make_engine, solve, write_rows
from tests.players.server import FaultServer, completion, in_order

NAMES = ("math500", "mmlu", "mmlu_pro", "social_iqa", "commongen")

# Golds of the shapes that MATH-500 has, in about its mix: of 100 the paper's parser reads 10 as nothing and 12 as
# something else; these are the shapes that the reference names, each as often as its kind occurs there.
READ_AS_NOTHING = (r"p - q", r"\text{Evelyn}", r"\frac43", r"x + 2", r"\text{even}")
READ_AS_PART = (r"2\sqrt{3}", r"\left( 3, \frac{\pi}{2} \right)", r"6 - 5i", r"3\sqrt{13}", r"5x + 1", r"2\pi")
READ_RIGHT = ("9", "42", "-2", "1251", "0.35", "10", "72", "3", "70", "17")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


class Always:
    """A judge that always says the same."""

    is_model = True

    def __init__(self, choice, name="always"):
        self.choice, self.name, self.asked = choice, name, []

    async def compare(self, concepts, first, second, key):
        self.asked.append((first, second))
        return Said(self.choice, self.choice)


def request(rows, names=NAMES, **changes):
    benchmarks = tuple(
        {"type": name, "data_dir": name} | ({"judge": "j"} if name == "commongen" else {}) for name in names
    )
    fields = {"benchmarks": benchmarks, "seed": 1, "folder": rows, "judges": {"j": Always("tie")}}
    return BenchmarksRequest(**{**fields, **changes})


def evaluate(subject, asked, on_progress=lambda progress: None):
    return asyncio.run(evaluate_benchmarks(subject, asked, on_progress))


def grade(name, items, texts, scorings=("none", "gift_v1"), **more):
    grader = Grader(name, items, scorings, **more)
    found = asyncio.run(grader.grade([{"index": index} for index in range(len(items))], list(map(Answer, texts))))
    return {scoring: [one["score"] for one in graded] for scoring, graded in found.items()}


def grade_one(name, item, text):
    return {scoring: scores[0] for scoring, scores in grade(name, [item], [text]).items()}


def test_all_five_run_offline_with_a_real_model_and_give_one_result(rows, tmp_path):
    torch.set_num_threads(1)
    engine = make_engine()
    engine.model.train()
    benchmarks = tuple(one | {"limit": 2} for one in request(rows).benchmarks)
    result = evaluate(engine, request(rows, benchmarks=benchmarks, output=tmp_path, max_tokens=8))
    assert set(result.results) == set(NAMES)
    assert all(result.n_samples[name]["effective"] == 2 for name in NAMES)
    assert all(sum(n for key, n in result.counts[name]["none"].items() if key != "truncated") == 2 for name in NAMES)
    assert result.groups["avg"]["avg,none"] == 0.0
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == result.to_json()
    assert engine.model.training


def test_who_knows_the_answers_gets_every_point_in_both_scorings(rows):
    result = evaluate(Saying(solve), request(rows, scorings=("none", "gift_v1")))
    for name in NAMES:
        metric = "win_tie" if name == "commongen" else "acc"
        assert result.results[name][f"{metric},none"] == result.results[name][f"{metric},gift_v1"] == 1.0
    assert result.groups["avg"] == {
        "alias": "avg",
        "avg,none": 1.0,
        "avg_stderr,none": 0.0,
        "avg,gift_v1": 1.0,
        "avg_stderr,gift_v1": 0.0,
    }


def test_the_protocol_stands_beside_every_score(rows):
    result = evaluate(Saying(solve), request(rows, temperature=0.3, thinking="strip", system="Be brief."))
    for name in NAMES:
        protocol = result.protocols[name]
        assert (protocol["shots"], protocol["temperature"], protocol["max_tokens"]) == (0, 0.3, 600)
        assert (protocol["thinking"], protocol["scorings"]) == ("strip", ["none"])
        assert protocol["template_hash"] == shipped_prompts("Be brief.", 600).hash
    assert result.protocols["commongen"]["judge"] == "always"
    assert result.more["commongen"] == {"judge": "always", "consistency": 1.0}


def test_golds_as_answers_are_all_right_with_ours_and_about_78_percent_with_the_papers_scorer():
    golds = [READ_AS_NOTHING[n % 5] for n in range(10)] + [READ_AS_PART[n % 6] for n in range(12)]
    golds += [READ_RIGHT[n % 10] for n in range(78)]
    items = [Item("?", gold) for gold in golds]
    scores = grade("math500", items, [answer(f"${gold}$") for gold in golds])
    assert sum(scores["none"]) == 100
    assert 76 <= sum(scores["gift_v1"]) <= 80
    assert set(scores["gift_v1"][:10]) == {0.0}


@pytest.mark.parametrize("form", ["{}", "${}$", r"\({}\)", r"\boxed{{{}}}", "The answer is ${}$."])
def test_a_gold_answer_is_right_in_any_of_the_usual_forms(form):
    golds = [*READ_AS_NOTHING, *READ_AS_PART, *READ_RIGHT]
    items = [Item("?", gold) for gold in golds]
    assert grade("math500", items, [answer(form.format(gold)) for gold in golds], ("none",))["none"] == [1.0] * len(
        golds
    )


def test_a_part_of_the_gold_answer_is_right_only_with_the_papers_scorer():
    assert grade_one("math500", Item("?", r"2\sqrt{3}"), answer("2")) == {"none": 0.0, "gift_v1": 1.0}


@pytest.mark.slow
def test_a_comparison_that_never_ends_is_wrong_and_holds_nothing_up():
    items = [Item("?", "10^{10^{10}}"), Item("?", "4")]
    scores = grade("math500", items, [answer("$10^{10^{10}}+1$"), answer("4")])
    assert scores == {"none": [0.0, 1.0], "gift_v1": [0.0, 1.0]}


@pytest.mark.parametrize(
    ("said", "ours", "theirs"),
    [
        ("B", 1, 1),
        ("B.", 1, 1),
        (" b ", 1, 0),
        ("(B)", 1, 0),
        ("B)", 1, 0),
        ("**B**", 1, 0),
        ("B: 4", 1, 0),
        ("B. 4", 1, 1),
        ("B. 5", 0, 1),
        (r"\boxed{B}", 1, 0),
        ("$B$", 1, 0),
        ("Option B", 0, 1),
        ("A cat is B.", 0, 0),
        ("A or B", 0, 0),
        ("C", 0, 0),
        ("E", 0, 0),
        ("four", 0, 0),
    ],
)
def test_harmless_ways_to_write_a_letter_count(said, ours, theirs):
    item = Item("Which is 2 + 2?", "B", ("3", "4", "5", "6"))
    assert grade_one("mmlu", item, answer(said)) == {"none": ours, "gift_v1": theirs}


@pytest.mark.parametrize(
    ("text", "ours", "theirs"),
    [
        ("<answer>B</answer>", 1, 1),
        ("I think. <answer>B</answer>", 1, 1),
        ("<answer>B</answer> And so on", 0, 1),
        ("<answer>A</answer> no, <answer>B</answer>", 0, 1),
        ("B", 0, 0),
        ("<think><answer>A</answer></think> <answer>B</answer>", 1, 1),
    ],
)
def test_an_answer_outside_its_element_is_bad_format(text, ours, theirs):
    item = Item("Which is 2 + 2?", "B", ("3", "4", "5", "6"))
    assert grade_one("mmlu", item, text) == {"none": ours, "gift_v1": theirs}


def test_a_letter_that_is_no_choice_is_unreadable_and_not_wrong():
    item = Item("?", "B", ("x", "y", "z"))
    grader = Grader("social_iqa", [item], ("none",))
    found = asyncio.run(grader.grade([{"index": 0}] * 3, [Answer(answer("D")), Answer(answer("A")), Answer("D")]))
    assert [one["outcome"] for one in found["none"]] == ["unreadable", "wrong", "bad_format"]


def test_what_stayed_unanswered_has_no_score_and_widens_the_interval():
    item = Item("?", "B", ("x", "y"))
    grader = Grader("mmlu", [item], ("none", "gift_v1"))
    found = asyncio.run(grader.grade([{"index": 0}], [Answer("", fault="no answer")]))
    assert [found[scoring][0]["outcome"] for scoring in found] == ["void", "void"]
    assert found["none"][0]["score"] is None
    low, high = interval_of([1.0] * 8, num_void=2)
    assert (low, high) == (wilson(8, 10)[0], wilson(10, 10)[1])


def test_an_item_is_asked_as_in_training():
    system, user = render_item("mmlu", Item("Which?", "A", ("x", "y")), shipped_prompts(None, 600))
    assert system.role == "system"
    assert user.content.startswith("Which?\nA. x\nB. y\n")
    assert "<think>your reasoning</think> <answer>your answer</answer>" in user.content
    assert "600 tokens" in user.content


def test_an_interval_of_scores_between_0_and_1_is_about_the_normal_one():
    low, high = interval_of([0.5] * 50 + [1.0] * 50)
    assert (low, high) == (pytest.approx(0.75 - 1.96 * 0.0251, abs=5e-3), pytest.approx(0.75 + 1.96 * 0.0251, abs=5e-3))


def test_scores_that_are_all_alike_have_no_interval_of_width_0():
    """A judge that always says A gives each item a half in both orders; that is no knowledge of other items."""
    low, high = interval_of([0.5] * 40)
    assert (low, high) == pytest.approx(wilson(20, 40), abs=6e-3)
    assert interval_of([0.5] * 40, num_void=10)[0] < low


def test_a_single_item_has_no_spread():
    assert standard_error([1.0]) == 0.0
    assert standard_error([0.0, 1.0]) == pytest.approx(0.5)


def four(values, ends):
    """Scores and intervals of the four that are averaged."""
    names = dict(zip(("mmlu", "mmlu_pro", "social_iqa", "commongen"), values, strict=True))
    column = {name: "win_tie" if name == "commongen" else "acc" for name in names}
    results = {name: {f"{column[name]},none": one, f"{column[name]}_stderr,none": 0.02} for name, one in names.items()}
    return results, {name: {f"{column[name]},none": ends} for name, ends in zip(names, ends, strict=True)}


def test_the_average_weighs_the_four_alike_whatever_their_sizes():
    values = (0.5, 0.2, 0.7, 1.0)
    results, intervals = four(values, [(value - 0.04, min(1.0, value + 0.04)) for value in values])
    average, ends = average_of(results, intervals, {})
    assert average["avg,none"] == pytest.approx(0.6)
    assert average["avg_stderr,none"] == pytest.approx(0.02 * 4**0.5 / 4)
    assert ends["avg,none"] == pytest.approx([0.6 - 0.04 * 4**0.5 / 4, 0.6 + 0.04 * 3**0.5 / 4])
    assert average_of({name: one for name, one in results.items() if name != "mmlu"}, intervals, {}) == ({}, {})


def test_an_average_of_scores_without_spread_is_no_point():
    _, ends = average_of(*four((1.0, 1.0, 1.0, 0.5), [interval_of([1.0] * 20)] * 3 + [interval_of([0.5] * 20)]), {})
    assert ends["avg,none"][0] < 0.875 - 0.05
    assert ends["avg,none"][1] > 0.875 + 0.04


def test_an_average_may_be_anything_that_its_unanswered_items_leave_open():
    known, void = [1.0, 0.0] * 400, 200
    results, intervals = four((0.5,) * 4, [interval_of(known, void)] * 4)
    counts = {
        name: {"none": {"correct": 400, "wrong": 400, "void": 150, "unjudged": 50, "truncated": 7}} for name in results
    }
    _, ends = average_of(results, intervals, counts)
    low, high = interval_of(known, void)
    assert low < ends["avg,none"][0] < 0.4, "if all that is missing were wrong"
    assert 0.6 < ends["avg,none"][1] < high, "if all of it were right"


def test_a_stand_in_for_the_judge_is_never_called_commongen(rows):
    result = evaluate(Saying(solve), request(rows, judges={"j": StandInJudge()}))
    assert "commongen" not in result.results
    assert "commongen_stand_in" in result.results
    assert "avg" not in result.groups
    assert result.protocols["commongen_stand_in"]["judge"].startswith("offline stand-in")


def test_commongen_takes_the_instruction_of_its_rows_where_there_is_one(tmp_path):
    row = {"concept_set": ["dog_N"], "instruction": "Write about a dog.", "human_annotations": [{"ref": "A dog."}]}
    none = {"concept_set": ["cat_N"], "instruction": "", "human_annotations": []}
    (tmp_path / "commongen_hard.json").write_text(json.dumps([row, none]))
    [item] = load_items("commongen", tmp_path)
    assert render_item("commongen", item, shipped_prompts(None, 600))[1].content.startswith("Write about a dog.\n")


def test_finished_benchmarks_are_taken_up_again_and_others_are_not(rows, tmp_path):
    asked = request(rows, ("mmlu", "social_iqa"), output=tmp_path)
    first = evaluate(Saying(solve), asked)
    silent = Saying(lambda text: 1 / 0)
    heard = []
    again = evaluate(silent, asked, heard.append)
    assert silent.asked == []
    assert replace(again, duration_s=0) == replace(first, duration_s=0)
    assert [one.step for one in heard] == ["finished", "finished"]
    wrong = Saying(lambda text: answer("Z"))
    other = evaluate(wrong, replace_request(asked, subject_id="other weights"))
    assert len(wrong.asked) == 18
    assert other.results["mmlu"]["acc,none"] == 0.0


def replace_request(asked, **changes):
    fields = ("benchmarks", "seed", "folder", "judges", "output")
    return BenchmarksRequest(**{name: getattr(asked, name) for name in fields} | changes)


def test_samples_are_kept_with_prompt_completion_and_verdict(rows, tmp_path):
    evaluate(Saying(solve), request(rows, ("mmlu",), output=tmp_path))
    samples = [json.loads(line) for line in (tmp_path / "samples_mmlu.jsonl").read_text().splitlines()]
    assert len(samples) == 9
    assert "Which is 2 + 1?" in samples[0]["arguments"][0][0]
    assert samples[0]["resps"] == [[answer("D")]]
    assert samples[0]["filtered_resps"][0]["outcome"] == "correct"


def test_progress_is_heard(rows):
    heard = []
    evaluate(Saying(solve), request(rows, ("commongen",)), heard.append)
    assert Progress("commongen", 3, 3, "answers") in heard
    assert Progress("commongen", 3, 3, "judge") in heard
    assert heard[-1] == Progress("commongen", 1, 1, "finished")


def test_a_model_behind_an_endpoint_is_evaluated_with_the_sampling_asked_for(rows):
    async def main():
        reply = lambda body: solve(body["messages"][-1]["content"])  # noqa: E731
        async with FaultServer(in_order("http_500", "malformed"), reply) as server, Network() as network:
            player = OpenAIPlayer("m", ChatSettings("m", 1.0, 1.0, 9), Endpoint(server.url), network, Budget())
            result = await evaluate_benchmarks(player, request(rows, ("mmlu", "math500"), temperature=0.25))
            return result, server.asked

    result, asked = asyncio.run(main())
    assert result.results["mmlu"]["acc,none"] == result.results["math500"]["acc,none"] == 1.0
    assert {(one.body["temperature"], one.body["max_tokens"]) for one in asked} == {(0.25, 600)}
    assert len(asked) == 20


def test_an_endpoint_that_runs_out_of_tokens_is_wrong_and_not_unanswered(rows):
    async def main():
        cut = completion("<think>so long", finish_reason="length")
        done = completion("<think>so</think>", finish_reason="stop")
        reply = lambda body: solve(body["messages"][-1]["content"])  # noqa: E731
        choose = in_order((200, {}, cut), (200, {}, cut), (200, {}, done))
        async with FaultServer(choose, reply) as server, Network() as network:
            player = OpenAIPlayer("m", ChatSettings("m", 1.0, 1.0, 9), Endpoint(server.url), network, Budget())
            return await evaluate_benchmarks(player, request(rows, ("mmlu",))), len(server.asked)

    result, num_asked = asyncio.run(main())
    items = result.n_samples["mmlu"]["effective"]
    assert num_asked == items
    assert result.results["mmlu"]["acc,none"] == pytest.approx((items - 3) / items)
    assert result.counts["mmlu"]["none"] == {"bad_format": 3, "correct": items - 3, "truncated": 2}


def test_rows_in_any_of_their_usual_shapes_are_the_same_items(rows, tmp_path):
    items = {name: load_items(name, rows / name) for name in ("mmlu", "social_iqa")}
    header = ["question", "choice0", "choice1", "choice2", "choice3", "answer"]
    table = [[item.question, *item.choices, "ABCD".index(item.gold)] for item in items["mmlu"]]
    for name, first, last in (("header", [header], lambda row: row[-1]), ("bare", [], lambda row: "ABCD"[row[-1]])):
        path = tmp_path / name / "test" / "arithmetic_test.csv"
        path.parent.mkdir(parents=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([*first, *([*row[:-1], last(row)] for row in table)])
        assert load_items("mmlu", tmp_path / name) == items["mmlu"]
    social = [json.loads(line) for line in (rows / "social_iqa" / "validation.jsonl").read_text().splitlines()]
    labels = [row.pop("label") for row in social]
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in social))
    (tmp_path / "dev-labels.lst").write_text("\n".join(labels) + "\n")
    assert load_items("social_iqa", tmp_path) == items["social_iqa"]


def test_parquet_files_in_the_hubs_layout_are_read(rows, tmp_path):
    pandas = pytest.importorskip("pandas")
    table = [json.loads(line) for line in (rows / "mmlu" / "test.jsonl").read_text().splitlines()]
    (tmp_path / "all").mkdir()
    pandas.DataFrame(table).to_parquet(tmp_path / "all" / "test-00000-of-00001.parquet")
    assert load_items("mmlu", tmp_path) == load_items("mmlu", rows / "mmlu")


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_without_rows_is_refused_with_what_was_expected_and_found(name, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(MachineError) as caught:
        load_items(name, tmp_path)
    message = str(caught.value)
    assert f"benchmark `{name}`" in message
    assert f"expected `{SOURCES[name].splits[0]}.jsonl`" in message
    assert message.endswith("found notes.txt")
    with pytest.raises(MachineError, match="does not exist"):
        load_items(name, tmp_path / "nowhere")


@pytest.mark.parametrize("name", NAMES)
def test_rows_with_other_columns_are_refused_with_what_was_expected_and_found(name, tmp_path):
    split = SOURCES[name].splits[0]
    (tmp_path / f"{split}.jsonl").write_text('{"text": "hello", "target": 3}\n')
    with pytest.raises(MachineError) as caught:
        load_items(name, tmp_path)
    assert "row 1 of" in str(caught.value)
    assert f"expected {SOURCES[name].columns}" in str(caught.value)
    assert str(caught.value).endswith("found `text`, `target`")


@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("math500", {"problem": "?", "answer": ""}),
        ("mmlu", {"question": "?", "choices": ["a", "b"], "answer": 7}),
        ("mmlu", {"question": "?", "choices": "ab", "answer": 0}),
        ("mmlu_pro", {"question": "?", "options": ["a", 3], "answer": "A"}),
        ("social_iqa", {"context": "c", "question": "q", "answerA": "", "answerB": "b", "answerC": "c", "label": "1"}),
        ("commongen", {"concept_set": 4, "scene": []}),
    ],
)
def test_rows_with_values_of_another_kind_are_refused(name, row, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(MachineError, match=f"benchmark `{name}`: row 1 of .*: expected .*; found"):
        load_items(name, path)


def test_a_file_that_is_not_what_its_name_says_is_refused(tmp_path):
    for name in ("test.jsonl", "test.json"):
        path = tmp_path / name
        path.write_text("{not json")
        with pytest.raises(MachineError, match="cannot be read"):
            load_items("mmlu", path)


def test_labels_that_do_not_fit_their_rows_are_refused(rows, tmp_path):
    shutil.copy(rows / "social_iqa" / "validation.jsonl", tmp_path / "dev.jsonl")
    (tmp_path / "dev-labels.lst").write_text("1\n2\n")
    with pytest.raises(MachineError, match="has 2 labels for the 9 rows"):
        load_items("social_iqa", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_network_a_missing_dataset_is_refused_at_once(name, monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(MachineError, match=rf"{SOURCES[name].hub} is not on this machine.*HF_HUB_OFFLINE.*`data_dir`"):
        load_items(name, None)


def test_a_dataset_in_the_hubs_cache_is_read_without_a_network(rows, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    repository = tmp_path / "hub" / "datasets--HuggingFaceH4--MATH-500"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    shutil.copytree(rows / "math500", repository / "snapshots" / "abc")
    assert load_items("math500", None) == load_items("math500", rows / "math500")


def test_everything_wrong_with_a_request_is_found_before_anything_is_asked(rows):
    policy = Saying(solve)
    with pytest.raises(UsageError, match="there is no benchmark `mmlu2`"):
        evaluate(policy, request(rows, benchmarks=({"type": "mmlu", "data_dir": "mmlu"}, {"type": "mmlu2"})))
    with pytest.raises(UsageError, match="the judge `j` is not given"):
        evaluate(policy, request(rows, judges={}))
    with pytest.raises(UsageError, match="`mmlu` is asked for twice"):
        evaluate(policy, request(rows, ("mmlu", "mmlu")))
    assert policy.asked == []


def test_a_letter_with_the_text_of_another_choice_is_no_answer():
    item = Item("?", "B", ("cats", "dogs"))
    assert read_choice("B. dogs", item) == "B"
    assert read_choice("b) Dogs.", item) == "B"
    assert read_choice("B. cats", item) is None
    assert read_choice("Z. dogs", item) is None


def test_a_group_of_lm_eval_has_the_interval_of_its_items_where_it_is_their_mean():
    def sample(value):
        return {"metrics": ["acc"], "filter": "none", "acc": value, "filtered_resps": [0], "resps": []}

    found = {
        "results": {
            "g": {"acc,none": 0.75},
            "inner": {"acc,none": 0.5},
            "a": {"acc,none": 1.0},
            "b": {"acc,none": 0.5},
        },
        "groups": {"g": {"acc,none": 0.75}, "inner": {"acc,none": 0.9}},
        "group_subtasks": {"g": ["inner", "a"], "inner": ["b"], "a": [], "b": []},
        "samples": {"a": [sample(1.0)] * 2, "b": [sample(1.0), sample(0.0)]},
        **{name: {} for name in ("n-samples", "n-shot", "versions", "configs", "higher_is_better")},
    }
    kept = summarise(found, {"shots": 5}, lambda name: f"lm_eval/{name}")
    assert kept["intervals"]["lm_eval/g"]["acc,none"] == list(wilson(3, 4))
    assert "lm_eval/inner" not in kept["intervals"]
    assert kept["groups"]["lm_eval/g"]["acc_stderr,none"] == pytest.approx(0.25)
    assert kept["protocols"]["lm_eval/b"] == {"shots": 5}
    assert kept["counts"] == {}


def test_a_plan_says_what_is_asked():
    plan = EvaluationPlan(3, 0.7, 99, None, None, ({"type": "mmlu"},), (), "Be brief.")
    asked = request_of_plan(plan, scorings=("gift_v1",))
    assert (asked.benchmarks, asked.seed, asked.temperature, asked.max_tokens) == (({"type": "mmlu"},), 3, 0.7, 99)
    assert (asked.system, asked.scorings) == ("Be brief.", ("gift_v1",))


def test_unanswered_and_untagged_mathematics_is_told_apart_in_both_scorings():
    grader = Grader("math500", [Item("?", "4")], ("none", "gift_v1"))
    answers = [Answer("", fault="no answer"), Answer("4"), Answer(answer("4")), Answer(answer("words, words"))]
    found = asyncio.run(grader.grade([{"index": 0}] * 4, answers))
    assert [one["outcome"] for one in found["none"]] == ["void", "bad_format", "correct", "unreadable"]
    assert [one["outcome"] for one in found["gift_v1"]] == ["void", "bad_format", "correct", "wrong"]


def test_unanswered_and_unjudged_sentences_have_no_score():
    items = [Item("", concepts=("dog_N",), references=("A dog.",))] * 7
    texts = [Answer("", fault="no answer"), *(Answer(answer(f"Dog {n}.")) for n in range(6))]

    class Shy(Always):
        async def compare(self, concepts, first, second, key):
            return Said("hm", None) if key.startswith("3") else Said("tie", "tie")

    grader = Grader("commongen", items, ("none", "gift_v1"), judge=Shy("tie"), order="both")
    found = asyncio.run(grader.grade([{"index": index} for index in range(7)], texts))
    assert [one["outcome"] for one in found["none"]] == ["void", "tie", "tie", "unjudged", "tie", "tie", "tie"]
    assert [one["score"] for one in found["none"]] == [None, 1.0, 1.0, None, 1.0, 1.0, 1.0]
    assert [one["score"] for one in found["gift_v1"]] == [None, 1.0, 1.0, 0.0, 1.0, 1.0, 1.0]


def test_where_nothing_is_answered_there_is_no_score_and_no_average(rows):
    class Mute(PolicySubject):
        async def answer(self, questions, note):
            return [Answer("", fault="no answer") for _ in questions]

    result = evaluate(Mute(Saying(str), 1), request(rows))
    assert result.results["mmlu"]["acc,none"] is None
    assert result.groups == {}
    assert result.counts["mmlu"]["none"] == {"truncated": 0, "void": 9}
    json.loads(json.dumps(result.to_json(), allow_nan=False))


def test_a_prompt_that_did_not_fit_is_counted(rows):
    engine = make_engine()
    asked = request(rows, benchmarks=({"type": "mmlu", "data_dir": "mmlu", "limit": 2},), max_tokens=4)
    result = evaluate(PolicySubject(engine, 1, max_length=60), asked)
    assert result.counts["mmlu"]["none"]["prompt_cut"] == 2


def test_a_file_without_a_list_of_rows_is_refused(tmp_path):
    (tmp_path / "test.json").write_text('{"question": "?"}')
    with pytest.raises(MachineError, match="it is no list of rows"):
        load_items("mmlu", tmp_path)


def test_a_hub_that_cannot_be_reached_is_told_with_the_other_way(monkeypatch, tmp_path):
    def fail(*_):
        raise MachineError("no network")

    for name in ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setattr("gift_dsl.evaluate.items.load", fail)
    with pytest.raises(MachineError, match="benchmark `mmlu`: no network; or give `data_dir`"):
        load_items("mmlu", None)


@pytest.mark.parametrize("layout", ["{name}/{split}.jsonl", "{split}/{name}_{split}.jsonl", "{split}.jsonl"])
def test_rows_for_tasks_of_lm_eval_are_found_in_the_usual_places(layout, tmp_path):
    path = tmp_path / layout.format(name="anatomy", split="test")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"question": "?", "choices": ["a", "b"], "answer": 1}\n')
    [row] = read_split("mmlu_anatomy", tmp_path, "anatomy", "test")
    assert row["answer"] == 1
    with pytest.raises(MachineError, match=r"no rows of split `dev` in .*: expected `anatomy/dev.jsonl`; found "):
        read_split("mmlu_anatomy", tmp_path, "anatomy", "dev")


def test_numbers_of_other_libraries_become_plain_ones():
    numpy = pytest.importorskip("numpy")
    assert plain({"a": numpy.float64(0.5), "b": [numpy.int64(3)], "c": max}) == {"a": 0.5, "b": [3], "c": str(max)}

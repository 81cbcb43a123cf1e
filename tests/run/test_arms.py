"""`gift compare`: which runs are one arm, what may be compared, and what is said of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import pytest

from gift_dsl import api
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.evaluate.paper import paper_rows
from gift_dsl.report.eval_tables import comparison_tables
from gift_dsl.report.tables import to_latex, to_markdown
from gift_dsl.run.arms import arm_hash
from gift_dsl.run.evaluate import rules_hash
from tests.run.evaluated import answered, examined_run, make_run, plan_of, result_of, rounds_of

SHUFFLED = "games.chain.order=shuffled"


def arm(folder, seeds, rate, *sets, **more):
    """One run a seed, each with its own luck."""
    return [
        examined_run(folder, {"arithmetic": rounds_of(rate, f"{rate}/{seed}", **more)}, f"seed={seed}", *sets)
        for seed in seeds
    ]


# ── arms ──


def test_runs_that_differ_only_in_their_seed_are_one_arm(tmp_path):
    assert arm_hash(plan_of(tmp_path, "seed=1")) == arm_hash(plan_of(tmp_path, "seed=2"))
    assert arm_hash(plan_of(tmp_path, "seed=1")) != arm_hash(plan_of(tmp_path, "seed=1", SHUFFLED))
    with pytest.raises(UsageError, match="nothing but their seed"):
        api.compare(arm(tmp_path, (1, 2), 0.5))


def test_where_a_run_was_made_makes_no_arm(tmp_path):
    assert arm_hash(plan_of(tmp_path)) == arm_hash(plan_of(tmp_path, "output.dir=elsewhere", "resources.threads=2"))


def test_how_a_run_is_evaluated_makes_no_arm(tmp_path):
    more = "evaluation.probe.every=3"
    assert plan_of(tmp_path).evaluation != plan_of(tmp_path, more).evaluation
    assert arm_hash(plan_of(tmp_path)) == arm_hash(plan_of(tmp_path, more))
    with pytest.raises(UsageError, match="nothing but their seed"):
        api.compare([*arm(tmp_path, (1,), 0.5), *arm(tmp_path, (2,), 0.5, more)])


def test_arms_are_named_after_what_they_differ_in(tmp_path):
    document = api.compare([*arm(tmp_path, (1,), 0.2), *arm(tmp_path, (1,), 0.8, SHUFFLED)])
    assert list(document["arms"]) == ["order=fixed", "order=shuffled"]
    assert document["differences"] == {
        "stages[warmup].play.order": ["fixed", "shuffled"],
        "stages[nested].play.order": ["fixed", "shuffled"],
    }


def test_a_composition_of_another_kind_is_one_difference(tmp_path):
    mixed = "games.chain={any_of: [arithmetic, tictactoe]}"
    document = api.compare([*arm(tmp_path, (1,), 0.2), *arm(tmp_path, (1,), 0.8, mixed)])
    assert document["differences"]["stages[nested].play"] == ["AllOf", "AnyOf"]
    assert not any(place.startswith("stages[nested].play.") for place in document["differences"])


def test_a_seed_twice_in_an_arm_is_one_seed(tmp_path):
    with pytest.raises(UsageError, match="one seed, not 2"):
        api.compare([*arm(tmp_path, (1, 1), 0.2), *arm(tmp_path, (1,), 0.8, SHUFFLED)])


def test_a_run_named_twice_is_refused(tmp_path):
    (path,) = arm(tmp_path, (1,), 0.2)
    with pytest.raises(UsageError, match="named twice"):
        api.compare([path, path])


# ── what is said ──


def test_one_run_an_arm_compares_checkpoints_and_says_so(tmp_path):
    document = api.compare([*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED)])
    assert document["kind"] == "checkpoints"
    assert "not of methods" in document["note"]
    (contrast,) = document["contrasts"]
    assert contrast["verdict"] == "higher"


def test_two_seeds_an_arm_get_no_verdict(tmp_path):
    document = api.compare([*arm(tmp_path, (1, 2), 0.1), *arm(tmp_path, (1, 2), 0.9, SHUFFLED)])
    assert document["kind"] == "too few seeds"
    assert [one["verdict"] for one in document["contrasts"]] == ["refused"]
    assert document["too_many_voids"] == []


def test_three_seeds_an_arm_compare_methods(tmp_path):
    document = api.compare([*arm(tmp_path, (1, 2, 3), 0.1), *arm(tmp_path, (1, 2, 3), 0.9, SHUFFLED)])
    assert document["kind"] == "methods"
    (contrast,) = document["contrasts"]
    assert contrast["verdict"] == "higher"
    assert contrast["interval"][0] > 0.5


def test_equal_arms_have_no_difference(tmp_path):
    document = api.compare([*arm(tmp_path, (1, 2, 3), 0.5), *arm(tmp_path, (4, 5, 6), 0.5, SHUFFLED)])
    assert [one["verdict"] for one in document["contrasts"]] == ["none"]


def test_the_measure_may_be_the_score(tmp_path):
    paths = [*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED)]
    assert api.compare(paths, measure="score")["contrasts"][0]["difference"] == 0.0


def test_the_table_holds_verdicts_protocol_and_arms(tmp_path):
    document = api.compare([*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED)])
    (table,) = comparison_tables(document)
    text = to_markdown(table)
    assert "order=shuffled against order=fixed" in text
    assert "success in `final`: 40 rounds of each game on test" in text
    assert "order=shuffled: 1 run, seed 1" in text
    assert r"\toprule" in to_latex(table)


# ── what is compared ──


def test_without_a_final_test_the_end_of_the_last_stage_is_compared(tmp_path):
    paths = []
    for rate, sets in ((0.1, ()), (0.9, (SHUFFLED,))):
        run = make_run(tmp_path, *sets)
        run.evaluation.mkdir()
        found = result_of({"arithmetic": rounds_of(rate, str(rate))}, split="dev")
        (run.evaluation / "nested-after.json").write_text(json.dumps(found))
        paths.append(run.path)
    assert api.compare(paths)["source"] == "nested-after"


def test_a_stage_may_be_named(tmp_path):
    paths = [*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED)]
    with pytest.raises(UsageError, match="no stage `wormup`; it has warmup, nested"):
        api.compare(paths, stage="wormup")
    with pytest.raises(MachineError, match="was not evaluated at the end of `warmup`"):
        api.compare(paths, stage="warmup")


def test_runs_that_were_evaluated_differently_are_not_compared(tmp_path):
    plays = {"arithmetic": rounds_of(0.5, "a")}
    paths = [examined_run(tmp_path, plays), examined_run(tmp_path, plays, SHUFFLED, temperature=0.5)]
    with pytest.raises(GiftError, match=r"`temperature` is 1\.0 in .* and 0\.5 in ") as told:
        api.compare(paths)
    assert told.value.exit_code == 1


def test_other_opponents_are_not_compared(tmp_path):
    plays = {"tictactoe": rounds_of(0.5, "a")}
    paths = [
        examined_run(tmp_path, plays, opponents=["random"]),
        examined_run(tmp_path, plays, SHUFFLED, opponents=["minimax"]),
    ]
    with pytest.raises(GiftError, match=r"`tictactoe` was played differently.*opponents \['random'\]"):
        api.compare(paths)


def test_other_rules_are_not_compared(tmp_path):
    plays = {"arithmetic": rounds_of(0.5, "a")}
    paths = [examined_run(tmp_path, plays), examined_run(tmp_path, plays, "games.arithmetic.generate.high=9")]
    with pytest.raises(GiftError, match="`arithmetic` was played differently"):
        api.compare(paths)


def test_too_many_plays_without_a_result_forbid_a_verdict(tmp_path):
    paths = [*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED, void=2)]
    document = api.compare(paths)
    assert document["too_many_voids"] == ["arithmetic"]
    assert document["contrasts"][0]["verdict"] == "refused"
    done = subprocess.run(
        [sys.executable, "-m", "gift_dsl", "compare", *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "more than 2 % of the plays of arithmetic have no result" in done.stderr
    assert "no verdict" in done.stdout


@pytest.mark.parametrize(("schema", "said"), [("gift-run/0", "is of no run"), ("gift-run/2", "newer gift")])
def test_a_run_of_another_version_is_named(tmp_path, schema, said):
    paths = [*arm(tmp_path, (1,), 0.1), *arm(tmp_path, (1,), 0.9, SHUFFLED)]
    status = paths[1] / "status.json"
    status.write_text(json.dumps({**json.loads(status.read_text()), "schema": schema}))
    with pytest.raises(MachineError, match=said):
        api.compare(paths)


@pytest.mark.parametrize("name", ["final", "benchmarks"])
def test_a_result_of_another_version_is_refused(tmp_path, name):
    paths = two(tmp_path)
    for path in paths:
        answered(path, "mmlu", [1.0] * 9)
    place = paths[1] / "eval" / f"{name}.json"
    document = json.loads(place.read_text())
    old = document["schema"].replace("/1", "/0")
    place.write_text(json.dumps({**document, "schema": old}))
    for ask in (lambda: api.compare(paths), lambda: api.compare_with_paper(paths[1:], "table2/F+I1/nested")):
        with pytest.raises(MachineError, match=f"{name}.json is not of this version: its schema is '{old}'"):
            ask()


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(MachineError, match="is not a run"):
        api.compare([*arm(tmp_path, (1,), 0.1), tmp_path])


# ── benchmarks ──


def two(folder, *sets):
    return [*arm(folder, (1,), 0.5), *arm(folder, (1,), 0.5, *(sets or (SHUFFLED,)))]


def test_benchmarks_are_compared_item_by_item(tmp_path):
    paths = two(tmp_path)
    answered(paths[0], "mmlu", [0.0] * 30 + [1.0] * 10)
    answered(paths[1], "mmlu", [1.0] * 40)
    (contrast,) = api.compare(paths)["benchmarks"]
    assert contrast["game"] == "benchmark/mmlu"
    assert contrast["means"] == [0.25, 1.0]
    assert contrast["verdict"] == "higher"


def test_items_without_an_answer_are_left_out_of_both(tmp_path):
    paths = two(tmp_path)
    answered(paths[0], "mmlu", [None] + [0.0] * 99)
    answered(paths[1], "mmlu", [1.0] * 100)
    (contrast,) = api.compare(paths)["benchmarks"]
    assert (contrast["pairs"], contrast["dropped"]) == (99, 1)


def test_samples_may_hold_what_unicode_calls_the_end_of_a_line(tmp_path):
    paths = two(tmp_path)
    for path in paths:
        answered(path, "mmlu", [1.0] * 9)
        (samples,) = path.glob("eval/benchmarks/final/samples_*.jsonl")
        rows = [
            {**json.loads(line), "resps": "a\u2028b\u2029c\u0085d"} for line in samples.read_text().split("\n") if line
        ]
        samples.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    assert api.compare(paths)["benchmarks"][0]["pairs"] == 9


def test_damaged_samples_are_named(tmp_path):
    paths = two(tmp_path)
    for path in paths:
        answered(path, "mmlu", [1.0] * 9)
    (samples,) = paths[1].glob("eval/benchmarks/final/samples_*.jsonl")
    samples.write_text(samples.read_text() + '{"task"')
    with pytest.raises(MachineError, match=r"samples_mmlu\.jsonl is damaged"):
        api.compare(paths)


def test_benchmarks_that_were_asked_differently_are_not_compared(tmp_path):
    paths = two(tmp_path)
    answered(paths[0], "mmlu", [1.0] * 9)
    answered(paths[1], "mmlu", [1.0] * 9, max_tokens=1024)
    with pytest.raises(GiftError, match=r"`mmlu` was asked differently.*`max_tokens` is 600 in .* and 1024 in "):
        api.compare(paths)


def test_benchmarks_of_one_arm_alone_are_no_comparison(tmp_path):
    paths = two(tmp_path)
    answered(paths[0], "mmlu", [1.0] * 9)
    assert api.compare(paths)["benchmarks"] == []


def test_a_control_arm_is_named_and_its_want_is_said(tmp_path):
    for name, sets, said in (
        ("control", ("stages[nested].reward=format_only",), "reward=format_only is a control"),
        ("none", (), "no arm is a control"),
    ):
        (tmp_path / name).mkdir()
        paths = two(tmp_path / name, *sets)
        for path in paths:
            answered(path, "mmlu", [1.0, 0.0] * 5)
        (table,) = comparison_tables(api.compare(paths))
        assert said in to_markdown(table)


def rows_of(values, task="lm", metrics=("exact_match",), kind="strict-match"):
    """Samples as lm-eval's tasks have them."""
    return [
        {"task": task, "doc_hash": f"h{index}", "filter": kind, "metrics": metrics, **dict.fromkeys(metrics, value)}
        for index, value in enumerate(values)
    ]


def samples_of(path, name, rows):
    (path / f"samples_{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_a_task_is_compared_by_every_metric_and_filter_that_its_samples_hold(tmp_path):
    paths = two(tmp_path)
    for path, value in zip(paths, (0.0, 1.0), strict=True):
        answered(path, "mmlu", [1.0] * 20)
        folder = path / "eval" / "benchmarks" / "final"
        samples_of(folder, "one", rows_of([value] * 20))
        strict, loose = rows_of([0.0] * 20), rows_of([value] * 20, kind="flexible-extract")
        samples_of(folder, "two", [*strict, *loose])
        samples_of(folder, "perplexity", rows_of([(-9.5, 3)] * 20, metrics=("word_perplexity", "acc")))
    found = {one["game"]: one["means"] for one in api.compare(paths)["benchmarks"]}
    assert found == {
        "benchmark/mmlu": [1.0, 1.0],
        "benchmark/one": [0.0, 1.0],
        "benchmark/two/exact_match,strict-match": [0.0, 0.0],
        "benchmark/two/exact_match,flexible-extract": [0.0, 1.0],
    }


def test_too_many_items_without_an_answer_forbid_a_verdict(tmp_path):
    paths = two(tmp_path)
    answered(paths[0], "mmlu", [None] * 3 + [0.0] * 37)
    answered(paths[1], "mmlu", [1.0] * 40)
    document = api.compare(paths)
    assert document["too_many_voids"] == ["benchmark/mmlu"]
    assert document["benchmarks"][0]["verdict"] == "refused"


def test_runs_may_have_been_asked_benchmarks_and_played_nothing(tmp_path):
    paths = [make_run(tmp_path).path, make_run(tmp_path, SHUFFLED).path]
    for path, value in zip(paths, (0.0, 1.0), strict=True):
        answered(path, "mmlu", [value] * 40)
    document = api.compare(paths)
    assert (document["source"], document["protocol"], document["contrasts"]) == ("benchmarks", None, [])
    assert [one["verdict"] for one in document["benchmarks"]] == ["higher"]
    (table,) = comparison_tables(document)
    assert "benchmark/mmlu" in to_markdown(table)


# ── evaluations outside of runs ──


def evaluation(folder, name, answers, played=None):
    """What `gift eval` leaves, as far as a comparison reads it: values by benchmark, and a rate of a game."""
    games = {"schema": "", "protocol": None, "games": {}, "chains": {}, "plays": []}
    if played is not None:
        games = result_of({"arithmetic": rounds_of(played, name)})
    document = {**games, "schema": "gift-eval/1", "seed": 1, "subject": {"name": name, "kind": "model", "source": name}}
    document["protocols"] = {f"lm_eval/{key}": {"seed": 1} for key in answers}
    if played is not None:
        document["protocols"]["game/arithmetic"] = {"kind": "game"}
    samples = folder / name / "benchmarks"
    samples.mkdir(parents=True)
    for key, values in answers.items():
        samples_of(samples, f"lm_eval_{key}", rows_of(values, key))
        (samples / f"lm_eval_{key}.json").write_text(json.dumps({"results": {f"lm_eval/{key}": {}}}))
    (folder / f"{name}.json").write_text(json.dumps(document))
    return folder / f"{name}.json"


def test_evaluations_are_compared_on_their_benchmarks_too(tmp_path):
    paths = [evaluation(tmp_path, name, {"gsm8k": [rate] * 40}, 0.5) for name, rate in (("a", 0.0), ("b", 1.0))]
    document = api.compare(paths)
    assert [one["game"] for one in document["contrasts"]] == ["arithmetic"]
    (contrast,) = document["benchmarks"]
    assert (contrast["game"], contrast["arms"]) == ("benchmark/lm_eval_gsm8k", ["a", "b"])
    assert (contrast["means"], contrast["verdict"]) == ([0.0, 1.0], "higher")


def test_evaluations_need_no_game_in_common_where_they_share_a_benchmark(tmp_path):
    paths = [evaluation(tmp_path, "a", {"gsm8k": [0.0] * 40}), evaluation(tmp_path, "b", {"gsm8k": [1.0] * 40}, 0.5)]
    document = api.compare(paths)
    assert (document["contrasts"], document["protocol"]) == ([], None)
    assert [one["verdict"] for one in document["benchmarks"]] == ["higher"]
    (table,) = comparison_tables(document)
    assert "benchmark/lm_eval_gsm8k" in to_markdown(table)


def test_samples_of_an_earlier_evaluation_of_that_name_are_not_compared(tmp_path):
    paths = [evaluation(tmp_path, name, {"gsm8k": [1.0] * 9, "old": [1.0] * 9}) for name in "ab"]
    for path in paths:
        document = json.loads(path.read_text())
        del document["protocols"]["lm_eval/old"]
        path.write_text(json.dumps(document))
    assert [one["game"] for one in api.compare(paths)["benchmarks"]] == ["benchmark/lm_eval_gsm8k"]


def test_evaluations_without_their_samples_are_refused(tmp_path):
    paths = [evaluation(tmp_path, name, {"gsm8k": [1.0] * 9}) for name in "ab"]
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(MachineError, match="the samples of the benchmarks are missing"):
        api.compare([paths[0], paths[1].rename(tmp_path / "elsewhere" / "b.json")])


@pytest.mark.parametrize("change", ["generate.high=9", "reward.loss=0.1", "max_turns=3"])
def test_the_digest_of_rules_is_of_parameters_rewards_and_turns(tmp_path, change):
    name = "arithmetic" if "high" in change else "tictactoe"
    one, other = (plan_of(tmp_path, *sets).game(name) for sets in ((), (f"games.{name}.{change}",)))
    assert rules_hash(one) == rules_hash(replace(one, name="another"))
    assert rules_hash(one) != rules_hash(other)


@pytest.mark.parametrize(("key", "said"), [("rules_hash", "rules or rewards are"), ("template_hash", "prompt is")])
def test_evaluations_of_games_with_other_rules_or_words_are_refused(tmp_path, key, said):
    paths = [evaluation(tmp_path, name, {}, 0.5) for name in "ab"]
    for path, value in zip(paths, ("1", "2"), strict=True):
        document = json.loads(path.read_text())
        document["protocols"]["game/arithmetic"][key] = value
        path.write_text(json.dumps(document))
    with pytest.raises(GiftError, match=f"`game/arithmetic` was played differently.*{said} other in .*b.json than in"):
        api.compare(paths)


def test_evaluations_with_nothing_in_common_are_refused(tmp_path):
    with pytest.raises(GiftError, match="no game in common"):
        api.compare([evaluation(tmp_path, "a", {"x": [1.0]}), evaluation(tmp_path, "b", {"y": [1.0]})])


# ── the paper ──


def test_a_run_stands_beside_a_row_of_the_paper(tmp_path):
    path = examined_run(tmp_path, {"tictactoe": rounds_of(0.5, "a")})
    (path / "eval" / "benchmarks.json").write_text(json.dumps(benchmarks(mmlu=0.25)))
    document, (table,) = api.compare_with_paper([path], "table2/f+i1/nested")
    columns = {one["column"]: one for one in document["columns"]}
    assert (columns["tictactoe"]["paper"], columns["tictactoe"]["ours"]) == (8.0, 50.0)
    assert (columns["mmlu"]["paper"], columns["mmlu"]["ours"]) == (52.94, 25.0)
    assert columns["math500"]["ours"] is None
    assert "-27.94" in to_markdown(table)


def benchmarks(**scores):
    found = {name: {"acc,none": score} for name, score in scores.items()}
    ends = {name: {"acc,none": [0.2, 0.3]} for name in scores}
    return {
        "schema": "gift-final-benchmarks/1",
        "checkpoints": {"final": {"results": found, "groups": {}, "intervals": ends}},
        "subjects": {},
    }


def test_a_printed_average_that_does_not_follow_is_said(tmp_path):
    path = examined_run(tmp_path, {"tictactoe": rounds_of(0.5, "a")})
    wrong = [row.key for row in paper_rows() if not row.is_consistent]
    assert len(wrong) == 2
    document, (table,) = api.compare_with_paper([path], wrong[0])
    assert document["printed_avg_follows"] is False
    assert "does not follow from the row" in to_markdown(table)


def test_only_one_run_stands_beside_the_paper(tmp_path):
    with pytest.raises(UsageError, match="one run"):
        api.compare_with_paper(arm(tmp_path, (1, 2), 0.5), "table2/F+I1/nested")


def test_a_run_without_any_result_of_the_row_is_refused(tmp_path):
    with pytest.raises(MachineError, match="no final result of anything in the row"):
        api.compare_with_paper([make_run(tmp_path).path], "table2/F+I1/nested")

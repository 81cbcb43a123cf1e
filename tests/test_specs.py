"""The shipped specs: all are right, mean what they meant, and hold to the numbers of the paper they stand for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from gift_dsl import api
from gift_dsl.compiler.meaning import meaning
from gift_dsl.plan import AllOf, InTurn, Plan, StagePlan, leaves, to_json
from tests.shipped import shipped_specs

ROOT = Path(__file__).parent.parent
SPECS = ROOT / "specs"
GOLDEN = Path(__file__).parent / "golden"
FILES = [str(path.relative_to(SPECS)) for path in shipped_specs()]
FRAGMENTS = [name for name in FILES if "\nfragment: true\n" in (SPECS / name).read_text(encoding="utf-8")]
COMPLETE = [name for name in FILES if name not in FRAGMENTS]


@pytest.fixture(autouse=True)
def bare_machine(monkeypatch, tmp_path_factory):
    """Plans do not depend on what this machine has downloaded."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path_factory.getbasetemp() / "no-hub"))


@lru_cache
def check(name: str) -> api.Checked:
    return api.check_spec(str(SPECS / name))


def plans(name: str) -> tuple[Plan, ...]:
    return check(name).plans()


def main_stage(name: str) -> StagePlan:
    return plans(name)[0].stages[-1]


def estimates(name: str) -> list[dict[str, Any]]:
    (compiled,) = [run.compiled for run in check(name).runs]
    assert compiled is not None
    return compiled.to_json()["stages"]


# ── every spec ──


@pytest.mark.parametrize("name", FILES)
def test_a_shipped_spec_is_right_and_warns_only_of_what_it_cannot_pin(name):
    checked = check(name)
    assert {item.code for item in checked.diagnostics} <= {"unpinned"}
    assert checked.fragment == (name in FRAGMENTS)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_shipped_spec_has_a_plan_for_each_of_its_runs(name):
    assert len(plans(name)) == len(check(name).runs) >= 1


@pytest.mark.parametrize("name", FILES)
def test_line_1_names_the_schema_that_init_writes_at_the_project_root(name):
    first, second = (SPECS / name).read_text(encoding="utf-8").splitlines()[:2]
    schema = first.removeprefix("# yaml-language-server: $schema=")
    assert Path(os.path.normpath((SPECS / name).parent / schema)) == ROOT / ".gift" / "gift-spec-v1.schema.json"
    assert second.startswith("# ")


def test_no_two_shipped_specs_write_into_one_folder_of_runs():
    names = [check(name).runs[0].context.spec.name for name in COMPLETE]  # type: ignore[union-attr]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("name", COMPLETE)
def test_a_shipped_spec_that_states_its_device_fits_into_it(name):
    for run in check(name).runs:
        assert run.context is not None
        assert run.compiled is not None
        device, memory = run.context.spec.resources.device_memory_gib, run.compiled.to_json()["memory_gib"]
        assert device is None or memory is None or memory["peak"] < device


# ── one meaning ──


def hashes() -> dict[str, dict[str, str]]:
    return {
        name: {run.id: plan.spec_hash for run, plan in zip(check(name).runs, plans(name), strict=True)}
        for name in COMPLETE
    }


def test_no_shipped_spec_has_changed_its_meaning_unseen(golden):
    golden(GOLDEN / "spec_hashes.json", json.dumps(hashes(), indent=1, sort_keys=True) + "\n")


def test_the_meaning_of_every_spec_is_the_same_in_every_process():
    script = "import json, tests.test_specs as t; print(json.dumps(t.hashes()))"
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        assert json.loads(done.stdout) == hashes()


def reversed_maps(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: reversed_maps(item) for key, item in reversed(value.items())}
    return [reversed_maps(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "name", ["quickstart.yaml", "nested_all.yaml", "examples/curriculum.yaml", "examples/own_games.yaml"]
)
def test_order_of_keys_comments_and_notation_do_not_change_the_meaning(name):
    text = (SPECS / name).read_text(encoding="utf-8")
    as_json = json.dumps(reversed_maps(YAML(typ="safe").load(text)), indent=2)
    commented = re.sub(r"$", "  # aside", text, flags=re.M)
    for other in (as_json, commented):
        (plan,) = api.check_spec(str(SPECS / name), other).plans()
        assert plan.spec_hash == plans(name)[0].spec_hash


GOLDEN_PLANS = [
    "quickstart.yaml",
    "nested_all.yaml",
    "paper/table2_fi3_nested.yaml",
    "ablation/nested_vs_mixed.yaml",
    "examples/league.yaml",
]


@pytest.mark.parametrize("name", GOLDEN_PLANS)
def test_a_plan_has_not_changed_unseen(name, golden):
    runs = [
        {"id": run.id, "plan": to_json(run.compiled.plan), **run.compiled.to_json()}
        for run in check(name).runs
        if run.compiled is not None and run.choices.get("seed", "1") == "1"
    ]
    for run in runs:
        del run["needs"], run["plan"]["runtime"]["folder"]  # of this machine
    text = json.dumps(runs, indent=1, ensure_ascii=False, sort_keys=True)
    golden(GOLDEN / "plans" / f"{Path(name).stem}.json", text + "\n")


# ── the rows of the paper ──

# Row of a table: printed average, and the cells MMLU, MMLU-Pro, CommonGen, SocialIQA (GIFT v1, tables 2 to 6).
ROWS: dict[str, tuple[float, tuple[float, float, float, float]]] = {
    "table2_math": (38.34, (51.38, 20.97, 15.08, 65.92)),
    "table2_matrix": (33.87, (43.79, 18.00, 9.55, 64.12)),
    "table2_tictactoe": (35.00, (47.89, 16.45, 11.56, 64.12)),
    "table2_spy": (35.27, (43.85, 15.68, 20.85, 60.70)),
    "table2_fi1_mixed": (33.53, (45.19, 17.00, 12.81, 59.11)),
    "table2_fi1_nested": (40.40, (52.94, 21.03, 21.11, 66.53)),
    "table2_fi2_mixed": (38.49, (51.35, 19.47, 17.84, 65.30)),
    "table2_fi2_nested": (40.31, (53.08, 20.20, 20.85, 67.09)),
    "table2_fi3_mixed": (41.68, (53.55, 21.19, 24.37, 67.60)),
    "table2_fi3_nested": (42.43, (53.27, 20.58, 28.14, 67.71)),
    "table3_math": (42.00, (66.51, 32.45, 35.18, 75.90)),
    "table3_matrix": (55.02, (73.22, 44.51, 26.13, 76.20)),
    "table3_tictactoe": (56.26, (73.37, 46.35, 28.89, 76.41)),
    "table3_spy": (53.95, (71.33, 41.17, 28.39, 74.92)),
    "table3_fi1_mixed": (51.00, (67.55, 35.21, 27.89, 73.34)),
    "table3_fi1_nested": (54.95, (68.33, 35.56, 41.46, 74.46)),
    "table3_fi2_mixed": (53.38, (66.80, 37.81, 36.68, 72.21)),
    "table3_fi2_nested": (54.65, (71.31, 44.00, 28.89, 74.41)),
    "table3_fi3_mixed": (53.90, (68.64, 36.87, 35.68, 74.41)),
    "table3_fi3_nested": (55.84, (70.50, 40.86, 35.43, 76.56)),
    "table4_fi2_mixed": (38.49, (51.35, 19.47, 17.84, 65.30)),
    "table4_fi2_nested": (40.31, (53.08, 20.20, 20.85, 67.09)),
    "table4_i2_mixed": (33.17, (39.57, 15.78, 17.34, 59.98)),
    "table4_i2_nested": (34.46, (43.80, 16.25, 17.09, 60.70)),
    "table5_ttt_gemini": (29.57, (39.00, 13.79, 14.32, 51.18)),
    "table5_ttt_qwen14b": (35.00, (47.89, 16.45, 11.56, 64.12)),
    "table5_spy_gemini": (36.12, (46.86, 17.21, 20.85, 59.57)),
    "table5_spy_qwen14b": (35.27, (43.85, 15.68, 20.85, 60.70)),
    "table6_math_matrix": (54.95, (68.33, 35.56, 41.46, 74.46)),
    "table6_matrix_math": (54.59, (70.48, 38.56, 35.43, 73.90)),
}
BASE_ROWS = {"table2_math": (27.10, (37.87, 13.49, 7.79, 27.64)), "table3_math": (53.36, (71.43, 40.17, 26.38, 75.44))}
WRONG_IN_PRINT = {"table3_math": "52.51"}
WRONG_BASE = {"table2_math": "21.70"}
CST = ("cst_fi1", "cst_fi2", "cst_fi3", "cst_fi3_7b", "cst_i2")


def comment(row: str) -> str:
    lines = (SPECS / "paper" / f"{row}.yaml").read_text(encoding="utf-8").splitlines()[1:]
    return " ".join(line[2:] for line in lines[: [line.startswith("#") for line in lines].index(False)])


def paper(row: str) -> str:
    return f"paper/{row}.yaml"


def test_every_row_of_the_tables_has_its_file_and_every_file_its_row():
    complete = {Path(name).stem for name in COMPLETE if name.startswith("paper/")}
    assert complete == {*ROWS, *CST}


@pytest.mark.parametrize("row", ROWS)
def test_a_row_names_its_table_and_the_average_printed_there(row):
    printed, cells = ROWS[row]
    recomputed = f"{sum(cells) / 4 + 1e-9:.2f}"
    assert comment(row).startswith(f"Table {row[5]}, ")
    assert f"Avg {printed:.2f}" in comment(row)
    if row in WRONG_IN_PRINT:
        assert recomputed == WRONG_IN_PRINT[row]
        assert recomputed in comment(row)
    else:
        assert float(recomputed) == pytest.approx(printed, abs=0.011)


@pytest.mark.parametrize("row", BASE_ROWS)
def test_the_rows_of_the_untrained_models_are_the_start_checkpoints_of_the_math_rows(row):
    printed, cells = BASE_ROWS[row]
    final = plans(paper(row))[0].evaluation.final
    assert final is not None
    assert final.checkpoints == ("start", "final")
    assert f"Avg {printed:.2f}" in comment(row)
    assert WRONG_BASE.get(row, f"{printed:.2f}") in comment(row)
    assert f"{sum(cells) / 4 + 1e-9:.2f}" == WRONG_BASE.get(row, f"{printed:.2f}")


@pytest.mark.parametrize("row", [*ROWS, *CST])
def test_a_row_is_tested_as_the_paper_tests(row):
    evaluation = plans(paper(row))[0].evaluation
    final = evaluation.final
    assert final is not None
    assert set(final.games) == {"math", "matrix", "tictactoe", "spy"}
    assert set(final.opponents.values()) == {"gemini", "gemini_talk"}
    assert (final.temperature, final.max_tokens, final.split) == (0.5, 600, "test")
    kinds = [benchmark["type"] for benchmark in evaluation.benchmarks]
    assert kinds == ["math500", "mmlu", "mmlu_pro", "social_iqa", "commongen"]
    assert evaluation.benchmarks[-1]["judge"] == "gpt4o"


@pytest.mark.parametrize("row", [*ROWS, *CST])
def test_a_row_updates_by_the_terms_of_the_reference(row):
    algorithm = main_stage(paper(row)).algorithm
    assert algorithm is not None
    assert (algorithm.group_size, algorithm.keep, algorithm.scope, algorithm.drop_zero) == (16, 0.25, "global", False)
    assert (algorithm.clip_low, algorithm.clip_high, algorithm.dual_clip, algorithm.kl_coef) == (0.2, 0.28, 3.0, 0.0)
    assert (algorithm.learning_rate, algorithm.schedule, algorithm.entropy_coef) == (1e-6, "constant", 0.001)
    assert all(leaf.max_tokens_per_turn == 600 for leaf in leaves(main_stage(paper(row)).play))


# Config of the code (v1 and v2): groups, kept trajectories, mini-batch, updates a step, turns of an episode,
# single games a step, steps of the script with those of the private checkpoint it goes on from.
CONFIGS: dict[str, tuple[int, int, int, int, int, int, int]] = {
    "table2_math": (8, 32, 16, 2, 1, 128, 200),
    "table2_matrix": (8, 32, 16, 2, 1, 128, 50 + 300),
    "table2_tictactoe": (8, 32, 32, 1, 5, 128, 100),
    "table2_spy": (8, 32, 32, 1, 3, 128, 100),
    "table2_fi1_mixed": (8, 32, 16, 2, 1, 64 + 64, 300),
    "table2_fi1_nested": (8, 32, 16, 2, 2, 128 + 128, 200),
    "table2_fi2_mixed": (12, 48, 24, 2, 5, 192, 100 + 200),  # the code's 32 does not divide 48
    "table2_fi2_nested": (4, 16, 16, 1, 7, 192, 300),
    "table2_fi3_mixed": (16, 64, 32, 2, 5, 256, 200),
    "table2_fi3_nested": (4, 16, 16, 1, 10, 256, 300),
    "table4_i2_mixed": (16, 64, 32, 2, 5, 256, 200),
    "table4_i2_nested": (8, 32, 32, 1, 6, 256, 200),
    "cst_fi1": (16, 64, 32, 2, 1, 256, 300),
    "cst_fi2": (8, 32, 32, 1, 5, 128, 400),
    "cst_fi3": (8, 32, 32, 1, 5, 128, 400),
    "cst_i2": (8, 32, 32, 1, 5, 128, 300),
}


@pytest.mark.parametrize("row", CONFIGS)
def test_a_row_has_the_batch_and_the_length_of_the_code(row):
    stage, estimate = main_stage(paper(row)), estimates(paper(row))[-1]
    assert stage.batch is not None
    assert stage.batch.rows_per_trajectory == 1
    found = (
        stage.batch.groups,
        stage.batch.rows,
        stage.batch.rows_per_update,
        stage.batch.updates,
        estimate["turns"],
        estimate["subgame_episodes"],
        stage.until.max_steps,
    )
    assert found == CONFIGS[row]


def test_the_rows_of_both_sizes_differ_in_the_model_and_in_the_warm_up_of_the_small_one():
    for row in [name for name in CONFIGS if name.startswith("table2_")]:
        large = differences(paper(row), paper(row.replace("table2", "table3")))
        expected = {"model.source"} | ({"stages"} if row == "table2_fi3_nested" else set())
        assert large == expected
    small, large = plans("paper/table2_fi3_nested.yaml")[0], plans("paper/table3_fi3_nested.yaml")[0]
    assert [stage.name for stage in small.stages] == ["warmup", "main"]
    assert [stage.name for stage in large.stages] == ["main"]
    assert small.stages[1].play == large.stages[0].play


def test_the_warm_up_of_the_small_nested_row_is_the_mixed_row():
    warmup, mixed = plans("paper/table2_fi3_nested.yaml")[0].stages[0], main_stage("paper/table2_fi3_mixed.yaml")
    assert (warmup.play, warmup.batch, warmup.algorithm) == (mixed.play, mixed.batch, mixed.algorithm)


@pytest.mark.parametrize(
    ("alias", "row"),
    [
        ("table4_fi2_mixed", "table2_fi2_mixed"),
        ("table4_fi2_nested", "table2_fi2_nested"),
        ("table5_ttt_qwen14b", "table2_tictactoe"),
        ("table5_spy_qwen14b", "table2_spy"),
        ("table6_math_matrix", "table3_fi1_nested"),
    ],
)
def test_a_row_printed_in_two_tables_is_one_experiment(alias, row):
    assert plans(paper(alias))[0].spec_hash == plans(paper(row))[0].spec_hash


def leaf_values(value: Any, path: str = "") -> dict[str, Any]:
    """Every scalar and list of nested maps by its dotted path."""
    if not isinstance(value, dict):
        return {path: value}
    return {key: item for name, inner in value.items() for key, item in leaf_values(inner, f"{path}.{name}").items()}


def differences(left: str, right: str) -> set[str]:
    """Where the meanings of two specs differ, stages compared by name; `stages` where the names differ."""
    bodies = []
    for name in (left, right):
        context = check(name).runs[0].context
        assert context is not None
        body = meaning(context)
        body["stages"] = {stage["name"]: stage for stage in body["stages"]}
        bodies.append(body)
    if bodies[0]["stages"].keys() != bodies[1]["stages"].keys():
        return {"stages"} | {path for path in _differing(*bodies) if not path.startswith("stages.")}
    return _differing(*bodies)


def _differing(left: dict[str, Any], right: dict[str, Any]) -> set[str]:
    a, b = leaf_values(left), leaf_values(right)
    return {path.removeprefix(".") for path in {*a, *b} if a.get(path) != b.get(path)}


@pytest.mark.parametrize(
    "pair", ["table2_fi1", "table2_fi2", "table3_fi1", "table3_fi2", "table3_fi3", "table4_fi2", "table4_i2"]
)
def test_the_arms_of_a_pair_differ_in_play_and_in_the_budgets_that_the_code_gives_them(pair):
    found = differences(paper(f"{pair}_mixed"), paper(f"{pair}_nested"))
    play = {path for path in found if path.startswith("stages.main.play.")}
    assert play
    assert found - play <= {
        "stages.main.until.steps",
        "stages.main.algorithm.groups_per_step",
        "stages.main.algorithm.mini_batch_size",
    }


def test_the_order_ablation_differs_in_the_order_of_the_parts_only():
    rows = paper("table6_math_matrix"), paper("table6_matrix_math")
    assert differences(*rows) == {"stages.main.play.all_of"}
    first, second = (main_stage(row).play for row in rows)
    assert isinstance(first, AllOf)
    assert isinstance(second, AllOf)
    assert first.parts == second.parts[::-1]


@pytest.mark.parametrize(("pair", "game"), [("table5_ttt", "tictactoe"), ("table5_spy", "spy")])
def test_the_opponent_ablation_differs_in_the_opponent_only(pair, game):
    found = differences(paper(f"{pair}_gemini"), paper(f"{pair}_qwen14b"))
    assert {path for path in found if not path.startswith("opponents.qwen14b")} <= {
        "games.tictactoe.opponents",
        "games.spy.opponents",
    }
    assert set(plans(paper(f"{pair}_gemini"))[0].game(game).opponents.values()) <= {"gemini", "gemini_talk"}
    assert set(plans(paper(f"{pair}_qwen14b"))[0].game(game).opponents.values()) <= {"qwen14b", "qwen14b_talk"}


@pytest.mark.parametrize(
    ("row", "blocks"),
    [
        ("cst_fi1", (2, 2)),
        ("cst_fi2", (4, 4, 4)),
        ("cst_fi3", (1, 1, 1, 1)),
        ("cst_fi3_7b", (1, 1, 1, 1)),
        ("cst_i2", (4, 4)),
    ],
)
def test_the_sequential_rows_take_turns_by_the_k_list_of_the_code(row, blocks):
    play = main_stage(paper(row)).play
    assert isinstance(play, InTurn)
    assert (play.blocks, play.order) == (blocks, "fixed")
    assert str(list(blocks)) in comment(row)


def test_a_probe_meets_the_games_that_are_trained_and_the_final_test_those_it_names():
    evaluation = plans("paper/table2_matrix.yaml")[0].evaluation
    assert evaluation.probe is not None
    assert evaluation.final is not None
    assert evaluation.probe.games == ("matrix",)
    assert len(evaluation.final.games) == 4


# ── comparisons ──


def arm_warnings(text: str, name: str = "ablation/nested_vs_mixed.yaml") -> str:
    checked = api.check_spec(str(SPECS / name), text)
    assert checked.ok
    return "\n".join(item.message for item in checked.diagnostics if item.code == "arms-differ")


def test_nested_against_mixed_is_matched_in_games_updates_and_tokens():
    text = (SPECS / "ablation" / "nested_vs_mixed.yaml").read_text(encoding="utf-8")
    assert arm_warnings(text) == ""
    arms = {run.choices["stages[main]"]: run.compiled for run in check("ablation/nested_vs_mixed.yaml").runs}
    trained = {arm: compiled.plan.stages[0].batch.rows for arm, compiled in arms.items()}  # type: ignore[union-attr]
    assert trained["mixed"] == 4 * trained["nested"]  # an episode of one game against one of four


@pytest.mark.parametrize("name", ["nested_vs_mixed", "controls"])
def test_a_comparison_has_three_seeds_an_arm_and_measures_all_arms_alike(name):
    runs = check(f"ablation/{name}.yaml").runs
    arms = {run.choices["stages[main]"] for run in runs}
    assert len(runs) == 3 * len(arms)
    assert len({json.dumps(to_json(run.compiled.plan.evaluation)) for run in runs if run.compiled is not None}) == 1


def test_the_unequal_arms_of_the_paper_are_named_with_their_numbers():
    text = (SPECS / "ablation" / "nested_vs_mixed.yaml").read_text(encoding="utf-8")
    unequal = text.replace("groups_per_step: 32", "groups_per_step: 8")
    assert unequal != text
    found = arm_warnings(unequal)
    assert "single games" in found
    assert "nested: 128,000" in found
    assert "mixed: 32,000" in found
    assert "sampled tokens" in found


def test_the_control_arms_differ_in_the_reward_or_the_learning_rate_only():
    runs = {run.choices["stages[main]"]: run.compiled.plan for run in check("ablation/controls.yaml").runs}
    assert runs.keys() == {"game", "format_only", "shuffled", "frozen"}
    assert {arm: plan.stages[0].reward for arm, plan in runs.items() if arm != "frozen"} == {
        arm: arm for arm in runs if arm != "frozen"
    }
    assert runs["frozen"].stages[0].algorithm.learning_rate == 0
    assert runs["frozen"].stages[0].reward == "game"


def test_formal_training_alone_gets_the_tokens_of_the_nested_run():
    nested = next(stage for stage in estimates("nested_all.yaml") if stage["name"] == "nested")
    (math,) = estimates("examples/formal_only.yaml")
    until = main_stage("examples/formal_only.yaml").until
    assert until.policy_tokens == nested["total"]["policy_tokens"]
    assert until.policy_tokens / math["policy_tokens"] < until.max_steps

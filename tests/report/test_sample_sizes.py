"""`gift plan` says what its rounds and seeds can show."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from gift_dsl import api
from gift_dsl.report.plan_text import plan_text
from gift_dsl.report.sample_sizes import sample_size_lines, sample_sizes
from gift_dsl.stats import rounds_needed, seeds_needed
from tests.compiler.conftest import BASE

FINAL = "evaluation.final={rounds: 500}"
SEEDS = "sweep: {axes: {seed: [1, 2, 3, 4], 'stages[main].play': [all, sums]}}\n"


def check(*sets, text=BASE):
    checked = api.check_spec("-", text, sets=sets)
    assert checked.ok
    return checked


def test_a_difference_needs_the_rounds_and_seeds_that_statistics_say():
    sizes = sample_sizes(check().runs, 0.1, 0.03)
    assert sizes["rounds_needed"] == rounds_needed(0.5, 0.1) == 388
    assert sizes["seeds_needed"] == seeds_needed(0.03, 0.1) == 3


def test_planned_rounds_are_those_of_the_final_evaluation_else_of_the_probe():
    assert sample_sizes(check().runs)["rounds_planned"] == 0
    assert sample_sizes(check().runs)["smallest_difference"] is None
    assert sample_sizes(check("evaluation.probe={rounds: 30}").runs)["rounds_planned"] == 30
    assert sample_sizes(check("evaluation.probe={rounds: 30}", FINAL).runs)["rounds_planned"] == 500


@pytest.mark.parametrize("rounds", [20, 100, 500, 5000])
def test_the_smallest_difference_is_the_one_that_needs_the_planned_rounds(rounds):
    smallest = sample_sizes(check(f"evaluation.final={{rounds: {rounds}}}").runs)["smallest_difference"]
    assert rounds_needed(0.5, smallest + 1e-3) <= rounds
    assert rounds_needed(0.5, smallest - 1e-3) > rounds


def test_seeds_are_counted_by_arm():
    assert sample_sizes(check().runs)["seeds_planned"] == 1
    assert sample_sizes(check(text=BASE + SEEDS).runs)["seeds_planned"] == 4


def test_fewer_seeds_than_a_verdict_needs_are_told():
    few, enough = ("\n".join(sample_size_lines(sample_sizes(check(text=BASE + more).runs))) for more in ("", SEEDS))
    assert "1 seed an arm (a verdict on methods needs at least 3)" in few
    assert "4 seeds an arm" in enough
    assert "verdict" not in enough


def test_the_plan_holds_both_as_text_and_as_json():
    checked = check(FINAL)
    assert "To see 5 points" in plan_text(checked)
    assert "To see 2 points" in plan_text(checked, difference=0.02)
    assert api.plan_document(checked, difference=0.02)["sample_sizes"]["rounds_needed"] == rounds_needed(0.5, 0.02)


def test_the_command_takes_points(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(BASE)
    command = [sys.executable, "-m", "gift_dsl", "plan", str(path), "--difference", "10", "--spread", "5", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    sizes = json.loads(done.stdout)["sample_sizes"]
    assert (sizes["difference"], sizes["spread"], sizes["rounds_needed"]) == (0.1, 0.05, 388)


def test_a_plan_needs_no_numpy(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(BASE)
    code = (
        "import sys\nfrom gift_dsl import api\nfrom gift_dsl.report.plan_text import plan_text\n"
        f"plan_text(api.check_spec({str(path)!r}))\nassert not {{'numpy', 'scipy', 'torch'}} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

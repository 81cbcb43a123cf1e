from __future__ import annotations

import json

import pytest

from gift_dsl import api
from gift_dsl.artifacts.changes import compare_plans, settings
from gift_dsl.errors import UsageError
from gift_dsl.plan import to_json
from tests.compiler.conftest import BASE


@pytest.fixture
def earlier(tmp_path):
    """The plan.json of the base spec."""
    (plan,) = api.check_spec("-", BASE).plans()
    path = tmp_path / "plan.json"
    path.write_text(json.dumps(to_json(plan)))
    return path


def changes(earlier, *sets):
    document = api.plan_against(api.check_spec("-", BASE, sets=sets), str(earlier))
    return {change["path"]: (change["old"], change["new"], change["means"]) for change in document["changes"]}


def test_a_plan_does_not_differ_from_itself(earlier):
    assert changes(earlier) == {}


def test_what_changes_results_needs_a_new_run(earlier):
    found = changes(earlier, "algorithm.learning_rate=5e-7")
    assert found == {"stages.main.algorithm.learning_rate": (1e-6, 5e-7, "changes results: new run")}


def test_where_a_run_happens_may_change(earlier):
    assert changes(earlier, "output.save_every=50") == {"runtime.output.save_every": (20, 50, "can resume")}


def test_steps_may_grow_under_a_constant_schedule_only(earlier):
    grown = changes(earlier, "stages[main].until.steps=20")
    assert {means for _, _, means in grown.values()} == {"can resume"}
    assert {means for _, _, means in changes(earlier, "stages[main].until.steps=5").values()} == {
        "changes results: new run"
    }
    linear = changes(earlier, "stages[main].until.steps=20", "algorithm.schedule=linear")
    assert linear["stages.main.until.max_steps"][2] == "changes results: new run"


def said(*sets, both=()):
    """Each setting that differs from the base spec, in a line."""
    (old,) = api.check_spec("-", BASE, sets=both).plans()
    (new,) = api.check_spec("-", BASE, sets=(*both, *sets)).plans()
    return [str(change) for change in settings(compare_plans(to_json(old), to_json(new)))]


def test_each_setting_is_told_as_the_spec_calls_it_and_whether_it_may_change():
    more = ("limits.policy_tokens=7", "trackers=[wandb]", "algorithm.learning_rate=5e-7", "stages[main].until.steps=20")
    assert said(*more) == [
        "stages.main.algorithm.learning_rate: 1e-06 -> 5e-07 (may not change: results depend on it)",
        "stages.main.until.steps: 10 -> 20 (may change)",
        "limits.policy_tokens: null -> 7 (may change)",
        'trackers: [] -> ["wandb"] (may change)',
    ]


def test_the_address_of_an_endpoint_is_told_with_its_opponent():
    opponents = "opponents={them: {type: openai, model: m, base_url: 'http://127.0.0.1:1/v1'}}"
    other = "opponents.them.base_url='http://127.0.0.1:2/v1'"
    assert said(other, both=(opponents, "games.tictactoe.opponents=them")) == [
        "opponents.them.base_url: http://127.0.0.1:1/v1 -> http://127.0.0.1:2/v1 (may change)"
    ]


def test_what_only_follows_from_a_setting_is_not_told_beside_it():
    (line,) = said("algorithm.groups_per_step=4")
    assert line.startswith("stages.main.algorithm.groups_per_step: 8 -> 4 (may not change")


@pytest.mark.parametrize(
    ("both", "name", "steps", "why"),
    [
        (
            "algorithm.schedule=linear",
            "main",
            20,
            "the learning rate of all its steps depends on it (`schedule: linear`)",
        ),
        ("seed=1", "main", 5, "a stage may only get more steps"),
        (
            "stages=[{name: one, type: grpo, play: all, until: {steps: 10}}, {name: two, type: grpo, play: sums, "
            "until: {steps: 2}}]",
            "one",
            20,
            "only the last stage may get more steps",
        ),
    ],
)
def test_steps_that_may_not_change_have_a_reason(both, name, steps, why):
    (line,) = said(f"stages[{name}].until.steps={steps}", both=(both,))
    assert line == f"stages.{name}.until.steps: 10 -> {steps} (may not change: {why})"


def test_most_steps_are_told_as_such_where_another_condition_ends_the_stage():
    (line,) = said(
        "stages[main].until.max_steps=20",
        both=("stages=[{name: main, type: grpo, play: all, until: {policy_tokens: 9, max_steps: 10}}]",),
    )
    assert line == "stages.main.until.max_steps: 10 -> 20 (may change)"


def test_a_horizon_that_somebody_wrote_is_told():
    (line,) = said("stages[main].schedule_steps=30", both=("stages[main].schedule_steps=20",))
    assert line.startswith("stages.main.schedule_steps: 20 -> 30 (may not change: ")


def test_a_run_directory_and_a_spec_can_be_compared_with(earlier, tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text(BASE)
    checked = api.check_spec(str(spec))
    assert api.plan_against(checked, str(tmp_path))["changes"] == []
    assert api.plan_against(checked, str(spec))["changes"] == []


@pytest.mark.parametrize("text", ["not json", "[]", '{"schema": "other/1"}'])
def test_something_else_is_refused(tmp_path, text):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(UsageError, match="is not"):
        api.plan_against(api.check_spec("-", BASE), str(path))


def test_nothing_there_is_refused(tmp_path):
    with pytest.raises(UsageError, match=r"neither a plan\.json"):
        api.plan_against(api.check_spec("-", BASE), str(tmp_path / "none"))

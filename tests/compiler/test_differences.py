from __future__ import annotations

import json

import pytest

from gift_dsl import api
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

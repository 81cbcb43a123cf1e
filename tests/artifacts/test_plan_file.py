"""plan.json is the plan: what was written is what a rank or a resume reads, and anything else is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.artifacts.decode import DecodeError
from gift_dsl.artifacts.plan_file import from_json, read_plan, write_plan
from gift_dsl.errors import MachineError
from gift_dsl.plan import plan_hash, to_json
from gift_dsl.settings import shipped

GOLDEN = sorted((Path(__file__).parent.parent / "golden" / "plans").glob("*.json"))
SPECS = [
    shipped("specs") / name
    for name in (
        "quickstart.yaml",
        "nested_all.yaml",
        "ablation/nested_vs_mixed.yaml",
        "examples/in_turn_blocks.yaml",
        "examples/league.yaml",
        "examples/curriculum.yaml",
        "examples/glow_recorded.yaml",
        "examples/lora_small_gpu.yaml",
        "examples/own_games.yaml",
    )
]


def quickstart():
    (plan,) = api.compile_spec(str(SPECS[0]))
    return plan


def changed(place, value):
    """The quickstart's plan as JSON, with one value replaced; `...` removes it."""
    document = json.loads(json.dumps(to_json(quickstart())))
    *way, last = place
    part = document
    for key in way:
        part = part[key]
    if value is ...:
        del part[last]
    else:
        part[last] = value
    return document


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_plan_that_was_written_is_read_as_it_was(path, tmp_path):
    for plan in api.compile_spec(str(path)):
        write_plan(tmp_path / "plan.json", plan)
        again = read_plan(tmp_path / "plan.json")
        assert again == plan
        assert plan_hash(again) == plan_hash(plan)


@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_a_golden_plan_has_a_value_and_that_value_its_data(path):
    for run in json.loads(path.read_text(encoding="utf-8")):
        run["plan"]["runtime"]["folder"] = "/somewhere"  # the golden files leave it out: it is of one machine
        assert to_json(from_json(run["plan"])) == run["plan"]


def test_one_plan_has_one_sequence_of_bytes(tmp_path):
    for name in ("a", "b"):
        write_plan(tmp_path / name, quickstart())
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("sede",), 1, "sede: Plan has no such key"),
        (("seed",), ..., "seed: the key is missing in Plan"),
        (("seed",), "1", "seed: expected int, got '1'"),
        (("seed",), True, "seed: expected int, got True"),
        (("compat",), "gift_v2", "compat: expected one of 'none', 'gift_v1', got 'gift_v2'"),
        (("games", 0, "reward"), [1.0, 0.5], "games[0].reward: expected a list of 3, got [1.0, 0.5]"),
        (("games", 0, "reward"), {}, "games[0].reward: expected a list, got {}"),
        (("games", 0, "params"), [], "games[0].params: expected an object, got []"),
        (("games", 0, "prompt"), None, "games[0].prompt: expected an object, got None"),
        (("stages", 1, "play", "kind"), "Both", "stages[1].play.kind: expected one of Leaf, AllOf, AnyOf, InTurn"),
        (("stages", 1, "play", "kind"), "Leaf", "stages[1].play.context: Leaf has no such key"),
        (("stages", 1, "algorithm", "dual_clip"), "on", "stages[1].algorithm.dual_clip: expected float or"),
        (("stages", 1, "until", "max_steps"), 1.5, "stages[1].until.max_steps: expected int, got 1.5"),
        (("schema",), "gift-plan/2", "schema: expected gift-plan/1, got 'gift-plan/2'"),
    ],
)
def test_what_is_no_plan_is_refused_with_its_place(place, value, message):
    with pytest.raises(DecodeError) as caught:
        from_json(changed(place, value))
    assert str(caught.value).startswith(message)


def test_a_whole_number_stands_for_a_float():
    plan = from_json(changed(("games", 0, "reward"), [1, 0, 0]))
    assert plan.games[0].reward == (1.0, 0.0, 0.0)
    assert all(type(value) is float for value in plan.games[0].reward)


def test_a_key_with_a_default_may_be_missing_as_in_a_plan_of_before_it():
    place = ("stages", 1, "until", "success_patience")
    assert from_json(changed(place, ...)) == quickstart()


def test_a_plan_that_is_not_there_or_damaged_is_named(tmp_path):
    path = tmp_path / "plan.json"
    with pytest.raises(MachineError, match="there is no plan at"):
        read_plan(path)
    for content in (b"{", b"[]", b"\xff", b'{"schema": "gift-plan/1"}'):
        path.write_bytes(content)
        with pytest.raises(MachineError, match=r"plan\.json is (damaged|not a plan that)"):
            read_plan(path)

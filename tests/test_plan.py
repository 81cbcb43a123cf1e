from __future__ import annotations

import json
import math
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl import api
from gift_dsl.plan import canonical_json, digest, leaves, missing_prints, plan_hash, to_json
from tests.compiler.conftest import BASE

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(JSON)
def test_canonical_json_is_that_of_rfc_8785(value):
    assert canonical_json(value) == rfc8785.dumps(value)


@given(st.binary(min_size=8, max_size=8))
def test_every_double_is_written_as_rfc_8785_says(raw):
    (value,) = struct.unpack("d", raw)
    if math.isfinite(value):
        assert canonical_json(value) == rfc8785.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2**53, -(2**53)])
def test_a_number_without_an_exact_form_is_refused(value):
    with pytest.raises(ValueError, match="no canonical form"):
        canonical_json(value)


def test_only_json_has_a_canonical_form():
    with pytest.raises(TypeError, match="set is not JSON"):
        canonical_json({"a": {1, 2}})


def test_a_digest_depends_on_its_kind():
    assert digest("a/1", {}) != digest("b/1", {})


def plan(*sets: str, text: str = BASE):
    (made,) = api.check_spec("-", text, sets=sets).plans()
    return made


def test_a_plan_is_plain_json_with_the_kind_of_each_composition():
    body = to_json(plan())
    assert json.loads(json.dumps(body)) == body
    assert body["stages"][0]["play"]["kind"] == "AllOf"
    assert [part["kind"] for part in body["stages"][0]["play"]["parts"]] == ["Leaf"] * 4


def test_the_plan_hash_leaves_out_where_a_run_happens():
    here = plan_hash(plan())
    assert here == plan_hash(
        plan("output.save_every=7", "resources.processes=2", "limits.wall_hours=1", "trackers=[wandb]")
    )
    assert here != plan_hash(plan("stages[main].until.steps=11"))


def test_the_plan_holds_prompts_as_text():
    game = plan().game("sums")
    assert "{{" in game.prompt.observations[0]
    assert plan_hash(plan("games.sums.prompt.template='{{ question }} = ?'")) != plan_hash(plan())


def test_a_hub_model_that_is_not_here_leaves_the_plan_hash_open(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    made = plan("model.source=org/model")
    assert [item.name for item in missing_prints(made)] == ["org/model"]
    assert plan_hash(made) is None


def test_local_weights_are_part_of_the_plan_hash(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    first = plan_hash(plan("model.source=./m"))
    (tmp_path / "m" / "config.json").write_text('{"a": 1}')
    assert first is not None
    assert plan_hash(plan("model.source=./m")) not in (None, first)


def test_a_plan_names_opponents_that_were_not_defined():
    assert {item.name: item.type for item in plan().opponents} == {"clue": "clue", "random": "random"}


def test_games_that_no_stage_plays_are_not_in_the_plan():
    made = plan("stages[main].play=sums")
    assert [game.name for game in made.games] == ["sums"]
    assert [leaf.game for leaf in leaves(made.stages[0].play)] == ["sums"]


def test_small_families_say_that_nothing_is_held_out():
    assert not plan().game("tictactoe").held_out
    assert plan().game("spy").held_out


def test_the_reference_s_penalties_come_with_compat():
    assert plan().game("tictactoe").illegal_penalty == 0.0
    assert plan("compat=gift_v1").game("tictactoe").illegal_penalty == -0.1
    assert plan().game("tictactoe").format_penalty == -0.1

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.records import PartRecord
from gift_dsl.train.baseline import RoleBaselines, role_key

GAMES = [(1, -1), (1, -1), (-1, 1), (0, 0)]


def test_the_vectors_of_spiral_step_by_step():
    baselines = RoleBaselines(0.95)
    advantages, means = [], []
    for first, second in GAMES:
        advantages.append((first - baselines["ttt/first"], second - baselines["ttt/second"]))
        baselines = baselines.updated([("ttt/first", first), ("ttt/second", second)])
        means.append(baselines["ttt/first"])
    assert [value for pair in advantages for value in pair] == pytest.approx(
        [1, -1, 0.95, -0.95, -1.0975, 1.0975, -0.042625, 0.042625], abs=1e-6
    )
    assert means == pytest.approx([0.05, 0.0975, 0.042625, 0.040494], abs=1e-6)


def test_an_update_leaves_the_baselines_that_a_step_reads_as_they_were():
    before = RoleBaselines(0.5, {"ttt/first": 1.0})
    after = before.updated([("ttt/first", 0.0), ("ttt/first", 0.0)])
    assert (before["ttt/first"], after["ttt/first"]) == (1.0, 0.25)


@given(values=st.lists(st.floats(-1, 1), max_size=20), decay=st.floats(0, 0.99))
def test_a_baseline_stays_within_what_it_has_seen_and_its_start(values, decay):
    baselines = RoleBaselines(decay).updated([("a/first", value) for value in values])
    assert min([0.0, *values]) - 1e-12 <= baselines["a/first"] <= max([0.0, *values]) + 1e-12


@given(st.dictionaries(st.text(max_size=5), st.floats(-1, 1)))
def test_a_checkpoint_keeps_every_digit(means):
    kept = json.loads(json.dumps(RoleBaselines(0.95, means).means))
    assert RoleBaselines(0.95, kept) == RoleBaselines(0.95, means)


def part(game, seat=0, role=""):
    return PartRecord(f"{game}#1", game, "x", seat, role, "success", 1.0)


def test_a_role_is_known_by_game_and_role_whatever_the_order_of_play():
    spy, board = part("spy", role="civilian"), part("ttt", seat=1)
    assert role_key([spy, board]) == role_key([board, spy]) == "spy/civilian + ttt/seat 1"

"""Scripted play of a supervised stage against the policy itself: live, as a snapshot, or drawn from a pool."""

from __future__ import annotations

import pytest

from gift_dsl.artifacts.lines import read_lines
from tests.run.small import SPEC, here

OPPONENTS = """\
opponents:
  me: {type: self}
  older: {type: snapshot, every: 1}
  after: {type: snapshot, every: 1, first: minimax}
  mixed: {type: pool, members: [older, me, random]}
"""
WARMUP = (
    SPEC.split("  - {name: nested")[0]
    .replace("episodes: 64", "episodes: 16")
    .replace("opponents: random", "opponents: {}")
    + OPPONENTS
    + "evaluation: {sampling: {temperature: 1.0, max_tokens: 6}}\n"
)


def losses(folder, opponent, kind="sft"):
    text = WARMUP.replace("opponents: {}", f"opponents: {opponent}")
    if kind == "glow":
        text = text.replace("type: sft", "type: glow").replace("sft: {learning_rate", "glow: {learning_rate")
    folder.mkdir()
    outcome = here(folder, text)
    assert outcome.exit_code == 0
    return [line["loss"] for line in read_lines(outcome.run.metrics)]


@pytest.mark.parametrize("kind", ["sft", "glow"])
def test_a_snapshot_is_the_policy_as_the_stage_finds_it(tmp_path, kind):
    assert losses(tmp_path / "older", "older", kind) == losses(tmp_path / "me", "me", kind)


def test_a_snapshot_with_a_first_is_that_one(tmp_path):
    assert losses(tmp_path / "after", "after") == losses(tmp_path / "minimax", "minimax")


def test_a_pool_may_draw_a_snapshot(tmp_path):
    assert losses(tmp_path / "mixed", "mixed")

"""`optimizer: carry` through whole runs: a stage goes on with the moments of the one before, also after a resume."""

from __future__ import annotations

import pytest
import torch

from gift_dsl.artifacts.checkpoints import latest
from tests.run.small import SPEC, assert_same, here
from tests.run.test_stopping import stopped

SHORT = SPEC.partition("evaluation:")[0].replace("steps: 4", "steps: 2")
HEAD = SHORT.replace("keep: 1.0", "keep: 1.0, drop_zero: false")  # so that no update is without trajectories
TEXT = {how: HEAD.replace("type: grpo,", f"type: grpo, optimizer: {how},") for how in ("carry", "reset")}


def updates_seen(run):
    """By the optimizer of the last checkpoint of each stage, in all its life."""
    found = {stage.name: latest(run.checkpoints / stage.name).path / "optimizer.pt" for stage in run.plan.stages}
    states = {name: torch.load(path, weights_only=True)["state"] for name, path in found.items()}
    return {name: {int(one["step"]) for one in state.values()} for name, state in states.items()}


@pytest.mark.parametrize(("how", "nested"), [("carry", 6), ("reset", 4)])
def test_a_stage_that_carries_goes_on_counting_updates(tmp_path, how, nested):
    outcome = here(tmp_path, TEXT[how])
    assert outcome.exit_code == 0
    assert updates_seen(outcome.run) == {"warmup": {2}, "nested": {nested}}


def test_a_resume_does_not_carry_again(tmp_path):
    for name in ("whole", "parts"):
        (tmp_path / name).mkdir()
    whole = here(tmp_path / "whole", TEXT["carry"])
    assert stopped(tmp_path / "parts", step=0, text=TEXT["carry"]).exit_code == 143
    resumed = here(tmp_path / "parts", TEXT["carry"], mode="resume")
    assert_same(resumed.run, whole.run)
    assert updates_seen(resumed.run) == updates_seen(whole.run)

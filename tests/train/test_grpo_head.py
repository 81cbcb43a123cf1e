"""Only sampled ids go through the head: the same losses and gradients, at less cost."""

from __future__ import annotations

import inspect

import pytest
import torch
from trl.trainer import utils as trl_utils

from gift_dsl.train.grpo import GiftTrainer
from tests.train.staged import Log, Recorded, Watched, engine_of, plan_of, recorded_plan, train

torch.set_num_threads(1)


def updated(monkeypatch, folder, *, scores_sampled, voids=1, **changes):
    """Two steps of recorded groups, among their rows such as only fill up."""
    with monkeypatch.context() as patch:
        patch.setattr(GiftTrainer, "scores_sampled", scores_sampled)
        plan = recorded_plan(kept=3, micro=4, entropy_coef=0.05, kl_coef=0.1, **changes)
        watched, log = Watched(patch, Recorded(plan, dead=(1,), voids=voids)), Log()
        train(plan, folder, engine_of(), log)
    return watched, log


@pytest.mark.parametrize("preset", ["starpo_s", "dapo", "dr_grpo"])
def test_losses_and_gradients_are_those_of_the_whole_head(monkeypatch, tmp_path, preset):
    whole, whole_log = updated(monkeypatch, tmp_path / "whole", scores_sampled=False, preset=preset)
    some, some_log = updated(monkeypatch, tmp_path / "some", scores_sampled=True, preset=preset)
    assert some.losses == pytest.approx(whole.losses, abs=1e-6)
    assert any(loss != 0 for loss in whole.losses)
    for ours, theirs in zip(some.grads, whole.grads, strict=True):
        assert all(torch.allclose(one, other, atol=1e-6) for one, other in zip(ours, theirs, strict=True))
    for ours, theirs in zip(some_log.metrics, whole_log.metrics, strict=True):
        measured = {name for name in theirs if name.startswith("update/")}
        assert {"update/entropy", "update/kl", "update/clip_share"} <= measured
        assert all(ours[name] == pytest.approx(theirs[name], abs=1e-5) for name in measured)


def test_nothing_but_sampled_ids_goes_through_the_head(monkeypatch, tmp_path):
    rows = []
    head = trl_utils._ChunkedLogProbFunction.apply

    def counted(hidden, *args):
        rows.append(len(hidden))
        return head(hidden, *args)

    monkeypatch.setattr(trl_utils._ChunkedLogProbFunction, "apply", counted)
    watched, _ = updated(monkeypatch, tmp_path, scores_sampled=True, voids=2)
    sampled = [int((micro["completion_mask"] * micro["tool_mask"]).sum()) for micro in watched.trainer._buffered_inputs]
    assert rows[-len(sampled) :] == sampled
    assert min(sampled) == 0  # a micro-batch that only fills up
    assert sum(sampled) > 0


def test_the_rest_of_trl_is_left_as_it_is(tmp_path):
    before = trl_utils._use_triton
    train(plan_of("stages[nested].until.steps=1"), tmp_path)
    assert trl_utils._use_triton is before


def test_trl_chooses_the_scored_positions_as_we_know():
    text = inspect.getsource(trl_utils.add_fused_lm_head)
    assert "compact = _use_triton(hidden_states.device)" in text
    assert "hidden_states[mask] if compact" in text
    assert "mask = labels != -100" in text

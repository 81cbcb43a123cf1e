"""GLOW as a trainer: the weights of every update, computed again from the losses it told, and its history on resume."""

from __future__ import annotations

import pytest
import torch

from gift_dsl.train.glow import GlowTrainer, make_rule, train_glow
from gift_dsl.train.glow_weights import sample_losses
from gift_dsl.train.sft import make_stage_course
from tests.train.lesson_plans import Heard, job_of, plan_of

FIELDS = "{{batch_size: 4, learning_rate: 0.01, schedule: constant, warmup: 0, alpha: 2, beta: 15{more}}}"


def glow_plan(more="", **changes):
    """Two epochs of three updates, the last of them of two episodes."""
    fields = FIELDS.format(more=more)
    return plan_of(
        **{"type": "glow", "epochs": 2, "data": "{scripted: {episodes: 10}}", "fields": fields, "save_every": 4}
        | changes
    )


def trained(plan, folder, **more):
    heard = Heard(more.pop("stop_after", None))
    job = job_of(plan, folder, heard, **more)
    train_glow(job)
    return job, heard


def by_hand(job):
    """The losses of all updates by plain torch: AdamW, one row after the other, weights from the formula."""
    model, rule, course = job.engine.model.train(), make_rule(job.stage.supervised), make_stage_course(job)
    decays = {"betas": (0.9, 0.999), "weight_decay": 0.0}
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, **decays)
    previous, told = {}, []
    for number, update in enumerate(course.updates):
        losses = []
        for index in update:
            ids, mask = torch.tensor([course.rows[index].ids]), torch.tensor([course.rows[index].mask])
            logp = model(ids).logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
            losses.append(sample_losses(logp, mask[:, 1:])[0])
        weights = [1.0] * len(update)
        if course.epoch(number):
            raw = [
                rule.offset + rule.alpha * (1 - torch.sigmoid(torch.tensor(rule.beta * (previous[one] - loss.item()))))
                for one, loss in zip(update, losses, strict=True)
            ]
            weights = [min(max(float(weight), rule.weight_min), rule.weight_max) for weight in raw]
        if rule.normalise:
            weights = [weight * len(weights) / sum(weights) for weight in weights]
        loss = sum(weight * one for weight, one in zip(weights, losses, strict=True)) / len(losses)
        told.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), job.stage.supervised["max_grad_norm"])
        optimizer.step()
        previous |= {one: loss.item() for one, loss in zip(update, losses, strict=True)}
    return told


@pytest.mark.parametrize("micro", [4, 3])
@pytest.mark.parametrize("more", ["", ", normalise: true"])
def test_every_update_is_the_mean_of_weight_times_loss_however_it_is_cut(more, micro, tmp_path):
    plan = glow_plan(more, micro=micro)
    _, heard = trained(plan, tmp_path)
    assert heard.of("loss") == pytest.approx(by_hand(job_of(plan, tmp_path)), rel=2e-4)


def test_weights_leave_the_first_epoch_alone_and_change_the_second(tmp_path):
    _, weighed = trained(glow_plan(), tmp_path / "weighed")
    _, even = trained(glow_plan(", weight_min: 1, weight_max: 1"), tmp_path / "even")
    assert weighed.of("loss")[:3] == even.of("loss")[:3]
    assert weighed.of("loss")[3] < 0.9 * even.of("loss")[3]  # most rows improve, and weigh less


def test_a_resumed_stage_remembers_the_losses_of_the_epoch_before(tmp_path):
    plan = glow_plan()
    _, whole = trained(plan, tmp_path / "whole")
    _, first = trained(plan, tmp_path / "parts", stop_after=4)
    again, rest = trained(plan, tmp_path / "parts", resume_from=first.checkpoints[-1][0])
    assert first.of("loss") + rest.of("loss") == whole.of("loss")
    assert len(rest.records) == 2
    state = torch.load(again.folder / "checkpoint-6" / "glow_state.pt", weights_only=True)
    assert not state["last"].isnan().any()
    assert state["epoch"].tolist() == [1] * 10


def test_a_place_without_a_row_has_no_part_in_the_loss(tmp_path):
    job = job_of(glow_plan(micro=8), tmp_path)
    trainer = GlowTrainer(job, make_stage_course(job))
    batch = trainer.collate([{"prompt": "16"}, {"prompt": "23"}])  # the first row of the third update, and none
    rows_B, losses_B, _ = trainer._row_losses(trainer.model, batch)
    assert rows_B.tolist() == [trainer.course.updates[2][0]]
    assert losses_B.shape == (1,)

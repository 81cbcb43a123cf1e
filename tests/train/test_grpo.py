"""What a stage's trainer computes, beside slow loops over trajectories that share no code with it."""

from __future__ import annotations

import gc
import statistics
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace

import pytest
import torch

from gift_dsl.errors import GiftError, MachineError
from gift_dsl.play.keys import Keys
from gift_dsl.train.grpo import GiftTrainer
from tests.train.reference import advantages_of, aggregate, token_loss
from tests.train.staged import Log, Recorded, Watched, distributions, engine_of, logprobs, recorded_plan, train

torch.set_num_threads(1)


class Reference:
    """The update of a stage, trajectory by trajectory and token by token.

    Args:
        plan: its stage's algorithm and sizes.
        recorded: what is played.
    """

    def __init__(self, plan, recorded):
        self.plan, self.recorded, self.temperature = plan, recorded, recorded.temperature
        self.rule, self.batch = plan.stages[-1].algorithm, plan.stages[-1].batch
        self.model, self.start = engine_of().model, engine_of().model
        named = list(self.model.parameters())
        self.optimizer = torch.optim.AdamW(
            [
                {"params": [one for one in named if one.dim() > 1], "weight_decay": self.rule.weight_decay},
                {"params": [one for one in named if one.dim() <= 1], "weight_decay": 0.0},
            ],
            lr=self.rule.learning_rate,
            betas=(self.rule.adam_beta1, self.rule.adam_beta2),
        )
        parts = plan.stages[-1].play.parts
        self.constant = sum(part.max_turns * part.max_tokens_per_turn for part in parts)

    def groups(self, step):
        keys = Keys(self.plan.seed, "train", self.plan.stages[-1].name, step)
        return [self.recorded.group(keys, number, self.rule.group_size) for number in range(self.rule.groups_per_step)]

    def kept(self, groups):
        """Those with at least half of their members alive and returns that differ."""
        found = []
        for group in groups:
            returns = [one.raw_return for one in group.trajectories if not one.is_void]
            if 2 * len(returns) >= len(group.trajectories) and statistics.stdev(returns) > 1e-6:
                found.append(group)
        return found[: self.batch.kept_groups]

    def pairs(self, groups):
        everything = [one.raw_return for group in groups for one in group.trajectories if not one.is_void]
        for group in groups:
            returns = [None if one.is_void else self.paid(one) for one in group.trajectories]
            values = advantages_of(returns, self.rule.advantage_scale, everything)
            for one, value in zip(group.trajectories, values, strict=True):
                is_left_out = self.rule.overlong == "mask" and any(part.truncated for part in one.parts)
                if value is not None and not is_left_out:
                    yield one, value

    def paid(self, one):
        """A turn that was cut costs 1, shared by the parts; short ones cost nothing here."""
        if self.rule.overlong != "penalty":
            return one.raw_return
        return one.raw_return - sum(part.truncated > 0 for part in one.parts) / len(one.parts)

    def loss(self, window):
        terms, divergences, entropies = [], [], []
        for trajectory, advantage in window:
            own, far = [], []
            for sequence in trajectory.sequences:
                now = distributions(self.model, sequence, self.temperature)
                before = logprobs(self.start, sequence, self.temperature)
                for place, token in enumerate(sequence.completion_ids):
                    if sequence.mask[place]:
                        logp = now[place, token]
                        own.append(token_loss(torch.exp(logp - sequence.logprobs[place]), advantage, self.rule))
                        far.append(torch.exp(before[place] - logp) - (before[place] - logp) - 1)
                        entropies.append(-(now[place].exp() * now[place]).sum())
            terms.append(own)
            divergences.append(far)
        entropy = sum(entropies) / len(entropies)
        return (
            self.aggregate(terms) + self.rule.kl_coef * self.aggregate(divergences) - self.rule.entropy_coef * entropy
        )

    def aggregate(self, terms):
        if self.rule.loss == "constant":
            return sum(sum(own) for own in terms) / (len(terms) * self.constant)
        return aggregate(terms, self.rule)

    def train(self, steps):
        """The loss of every update that has trajectories."""
        size = self.batch.rows_per_update // self.batch.rows_per_trajectory
        for step in range(steps):
            trained = list(self.pairs(self.kept(self.groups(step))))
            for _ in range(self.rule.epochs):
                for first in range(0, len(trained), size):
                    loss = self.loss(trained[first : first + size])
                    self.optimizer.zero_grad()
                    loss.backward()
                    torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.rule.max_grad_norm)
                    self.optimizer.step()
                    yield loss.item()


CASES = {
    "one update of everything": {},
    "token mean": {"loss": "token", "advantage_scale": "none"},
    "constant length": {"loss": "constant", "advantage_scale": "batch"},
    "several updates": {"mini": 4, "loss": "token"},
    "two epochs": {"epochs": 2, "mini": 4},
    "dual clip": {"dual_clip": 1.3, "noise": 1.0},
    "no dual clip, much clipped": {"dual_clip": "off", "noise": 1.0, "loss": "token"},
    "entropy": {"entropy_coef": 0.1, "mini": 4},
    "kl": {"kl_coef": 0.5, "loss": "trajectory", "noise": 1.0},
    "kl by token": {"kl_coef": 0.5, "loss": "token", "mini": 4, "entropy_coef": 0.05},
    "kl by constant": {"kl_coef": 0.5, "loss": "constant"},
    "fresh contexts": {"context": "fresh", "rows": 2, "kl_coef": 0.3},
    "a sequence a turn": {"context": "turns", "rows": 4, "loss": "token", "mini": 4},
    "a sequence a turn, by trajectory": {"context": "turns", "rows": 4, "mini": 4, "entropy_coef": 0.1},
    "voided members": {"voids": 2, "mini": 4},
    "three of eight groups": {"kept": 8, "dead": (0, 2, 3, 5, 7), "mini": 16, "loss": "trajectory"},
    "three of eight groups, by token": {"kept": 8, "dead": (0, 2, 3, 5, 7), "mini": 8, "loss": "token", "kl_coef": 0.2},
    "cut ones are left out": {"overlong": "mask", "cut": True},
    "cut ones are fined": {"overlong": "penalty", "cut": True, "overlong_cache": 1},
}
OF_PLAY = ("context", "dead", "voids", "noise", "cut")


@pytest.mark.parametrize("case", CASES)
def test_losses_are_those_of_the_formulas_step_after_step(case, monkeypatch, tmp_path):
    options = dict(CASES[case])
    play = {name: options.pop(name) for name in OF_PLAY if name in options}
    kept = options.pop("kept", 2)
    plan = recorded_plan(kept=kept, groups_per_step=kept, steps=3, **options)
    recorded = Recorded(plan, **play)
    expected = list(Reference(plan, recorded).train(3))
    watched = Watched(monkeypatch, recorded)
    train(plan, tmp_path)
    trained = [loss for loss, norm in zip(watched.losses, watched.norms, strict=True) if norm > 0]
    assert trained == pytest.approx(expected, abs=1e-6)
    assert len(set(trained)) == len(trained)


def at_temperature(plan, value):
    """The plan with another sampling temperature in all parts of its stage."""
    stage = plan.stages[-1]
    parts = [replace(part, rollout=replace(part.rollout, temperature=value)) for part in stage.play.parts]
    stage = replace(stage, play=replace(stage.play, parts=tuple(parts)))
    return replace(plan, stages=(*plan.stages[:-1], stage))


def test_at_another_temperature_the_policy_is_the_sampled_distribution(monkeypatch, tmp_path):
    plan = at_temperature(recorded_plan(steps=3, kl_coef=0.2, entropy_coef=0.1), 0.7)
    recorded = Recorded(plan, temperature=0.7)
    expected = list(Reference(plan, recorded).train(3))
    watched = Watched(monkeypatch, recorded)
    train(plan, tmp_path)
    assert watched.losses == pytest.approx(expected, abs=1e-6)
    watched = Watched(monkeypatch, Recorded(plan, temperature=1.0))
    train(plan, tmp_path / "other")
    assert watched.losses != pytest.approx(expected, abs=1e-3)


def test_parts_of_different_temperatures_are_refused(tmp_path):
    plan = recorded_plan()
    stage = plan.stages[-1]
    first, second = stage.play.parts
    hot = replace(first, rollout=replace(first.rollout, temperature=1.5))
    stage = replace(stage, play=replace(stage.play, parts=(hot, second)))
    with pytest.raises(GiftError, match=r"samples at temperatures \[1.0, 1.5\]"):
        train(replace(plan, stages=(stage,)), tmp_path)


def test_what_goes_on_beside_the_updates_is_over_before_the_step_is_told(monkeypatch, tmp_path):
    plan = recorded_plan(steps=3)
    watched, updated, found = Watched(monkeypatch, Recorded(plan)), threading.Event(), []
    may_step = GiftTrainer._may_step

    def see(trainer, optimizer):
        updated.set()
        return may_step(trainer, optimizer)

    monkeypatch.setattr(GiftTrainer, "_may_step", see)

    def write():
        found.append(updated.wait(60))
        updated.clear()

    with ThreadPoolExecutor(1) as beside:
        log = Log()
        told = []
        log.hooks = replace(
            log.hooks,
            on_groups=lambda step, groups: beside.submit(write),
            on_step=lambda record: told.append((record.step, len(found))),
        )
        train(plan, tmp_path, log=log)
    assert found == [True] * 3, "an update was made meanwhile"
    assert told == [(0, 1), (1, 2), (2, 3)]
    assert len(watched.losses) == 3


def test_what_fails_beside_the_updates_ends_the_stage_before_the_step_counts(monkeypatch, tmp_path):
    plan, told = recorded_plan(steps=2), []
    Watched(monkeypatch, Recorded(plan))
    failed = Future()
    failed.set_exception(MachineError("the disk is full"))
    log = Log()
    log.hooks = replace(log.hooks, on_groups=lambda step, groups: failed, on_step=told.append)
    with pytest.raises(MachineError, match="the disk is full"):
        train(plan, tmp_path, log=log)
    assert told == log.checkpoints == []


def test_garbage_is_looked_for_seldom_while_playing_and_as_before_while_updating(monkeypatch, tmp_path):
    plan = recorded_plan(steps=2)
    playing, updating, before = [], [], gc.get_threshold()
    Watched(monkeypatch, Recorded(plan))
    log = Log()
    log.hooks = replace(
        log.hooks,
        on_groups=lambda step, groups: playing.append(gc.get_threshold()),
        on_step=lambda record: updating.append(gc.get_threshold()),
    )
    train(plan, tmp_path, log=log)
    assert playing == [(50_000, *before[1:])] * 2
    assert updating
    assert {*updating, gc.get_threshold()} == {before}

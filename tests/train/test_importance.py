from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.importance import LARGEST_KL, Mismatch, importance_weights, mismatch_sums
from tests.train.made import algorithm
from tests.train.reference import token_loss

MASK = torch.tensor([[1, 1, 0, 1]])
TRAINER = torch.tensor([[-0.5, -1.0, -9.0, -2.0]])


def shifted(shift):
    """An engine whose log-probabilities are off by a constant; of given tokens it says nothing."""
    return torch.where(MASK.bool(), TRAINER - shift, 0.0)


def mismatch(shift, cap=3.0):
    return Mismatch.from_sums(mismatch_sums(TRAINER, shifted(shift), MASK, cap))


@pytest.mark.parametrize("shift", [-1.0, -0.01, 0.0, 0.01, 1.0, 2.0])
def test_an_engine_that_is_off_by_a_constant_gives_the_analytic_loss(shift):
    rule = algorithm()
    weights = importance_weights(TRAINER, shifted(shift), MASK, cap=3.0)[0].tolist()
    ratios, advantage = [0.7, 1.25, 1.0, 1.5], -0.8
    corrected = [token_loss(ratio, weight * advantage, rule) for ratio, weight in zip(ratios, weights, strict=True)]
    for place in (0, 1, 3):
        plain = token_loss(ratios[place], advantage, rule)
        assert corrected[place] == pytest.approx(min(math.exp(shift), 3.0) * plain, rel=1e-6)
    assert weights[2] == 1.0


@pytest.mark.parametrize("shift", [-1.0, -0.01, 0.0, 0.01, 1.0, 2.0])
def test_its_mismatch_is_the_analytic_one(shift):
    found = mismatch(shift)
    assert found.num_tokens == 3
    assert found.abs_difference == pytest.approx(abs(shift), abs=1e-6)
    assert found.kl == pytest.approx(math.exp(shift) - 1 - shift, abs=1e-6)
    assert found.truncated == (shift > math.log(3.0))


def test_the_alarm_goes_off_above_one_in_a_thousand():
    quiet, loud = math.sqrt(2 * LARGEST_KL) * 0.98, math.sqrt(2 * LARGEST_KL) * 1.02
    assert (mismatch(quiet).is_alarming, mismatch(loud).is_alarming) == (False, True)
    assert mismatch(math.nan).is_alarming


def test_sums_add_up_over_batches():
    halves = sum(
        (
            mismatch_sums(TRAINER[:, half], shifted(0.3)[:, half], MASK[:, half], 3.0)
            for half in (slice(2), slice(2, 4))
        ),
        torch.zeros(4, dtype=torch.float64),
    )
    assert Mismatch.from_sums(halves) == mismatch(0.3)


def test_without_a_sampled_token_there_is_no_mismatch():
    sums = mismatch_sums(TRAINER, TRAINER, torch.zeros_like(MASK), 3.0)
    assert Mismatch.from_sums(sums) == Mismatch(0, 0.0, 0.0, 0.0)


@given(seed=st.integers(0, 1000), cap=st.floats(1, 10))
def test_weights_stay_within_their_cap_and_pass_no_gradient(seed, cap):
    generator = torch.Generator().manual_seed(seed)
    trainer, engine = (torch.randn(2, 4, generator=generator).requires_grad_() for _ in range(2))
    weights = importance_weights(trainer, engine, torch.ones(2, 4), cap)
    assert not weights.requires_grad
    assert ((weights > 0) & (weights <= cap)).all()


def test_a_token_that_the_trainer_finds_impossible_weighs_nothing_and_alarms():
    trainer = torch.tensor([[-math.inf]])
    engine, mask = torch.tensor([[-1.0]]), torch.ones(1, 1)
    assert importance_weights(trainer, engine, mask, 3.0).item() == 0
    assert Mismatch.from_sums(mismatch_sums(trainer, engine, mask, 3.0)).is_alarming


@pytest.mark.parametrize("temperature", [0.7, 1.0])
def test_k3_is_the_divergence_of_the_distributions_that_are_sampled(temperature):
    generator = torch.Generator().manual_seed(3)
    logits = torch.randn(5, generator=generator, dtype=torch.float64)
    engine = torch.log_softmax(logits / temperature, 0)
    trainer = torch.log_softmax((logits + 0.3 * torch.randn(5, generator=generator)) / temperature, 0)
    exact = (engine.exp() * (engine - trainer)).sum().item()
    each = [mismatch_sums(trainer[i, None, None], engine[i, None, None], torch.ones(1, 1), 3.0) for i in range(5)]
    expected = sum((engine[i].exp() * each[i][2]).item() for i in range(5))
    assert expected == pytest.approx(exact, abs=1e-6)


def test_untruncated_weights_turn_the_engine_s_mean_into_the_trainer_s():
    logits = torch.tensor([0.1, 0.5, -0.3])
    engine, trainer = torch.log_softmax(logits / 0.7, 0), torch.log_softmax(logits, 0)
    weights = importance_weights(trainer[None], engine[None], torch.ones(1, 3), cap=100.0)[0]
    worth = torch.tensor([1.0, -2.0, 3.0])
    assert (engine.exp() * weights * worth).sum().item() == pytest.approx(
        (trainer.exp() * worth).sum().item(), abs=1e-6
    )

"""The oracle itself, against the vectors of the reference pages, sections 1.3 to 1.5."""

from __future__ import annotations

import pytest
import torch

from tests.train.made import algorithm
from tests.train.reference import CONSTANT_LENGTH, advantages_of, aggregate, token_loss

SYMMETRIC = algorithm(clip_high=0.2, dual_clip="off")
HIGHER = algorithm(dual_clip="off")


def losses(ratios, advantage, rule):
    return [token_loss(ratio, advantage, rule) for ratio in ratios]


@pytest.mark.parametrize(
    ("rule", "advantage", "ratios", "wanted", "mean"),
    [
        (SYMMETRIC, 1, [0.7, 1.25, 1.5], [-0.7, -1.2, -1.2], -1.033333),
        (HIGHER, 1, [0.7, 1.25, 1.5], [-0.7, -1.25, -1.28], -1.076667),
        (HIGHER, -1, [0.7, 1.25, 1.5], [0.8, 1.25, 1.5], 1.183333),
        (HIGHER, -1, [0.7, 1.25, 4], [0.8, 1.25, 4], None),
        (algorithm(), -1, [0.7, 1.25, 4], [0.8, 1.25, 3], 1.683333),
        (algorithm(), 1, [0.7, 1.25, 1.5], [-0.7, -1.25, -1.28], -1.076667),
    ],
)
def test_clipping(rule, advantage, ratios, wanted, mean):
    found = losses(ratios, advantage, rule)
    assert found == pytest.approx(wanted)
    if mean is not None:
        assert sum(found) / 3 == pytest.approx(mean, abs=1e-6)


@pytest.mark.parametrize(("advantage", "wanted"), [(1, [-0.7, -1.25, 0]), (-1, [0, 1.25, 1.5])])
def test_what_is_clipped_has_no_gradient(advantage, wanted):
    logp = torch.log(torch.tensor([0.7, 1.25, 1.5])).requires_grad_()
    sum(token_loss(torch.exp(one), advantage, HIGHER) for one in logp).backward()
    assert logp.grad.tolist() == pytest.approx(wanted)


def test_aggregation():
    two = [[1, 2], [3, 4, 5, 6]]
    assert aggregate(two, algorithm(loss="trajectory")) == 3.0
    assert aggregate(two, algorithm(loss="token")) == 3.5
    assert aggregate(two, algorithm(loss="constant")) * CONSTANT_LENGTH / 8 == 1.3125


@pytest.mark.parametrize(
    ("scale", "wanted"),
    [("group", [0.866024, None, -0.866024, -0.866024, 0.866024]), ("none", [0.5, None, -0.5, -0.5, 0.5])],
)
def test_advantages(scale, wanted):
    found = advantages_of([1, None, 0, 0, 1], scale, [])
    assert found == [None if value is None else pytest.approx(value, abs=1e-6) for value in wanted]

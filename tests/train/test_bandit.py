"""Credit on two coins whose gradient is known: what each way of it estimates, and how noisily.

A trajectory tosses two coins in one context. The first is worth 1 for heads; the second for heads after heads, and for
tails after tails. The return is their mean, so the first coin also decides what the second is worth:

    J(p, q) = (p + p q + (1 - p)(1 - q)) / 2

with p = sigmoid(a) and q = sigmoid(b). Every estimate below is the sum of advantage * d log prob, over the members of
a group without a std: its mean is (G - 1) / G of a gradient, because a member is part of its own baseline.
"""

from __future__ import annotations

import itertools
import math
import random
import statistics

import pytest

from gift_dsl.train.credit import credit_groups
from tests.train.made import algorithm, group_of, made, shares_of

P, Q = 0.7, 0.8
WAYS = {"trajectory": {}, "to_go": {}, "segment": {}, "discount": {"discount": 1.0}, "discount, 0.5": {"discount": 0.5}}
WHOLE = (P * (1 - P) * (1 + 2 * Q - 1) / 2, Q * (1 - Q) * (2 * P - 1) / 2)
"""The gradient of J."""
WANTED = {
    "trajectory": WHOLE,
    "to_go": WHOLE,
    "discount": WHOLE,
    # Its declared bias: the first coin is not told what it does to the second.
    "segment": (P * (1 - P) / 2, WHOLE[1]),
    # Its own: the first coin is told half of it.
    "discount, 0.5": (P * (1 - P) * (1 + 0.5 * (2 * Q - 1)) / 2, WHOLE[1]),
}


def tossed(first, second):
    return made([float(first), float(second == first)], turns=[[1], [1]])


def rule(way):
    return algorithm(credit=way.split(",")[0], advantage_scale="none", **WAYS[way])


def estimates(groups, way):
    """The estimate of each group: d J / d a, d J / d b."""
    found = []
    credited = iter(credit_groups([group for group, _ in groups], shares_of(groups[0][0]), rule(way)))
    for _, tosses in groups:
        members = list(zip(tosses, credited, strict=False))
        pairs = [(one.advantages[0][0], one.advantages[0][2]) for _, one in members]
        first = sum(pair[0] * (toss[0] - P) for pair, (toss, _) in zip(pairs, members, strict=True))
        second = sum(pair[1] * (toss[1] - Q) for pair, (toss, _) in zip(pairs, members, strict=True))
        found.append((first / len(tosses), second / len(tosses)))
    return found


def chance(tosses):
    return math.prod((P if first else 1 - P) * (Q if second else 1 - Q) for first, second in tosses)


@pytest.mark.parametrize("way", WAYS)
def test_over_all_groups_of_three_the_estimate_is_exactly_the_declared_one(way):
    groups = [
        (group_of(*itertools.starmap(tossed, tosses), number=number), tosses)
        for number, tosses in enumerate(itertools.product(itertools.product((0, 1), repeat=2), repeat=3))
    ]
    found = estimates(groups, way)
    for coin in (0, 1):
        mean = math.fsum(chance(tosses) * one[coin] for (_, tosses), one in zip(groups, found, strict=True))
        assert mean == pytest.approx(2 / 3 * WANTED[way][coin], abs=1e-12)


@pytest.fixture(scope="module")
def sampled():
    """Six hundred groups of eight."""
    rng = random.Random(5)
    tosses = [[(int(rng.random() < P), int(rng.random() < Q)) for _ in range(8)] for _ in range(600)]
    return [(group_of(*itertools.starmap(tossed, own), number=number), own) for number, own in enumerate(tosses)]


def errors(found, wanted):
    """How many standard errors each mean is off."""
    for coin in (0, 1):
        values = [one[coin] for one in found]
        yield abs(statistics.fmean(values) - 7 / 8 * wanted[coin]) / (statistics.stdev(values) / math.sqrt(len(values)))


@pytest.mark.parametrize("way", WAYS)
def test_sampled_groups_agree_within_three_standard_errors(way, sampled):
    assert max(errors(estimates(sampled, way), WANTED[way])) < 3


@pytest.mark.parametrize("way", ["segment", "discount, 0.5"])
def test_sampled_groups_show_the_declared_bias(way, sampled):
    first, second = errors(estimates(sampled, way), WHOLE)
    assert first > 3 > second


def test_to_go_spares_a_later_part_the_noise_of_an_earlier_one(sampled):
    noise = {way: statistics.variance(one[1] for one in estimates(sampled, way)) for way in ("trajectory", "to_go")}
    assert noise["to_go"] < 0.9 * noise["trajectory"]

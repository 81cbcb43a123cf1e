"""One id from each row of logits, by a given uniform."""

from __future__ import annotations

import math

import torch
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.engines.sampling import sample

LAST = 1 - 2**-53


def draw(logits, uniform, temperature=1.0):
    rows = torch.tensor([logits], dtype=torch.float32)
    ids, logp = sample(rows, torch.tensor([temperature]).double(), torch.tensor([uniform]).double())
    return int(ids), float(logp)


def test_a_uniform_takes_the_first_id_whose_sum_exceeds_it():
    logits = [math.log(p) for p in (0.25, 0.5, 0.25)]
    taken = {uniform: draw(logits, uniform)[0] for uniform in (0.0, 0.24, 0.26, 0.74, 0.76, LAST)}
    assert taken == {0.0: 0, 0.24: 0, 0.26: 1, 0.74: 1, 0.76: 2, LAST: 2}


@given(logits=st.lists(st.floats(-4, 4, width=32), min_size=2, max_size=9), temperature=st.floats(0.3, 3))
def test_evenly_spaced_uniforms_take_each_id_as_often_as_it_is_likely(logits, temperature):
    number = 2000
    uniforms = (torch.arange(number).double() + 0.5) / number
    rows = torch.tensor(logits, dtype=torch.float32).expand(number, -1)
    ids, logp = sample(rows, torch.full((number,), temperature).double(), uniforms)
    expected = (torch.tensor(logits).double() / temperature).softmax(-1)
    counts = torch.bincount(ids, minlength=len(logits))
    assert (counts - number * expected).abs().max() <= 1.001
    assert torch.allclose(logp.double(), expected.log()[ids], atol=1e-5)


@given(uniform=st.sampled_from([0.0, 0.3, LAST]))
def test_an_impossible_id_is_never_taken(uniform):
    token, logprob = draw([-math.inf, 1.0, -math.inf, 1.0, -math.inf], uniform)
    assert token in (1, 3)
    assert math.isclose(logprob, math.log(0.5), abs_tol=1e-6)


def test_at_temperature_0_the_likeliest_id_is_certain():
    assert draw([0.0, 3.0, 3.0, 1.0], 0.99, temperature=0.0) == (1, 0.0)


def test_rows_do_not_disturb_each_other():
    logits = torch.randn(3, 50, generator=torch.Generator().manual_seed(1))
    temperatures, uniforms = torch.tensor([0.0, 0.7, 1.3]).double(), torch.tensor([0.1, 0.2, 0.9]).double()
    together = sample(logits, temperatures, uniforms)
    for row in range(3):
        alone = sample(logits[row : row + 1], temperatures[row : row + 1], uniforms[row : row + 1])
        assert (int(alone[0]), float(alone[1])) == (int(together[0][row]), float(together[1][row]))


def test_the_sum_of_many_small_probabilities_is_exact_enough():
    size = 150_000
    for place in (0.1, 0.5, 0.999):
        token, _ = draw([0.0] * size, place)
        assert abs(token - place * size) <= 1

"""Frozen copies that play: their weights wait beside the device, and what they say does not depend on that."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModelForCausalLM

from gift_dsl.engines.frozen import frozen_copy, frozen_engine
from tests.engines.small import KINDS, VOCABULARY, complete, engine_of, make_model, request_of

torch.set_num_threads(1)

PROMPT = (7, 9, 11, 13)


def requests_of(turn):
    return [request_of((*PROMPT, 20 + turn, member), f"{turn}.{member}", 6) for member in range(3)]


def with_a_device(engine):
    """The engine as if the device were not the CPU: whoever moves there gets memory of its own. Counts the moves."""
    model, moves = engine.model, []

    def to(device):
        moves.append(torch.device(device))
        if len(moves) % 2:  # there; back is to where the weights never left
            for weight in model.parameters():
                weight.data = weight.data.clone()
        return model

    model.to = to
    return moves


def places_of(model):
    return [weight.data_ptr() for weight in model.parameters()]


def test_a_visitor_plays_what_a_copy_that_stays_plays_bit_for_bit():
    policy = engine_of(make_model())
    stays, visits = policy.sibling(frozen_copy(policy.model)), frozen_engine(policy)
    with_a_device(visits)
    for turn in range(3):
        assert complete(visits, requests_of(turn)) == complete(stays, requests_of(turn))
        visits.forget()


def test_weights_are_on_the_device_from_the_first_turn_until_all_is_forgotten():
    visits = frozen_engine(engine_of(make_model()))
    moves, home = with_a_device(visits), places_of(visits.model)
    assert moves == []
    complete(visits, requests_of(0))
    there = places_of(visits.model)
    assert not set(there) & set(home)
    complete(visits, requests_of(1))
    assert places_of(visits.model) == there  # moved once
    visits.forget(["0.0"])
    assert places_of(visits.model) == there  # others still play
    visits.forget()
    assert places_of(visits.model) == home


def test_a_visitor_that_was_not_asked_moves_nothing():
    visits = frozen_engine(engine_of(make_model()))
    moves = with_a_device(visits)
    visits.forget()
    assert moves == []


def test_a_visitor_keeps_the_weights_it_was_made_of():
    policy = engine_of(make_model())
    before = copy.deepcopy(policy.model.state_dict())
    visits = frozen_engine(policy)
    with torch.no_grad():
        for weight in policy.model.parameters():
            weight.add_(1.0)
    assert all(torch.equal(before[name], value) for name, value in visits.model.state_dict().items())
    assert not any(weight.requires_grad for weight in visits.model.parameters())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_copy_computes_what_the_model_computes_bit_for_bit(kind, dtype, tmp_path):
    make_model(kind).save_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=dtype)  # its frequencies stay float32
    ids_1L = torch.arange(400)[None] % VOCABULARY
    with torch.no_grad():
        assert torch.equal(frozen_copy(model)(ids_1L).logits, model(ids_1L).logits)

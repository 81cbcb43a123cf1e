"""Log-probabilities of given continuations."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.engines import scoring
from gift_dsl.engines.transformers import EngineLimits
from tests.engines.small import VOCABULARY, Encoded, engine_of, logprobs_after, model_of

ids_of = st.integers(0, VOCABULARY - 1)
contexts_of = st.lists(ids_of, min_size=1, max_size=15).map(tuple)
texts_of = st.lists(ids_of, max_size=6).map(tuple)


def score(contexts, texts, **limits):
    engine = engine_of(limits=EngineLimits(**limits))
    return asyncio.run(engine.score(contexts, texts))


def score_directly(context, text):
    logp = logprobs_after(model_of(), context + text)
    steps = [(len(context) - 1 + place, token) for place, token in enumerate(text)]
    total = sum(float(logp[place, token]) for place, token in steps)
    return total, all(int(logp[place].argmax()) == token for place, token in steps)


@given(pairs=st.lists(st.tuples(contexts_of, texts_of), min_size=1, max_size=6), most=st.sampled_from([4, 40, 8192]))
@settings(max_examples=15)
def test_a_score_is_the_sum_of_log_probabilities_computed_directly(pairs, most):
    contexts, texts = zip(*pairs, strict=True)
    for (context, text), (total, is_greedy) in zip(pairs, score(contexts, texts, prefill_tokens=most), strict=True):
        expected, expected_greedy = score_directly(context, text)
        assert total == pytest.approx(expected, abs=1e-4)
        assert is_greedy == expected_greedy


def test_what_greedy_decoding_gives_is_greedy():
    context, text = (9, 8, 7), ()
    for _ in range(4):
        text += (int(logprobs_after(model_of(), context + text)[-1].argmax()),)
    other = (*text[:3], (text[3] + 1) % VOCABULARY)
    assert [greedy for _, greedy in score([context] * 2, [text, other])] == [True, False]


def test_the_context_of_several_choices_is_encoded_once():
    context = tuple(range(7, 37))
    with Encoded(model_of()) as encoded:
        score([context] * 4, [(1,), (2,), (3,), (4,)])
    assert encoded.num_ids == 30


def test_logits_that_would_not_fit_are_made_a_few_rows_at_a_time(monkeypatch):
    contexts, texts = [(9, 8), (8, 7, 6), (7,)] * 2, [(1, 2, 3), (4, 5), (6, 7, 8, 9)] * 2
    whole = score(contexts, texts)
    monkeypatch.setattr(scoring, "_MAX_LOGITS", 1)
    for first, second in zip(score(contexts, texts), whole, strict=True):
        assert first == pytest.approx(second, abs=1e-5)


def test_nothing_cannot_be_scored_after_nothing():
    with pytest.raises(ValueError, match="at least one id"):
        score([()], [(1,)])
    assert score([(1,)], [()]) == [(0.0, True)]

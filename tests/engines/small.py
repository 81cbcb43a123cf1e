"""Models of a few thousand random weights, and the slow and obvious way to sample from one."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import cache

import hypothesis
import torch
from transformers import (
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.rng import stream
from gift_dsl.seat import Request

VOCABULARY = 61
ENDS = frozenset({5, 6})
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.15,  # the likeliest id has a probability of about 0.15, and float32 errs by about 2e-6
    "eos_token_id": None,
    "bos_token_id": None,
    "pad_token_id": None,
}
_KINDS = {
    "qwen2": (Qwen2ForCausalLM, Qwen2Config, {}),
    "qwen3": (Qwen3ForCausalLM, Qwen3Config, {"head_dim": 8}),
    "llama": (LlamaForCausalLM, LlamaConfig, {}),
    "mistral": (MistralForCausalLM, MistralConfig, {"sliding_window": 7}),
    "gemma3": (
        Gemma3ForCausalLM,
        Gemma3TextConfig,
        {"sliding_window": 5, "head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]},
    ),
}
KINDS = tuple(_KINDS)


def make_model(kind="qwen2", **changes):
    """A new model; the same weights every time."""
    model_class, config_class, more = _KINDS[kind]
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return model_class(config_class(**{**SIZES, **more, **changes})).eval()


@cache
def model_of(kind="qwen2"):
    """One for all tests that only look."""
    return make_model(kind)


@dataclass(frozen=True)
class Numbers:
    """A codec of ids that are never text."""

    end_of_turn_ids: frozenset[int] = ENDS


def engine_of(model=None, codec=None, **options):
    return TransformersEngine(model or model_of(), codec or Numbers(), **options)


def request_of(context, name, max_tokens=8, temperature=1.0, episode=None, group="g"):
    """Its stream has this name; so has its episode, unless it is given."""
    return Request(tuple(context), max_tokens, temperature, ("policy", name), 11, episode or f"e{name}", group)


def complete(engine, requests):
    return list(asyncio.run(engine.complete(requests)))


def logprobs_after(model, ids):
    """Log-probabilities at temperature 1 of whatever follows each id, float64 [ids, vocabulary]."""
    with torch.no_grad():
        return model(torch.tensor([list(ids)])).logits[0].double().log_softmax(-1)


def _refuse(is_on_a_border):
    if hypothesis.currently_in_test_context():
        hypothesis.assume(not is_on_a_border)
    assert not is_on_a_border


def sample_alone(model, request, ends=ENDS):
    """What a request should be answered: the whole context is encoded again for each id, and nothing else is there.

    An example in which a uniform falls on the border between two ids is not one: rounding decides it.
    """
    uniforms, ids, logprobs = stream(request.seed, *request.stream_key), [], []
    while True:
        logits = logprobs_after(model, (*request.context, *ids))[-1]
        uniform = uniforms.random()
        if request.temperature == 0:
            token, logprob = int(logits.argmax()), 0.0
        else:
            logp = (logits / request.temperature).log_softmax(-1)
            borders = logp.exp().cumsum(-1)
            _refuse((borders - uniform).abs().min() < 1e-6)
            token = int((borders > uniform).nonzero()[0])
            logprob = float(logp[token])
        ids.append(token)
        logprobs.append(logprob)
        if token in ends:
            return tuple(ids), logprobs, "stop"
        if len(ids) == request.max_tokens:
            return tuple(ids), logprobs, "length"


def assert_as_alone(model, requests, completions, ends=ENDS):
    """Every completion is what its request gets alone: ids and end exactly, log-probabilities to 1e-5."""
    for request, completion in zip(requests, completions, strict=True):
        ids, logprobs, finish_reason = sample_alone(model, request, ends)
        assert (completion.ids, completion.finish_reason) == (ids, finish_reason)
        assert max(abs(a - b) for a, b in zip(completion.logprobs, logprobs, strict=True)) < 1e-5


class Encoded:
    """Counts what a model is given, while it is entered."""

    def __init__(self, model):
        self.model, self.shapes = model, []

    def __enter__(self):
        def note(_module, _args, kwargs):
            self.shapes.append(tuple(kwargs["input_ids"].shape))

        self.hook = self.model.register_forward_pre_hook(note, with_kwargs=True)
        return self

    def __exit__(self, *_):
        self.hook.remove()

    @property
    def num_ids(self):
        return sum(rows * columns for rows, columns in self.shapes)

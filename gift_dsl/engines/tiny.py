# pyright: basic
"""The `tiny` preset: a model and a tokenizer that are made from the games of a plan, in seconds, without a download.

The tokenizer knows whole words and nothing else, so a turn takes few tokens and the model need not learn to spell.
Its chat template adds one token: what ends an assistant's turn. The model has Llama's layout (RMSNorm, rotary
positions, SwiGLU) with tied embeddings. Qwen2's differs by three biases, but transformers opens every tokenizer
beside a Qwen2 model as Qwen's own, whatever its files say (docs/adr/0008).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from tokenizers import AddedToken, Tokenizer, models
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gift_dsl.engines.vocabulary import splitter, words_of_plan
from gift_dsl.games.game import Rows
from gift_dsl.plan import Plan
from gift_dsl.rng import stream

PAD: Final = "<pad>"
END: Final = "<|end|>"
UNKNOWN: Final = "<unk>"
_SPECIAL: Final = (PAD, END, UNKNOWN)

CHAT_TEMPLATE: Final = (
    "{% for message in messages %}{{ message['content'] }}"
    "{% if message['role'] == 'assistant' %}" + END + "{% endif %}{{ '\\n' }}{% endfor %}"
)
"""Nothing opens an assistant's turn: the question mark of the compact wordings does."""

_PERIODS: Final = (2, 5, 10, 30, 100)
_UNIT: Final = 30.0


def build_tiny(plan: Plan, folder: Path, rows: Mapping[str, Rows] | None = None) -> Path:
    """Make the model and the tokenizer of a plan. The same plan gives the same bytes.

    Args:
        plan: with `model.tiny`.
        folder: where both are saved in Hugging Face's format; made if it is not there.
        rows: of the datasets that games draw from, by name of the game.

    Returns:
        The folder.

    Raises:
        GiftError: a game has no instance, or needs rows that are not given.
    """
    sizes = plan.model.tiny
    if sizes is None:
        raise ValueError("the plan's model is not the built-in one")
    tokenizer = make_tokenizer(words_of_plan(plan, rows or {}), sizes["max_positions"])
    model = make_model(sizes, tokenizer, plan.seed)
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_tokenizer(words: Sequence[str], max_positions: int) -> PreTrainedTokenizerFast:
    """A tokenizer of these words; all others are one unknown token."""
    vocabulary = {word: index for index, word in enumerate((*_SPECIAL, *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = splitter()
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in _SPECIAL])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        model_max_length=max_positions,
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(sizes: Mapping[str, Any], tokenizer: PreTrainedTokenizerFast, seed: int) -> LlamaForCausalLM:
    """A model of these sizes. Its weights depend on the seed, the sizes and the vocabulary, and on no global state."""
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=sizes["hidden_size"],
        intermediate_size=sizes["intermediate_size"],
        num_hidden_layers=sizes["layers"],
        num_attention_heads=sizes["heads"],
        num_key_value_heads=sizes["heads"],
        max_position_embeddings=sizes["max_positions"],
        # Of narrow layers; the usual 0.02 is for wide ones, and learns slower at first.
        initializer_range=sizes["hidden_size"] ** -0.5,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=_SPECIAL.index(END),
        pad_token_id=_SPECIAL.index(PAD),
    )
    with torch.random.fork_rng():
        model = LlamaForCausalLM(config)
    _draw_weights(model, seed)
    _add_order(model.model.embed_tokens.weight, tokenizer.get_vocab())
    return model


@torch.no_grad()
def _draw_weights(model: LlamaForCausalLM, seed: int) -> None:
    """Matrices are normal, gains are one."""
    for name, parameter in model.named_parameters():
        if parameter.dim() == 1:
            parameter.fill_(1.0)
            continue
        generator = torch.Generator().manual_seed(stream(seed, "tiny", name).getrandbits(63))
        parameter.normal_(0.0, model.config.initializer_range, generator=generator)


@torch.no_grad()
def _add_order(embeddings: Tensor, vocabulary: Mapping[str, int]) -> None:
    """Tell the model which numbers are near each other: size and phases, added to the embeddings of integers."""
    scale = embeddings.std()
    for word, index in vocabulary.items():
        if word.removeprefix("-").isdecimal():
            features = torch.tensor(number_features(int(word)))
            embeddings[index, : len(features)] += scale * features


def number_features(value: int) -> list[float]:
    """A number in units of 30, then cosine and sine of its place in periods of 2, 5, 10, 30 and 100."""
    angles = [2 * math.pi * value / period for period in _PERIODS]
    return [value / _UNIT, *(wave for angle in angles for wave in (math.cos(angle), math.sin(angle)))]

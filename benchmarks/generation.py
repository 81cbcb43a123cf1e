"""Tokens per second of the in-process engine in many-turn play, beside what transformers' own `generate` can do.

    python benchmarks/generation.py [--large] [--rounds 3] [--threads 1]

Three ways to sample the same number of tokens with one model, in groups of 16 that share a prompt:

    one generate    a single batched `generate()` of all turns at once: no play, no messages in between
    engine          turn by turn, as the table asks; keys and values kept, prompts of a group encoded once
    re-encode       turn by turn, each turn one `generate()` over the whole history, as TRL does

They take turns in every round. CPU seconds count, since other programs may share the machine; what matters are the
ratios within a round, whose median is printed.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time
from typing import Final

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.rng import stream
from gift_dsl.seat import Message, Request

GROUP_SIZE: Final = 16
Ids = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Load:
    """How much is played: ids of each prompt, of each turn, and of each message between two turns (a range)."""

    episodes: int = 64
    turns: int = 4
    tokens: int = 32
    prompt: int = 100
    message: tuple[int, int] = (16, 32)


class NoCodec:
    """Ids are all there is, and no id ends a turn."""

    end_of_turn_ids: frozenset[int] = frozenset()

    def render(self, messages: object, *, open_turn: bool) -> Ids:
        """Never asked."""
        raise NotImplementedError(Message)

    def encode(self, text: str) -> Ids:
        """Never asked."""
        raise NotImplementedError(text)

    def decode(self, ids: object) -> str:
        """Never asked."""
        raise NotImplementedError(ids)


def make_model(*, large: bool) -> Qwen2ForCausalLM:
    """Random weights: 5M parameters, or about 90M."""
    small_sizes = {"vocab_size": 4096, "hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 5}
    large_sizes = {"vocab_size": 16384, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 11}
    sizes = {**(large_sizes if large else small_sizes), "tie_word_embeddings": True}
    heads = 12 if large else 4
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = Qwen2Config(**sizes, num_attention_heads=heads, num_key_value_heads=heads, eos_token_id=None)
        return Qwen2ForCausalLM(config).eval()


def random_ids(num_ids: int, vocabulary: int, *name: str | int) -> Ids:
    """Ids of a prompt or a message."""
    rng = stream(1, *name)
    return tuple(rng.randrange(vocabulary) for _ in range(num_ids))


def prompts(load: Load, vocabulary: int) -> list[Ids]:
    """One for each group, repeated for its members."""
    return [random_ids(load.prompt, vocabulary, "prompt", index // GROUP_SIZE) for index in range(load.episodes)]


def message(load: Load, vocabulary: int, episode: int, turn: int) -> Ids:
    """What an episode hears after a turn."""
    low, high = load.message
    return random_ids(stream(1, "length", episode, turn).randint(low, high), vocabulary, "message", episode, turn)


def sample(model: Qwen2ForCausalLM, contexts: list[Ids], num_new: int) -> list[Ids]:
    """One batched `generate()`, padded at the left."""
    longest = max(map(len, contexts))
    ids = torch.tensor([[0] * (longest - len(context)) + list(context) for context in contexts])
    mask = torch.tensor([[0] * (longest - len(context)) + [1] * len(context) for context in contexts])
    out = model.generate(
        ids, attention_mask=mask, max_new_tokens=num_new, do_sample=True, top_k=0, top_p=1.0, pad_token_id=0
    )
    return [tuple(row) for row in out[:, longest:].tolist()]


def one_generate(model: Qwen2ForCausalLM, load: Load) -> None:
    """As many tokens without any play."""
    sample(model, prompts(load, model.config.vocab_size), load.turns * load.tokens)


def re_encode(model: Qwen2ForCausalLM, load: Load) -> None:
    """The whole history is encoded again each turn."""
    contexts = prompts(load, model.config.vocab_size)
    for turn in range(load.turns):
        done = sample(model, contexts, load.tokens)
        contexts = [
            context + ids + message(load, model.config.vocab_size, episode, turn)
            for episode, (context, ids) in enumerate(zip(contexts, done, strict=True))
        ]


def engine(model: Qwen2ForCausalLM, load: Load) -> None:
    """Turn by turn through the engine."""
    policy = TransformersEngine(model, NoCodec())
    contexts = prompts(load, model.config.vocab_size)
    for turn in range(load.turns):
        requests = [
            Request(context, load.tokens, 1.0, ("policy", turn, episode), 1, f"e{episode}", f"g{episode // GROUP_SIZE}")
            for episode, context in enumerate(contexts)
        ]
        done = asyncio.run(policy.complete(requests))
        contexts = [
            context + one.ids + message(load, model.config.vocab_size, episode, turn)
            for episode, (context, one) in enumerate(zip(contexts, done, strict=True))
        ]


WAYS: Final[dict[str, Callable[[Qwen2ForCausalLM, Load], None]]] = {
    "one generate": one_generate,
    "engine": engine,
    "re-encode": re_encode,
}


def seconds(way: Callable[[Qwen2ForCausalLM, Load], None], model: Qwen2ForCausalLM, load: Load) -> tuple[float, float]:
    """CPU and wall seconds."""
    cpu, wall = process_time(), perf_counter()
    way(model, load)
    return process_time() - cpu, perf_counter() - wall


def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--large", action="store_true", help="about 90M parameters instead of 5M")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model, load = make_model(large=given.large), Load()
    num_tokens = load.episodes * load.turns * load.tokens
    engine(model, Load(turns=1, tokens=4))
    rounds = [{name: seconds(way, model, load) for name, way in WAYS.items()} for _ in range(given.rounds)]
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{size:.1f}M parameters, {load.episodes} episodes x {load.turns} turns x {load.tokens} tokens, prompts of")
    print(f"{load.prompt} in groups of {GROUP_SIZE}, {given.threads} thread(s), median of {given.rounds} rounds\n")
    print("| way | tokens / CPU s | tokens / s | of one generate (CPU) | of one generate (wall) |")
    print("|---|---|---|---|---|")
    for name in WAYS:
        cpu, wall = (median(one[name][kind] for one in rounds) for kind in (0, 1))
        ratios = [median(one["one generate"][kind] / one[name][kind] for one in rounds) for kind in (0, 1)]
        print(f"| {name} | {num_tokens / cpu:.0f} | {num_tokens / wall:.0f} | {ratios[0]:.2f} | {ratios[1]:.2f} |")
    gain = median(one["re-encode"][0] / one["engine"][0] for one in rounds)
    print(f"\nThe engine is {gain:.2f} times as fast as encoding again (CPU).")


if __name__ == "__main__":
    main()

"""A real model of a few thousand weights that reads and writes characters, a policy that says what a function says,
and rows of the real shapes with made-up contents."""

from __future__ import annotations

import json
import re

import torch
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gift_dsl.engines.load import make_codec
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.seat import Completion, Message
from tests.play.scripted import WordCodec

CHAT_TEMPLATE = (
    "{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPECIAL = ("<|end|>", "<|system|>", "<|user|>", "<|assistant|>")


def make_tokenizer():
    """One id for each printable ASCII character."""
    words = [*SPECIAL, "<unk>", "\n", *(chr(code) for code in range(32, 127))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    tokenizer.add_special_tokens([AddedToken(word, special=True, normalized=False) for word in SPECIAL])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>", unk_token="<unk>")
    fast.chat_template = CHAT_TEMPLATE
    return fast


def make_model(tokenizer, **changes):
    """The same weights every time."""
    sizes = {
        "vocab_size": len(tokenizer),
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "max_position_embeddings": 4096,
        "initializer_range": 0.15,
        "bos_token_id": None,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return LlamaForCausalLM(LlamaConfig(**{**sizes, **changes})).eval()


def make_engine(model=None):
    """With its tokenizer's codec."""
    tokenizer = make_tokenizer()
    return TransformersEngine(model or make_model(tokenizer), make_codec(tokenizer))


class Saying:
    """A policy that says `reply(the user's words)`; counts what it is asked."""

    def __init__(self, reply):
        self.codec, self.reply, self.asked = WordCodec(), reply, []

    async def complete(self, requests):
        return [self.one(request) for request in requests]

    def one(self, request):
        text = self.codec.decode(request.context)
        self.asked.append(text)
        ids = (*self.codec.encode(self.reply(text)), self.codec.END)
        kept = ids[: request.max_tokens]
        return Completion(kept, (0.0,) * len(kept), "stop" if kept == ids else "length")

    async def score(self, contexts, continuations):
        raise NotImplementedError


def answer(text):
    return f"<think>Let me see.</think> <answer>{text}</answer>"


def write_rows(folder):
    """A folder of each benchmark, in the hub's shapes; the answers follow from the questions."""
    sums = [(a, b) for a in range(2, 5) for b in range(1, 4)]
    math = [
        {"problem": f"What is {a} + {b}?", "solution": "", "answer": str(a + b), "subject": "Algebra", "level": 1}
        for a, b in sums
    ]
    choice = [
        {"question": f"Which is {a} + {b}?", "subject": "arithmetic", "choices": four(a, b), "answer": place(a, b)}
        for a, b in sums
    ]
    pro = [
        {
            "question_id": index,
            "question": f"Which is {a} + {b}?",
            "options": four(a, b),
            "answer": "ABCD"[place(a, b)],
            "answer_index": place(a, b),
            "category": "math",
        }
        for index, (a, b) in enumerate(sums)
    ]
    social = [
        {
            "context": f"Kim had {a} apples and got {b} more.",
            "question": "How many are there?",
            **{f"answer{letter}": text for letter, text in zip("ABC", three(a, b), strict=True)},
            "label": str(three(a, b).index(str(a + b)) + 1),
        }
        for a, b in sums
    ]
    common = [
        {"concept_set": "dog_N#run_V#park_N", "scene": ["A dog runs in the park.", "The dog ran through a park."]},
        {"concept_set": "kid_N#dance_V#room_N", "scene": ["The kid loves to dance in her room."]},
        {"concept_set": "cook_V#egg_N#pan_N", "scene": ["A man cooks an egg in a pan."]},
    ]
    for name, split, rows in (
        ("math500", "test", math),
        ("mmlu", "test", choice),
        ("mmlu_pro", "test", pro),
        ("social_iqa", "validation", social),
        ("commongen", "dev", common),
    ):
        path = folder / name / f"{split}.jsonl"
        path.parent.mkdir(parents=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def four(a, b):
    """Four choices, the sum in a place that depends on it."""
    wrong = iter([a + b + 7, a + b + 8, a + b + 9])
    return [str(a + b) if index == place(a, b) else str(next(wrong)) for index in range(4)]


def three(a, b):
    return [str(a + b) if index == (a + b) % 3 else str(a + b + 7 + index) for index in range(3)]


def place(a, b):
    return (a + b) % 4


def solve(text):
    """The right answer to a row of `write_rows`; of CommonGen the concepts."""
    if found := re.search(r"these words.*?: (.*)\.\n", text):
        return answer(" ".join(word.split(" (")[0] for word in found[1].split(", ")))
    a, b = map(int, (re.search(r"(\d+) \+ (\d+)", text) or re.search(r"had (\d+) .*got (\d+)", text)).groups())
    for letter, choice in re.findall(r"^([A-J])\. (.*)$", text, re.MULTILINE):
        if choice == str(a + b):
            return answer(letter)
    return answer(f"${a + b}$")


def said(text):
    """What a user says."""
    return (Message("user", text),)

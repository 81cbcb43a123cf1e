"""An optimizer update on a mixed batch: ours beside TRL's default micro-batching, CPU time and gradients.

    python benchmarks/update.py

The same 32 rows (as short as single questions, as long as talks of many turns; lengths are made up so that about half
of TRL's positions are padding) go through the same trainer and loss.
TRL's way: rows shuffled, and all micro-batches padded to the longest prompt and completion of the whole batch. Ours:
longest first, each micro-batch cut to its longest row. CPU seconds of forward and backward passes, one torch thread,
the two in turns.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from gift_dsl.data import slots
from gift_dsl.engines.tiny import make_tokenizer
from gift_dsl.rng import stream
from gift_dsl.train.batch import Row
from gift_dsl.train.grpo import _split, _trimmed

KINDS = ((14, (35, 55), (25, 50)), (11, (40, 60), (60, 110)), (7, (60, 90), (110, 160)))
"""Rows, prompt and completion lengths of each kind of game."""
MICRO = 4


def make_rows(rng: random.Random, vocabulary: int) -> list[Row]:
    """A batch as a mixed step has it, every third run of ids in a completion given by the environment."""
    rows: list[Row] = []
    for count, prompts, completions in KINDS:
        for _ in range(count):
            prompt, completion = rng.randint(*prompts), rng.randint(*completions)
            mask = tuple(int(place % 30 < 20) for place in range(completion))
            advantage = rng.gauss(0, 1)
            rows.append(
                Row(
                    prompt_ids=tuple(rng.randrange(vocabulary) for _ in range(prompt)),
                    completion_ids=tuple(rng.randrange(vocabulary) for _ in range(completion)),
                    mask=mask,
                    logprobs=tuple(-8.0 * bit for bit in mask),
                    advantages=tuple(advantage * bit for bit in mask),
                    weight=1.0,
                    episode="played",
                )
            )
    return rows


def padded(values: Sequence[Sequence[Any]], fill: float, *, left: bool = False) -> Tensor:
    """A matrix of rows of different lengths."""
    width = max(map(len, values))
    blanks = [[fill] * (width - len(own)) for own in values]
    return torch.tensor(
        [[*(b if left else ()), *own, *(() if left else b)] for own, b in zip(values, blanks, strict=True)]
    )


def as_batch(rows: Sequence[Row]) -> dict[str, Tensor]:
    """What TRL makes of all rows of a generation."""
    return {
        "prompt_ids": padded([row.prompt_ids for row in rows], 0, left=True),
        "prompt_mask": padded([[1] * len(row.prompt_ids) for row in rows], 0, left=True),
        "completion_ids": padded([row.completion_ids for row in rows], 0),
        "completion_mask": padded([[1] * len(row.completion_ids) for row in rows], 0),
        "tool_mask": padded([row.mask for row in rows], 1),
        "advantages": padded([row.advantages for row in rows], 0.0),
        "old_per_token_logps": padded([row.logprobs for row in rows], 0.0),
        "num_items_in_batch": torch.tensor(float(sum(sum(row.mask) for row in rows))),
    }


def micro_batches(rows: Sequence[Row], rng: random.Random, *, ours: bool) -> list[dict[str, Any]]:
    """The batch cut as we do it, or as TRL does."""
    chosen = sorted(rows, key=lambda row: -row.length) if ours else rng.sample(list(rows), len(rows))
    parts = _split(as_batch(chosen), len(rows) // MICRO)
    return [_trimmed(part) for part in parts] if ours else parts


def update(trainer: GRPOTrainer, parts: Sequence[dict[str, Any]]) -> tuple[float, list[Tensor]]:
    """CPU seconds and gradients of one update."""
    trainer.model.zero_grad()
    start = time.process_time()
    for part in parts:
        trainer._compute_loss(trainer.model, part).backward()
    seconds = time.process_time() - start
    return seconds, [one.grad.clone() for one in trainer.model.parameters() if one.grad is not None]


def make_trainer(folder: Path, sizes: dict[str, int], tokenizer: PreTrainedTokenizerFast) -> GRPOTrainer:
    """TRL's trainer with a random model."""
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(Qwen2Config(**sizes, max_position_embeddings=1024, tie_word_embeddings=True))
    num_rows = sum(count for count, _, _ in KINDS)
    config = GRPOConfig(
        output_dir=str(folder),
        per_device_train_batch_size=MICRO,
        gradient_accumulation_steps=num_rows // MICRO,
        steps_per_generation=num_rows // MICRO,
        num_generations=num_rows,
        loss_type="dapo",
        bf16=False,
        activation_checkpointing=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
    )
    trainer = GRPOTrainer(
        model, lambda completions, **_: [0.0] * len(completions), config, slots(1), processing_class=tokenizer
    )
    trainer.current_gradient_accumulation_steps = num_rows // MICRO
    trainer.model.train()
    return trainer


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    tokenizer = make_tokenizer([f"w{index}" for index in range(50)], 1024)
    rows = make_rows(stream(1, "rows"), 512)
    width = sum(max(map(len, ids)) for ids in ([row.prompt_ids for row in rows], [row.completion_ids for row in rows]))
    print(f"padding without cutting: {1 - sum(row.length for row in rows) / (width * len(rows)):.0%}")
    print("| model | TRL's, CPU s | ours, CPU s | ratio (all rounds) | largest gradient | difference |")
    print("|---|---|---|---|---|---|")
    for sizes in MODELS:
        with tempfile.TemporaryDirectory() as folder:
            trainer = make_trainer(Path(folder), sizes, tokenizer)
        rows = make_rows(stream(1, "rows"), sizes["vocab_size"])
        seconds: dict[bool, list[float]] = {True: [], False: []}
        grads: dict[bool, list[Tensor]] = {}
        for number in range(rounds + 1):
            for ours in (True, False):
                spent, grads[ours] = update(trainer, micro_batches(rows, stream(number, "order"), ours=ours))
                if number:  # the first warms up
                    seconds[ours].append(spent)
        ratios = sorted(a / b for a, b in zip(seconds[True], seconds[False], strict=True))
        largest = max(float(one.abs().max()) for one in grads[False])
        difference = max(float((a - b).abs().max()) for a, b in zip(grads[True], grads[False], strict=True))
        medians = {ours: statistics.median(values) for ours, values in seconds.items()}
        parameters = trainer.model.num_parameters() / 1e6
        print(
            f"| {parameters:.1f}M | {medians[False]:.2f} | {medians[True]:.2f} | "
            f"{medians[True] / medians[False]:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) | {largest:.3f} | "
            f"{difference:.1e} |"
        )


MODELS = (
    {
        "vocab_size": 4096,
        "hidden_size": 256,
        "intermediate_size": 704,
        "num_hidden_layers": 5,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
    {
        "vocab_size": 512,
        "hidden_size": 64,
        "intermediate_size": 176,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
    },
)


if __name__ == "__main__":
    main()

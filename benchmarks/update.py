"""An optimizer update on a mixed batch: ours beside TRL's default micro-batching, CPU time and gradients.

    python benchmarks/update.py

The same 32 rows (as short as single questions, as long as talks of many turns; lengths are made up so that about half
of TRL's positions are padding) go through the same model, settings and loss.
TRL's way: its trainer; rows shuffled, and all micro-batches padded to the longest prompt and completion of the whole
batch. Ours: the trainer of a grpo stage; longest first, each micro-batch cut to its longest row (in the time that is
measured), sampled ids alone through the head of a large vocabulary, the sums of a step's metrics made. `cut` is ours
with TRL's head. CPU seconds of forward and backward passes, one torch thread, the three in turns.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.utils import logging
from trl.trainer.grpo_trainer import GRPOTrainer

from gift_dsl.api import compile_spec
from gift_dsl.data import slots
from gift_dsl.engines.load import load_policy, load_tokenizer
from gift_dsl.engines.tiny import make_tokenizer
from gift_dsl.play.seats import model_player
from gift_dsl.rng import stream
from gift_dsl.train.batch import Row
from gift_dsl.train.grpo import GiftTrainer, _split, _trimmed, make_config
from gift_dsl.train.job import StageJob
from gift_dsl.train.league import League
from gift_dsl.train.step import Playing

SPEC: Final = """\
gift: 1
name: update
seed: 1
model: {{source: {model}, gradient_checkpointing: false}}
precision: fp32
games:
  tictactoe: {{type: tictactoe, opponents: rival}}
opponents:
  rival: {{type: random}}
rollout: {{max_tokens_per_turn: 32}}
stages:
  - {{name: play, type: grpo, play: tictactoe, until: {{steps: 1}}}}
algorithm: {{preset: dapo, groups_per_step: 2, group_size: 16, mini_batch_size: 32}}
resources: {{micro_batch_size: 4, threads: 1}}
"""
KINDS = ((14, (35, 55), (25, 50)), (11, (40, 60), (60, 110)), (7, (60, 90), (110, 160)))
"""Rows, prompt and completion lengths of each kind of game."""


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


class Theirs:
    """TRL's trainer and micro-batches."""

    def __init__(self, trainer: GRPOTrainer) -> None:
        self.trainer, self.model = trainer, trainer.model
        self.model.train()
        trainer.current_gradient_accumulation_steps = trainer.args.gradient_accumulation_steps

    def batch(self, rows: Sequence[Row], rng: random.Random) -> dict[str, Tensor]:
        """All rows of an update in the order of this side."""
        return as_batch(rng.sample(list(rows), len(rows)))

    def cut(self, micro: dict[str, Any]) -> dict[str, Any]:
        """A micro-batch as this side trains on it."""
        return micro

    def update(self, rows: Sequence[Row], rng: random.Random) -> tuple[float, list[Tensor]]:
        """CPU seconds and gradients of one update."""
        batch = self.batch(rows, rng)
        self.model.zero_grad()
        start = time.process_time()
        for part in _split(batch, self.trainer.args.gradient_accumulation_steps):
            self.trainer._compute_loss(self.model, self.cut(part)).backward()
        seconds = time.process_time() - start
        return seconds, [one.grad.clone() for one in self.model.parameters() if one.grad is not None]


class Ours(Theirs):
    """The trainer of a grpo stage."""

    def batch(self, rows: Sequence[Row], rng: random.Random) -> dict[str, Tensor]:
        """Longest first."""
        del rng
        ordered = sorted(rows, key=lambda row: -row.length)
        return as_batch(ordered) | {"update_tokens": torch.full([len(rows)], float(sum(sum(r.mask) for r in rows)))}

    def cut(self, micro: dict[str, Any]) -> dict[str, Any]:
        """To its longest row."""
        return _trimmed(micro)


def make_model(folder: Path, sizes: Mapping[str, int]) -> None:
    """A random model and a tokenizer, which nobody asks for more than its special ids."""
    torch.manual_seed(0)
    Qwen2ForCausalLM(Qwen2Config(**sizes, max_position_embeddings=1024, tie_word_embeddings=True)).save_pretrained(
        folder
    )
    make_tokenizer([f"w{index}" for index in range(50)], 1024).save_pretrained(folder)


def make_job(folder: Path) -> StageJob:
    """A grpo stage of one update with weights of its own."""
    spec = folder / "update.yaml"
    spec.write_text(SPEC.format(model=folder), encoding="utf-8")
    (plan,) = compile_spec(str(spec))
    engine, tokenizer = load_policy(plan.model, str(folder)), load_tokenizer(plan.model, str(folder))
    return StageJob(
        plan=plan, stage=plan.stages[0], index=0, engine=engine, tokenizer=tokenizer, folder=folder / "stage"
    )


def make_theirs(job: StageJob) -> Theirs:
    """TRL's trainer with the settings of ours."""
    tokenizer: Any = job.tokenizer
    trainer = GRPOTrainer(
        job.model,
        lambda completions, **_: [0.0] * len(completions),
        make_config(job),
        slots(1),
        processing_class=tokenizer,
    )
    return Theirs(trainer)


def make_ours(job: StageJob, runner: asyncio.Runner, *, whole_head: bool) -> Ours:
    """The trainer of a grpo stage, which will play nothing."""
    playing = Playing(
        plan=job.plan,
        stage=job.stage,
        games={},
        policy=model_player("policy", job.engine),
        league=League({}, {}, job.engine),
        runner=runner,
    )
    trainer = GiftTrainer(job, playing)
    if whole_head:
        trainer.scores_sampled = False
    return Ours(trainer)


def measure(sizes: Mapping[str, int], rounds: int) -> str:
    """A row of the table."""
    rows = make_rows(stream(1, "rows"), sizes["vocab_size"])
    with tempfile.TemporaryDirectory() as name, asyncio.Runner() as runner:
        folder = Path(name)
        make_model(folder, sizes)
        sides = {
            "TRL": make_theirs(make_job(folder)),
            "cut": make_ours(make_job(folder), runner, whole_head=True),
            "ours": make_ours(make_job(folder), runner, whole_head=False),
        }
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    grads: dict[str, list[Tensor]] = {}
    for number in range(rounds + 1):
        for side, trainer in sides.items():
            spent, grads[side] = trainer.update(rows, stream(number, "order"))
            if number:  # the first warms up
                seconds[side].append(spent)
    medians = {side: statistics.median(values) for side, values in seconds.items()}
    cells = [f"{sides['TRL'].model.num_parameters() / 1e6:.1f}M", *(f"{medians[side]:.2f}" for side in sides)]
    for side in ("cut", "ours"):
        ratios = sorted(a / b for a, b in zip(seconds[side], seconds["TRL"], strict=True))
        cells.append(f"{medians[side] / medians['TRL']:.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")
    largest = max(float(one.abs().max()) for one in grads["TRL"])
    difference = max(
        float((a - b).abs().max()) for side in ("cut", "ours") for a, b in zip(grads[side], grads["TRL"], strict=True)
    )
    return " | ".join(["", *cells, f"{largest:.3f}", f"{difference:.1e}", ""]).strip()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    logging.disable_progress_bar()
    rows = make_rows(stream(1, "rows"), 512)
    width = sum(max(map(len, ids)) for ids in ([row.prompt_ids for row in rows], [row.completion_ids for row in rows]))
    print(f"padding without cutting: {1 - sum(row.length for row in rows) / (width * len(rows)):.0%}")
    print("| model | TRL, CPU s | cut, CPU s | ours, CPU s | cut / TRL | ours / TRL | largest gradient | difference |")
    print("|---|---|---|---|---|---|---|---|")
    for sizes in MODELS:
        print(measure(sizes, rounds))


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

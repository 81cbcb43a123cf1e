"""lm-eval's own MMLU tasks on local rows, through a seat and through lm-eval's own model, with the same weights.

    python benchmarks/mmlu_loglik.py FOLDER [--limit N] [--shots 0] [--rounds 3] [--large]

FOLDER holds `test/SUBJECT_test.csv` and `dev/SUBJECT_dev.csv` (question, choice0 to choice3, answer). The model has
random weights, its tokenizer is trained on the rows. Both see the same requests in the same process; they take turns
in every round, and the medians are printed.
"""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any

import torch
from lm_eval.models.huggingface import HFLM
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from gift_dsl.engines.load import make_codec
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.evaluate.harness import Run, SubjectLM, load_builtin
from gift_dsl.evaluate.items import read_rows, read_split
from gift_dsl.evaluate.subject import PolicySubject

Score = tuple[float, bool]
_TEMPLATE = "{% for m in messages %}<|user|>{{ m['content'] }}<|end|>{% endfor %}"


def make_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Byte-level BPE of 4,000 words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<|end|>", "<|user|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=4000, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|end|>")
    fast.chat_template = _TEMPLATE
    return fast


def make_model(vocabulary: int, *, large: bool) -> Qwen2ForCausalLM:
    """Random weights: about 2M parameters, or about 60M."""
    sizes = {"hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 8} if large else {
        "hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 4,
    }  # fmt: skip
    heads = 12 if large else 4
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = Qwen2Config(vocab_size=vocabulary, num_attention_heads=heads, num_key_value_heads=heads, **sizes)
        return Qwen2ForCausalLM(config).eval()


def make_requests(folder: Path, limit: int | None, shots: int) -> list[Any]:
    """What lm-eval asks of its model, for every subject in the folder."""
    subjects = sorted(path.stem.removesuffix("_test") for path in (folder / "test").glob("*_test.csv"))
    names = [f"mmlu_{subject}" for subject in subjects]
    tasks = load_builtin(names, shots, partial(read_split, "mmlu", folder))["tasks"].values()
    for task in tasks:
        task.build_all_requests(limit=limit)
    return [instance for task in tasks for instance in task.instances]


def timed(ask: Any, requests: list[Any]) -> tuple[list[Score], float, float]:  # noqa: ANN401 - a bound method
    """Scores, CPU and wall seconds."""
    cpu, wall = process_time(), perf_counter()
    scores = ask(requests)
    return scores, process_time() - cpu, perf_counter() - wall


def report(rounds: Sequence[Any], batch_size: int) -> None:
    """Print the differences of the scores, and a Markdown table of times."""
    our_scores, their_scores = (rounds[0][place][0] for place in (0, 1))
    pairs = list(zip(our_scores, their_scores, strict=True))
    gap = max(abs(ours[0] - theirs[0]) for ours, theirs in pairs)
    largest, greedy = max(abs(theirs[0]) for _, theirs in pairs), sum(ours[1] != theirs[1] for ours, theirs in pairs)
    print(f"largest difference of a log-likelihood {gap:.1e} (the largest is {largest:.1f}), greedy differs {greedy}\n")
    print("| | CPU s | wall s |\n|---|---|---|")
    for place, name in enumerate(("a seat", f"lm-eval's own, batches of {batch_size}")):
        cpu, wall = (median(one[place][kind] for one in rounds) for kind in (1, 2))
        print(f"| {name} | {cpu:.1f} | {wall:.1f} |")


async def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--limit", type=int, help="items of each subject; all unless given")
    parser.add_argument("--shots", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=16, help="of lm-eval's own model")
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    rows = [row for path in sorted((given.folder / "test").glob("*.csv")) for row in read_rows(path)]
    tokenizer = make_tokenizer([str(value) for row in rows for value in row.values()])
    model = make_model(len(tokenizer), large=given.large)
    requests = make_requests(given.folder, given.limit, given.shots)
    theirs = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=given.batch_size, max_length=4096)
    engine = TransformersEngine(model, make_codec(tokenizer))
    ours = SubjectLM(Run(PolicySubject(engine, 1), asyncio.get_running_loop()))
    rounds = []
    for _ in range(given.rounds):
        first = await asyncio.to_thread(timed, ours.loglikelihood, requests)
        second = timed(partial(theirs.loglikelihood, disable_tqdm=True), requests)
        rounds.append((first, second))
    size = sum(parameter.numel() for parameter in model.parameters()) / 1e6
    print(f"{size:.1f}M parameters, {len(requests):,} continuations, {given.shots} shots, {given.threads} thread(s)")
    report(rounds, given.batch_size)


if __name__ == "__main__":
    asyncio.run(main())

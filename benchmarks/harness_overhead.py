"""What lm-eval, our tasks and our scoring cost beside the model: a scripted one answers sets of the real sizes.

    python benchmarks/harness_overhead.py [--scoring gift_v1] [--questions a]

29,028 items: MMLU 14,042, MMLU-Pro 12,032, Social IQa 1,954, MATH-500 500, CommonGen 500. The rows are made here, as
long as the real ones on average. By default the script knows the answers; with `--questions a` it always says A, which
makes mathematics slower: an answer that is the gold one needs no parser.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, Final

from gift_dsl.evaluate.benchmarks import BenchmarksRequest, Progress, evaluate_benchmarks
from gift_dsl.evaluate.judge import StandInJudge
from gift_dsl.rng import stream
from gift_dsl.seat import Completion, Message, Request

SIZES: Final = {"mmlu": 14_042, "mmlu_pro": 12_032, "social_iqa": 1_954, "math500": 500, "commongen": 500}
_SPLITS: Final = {"social_iqa": "validation", "commongen": "dev"}
_CHARS: Final = {"mmlu": 300, "mmlu_pro": 400, "social_iqa": 90, "math500": 200, "commongen": 0}
_WORDS: Final = ("dog", "run", "park", "kid", "dance", "room", "table", "walk", "stand", "field", "look", "throw")


class Script:
    """A policy that finds what to say in the prompt itself. An id is a character, so nothing is tokenised."""

    def __init__(self, answer: Callable[[str], str]) -> None:
        self.codec, self._answer = Characters(), answer

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """What the script says."""
        said = [tuple(map(ord, self._answer("".join(map(chr, one.context))))) for one in requests]
        return [Completion(ids, (0.0,) * len(ids), "stop") for ids in said]

    async def score(self, contexts: object, continuations: object) -> Sequence[tuple[float, bool]]:
        """Never asked."""
        raise NotImplementedError


class Characters:
    """Unicode as ids."""

    end_of_turn_ids = frozenset({0})

    def render(self, messages: Sequence[Message], *, open_turn: bool) -> tuple[int, ...]:
        """All contents."""
        return tuple(map(ord, "\n".join(message.content for message in messages)))

    def encode(self, text: str) -> tuple[int, ...]:
        """One id a character."""
        return tuple(map(ord, text))

    def decode(self, ids: Sequence[int]) -> str:
        """The inverse."""
        return "".join(map(chr, ids))


def write_rows(folder: Path) -> None:
    """Every set, its answers marked in the questions for the script to find."""
    for name, size in SIZES.items():
        path = folder / name / f"{_SPLITS.get(name, 'test')}.jsonl"
        path.parent.mkdir(parents=True)
        rows = (make_row(name, index) for index in range(size))
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def make_row(name: str, index: int) -> dict[str, Any]:
    """One row in the hub's columns."""
    rng = stream(1, "rows", name, index)
    if name == "commongen":
        words = rng.sample(_WORDS, 4)
        return {"concept_set": "#".join(f"{word}_N" for word in words), "scene": [f"A {' and a '.join(words)}."]}
    text = " ".join(rng.choice(_WORDS) for _ in range(_CHARS[name] // 5))
    if name == "math500":
        gold = rng.choice((str(rng.randrange(1000)), rf"\frac{{{rng.randrange(1, 99)}}}{{101}}", r"3\sqrt{13}"))
        return {"problem": f"[{gold}] {text}", "answer": gold}
    count = {"mmlu": 4, "mmlu_pro": 10, "social_iqa": 3}[name]
    place, choices = rng.randrange(count), [f"{rng.choice(_WORDS)} {number}" for number in range(count)]
    question = f"[{'ABCDEFGHIJ'[place]}] {text}"
    if name == "social_iqa":
        answers = {f"answer{letter}": choice for letter, choice in zip("ABC", choices, strict=True)}
        return {"context": question, "question": "What then?", **answers, "label": str(place + 1)}
    if name == "mmlu":
        return {"question": question, "choices": choices, "answer": place, "subject": "words"}
    return {"question": question, "options": choices, "answer": "ABCDEFGHIJ"[place], "category": "words"}


def oracle(prompt: str) -> str:
    """The marked answer, or a sentence of the concepts."""
    if "[" in prompt:
        return f"<answer>{prompt.partition('[')[2].partition(']')[0]}</answer>"
    words = prompt.rpartition("in any form: ")[2].partition(".")[0].split(", ")
    return f"<answer>A {' and a '.join(word.partition(' (')[0] for word in words)}.</answer>"


async def main() -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scoring", choices=["none", "gift_v1"], default="none")
    parser.add_argument("--questions", choices=["oracle", "a"], default="oracle")
    given = parser.parse_args()
    script = Script(oracle if given.questions == "oracle" else lambda prompt: "<answer>A</answer>")
    with tempfile.TemporaryDirectory() as folder:
        write_rows(Path(folder))
        request = BenchmarksRequest(
            tuple({"type": name, "data_dir": name, "judge": "stand-in"} for name in SIZES),
            seed=1,
            folder=Path(folder),
            output=Path(folder) / "out",
            judges={"stand-in": StandInJudge()},
            scorings=(given.scoring,),
        )
        ends: list[tuple[str, float, float]] = [("loading", perf_counter(), process_time())]

        def note(progress: Progress) -> None:
            if progress.step == "finished":
                ends.append((progress.benchmark, perf_counter(), process_time()))

        wall, cpu = perf_counter(), process_time()
        result = await evaluate_benchmarks(script, request, note)
        print("| | items | score | CPU s | wall s |\n|---|---|---|---|---|")
        for (_, wall_before, cpu_before), (name, wall_after, cpu_after) in pairwise(ends):
            values = result.results[name]
            score = next(value for key, value in values.items() if key.endswith(f",{given.scoring}"))
            n = result.n_samples[name]["effective"]
            print(f"| {name} | {n:,} | {score:.4f} | {cpu_after - cpu_before:.1f} | {wall_after - wall_before:.1f} |")
        n = sum(SIZES.values())
        print(f"| all | {n:,} | | {process_time() - cpu:.1f} | {perf_counter() - wall:.1f} |")


if __name__ == "__main__":
    asyncio.run(main())

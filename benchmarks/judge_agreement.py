"""How often a judge agrees with published verdicts of GPT-4 on CommonGen sentences against a human one.

    python benchmarks/judge_agreement.py CASES.json
    python benchmarks/judge_agreement.py CASES.json --base-url URL/v1 --model NAME [--key-env NAME] [--cache FILE]

CASES.json: a list of {concept_set, human_ref, outputs: [{model, output, versus: win | tie | lose}]}, such as the 40
verdicts in the README of AllenAI's CommonGen-Eval. Without an address the offline stand-in judges.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from gift_dsl.evaluate.judge import (
    Judge,
    Judged,
    ModelJudge,
    Pair,
    ReplyCache,
    StandInJudge,
    consistency,
    judge_pairs,
)
from gift_dsl.players.chat import ChatSettings
from gift_dsl.players.network import Network
from gift_dsl.players.openai import Endpoint, OpenAIPlayer
from gift_dsl.players.usage import Budget
from gift_dsl.stats import wilson


def read_cases(path: Path) -> tuple[list[Pair], list[str]]:
    """Pairs and the published verdicts on them."""
    cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    pairs = [
        Pair(f"{number}/{one['model']}", tuple(case["concept_set"]), one["output"].strip(), case["human_ref"])
        for number, case in enumerate(cases)
        for one in case["outputs"]
    ]
    return pairs, [one["versus"] for case in cases for one in case["outputs"]]


def report(judge: Judge, judged: Sequence[Judged], published: Sequence[str]) -> None:
    """Print agreement by verdict and by what counts (win or tie against loss)."""
    verdicts = [one.verdicts for one in judged]
    total = sum(map(len, verdicts))
    same = sum(mine == theirs for both, theirs in zip(verdicts, published, strict=True) for mine in both)
    known = [
        (one.score, theirs != "lose") for one, theirs in zip(judged, published, strict=True) if one.score in (0, 1)
    ]
    agree = sum((score == 1) == theirs for score, theirs in known)
    low, high = wilson(agree, len(known))
    constant = max(Counter(published).values())
    print(f"judge: {judge.name}\npublished: {dict(Counter(published))}; the commonest alone agrees with {constant}\n")
    print("| | agreement |")
    print("|---|---|")
    print(f"| verdict, each order counted | {same} of {total} |")
    print(
        f"| win or tie against loss, one verdict in both orders | {agree} of {len(known)} ({low:.2f} to {high:.2f}) |"
    )
    print(f"| consistency of the two orders | {consistency(judged)} |")


async def main() -> None:
    """Judge the cases in both orders."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("cases", type=Path)
    parser.add_argument("--base-url")
    parser.add_argument("--model")
    parser.add_argument("--key-env", help="environment variable that holds the key")
    parser.add_argument("--cache", type=Path)
    given = parser.parse_args()
    pairs, published = read_cases(given.cases)
    async with Network() as network:
        judge: Judge = StandInJudge()
        if given.base_url:
            key = os.environ[given.key_env] if given.key_env else None
            chat = ChatSettings(given.model, 0.0, 1.0, 16, thinking="default")
            player = OpenAIPlayer(given.model, chat, Endpoint(given.base_url, key), network, Budget())
            judge = ModelJudge(player, 1, ReplyCache(given.cache) if given.cache else None)
        report(judge, await judge_pairs(judge, pairs, order="both", seed=1), published)


if __name__ == "__main__":
    asyncio.run(main())

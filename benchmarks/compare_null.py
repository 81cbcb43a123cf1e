"""How often `compare` calls two equal methods different: three seeds an arm, a standard deviation of 3 points between.

    python benchmarks/compare_null.py [--comparisons 2000] [--rounds 500] [--games 1]

Every run of both arms has a success rate of its own, normally distributed around 0.5 with a standard deviation of 0.03;
all runs play the same instances, from both seats, and instances differ in difficulty. `by items` is what one would say
who pooled the rounds of an arm, took them as independent and tested two rates. Target: at most 6 % for `methods`.
"""

from __future__ import annotations

import argparse
import math
import random
from statistics import fmean

from gift_dsl.evaluate.compare import RunScores, compare
from gift_dsl.evaluate.scores import Round
from gift_dsl.rng import stream

SPREAD = 0.03
ARMS, SEEDS = ("a", "b"), 3


def logistic(value: float) -> float:
    """1 / (1 + exp(-value))."""
    return 1 / (1 + math.exp(-value))


def make_run(rng: random.Random, seed: int, hardness: dict[str, list[float]]) -> RunScores:
    """One run: its own rate in each game, the hardness of instances shared by all."""
    games: dict[str, list[Round]] = {}
    for game, shifts in hardness.items():
        # At a rate of 1/2 a logit moves the rate by a quarter of itself, less what spreads of hardness take away.
        ability = rng.gauss(0, SPREAD) / SLOPE
        rates = [logistic(ability + shift) for shift in shifts]
        games[game] = [
            Round(number, str(number), seat, "", "success" if rng.random() < rate else "loss", 0.0)
            for number, rate in enumerate(rates)
            for seat in (0, 1)
        ]
    return RunScores(f"run {seed}", seed, games)


def slope() -> float:
    """How much the mean rate rises with ability, over instances whose hardness is standard normal."""
    steps = [index / 100 for index in range(-600, 601)]
    return sum(logistic(x) * (1 - logistic(x)) * math.exp(-x * x / 2) for x in steps) / 100 / math.sqrt(2 * math.pi)


SLOPE = slope()


def called_by_items(arms: dict[str, list[RunScores]], game: str) -> bool:
    """Whether a test of two rates, over all rounds of each arm, is significant at 5 %."""
    pooled = [[one.success for run in runs for one in run.games[game]] for runs in arms.values()]
    first, second = (fmean(values) for values in pooled)
    middle = (first + second) / 2
    return abs(second - first) > 1.96 * math.sqrt(2 * middle * (1 - middle) / len(pooled[0]))


def main() -> None:
    """Print the shares of comparisons that found a difference where there is none."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--comparisons", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--games", type=int, default=1)
    options = parser.parse_args()
    methods = items = 0
    for number in range(options.comparisons):
        rng = stream(number, "compare_null")
        hardness = {
            f"game {game}": [rng.gauss(0, 1) for _ in range(options.rounds // 2)] for game in range(options.games)
        }
        arms = {name: [make_run(rng, seed, hardness) for seed in range(SEEDS)] for name in ARMS}
        found = compare(arms)
        assert found.kind == "methods"
        methods += any(one.verdict in ("higher", "lower") for one in found.contrasts)
        items += any(called_by_items(arms, game) for game in hardness)
    total = options.comparisons
    print(f"methods: {methods / total:.2%} of {total} comparisons; by items: {items / total:.2%}")


if __name__ == "__main__":
    main()

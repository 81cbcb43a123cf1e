"""Can a player of Who's the Spy tell its role from its own word alone? A bag-of-words guesser tries.

    python benchmarks/spy_guesser.py [--games 20000] [--seed 0]

The guesser is naive Bayes over the words and letter trigrams of the secret word, fitted on games of the train split
and tried on other ones; half of the games show the spy's word, half another player's, so 0.5 is chance. Rates have
Wilson intervals of 95 %.
The two columns differ in how the words of a pair are dealt: as the game does it, swapped at random, and, to see that
the guesser is not blind, with the first word of each pair always the spy's.
"""

from __future__ import annotations

import argparse
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gift_dsl.games.game import Split
from gift_dsl.games.splits import draw_instance
from gift_dsl.games.spy import SpyParams
from gift_dsl.games.spy_pairs import load_pairs
from gift_dsl.games.spy_rules import SpyGame, SpyState
from gift_dsl.rng import stream
from gift_dsl.stats import wilson

SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Shown:
    """A secret word, and whether it is the spy's."""

    word: str
    of_spy: bool


def features(word: str) -> list[str]:
    """The words and the letter trigrams of a secret word."""
    padded = f"^{word}$"
    return [*word.split(), *(padded[begin : begin + 3] for begin in range(len(padded) - 2))]


def draw(split: Split, num_games: int, seed: int, purpose: str) -> list[Shown]:
    """One word of each of so many games of a split; other purposes meet other games."""
    game, shown = SpyGame(SpyParams()), list[Shown]()
    for number in range(num_games):
        rng = stream(seed, purpose, split, number)
        state = draw_instance(game, rng, split)
        assert isinstance(state, SpyState)
        of_spy = rng.random() < 0.5
        seat = state.spy if of_spy else (state.spy + 1) % len(state.words)
        shown.append(Shown(state.words[seat], of_spy))
    return shown


def in_fixed_order(shown: Sequence[Shown]) -> list[Shown]:
    """The same words, the first of each pair the spy's."""
    first = {pair.first for pair in load_pairs()}
    return [Shown(one.word, one.word in first) for one in shown]


def fit(shown: Sequence[Shown]) -> dict[str, float]:
    """For each feature the log odds, with one added to each count, that a word with it is the spy's."""
    counts = {
        role: Counter(part for one in shown if one.of_spy == role for part in features(one.word))
        for role in (True, False)
    }
    parts = counts[True] | counts[False]
    return {part: math.log((counts[True][part] + 1) / (counts[False][part] + 1)) for part in parts}


def rate(log_odds: dict[str, float], shown: Sequence[Shown]) -> str:
    """How often the guesser is right, with its interval."""
    right = sum((sum(log_odds.get(part, 0.0) for part in features(one.word)) > 0) == one.of_spy for one in shown)
    low, high = wilson(right, len(shown))
    return f"{right / len(shown):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--games", type=int, default=20_000, help="of each split")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    training = draw("train", arguments.games, arguments.seed, "fit")
    shown = {split: draw(split, arguments.games, arguments.seed, "guess") for split in SPLITS}
    dealt, fixed = fit(training), fit(in_fixed_order(training))
    print("| games of | different words | as dealt | in a fixed order |\n|---|---|---|---|")
    for split, games in shown.items():
        words = len({one.word for one in games})
        print(f"| {split} | {words} | {rate(dealt, games)} | {rate(fixed, in_fixed_order(games))} |")


if __name__ == "__main__":
    main()

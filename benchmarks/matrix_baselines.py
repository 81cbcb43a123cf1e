"""How far a player gets in matrix games without reading a payoff: uniform, one constant action, a lookup table.

    python benchmarks/matrix_baselines.py [--rounds 2000] [--seed 1]

The constant action and the table (by shape and role) are those most often right in as many training rounds. Rates are
of test rounds, with Wilson intervals of 95 %; `chance` is the mean chance level of the same rounds. A table that beats
chance by far measures memory, not equilibria: compare `permute: none` with `full`.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Sequence
from itertools import product

from gift_dsl.games.matrix import MatrixParams, facts
from gift_dsl.games.matrix_rules import MatrixGame, MatrixState, make_matrix_game
from gift_dsl.rng import stream
from gift_dsl.stats import wilson

Chooser = Callable[[MatrixState], str]


def learn(game: MatrixGame, states: Sequence[MatrixState], features: Callable[[MatrixState], Hashable]) -> Chooser:
    """Choose what was right most often among training rounds of the same features."""
    right: dict[Hashable, Counter[str]] = defaultdict(Counter)
    for state in states:
        right[features(state)].update(sorted(game.labels(state)))
    table = {key: counts.most_common(1)[0][0] for key, counts in right.items()}

    def choose(state: MatrixState) -> str:
        action = table.get(features(state))
        return action if action in state.own_actions else state.own_actions[0]

    return choose


def choosers(game: MatrixGame, training: Sequence[MatrixState], seed: int) -> dict[str, Chooser]:
    """The players by name."""
    rng = stream(seed, "uniform")
    return {
        "uniform": lambda state: rng.choice(state.own_actions),
        "constant": learn(game, training, lambda _state: None),
        "shape and role": learn(game, training, lambda state: (len(state.row), len(state.row[0]), state.role)),
    }


def report(params: MatrixParams, rounds: int, seed: int) -> list[str]:
    """Cells of one line: chance, then rate and interval of each player."""
    game = make_matrix_game(params, facts(params))
    training, test = (
        [game.start(stream(seed, split, number)) for number in range(rounds)] for split in ("train", "test")
    )
    cells = [f"{sum(map(game.chance, test)) / rounds:.3f}"]
    for choose in choosers(game, training, seed).values():
        successes = sum(state.apply(choose(state)).outcome() == ("win",) for state in test)
        low, high = wilson(successes, rounds)
        cells.append(f"{successes / rounds:.3f} ({low:.3f} to {high:.3f})")
    return cells


def main() -> None:
    """Print one Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    print("| question | permute | keys | chance | uniform | constant | shape and role |")
    print("|---|---|---|---|---|---|---|")
    for question, permute in product(("auto", "equilibrium", "best_response"), ("none", "reverse", "full")):
        params = MatrixParams(question=question, permute=permute)
        cells = report(params, arguments.rounds, arguments.seed)
        print(f"| {question} | {permute} | {facts(params).family_size} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()

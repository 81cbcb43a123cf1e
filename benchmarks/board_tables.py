"""Who beats whom at board games: perfect play, play that errs on purpose, and chance, from both seats.

    python benchmarks/board_tables.py [--rounds 500] [--seed 1]

Every player meets every other, and itself, as the first and as the second to move, through the same table as
`gift play`. TicTacToe starts from the empty board, which perfect play never loses; Connect Four, with a fifth of the
rounds, after up to two random stones of each side, which a search of four plies can lose. All rows of a table start
from the same positions. A cell is a share in per cent with its Wilson interval of 95 %; `minimax-0.25` plays a
uniformly random legal action in a quarter of its turns.
"""

from __future__ import annotations

import argparse
from itertools import product
from typing import Final

from gift_dsl import api
from gift_dsl.stats import wilson

SPEC: Final = """
gift: 1
name: board-tables
model: {source: ./nobody}
opponents:
  minimax: {type: minimax}
  minimax-0.25: {type: minimax, epsilon: 0.25}
  minimax-0.5: {type: minimax, epsilon: 0.5}
  minimax-0.75: {type: minimax, epsilon: 0.75}
games:
  tictactoe: {type: tictactoe, openings: empty, trainee: {seat: 0}, opponents: random}
  connect_four: {type: connect_four, trainee: {seat: 0}, opponents: random}
stages:
  - {name: tictactoe, type: grpo, play: tictactoe, until: {steps: 1}}
"""
PLAYERS: Final = ("minimax", "minimax-0.25", "minimax-0.5", "minimax-0.75", "random")


def count(game: str, first: str, second: str, rounds: int, seed: int) -> dict[str, int]:
    """Outcomes of the first to move."""
    text = SPEC.replace("play: tictactoe", f"play: {game}")
    options = api.PlayOptions(as_=first, against=second, rounds=rounds, seed=seed)
    return api.play("-", text, options)["outcomes"]


def share(number: int, rounds: int) -> str:
    """A share and its interval, in per cent."""
    low, high = wilson(number, rounds)
    return f"{100 * number / rounds:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def show(title: str, game: str, rounds: int, seed: int) -> None:
    """Print the table of one game."""
    print(f"{title}, {rounds} rounds a row, in per cent\n")
    print("| first | second | first wins | draw | second wins |")
    print("|---|---|---|---|---|")
    for first, second in product(PLAYERS, PLAYERS):
        counts = count(game, first, second, rounds, seed)
        cells = [share(counts[name], rounds) for name in ("success", "draw", "loss")]
        assert counts["success"] + counts["draw"] + counts["loss"] == rounds, counts
        print(f"| {first} | {second} | {' | '.join(cells)} |", flush=True)
    print()


def main() -> None:
    """Print both tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rounds: int = arguments.rounds
    show("TicTacToe from the empty board", "tictactoe", rounds, arguments.seed)
    show("Connect Four", "connect_four", max(1, rounds // 5), arguments.seed)


if __name__ == "__main__":
    main()

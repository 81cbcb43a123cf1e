"""How often a tournament ranks players of known strength right: minimax at TicTacToe that errs more and more often.

    python benchmarks/ratings.py [--seeds 100] [--rounds 200]

Five players: minimax with a share of random actions of 0, 0.25, 0.5 and 0.75, and a random player. Every pair plays so
many rounds from balanced random openings, both seats. Target: all five in the right order in at least 95 of 100 seeds.
"""

from __future__ import annotations

import argparse
import asyncio
from itertools import pairwise

from gift_dsl.evaluate.games import GamesRequest
from gift_dsl.evaluate.ratings import Rating
from gift_dsl.evaluate.tournament import Lists, play_tournament
from gift_dsl.plan import GamePlan, PromptPlan, RolloutPlan
from gift_dsl.play.seats import Seat, TableGame, table_game
from gift_dsl.players.simple import RandomPlayer
from gift_dsl.players.solvers import MinimaxPlayer

RIGHT = ("erring 0", "erring 0.25", "erring 0.5", "erring 0.75", "random")


def contestants() -> dict[str, Seat]:
    """The five, the weakest first, so that an order that is kept by chance is the wrong one."""
    erring = [MinimaxPlayer(f"erring {epsilon:g}", epsilon) for epsilon in (0.75, 0.5, 0.25, 0.0)]
    return {player.name: player for player in (RandomPlayer("random"), *erring)}


def tictactoe() -> TableGame:
    """Balanced openings; who sits where is the tournament's to say."""
    return table_game(
        GamePlan(
            name="tictactoe",
            family="board",
            params={"openings": "balanced"},
            trainee_seat="any",
            trainee_role=None,
            opponents={"1": "random"},
            opponents_by="seat",
            assign="fixed",
            reward=(1.0, 0.5, 0.0),
            max_turns=5,
            illegal_retries=0,
            format_penalty=0.0,
            illegal_penalty=0.0,
            show_penalty=False,
            prompt=PromptPlan(("{{ turn }}",), "", "answer", "optional"),
            rollout=RolloutPlan(40, 1.0, "off", "end", "independent", 0, "void", 1.0, 2, 60.0),
            held_out=False,
            data=None,
        )
    )


def ranked(game: TableGame, seed: int, rounds: int) -> tuple[Rating, ...]:
    """The ratings of one tournament."""
    request = GamesRequest("dev", rounds, ("tictactoe",), seed=seed)
    return asyncio.run(play_tournament(Lists(contestants(), {"tictactoe": game}), request)).overall


def main() -> None:
    """Print the share of seeds with the right order, and the ratings of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    game = tictactoe()
    found = [ranked(game, seed, options.rounds) for seed in range(options.seeds)]
    right = sum(tuple(rating.player for rating in ratings) == RIGHT for ratings in found)
    apart = sum(all(better.interval[0] > worse.interval[1] for better, worse in pairwise(ratings)) for ratings in found)
    print(f"right order: {right} of {options.seeds} seeds; all neighbours' intervals apart: {apart}")
    print("| player | Elo | 95 % interval |\n|---|---|---|")
    for rating in found[0]:
        print(f"| {rating.player} | {rating.elo:+.0f} | {rating.interval[0]:+.0f} to {rating.interval[1]:+.0f} |")


if __name__ == "__main__":
    main()

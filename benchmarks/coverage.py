"""How often the interval of an evaluation holds the true rate: through the whole evaluator, with servers that fail.

    python benchmarks/coverage.py [--evaluations 400] [--rounds 200] [--replays 3]

Both seats of an instance are played; their outcomes have a correlation of 1/2 (they share a success rate drawn from a
beta distribution). Lost games are six times as long as won ones, and the opponent is a server that does not answer half
of all calls, so what stays without a result is mostly lost games. `naive` is Wilson's interval of the rounds that have
a result, taken as independent. Targets: at least 93 % for the rates of 0.1, 0.5 and 0.9, 90 % for 0.02 and 0.98.
"""

from __future__ import annotations

import argparse
import asyncio
import random
from dataclasses import dataclass, replace

from gift_dsl.evaluate.games import Arena, GamesRequest, evaluate_games
from gift_dsl.evaluate.scores import Tally
from gift_dsl.games.game import GameFacts
from gift_dsl.plan import GamePlan, PromptPlan, RolloutPlan
from gift_dsl.play.seats import TableGame
from gift_dsl.seat import PlayerFault, Turn
from gift_dsl.stats import wilson

RATES = (0.02, 0.1, 0.5, 0.9, 0.98)
FAULTS = 0.5
SHORT, LONG = 2, 12


@dataclass(frozen=True)
class Observation:
    """There is nothing to see."""

    turn: int


@dataclass(frozen=True)
class PairState:
    """What both seats will get is known from the start; until then they take turns."""

    key: str
    wins: tuple[bool, bool]
    lengths: tuple[int, int]
    seat: int | None = None
    moves: int = 0

    @property
    def is_terminal(self) -> bool:
        """Whether the seat that is measured, the one that answers `me`, has had its turns."""
        return self.seat is not None and self.moves >= self.lengths[self.seat]

    @property
    def current_player(self) -> int:
        """Seats alternate."""
        return -1 if self.is_terminal else self.moves % 2

    def legal_actions(self) -> tuple[str, ...]:
        """Who one is."""
        return () if self.is_terminal else ("me", "other")

    def observation(self, _player: int) -> Observation:
        """Nothing but the number of the turn."""
        return Observation(self.moves)

    def apply(self, action: str) -> PairState:
        """The next turn."""
        mover = self.moves % 2
        return replace(self, moves=self.moves + 1, seat=mover if action == "me" else 1 - mover)

    def outcome(self) -> tuple[str, str]:
        """Not a contest: each seat has its own result."""
        first, second = ("win" if win else "loss" for win in self.wins)
        return first, second


@dataclass(frozen=True)
class PairGame:
    """Instances whose two seats succeed with one probability, beta distributed with this mean."""

    rate: float

    @property
    def facts(self) -> GameFacts:
        """Two seats."""
        return GameFacts(2, (LONG, LONG), graded=False, can_draw=False, zero_sum=False)

    def start(self, rng: random.Random) -> PairState:
        """A correlation of 1 / (a + b + 1) with a + b = 1."""
        shared = rng.betavariate(self.rate, 1 - self.rate)
        wins = (rng.random() < shared, rng.random() < shared)
        lengths = (SHORT if wins[0] else LONG, SHORT if wins[1] else LONG)
        return PairState(str(rng.getrandbits(64)), wins, lengths)

    def role(self, _state: PairState, _player: int) -> str:
        """None."""
        return ""

    def instance_key(self, state: PairState) -> str:
        """A number of its own."""
        return state.key


@dataclass(frozen=True)
class Saying:
    """Says one word, if it answers at all."""

    name: str
    word: str
    faults: float = 0.0
    waits: bool = False

    async def act(self, _turn: Turn, rng: random.Random) -> str:
        """The word, or a fault."""
        if rng.random() < self.faults:
            raise PlayerFault(self.name, "timed out")
        return f"<answer>{self.word}</answer>"


def table_game(rate: float) -> TableGame:
    """The game with a plan that has no choice in it."""
    rollout = RolloutPlan(40, 1.0, "off", "end", "independent", 0, "void", 1.0, 2, 60.0)
    plan = GamePlan(
        name="pairs",
        family="none",
        params={},
        trainee_seat="any",
        trainee_role=None,
        opponents={"1": "server"},
        opponents_by="seat",
        assign="fixed",
        reward=(1.0, 0.5, 0.0),
        max_turns=LONG,
        illegal_retries=0,
        format_penalty=0.0,
        illegal_penalty=0.0,
        show_penalty=False,
        prompt=PromptPlan(("{{ turn }}",), "", "answer", "optional"),
        rollout=rollout,
        held_out=False,
        data=None,
    )
    game = PairGame(rate)
    return TableGame(plan, game, game.facts)


def measure(rate: float, seed: int, rounds: int, replays: int) -> Tally:
    """One evaluation."""
    server = Saying("server", "other", FAULTS)
    arena = Arena(Saying("policy", "me"), {"pairs": table_game(rate)}, {"server": server})
    request = GamesRequest("dev", rounds, ("pairs",), max_replays=replays, seed=seed)
    return asyncio.run(evaluate_games(arena, request)).games[0].total


def report(rate: float, evaluations: int, rounds: int, replays: int) -> str:
    """One line of the table."""
    tallies = [measure(rate, seed, rounds, replays) for seed in range(evaluations)]
    held = sum(one.interval[0] <= rate <= one.interval[1] for one in tallies) / evaluations
    naive = [wilson(one.successes, one.rounds) for one in tallies]
    naively_held = sum(low <= rate <= high for low, high in naive) / evaluations
    width = sum(one.interval[1] - one.interval[0] for one in tallies) / evaluations
    void = sum(one.counts["void"] for one in tallies) / (evaluations * rounds)
    return f"| {rate} | {held:.3f} | {naively_held:.3f} | {width:.3f} | {void:.2%} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--evaluations", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--replays", type=int, default=3)
    options = parser.parse_args()
    print("| rate | held | naive | mean width | left void |\n|---|---|---|---|---|")
    for rate in RATES:
        print(report(rate, options.evaluations, options.rounds, options.replays), flush=True)


if __name__ == "__main__":
    main()

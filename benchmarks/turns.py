"""Turns per second of TicTacToe, random against random, beside TextArena's raw environment, and what each part costs.

    python benchmarks/turns.py [--games 2000]

Ours is measured twice. `turns` is what a turn needs: an observation, a prompt rendered from it, a stream of its own,
the player, the answer parsed, the rules. `table` is all of play: groups, shared starts, conversations, retries,
records and trajectories too. TextArena's is its environment without wrappers, which renders text and parses the action
as well. CPU seconds of one process; the three take turns and the best round of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
from collections.abc import Callable
from dataclasses import replace
from time import process_time
from typing import Any, Final

from gift_dsl.plan import GamePlan, Leaf, PromptPlan, RolloutPlan
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.parse import Parsed, parse_answer, read_action
from gift_dsl.play.seats import Table, TableGame, table_game
from gift_dsl.play.setting import Notes, settle
from gift_dsl.play.table import play_groups
from gift_dsl.players.simple import RandomPlayer
from gift_dsl.prompts import load_template, render_prompt
from gift_dsl.rng import stream
from gift_dsl.seat import Message, Turn

ROLLOUT: Final = RolloutPlan(100, 1.0, "off", "end", "independent", 2, "random_legal", 0.2, 2, 600.0)
KEYS: Final = Keys(1, "train", "benchmark", 0)


class Reader(RandomPlayer):
    """Plays at random, and is written every message as a model or an endpoint would be."""

    reads_messages = True


def make_game() -> TableGame:
    """TicTacToe from the empty board, in the shipped wording, the trainee first."""
    prompt = PromptPlan((load_template("board"),), load_template("answer_tag"), "answer", "optional")
    return table_game(
        GamePlan(
            name="tictactoe",
            family="board",
            params={"title": "TicTacToe"},
            trainee_seat=0,
            trainee_role=None,
            opponents={"1": "random"},
            opponents_by="seat",
            assign="fixed",
            reward=(1.0, 0.5, 0.0),
            max_turns=5,
            illegal_retries=0,
            format_penalty=-0.1,
            illegal_penalty=0.0,
            show_penalty=False,
            prompt=prompt,
            rollout=ROLLOUT,
            held_out=False,
            data=None,
        )
    )


def table_turns_per_s(num_games: int, keys: Keys = KEYS) -> float:
    """Turns per CPU second of the whole table."""
    player = Reader("random")
    table = Table({"tictactoe": make_game()}, player, {"random": player})
    walks = plan_walks(Leaf("tictactoe", "tictactoe", ((0, 1.0),), 5, ROLLOUT), keys, range(num_games // 16))
    start = process_time()
    groups = asyncio.run(play_groups(table, keys, walks, 16))
    seconds = process_time() - start
    return sum(len(one.turns) for group in groups for one in group.trajectories) / seconds


def bare_turns_per_s(num_games: int, seed: int = 1) -> float:
    """Turns per CPU second of state, observation, prompt, stream, player and parser, without the table around them."""
    game, player = make_game(), RandomPlayer("random")
    wording, num_turns = game.plan.prompt.observations[0], 0
    start = process_time()
    for number in range(num_games):
        state = game.game.start(stream(seed, "instance", number))
        turn = 0
        while not state.is_terminal:
            seat, legal = state.current_player, state.legal_actions()
            observation = state.observation(seat)
            notes = Notes(seat + 1, turn // 2 + 1, 5 - turn // 2)
            message = Message("user", render_prompt(wording, {**shown(observation), **notes._asdict()}))
            asked = Turn(observation, legal, (message,), state, seat, "tictactoe", "answer")
            text = answer_of(player, asked, stream(seed, "opponent", "train", "benchmark", 0, number, seat, turn))
            parsed = parse_answer(text)
            assert isinstance(parsed, Parsed)
            action = read_action(parsed.answer, legal)
            assert isinstance(action, str)
            state = state.apply(action)
            turn += 1
        num_turns += turn
    return num_turns / (process_time() - start)


def shown(observation: object) -> dict[str, object]:
    """The fields of an observation."""
    return {name: getattr(observation, name) for name in observation.__dataclass_fields__}  # type: ignore[attr-defined]  # every observation is a dataclass


def answer_of(player: RandomPlayer, turn: Turn, rng: random.Random) -> str:
    """What a player says that does not wait."""
    try:
        player.act(turn, rng).send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a scripted player does not wait")


def their_turns_per_s(num_games: int) -> float | None:
    """Turns per CPU second of TextArena's raw environment; None where it is not installed."""
    try:
        import textarena
    except ImportError:
        return None
    environment: Any = textarena.make("TicTacToe-v0-raw")
    rng, num_turns = stream(1, "benchmark"), 0
    start = process_time()
    for _ in range(num_games):
        environment.reset(num_players=2, seed=1)
        done = False
        while not done:
            _, observation = environment.get_observation()
            moves = re.findall(r"'\[(\d)\]'", observation[-1][1])
            done, _ = environment.step(f"[{rng.choice(moves)}]")
            num_turns += 1
    return num_turns / (process_time() - start)


def cost_us(work: Callable[[], object], repeat: int = 1000) -> float:
    """CPU microseconds of one call, in the best of several rounds."""
    times: list[float] = []
    for _ in range(10):
        start = process_time()
        for _ in range(repeat):
            work()
        times.append((process_time() - start) / repeat)
    return min(times) * 1e6


def costs() -> dict[str, float]:
    """CPU microseconds of each part of one turn, in the middle of a game."""
    player = RandomPlayer("random")
    table = Table({"tictactoe": make_game()}, player, {"random": player})
    (walk,) = plan_walks(Leaf("tictactoe", "tictactoe", ((0, 1.0),), 5, ROLLOUT), KEYS, [0])
    (setting,) = settle(table, KEYS, walk)
    state = setting.state.apply("5").apply("1").apply("3")
    observation, legal = state.observation(1), state.legal_actions()
    notes = Notes(player=2, turn=2, turns_left=3)
    values = {**shown(observation), **notes._asdict()}
    turn = Turn(observation, legal, (), state, 1, "tictactoe", "answer")
    rng, text = random.Random(1), "<answer>7</answer>"
    parsed = parse_answer(text)
    assert isinstance(parsed, Parsed)

    return {
        "stream": cost_us(lambda: stream(1, *KEYS.name("opponent", 0, "tictactoe", 0, 0, 0, 1, 2, 0))),
        "observation": cost_us(lambda: state.observation(1)),
        "render": cost_us(lambda: render_prompt(setting.wording, values)),
        "render again": cost_us(lambda: setting.text(observation, notes)),
        "player": cost_us(lambda: answer_of(player, turn, rng)),
        "parse": cost_us(lambda: read_action(parsed.answer, legal) if parse_answer(text) else None),
        "rules": cost_us(lambda: (state.legal_actions(), state.apply("7"))),
    }


def main() -> None:
    """Print both rates and the parts."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--games", type=int, default=2000, help="of each round")
    parser.add_argument("--rounds", type=int, default=8, help="the two take turns; the best round of each counts")
    arguments = parser.parse_args()
    table_turns_per_s(32, replace(KEYS, seed=0))  # compiles the templates
    rates: dict[str, float] = {}
    for seed in range(1, arguments.rounds + 1):
        found = {
            "turns": bare_turns_per_s(arguments.games, seed),
            "table": table_turns_per_s(arguments.games, replace(KEYS, seed=seed)),
            "textarena": their_turns_per_s(arguments.games),
        }
        rates = {name: max(rate, rates.get(name, 0.0)) for name, rate in found.items() if rate is not None}
    for name, rate in rates.items():
        beside = f"   {rate / rates['textarena']:5.2f} of textarena" if "textarena" in rates else ""
        print(f"{name:24} {rate:8.0f} turns/s   {1e6 / rate:6.1f} us a turn{beside}")
    if "textarena" not in rates:
        print("textarena is not installed: pip install 'gift-dsl[textarena]'")
    for name, microseconds in costs().items():
        print(f"    {name:20} {microseconds:6.1f} us")


if __name__ == "__main__":
    main()

"""`gift play`: players meet outside a run, a person can play, and the result is one document."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from gift_dsl import api
from gift_dsl.errors import MachineError, UsageError
from tests.compiler.conftest import BASE
from tests.players.server import FaultServer
from tests.test_cli import gift

COUNTED = {"success", "draw", "loss", "bad_format", "illegal_action", "void"}


def play(target, as_="random", against=None, rounds=20, **more):
    return api.play(target, options=api.PlayOptions(as_=as_, against=against, rounds=rounds, **more))


def test_the_document_has_rounds_seed_and_the_six_counts():
    document = play("tictactoe", seed=7)
    assert document["schema"] == "gift-play/1"
    assert (document["rounds"], document["seed"]) == (20, 7)
    assert set(document["outcomes"]) == COUNTED
    assert sum(document["outcomes"].values()) == 20


def test_the_same_seed_plays_the_same_games():
    assert play("tictactoe", seed=3) == play("tictactoe", seed=3)
    assert len({json.dumps(play("tictactoe", seed=seed)["outcomes"]) for seed in range(6)}) > 1


def test_minimax_beats_a_random_player_from_either_seat_but_for_openings_that_are_lost():
    document = play("tictactoe", "minimax", "random", rounds=40)
    assert document["outcomes"]["success"] > 10 * document["outcomes"]["loss"]
    assert play("tictactoe", "minimax", "minimax", rounds=10)["outcomes"]["draw"] > 0


@pytest.mark.parametrize("game", ["tictactoe", "connect_four", "matrix_games", "whos_the_spy"])
def test_a_random_player_meets_no_rule_it_can_break(game):
    document = play(game, "random", rounds=6)
    outcomes = document["outcomes"]
    assert outcomes["bad_format"] == outcomes["illegal_action"] == outcomes["void"] == 0


def test_a_uniform_player_of_matrix_games_is_near_its_chance_level():
    (game,) = play("matrix_games", rounds=400)["games"].values()
    assert abs(game["mean_reward"] - game["chance"]) < 0.1


def test_a_person_plays_by_typing_and_sees_no_model_s_instructions():
    asked = []

    def ask(question):
        asked.append(question)
        legal = question.rsplit("tags: ", 1)[1].split(",")
        return legal[0].strip("> ")

    document = play("tictactoe", "human", "first_legal", rounds=1, ask=ask)
    assert sum(document["outcomes"].values()) == 1
    assert "TicTacToe" in asked[0]
    assert not any("<answer>" in question for question in asked)


def test_the_composition_of_a_spec_is_played_with_its_own_opponents(tmp_path):
    spec = tmp_path / "s.yaml"
    spec.write_text(BASE.replace("play: all", "play: {all_of: [matrix, tictactoe]}"))
    document = play(str(spec), rounds=5)
    assert set(document["games"]) == {"matrix", "tictactoe"}
    again = play(str(spec), against="first_legal", rounds=5)
    assert again["against"] == "first_legal"


@pytest.mark.parametrize(
    ("target", "as_", "words"),
    [
        ("chess", "random", "neither a spec file nor a game"),
        ("math", "human", "cannot be played by its name alone"),
        ("arithmetic", "random", "`random` cannot play arithmetic; these can: scripted, human"),
        ("tictactoe", "minmax", "did you mean `minimax`"),
        ("tictactoe", "clue", "`clue` cannot play tictactoe"),
        ("tictactoe", "self", "`self` cannot play tictactoe"),
    ],
)
def test_what_cannot_be_played_is_told(target, as_, words):
    with pytest.raises(UsageError, match=words):
        play(target, as_)


def test_the_command_prints_a_line_or_a_document():
    done = gift("play", "tictactoe", "--as", "minimax", "--against", "random", "--rounds", "5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("tictactoe: minimax in 5 rounds: ")
    document = json.loads(gift("play", "tictactoe", "--rounds", "5", "--json").stdout)
    assert sum(document["outcomes"].values()) == document["rounds"] == 5
    assert gift("play", "tictactoe", "--rounds", "0").returncode == 2
    assert gift("play", "chess").returncode == 2


def test_a_person_who_leaves_ends_the_play_with_a_sentence():
    done = gift("play", "tictactoe", "--as", "human", stdin="5\n")
    assert done.returncode == 1
    assert "has left" in done.stderr


HTTP = """
gift: 1
name: http
model: {source: ./nobody}
opponents:
  server: {type: openai, base_url: "http://%s/v1", model: m, max_tokens: 100, concurrency: 1,
    usd_per_mtok: {input: 0, output: 1000}}
  idle: {type: openai, base_url: "http://127.0.0.1:1/v1", model: m, usd_per_mtok: {input: 0, output: 0}}
games:
  tictactoe: {type: tictactoe, opponents: server}
stages:
  - {name: s, type: grpo, play: tictactoe, until: {steps: 1}}
limits: {%s}
"""


@pytest.mark.parametrize("as_", ["random", "server"])
def test_a_play_against_a_dead_endpoint_fails_at_once_and_names_it(as_):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(MachineError, match=host):
            api.play("-", HTTP % (host, ""), api.PlayOptions(as_=as_))


def test_a_play_against_a_server_that_refuses_everybody_does_not_begin():
    server = FaultServer(models=lambda _: (401, {}, "who are you?"))

    async def against():
        async with server:
            await asyncio.to_thread(api.play, "-", HTTP % (server.host, ""), api.PlayOptions())

    with pytest.raises(MachineError, match="refuses requests without a key"):
        asyncio.run(against())
    assert server.asked == []


@pytest.mark.parametrize(
    ("limits", "calls", "words"),
    [
        ("opponent_calls: 7", 7, "`limits.opponent_calls` is reached"),
        ("opponent_usd: 0.1225", 5, "`limits.opponent_usd`"),
    ],
)
def test_a_play_keeps_to_the_limits_of_its_spec_and_says_what_was_over_by_then(limits, calls, words):
    server = FaultServer(reply=lambda body: "<answer>5</answer>")

    async def against():
        async with server:
            options = api.PlayOptions(rounds=40)
            return await asyncio.to_thread(api.play, "-", HTTP % (server.host, limits), options)

    with pytest.raises(api.PlayFailed, match=words) as failed:
        asyncio.run(against())
    assert len(server.asked) == calls
    document = failed.value.document
    assert document["interrupted"]
    assert document["played"] < 40

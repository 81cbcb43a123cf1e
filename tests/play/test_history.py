"""Prompts of an evaluation: those of training, or, as in the paper's evaluation, each turn by itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field, fields, replace

import pytest

from gift_dsl.api import check_spec, compile_spec
from gift_dsl.errors import UsageError
from gift_dsl.evaluate.games import Arena, GamesRequest, alone, evaluate_games, final_request, probe_request
from gift_dsl.games.game import FreeText
from gift_dsl.games.laws import random_play
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation, Table, model_player
from gift_dsl.play.setting import Notes
from gift_dsl.play.table import play_groups
from gift_dsl.players.make import Services
from gift_dsl.prompts import render_prompt
from gift_dsl.run.examine import stage_request
from gift_dsl.run.seating import bind, seated_names, table_games
from tests.games.test_laws import GAMES
from tests.play.scripted import CODEC, ROLLOUT, ScriptedPolicy, counting, random_policy, tagged, tictactoe

SPEC = """
gift: 1
name: all
model: {source: tiny}
games:
  sums: {type: arithmetic}
  matrix: {type: matrix_games}
  tictactoe: {type: tictactoe, opponents: random}
  four: {type: connect_four, opponents: random}
  gomoku: {type: gomoku, opponents: random}
  spy: {type: whos_the_spy, opponents: clue}
  shortly: {type: whos_the_spy, opponents: clue, prompt: {wording: compact}}
  chain: {all_of: [sums, tictactoe, spy]}
stages:
  - {name: main, type: grpo, play: {any_of: [chain, matrix, four, gomoku, shortly]}, until: {steps: 10}}
algorithm: {keep: 1.0, mini_batch_size: all}
rollout: {max_tokens_per_turn: 5}
evaluation: {history: none, probe: {rounds: 8}, final: {rounds: 8}}
"""
SYSTEM = "Play well."


@dataclass
class Listener:
    """Plays a drawn legal action and keeps what it was shown, turn by turn."""

    name: str = "listener"
    waits: bool = False
    heard: list = field(default_factory=list)

    async def act(self, turn, rng):
        self.heard.append(turn)
        return tagged("like something" if isinstance(turn.legal, FreeText) else rng.choice(turn.legal))


@pytest.fixture(scope="module")
def plan():
    (plan,) = compile_spec("-", SPEC)
    return plan


def play(plan, *names, policy=None, **changes):
    policy = policy or Listener()
    arena = Arena(policy, table_games(plan, names, "dev"), bind(seated_names(plan, names), plan, Services()), SYSTEM)
    request = GamesRequest("dev", 6, names, history="none", seed=1)
    return policy, asyncio.run(evaluate_games(arena, replace(request, **changes)))


EVERY = ("sums", "matrix", "tictactoe", "four", "gomoku", "spy", "shortly")


@pytest.mark.parametrize("name", EVERY)
def test_a_prompt_without_history_is_the_system_text_and_one_message(plan, name):
    listener, result = play(plan, name)
    assert result.games[0].rounds
    assert {tuple(one.role for one in turn.messages) for turn in listener.heard} == {("system", "user")}
    assert {turn.messages[0].content for turn in listener.heard} == {SYSTEM}


@pytest.mark.parametrize("name", EVERY)
def test_its_message_is_that_of_a_first_turn_in_the_present_state(plan, name):
    """So the rules are in it, all that the state shows, and nothing about earlier answers."""
    listener, _ = play(plan, name)
    for turn in listener.heard[:20]:
        shown = {one.name: getattr(turn.observation, one.name) for one in fields(turn.observation)}
        values = {**shown, **Notes(turn.seat + 1, 1, 1)._asdict()}
        firsts = [render_prompt(wording, values) for wording in plan.game(name).prompt.observations]
        assert any(turn.messages[1].content.startswith(first) for first in firsts)


@pytest.mark.parametrize("name", ["spy", "shortly"])
def test_all_that_the_others_said_is_in_it(plan, name):
    """Even where the wording for models that remember says of each round only what is new."""
    listener, _ = play(plan, name)
    votes = [turn for turn in listener.heard if not isinstance(turn.legal, FreeText)]
    assert votes
    for turn in votes:
        said = [text for clues in turn.observation.clues for _, text in clues]
        assert len(said) == sum(map(len, turn.observation.clues)) > 4
        assert turn.observation.word in turn.messages[1].content
        assert all(text in turn.messages[1].content for text in said)


@pytest.mark.parametrize("name", GAMES)
def test_an_observation_that_is_whole_says_what_may_be_done(name):
    """A law of every game: two plays that show a player the same leave it the same choice."""
    game, legal = GAMES[name], defaultdict(set)
    assert game.facts.whole_observations
    for seed in range(20):
        for state, action in random_play(game, seed):
            if action is not None:
                legal[repr(state.observation(state.current_player))].add(repr(state.legal_actions()))
    assert all(len(found) == 1 for found in legal.values())


def test_a_game_that_tells_only_what_is_new_is_refused_by_the_language():
    text = SPEC.replace("type: gomoku, opponents: random", "type: textarena, env: Nim-v0, opponents: bot")
    text += '\nopponents: {bot: {type: scripted, replies: ["[0 1]"]}}\n'
    found = [one for one in check_spec("-", text).diagnostics if one.severity == "error"]
    assert [one.code for one in found] == ["history-needed"]
    assert "`gomoku` tells a player only what is new" in found[0].message


def test_and_by_the_evaluator_where_only_the_built_game_knows():
    game = counting("count")
    game = replace(game, facts=replace(game.facts, whole_observations=False))
    arena = Arena(model_player("policy", random_policy()), {"count": game}, {})
    with pytest.raises(UsageError, match="`count` tells a player only what is new"):
        asyncio.run(evaluate_games(arena, GamesRequest("dev", 2, ("count",), history="none")))


def test_unless_it_is_written_otherwise_there_is_history():
    (plan,) = compile_spec("-", SPEC.replace("history: none, ", ""))
    assert plan.evaluation.history == "full"
    assert final_request(plan.evaluation, plan.evaluation.final).history == "full"


def test_every_evaluation_of_a_run_has_what_is_written(plan):
    stage = plan.stages[0]
    probe = replace(plan.evaluation.probe, chain=True)
    requests = [
        probe_request(plan.evaluation, probe, stage),
        final_request(plan.evaluation, plan.evaluation.final, plan.stages),
        stage_request(plan, stage),
    ]
    assert [(one.history, dict(one.chains)) for one in requests] == [("none", {})] * 3


def test_history_is_part_of_the_meaning_and_of_the_protocol(plan):
    (other,) = compile_spec("-", SPEC.replace("history: none, ", ""))
    assert plan.spec_hash != other.spec_hash
    _, result = play(plan, "sums")
    assert result.to_json()["protocol"]["history"] == "none"


class TestModels:
    """The same of the ids that a model is given."""

    @staticmethod
    def contexts(evaluation, *, seat=0, retries=0, reply=None):
        policy = random_policy() if reply is None else ScriptedPolicy(reply)
        game = tictactoe(trainee_seat=seat, opponents={"1": "policy"}, illegal_retries=retries)
        player = model_player("policy", policy)
        table = Table({"ttt": game}, player, {"policy": player}, SYSTEM, evaluation=evaluation)
        keys = Keys(3, "dev", "games", 0, ("eval",))
        walks = plan_walks(alone(game), keys, range(3))
        (group, *_) = asyncio.run(play_groups(table, keys, walks, 1))
        return [request.context for batch in policy.batches for request in batch], group

    def test_prompts_with_history_are_those_of_training(self):
        sampled = Evaluation(ROLLOUT.temperature, ROLLOUT.max_tokens_per_turn)
        trained, _ = self.contexts(None)
        evaluated, _ = self.contexts(sampled)
        assert evaluated == trained
        assert max(CODEC.decode(ids).count("user\n") for ids in evaluated) > 2

    def test_a_prompt_without_history_is_rendered_from_two_messages(self):
        sampled = Evaluation(ROLLOUT.temperature, ROLLOUT.max_tokens_per_turn, history="none")
        contexts, group = self.contexts(sampled)
        for ids in contexts:
            text = CODEC.decode(ids)
            assert text.startswith(f"system\n{SYSTEM}\nuser\nTurn 1 ")
            assert (text.count("user\n"), text.count("assistant\n")) == (1, 1)
        (trajectory,) = group.trajectories
        own = [turn for turn in trajectory.turns if turn.seat == 0]
        assert len(trajectory.sequences) == len(own)
        assert [turn.sequence for turn in own] == list(range(len(own)))

    def test_a_second_try_is_asked_for_as_the_first_was(self):
        sampled = Evaluation(1.0, 40, history="none")
        contexts, group = self.contexts(sampled, retries=2, reply=lambda *_: tagged("nowhere"))
        assert [turn.end for turn in group.trajectories[0].turns if turn.seat == 0] == ["illegal_action"] * 3
        assert "Again" not in "".join(map(CODEC.decode, contexts))

"""Games as they are evaluated: the same instances for everybody, both seats, and nothing left behind."""

from __future__ import annotations

import asyncio
import json
import random
from collections import Counter, defaultdict
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from gift_dsl.api import compile_spec
from gift_dsl.engines.load import load_policy
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.evaluate.games import (
    Arena,
    GamesRequest,
    evaluate_games,
    final_request,
    merge_results,
    probe_request,
)
from gift_dsl.evaluate.generators import kept_generators
from gift_dsl.evaluate.scores import Round, _mean, tally
from gift_dsl.plan import AnyOf, InTurn, chains_of
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table, model_player
from gift_dsl.play.table import play_groups
from gift_dsl.players.make import Services
from gift_dsl.run import bind, seated_names, table_games
from tests.play.scripted import (
    CONSTANT,
    ROLLOUT,
    CountGame,
    RandomPlayer,
    SayingPlayer,
    ScriptedPolicy,
    counting,
    fault,
    leaf,
    random_policy,
    tagged,
    tictactoe,
)
from tests.play.test_deal import all_of, any_of

SOLO = counting("solo", CountGame(goal=3, spread=4, seats=1))
COUNT = counting(trainee_seat="any")
REQUEST = GamesRequest("dev", 20, ("count",), temperature=1.0, max_tokens=ROLLOUT.max_tokens_per_turn)
QUICKSTART = Path(__file__).parent.parent.parent / "specs" / "quickstart.yaml"


def arena_of(*games, policy=None, players=(), **changes):
    policy = policy or random_policy()
    seat = model_player("policy", policy) if hasattr(policy, "complete") else policy
    seated = {player.name: player for player in (RandomPlayer(), *players)}
    return Arena(seat, {game.plan.name: game for game in games}, seated, **changes)


def evaluate(arena, request=REQUEST, **changes):
    return asyncio.run(evaluate_games(arena, replace(request, **changes)))


def score_of(arena, **changes):
    return evaluate(arena, **changes).games[0]


@pytest.fixture(scope="module")
def plan():
    (plan,) = compile_spec(str(QUICKSTART), sets=["model.tiny={hidden_size: 32, layers: 2, heads: 2}"])
    return plan


class TestWhatIsPlayed:
    def test_every_instance_is_played_from_every_seat(self):
        rounds = score_of(arena_of(counting(trainee_seat="any", game=CountGame(seats=3))), rounds=30).rounds
        by_instance = defaultdict(list)
        for one in rounds:
            by_instance[one.number].append(one)
        assert len(by_instance) == 10
        for together in by_instance.values():
            assert [one.seat for one in together] == [0, 1, 2]
            assert len({one.instance for one in together}) == 1

    def test_a_fixed_seat_gets_all_rounds(self):
        score = score_of(arena_of(counting(trainee_seat=1)), rounds=7)
        assert [(one.number, one.seat) for one in score.rounds] == [(number, 1) for number in range(7)]
        assert score.by_place == {}

    def test_seats_that_are_all_trained_share_the_rounds_that_were_asked_for(self):
        score = score_of(arena_of(counting(trainee_seat="all", opponents={})), rounds=10)
        assert Counter(one.seat for one in score.rounds) == {0: 5, 1: 5}
        assert score.total.successes == 5

    def test_another_opponent_may_sit_in_all_other_seats(self):
        losing = SayingPlayer(lambda turn, rng: tagged("9"), name="losing")
        game = counting(trainee_seat="all", opponents={}, rollout=replace(ROLLOUT, opponent_illegal_then="forfeit"))
        score = score_of(arena_of(game, players=[losing]), opponents={"count": "losing"}, rounds=12)
        assert Counter(one.seat for one in score.rounds) == {0: 6, 1: 6}
        assert score.opponents == ("losing",)
        assert score.total.opponent_illegal > 0
        assert score.total.rate > 0.8

    def test_a_chain_meets_the_instances_of_the_game_alone(self):
        arena = arena_of(SOLO, COUNT)
        result = evaluate(arena, chains={"nested": all_of(leaf("solo"), leaf("count"))})
        (alone,), chain = result.games, {part.label: part for part in result.chains["nested"]}
        assert [(one.number, one.seat, one.instance) for one in alone.rounds] == [
            (one.number, one.seat, one.instance) for one in chain["count"].rounds
        ]
        assert chain["count"].chain == "nested"
        assert len(chain["solo"].rounds) == 20

    def test_held_out_is_none_where_the_family_is_too_small(self):
        assert score_of(arena_of(COUNT)).held_out == "none"
        spy = score_of(arena_of(counting(held_out=True, game=CountGame(goal=50, spread=900))))
        assert spy.held_out == "dev"

    def test_dev_and_test_are_other_instances(self):
        arena = arena_of(counting(held_out=True, game=CountGame(goal=50, spread=900), max_turns=1))
        dev, test = (score_of(arena, split=split) for split in ("dev", "test"))
        assert not {one.instance for one in dev.rounds} & {one.instance for one in test.rounds}

    @pytest.mark.parametrize("changes", [{"rounds": 0}, {"at_once": 0}])
    def test_no_rounds_are_no_evaluation(self, changes):
        with pytest.raises(ValueError, match="at least 1"):
            evaluate(arena_of(COUNT), **changes)


class TestTheSameForEverybody:
    def test_prompts_are_those_of_training_byte_for_byte(self):
        """The same keys and the same policy: every context of the whole evaluation is one of training."""

        def contexts(play):
            policy = random_policy()
            play(policy)
            return sorted(request.context for batch in policy.batches for request in batch)

        game = tictactoe(trainee_seat=1)
        keys = Keys(REQUEST.seed, "dev", "games", 0, ("eval",))

        def train(policy):
            table = Table({"ttt": game}, model_player("policy", policy), {"random": RandomPlayer()}, "Play well.")
            asyncio.run(play_groups(table, keys, plan_walks(leaf("ttt"), keys, range(20)), 1))

        def test(policy):
            evaluate(arena_of(game, policy=policy, system_prompt="Play well."), games=("ttt",))

        assert contexts(train) == contexts(test)

    def test_what_was_played_before_does_not_matter(self):
        arena = arena_of(COUNT, SOLO)
        first = score_of(arena)
        evaluate(arena, games=("solo",))
        assert score_of(arena) == first

    def test_chunks_do_not_matter(self):
        assert score_of(arena_of(COUNT), at_once=3) == score_of(arena_of(COUNT))

    def test_no_more_episodes_than_allowed_are_alive(self):
        policy = random_policy()
        score_of(arena_of(SOLO, policy=policy), games=("solo",), at_once=4)
        assert max(map(len, policy.batches)) == 4

    def test_processes_that_share_the_work_agree_with_one(self):
        chains = {"mixed": any_of(leaf("count"), all_of(leaf("solo"), leaf("count", "count#2")))}
        arena = arena_of(COUNT, SOLO)
        whole = evaluate(arena, chains=chains)
        shares = [evaluate(arena, chains=chains, share=(index, 3)) for index in range(3)]
        assert merge_results(shares) == whole

    def test_another_seed_is_another_evaluation(self):
        assert score_of(arena_of(COUNT), seed=2).rounds != score_of(arena_of(COUNT)).rounds

    def test_sampling_is_that_of_the_request(self):
        policy = random_policy()
        score_of(arena_of(COUNT, policy=policy), temperature=0.25, max_tokens=33)
        assert {(one.temperature, one.max_tokens) for batch in policy.batches for one in batch} == {(0.25, 33)}

    def test_progress_is_told_by_chunk(self):
        told = []
        asyncio.run(evaluate_games(arena_of(COUNT), replace(REQUEST, at_once=8), lambda *now: told.append(now)))
        assert told == [("count", 8, 20), ("count", 16, 20), ("count", 20, 20)]


class TestWhatIsCounted:
    def test_every_outcome_has_its_count(self):
        replies = iter(["no tag", tagged("7"), *[tagged("1")] * 100])
        policy = ScriptedPolicy(lambda request, context: next(replies))
        total = score_of(arena_of(SOLO, policy=policy), games=("solo",), rounds=6).total
        assert total.counts == {
            "success": 4, "draw": 0, "loss": 0, "bad_format": 1, "illegal_action": 1, "void": 0, "unplayed": 0,
        }  # fmt: skip
        assert (total.rate, total.rate_bounds) == (4 / 6, (4 / 6, 4 / 6))

    def test_draws_count_in_the_score_alone(self):
        rounds = [
            Round(number, "i", 0, "", outcome, reward)
            for number, (outcome, reward) in enumerate([("success", 1.0), ("draw", 0.5), ("loss", 0.0), ("draw", 0.5)])
        ]
        assert (tally(rounds).rate, tally(rounds).score) == (0.25, 0.5)

    def test_a_server_that_fails_now_and_then_costs_nothing(self):
        calls = Counter()

        def say(turn, rng):
            calls[turn.seat] += 1
            if sum(calls.values()) % 4 == 0:
                raise fault()
            return tagged(rng.choice(turn.legal))

        flaky = SayingPlayer(say, name="random")
        score = score_of(arena_of(COUNT, players=[flaky]))
        assert (score.total.rounds, score.total.counts["void"]) == (20, 0)
        assert sum(calls.values()) > 40

    def test_what_stays_void_widens_the_rate_to_both_bounds(self):
        def say(turn, rng):
            raise fault()

        dead = SayingPlayer(say, name="dead")
        half = counting("half", CountGame(first=0), trainee_seat="any", opponents={"1": "dead"}, max_turns=20)
        game = replace(half, game=CountGame(goal=1, spread=0, first=0))  # who begins has won with one action
        score = score_of(arena_of(game, players=[dead]), games=("half",))
        total = score.total
        assert total.counts["void"] == 10
        assert (total.rounds, total.rate, total.rate_bounds) == (10, 1.0, (0.5, 1.0))
        assert total.interval[0] < 0.5
        assert total.interval[1] == 1.0

    def test_parts_after_a_void_one_are_unplayed(self):
        def say(turn, rng):
            raise fault()

        dead = counting("dead", opponents={"1": "gone"})
        chain = {"c": all_of(leaf("dead"), leaf("solo"))}
        result = evaluate(
            arena_of(dead, SOLO, players=[SayingPlayer(say, name="gone")]), games=(), chains=chain, rounds=30
        )
        first, second = result.chains["c"]
        assert first.total.counts["void"] == second.total.counts["unplayed"] > 0

    def test_the_chance_level_stands_beside_the_rate(self):
        (plan,) = compile_spec(str(QUICKSTART))
        arena = Arena(RandomPlayer("policy"), table_games(plan, ["matrix"], "dev"))
        total = score_of(arena, games=("matrix",), rounds=400).total
        low, high = total.interval
        assert low < total.chance < high
        assert 0.3 < total.chance < 0.5

    def test_rounds_of_one_instance_count_for_less(self):
        """Two seats that always agree are as good as one."""
        alone = tally(
            [Round(number, "i", 0, "", "success" if number % 2 else "loss", number % 2) for number in range(50)]
        )
        twice = tally(
            [
                Round(number, "i", seat, "", "success" if number % 2 else "loss", 0)
                for number in range(50)
                for seat in (0, 1)
            ]
        )
        free = tally([Round(number, "i", 0, "", "success" if number % 2 else "loss", 0) for number in range(100)])
        assert twice.interval == pytest.approx(alone.interval, abs=0.005)
        assert free.interval[0] > twice.interval[0]

    def test_everything_is_told_as_plain_data(self):
        result = evaluate(arena_of(COUNT, SOLO), chains={"c": all_of(leaf("solo"), leaf("count"))})
        told = json.loads(json.dumps(result.to_json()))
        game = told["games"]["count"]
        assert sum(game["counts"].values()) == game["rounds"] == 20
        assert game["interval"][0] <= game["rate"] <= game["interval"][1]
        assert set(game["by"]) == {"seat 0", "seat 1"}
        assert set(told["chains"]["c"]) == {"solo", "count"}
        assert told["protocol"]["split"] == "dev"


class TestWhatThePlanAsksFor:
    def test_a_probe_reads_dev_and_the_final_test(self, plan):
        stage, evaluation = plan.stages[-1], plan.evaluation
        probe, final = probe_request(evaluation, evaluation.probe, stage), final_request(evaluation, evaluation.final)
        assert (probe.split, probe.rounds, probe.chains) == ("dev", 200, {})
        assert (final.split, final.rounds, final.seed) == ("test", 500, evaluation.seed)
        chained = probe_request(evaluation, replace(evaluation.probe, chain=True), stage)
        assert chained.chains == {"nested": stage.play}

    def test_what_one_trajectory_plays_is_a_chain(self, plan):
        stage = plan.stages[-1]
        alone, nested = leaf("count"), stage.play
        assert chains_of(replace(stage, play=alone)) == {}
        assert chains_of(replace(stage, play=AnyOf((alone, alone), CONSTANT, "balanced"))) == {}
        turns = InTurn((alone, nested), (1, 1), "fixed")
        assert chains_of(replace(stage, play=turns)) == {"nested#2": nested}

    def test_a_model_in_training_is_left_as_it_was(self, plan, tmp_path):
        engine = load_policy(plan.model, str(build_tiny(plan, tmp_path)))
        engine.model.train()
        torch.manual_seed(5)
        rng = random.getstate()  # noqa: TID251
        before, weights = torch.get_rng_state(), [parameter.clone() for parameter in engine.model.parameters()]
        names = ("matrix", "tictactoe")
        arena = Arena(
            model_player("policy", engine),
            table_games(plan, names, "dev"),
            bind(seated_names(plan, names), plan, Services()),
            plan.stages[-1].system_prompt,
            plan.stages[-1].max_context,
        )
        request = GamesRequest("dev", 6, names, temperature=1.0, max_tokens=6)
        result = evaluate(arena, request)
        assert engine.model.training
        assert torch.is_grad_enabled()
        assert torch.equal(torch.get_rng_state(), before)
        assert random.getstate() == rng  # noqa: TID251
        assert all(map(torch.equal, engine.model.parameters(), weights))
        assert engine.kept_bytes == 0
        assert evaluate(arena, request).scores == result.scores


def test_generators_that_a_library_seeds_go_on_where_they_were():
    def draws():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002, TID251

    def seed():
        random.seed(3)  # noqa: TID251
        np.random.seed(3)  # noqa: NPY002
        torch.manual_seed(3)

    seed()
    expected = [draws(), draws()]
    seed()
    found = [draws()]
    with kept_generators():
        random.seed(9)  # noqa: TID251
        np.random.seed(9)  # noqa: NPY002
        torch.manual_seed(9)
        draws()
    assert [*found, draws()] == expected


def test_a_mean_is_the_same_on_every_python():
    """The built-in `sum` of floats is compensated since 3.12; here it would say 0.09999999999999999 before that."""
    assert _mean([0.1] * 10) == 0.1

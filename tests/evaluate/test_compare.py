"""Comparisons that can say `no difference`."""

from __future__ import annotations

import asyncio
import json
import random

import pytest

from gift_dsl.errors import GiftError, UsageError
from gift_dsl.evaluate.compare import RunScores, compare, run_scores
from gift_dsl.evaluate.games import Arena, GamesRequest, evaluate_games
from gift_dsl.evaluate.scores import Round
from tests.play.scripted import RandomPlayer, tictactoe


def rounds_of(outcomes, seats=1):
    """Rounds of one letter each: s success, d draw, l loss, v void; so many seats share an instance."""
    names = {"s": ("success", 1.0), "d": ("draw", 0.5), "l": ("loss", 0.0), "v": ("void", None)}
    return [Round(i // seats, f"i{i // seats}", i % seats, "", *names[letter]) for i, letter in enumerate(outcomes)]


def run_of(outcomes, seed=1, seats=1, name="run"):
    return RunScores(name, seed, {"game": rounds_of(outcomes, seats)})


def of_rate(rate, seed, total=1000):
    """A run with exactly this share of successes."""
    return run_of("s" * round(rate * total) + "l" * (total - round(rate * total)), seed)


def one_contrast(first, second, **options):
    first, second = ([arm] if isinstance(arm, RunScores) else arm for arm in (first, second))
    (contrast,) = compare({"a": first, "b": second}, **options).contrasts
    return contrast


class TestTwoCheckpoints:
    def test_it_is_called_a_difference_of_checkpoints(self):
        found = compare({"a": [run_of("sl" * 10)], "b": [run_of("sl" * 10)]})
        assert found.kind == "checkpoints"
        assert "not of methods" in str(found)

    def test_pairs_that_differ_are_what_counts(self):
        """20 pairs differ, all one way: McNemar's p is 2 / 2^20."""
        found = one_contrast(run_of("s" * 60 + "l" * 40), run_of("s" * 80 + "l" * 20))
        assert found.verdict == "higher"
        assert found.difference == pytest.approx(0.2)
        assert found.p_value == pytest.approx(2 / 2**20)
        assert found.interval[0] > 0.1
        assert one_contrast(run_of("s" * 80 + "l" * 20), run_of("s" * 60 + "l" * 40)).verdict == "lower"

    def test_a_difference_whose_interval_covers_zero_is_none(self):
        found = one_contrast(run_of("sl" * 20), run_of("ssl" * 13 + "s"))
        assert found.interval[0] < 0 < found.interval[1]
        assert found.verdict == "none"
        assert "no difference" in str(found)

    def test_rounds_of_one_instance_are_one_pair_of_evidence(self):
        """Six instances that all improve, each played from four seats: 24 rounds, and no more than 6 signs."""
        found = one_contrast(run_of("l" * 24, seats=4), run_of("s" * 24, seats=4))
        assert found.p_value == pytest.approx(2 / 2**6, abs=0.01)

    def test_draws_count_when_the_score_is_asked_for(self):
        first, second = run_of("l" * 40), run_of("d" * 40)
        assert one_contrast(first, second).verdict == "none"
        assert one_contrast(first, second, measure="score").difference == 0.5
        assert one_contrast(first, second, measure="score").verdict == "higher"

    def test_pairs_without_a_result_are_dropped_in_both_arms(self):
        found = one_contrast(run_of("v" + "s" * 199), run_of("s" * 198 + "vl"))
        assert (found.num_pairs, found.num_dropped) == (198, 2)
        assert found.means == (1.0, 197 / 198)

    def test_too_many_of_them_refuse_the_comparison(self):
        found = one_contrast(run_of("vvv" + "l" * 97), run_of("s" * 100))
        assert (found.verdict, found.interval) == ("refused", None)
        assert "3 of 100 pairs have no result, more than 2%" in str(found)

    def test_only_what_both_played_is_compared(self):
        assert one_contrast(run_of("s" * 30), run_of("s" * 50)).num_pairs == 30

    def test_other_instances_are_no_pairs(self):
        other = RunScores("run", 1, {"game": [Round(0, "another", 0, "", "success", 1.0)]})
        with pytest.raises(GiftError, match="played other instances"):
            compare({"a": [run_of("s")], "b": [other]})

    def test_one_instance_alone_shows_nothing(self):
        assert one_contrast(run_of("llll", seats=4), run_of("ssss", seats=4)).verdict == "none"
        assert one_contrast(run_of("l"), run_of("s")).verdict == "refused"

    def test_saturated_checkpoints_have_an_interval_that_says_how_little_is_known(self):
        """No pair of 20 differs: the score interval is +-z^2 / (n + z^2)."""
        found = one_contrast(run_of("s" * 20), run_of("s" * 20))
        assert found.interval == pytest.approx((-0.1611, 0.1611), abs=1e-4)
        assert (found.verdict, found.reason) == ("none", None)

    def test_so_have_draws_throughout(self):
        found = one_contrast(run_of("l" * 40), run_of("d" * 40), measure="score")
        assert found.interval[0] < 0.5 < found.interval[1]
        assert found.interval[0] > 0

    def test_no_difference_is_never_said_of_an_interval_without_zero(self):
        """Five pairs differ, one way: the score interval leaves out zero, and McNemar's exact p is 2 / 2^5."""
        found = one_contrast(run_of("l" * 5 + "s" * 15), run_of("s" * 20))
        assert found.p_value == pytest.approx(0.0625)
        assert found.interval[0] > 0
        assert (found.verdict, found.reason) == ("none", "not significant")
        assert "no difference" not in str(found)
        assert "not significant" in str(found)

    def test_equal_checkpoints_are_rarely_told_apart(self):
        rng, told = random.Random(3), 0
        for _ in range(100):
            first, second = ("".join(rng.choice("ssl") for _ in range(60)) for _ in range(2))
            told += one_contrast(run_of(first), run_of(second)).verdict != "none"
        assert told <= 10


class TestMethods:
    def test_three_seeds_an_arm_have_the_interval_between_seeds(self):
        first = [of_rate(rate, seed) for seed, rate in enumerate((0.50, 0.52, 0.54))]
        second = [of_rate(rate, seed) for seed, rate in enumerate((0.60, 0.62, 0.64))]
        found = one_contrast(first, second)
        # standard error 0.02 sqrt(2/3), t of 4 degrees of freedom 2.776
        assert found.interval == pytest.approx((0.1 - 0.04533, 0.1 + 0.04533), abs=1e-4)
        assert found.verdict == "higher"

    def test_a_difference_of_items_is_none_of_methods(self):
        """Thousands of rounds, and still three seeds that scatter by more than the arms differ."""
        first = [of_rate(rate, seed) for seed, rate in enumerate((0.40, 0.50, 0.60))]
        second = [of_rate(rate, seed) for seed, rate in enumerate((0.50, 0.60, 0.70))]
        assert one_contrast(first, second).verdict == "none"

    @pytest.mark.parametrize("sizes", [(1, 3), (2, 2), (3, 2)])
    def test_fewer_seeds_are_no_verdict(self, sizes):
        first, second = ([of_rate(0.5 + seed / 100, seed) for seed in range(size)] for size in sizes)
        found = compare({"a": first, "b": second})
        assert found.kind == "too few seeds"
        assert "at least 3 seeds an arm" in found.note
        assert {(one.verdict, one.interval) for one in found.contrasts} == {("refused", None)}

    def test_one_seed_twice_is_one_seed(self):
        with pytest.raises(UsageError, match="2 runs of seed 7"):
            compare({"a": [of_rate(0.5, 7), of_rate(0.6, 7)], "b": [of_rate(0.5, 1)]})

    def test_seeds_without_spread_are_no_proof(self):
        found = one_contrast([of_rate(0.98, seed) for seed in range(3)], [of_rate(1.0, seed) for seed in range(3)])
        assert found.verdict == "refused"
        assert "spread is not known" in found.reason

    def test_seeds_that_all_score_alike_in_both_arms_are_no_proof_of_equality(self):
        found = one_contrast([of_rate(1.0, seed) for seed in range(3)], [of_rate(1.0, seed) for seed in range(3)])
        assert (found.verdict, found.interval) == ("refused", None)
        assert "spread is not known" in found.reason

    def test_a_void_in_any_run_leaves_the_round_out_of_all(self):
        first = [run_of("s" * 100, 0), run_of("s" * 50 + "l" * 50, 1), run_of("v" + "s" * 99, 2)]
        found = one_contrast(first, [of_rate(rate, seed, 100) for seed, rate in enumerate((0.5, 0.6, 0.7))])
        assert (found.num_pairs, found.num_dropped) == (99, 1)


class TestManyGames:
    def test_chance_differences_among_many_games_are_corrected(self):
        games = {f"game{index}": rounds_of("s" * 50 + "l" * 50) for index in range(20)}
        better = games | {"game0": rounds_of("s" * 57 + "l" * 43)}
        found = compare({"a": [RunScores("a", 1, games)], "b": [RunScores("b", 1, better)]}).contrasts[0]
        assert found.p_value == pytest.approx(2 / 2**7)
        assert found.interval[0] > 0
        assert found.corrected > 0.05
        assert (found.verdict, found.reason) == ("none", "not significant after correction")
        assert "no difference" not in str(found)

    def test_every_pair_of_arms_is_asked_in_every_common_game(self):
        games = {"x": rounds_of("sl" * 5), "y": rounds_of("sl" * 5)}
        arms = {name: [RunScores(name, 1, games)] for name in "ab"}
        arms["c"] = [RunScores("c", 1, games | {"z": rounds_of("sl")})]
        asked = [(one.game, one.arms) for one in compare(arms).contrasts]
        assert asked == [(game, pair) for game in "xy" for pair in (("a", "b"), ("a", "c"), ("b", "c"))]

    def test_nothing_in_common_is_said(self):
        with pytest.raises(GiftError, match="no game in common: one: x; two: y"):
            compare({"a": [RunScores("one", 1, {"x": []})], "b": [RunScores("two", 1, {"y": []})]})

    @pytest.mark.parametrize("arms", [{}, {"a": [run_of("s")]}, {"a": [run_of("s")], "b": []}])
    def test_a_comparison_needs_two_arms_with_runs(self, arms):
        with pytest.raises(UsageError):
            compare(arms)


def test_what_an_evaluation_wrote_can_be_compared():
    arena = Arena(RandomPlayer("policy"), {"ttt": tictactoe()}, {"random": RandomPlayer()})
    result = asyncio.run(evaluate_games(arena, GamesRequest("dev", 20, ("ttt",))))
    lines = [json.dumps(sample) for sample in result.samples()]
    run = run_scores("run", 1, map(json.loads, lines))
    assert tuple(run.games["ttt"]) == result.games[0].rounds
    found = compare({"a": [run], "b": [run]})
    assert {(one.difference, one.verdict) for one in found.contrasts} == {(0.0, "none")}
    assert json.loads(json.dumps(found.to_json()))["contrasts"][0]["pairs"] == 20


def test_rounds_that_cannot_be_read_are_named():
    with pytest.raises(GiftError, match="the rounds of `old` cannot be read"):
        run_scores("old", 1, [{"label": "x", "chain": None, "place": 3}])

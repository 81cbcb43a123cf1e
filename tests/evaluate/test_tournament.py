"""Round robins, and ratings that say how sure they are."""

from __future__ import annotations

import asyncio
import json
import random
from itertools import combinations
from math import log10

import pytest

from gift_dsl.errors import UsageError
from gift_dsl.evaluate.games import GamesRequest
from gift_dsl.evaluate.ratings import Meeting, rate
from gift_dsl.evaluate.tournament import Lists, play_tournament
from gift_dsl.play.seats import model_player
from gift_dsl.players.solvers import MinimaxPlayer
from tests.play.scripted import (
    CountGame,
    RandomPlayer,
    SayingPlayer,
    counting,
    fault,
    random_policy,
    tagged,
    tictactoe,
)


def meetings_of(first, second, won, lost, drawn=0):
    scores = [1.0] * won + [0.0] * lost + [0.5] * drawn
    return [Meeting(first, second, score, str(number)) for number, score in enumerate(scores)]


class TestRatings:
    def test_two_players_differ_by_their_odds(self):
        """75 to 25 with half a game added to each side."""
        strong, weak = rate(meetings_of("weak", "strong", 25, 75), 1)
        assert (strong.player, strong.games, strong.score) == ("strong", 100, 0.75)
        assert strong.elo - weak.elo == pytest.approx(400 * log10(75.5 / 25.5), abs=1e-3)
        assert strong.elo + weak.elo == pytest.approx(0, abs=1e-9)
        assert strong.interval[0] < strong.elo < strong.interval[1]
        assert strong.interval[0] > weak.interval[1]

    def test_the_likelihood_is_at_its_maximum(self):
        """At the maximum everybody's expected points are those scored (with the game that is added to each pair)."""
        found = {r.player: r for r in rate([*meetings_of("a", "b", 7, 3), *meetings_of("b", "c", 6, 2, 4)], 1)}
        gain = {name: 10 ** (rating.elo / 400) for name, rating in found.items()}
        expected = 11 * gain["b"] / (gain["a"] + gain["b"]) + 13 * gain["b"] / (gain["b"] + gain["c"])
        assert expected == pytest.approx(3.5 + 8.5, abs=1e-4)

    def test_draws_are_half_a_win_of_each(self):
        drawn = rate(meetings_of("a", "b", 10, 10, 80), 1)
        assert [rating.elo for rating in drawn] == pytest.approx([0, 0], abs=1e-6)

    def test_who_loses_every_game_still_has_a_rating(self):
        strong, weak = rate(meetings_of("strong", "weak", 30, 0), 1)
        assert strong.elo - weak.elo == pytest.approx(400 * log10(30.5 / 0.5), abs=1e-3)

    def test_it_does_not_matter_who_is_named_first(self):
        turned = [Meeting(one.second, one.first, 1 - one.score, one.instance) for one in meetings_of("a", "b", 7, 3)]
        assert rate(turned, 1) == rate(meetings_of("a", "b", 7, 3), 1)

    def test_games_on_one_instance_are_drawn_again_together(self):
        free = meetings_of("a", "b", 60, 40)
        tied = [Meeting(one.first, one.second, one.score, str(number // 10)) for number, one in enumerate(free)]
        width = {
            name: high - low
            for name, (low, high) in (("free", rate(free, 1)[0].interval), ("tied", rate(tied, 1)[0].interval))
        }
        assert width["tied"] > 2 * width["free"]

    def test_players_who_never_met_cannot_be_compared(self):
        with pytest.raises(ValueError, match="no game connects a, b with c, d"):
            rate([*meetings_of("a", "b", 1, 0), *meetings_of("c", "d", 1, 0)], 1)

    @pytest.mark.parametrize("wrong", [[], meetings_of("a", "a", 1, 0), [Meeting("a", "b", 2.0, "0")]])
    def test_what_is_no_meeting_is_refused(self, wrong):
        with pytest.raises(ValueError, match=r"met|meet"):
            rate(wrong, 1)

    def test_intervals_hold_known_strengths_as_often_as_they_say(self):
        elo, held = {"a": 300, "b": 100, "c": -100, "d": -300}, 0
        for seed in range(25):
            rng = random.Random(seed)
            meetings = [
                Meeting(x, y, float(rng.random() < 1 / (1 + 10 ** ((elo[y] - elo[x]) / 400))), str(number))
                for x, y in combinations(elo, 2)
                for number in range(200)
            ]
            found = rate(meetings, 1, resamples=200)
            assert [rating.player for rating in found] == list("abcd")
            held += sum(rating.interval[0] <= elo[rating.player] <= rating.interval[1] for rating in found)
        assert held / 100 > 0.88

    @pytest.mark.parametrize(
        ("elo", "rounds"),
        [({"a": 500, "b": 0, "c": -500}, 20), ({"a": 60, "b": 0, "c": -60}, 20), ({"a": 500, "b": 0, "c": -500}, 100)],
    )
    def test_intervals_hold_one_sided_pairs_as_well_as_close_ones(self, elo, rounds):
        seeds = 100
        held = dict.fromkeys(elo, 0)
        for seed in range(seeds):
            rng = random.Random(seed)
            meetings = [
                Meeting(x, y, float(rng.random() < 1 / (1 + 10 ** ((elo[y] - elo[x]) / 400))), str(number // 2))
                for x, y in combinations(elo, 2)
                for number in range(rounds)
            ]
            for rating in rate(meetings, 1, resamples=200):
                held[rating.player] += rating.interval[0] <= elo[rating.player] <= rating.interval[1]
        assert min(held.values()) >= 0.9 * seeds

    def test_the_interval_of_a_pair_is_jeffreys(self):
        from scipy.stats import beta

        for won, lost in ((20, 0), (15, 5)):
            strong, _ = rate(meetings_of("strong", "weak", won, lost), 1, resamples=5_000)
            rates = beta(won + 0.5, lost + 0.5).ppf([0.025, 0.975])
            expected = [200 * log10(one / (1 - one)) for one in rates]
            assert list(strong.interval) == pytest.approx(expected, abs=5, rel=0.08)

    def test_intervals_of_one_instance_say_how_little_it_tells(self):
        one, two = (
            rate([Meeting("a", "b", 1.0, str(number % instances)) for number in range(40)], 1)[0].interval
            for instances in (1, 20)
        )
        assert one[0] < 0 < two[0]

    def test_ratings_that_no_result_bounds_are_marked(self):
        level = [*meetings_of("a", "b", 6, 4), *meetings_of("b", "c", 6, 4), *meetings_of("a", "c", 6, 4)]
        beaten = [*level, *meetings_of("a", "loser", 10, 0), *meetings_of("c", "loser", 10, 0)]
        assert not any(rating.rests_on_prior for rating in rate(level, 1))
        assert [one.player for one in rate(beaten, 1) if one.rests_on_prior] == ["loser"]
        assert all(one.rests_on_prior for one in rate(meetings_of("a", "b", 10, 0), 1))
        assert rate(beaten, 1)[-1].to_json()["rests_on_prior"] is True

    def test_points_in_a_circle_bound_everybody(self):
        circle = [*meetings_of("a", "b", 5, 0), *meetings_of("b", "c", 5, 0), *meetings_of("c", "a", 5, 0)]
        assert [one.rests_on_prior for one in rate(circle, 1)] == [False] * 3
        assert [one.elo for one in rate(circle, 1)] == pytest.approx([0] * 3, abs=1e-6)


def play(contestants, *games, **changes):
    lists = Lists({one.name: one for one in contestants}, {game.plan.name: game for game in games})
    request = GamesRequest("dev", changes.pop("rounds", 20), tuple(lists.games), **changes)
    return asyncio.run(play_tournament(lists, request))


class TestTournament:
    def test_better_players_come_first(self):
        contestants = [RandomPlayer("random"), MinimaxPlayer("half", epsilon=0.5), MinimaxPlayer("perfect")]
        found = play(contestants, tictactoe(), rounds=40)
        assert [rating.player for rating in found.overall] == ["perfect", "half", "random"]
        assert found.ratings["ttt"] == found.overall
        assert [(one.first, one.second, one.rounds) for one in found.encounters] == [
            ("random", "half", 40), ("random", "perfect", 40), ("half", "perfect", 40),
        ]  # fmt: skip
        assert found.encounters[1].score < 0.2

    def test_a_model_may_enter(self):
        found = play([model_player("model", random_policy()), MinimaxPlayer("perfect")], tictactoe())
        assert found.overall[0].player == "perfect"

    def test_a_game_for_one_is_a_contest_on_the_same_instances(self):
        good = SayingPlayer(lambda turn, rng: tagged("1"), name="good")
        bad = SayingPlayer(lambda turn, rng: "what?", name="bad")
        same = SayingPlayer(lambda turn, rng: tagged("1"), name="same")
        found = play([good, bad, same], counting("solo", CountGame(goal=3, spread=4, seats=1)))
        scores = {(one.first, one.second): one.score for one in found.encounters}
        assert scores == {("good", "bad"): 1.0, ("good", "same"): 0.5, ("bad", "same"): 0.0}

    def test_among_several_everybody_plays_once_among_copies_of_the_other(self):
        ones, twos = (SayingPlayer(lambda turn, rng, say=say: tagged(say), name=f"says {say}") for say in "12")
        found = play([ones, twos], counting("three", CountGame(seats=3)), rounds=30)
        assert found.encounters[0].rounds == 60

    def test_the_order_of_entering_gives_nobody_an_advantage(self):
        """Whoever cannot answer loses in every seat, and two who cannot are level."""
        silent = [SayingPlayer(lambda turn, rng: "what?", name=name) for name in ("silent", "mute")]
        for order in ((0, 1), (1, 0)):
            found = play([silent[place] for place in order], tictactoe())
            assert (found.encounters[0].score, found.encounters[0].rounds) == (0.5, 20)
        for order in (1, -1):
            found = play([silent[0], RandomPlayer("random")][::order], tictactoe())
            assert found.encounters[0].score == (0.0 if order == 1 else 1.0)

    def test_each_of_a_pair_plays_each_instance_from_each_seat(self):
        seen = []

        def listener(name):
            def say(turn, rng):
                seen.append((name, turn.seat))
                return tagged(rng.choice(turn.legal))

            return SayingPlayer(say, name=name)

        found = play([listener("a"), listener("b")], tictactoe(), rounds=8)
        assert found.encounters[0].rounds == 8
        assert set(seen) == {("a", 0), ("a", 1), ("b", 0), ("b", 1)}

    def test_what_has_no_result_is_counted_apart(self):
        def say(turn, rng):
            raise fault("gone")

        found = play([RandomPlayer("random"), SayingPlayer(say, name="gone")], tictactoe(), rounds=6)
        assert (found.encounters[0].rounds, found.encounters[0].void, found.encounters[0].score) == (0, 6, None)
        assert found.overall == ()

    def test_one_contestant_is_no_tournament(self):
        with pytest.raises(UsageError, match="at least two"):
            play([RandomPlayer("random")], tictactoe())

    def test_it_is_told_as_plain_data(self):
        told = json.loads(json.dumps(play([RandomPlayer("a"), RandomPlayer("b")], tictactoe()).to_json()))
        assert {rating["player"] for rating in told["games"]["ttt"]} == {"a", "b"}
        assert told["encounters"][0]["rounds"] == 20

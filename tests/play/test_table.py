"""The loop: many episodes at once, each player's turns together, and nothing lost when somebody does not answer."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter, defaultdict
from dataclasses import replace
from types import SimpleNamespace

import pytest

from gift_dsl.errors import GiftError
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Evaluation, model_player
from gift_dsl.play.table import play_groups
from gift_dsl.play.voids import TooManyVoids
from gift_dsl.seat import PlayerFault
from tests.play.scripted import (
    KEYS,
    CountGame,
    RandomPlayer,
    SayingPlayer,
    ScriptedPolicy,
    counting,
    fault,
    leaf,
    legal_listed,
    play,
    random_policy,
    table_of,
    tagged,
    tictactoe,
    trajectories,
)
from tests.play.test_deal import all_of, any_of

COUNT, TTT = leaf("count"), leaf("ttt")
SOLO = CountGame(goal=3, spread=4, seats=1)
EVALUATION = Evaluation(temperature=0.5, max_tokens=30)
EVAL_KEYS = Keys(1, "test", "final", 0, root=("eval",))


def walks_of(composition, groups, keys=KEYS):
    return plan_walks(composition, keys, range(groups))


def test_1024_nested_episodes_are_played_at_once():
    policy = random_policy()
    server = RandomPlayer("server", waits=True)
    games = [counting("solo", SOLO), tictactoe(opponents={"1": "server"}), counting(opponents={"1": "server"})]
    table = table_of(*games, policy=policy, players=[server])
    found = trajectories(play(table, all_of(leaf("solo"), TTT, COUNT), groups=64, members=16))
    assert len(found) == 1024
    assert {len(one.parts) for one in found} == {3}
    assert {part.outcome for one in found for part in one.parts} <= {"success", "draw", "loss"}
    assert len(policy.batches[0]) == 1024


def test_the_turns_of_a_model_are_one_batch():
    policy = random_policy()
    play(table_of(counting("solo", SOLO), policy=policy), leaf("solo"), groups=4, members=5)
    assert [len(batch) for batch in policy.batches[:2]] == [20, 20]


@pytest.mark.parametrize("waits", [False, True])
def test_time_of_players_is_told_apart_where_they_take_the_tables_own(monkeypatch, waits):
    ticks = itertools.count()
    monkeypatch.setattr("gift_dsl.play.table.time", SimpleNamespace(thread_time=lambda: float(next(ticks))))
    table = table_of(
        tictactoe(opponents={"1": "other"}), policy=random_policy(), players=[RandomPlayer("other", waits)]
    )
    (one, *_) = trajectories(play(table, TTT, members=1))
    num_turns = sum(turn.player == "other" for turn in one.turns)
    assert num_turns > 0
    assert table.acting.seconds == (0 if waits else num_turns)


def test_servers_answer_while_the_policy_generates():
    """The policy's generation ends only when a server has been asked during it."""
    asked = asyncio.Event()

    class WaitingPolicy(ScriptedPolicy):
        async def complete(self, requests):
            await asyncio.wait_for(asked.wait(), 5)
            return [self.answer(request) for request in requests]

    class Server(RandomPlayer):
        async def act(self, turn, rng):
            asked.set()
            return await super().act(turn, rng)

    policy = WaitingPolicy(lambda request, context: tagged(legal_listed(context)[0]))
    games = [counting("solo", SOLO), counting(trainee_seat="any", opponents={"1": "server"})]
    table = table_of(*games, policy=policy, players=[Server("server", waits=True)])
    assert len(trajectories(play(table, any_of(leaf("solo"), COUNT), groups=8))) == 32


def test_many_calls_to_servers_are_under_way_together():
    under_way = Counter()

    class Server(RandomPlayer):
        async def act(self, turn, rng):
            under_way["now"] += 1
            under_way["most"] = max(under_way["most"], under_way["now"])
            await asyncio.sleep(0.001)
            under_way["now"] -= 1
            return await super().act(turn, rng)

    play(table_of(tictactoe(opponents={"1": "server"}), players=[Server("server", waits=True)]), TTT, groups=8)
    assert under_way["most"] > 8


def test_a_model_may_sit_on_the_other_side():
    opponent = random_policy()
    seat = model_player("frozen", opponent, temperature=0.25, max_tokens=33)
    found = trajectories(play(table_of(tictactoe(opponents={"1": "frozen"}), players=[seat]), TTT, groups=4))
    assert {(request.temperature, request.max_tokens) for batch in opponent.batches for request in batch} == {
        (0.25, 33)
    }
    for one in found:
        theirs = [turn for turn in one.turns if turn.player == "frozen"]
        assert {(turn.sequence, turn.span) for turn in theirs} <= {(None, None)}
        assert all(turn.tokens > 0 for turn in theirs)
        assert sum(sum(sequence.mask) for sequence in one.sequences) == sum(
            turn.tokens for turn in one.turns if turn.player == "policy"
        )


def test_the_policy_against_itself_is_one_batch():
    policy = random_policy()
    table = table_of(counting(opponents={"1": "self"}), policy=policy, players=[model_player("self", policy)])
    play(table, COUNT, groups=16, members=2)
    assert len(policy.batches[1]) == 32


class Keeping(RandomPlayer):
    """Keeps the first number of every stream that it is given."""

    def __init__(self, name, waits=False):
        super().__init__(name, waits)
        self.drawn = []

    async def act(self, turn, rng):
        copy = random.Random()
        copy.setstate(rng.getstate())
        self.drawn.append(copy.random())
        return await super().act(turn, rng)


def test_no_two_draws_of_a_run_share_a_stream():
    policy, keeping = random_policy(), Keeping("keeping")
    solo, first = counting("solo", SOLO), leaf("solo", "solo#1")
    games = [solo, counting(trainee_seat="any", opponents={"1": "keeping"})]
    table = table_of(*games, policy=policy, players=[keeping])
    for step in range(2):
        play(table, all_of(first, COUNT, leaf("solo", "solo#2")), groups=4, keys=replace(KEYS, step=step))
    names = [request.stream_key for batch in policy.batches for request in batch]
    assert len(set(names)) == len(names)
    assert len(set(keeping.drawn)) == len(keeping.drawn)


def test_every_trained_seat_has_streams_of_its_own():
    policy = random_policy()
    games = [counting("solo", SOLO), counting(trainee_seat="all", opponents={})]
    play(table_of(*games, policy=policy), all_of(leaf("solo"), COUNT), groups=3)
    names = [request.stream_key for batch in policy.batches for request in batch]
    assert len(set(names)) == len(names)


def test_one_group_replays_alone():
    table = table_of(counting("solo", SOLO), tictactoe(), counting(trainee_seat="any"))
    composition = all_of(leaf("solo"), any_of(TTT, COUNT), order="shuffled")
    walks = walks_of(composition, 8)
    together = asyncio.run(play_groups(table, KEYS, walks, 4))
    alone = asyncio.run(play_groups(table, KEYS, walks[5:6], 4))
    assert alone == together[5:6]


def test_a_result_does_not_depend_on_who_waits_or_how_long():
    class Slow(RandomPlayer):
        async def act(self, turn, rng):
            await asyncio.sleep(random.Random(len(turn.messages[-1].content)).random() / 1000)
            return await super().act(turn, rng)

    composition = all_of(leaf("solo"), TTT)
    plays = [
        play(
            table_of(counting("solo", SOLO), tictactoe(opponents={"1": "other"}), players=[player], **options),
            composition,
            groups=4,
        )
        for player, options in (
            (RandomPlayer("other"), {}),
            (Slow("other", waits=True), {}),
            (Slow("other", waits=True), {"lockstep": True}),
        )
    ]
    assert plays[0] == plays[1] == plays[2]


def test_in_lockstep_the_batches_of_the_policy_do_not_depend_on_the_network():
    """A server answers in another order each time; the policy is asked for the same turns in the same order."""

    class Jittering(RandomPlayer):
        async def act(self, turn, rng):
            await asyncio.sleep(self.delay_s * random.Random(repr(turn.messages) + str(self.delay_s)).random())
            return await super().act(turn, rng)

    batches = []
    for delay_s in (0.002, 0.006):
        policy = random_policy()
        server = Jittering("server", waits=True, delay_s=delay_s)
        game = counting(trainee_seat="any", opponents={"1": "server"})
        play(table_of(game, policy=policy, players=[server], lockstep=True), COUNT, groups=6, members=2)
        batches.append([[request.stream_key for request in batch] for batch in policy.batches])
    assert batches[0] == batches[1]


def test_finished_groups_are_handed_over_as_soon_as_they_are_over():
    handed = []
    groups = play(table_of(tictactoe()), TTT, groups=5, members=3, on_groups=handed.extend)
    assert sorted(handed, key=lambda group: group.id) == sorted(groups, key=lambda group: group.id)


class TestVoids:
    """A player's failure is never the policy's loss."""

    @staticmethod
    def failing(share, seed=1):
        """A server that fails for good in a share of its turns."""

        def say(turn, rng):
            if random.Random(f"{seed}{turn.messages}").random() < share:
                raise fault()
            return tagged(rng.choice(turn.legal))

        return SayingPlayer(say, name="server", waits=True)

    def test_too_many_stop_the_step_and_name_the_endpoint(self):
        table = table_of(tictactoe(opponents={"1": "server"}), players=[self.failing(1.0)])
        with pytest.raises(TooManyVoids) as caught:
            play(table, leaf("ttt", max_void_share=0.2), groups=4)
        assert isinstance(caught.value, GiftError)
        assert str(caught.value) == (
            "4 of the 16 episodes of nested/0 have no result, more than the 20% that `max_void_share` allows: "
            "server: timed out (http://localhost:1/v1) (4 times)"
        )

    def test_none_are_allowed_where_the_share_is_0(self):
        table = table_of(tictactoe(opponents={"1": "server"}), players=[self.failing(1.0)])
        with pytest.raises(TooManyVoids, match="1 of the 16 episodes"):
            play(table, leaf("ttt", max_void_share=0.0), groups=4)

    def test_as_many_as_allowed_leave_their_groups(self):
        def say(turn, rng):
            if turn.seat == 1:
                raise fault()
            return tagged(rng.choice(turn.legal))

        game = counting(game=CountGame(9, 0, first=0), trainee_seat="any", opponents={"1": "saying"})
        whole = trajectories(play(table_of(game, players=[RandomPlayer("saying")]), COUNT, groups=4, members=5))
        expected = [one.parts[0].seat == 0 for one in whole]  # against the second seat
        share = expected.count(True) / len(expected)
        assert 0 < share < 1
        table = table_of(game, players=[SayingPlayer(say)])
        found = trajectories(play(table, leaf("count", max_void_share=share), groups=4, members=5))
        assert [one.is_void for one in found] == expected
        with pytest.raises(TooManyVoids):
            play(table, leaf("count", max_void_share=share - 0.01), groups=4, members=5)

    def test_failures_of_different_players_are_counted_apart(self):
        limit_reasons = {}

        def say(turn, rng):
            reason = "429" if turn.seat else "500"
            limit_reasons[reason] = True
            raise PlayerFault("server", reason)

        game = counting(game=CountGame(9, 0), trainee_seat="any", opponents={"1": "saying"})
        table = table_of(game, players=[SayingPlayer(say)])
        with pytest.raises(TooManyVoids, match=r"server: (429|500) \(\d+ times\); server: (429|500) \(\d+ times\)"):
            play(table, leaf("count", max_void_share=0.9), groups=20, members=2)

    def test_the_other_episodes_are_played_as_if_nothing_had_happened(self):
        game = tictactoe(opponents={"1": "server"})
        whole = trajectories(play(table_of(game, players=[RandomPlayer("server")]), TTT, groups=6))
        broken = trajectories(play(table_of(game, players=[self.failing(0.2)]), TTT, groups=6))
        assert 0 < sum(one.is_void for one in broken) < len(broken)
        for one, other in zip(broken, whole, strict=True):
            assert one.is_void or one == other


class TestEvaluation:
    """Voids are played again until every instance has a result, and both seats play every instance."""

    def test_each_instance_is_played_from_every_seat(self):
        table = table_of(tictactoe(), evaluation=EVALUATION)
        found = trajectories(play(table, TTT, groups=12, members=1, keys=EVAL_KEYS))
        seats = defaultdict(list)
        for index, one in enumerate(found):
            seats[index // 2].append((one.parts[0].instance, one.parts[0].seat))
        for (first, seat), (second, other) in seats.values():
            assert first == second
            assert {seat, other} == {0, 1}
        assert len({pair[0][0] for pair in seats.values()}) > 1

    def test_the_same_instances_are_met_at_every_step_and_under_every_seed_of_training(self):
        table = table_of(tictactoe(), evaluation=EVALUATION)
        first = play(table, TTT, groups=6, members=1, keys=EVAL_KEYS)
        assert play(table, TTT, groups=6, members=1, keys=EVAL_KEYS) == first

    def test_voids_are_taken_up_again_until_there_is_a_result(self):
        failures = Counter()

        def say(turn, rng):
            failures[turn.messages] += 1
            if len(turn.messages) == 1 and failures[turn.messages] <= 3:
                raise fault()
            return tagged(rng.choice(turn.legal))

        game = counting(game=CountGame(6, 9), trainee_seat="any", opponents={"1": "saying"})
        table = table_of(game, players=[SayingPlayer(say)], evaluation=EVALUATION)
        assert not any(one.is_void for one in trajectories(play(table, COUNT, groups=20, members=1)))
        without = table_of(game, players=[SayingPlayer(say)], evaluation=replace(EVALUATION, max_replays=0))
        failures.clear()
        assert any(one.is_void for one in trajectories(play(without, COUNT, groups=20, members=1)))

    def test_an_opponent_without_a_legal_action_gets_its_tries_again(self):
        tries = Counter()

        def say(turn, rng):
            tries["all"] += 1
            return "no idea" if tries["all"] <= 3 else tagged(rng.choice(turn.legal))

        game = counting(game=CountGame(6, 0), opponents={"1": "saying"})
        table = table_of(game, players=[SayingPlayer(say)], evaluation=EVALUATION)
        (one,) = trajectories(play(table, leaf("count", opponent_illegal_then="void"), members=1))
        assert (one.is_void, one.parts[0].opponent_illegal) == (False, 3)

    def test_a_void_episode_is_taken_up_after_all_others(self):
        asked = []

        def say(turn, rng):
            asked.append(turn.game)
            if turn.game == "faulty" and asked.count("faulty") <= 3:
                raise fault()
            return tagged("2")

        games = [counting(name, CountGame(6, 30), opponents={"1": "saying"}) for name in ("faulty", "count")]
        table = table_of(*games, players=[SayingPlayer(say)], evaluation=EVALUATION)
        found = trajectories(play(table, any_of(leaf("faulty"), COUNT), groups=2, members=1))
        assert not any(one.is_void for one in found)
        last = max(place for place, game in enumerate(asked) if game == "count")
        assert asked[:last].count("faulty") == 3
        assert asked[last + 1 :].count("faulty") > 0

    def test_what_stays_void_is_counted_and_stops_nothing(self):
        def say(turn, rng):
            raise fault()

        table = table_of(tictactoe(opponents={"1": "saying"}), players=[SayingPlayer(say)], evaluation=EVALUATION)
        found = trajectories(play(table, leaf("ttt", max_void_share=0.0), groups=6, members=1))
        assert [one.is_void for one in found] == [True] * 6

    def test_faults_in_long_games_do_not_move_the_win_rate(self):
        """Faults fall on turn 4 and later only, so long games are void more often than short ones.

        The player's words follow from what it was told, so that every difference is the faults' doing.
        """
        calls = Counter()

        def say(turn, fails):
            calls["all"] += 1
            if fails and len(turn.messages) >= 7 and random.Random(calls["all"]).random() < 0.7:
                raise fault()
            # It plays the slower, the better it stands: who wins depends on how long a game is.
            return tagged("1" if random.Random(repr(turn.messages)).random() < 0.8 else "2")

        def results(fails, max_replays):
            game = counting(game=CountGame(goal=4, spread=12), trainee_seat="any", opponents={"1": "server"})
            server = SayingPlayer(lambda turn, rng: say(turn, fails), name="server")
            table = table_of(game, players=[server], evaluation=replace(EVALUATION, max_replays=max_replays))
            return [one.outcome_return for one in trajectories(play(table, COUNT, groups=400, members=1))]

        healthy, taken_up, dropped = results(False, 3), results(True, 50), results(True, 0)
        assert taken_up == healthy
        assert None not in healthy
        assert 40 < dropped.count(None) < 360


class TestEnding:
    """However a step ends, nothing is left behind."""

    @staticmethod
    async def interrupted(table, after):
        groups = []
        work = asyncio.create_task(play_groups(table, KEYS, walks_of(COUNT, 6), 4, groups.extend))
        await after()
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()], groups

    def test_an_interrupt_leaves_no_task(self):
        reached = asyncio.Event()
        ended = []

        class Stalled(RandomPlayer):
            async def act(self, turn, rng):
                reached.set()
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.append(turn.seat)
                raise AssertionError

        game = counting(opponents={"1": "stalled"})
        table = table_of(game, players=[Stalled("stalled", waits=True)])
        left, _ = asyncio.run(self.interrupted(table, reached.wait))
        assert left == []
        assert ended

    def test_an_interrupt_keeps_the_groups_that_were_over(self):
        class Stalled(RandomPlayer):
            async def act(self, turn, rng):
                if "0" in turn.messages[0].content:
                    await asyncio.sleep(3600)
                return await super().act(turn, rng)

        game = counting(game=CountGame(goal=6, spread=0), opponents={"1": "random"})
        stalled = counting("slow", opponents={"1": "stalled"})
        table = table_of(game, stalled, players=[Stalled("stalled", waits=True)])
        groups = []

        async def run():
            walks = walks_of(any_of(COUNT, leaf("slow")), 4)
            work = asyncio.create_task(play_groups(table, KEYS, walks, 2, groups.extend))
            while len(groups) < 2:
                await asyncio.sleep(0)
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)

        asyncio.run(run())
        assert {group.task for group in groups} >= {"count"}
        assert all(part.outcome in ("success", "loss") for one in trajectories(groups) for part in one.parts)

    def test_a_bug_in_a_player_is_raised_and_cancels_the_rest(self):
        ended = []

        class Broken(RandomPlayer):
            async def act(self, turn, rng):
                if not ended:
                    ended.append("first")
                    raise RuntimeError("a bug")
                try:
                    await asyncio.sleep(3600)
                finally:
                    ended.append("cancelled")

        table = table_of(counting(opponents={"1": "broken"}), players=[Broken("broken", waits=True)])
        with pytest.raises(RuntimeError, match="a bug"):
            play(table, COUNT, groups=4)
        assert ended.count("cancelled") > 0

    def test_a_bug_in_the_policy_is_raised(self):
        def reply(request, context):
            raise RuntimeError("a bug")

        with pytest.raises(RuntimeError, match="a bug"):
            play(table_of(tictactoe(), policy=ScriptedPolicy(reply)), TTT)

    def test_a_failing_endpoint_of_the_policy_is_a_fault_of_all_its_turns(self):
        def reply(request, context):
            raise fault("policy")

        found = trajectories(play(table_of(tictactoe(), policy=ScriptedPolicy(reply)), TTT))
        assert {one.is_void for one in found} == {True}


def test_turns_on_the_spot_let_others_go_on():
    """Thousands of turns against a scripted player do not keep a server waiting."""
    order = []

    class Server(RandomPlayer):
        async def act(self, turn, rng):
            await asyncio.sleep(0)
            order.append("server")
            return await super().act(turn, rng)

    class Noting(RandomPlayer):
        async def act(self, turn, rng):
            order.append("scripted")
            return await super().act(turn, rng)

    games = [counting("slow", opponents={"1": "server"}), counting(opponents={"1": "noting"})]
    table = table_of(*games, policy=Noting("noting"), players=[Server("server", waits=True), Noting("noting")])
    play(table, any_of(COUNT, leaf("slow")), groups=40, members=8)
    assert order.index("server") < len(order) / 2

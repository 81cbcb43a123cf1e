"""Episodes of several parts: what they share, what they keep, and what the members of a group have in common."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from gift_dsl.errors import GiftError
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

SOLO = CountGame(goal=3, spread=4, seats=1)
TTT, COUNT = leaf("ttt"), leaf("count")


def three_games(**options):
    return table_of(tictactoe(), counting(), counting("solo", SOLO), **options)


def records(groups):
    """What happened, without the composition's own words."""
    return [(one.sequences, one.parts, one.turns, one.outcome_return, one.member) for one in trajectories(groups)]


@pytest.mark.parametrize("x", [TTT, COUNT, leaf("solo")], ids=lambda part: part.label)
def test_a_composition_of_one_part_plays_exactly_as_that_part(x):
    alone = play(three_games(), x, groups=2)
    for composition in (all_of(x), any_of(x), any_of(x, draw="random"), all_of(any_of(x)), all_of(x, context="fresh")):
        assert play(three_games(), composition, groups=2) == alone


def instances(groups):
    return [{part.label: part.instance for part in one.parts} for one in trajectories(groups)]


def test_ablations_of_the_order_play_the_same_instances():
    first, second = leaf("solo", "solo#1"), leaf("solo", "solo#2")
    written = play(three_games(), all_of(first, TTT, second), groups=6, members=2)
    for order in ("shuffled", "rotated"):
        other = play(three_games(), all_of(first, TTT, second, order=order), groups=6, members=2)
        assert [[part.label for part in one.parts] for one in trajectories(other)] != [
            [part.label for part in one.parts] for one in trajectories(written)
        ]
        assert instances(other) == instances(written)
    turned = play(three_games(), all_of(TTT, first, second), groups=6, members=2)
    assert instances(turned) == instances(written)


def test_a_mixed_and_a_nested_arm_play_the_same_instances():
    nested = dict(enumerate(instances(play(three_games(), all_of(TTT, COUNT), 8, 1))))
    mixed = instances(play(three_games(), any_of(TTT, COUNT), 8, 1))
    for index, found in enumerate(mixed):
        ((label, instance),) = found.items()
        assert nested[index][label] == instance


def test_two_occurrences_of_one_game_are_two_instances():
    play_both = all_of(leaf("solo", "solo#1"), leaf("solo", "solo#2"))
    found = instances(play(three_games(), play_both, groups=20, members=1))
    assert any(len(set(one.values())) == 2 for one in found)


class TestWhatAGroupShares:
    """Instance, seats, roles, opponents, wording, and everything before the policy's first token."""

    @staticmethod
    def groups(**options):
        wordings = tuple(
            f"{word} {{{{ total }}}}. Legal actions: {{{{ legal|join(' ') }}}}" for word in ("Now", "Go", "So")
        )
        game = counting(trainee_seat="any", opponents={"1": "server"})
        game = replace(game, plan=replace(game.plan, prompt=replace(game.plan.prompt, observations=wordings)))
        server = RandomPlayer("server", waits=True)
        table = table_of(game, tictactoe(opponents={"1": "server"}), players=[server], **options)
        return play(table, all_of(COUNT, TTT, context="fresh"), groups=12, members=6)

    def test_first_observations_are_byte_equal_against_a_random_server(self):
        for group in self.groups():
            prompts = [[sequence.prompt_ids for sequence in one.sequences] for one in group.trajectories]
            assert prompts == [prompts[0]] * 6
            seats = [[(part.seat, part.instance) for part in one.parts] for one in group.trajectories]
            assert seats == [seats[0]] * 6

    def test_openings_of_the_opponent_are_replayed_to_all_members(self):
        openings = Counter[int]()
        for group in self.groups():
            before = [first_turns(one, "count") for one in group.trajectories]
            assert before == [before[0]] * 6
            openings[len(before[0])] += 1
        assert set(openings) == {0, 1}

    def test_later_draws_of_the_opponent_differ_between_members(self):
        assert any(len({opponent_actions(one) for one in group.trajectories}) > 1 for group in self.groups())

    def test_groups_differ_in_wording_seat_and_instance(self):
        groups = self.groups()
        assert len({group.trajectories[0].sequences[0].prompt_ids for group in groups}) > 6
        assert len({group.trajectories[0].parts[0].seat for group in groups}) == 2

    def test_common_noise_gives_every_member_the_same_opponent(self):
        """A policy that plays the same actions then meets the same play."""
        first_legal = ScriptedPolicy(lambda request, context: tagged(legal_listed(context)[0]))
        noise = leaf("ttt", opponent_noise="common")
        groups = play(table_of(tictactoe(), policy=first_legal), noise, groups=8, members=4)
        assert all(len({opponent_actions(one) for one in group.trajectories}) == 1 for group in groups)
        independent = play(table_of(tictactoe(), policy=first_legal), TTT, groups=8, members=4)
        assert any(len({opponent_actions(one) for one in group.trajectories}) > 1 for group in independent)

    def test_a_failed_opening_is_void_for_every_member(self):
        def say(turn, rng):
            raise fault()

        game = counting(trainee_seat=1, opponents={"1": "saying"})
        groups = play(table_of(game, players=[SayingPlayer(say)]), COUNT, groups=6)
        outcomes = [{part.outcome for one in group.trajectories for part in one.parts} for group in groups]
        assert {"void"} in outcomes
        assert all(len(found) == 1 for found in outcomes)


def first_turns(trajectory, label):
    """The opponent's turns of a part before the policy's first one."""
    turns = [turn for turn in trajectory.turns if turn.part == label]
    first = next(index for index, turn in enumerate(turns) if turn.player == "policy")
    return turns[:first]


def opponent_actions(trajectory):
    return tuple(turn.action for turn in trajectory.turns if turn.player != "policy")


def test_opponents_sit_as_listed_or_shuffled_once_a_group():
    names = [RandomPlayer(name) for name in ("red", "blue")]
    game = CountGame(goal=9, spread=0, seats=3)
    for assign, orders in (("fixed", 1), ("shuffle", 2)):
        plan = {"opponents": {"1": "red", "2": "blue"}, "assign": assign, "trainee_seat": 1}
        groups = play(table_of(counting(game=game, **plan), players=names), COUNT, groups=20, members=2)
        seats = {tuple(sorted({(turn.seat, turn.player) for turn in one.turns})) for one in trajectories(groups)}
        assert len(seats) == orders
        assert (1, "policy") in next(iter(seats))


def test_opponents_sit_by_role():
    names = [RandomPlayer(name) for name in ("red", "blue")]
    game = CountGame(goal=9, spread=0, seats=3, roles=("spy", "civilian", "civilian"))
    plan = {"opponents": {"spy": "red", "civilian": "blue"}, "opponents_by": "role", "trainee_seat": "any"}
    for one in trajectories(play(table_of(counting(game=game, **plan), players=names), COUNT, groups=9, members=1)):
        for turn in one.turns:
            assert turn.player in ("policy", "red" if turn.seat == 0 else "blue")


def test_a_wanted_role_is_always_the_trainees():
    game = counting(
        game=CountGame(goal=4, spread=0, seats=2, roles=("spy", "civilian")), trainee_role="spy", trainee_seat="any"
    )
    with pytest.raises(GiftError, match="no instance with the wanted role"):
        play(table_of(game), COUNT, groups=9, members=1)


def test_a_pool_is_drawn_from_once_for_each_group():
    class Pool:
        name = "pool"

        def choose(self, rng):
            return rng.choice(["red", "blue"])

    players = [RandomPlayer("red"), RandomPlayer("blue"), Pool()]
    game = counting(game=CountGame(goal=9, spread=0, seats=3), opponents={"1": "pool", "2": "pool"})
    groups = play(table_of(game, players=players), COUNT, groups=12, members=3)
    drawn = [{turn.player for one in group.trajectories for turn in one.turns} - {"policy"} for group in groups]
    assert all(len(found) == 1 for found in drawn)
    assert set.union(*drawn) == {"red", "blue"}


class TestParts:
    """Each part has its own budget and its own outcome."""

    def test_a_finished_part_keeps_its_outcome_when_a_later_one_is_cut(self):
        policy = ScriptedPolicy(lambda request, context: tagged("1") if "Turn 1" in context[-90:] else "no words " * 30)
        short = all_of(leaf("first"), leaf("second"))
        table = table_of(counting("first", CountGame(1, 0, 1)), counting("second", CountGame(9, 0, 1)), policy=policy)
        (one,) = trajectories(play(table, short, members=1))
        assert [part.outcome for part in one.parts] == ["success", "bad_format"]
        assert one.outcome_return == 0.5
        assert one.penalty == -0.1

    def test_one_part_cannot_eat_the_turns_of_another(self):
        policy = ScriptedPolicy(lambda request, context: tagged("1"))
        slow, quick = counting("slow", CountGame(9, 0, 1)), counting("quick", CountGame(3, 0, 1))
        play_both = all_of(leaf("slow", max_turns=2), leaf("quick", max_turns=3))
        (one,) = trajectories(play(table_of(slow, quick, policy=policy), play_both, members=1))
        assert [(part.label, part.outcome) for part in one.parts] == [("slow", "loss"), ("quick", "success")]

    def test_parts_after_a_void_one_are_unplayed_and_those_before_it_count(self):
        def say(turn, rng):
            raise fault()

        policy = ScriptedPolicy(lambda request, context: tagged("1"))
        games = [counting("solo", SOLO), counting("count", CountGame(9, 0), opponents={"1": "saying"}), tictactoe()]
        table = table_of(*games, policy=policy, players=[SayingPlayer(say)])
        (one,) = trajectories(play(table, all_of(leaf("solo"), COUNT, TTT), members=1))
        assert [part.outcome for part in one.parts] == ["success", "void", "unplayed"]
        assert [part.reward for part in one.parts] == [1.0, None, None]
        assert (one.is_void, one.raw_return) == (True, None)

    def test_a_shared_context_is_one_sequence_and_a_fresh_one_a_sequence_a_part(self):
        for context, lengths in (("shared", {1}), ("fresh", {2})):
            found = trajectories(play(three_games(), all_of(leaf("solo"), COUNT, context=context), groups=3))
            assert {len(one.sequences) for one in found} == lengths
            for one in found:
                parts = [set(sequence.parts) for sequence in one.sequences]
                assert parts == ([{0, 1}] if context == "shared" else [{0}, {1}])

    def test_one_message_closes_a_part_and_opens_the_next(self):
        policy = random_policy()
        table = three_games(policy=policy, system_prompt="One for all.")
        (one,) = trajectories(play(table, all_of(leaf("solo"), COUNT), members=1))
        last = policy.codec.decode(policy.batches[-1][0].context)
        assert last.count("system\n") == 1
        assert last.count("user\n") == last.count("assistant\n") == sum(turn.player == "policy" for turn in one.turns)

    def test_the_outcome_of_a_part_is_told_where_the_spec_says_so(self):
        for feedback, times in (("none", 0), ("outcome", 1)):
            policy = random_policy()
            parts = all_of(leaf("solo"), leaf("solo", "solo#2"), feedback=feedback)
            play(three_games(policy=policy), parts, members=1)
            last = policy.codec.decode(policy.batches[-1][0].context)
            assert last.count("You succeeded in the task before this one.") == times

    def test_a_penalty_at_the_end_of_a_part_is_told_in_the_next(self):
        policy = ScriptedPolicy(lambda request, context: "?")
        parts = all_of(leaf("solo"), leaf("solo", "solo#2"))
        play(table_of(counting("solo", SOLO, show_penalty=True), policy=policy), parts, members=1)
        assert "Penalty -0.1" in policy.codec.decode(policy.batches[-1][0].context)

    def test_turns_know_where_their_tokens_are(self):
        for composition in (all_of(leaf("solo"), COUNT), all_of(leaf("solo"), COUNT, context="fresh")):
            for one in trajectories(play(three_games(), composition, groups=4)):
                seen = 0
                for index, turn in enumerate(turn for turn in one.turns if turn.player == "policy"):
                    assert turn.sequence is not None
                    assert turn.span is not None
                    sequence, (start, end) = one.sequences[turn.sequence], turn.span
                    assert set(sequence.mask[start:end]) == {1}
                    assert set(sequence.turns[start:end]) == {index}
                    assert end - start == turn.tokens
                    seen += turn.tokens
                assert seen == sum(sum(sequence.mask) for sequence in one.sequences)

    def test_stripped_thoughts_give_a_sequence_for_each_turn_of_the_whole_episode(self):
        composition = all_of(leaf("solo"), leaf("count", thinking="strip"))
        for one in trajectories(play(three_games(), composition, groups=3)):
            assert len(one.sequences) == sum(turn.player == "policy" for turn in one.turns)
            for index, turn in enumerate(turn for turn in one.turns if turn.player == "policy"):
                assert turn.sequence == index

    def test_a_bad_format_and_its_penalty_count_together(self):
        policy = ScriptedPolicy(lambda request, context: "?")
        (one,) = trajectories(play(three_games(policy=policy), all_of(leaf("solo"), COUNT), members=1))
        assert (one.outcome_return, one.penalty, one.raw_return) == (0.0, -0.2, -0.2)


class TestEverySeatTrained:
    """`seat: all`: a trajectory for each seat, grouped by instance and role."""

    def test_each_seat_gives_a_trajectory_of_its_own(self):
        game = counting(trainee_seat="all", opponents={})
        groups = play(table_of(game), COUNT, groups=3, members=4)
        assert [group.id for group in groups] == [f"nested/0/{n}/seat {seat}" for n in range(3) for seat in range(2)]
        for group in groups:
            assert [one.member for one in group.trajectories] == [0, 1, 2, 3]
            assert {one.group for one in group.trajectories} == {group.id}
            assert len({one.parts[0].seat for one in group.trajectories}) == 1

    def test_seats_of_one_role_share_a_group(self):
        game = CountGame(goal=9, spread=0, seats=3, roles=("spy", "civilian", "civilian"))
        groups = play(table_of(counting(game=game, trainee_seat="all", opponents={})), COUNT, groups=2, members=4)
        assert [group.id for group in groups] == [
            f"nested/0/{n}/{role}" for n in range(2) for role in ("civilian", "spy")
        ]
        assert [len(group.trajectories) for group in groups] == [8, 4, 8, 4]
        assert [one.member for one in groups[0].trajectories] == list(range(8))

    def test_tokens_belong_to_the_seat_that_sampled_them(self):
        game = counting(trainee_seat="all", opponents={})
        for one in trajectories(play(table_of(game), COUNT, groups=3, members=2)):
            own = [turn for turn in one.turns if turn.sequence is not None]
            assert {turn.seat for turn in own} == {one.parts[0].seat}
            assert sum(turn.tokens for turn in own) == sum(sum(sequence.mask) for sequence in one.sequences)
            assert {turn.seat for turn in one.turns} == {0, 1}

    def test_outcomes_of_two_seats_are_each_others_opposite(self):
        game = counting(trainee_seat="all", opponents={}, illegal_retries=0)
        first, second = play(table_of(game), COUNT, groups=1, members=8)
        pairs = zip(first.trajectories, second.trajectories, strict=True)
        assert all({one.parts[0].outcome, other.parts[0].outcome} == {"success", "loss"} for one, other in pairs)

    def test_who_cannot_go_on_loses_and_the_other_wins(self):
        policy = ScriptedPolicy(lambda request, context: "?" if "you are 2" in context else tagged("1"))
        game = counting(trainee_seat="all", opponents={})
        first, second = play(table_of(game, policy=policy), COUNT, groups=1, members=2)
        assert {one.parts[0].outcome for one in first.trajectories} == {"success"}
        assert {one.parts[0].outcome for one in second.trajectories} == {"bad_format"}

    def test_every_trainee_plays_the_games_for_one_by_itself(self):
        games = [counting("solo", SOLO), counting(trainee_seat="all", opponents={})]
        groups = play(table_of(*games), all_of(leaf("solo"), COUNT), groups=2, members=3)
        assert len(groups) == 4
        for one in trajectories(groups):
            assert [part.label for part in one.parts] == ["solo", "count"]
        first, second = groups[0].trajectories[0], groups[1].trajectories[0]
        assert first.parts[0].instance == second.parts[0].instance
        assert first.sequences != second.sequences

    def test_games_that_train_different_numbers_of_seats_cannot_be_composed(self):
        trio = counting("trio", CountGame(goal=9, spread=0, seats=3), trainee_seat="all", opponents={})
        games = [trio, counting(trainee_seat="all", opponents={})]
        with pytest.raises(GiftError, match="trio and count train every seat"):
            play(table_of(*games), all_of(leaf("trio"), COUNT))

    def test_a_void_play_leaves_every_trainee_without_a_return(self):
        def say(turn, rng):
            raise fault()

        faulty = counting("faulty", CountGame(9, 0), opponents={"1": "saying"})
        table = table_of(faulty, counting(trainee_seat="all", opponents={}), players=[SayingPlayer(say)])
        found = trajectories(play(table, all_of(COUNT, leaf("faulty"), leaf("count", "count#2")), members=1))
        outcomes = [[part.outcome for part in one.parts][1:] for one in found]
        assert outcomes == [["void", "unplayed"], ["unplayed", "unplayed"]]
        assert all(one.is_void for one in found)


def test_difficulty_reads_the_rates_of_the_tables_step():
    policy = ScriptedPolicy(lambda request, context: tagged("1"))
    parts = all_of(leaf("won"), leaf("lost", max_turns=1), reward="difficulty")
    games = [counting("won", CountGame(1, 0, 1)), counting("lost", CountGame(9, 0, 1))]
    (one,) = trajectories(play(table_of(*games, policy=policy, rates={"won": 0.8, "lost": 0.2}), parts, members=1))
    assert one.outcome_return == pytest.approx(0.125)


def test_the_task_of_a_group_and_its_names_are_in_the_record():
    (group,) = play(three_games(), all_of(TTT, COUNT), members=2, keys=KEYS)
    assert (group.id, group.task) == ("nested/0/0", "count + ttt")
    assert [one.episode for one in group.trajectories] == ["nested/0/0/0", "nested/0/0/1"]

"""One part: what happens to answers that cannot be played, whose fault it is, and what it costs."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

import pytest

from gift_dsl.errors import GiftError
from gift_dsl.games.game import FreeText, GameFacts
from gift_dsl.play.seats import Evaluation, TableGame
from tests.play.scripted import (
    CountGame,
    CountState,
    RandomPlayer,
    SayingPlayer,
    ScriptedPolicy,
    counting,
    fault,
    game_plan,
    leaf,
    play,
    table_of,
    tagged,
    trajectories,
)

FIXED = CountGame(goal=8, spread=0)
ALONE = CountGame(goal=3, spread=0, seats=1)


def saying(*texts):
    """A policy that says one text after the other, the last one again and again; each episode starts anew."""
    spoken = Counter[str]()

    def reply(request, context):
        spoken[request.episode] += 1
        return texts[min(spoken[request.episode], len(texts)) - 1]

    return ScriptedPolicy(reply)


def one(policy=None, game=None, part=None, players=(), table=(), **plan):
    """The only trajectory of a single play, and its only part."""
    seated = table_of(counting(game=game or ALONE, **plan), policy=policy, players=players, **dict(table))
    (trajectory,) = trajectories(play(seated, part or leaf("count"), members=1))
    return trajectory, trajectory.parts[0]


def first_illegal_then(reply):
    return saying(tagged("9"), reply)


def test_a_game_that_is_played_to_its_end_is_worth_what_the_spec_says():
    trajectory, part = one(saying(tagged("2"), tagged("1")), reward=(0.9, 0.5, 0.1))
    assert (part.outcome, part.reward, trajectory.outcome_return) == ("success", 0.9, 0.9)
    assert [(turn.action, turn.end) for turn in trajectory.turns] == [("2", "action"), ("1", "action")]


def test_an_unreadable_answer_forfeits_and_costs_the_format_penalty():
    trajectory, part = one(saying("I would add 2"))
    assert (part.outcome, part.reward, part.penalty) == ("bad_format", 0.0, -0.1)
    assert part.reason == "no <answer> element"
    assert (trajectory.outcome_return, trajectory.penalty, trajectory.raw_return) == (0.0, -0.1, -0.1)
    assert [turn.end for turn in trajectory.turns] == ["bad_format"]


def test_an_illegal_action_forfeits_and_costs_nothing_unless_the_spec_says_so():
    trajectory, part = one(saying(tagged("9")))
    assert (part.outcome, part.penalty) == ("illegal_action", 0.0)
    assert trajectory.turns[0].reason == "`9` is not a legal action"
    assert one(saying(tagged("9")), illegal_penalty=-0.2)[0].raw_return == -0.2


def test_a_retry_says_what_was_wrong_and_keeps_the_state():
    policy = saying(tagged("1"), tagged("9"), "what?", tagged("2"))
    _, part = one(policy, illegal_retries=2)
    assert (part.outcome, part.penalty) == ("success", -0.1)
    contexts = [policy.codec.decode(batch[0].context) for batch in policy.batches]
    assert "Again: `9` is not a legal action Turn 3" in contexts[2]
    assert "Again: no <answer> element Turn 4" in contexts[3]
    assert [context.rpartition("Total ")[2][0] for context in contexts] == ["0", "1", "1", "1"]


def test_retries_are_counted_over_the_whole_play():
    policy = saying(tagged("9"), tagged("1"), tagged("9"), tagged("2"))
    trajectory, part = one(policy, illegal_retries=1)
    assert part.outcome == "illegal_action"
    assert len(trajectory.turns) == 3


def test_a_penalty_is_told_where_the_spec_says_so():
    told, silent = saying("?", tagged("2")), saying("?", tagged("2"))
    one(told, illegal_retries=1, show_penalty=True)
    one(silent, illegal_retries=1)
    assert "Penalty -0.1" in told.codec.decode(told.batches[1][0].context)
    assert "Penalty" not in silent.codec.decode(silent.batches[1][0].context)


def test_a_penalty_of_nothing_is_not_told():
    policy = first_illegal_then(tagged("2"))
    one(policy, illegal_retries=1, show_penalty=True)
    assert "Penalty" not in policy.codec.decode(policy.batches[1][0].context)


def test_a_turn_cut_at_its_limit_ends_its_part_as_bad_format():
    trajectory, part = one(saying(f"{tagged('2')} and so on"), part=leaf("count", max_tokens_per_turn=8))
    assert (part.outcome, part.truncated, part.penalty) == ("bad_format", 1, -0.1)
    assert trajectory.turns[0].end == "truncated"
    assert trajectory.sequences[0].mask == (1,) * 8 + (0,)


def test_a_cut_turn_may_be_taken_again():
    part = leaf("count", max_tokens_per_turn=10, on_truncation="retry")
    trajectory, record = one(saying("so many words " * 9, tagged("2"), tagged("1")), part=part)
    assert (record.outcome, record.truncated, record.penalty) == ("success", 1, -0.1)
    assert [turn.end for turn in trajectory.turns] == ["truncated", "action", "action"]


def test_a_part_that_is_cut_every_time_ends_with_its_budget():
    part = leaf("count", max_turns=3, max_tokens_per_turn=5, on_truncation="retry")
    trajectory, record = one(saying("so many words " * 9), part=part)
    assert (record.outcome, record.truncated, len(trajectory.turns)) == ("bad_format", 3, 3)


def test_a_used_up_budget_of_turns_is_a_loss_with_a_reason():
    trajectory, part = one(saying(tagged("1")), part=leaf("count", max_turns=2))
    assert (part.outcome, part.reward, part.reason) == ("loss", 0.0, "every turn of this part was used up")
    assert len(trajectory.turns) == 2


def test_a_full_context_ends_the_part_without_a_turn():
    trajectory, part = one(saying(tagged("1")), table={"max_context": 10})
    assert (part.outcome, part.reason, part.truncated, part.penalty) == ("bad_format", "the context is full", 1, 0.0)
    assert (trajectory.turns, trajectory.sequences) == ((), ())


def test_a_turn_gets_no_more_tokens_than_the_context_has_left():
    policy = saying(tagged("1"))
    one(policy, table={"max_context": 120})
    requests = [batch[0] for batch in policy.batches]
    assert all(len(request.context) + request.max_tokens <= 120 for request in requests)


def test_an_evaluation_samples_as_it_says():
    policy = saying(tagged("2"))
    one(policy, table={"evaluation": Evaluation(temperature=0.0, max_tokens=17)})
    assert {(batch[0].temperature, batch[0].max_tokens) for batch in policy.batches} == {(0.0, 17)}


def test_messages_number_turns_and_seats_from_1():
    policy = saying(tagged("1"))
    one(policy)
    contexts = [policy.codec.decode(batch[0].context) for batch in policy.batches]
    assert "Turn 1, 20 left, you are 1." in contexts[0]
    assert "Turn 3, 18 left, you are 1." in contexts[2]


class TestOpponents:
    """Who plays badly or not at all on the other side is never the policy's loss."""

    @staticmethod
    def one(say, then="random_legal", retries=2, **plan):
        player = SayingPlayer(say, name="server")
        rollout = {"opponent_illegal_then": then, "opponent_illegal_retry": retries}
        plan = {"opponents": {"1": "server"}, **plan}
        return one(saying(tagged("1")), CountGame(goal=4, spread=0), leaf("count", **rollout), players=[player], **plan)

    def test_an_opponent_may_try_again_and_is_told_why(self):
        asked = []

        def say(turn, rng):
            asked.append(turn.messages[-1].content)
            return tagged("9") if len(asked) % 2 else tagged("1")

        _, part = self.one(say)
        assert part.outcome in ("success", "loss")
        assert part.opponent_illegal == len(asked) // 2
        assert "Again: `9` is not a legal action" in asked[1]
        assert part.penalty == 0

    def test_after_its_tries_a_random_legal_action_is_played_for_it(self):
        trajectory, part = self.one(lambda turn, rng: "no idea")
        played = [turn for turn in trajectory.turns if turn.reason == "played for an opponent without a legal action"]
        assert part.opponent_illegal == 3 * len(played) > 0
        assert {turn.action for turn in played} <= {"1", "2"}
        assert part.outcome in ("success", "loss")

    def test_it_may_forfeit(self):
        _, part = self.one(lambda turn, rng: "no idea", then="forfeit", retries=0)
        assert (part.outcome, part.reward, part.opponent_illegal) == ("success", 1.0, 1)
        assert part.reason == "server had no legal action"

    def test_it_may_make_the_play_void(self):
        trajectory, part = self.one(lambda turn, rng: "no idea", then="void", retries=1)
        assert (part.outcome, part.reward, trajectory.is_void) == ("void", None, True)
        assert part.reason == "server: no legal action: no <answer> element"

    def test_tries_start_anew_each_turn(self):
        calls = []

        def say(turn, rng):
            calls.append(turn)
            return tagged("9") if len(calls) % 3 else tagged("1")

        _, part = self.one(say, then="void", retries=2)
        assert part.outcome in ("success", "loss")

    def test_a_failed_call_asks_the_same_turn_again_with_another_stream(self):
        calls = []

        def say(turn, rng):
            calls.append((turn.messages, rng.random()))
            if len(calls) % 3:
                raise fault()
            return tagged("1")

        trajectory, part = self.one(say)
        assert part.outcome in ("success", "loss")
        assert calls[0][0] == calls[1][0] == calls[2][0]
        assert len({draw for _, draw in calls}) == len(calls)
        assert [turn.end for turn in trajectory.turns].count("fault") == 2 * len(calls) // 3

    def test_a_call_that_fails_every_time_makes_the_play_void(self):
        def say(turn, rng):
            raise fault()

        trajectory, part = self.one(say)
        assert (part.outcome, part.reward, trajectory.is_void) == ("void", None, True)
        assert part.reason == "server: timed out (http://localhost:1/v1)"
        assert [turn.end for turn in trajectory.turns if turn.seat == 1] == ["fault"] * 3

    def test_a_partner_that_forfeits_takes_its_side_with_it(self):
        game = CountGame(goal=9, spread=0, seats=3, roles=("spy", "civilian", "civilian"))
        plan = {"opponents": {"1": "server", "2": "server"}, "game": game}
        players = [SayingPlayer(lambda turn, rng: "no idea", name="server")]
        rollout = leaf("count", opponent_illegal_then="forfeit", opponent_illegal_retry=0)
        outcomes = {}
        for seat in range(3):
            trajectory, part = one(saying(tagged("1")), part=rollout, players=players, trainee_seat=seat, **plan)
            forfeiting = next(turn.seat for turn in trajectory.turns if turn.end == "bad_format")
            outcomes[game.roles[seat], game.roles[forfeiting]] = part.outcome
        assert all(outcome == ("loss" if own == other else "success") for (own, other), outcome in outcomes.items())


@dataclass(frozen=True)
class TalkState:
    """One seat after the other says something; a grade is given."""

    grade: float
    said: tuple[str, ...] = ()
    seats: int = 2
    max_chars: int = 30

    @property
    def is_terminal(self):
        return len(self.said) >= self.seats

    @property
    def current_player(self):
        return -1 if self.is_terminal else len(self.said)

    def legal_actions(self):
        return () if self.is_terminal else FreeText(max_chars=self.max_chars, forbidden=("secret",), one_line=True)

    def observation(self, player):
        return TalkObservation(" ".join(self.said), ("anything",))

    def apply(self, action):
        if "never" in action:
            raise ValueError("that word is not allowed here")
        return replace(self, said=(*self.said, action))

    def outcome(self):
        return (self.grade,) * self.seats


@dataclass(frozen=True)
class TalkObservation:
    """What was said."""

    total: str
    legal: tuple[str, ...]


@dataclass(frozen=True)
class TalkGame:
    """Graded, in free text."""

    grade: float = 0.25
    seats: int = 2
    max_chars: int = 30

    @property
    def facts(self):
        return GameFacts(self.seats, (1,) * self.seats, True, True, False, perfect_information=False)

    def start(self, rng):
        return TalkState(self.grade, seats=self.seats, max_chars=self.max_chars)

    def role(self, state, player):
        return ""

    def instance_key(self, state):
        return "only"


def talk(policy, say=None, grade=0.25, seats=2, max_chars=30, **rollout):
    game = TalkGame(grade, seats, max_chars)
    others = {} if seats == 1 else {"1": "server"}
    plan = game_plan("talk", trainee_seat=0, opponents=others)
    players = [SayingPlayer(say or (lambda turn, rng: tagged("hello")), name="server")]
    table = table_of(TableGame(plan, game, game.facts), policy=policy, players=players)
    (trajectory,) = trajectories(play(table, leaf("talk", **rollout), members=1))
    return trajectory, trajectory.parts[0]


class TestFreeText:
    """Actions that cannot be listed, and outcomes that are grades."""

    @pytest.mark.parametrize(("grade", "outcome"), [(1.0, "success"), (0.25, "draw"), (0.0, "loss")])
    def test_a_grade_is_its_own_reward(self, grade, outcome):
        _, part = talk(saying(tagged("hello")), grade=grade)
        assert (part.outcome, part.reward) == (outcome, grade)

    @pytest.mark.parametrize("text", ["it is a secret", "never", "x" * 31, "two\nlines"])
    def test_what_the_rules_refuse_is_an_illegal_action(self, text):
        trajectory, part = talk(saying(tagged(text)), grade=1.0)
        assert (part.outcome, part.reward, part.penalty) == ("illegal_action", 0.0, 0.0)
        assert trajectory.turns[0].reason

    def test_an_opponent_without_a_legal_text_says_something_neutral(self):
        trajectory, part = talk(saying(tagged("hello")), lambda turn, rng: tagged("never a secret"))
        assert trajectory.turns[-1].action == "I have nothing to add."
        assert (part.outcome, part.opponent_illegal) == ("draw", 3)

    def test_an_opponent_that_no_text_suits_makes_the_play_void(self):
        trajectory, part = talk(saying(tagged("hi")), lambda turn, rng: tagged("never a secret"), max_chars=3)
        assert (part.outcome, trajectory.is_void) == ("void", True)
        assert part.reason == "server: no legal action: the text has 14 characters, more than 3"

    def test_a_forfeit_in_a_graded_game_is_worth_a_full_grade(self):
        _, part = talk(saying(tagged("hi")), lambda turn, rng: "?", opponent_illegal_then="forfeit")
        assert (part.outcome, part.reward) == ("success", 1.0)

    def test_the_whole_state_is_shown_only_where_information_is_perfect(self):
        shown = []

        def say(turn, rng):
            shown.append(turn.state)
            return tagged("1")

        talk(saying(tagged("hi")), say)
        assert shown == [None]
        one(saying(tagged("1")), FIXED, players=[SayingPlayer(say)], opponents={"1": "saying"})
        assert None not in shown[1:]


class TestJudging:
    """A game may take its time to tell an outcome, and may say why and what chance would have made of it."""

    def test_an_outcome_is_settled_before_it_is_read(self):
        settled = []

        class Judged(TalkGame):
            async def settle(self, state):
                settled.append(state.said)

            def reason(self, state):
                return "unverifiable" if settled else "not settled"

            def chance(self, state):
                return 0.125

        game = Judged(0.0, 1)
        plan = game_plan("talk", trainee_seat=0, opponents={})
        table = table_of(TableGame(plan, game, game.facts), policy=saying(tagged("7")))
        (trajectory,) = trajectories(play(table, leaf("talk"), members=1))
        (part,) = trajectory.parts
        assert (part.outcome, part.reason, part.chance) == ("loss", "unverifiable", 0.125)
        assert settled == [("7",)]

    def test_rules_that_refuse_a_listed_action_are_a_bug(self):
        class BrokenState(CountState):
            def apply(self, action):
                raise ValueError("no")

        class Broken(CountGame):
            def start(self, rng):
                return BrokenState(9, seats=1)

        with pytest.raises(ValueError, match="no"):
            one(saying(tagged("1")), Broken(seats=1))


def test_a_player_without_tokens_can_be_the_one_that_is_measured():
    trajectory, part = one(RandomPlayer())
    assert part.outcome == "success"
    assert trajectory.sequences == ()
    assert {turn.player for turn in trajectory.turns} == {"policy"}
    assert {(turn.tokens, turn.sequence) for turn in trajectory.turns} == {(0, None)}


def test_an_instance_that_cannot_be_found_is_an_error_that_says_so():
    with pytest.raises(GiftError, match="no instance with the wanted role"):
        one(saying(tagged("1")), CountGame(seats=2, roles=("a", "b")), trainee_role="b", trainee_seat=0)


@dataclass(frozen=True)
class ListObservation:
    """Adapters may show values that have no hash."""

    total: list


@dataclass(frozen=True)
class ListState(CountState):
    def observation(self, player):
        return ListObservation([self.total])


@dataclass(frozen=True)
class ListGame(CountGame):
    def start(self, rng):
        return ListState(3, seats=1)


def test_an_observation_without_a_hash_is_worded_as_any_other():
    policy = saying(tagged("2"), tagged("1"))
    prompt = replace(counting().plan.prompt, observations=("Total {{ total[0] }}.",))
    _, part = one(policy, ListGame(seats=1), prompt=prompt)
    assert part.outcome == "success"
    assert "Total 2." in policy.codec.decode(policy.batches[1][0].context)

"""Players that look at rules: what they say is the answer tag around an action that is legal."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.games.board import BoardParams
from gift_dsl.games.board_rules import BoardGame
from gift_dsl.games.game import FreeText
from gift_dsl.games.matrix import FAMILY as MATRIX
from gift_dsl.games.matrix import MatrixParams
from gift_dsl.games.minimax import value
from gift_dsl.plan import OpponentPlan
from gift_dsl.players import Services, make_player
from gift_dsl.players.human import HumanPlayer
from gift_dsl.players.make import host_limits
from gift_dsl.seat import Player, PlayerFault
from gift_dsl.spec.models.opponents import OPPONENT_TYPES
from tests.players.asking import answer, openai_plan, turn_of

TICTACTOE = BoardGame(BoardParams())


def player_of(kind, **params):
    return make_player(OpponentPlan(f"a {kind}", kind, params))


def board_turn(*actions):
    state = TICTACTOE.start(random.Random(0))
    for action in actions:
        state = state.apply(action)
    return turn_of(legal=state.legal_actions(), state=state, observation=state.observation(state.current_player))


def action_of(player, turn, seed=0):
    text = answer(player, turn, seed)
    assert text.startswith(f"<{turn.tag}>")
    return text.removeprefix(f"<{turn.tag}>").removesuffix(f"</{turn.tag}>")


def test_the_answer_stands_in_the_tag_that_the_turn_asks_for():
    assert answer(player_of("first_legal"), turn_of(tag="move")) == "<move>1</move>"


def test_a_random_player_plays_every_legal_action_alike():
    drawn = Counter(action_of(player_of("random"), turn_of(legal=tuple("abcd")), seed) for seed in range(2000))
    assert set(drawn) == set("abcd")
    assert all(400 < count < 600 for count in drawn.values())


def test_a_player_draws_from_the_stream_of_the_turn_alone():
    turn = turn_of(legal=tuple(map(str, range(50))))
    assert [answer(player_of("random"), turn, seed) for seed in range(9)] == [
        answer(player_of("random"), turn, seed) for seed in range(9)
    ]


@pytest.mark.parametrize("kind", ["random", "first_legal"])
def test_where_any_text_is_legal_they_have_nothing_to_say(kind):
    with pytest.raises(PlayerFault, match="`game`"):
        answer(player_of(kind), turn_of(legal=FreeText()))


def test_a_script_is_said_in_turn_and_then_again():
    player = player_of("scripted", replies=["1", "2"], cycle=True)
    talks = [("q",), ("q", "a", "q"), ("q", "a", "q", "a", "q")]
    assert [action_of(player, turn_of(*talk)) for talk in talks] == ["1", "2", "1"]


def test_a_script_that_does_not_cycle_repeats_its_last_text():
    player = player_of("scripted", replies=["1", "2"], cycle=False)
    assert action_of(player, turn_of("q", "a", "q", "a", "q")) == "2"


@pytest.mark.parametrize("text", ["I think <answer>1</answer>", "< ANSWER >1</answer>", "<answer>"])
def test_a_script_that_opens_the_tag_is_said_as_it_is(text):
    assert answer(player_of("scripted", replies=[text], cycle=True)) == text


@given(st.lists(st.integers(0, 8), max_size=8), st.integers(0, 9))
def test_minimax_keeps_the_value_of_a_position(choices, seed):
    state = TICTACTOE.start(random.Random(0))
    for choice in choices:
        if not state.is_terminal:
            state = state.apply(state.legal_actions()[choice % len(state.legal_actions())])
    if state.is_terminal:
        return
    turn = turn_of(legal=state.legal_actions(), state=state)
    action = action_of(player_of("minimax", epsilon=0.0, depth=None), turn, seed)
    assert value(state.apply(action)) == value(state)


def test_minimax_does_not_play_the_same_of_equal_actions_always():
    player = player_of("minimax", epsilon=0.0)
    assert len({action_of(player, board_turn(), seed) for seed in range(40)}) > 1


def test_epsilon_is_the_share_of_random_actions():
    turn = board_turn("1", "4", "2", "5")  # X wins with 3 and has four other actions
    drawn = Counter(action_of(player_of("minimax", epsilon=0.5, depth=None), turn, seed) for seed in range(2000))
    assert drawn["3"] / 2000 == pytest.approx(0.5 + 0.5 / 5, abs=0.04)
    assert set(drawn) == set(turn.legal)


def test_minimax_may_look_a_few_plies_ahead_only():
    assert action_of(player_of("minimax", epsilon=0.0, depth=1), board_turn("1", "4", "2", "5")) == "3"


def matrix_turns(question, count=30):
    game = MATRIX.build(MatrixParams(question=question), ())
    for seed in range(count):
        state = game.start(random.Random(seed))
        yield game, state, turn_of(legal=state.legal_actions(), state=state, observation=state.observation(0))


def test_an_equilibrium_player_plays_its_part_of_one():
    for game, state, turn in matrix_turns("equilibrium"):
        played = {action_of(player_of("equilibrium"), turn, seed) for seed in range(5)}
        mix = dict(zip(state.own_actions, game.equilibrium_mix(state), strict=True))
        assert all(mix[action] > 0 for action in played)
        assert played <= game.labels(state)


@pytest.mark.parametrize("question", ["equilibrium", "best_response", "regret"])
def test_a_best_response_is_a_right_answer(question):
    for game, state, turn in matrix_turns(question):
        action = action_of(player_of("best_response"), turn)
        assert action in game.labels(state)
        assert state.apply(action).outcome() in (("win",), (1.0,))


@pytest.mark.parametrize(
    ("kind", "params", "wanted"),
    [
        ("minimax", {"epsilon": 0.0}, "board games"),
        ("equilibrium", {}, "matrix games"),
        ("best_response", {}, "matrix games"),
        ("clue", {"specific": 0.7, "random_vote": 0.0}, "Who's the Spy"),
    ],
)
def test_a_player_at_the_wrong_game_says_which_it_plays(kind, params, wanted):
    with pytest.raises(UsageError, match=f"`a {kind}` plays {wanted} only"):
        answer(player_of(kind, **params))


class Person:
    """Types given lines, remembers what was shown, then leaves."""

    def __init__(self, *lines):
        self.lines, self.shown, self.threads = list(lines), [], set()

    def __call__(self, question):
        self.shown.append(question)
        self.threads.add(threading.current_thread())
        if not self.lines:
            raise EOFError
        return self.lines.pop(0)


def human(*lines):
    person = Person(*lines)
    return make_player(OpponentPlan("you", "human", {}), Services(ask=person)), person


def test_a_person_sees_what_is_new_and_types_an_action_alone():
    player, person = human(" 2 ")
    assert answer(player, turn_of("Rules.", "1", "The other played 5.")) == "<answer>2</answer>"
    assert person.shown == ["The other played 5.\n\nType one of these without tags: 1, 2> "]
    assert threading.main_thread() not in person.threads


def test_a_person_who_mistypes_is_asked_again():
    player, person = human("x", "", "a")
    assert answer(player, turn_of(legal=("A", "B"))) == "<answer>A</answer>"
    assert person.shown[1] == "`x` cannot be played now. Type one of these without tags: A, B\n> "
    assert len(person.shown) == 3


def test_a_person_may_type_a_sentence_where_any_text_is_legal():
    player, person = human("It is an apple", "It is sweet")
    turn = turn_of(legal=FreeText(max_chars=30, forbidden=("apple",), one_line=True))
    assert answer(player, turn) == "<answer>It is sweet</answer>"
    assert "one line, up to 30 letters" in person.shown[0]
    assert person.shown[1] == "That cannot be played: the text contains `apple`.\n> "


def test_a_long_list_of_actions_is_cut():
    player, person = human("100")
    answer(player, turn_of(legal=tuple(map(str, range(1, 226)))))
    assert person.shown[0].endswith("39, 40, …> ")


def test_a_person_who_leaves_ends_the_program_and_not_the_game():
    player, _ = human()
    with pytest.raises(GiftError, match="`you` has left: the input ended before `game` did"):
        answer(player)


def test_nobody_waits_for_a_person_who_does_not_answer():
    typing, done = threading.Event(), threading.Event()
    threads = []

    def ask(question):
        threads.append(threading.current_thread())
        typing.wait()
        return "1"

    async def run():
        turn = asyncio.create_task(HumanPlayer("you", ask).act(turn_of(), random.Random(0)))
        while not threads:
            await asyncio.sleep(0.001)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        done.set()

    asyncio.run(run())
    assert done.is_set()
    typing.set()
    threads[0].join()  # its answer comes after the event loop has closed


def test_a_late_answer_of_a_person_is_dropped():
    typing, threads = threading.Event(), []

    def ask(question):
        threads.append(threading.current_thread())
        typing.wait()
        return "1"

    async def run():
        turn = asyncio.create_task(HumanPlayer("you", ask).act(turn_of(), random.Random(0)))
        while not threads:
            await asyncio.sleep(0.001)
        turn.cancel()
        await asyncio.gather(turn, return_exceptions=True)
        typing.set()
        await asyncio.to_thread(threads[0].join)
        await asyncio.sleep(0)
        return turn.cancelled()

    assert asyncio.run(run())


PARAMS = {
    "scripted": {"replies": ["1"], "cycle": True},
    "minimax": {"epsilon": 0.0},
    "clue": {"specific": 0.7, "random_vote": 0.0},
    "openai": openai_plan("http://localhost:1/v1").params,
}


@pytest.mark.parametrize("kind", sorted({*OPPONENT_TYPES} - {"local", "self", "snapshot", "pool"}))
def test_every_type_of_the_language_that_needs_no_weights_makes_a_player(kind):
    player = player_of(kind, **PARAMS.get(kind, {}))
    assert isinstance(player, Player)
    assert player.name == f"a {kind}"
    assert player.waits == (kind in ("human", "openai"))


@pytest.mark.parametrize("kind", ["local", "self", "snapshot", "pool", "oracle"])
def test_every_other_type_is_refused_with_the_reason(kind):
    with pytest.raises(UsageError, match=f"`a {kind}` (is|draws|has)"):
        player_of(kind)


def test_an_address_may_stand_outside_the_plan():
    params = {key: item for key, item in PARAMS["openai"].items() if key != "base_url"}
    player = make_player(OpponentPlan("q", "openai", params), Services(base_urls={"q": "http://there:7/v1"}))
    assert player.endpoint.host == "there:7"


def test_an_address_that_names_no_host_is_told_before_anything_starts():
    with pytest.raises(UsageError, match="`server` cannot be asked: 'nowhere' names no host"):
        make_player(openai_plan("nowhere"))


def test_without_bindings_no_key_is_sent_anywhere():
    with pytest.raises(MachineError, match="LAB_KEY is not bound to lab"):
        make_player(openai_plan("http://lab/v1", api_key_env="LAB_KEY"))


def test_limits_are_taken_by_host():
    limits = host_limits([("http://a:1/v1", 4), ("http://a:1/v2", 2), ("http://b/v1", None)])

    async def run():
        gates = [limits.gate(host) for host in ("a:1", "b")]
        return [sum([not gate.locked() and await gate.acquire() for _ in range(40)]) for gate in gates]

    assert asyncio.run(run()) == [2, 32]

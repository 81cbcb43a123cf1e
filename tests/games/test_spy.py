"""The rules of Who's the Spy: what is hidden stays hidden, and the vote decides for the sides."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.clues import describe, evidence, know, standing, suspicion, vote
from gift_dsl.games.free_text import contains_word
from gift_dsl.games.game import FreeText, Game
from gift_dsl.games.spy import FAMILY, SpyParams, WordPair, check, facts
from gift_dsl.games.spy_pairs import load_pairs
from gift_dsl.games.spy_rules import SpyGame, SpyState
from gift_dsl.rng import stream

NUM_GAMES = 2000


@st.composite
def spy_params(draw: st.DrawFn) -> SpyParams:
    return SpyParams(
        players=draw(st.integers(3, 7)),
        rounds=draw(st.integers(1, 3)),
        secret_word=draw(st.sampled_from(["forbid", "allow"])),
        closeness=draw(st.sampled_from([(1,), (2, 3), (1, 2, 3)])),
    )


def start(params: SpyParams = SpyParams(), seed: int = 0) -> SpyState:  # noqa: B008  # frozen
    return SpyGame(params).start(random.Random(seed))


def random_play(state: SpyState, rng: random.Random) -> list[SpyState]:
    """All positions of one random play, the first included."""
    states = [state]
    while not states[-1].is_terminal:
        states.append(states[-1].apply(random_action(states[-1], rng)))
    return states


def random_action(state: SpyState, rng: random.Random) -> str:
    """A shipped clue of any word that may be said, or any vote."""
    legal = state.legal_actions()
    if not isinstance(legal, FreeText):
        return rng.choice(legal)
    clue = rng.choice(shipped_clues())
    while any(contains_word(clue, word) for word in legal.forbidden):
        clue = rng.choice(shipped_clues())
    return clue


@cache
def shipped_clues() -> tuple[str, ...]:
    pairs = load_pairs()
    return tuple(clue for pair in pairs for clue in (*pair.shared, *pair.first_clues, *pair.second_clues))


def voted(votes: list[int], tie_break: tuple[int, ...] = (0, 1, 2, 3), spy: int = 0) -> SpyState:
    """A finished game of four in which each seat voted for the seat named, all counted from 0."""
    words = tuple("beer" if seat == spy else "cider" for seat in range(4))
    state = SpyState(words, spy, tie_break, rounds=1, secret_word="forbid", max_chars=100, clues=("x",) * 4)
    for seat in votes:
        state = state.apply(str(seat + 1))
    return state


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_the_same_stream_gives_the_same_game(params, seed):
    assert start(params, seed) == start(params, seed)


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_a_play_is_rounds_of_descriptions_in_seat_order_and_one_vote(params, seed):
    states = random_play(start(params, seed), random.Random(seed))
    turns = [state.current_player for state in states[:-1]]
    assert turns == list(range(params.players)) * (params.rounds + 1)
    assert facts(params).max_turns == (params.rounds + 1,) * params.players
    assert [state.phase for state in states[:-1]].count("vote") == params.players


def test_the_papers_setting_is_the_default():
    settings = facts(SpyParams())
    assert (settings.seats, settings.max_turns) == (4, (3, 3, 3, 3))


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_one_seat_has_another_word_and_both_words_are_of_one_pair(params, seed):
    state = start(params, seed)
    game = SpyGame(params)
    words = Counter(state.words)
    assert sorted(words.values()) == [1, params.players - 1]
    assert words[state.words[state.spy]] == 1
    assert any({pair.first, pair.second} == set(words) for pair in load_pairs() if pair.closeness in params.closeness)
    roles = [game.role(state, seat) for seat in range(params.players)]
    assert roles == ["spy" if seat == state.spy else "civilian" for seat in range(params.players)]


@given(params=spy_params(), seed=st.integers(0, 2**32), data=st.data())
def test_an_observation_depends_on_nothing_that_is_hidden_from_its_player(params, seed, data):
    """Other seats' words, the role, the tie-break and all votes may change without a trace."""
    states = random_play(start(params, seed), random.Random(seed))
    state = data.draw(st.sampled_from(states))
    player = data.draw(st.integers(0, params.players - 1))
    others = data.draw(st.lists(st.text(max_size=8), min_size=params.players, max_size=params.players))
    seats = st.integers(0, params.players - 1)
    disguised = replace(
        state,
        words=tuple(state.words[player] if seat == player else others[seat] for seat in range(params.players)),
        spy=data.draw(seats),
        tie_break=tuple(data.draw(st.permutations(range(params.players)))),
        votes=tuple(data.draw(seats) for _ in state.votes),
    )
    assert disguised.observation(player) == state.observation(player)


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_a_descriptions_limits_name_the_own_word_only(params, seed):
    for state in random_play(start(params, seed), random.Random(seed)):
        if state.phase == "describe":
            own = state.words[state.current_player]
            assert state.legal_actions() == FreeText(
                max_chars=params.max_description_chars,
                forbidden=(own,) if params.secret_word == "forbid" else (),
                one_line=True,
            )


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_the_seats_to_vote_for_are_shown_to_the_voter_and_to_nobody_else(params, seed):
    for state in random_play(start(params, seed), random.Random(seed)):
        for player in range(params.players):
            shown = state.observation(player).legal
            if state.phase == "vote" and player == state.current_player:
                assert shown == state.legal_actions()
                assert set(shown) == {str(seat) for seat in range(1, params.players + 1)} - {str(player + 1)}
            else:
                assert shown == ()


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_one_side_wins_and_the_other_loses(params, seed):
    *open_states, final = random_play(start(params, seed), random.Random(seed))
    results = final.outcome()
    caught = final.voted_out == final.spy
    assert results[final.spy] == ("loss" if caught else "win")
    assert {result for seat, result in enumerate(results) if seat != final.spy} == {"win" if caught else "loss"}
    for state in open_states:
        with pytest.raises(ValueError, match="not over"):
            state.outcome()


@given(params=spy_params(), seed=st.integers(0, 2**32))
def test_a_finished_game_takes_no_action(params, seed):
    final = random_play(start(params, seed), random.Random(seed))[-1]
    assert (final.current_player, final.legal_actions()) == (-1, ())
    with pytest.raises(ValueError, match="illegal vote"):
        final.apply("1")


def test_what_was_said_is_shown_by_round_with_seats_counted_from_one():
    state = start(SpyParams(players=3, rounds=2))
    assert state.observation(0).clues == ()
    for text in ("one", "two", "three", "four"):
        state = state.apply(text)
    seen = state.observation(2)
    assert seen.clues == (((1, "one"), (2, "two"), (3, "three")), ((1, "four"),))
    assert (seen.phase, seen.round, seen.rounds, seen.players) == ("describe", 2, 2, (1, 2, 3))
    voting = state.apply("five").apply("six").observation(0)
    assert (voting.phase, voting.round, voting.legal) == ("vote", 2, ("2", "3"))


@pytest.mark.parametrize(
    ("votes", "tie_break", "out"),
    [
        ([1, 2, 1, 1], (0, 1, 2, 3), 1),
        ([1, 0, 0, 1], (0, 1, 2, 3), 0),
        ([1, 0, 0, 1], (3, 1, 0, 2), 1),
        ([1, 2, 3, 0], (2, 0, 1, 3), 2),
    ],
)
def test_the_most_votes_decide_and_of_equals_the_order_that_was_drawn(votes, tie_break, out):
    assert voted(votes, tie_break).voted_out == out


def test_the_civilians_win_when_the_spy_is_voted_out_and_lose_when_another_is():
    assert voted([1, 2, 1, 1], spy=1).outcome() == ("win", "loss", "win", "win")
    assert voted([1, 2, 1, 1], spy=3).outcome() == ("loss", "loss", "loss", "win")


@pytest.mark.parametrize("text", ["1", "0", "5", " 2", "2.", "02", "player 2", ""])
def test_a_vote_is_the_number_of_another_seat_and_nothing_else(text):
    with pytest.raises(ValueError, match="illegal vote"):
        voted([]).apply(text)


def test_saying_the_own_word_is_illegal_or_allowed_as_declared():
    own_pairs = (WordPair("beer", "cider"),)
    forbid = start(SpyParams(pairs=own_pairs))
    word = forbid.words[0]
    with pytest.raises(ValueError, match=f"the text contains `{word}`"):
        forbid.apply(f"I love {word}s")
    other = "cider" if word == "beer" else "beer"
    assert forbid.apply(f"not {other}").clues == (f"not {other}",)
    allow = start(SpyParams(pairs=own_pairs, secret_word="allow"))
    assert allow.apply(f"I love {allow.words[0]}").clues == (f"I love {allow.words[0]}",)


def test_a_description_is_one_line_that_is_not_empty_and_not_too_long():
    state = start(SpyParams(max_description_chars=40))
    for text, reason in (("", "empty"), ("two\nlines", "more than one line"), ("x" * 41, "41 characters")):
        with pytest.raises(ValueError, match=reason):
            state.apply(text)


def test_seat_word_and_order_of_ties_are_drawn_fairly_and_apart():
    states = [SpyGame(SpyParams()).start(stream(0, "spy", index)) for index in range(4000)]
    seats = Counter(state.spy for state in states)
    first = {pair.first for pair in load_pairs()}
    swaps = Counter((state.spy, state.words[state.spy] in first) for state in states)
    ties = Counter((state.spy, state.tie_break[0]) for state in states)
    assert all(abs(count - 1000) < 110 for count in seats.values())
    assert all(abs(count - 500) < 90 for count in swaps.values())
    assert len(ties) == 16
    assert all(abs(count - 250) < 70 for count in ties.values())


def test_a_game_is_keyed_by_its_pair_whichever_word_is_the_spys():
    params = SpyParams(pairs=(WordPair("beer", "cider"),))
    keys = {SpyGame(params).instance_key(start(params, seed)) for seed in range(50)}
    assert len({start(params, seed).words for seed in range(50)}) > 2
    assert keys == {"beer|cider"}


def test_pairs_that_share_a_word_share_a_key():
    pairs = (WordPair("beer", "cider"), WordPair("Wine", "grape juice"), WordPair("cider", "wine"), WordPair("a", "b"))
    params = SpyParams(pairs=pairs)
    keys = {
        frozenset(start(params, seed).words): SpyGame(params).instance_key(start(params, seed)) for seed in range(99)
    }
    assert len(keys) == 4
    assert set(keys.values()) == {"beer|cider", "a|b"}
    assert facts(params).family_size == 2


def test_the_family_size_is_the_number_of_chosen_pairs():
    assert facts(SpyParams()).family_size == len(load_pairs())
    food = [pair for pair in load_pairs() if pair.category == "food" and pair.closeness == 2]
    assert facts(SpyParams(categories=("food",), closeness=(2,))).family_size == len(food)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (SpyParams(), None),
        (SpyParams(pairs=(WordPair("beer", "cider"),)), None),
        (SpyParams(pairs=(WordPair("beer", "root beer"),)), "saying one of them says the other"),
        (SpyParams(pairs=(WordPair("beer", "Beers"),)), "saying one of them says the other"),
        (SpyParams(pairs=(WordPair("beer", "..."),)), "must both be words"),
        (SpyParams(categories=("food", "fodo")), "`categories` has `fodo`, but the shipped pairs have: animals, body"),
        (SpyParams(categories=("animals",), closeness=(1,)), None),
        (SpyParams(categories=("jobs",), closeness=()), "no shipped pair of these categories"),
    ],
)
def test_contradictions_between_parameters_are_named(params, message):
    found = check(params)
    assert found is None if message is None else message in (found or "")


def test_the_spy_game_is_a_game():
    game = FAMILY.build(SpyParams(), ())
    assert isinstance(game, Game)
    assert game.facts == facts(SpyParams())


# The word-clue player


def said_before(state: SpyState) -> list[tuple[int, str]]:
    return [clue for said in state.observation(0).clues for clue in said]


def clue_action(state: SpyState, rng: random.Random) -> str:
    seat = state.current_player
    seen = state.observation(seat)
    if seen.phase == "vote":
        return vote(seen.word, said_before(state), seat + 1, seen.legal, rng)
    return describe(seen.word, said_before(state), seat + 1, rng)


def success_rate(focal: str, role: str) -> float:
    """Share of games won by one seat of `role` that plays by clues or at random, all others playing by clues."""
    game, num_wins = SpyGame(SpyParams()), 0
    for index in range(NUM_GAMES):
        rng = stream(0, "table", focal, role, index)
        state = game.start(stream(0, "instance", index))
        seat = state.spy if role == "spy" else rng.choice([seat for seat in range(4) if seat != state.spy])
        while not state.is_terminal:
            plays_randomly = state.current_player == seat and focal == "random"
            state = state.apply((random_action if plays_randomly else clue_action)(state, rng))
        num_wins += state.outcome()[seat] == "win"
    return num_wins / NUM_GAMES


def interval(rate: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `NUM_GAMES` independent games."""
    z2 = 1.96**2 / NUM_GAMES
    centre, half = rate + z2 / 2, math.sqrt(z2 * (rate * (1 - rate) + z2 / 4))
    return (centre - half) / (1 + z2), (centre + half) / (1 + z2)


@pytest.mark.parametrize("role", ["spy", "civilian"])
def test_the_clue_player_beats_a_random_player_on_both_sides_with_disjoint_intervals(role):
    by_clues, at_random = interval(success_rate("clue", role)), interval(success_rate("random", role))
    assert by_clues[0] > at_random[1], f"clue {by_clues}, random {at_random}"


@given(seed=st.integers(0, 2**32), specific=st.floats(0, 1))
def test_a_clue_of_the_clue_player_is_a_legal_description_in_every_position(seed, specific):
    rng, state = random.Random(seed), start(SpyParams(players=12, rounds=6, max_description_chars=40), seed)
    while state.phase == "describe":
        seat = state.current_player
        state = state.apply(describe(state.words[seat], said_before(state), seat + 1, rng, specific))
    assert len(state.clues) == 72


@given(seed=st.integers(0, 2**32), specific=st.floats(0, 1))
def test_a_clue_is_not_given_twice_while_another_is_left(seed, specific):
    rng, clues = random.Random(seed), list[tuple[int, str]]()
    for seat in range(1, 7):
        clues.append((seat, describe("beer", clues, seat, rng, specific)))
    assert {text for _seat, text in clues} == {*know("beer").own, *know("beer").shared}


def test_a_text_is_judged_by_the_clues_it_contains():
    assert evidence("beer", "It is full of HOPS, I think") == 1
    assert evidence("beer", "made of apples") == -1
    assert evidence("beer", "alcohol") == evidence("beer", "no idea") == evidence("beer", "hops or apples") == 0


def test_a_player_shows_its_word_by_the_first_clue_that_tells_it_from_the_partner():
    clues = [(1, "apples"), (2, "alcohol"), (2, "hops"), (3, "apples"), (3, "foam"), (4, "pint")]
    assert standing("beer", clues, 1) == 0
    assert standing("beer", clues, 4) == -1


def test_the_player_whose_clue_fits_the_other_word_is_suspected_and_voted_for():
    clues = [(1, "hops"), (2, "foam"), (3, "apples"), (4, "alcohol")]
    assert suspicion("beer", clues, 1) == {2: -1, 3: 2, 4: 0}
    assert vote("beer", clues, 1, ("2", "3", "4"), random.Random(0)) == "3"


def test_agreeing_later_does_not_make_up_for_a_contradiction():
    clues = [(2, "apples"), (2, "foam"), (3, "alcohol")]
    assert suspicion("beer", clues, 1) == {2: 1, 3: 0}


def test_a_spy_who_hears_it_speaks_like_the_others_and_turns_on_one_of_them():
    clues = [(2, "apples"), (3, "fruity"), (4, "pint")]
    assert standing("beer", clues, 1) == -2
    assert describe("beer", clues, 1, random.Random(0)) == "autumn"
    assert vote("beer", clues, 1, ("2", "3", "4"), random.Random(0)) == "4"


def test_a_player_who_hears_one_voice_against_it_keeps_to_what_fits_both_words():
    said = {describe("beer", [(2, "apples")], 1, random.Random(seed), specific=1.0) for seed in range(30)}
    assert said == set(know("beer").shared)


def test_of_a_word_that_is_not_shipped_nothing_is_known_and_something_legal_is_said():
    assert know("quux").own == ()
    for word in ("quux", "words", "kinds", "everybody"):
        said = [(seat, describe(word, [], seat, random.Random(seat))) for seat in range(1, 40)]
        assert not any(contains_word(text, word) for _seat, text in said)
        assert set(suspicion(word, said, 1).values()) == {0}
    votes = {vote("quux", [(1, "x"), (2, "y")], 3, ("1", "2"), random.Random(seed)) for seed in range(20)}
    assert votes == {"1", "2"}

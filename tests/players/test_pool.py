from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.players.pool import Pool, PoolChoice, PoolState, draw, make_pool, record, shares

ABC = ("a", "b", "c")
EQUAL = (1.0, 1.0, 1.0)


def state_of(**rates):
    """A state with these win rates, out of ten games each."""
    return PoolState(
        {name: (1.0,) * round(10 * rate) + (0.0,) * round(10 * (1 - rate)) for name, rate in rates.items()}
    )


VECTOR = state_of(a=0.9, b=0.5, c=0.1)


def test_hard_plays_most_those_that_are_not_beaten():
    assert shares(Pool(ABC, EQUAL, "hard", 2.0), VECTOR) == pytest.approx((0.009346, 0.233645, 0.757009), abs=5e-7)


def test_even_plays_most_those_that_are_as_strong():
    assert shares(Pool(ABC, EQUAL, "even"), VECTOR) == pytest.approx((0.209302, 0.581395, 0.209302), abs=5e-7)


def test_weights_alone_do_not_look_at_win_rates():
    assert shares(Pool(ABC, (1.0, 2.0, 1.0)), VECTOR) == (0.25, 0.5, 0.25)


def test_weights_multiply_priorities():
    assert shares(Pool(("a", "b"), (3.0, 1.0), "even"), PoolState()) == (0.75, 0.25)


@pytest.mark.parametrize("by", ["hard", "even"])
def test_where_all_are_beaten_the_weights_decide(by):
    assert shares(Pool(("a", "b"), (3.0, 1.0), by), state_of(a=1.0, b=1.0)) == (0.75, 0.25)


def test_who_was_never_met_counts_as_equal():
    assert PoolState().win_rate("a") == 0.5


def test_only_the_latest_games_count():
    pool, state = Pool(("a",), (1.0,), window=2), PoolState()
    for score in (1.0, 0.0, 0.5):
        state = record(pool, state, "a", score)
    assert state.scores == {"a": (0.0, 0.5)}
    assert state.win_rate("a") == 0.25


def test_recording_a_game_leaves_the_old_state_as_it_was():
    state = PoolState()
    record(Pool(ABC, EQUAL), state, "a", 1.0)
    assert state == PoolState()


@given(st.dictionaries(st.sampled_from(ABC), st.lists(st.sampled_from([0.0, 0.5, 1.0]), max_size=5)))
def test_a_state_is_saved_and_read_back(scores):
    state = PoolState({member: tuple(values) for member, values in scores.items()})
    assert PoolState.from_json(json.loads(json.dumps(state.to_json()))) == state


@given(
    st.lists(st.floats(0.1, 10), min_size=1, max_size=5),
    st.sampled_from(["weight", "hard", "even"]),
    st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_shares_are_probabilities(weights, by, rates):
    names = tuple(f"p{index}" for index in range(len(weights)))
    state = PoolState({name: (rate,) for name, rate in zip(names, rates, strict=False)})
    found = shares(Pool(names, tuple(weights), by), state)
    assert sum(found) == pytest.approx(1.0)
    assert all(share >= 0 for share in found)


def test_names_are_drawn_with_their_shares():
    pool = Pool(ABC, EQUAL, "hard", 2.0)
    drawn = Counter(draw(pool, VECTOR, random.Random(seed)) for seed in range(2000))
    assert [drawn[name] / 2000 for name in ABC] == pytest.approx(shares(pool, VECTOR), abs=0.03)


def test_the_same_stream_draws_the_same_name():
    choice = PoolChoice(Pool(ABC, EQUAL), PoolState())
    assert [choice.choose(random.Random(seed)) for seed in range(20)] == [
        choice.choose(random.Random(seed)) for seed in range(20)
    ]


def test_a_pool_is_made_from_the_fields_of_the_plan():
    members = ["a", {"opponent": "b", "weight": 2.5}]
    made = make_pool({"members": members, "by": "hard", "power": 1.5, "window": 7})
    assert made == Pool(("a", "b"), (1.0, 2.5), "hard", 1.5, 7)

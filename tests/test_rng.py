from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.rng import branch, fraction, stream

names = st.lists(st.text(max_size=5) | st.integers(-5, 5), max_size=4).map(tuple)


@given(seed=st.integers(), name=names)
def test_a_stream_depends_on_its_seed_and_its_name_alone(seed, name):
    first = stream(seed, *name).random()
    stream(seed, "another").random()
    assert stream(seed, *name).random() == first


@given(seed=st.integers(), name=names, other=names)
def test_streams_of_different_names_are_different(seed, name, other):
    same = [type(part) for part in name] == [type(part) for part in other] and name == other
    assert (stream(seed, *name).random() == stream(seed, *other).random()) == same


def test_names_are_not_joined_and_not_converted():
    draws = {stream(1, *name).random() for name in (("a", 1), ("a1",), ("a", "1"), ("1", "a"), (1, "a"), ())}
    assert len(draws) == 6


@given(seed=st.integers(), name=names, cut=st.integers(0, 4))
def test_a_branch_gives_the_streams_whose_names_begin_with_its_own(seed, name, cut):
    start = branch(seed, *name[:cut])
    for _ in range(2):
        assert start(*name[cut:]).random() == stream(seed, *name).random()


def test_a_fraction_does_not_depend_on_any_seed():
    assert fraction("split", "a") == fraction("split", "a") != fraction("split", "b")
    assert 0.45 < sum(fraction("split", number) for number in range(1000)) / 1000 < 0.55


@pytest.mark.parametrize(
    ("seed", "name", "bits", "number"),
    [
        (0, (), 9253222904566781448, 337691),
        (10000, ("instance", "train", "nested", 0, 3, "tictactoe", 0), 3323201028105496665, 247770),
        (-7, ("é", "", -1, 2**70), 8546640664663081639, 114050),
    ],
)
def test_streams_are_those_of_all_earlier_versions(seed, name, bits, number):
    for made in (stream(seed, *name), branch(seed)(*name), branch(seed, *name)()):
        assert (made.getrandbits(64), made.randrange(10**6)) == (bits, number)


def test_fractions_are_those_of_all_earlier_versions():
    assert fraction("split", "a") == 0.20638586691270586

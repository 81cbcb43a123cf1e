"""The solver is exact: its sets of equilibrium actions are those of brute force, in degenerate games too."""

from fractions import Fraction
from itertools import chain, combinations, product

import nashpy
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.classic import CLASSIC
from gift_dsl.games.equilibria import (
    equilibrium_actions,
    expected_payoffs,
    extreme_equilibria,
    is_dominance_solvable,
    normalise,
    pure_equilibria,
    transpose,
)
from gift_dsl.rng import stream

MATCHING_PENNIES = ((1, 0), (0, 1)), ((0, 1), (1, 0))


def subsets(size):
    return chain.from_iterable(combinations(range(size), count) for count in range(1, size + 1))


def is_solvable(constraints, num_variables):
    """Whether homogeneous inequalities (coefficients, strict) have a solution: Fourier-Motzkin elimination."""
    for variable in range(num_variables):
        above = [c for c in constraints if c[0][variable] > 0]
        below = [c for c in constraints if c[0][variable] < 0]
        constraints = {c for c in constraints if c[0][variable] == 0}
        for (a, a_strict), (b, b_strict) in product(above, below):
            combined = tuple(x * -b[variable] + y * a[variable] for x, y in zip(a, b, strict=True))
            constraints.add((combined, a_strict or b_strict))
    return not any(strict for _, strict in constraints)


def can_answer(replies, played, best):
    """Whether a mix of exactly the actions `played` makes all of `best` best replies; `replies[j][i]` pays reply j."""
    positive = {(tuple(int(i == k) for k in played), True) for i in played}
    weak = {(tuple(replies[j][k] - other[k] for k in played), False) for j in best for other in replies}
    return is_solvable(positive | weak, len(played))


def brute_force(row, column):
    """The actions of both players in any equilibrium, one pair of supports of any sizes after the other."""
    rows, columns = set(), set()
    for i, j in product(subsets(len(row)), subsets(len(row[0]))):
        if (set(i) <= rows and set(j) <= columns) or not can_answer(transpose(column), i, j):
            continue
        if can_answer(row, j, i):
            rows |= set(i)
            columns |= set(j)
    return rows, columns


def random_table(rng, rows, columns, high):
    return tuple(tuple(rng.randint(0, high) for _ in range(columns)) for _ in range(rows))


def solved(row, column):
    return equilibrium_actions(row, column, "row"), equilibrium_actions(row, column, "column")


@st.composite
def tables(draw, high=4):
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    table = st.lists(
        st.lists(st.integers(-high, high), min_size=columns, max_size=columns), min_size=rows, max_size=rows
    )
    return tuple(map(tuple, draw(table))), tuple(map(tuple, draw(table)))


@pytest.mark.parametrize(
    ("rows", "columns", "high", "games"),
    [
        (2, 2, 2, 1200),
        (2, 3, 2, 500),
        (3, 2, 2, 500),
        (3, 3, 1, 400),
        (3, 3, 2, 800),
        (1, 3, 2, 50),
        (2, 4, 2, 200),
        (4, 4, 1, 40),
    ],
)
def test_equilibrium_actions_are_those_of_brute_force_on_small_integer_games(rows, columns, high, games):
    rng = stream(3, "brute force", rows, columns, high)
    for _ in range(games):
        row, column = random_table(rng, rows, columns, high), random_table(rng, rows, columns, high)
        assert solved(row, column) == brute_force(row, column), (row, column)


def test_equilibrium_actions_are_those_of_brute_force_on_every_two_by_two_game_of_zeros_and_ones():
    tables_of_bits = [((a, b), (c, d)) for a, b, c, d in product((0, 1), repeat=4)]
    for row, column in product(tables_of_bits, repeat=2):
        assert solved(row, column) == brute_force(row, column)


def test_support_enumeration_alone_misses_equilibria_of_the_weakly_dominated_game():
    row, column = CLASSIC["weakly_dominated"]
    enumerated = list(nashpy.Game(numpy.array(row), numpy.array(column)).support_enumeration())
    assert [tuple(mix) for mix in enumerated[0]] == [(0, 0, 1), (1, 0)]
    assert len(enumerated) == 1
    assert [(equilibrium.row, equilibrium.column) for equilibrium in extreme_equilibria(row, column)] == [
        ((0, 0, 1), (1, 0)),
        ((0, Fraction(3, 4), Fraction(1, 4)), (1, 0)),
    ]
    assert equilibrium_actions(row, column, "row") == {1, 2}


@given(tables())
def test_nobody_can_improve_on_an_equilibrium(game):
    row, column = game
    for equilibrium in extreme_equilibria(row, column):
        assert sum(equilibrium.row) == sum(equilibrium.column) == 1
        for values, mix in [
            (expected_payoffs(row, equilibrium.column), equilibrium.row),
            (expected_payoffs(transpose(column), equilibrium.row), equilibrium.column),
        ]:
            assert all(share >= 0 for share in mix)
            assert all(value == max(values) for value, share in zip(values, mix, strict=True) if share > 0)


@given(tables())
def test_every_game_has_an_equilibrium(game):
    assert extreme_equilibria(*game)


@given(tables())
def test_a_pure_equilibrium_is_an_extreme_one(game):
    pure = {
        (equilibrium.row.index(1), equilibrium.column.index(1))
        for equilibrium in extreme_equilibria(*game)
        if max(equilibrium.row) == max(equilibrium.column) == 1
    }
    assert pure == set(pure_equilibria(*game))


@given(tables(), st.tuples(st.integers(1, 9), st.integers(1, 9)), st.tuples(st.integers(-9, 9), st.integers(-9, 9)))
def test_positive_affine_maps_of_each_player_keep_the_equilibria(game, scales, shifts):
    moved = [
        tuple(tuple(scale * value + shift for value in line) for line in table)
        for table, scale, shift in zip(game, scales, shifts, strict=True)
    ]
    assert extreme_equilibria(*moved) == extreme_equilibria(*game)
    assert [normalise(table) for table in moved] == [normalise(table) for table in game]


@given(tables(), st.data())
def test_a_permutation_of_actions_permutes_the_equilibria(game, data):
    rows = data.draw(st.permutations(range(len(game[0]))))
    columns = data.draw(st.permutations(range(len(game[0][0]))))
    moved = [tuple(tuple(table[i][j] for j in columns) for i in rows) for table in game]
    assert {(tuple(e.row), tuple(e.column)) for e in extreme_equilibria(*moved)} == {
        (tuple(e.row[i] for i in rows), tuple(e.column[j] for j in columns)) for e in extreme_equilibria(*game)
    }


@given(tables())
def test_exchanging_the_players_exchanges_their_equilibrium_actions(game):
    row, column = game
    assert solved(transpose(column), transpose(row)) == solved(row, column)[::-1]


@given(tables())
def test_a_dominance_solvable_game_has_one_equilibrium_and_it_is_pure(game):
    if is_dominance_solvable(*game):
        (equilibrium,) = extreme_equilibria(*game)
        assert max(equilibrium.row) == max(equilibrium.column) == 1


def test_a_game_of_pure_conflict_is_played_at_random():
    (equilibrium,) = extreme_equilibria(*MATCHING_PENNIES)
    assert equilibrium.row == equilibrium.column == (Fraction(1, 2), Fraction(1, 2))
    assert pure_equilibria(*MATCHING_PENNIES) == ()


def test_where_nothing_matters_every_action_is_an_equilibrium_action():
    nothing = ((0,) * 5,) * 4
    assert solved(nothing, nothing) == (set(range(4)), set(range(5)))


def test_the_sign_flip_of_the_reference_changes_the_equilibria():
    row, column = CLASSIC["iterated_dominance"]
    flipped = [tuple(tuple(-value for value in line) for line in table) for table in (row, column)]
    assert solved(row, column) == ({1}, {1})
    assert solved(*flipped) == ({1, 2}, {0, 2})


@pytest.mark.parametrize(
    ("name", "rows", "columns", "num_extreme"),
    [
        ("prisoners_dilemma", {1}, {1}, 1),
        ("battle_of_the_sexes", {0, 1}, {0, 1}, 3),
        ("chicken", {0, 1}, {0, 1}, 3),
        ("stag_hunt", {0, 1}, {0, 1}, 3),
        ("radio_station", {0, 1}, {0, 1}, 3),
        ("iterated_dominance", {1}, {1}, 1),
        ("duopoly", {2}, {2}, 1),
        ("three_by_four", {1}, {0}, 1),
        ("weakly_dominated", {1, 2}, {0}, 2),
    ],
)
def test_the_classic_games_have_the_equilibria_of_the_textbook(name, rows, columns, num_extreme):
    assert solved(*CLASSIC[name]) == (rows, columns)
    assert len(extreme_equilibria(*CLASSIC[name])) == num_extreme


def test_rational_payoffs_become_small_integers():
    assert normalise([[Fraction(1, 10), Fraction(3, 10)], [Fraction(1, 2), Fraction(1, 10)]]) == ((0, 1), (2, 0))
    assert normalise([[7, 7], [7, 7]]) == ((0, 0), (0, 0))

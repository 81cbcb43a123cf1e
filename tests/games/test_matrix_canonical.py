"""The canonical form: equal for matrices that differ by the order of lines, different for all others."""

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.matrix_canonical import canonical_form


@st.composite
def matrices(draw, max_side=4, max_entry=1):
    rows, columns = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    line = st.lists(st.integers(0, max_entry), min_size=columns, max_size=columns)
    return draw(st.lists(line, min_size=rows, max_size=rows))


def permuted(matrix, rows, columns):
    return [[matrix[i][j] for j in columns] for i in rows]


def form(matrix):
    return canonical_form(matrix, [0] * len(matrix), [0] * len(matrix[0]))


def smallest(matrix):
    """The same, by looking at every order of the columns."""
    return min(
        tuple(sorted(tuple(row[j] for j in order) for row in matrix)) for order in permutations(range(len(matrix[0])))
    )


@given(matrices(max_side=6, max_entry=2), st.data())
def test_the_order_of_rows_and_columns_does_not_matter(matrix, data):
    rows, columns = (data.draw(st.permutations(range(size))) for size in (len(matrix), len(matrix[0])))
    assert form(permuted(matrix, rows, columns)) == form(matrix)


@given(matrices(), matrices())
def test_two_matrices_have_one_form_exactly_when_brute_force_says_so(first, second):
    same_shape = (len(first), len(first[0])) == (len(second), len(second[0]))
    assert (form(first) == form(second)) == (same_shape and smallest(first) == smallest(second))


@given(matrices())
def test_one_changed_entry_is_seen(matrix):
    changed = [list(row) for row in matrix]
    changed[0][0] = 7
    assert form(changed) != form(matrix)


def test_equal_patterns_of_different_values_differ():
    assert form([[0, 1], [1, 0]]) != form([[0, 2], [2, 0]])


def test_lines_trade_places_within_their_colour_only():
    matrix = [[1, 2], [3, 4]]
    assert canonical_form(matrix, "aa", "xy") == canonical_form(permuted(matrix, (0, 1), (1, 0)), "aa", "yx")
    assert canonical_form(matrix, "aa", "xy") != canonical_form(matrix, "aa", "yx")
    assert canonical_form(matrix, "ab", "xx") != canonical_form(matrix, "ba", "xx")
    assert canonical_form(matrix, "aa", "xx") != canonical_form(matrix, "bb", "xx")


# Refinement tells nothing apart in these: without the symmetries, 12! orders would have to be looked at.
SYMMETRIC = {
    "all equal": [[0] * 12] * 12,
    "one on the diagonal": [[int(i == j) for j in range(12)] for i in range(12)],
    "a circle": [[(i - j) % 12 for j in range(12)] for i in range(12)],
    "blocks": [[int(i // 3 == j // 3) for j in range(12)] for i in range(12)],
    "two circles": [[int(i // 6 == j // 6 and (i - j) % 6 in (0, 1)) for j in range(12)] for i in range(12)],
    "a plane of seven points": [[int((j - i) % 7 in (0, 1, 3)) for j in range(7)] for i in range(7)],
}


@pytest.mark.parametrize("name", SYMMETRIC)
@given(data=st.data())
def test_symmetric_matrices_have_one_form_too(name, data):
    matrix = SYMMETRIC[name]
    rows, columns = (data.draw(st.permutations(range(size))) for size in (len(matrix), len(matrix[0])))
    assert form(permuted(matrix, rows, columns)) == form(matrix)


def test_circles_of_different_lengths_differ():
    """Every row and column holds two ones in both: refinement alone cannot tell them apart."""
    three = [[int(i // 4 == j // 4 and (i - j) % 4 in (0, 1)) for j in range(12)] for i in range(12)]
    assert form(three) != form(SYMMETRIC["two circles"])

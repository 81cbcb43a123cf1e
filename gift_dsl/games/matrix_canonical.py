"""The canonical form of a coloured matrix under permutations of its rows and of its columns.

Two matrices have the same form exactly when a permutation of rows and one of columns (that keep the colours) turn one
into the other. Columns are told apart by refinement; where refinement stops, each column of the first undecided class
is singled out in turn and the smallest result counts. Two branches that end in the same matrix are images of each
other under a symmetry, so the second is left at once: highly symmetric matrices stay cheap (McKay's idea, 1981).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

Colours = tuple[int, ...]
Form = tuple[Any, ...]
"""Hashable; its text is the same in every process."""


def canonical_form(matrix: Sequence[Sequence[Any]], rows: Sequence[Any], columns: Sequence[Any]) -> Form:
    """A value that is equal for two matrices exactly when they are the same up to the order of rows and columns.

    Args:
        matrix: entries of one sortable, hashable type.
        rows: a colour for each row, of one such type; rows trade places within a colour only.
        columns: the same for each column.
    """
    return _canonical_form(tuple(tuple(row) for row in matrix), tuple(rows), tuple(columns))


@lru_cache(maxsize=4096)
def _canonical_form(matrix: tuple[tuple[Any, ...], ...], rows: tuple[Any, ...], columns: tuple[Any, ...]) -> Form:
    values = sorted({value for row in matrix for value in row})
    places = {value: place for place, value in enumerate(values)}
    search = _Search(tuple(tuple(places[value] for value in row) for row in matrix), _ranks(rows), _ranks(columns))
    search.descend(search.columns, ())
    # The order of ranks inside, the values themselves outside: two matrices with equal ranks may differ in these.
    return (tuple(values), tuple(sorted(rows)), tuple(sorted(columns)), min(search.paths))


class _Search:
    """A depth-first walk over orders of the columns."""

    def __init__(self, matrix: tuple[tuple[int, ...], ...], rows: Colours, columns: Colours) -> None:
        self.matrix = matrix
        self.rows = rows
        self.columns = columns
        self.paths: dict[Form, tuple[int, ...]] = {}

    def descend(self, colours: Colours, path: tuple[int, ...]) -> int:
        """Visit all column orders that begin with `path` singled out.

        Returns:
            The length of the path from which the walk goes on: shorter than `path` when a symmetry was found there.
        """
        colours = self._refine(colours)
        undecided = sorted(colour for colour in set(colours) if colours.count(colour) > 1)
        if not undecided:
            return self._finish(colours, path)
        for column, colour in enumerate(colours):
            if colour != undecided[0]:
                continue
            singled = tuple(2 * c + (c == colour and k != column) for k, c in enumerate(colours))
            back = self.descend(_ranks(singled), (*path, column))
            if back < len(path):
                return back
        return len(path)

    def _finish(self, colours: Colours, path: tuple[int, ...]) -> int:
        order = sorted(range(len(colours)), key=colours.__getitem__)
        body = sorted((self.rows[i], tuple(row[k] for k in order)) for i, row in enumerate(self.matrix))
        form = (tuple(self.columns[k] for k in order), *body)
        seen = self.paths.setdefault(form, path)
        return next((depth for depth, (a, b) in enumerate(zip(seen, path, strict=False)) if a != b), len(path))

    def _refine(self, colours: Colours) -> Colours:
        """The coarsest finer colouring in which columns of a class meet each class of rows alike."""
        by_column = tuple(zip(*self.matrix, strict=True))
        while True:
            rows = _signed(self.rows, self.matrix, colours)
            finer = _signed(colours, by_column, rows)
            if max(finer) == max(colours):
                return finer
            colours = finer


def _signed(colours: Colours, lines: tuple[tuple[int, ...], ...], across: Colours) -> Colours:
    """Colours of lines, told apart further by what they hold in each class of the lines across."""
    return _ranks(
        [(colour, tuple(sorted(zip(across, line, strict=True)))) for colour, line in zip(colours, lines, strict=True)]
    )


def _ranks(values: Sequence[Any]) -> Colours:
    """Each value's place among the distinct values, from 0."""
    places = {value: place for place, value in enumerate(sorted(set(values)))}
    return tuple(places[value] for value in values)

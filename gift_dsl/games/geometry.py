"""The shape of an m,n,k board: cells, columns, lines and symmetries, computed once a shape and shared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Final

EMPTY: Final = "."
MARKS: Final = ("X", "O")
_DIRECTIONS: Final = ((0, 1), (1, 0), (1, 1), (1, -1))
# Above this size a number says little about where a cell is; "row,column" does.
NUMBERED_CELLS: Final = 25


@dataclass(frozen=True, slots=True)
class Geometry:
    """A board without stones. Cells are numbered row by row from 0, the top left one first.

    Attributes:
        rays: for each cell and each of the four directions, the cells that follow on its two sides, nearest first.
        windows: every line of `connect` cells.
        symmetries: permutations that map lines to lines (and columns to columns under gravity), identity first:
            the board after one holds at place i what stood at place `permutation[i]`.
        cell_of: canonical action text to cell; empty under gravity.
        columns: canonical action text to a column's cells, lowest first; empty without gravity.
    """

    height: int
    width: int
    connect: int
    gravity: bool
    rays: tuple[tuple[tuple[tuple[int, ...], tuple[int, ...]], ...], ...] = field(compare=False, repr=False)
    windows: tuple[tuple[int, ...], ...] = field(compare=False, repr=False)
    symmetries: tuple[tuple[int, ...], ...] = field(compare=False, repr=False)
    cell_of: Mapping[str, int] = field(compare=False, repr=False)
    columns: Mapping[str, tuple[int, ...]] = field(compare=False, repr=False)

    @property
    def empty_board(self) -> str:
        """The cells of a board without stones."""
        return EMPTY * (self.height * self.width)

    def canonical(self, cells: str) -> str:
        """The least of a position's images under the symmetries of the board."""
        return min("".join([cells[source] for source in permutation]) for permutation in self.symmetries)

    def legal_actions(self, cells: str) -> tuple[str, ...]:
        """The canonical texts of all actions on a board on which nobody has won."""
        return _legal_actions(self, cells)

    def rows(self, cells: str) -> tuple[tuple[str, ...], ...]:
        """A board from the top, row by row."""
        return tuple(zip(*[iter(cells)] * self.width, strict=True))

    def target(self, cells: str, action: str) -> int | None:
        """The cell that a stone comes to lie on, or None where the action is not legal."""
        if self.gravity:
            column = self.columns.get(action, ())
            return next((cell for cell in column if cells[cell] == EMPTY), None)
        cell = self.cell_of.get(action)
        return None if cell is None or cells[cell] != EMPTY else cell

    def action_text(self, cell: int) -> str:
        """The canonical text of the action that puts a stone on `cell`."""
        row, column = divmod(cell, self.width)
        if self.gravity:
            return str(column + 1)
        return str(cell + 1) if self.height * self.width <= NUMBERED_CELLS else f"{row + 1},{column + 1}"

    def completes_line(self, cells: str, cell: int) -> bool:
        """Whether the stone on `cell` stands in a line of at least `connect` stones of its mark."""
        mark = cells[cell]
        if cells.count(mark) < self.connect:
            return False
        for forward, backward in self.rays[cell]:
            count = 1
            for side in (forward, backward):
                for other in side:
                    if cells[other] != mark:
                        break
                    count += 1
            if count >= self.connect:
                return True
        return False


# An observation and the table both ask for the same, and the members of a group meet the same first positions.
@lru_cache(maxsize=4096)
def _legal_actions(shape: Geometry, cells: str) -> tuple[str, ...]:
    if shape.gravity:
        return tuple([action for action, column in shape.columns.items() if cells[column[-1]] == EMPTY])
    return tuple([action for action, mark in zip(shape.cell_of, cells, strict=True) if mark == EMPTY])


@lru_cache(maxsize=64)
def make_geometry(height: int, width: int, connect: int, gravity: bool) -> Geometry:
    """The geometry of one shape. Equal shapes share one object."""
    shape = Geometry(height, width, connect, gravity, (), (), (), MappingProxyType({}), MappingProxyType({}))
    cells = range(height * width)
    columns = {
        str(column + 1): tuple(row * width + column for row in reversed(range(height))) for column in range(width)
    }
    return Geometry(
        height,
        width,
        connect,
        gravity,
        rays=tuple(tuple(_sides(shape, cell, direction) for direction in _DIRECTIONS) for cell in cells),
        windows=tuple(_windows(shape)),
        symmetries=_symmetries(shape),
        cell_of=MappingProxyType({} if gravity else {shape.action_text(cell): cell for cell in cells}),
        columns=MappingProxyType(columns if gravity else {}),
    )


def _ray(shape: Geometry, cell: int, step: tuple[int, int], length: int) -> tuple[int, ...]:
    """Up to `length` cells that follow `cell` in a direction, without `cell`; fewer at the edge."""
    row, column = divmod(cell, shape.width)
    places = ((row + i * step[0], column + i * step[1]) for i in range(1, length + 1))
    return tuple(r * shape.width + c for r, c in places if 0 <= r < shape.height and 0 <= c < shape.width)


def _sides(shape: Geometry, cell: int, step: tuple[int, int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    length = shape.connect - 1
    return _ray(shape, cell, step, length), _ray(shape, cell, (-step[0], -step[1]), length)


def _windows(shape: Geometry) -> Iterator[tuple[int, ...]]:
    for cell in range(shape.height * shape.width):
        for step in _DIRECTIONS:
            rest = _ray(shape, cell, step, shape.connect - 1)
            if len(rest) == shape.connect - 1:
                yield (cell, *rest)


def _symmetries(shape: Geometry) -> tuple[tuple[int, ...], ...]:
    """The mirror image under gravity, else 4 symmetries of a rectangle or 8 of a square, identity first."""
    h, w = shape.height, shape.width
    grid = [list(range(row * w, row * w + w)) for row in range(h)]
    mirrored = [row[::-1] for row in grid]
    images = [grid, mirrored]
    if not shape.gravity:
        images += [grid[::-1], mirrored[::-1]]
        if h == w:
            images += [[list(column) for column in zip(*image, strict=True)] for image in images]
    # One row or one column makes some of them equal; dict keeps the order.
    return tuple(dict.fromkeys(tuple(cell for row in image for cell in row) for image in images))

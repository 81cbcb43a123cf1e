"""Perfect play on small boards, alpha-beta with a depth on larger ones.

Scores are integers from the view of the player to move. A win with n cells still free is `_WIN + n`, so the sooner
win and the later loss score higher; everything that is not decided within the depth scores below `_WIN` in size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from gift_dsl.games.board_rules import BoardState
from gift_dsl.games.game import Action
from gift_dsl.games.geometry import EMPTY, MARKS, Geometry

EXACT_CELLS: Final = 9
"""Boards of at most this many cells are solved exactly."""

_WIN: Final = 1_000_000_000
# On boards that are too wide to look at every reply, only the most pressing ones are searched.
_NUM_CANDIDATES: Final = 10
_SEARCHED_WHOLE: Final = 16
_SEARCHED_DEEP: Final = 49


def best_actions(state: BoardState, depth: int | None = None) -> tuple[Action, ...]:
    """All best actions of the player to move, in order of the board.

    Args:
        state: a position that is not terminal.
        depth: plies to look ahead, at least 1. None solves boards of at most `EXACT_CELLS` cells exactly and looks
            `default_depth` plies ahead on others.

    Returns:
        The actions that attain the value of the position; among wins the soonest, among losses the latest. With a
        depth, the actions of the best search value; on boards without gravity of more than 16 cells only the 10
        cells that matter most to either side are searched at each ply.

    Raises:
        ValueError: the game is over, or `depth` is less than 1.
    """
    if state.is_terminal:
        raise ValueError("the game is over: there is no action to choose")
    if depth is not None and depth < 1:
        raise ValueError(f"`depth` is {depth}; the search looks at least 1 ply ahead")
    if depth is None and len(state.cells) <= EXACT_CELLS:
        return _exact_actions(state)
    return _searched_actions(state, depth or default_depth(state.geometry))


def default_depth(geometry: Geometry) -> int:
    """Plies that pure Python looks ahead within a fraction of a second: 4, on large boards 2."""
    return 4 if geometry.gravity or geometry.height * geometry.width <= _SEARCHED_DEEP else 2


def value(state: BoardState) -> int:
    """The value of a position for X under perfect play: 1 X wins, 0 draw, -1 O wins.

    Raises:
        ValueError: the board has more than `EXACT_CELLS` cells.
    """
    if len(state.cells) > EXACT_CELLS:
        raise ValueError(f"a board of {len(state.cells)} cells is not solved exactly, only of {EXACT_CELLS} or fewer")
    if state.is_terminal:
        return 0 if state.winner is None else 1 - 2 * state.winner
    score = _exact_score(state.geometry, state.geometry.canonical(state.cells), state.current_player)
    return (score > 0) - (score < 0) if state.current_player == 0 else (score < 0) - (score > 0)


def _place(cells: str, cell: int, player: int) -> str:
    return cells[:cell] + MARKS[player] + cells[cell + 1 :]


@lru_cache(maxsize=65_536)
def _exact_score(geometry: Geometry, cells: str, player: int) -> int:
    """Score of a canonical position that is not decided, for the player to move."""
    return max(_exact_action_score(geometry, cells, player, action) for action in geometry.legal_actions(cells))


def _exact_action_score(geometry: Geometry, cells: str, player: int, action: Action) -> int:
    target = geometry.target(cells, action)
    assert target is not None
    following = _place(cells, target, player)
    if geometry.completes_line(following, target):
        return _WIN + following.count(EMPTY)
    if EMPTY not in following:
        return 0
    return -_exact_score(geometry, geometry.canonical(following), 1 - player)


@lru_cache(maxsize=16_384)
def _exact_actions(state: BoardState) -> tuple[Action, ...]:
    scores = {
        action: _exact_action_score(state.geometry, state.cells, state.current_player, action)
        for action in state.legal_actions()
    }
    return tuple(action for action, score in scores.items() if score == max(scores.values()))


@lru_cache(maxsize=64)
def _windows_of(geometry: Geometry) -> tuple[tuple[int, ...], ...]:
    """For each cell, the indices of the windows that hold it."""
    through: list[list[int]] = [[] for _ in geometry.empty_board]
    for index, window in enumerate(geometry.windows):
        for cell in window:
            through[cell].append(index)
    return tuple(tuple(indices) for indices in through)


@lru_cache(maxsize=64)
def _centre_first(geometry: Geometry) -> tuple[int, ...]:
    """For each cell, its place in the order from the centre outwards; ties in order of the board."""
    middle_row, middle_column = geometry.height - 1, geometry.width - 1

    def distance(cell: int) -> int:
        row, column = divmod(cell, geometry.width)
        return (2 * row - middle_row) ** 2 + (2 * column - middle_column) ** 2

    order = sorted(range(geometry.height * geometry.width), key=distance)
    return tuple(place for _cell, place in sorted(zip(order, range(len(order)), strict=True)))


@dataclass(slots=True)
class _Search:
    """One alpha-beta search: the only mutable board of the package; it lives as long as one call.

    Attributes:
        counts: for each window the stones of X and of O in it.
        potential: of X less that of O: the weights of the windows that hold stones of one side only.
    """

    geometry: Geometry
    cells: list[str]
    counts: tuple[list[int], list[int]] = field(init=False)
    potential: int = 0
    num_free: int = 0

    def __post_init__(self) -> None:
        stones, self.cells = self.cells, [EMPTY] * len(self.cells)
        self.counts = ([0] * len(self.geometry.windows), [0] * len(self.geometry.windows))
        self.num_free = len(self.cells)
        for cell, mark in enumerate(stones):
            if mark != EMPTY:
                self.put(cell, MARKS.index(mark))

    def put(self, cell: int, player: int) -> bool:
        """Put a stone; whether it completes a line."""
        own, other = self.counts[player], self.counts[1 - player]
        gain, won = 0, False
        for window in _windows_of(self.geometry)[cell]:
            stones = own[window]
            own[window] = stones + 1
            won = won or stones + 1 == self.geometry.connect
            if not other[window]:
                gain += _weight(stones + 1) - _weight(stones)
            elif not stones:
                gain += _weight(other[window])
        self.cells[cell] = MARKS[player]
        self.num_free -= 1
        self.potential += gain if player == 0 else -gain
        return won

    def take(self, cell: int, player: int) -> None:
        """Undo `put`."""
        own, other = self.counts[player], self.counts[1 - player]
        gain = 0
        for window in _windows_of(self.geometry)[cell]:
            stones = own[window] = own[window] - 1
            if not other[window]:
                gain += _weight(stones + 1) - _weight(stones)
            elif not stones:
                gain += _weight(other[window])
        self.cells[cell] = EMPTY
        self.num_free += 1
        self.potential -= gain if player == 0 else -gain

    def pressing(self, cell: int) -> tuple[int, int]:
        """How little a cell matters to either side: minus the most stones in an open window through it, minus weights.

        So the cells that win or lose at once come before all others.
        """
        first, second = self.counts
        most, total = 0, 0
        for window in _windows_of(self.geometry)[cell]:
            if not first[window] or not second[window]:
                stones = first[window] + second[window]
                most = max(most, stones)
                total += _weight(stones + 1)
        return -most, -total

    def candidates(self) -> Sequence[int]:
        """The cells to search, the most pressing first, centre first among equals."""
        if self.geometry.gravity:
            columns = self.geometry.columns.values()
            free = [cell for column in columns for cell in column if self.cells[cell] == EMPTY and self._rests(cell)]
        else:
            free = [cell for cell, mark in enumerate(self.cells) if mark == EMPTY]
        place = _centre_first(self.geometry)
        free.sort(key=lambda cell: (self.pressing(cell), place[cell]))
        whole = self.geometry.gravity or len(self.cells) <= _SEARCHED_WHOLE
        return free if whole else free[:_NUM_CANDIDATES]

    def _rests(self, cell: int) -> bool:
        below = cell + self.geometry.width
        return below >= len(self.cells) or self.cells[below] != EMPTY

    def score(self, cell: int, player: int, depth: int, window: tuple[int, int]) -> int:
        """Score of putting a stone for the player who puts it, exact inside the open interval `window`."""
        won = self.put(cell, player)
        if won:
            result = _WIN + self.num_free
        elif not self.num_free:
            result = 0
        elif depth == 1:
            result = self.potential if player == 0 else -self.potential
        else:
            result = -self._best_score(1 - player, depth - 1, (-window[1], -window[0]))
        self.take(cell, player)
        return result

    def _best_score(self, player: int, depth: int, window: tuple[int, int]) -> int:
        low, high = window
        best = -2 * _WIN
        for cell in self.candidates():
            best = max(best, self.score(cell, player, depth, (low, high)))
            low = max(low, best)
            if low >= high:
                break
        return best


@lru_cache(maxsize=32)
def _weight(stones: int) -> int:
    """What a window with so many stones of one side and none of the other is worth to it.

    Bounded, so that no sum over the windows of a board comes near a win.
    """
    return 4 ** min(stones - 1, 6) if stones else 0


def _searched_actions(state: BoardState, depth: int) -> tuple[Action, ...]:
    search = _Search(state.geometry, list(state.cells))
    best, chosen = -2 * _WIN, list[int]()
    for cell in search.candidates():
        # One below the best: a score that ties with it is still exact.
        score = search.score(cell, state.current_player, depth, (best - 1, 2 * _WIN))
        if score > best:
            best, chosen = score, [cell]
        elif score == best:
            chosen.append(cell)
    return tuple(state.geometry.action_text(cell) for cell in sorted(chosen))

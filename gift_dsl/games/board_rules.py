"""The rules of m,n,k games with optional gravity, as frozen states; X moves first."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from gift_dsl.games.board import BoardParams, facts
from gift_dsl.games.game import Action, GameFacts, Outcome, State
from gift_dsl.games.geometry import EMPTY, MARKS, Geometry, make_geometry

# Beyond this many boards for one stone of the opening the number of classes is left unknown: no split needs it exactly.
_COUNTED_BOARDS: Final = 5_000


@dataclass(frozen=True, slots=True)
class BoardObservation:
    """Everything: information is perfect.

    Action texts are columns "1", "2", … under gravity; else cell numbers, row by row from "1", on boards of at most
    25 cells, and "row,column", both from 1, on larger ones.

    Attributes:
        name: what the prompt calls the game.
        cells: rows from the top, each a tuple of "." "X" "O".
        connect: so many stones in a line win.
        mark: the mark of the player who looks.
        legal: what this player may do now; empty when another one acts or the game is over.
        last_action: the action before; None on the first turn after the opening.
        win_text: the prompt states the win condition.
    """

    name: str
    cells: tuple[tuple[str, ...], ...]
    height: int
    width: int
    connect: int
    gravity: bool
    mark: str
    opponent_mark: str
    legal: tuple[Action, ...]
    last_action: Action | None
    win_text: bool


@dataclass(frozen=True, slots=True)
class BoardState:
    """A position; `cells` is one text of "." "X" "O", row by row from the top."""

    geometry: Geometry
    cells: str
    current_player: int = 0
    winner: int | None = None
    last_action: Action | None = None
    name: str = ""
    win_text: bool = True

    @property
    def is_terminal(self) -> bool:
        """Somebody has won or the board is full."""
        return self.current_player < 0

    def legal_actions(self) -> tuple[Action, ...]:
        """Free cells, or columns that are not full."""
        return () if self.current_player < 0 else self.geometry.legal_actions(self.cells)

    def apply(self, action: Action) -> BoardState:
        """The position after the current player puts a stone."""
        target = self.geometry.target(self.cells, action) if self.current_player >= 0 else None
        if target is None:
            raise ValueError(f"illegal action {action!r}; legal: {self.legal_actions()}")
        player = self.current_player
        cells = self.cells[:target] + MARKS[player] + self.cells[target + 1 :]
        won = self.geometry.completes_line(cells, target)
        following = -1 if won or EMPTY not in cells else 1 - player
        return BoardState(self.geometry, cells, following, player if won else None, action, self.name, self.win_text)

    def observation(self, player: int) -> BoardObservation:
        """The whole position, with the marks as `player` sees them."""
        return _observation(self, player)

    def outcome(self) -> tuple[Outcome, ...]:
        """A win and a loss, or two draws."""
        if not self.is_terminal:
            raise ValueError(f"the game is not over; to move: {MARKS[self.current_player]}")
        if self.winner is None:
            return ("draw", "draw")
        return ("win", "loss") if self.winner == 0 else ("loss", "win")


# Members of a group see the same first positions, and a small board has few positions at all.
@lru_cache(maxsize=16_384)
def _observation(state: BoardState, player: int) -> BoardObservation:
    geometry = state.geometry
    return BoardObservation(
        name=state.name,
        cells=geometry.rows(state.cells),
        height=geometry.height,
        width=geometry.width,
        connect=geometry.connect,
        gravity=geometry.gravity,
        mark=MARKS[player],
        opponent_mark=MARKS[1 - player],
        legal=state.legal_actions() if player == state.current_player else (),
        last_action=state.last_action,
        win_text=state.win_text,
    )


@dataclass(frozen=True, slots=True)
class BoardGame:
    """A board game with its parameters bound."""

    params: BoardParams

    @property
    def facts(self) -> GameFacts:
        """What follows from the parameters."""
        return facts(self.params)

    def start(self, rng: random.Random) -> BoardState:
        """The empty board, or a balanced opening; whether the win condition is stated is drawn here too."""
        params = self.params
        stated = params.win_text == "always" or (params.win_text == "random" and rng.random() < 0.5)
        state = BoardState(_geometry(params), _geometry(params).empty_board, name=params.name, win_text=stated)
        if params.openings == "empty":
            return state
        return replace(_draw_opening(state, rng.randint(0, params.opening_rounds), rng), last_action=None)

    def role(self, state: State, player: int) -> str:
        """No roles."""
        return ""

    def instance_key(self, state: State) -> str:
        """The board up to its symmetries and the side to move; wording does not count."""
        assert isinstance(state, BoardState)
        g = state.geometry
        shape = f"{g.height}x{g.width}x{g.connect}{'g' if g.gravity else ''}"
        return f"{shape}:{g.canonical(state.cells)}:{MARKS[state.current_player]}"


def _geometry(params: BoardParams) -> Geometry:
    return make_geometry(params.height, params.width, params.connect, params.gravity)


def _quiet_actions(state: BoardState) -> list[Action]:
    """The actions that leave the game open."""
    return [action for action in state.legal_actions() if not state.apply(action).is_terminal]


def _draw_opening(state: BoardState, num_rounds: int, rng: random.Random) -> BoardState:
    """`num_rounds` rounds of one random stone a side; fewer where each next stone would end the game.

    Stones are drawn uniformly among those that leave the game open. No order of the same stones can end it, so
    without gravity every winner-free board of equally many stones is reached.
    """
    for _ in range(num_rounds):
        after_round = state
        for _side in MARKS:
            actions = _quiet_actions(after_round)
            if not actions:
                return state
            after_round = after_round.apply(rng.choice(actions))
        state = after_round
    return state


def count_opening_classes(params: BoardParams) -> int | None:
    """Number of distinct openings up to symmetry, the empty board included; None where counting would take long."""
    if params.openings == "empty":
        return 1
    geometry = _geometry(params)
    classes = {geometry.empty_board: BoardState(geometry, geometry.empty_board)}
    found = set(classes)
    for _ in range(params.opening_rounds):
        for _side in MARKS:
            if len(classes) * len(geometry.legal_actions(geometry.empty_board)) > _COUNTED_BOARDS:
                return None
            boards = (state.apply(action) for state in classes.values() for action in _quiet_actions(state))
            classes = {geometry.canonical(board.cells): board for board in boards}
        found |= set(classes)
    return len(found)

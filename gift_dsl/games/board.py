"""m,n,k games with optional gravity: TicTacToe, Connect Four and Gomoku are parameters of one rule."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows
from gift_dsl.games.geometry import NUMBERED_CELLS


@dataclass(frozen=True, slots=True)
class BoardParams:
    """Parameters of `board`."""

    height: Annotated[int, Ge(1), Le(19), Doc("Number of rows.")] = 3
    width: Annotated[int, Ge(1), Le(19), Doc("Number of columns.")] = 3
    connect: Annotated[int, Ge(2), Le(19), Doc("Stones in a row, column or diagonal that win; more win too.")] = 3
    gravity: Annotated[bool, Doc("Stones fall to the lowest free cell of a column; an action is then a column.")] = (
        False
    )
    openings: Annotated[
        Literal["empty", "balanced"],
        Doc("`empty` board, or `balanced`: equally many random stones of both sides, nobody having won."),
    ] = "empty"
    opening_rounds: Annotated[
        int,
        Ge(0),
        Le(20),
        Doc("With balanced openings: 0 to this many rounds of one random stone a side are drawn."),
    ] = 1
    win_text: Annotated[
        Literal["always", "never", "random"],
        Doc("Whether the prompt states the win condition; drawn once a group."),
    ] = "always"
    title: Annotated[
        str | None, MinLen(1), Doc("What the prompt calls the game; made from the numbers when left out.")
    ] = None

    @property
    def name(self) -> str:
        """The title, or the numbers that define the game."""
        gravity = " with gravity" if self.gravity else ""
        return self.title or f"Connect {self.connect} on a {self.height} x {self.width} board{gravity}"


def check(params: BoardParams) -> str | None:
    """The first contradiction between parameters, or None."""
    if params.connect > max(params.height, params.width):
        return f"`connect` is {params.connect}, which no line of a {params.height} x {params.width} board can hold"
    if params.openings == "balanced" and 2 * params.opening_rounds >= params.height * params.width:
        return f"`opening_rounds` is {params.opening_rounds}, which fills a {params.height} x {params.width} board"
    return None


@lru_cache(maxsize=64)
def facts(params: BoardParams) -> GameFacts:
    """Each seat can take at most half of the cells; the first seat one more on an odd board."""
    from gift_dsl.games.board_rules import count_opening_classes

    cells = params.height * params.width
    # The name, every cell, a question mark; and where cells have no numbers of their own, the actions.
    listed = 1 + params.width if params.gravity else 1 + cells if cells > NUMBERED_CELLS else 0
    return GameFacts(
        seats=2,
        max_turns=((cells + 1) // 2, cells // 2),
        graded=False,
        can_draw=True,
        zero_sum=True,
        abilities=("strategic reasoning", "spatial reasoning"),
        count_instances=partial(count_opening_classes, params),
        prompt_tokens=(160 + 6 * cells, 60 + 6 * cells),
        compact_words=(2 + cells + listed, 2 + cells + listed),
        players=("random", "first_legal", "scripted", "human", "minimax"),
    )


def build(params: BoardParams, rows: Rows) -> Game:
    """The game with its board bound; it needs no rows."""
    from gift_dsl.games.board_rules import BoardGame

    return BoardGame(params)


FAMILY: Final = Family(
    name="board",
    description="Connect k stones on an m x n board, with or without gravity (TicTacToe, Connect Four, Gomoku).",
    params=BoardParams,
    facts=facts,
    build=build,
    check=check,
)

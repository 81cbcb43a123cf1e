"""Matrix games: one simultaneous choice, judged against equilibria or a stated opponent (GIFT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import Doc

from gift_dsl.games.classic import CLASSIC
from gift_dsl.games.game import Family, Game, GameFacts, Rows

ClassicGame = Literal[
    "prisoners_dilemma",
    "battle_of_the_sexes",
    "chicken",
    "stag_hunt",
    "radio_station",
    "iterated_dominance",
    "duopoly",
    "three_by_four",
    "weakly_dominated",
]
Payoff = Annotated[float, Ge(-1_000_000), Le(1_000_000)]
PayoffRow = Annotated[tuple[Payoff, ...], MinLen(1), MaxLen(12)]
PayoffTable = Annotated[tuple[PayoffRow, ...], MinLen(1), MaxLen(12)]
Property = Literal["any", "unique_pure", "several_pure", "no_pure", "dominance_solvable"]
Asked = Literal["equilibrium", "best_response", "regret"]


@dataclass(frozen=True, slots=True)
class Bimatrix:
    """One two-player game in normal form."""

    row: Annotated[PayoffTable, Doc("Payoffs of the row player, one list a row action.")]
    column: Annotated[PayoffTable, Doc("Payoffs of the column player, in the same shape as `row`.")]


@dataclass(frozen=True, slots=True)
class RandomGames:
    """A generator of integer games with a stated property, by rejection."""

    rows: Annotated[int, Ge(2), Le(8), Doc("Number of row actions.")] = 2
    columns: Annotated[int, Ge(2), Le(8), Doc("Number of column actions.")] = 2
    low: Annotated[int, Ge(-1000), Le(1000), Doc("Smallest payoff.")] = 0
    high: Annotated[int, Ge(-1000), Le(1000), Doc("Largest payoff.")] = 9
    property: Annotated[
        Property,
        Doc(
            "What every generated game must have: `any`; exactly one equilibrium in pure actions; several; none; "
            "or one cell left after removing strictly dominated actions again and again."
        ),
    ] = "any"


@dataclass(frozen=True, slots=True)
class MatrixParams:
    """Parameters of `matrix_games`."""

    games: Annotated[
        tuple[ClassicGame, ...] | None,
        MinLen(1),
        Doc(
            "Classic games to draw from; left out, and with neither `matrices` nor `random`: all nine, less those that "
            "`question` can never ask."
        ),
    ] = None
    matrices: Annotated[dict[str, Bimatrix] | None, MinLen(1), Doc("Own games by name, any size up to 12 x 12.")] = None
    random: Annotated[
        RandomGames | None,
        Doc("Draw fresh random games; beside named ones the generator is drawn as often as one of them."),
    ] = None
    question: Annotated[
        Literal["auto", "equilibrium", "best_response", "regret"],
        Doc(
            "What is asked. `equilibrium`: an action that some Nash equilibrium plays, only where not all actions are. "
            "`best_response`: the best action against a stated mix of the opponent. `regret`: graded, "
            "1 minus the normalised loss against it. `auto`: `equilibrium` where there is exactly one and it is pure, "
            "else `best_response`."
        ),
    ] = "auto"
    permute: Annotated[
        Literal["none", "reverse", "full"],
        Doc("Order of rows and, on its own, of columns: as written, or that or its reverse, or any."),
    ] = "full"
    scales: Annotated[
        tuple[Annotated[int, Ge(1), Le(1000)], ...],
        MinLen(1),
        Doc("Positive factors; one is drawn for each player's payoffs."),
    ] = (1,)
    shifts: Annotated[
        tuple[Annotated[int, Ge(-10_000), Le(10_000)], ...],
        MinLen(1),
        Doc("Numbers of which one is drawn and added to all payoffs of both players."),
    ] = (0, 100, -100)
    labels: Annotated[Literal["numbers", "letters"], Doc("How actions are named: 1, 2, … or A, B, …")] = "numbers"


def check(params: MatrixParams) -> str | None:
    """The first contradiction between parameters, or None."""
    for name, game in (params.matrices or {}).items():
        shapes = {tuple(len(row) for row in game.row), tuple(len(row) for row in game.column)}
        if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
            return f"`matrices.{name}`: `row` and `column` must be tables of one and the same shape"
    if params.random is not None and params.random.low >= params.random.high:
        return f"`random.low` is {params.random.low}, which is not below `random.high` ({params.random.high})"
    return _check_asked(params)


def _check_asked(params: MatrixParams) -> str | None:
    if params.matrices is None and params.question != "equilibrium":
        return None  # every classic game has an action that is best against something
    from gift_dsl.games.matrix_sources import named_sources

    name = next((askable.source.name for askable in named_sources(params) if not askable.questions), None)
    if name is None:
        return None
    if params.question == "equilibrium":
        return (
            f"`{name}` cannot be asked with `question: equilibrium`: for each player, every action is part of some "
            "equilibrium; `auto` asks for a best response there"
        )
    return f"`{name}` cannot be asked: whatever the opponent does, all actions of a player pay the same"


def _count_instances(params: MatrixParams) -> int | None:
    from gift_dsl.games.matrix_sources import count_instances

    return count_instances(params)


def _shapes(params: MatrixParams) -> list[tuple[int, int]]:
    """Rows and columns of the tables that can be drawn."""
    shapes = [(len(game.row), len(game.row[0])) for game in (params.matrices or {}).values()]
    if params.random is not None:
        shapes.append((params.random.rows, params.random.columns))
    named = params.games or (() if shapes else tuple(CLASSIC))
    return shapes + [(len(CLASSIC[name][0]), len(CLASSIC[name][0][0])) for name in named]


def facts(params: MatrixParams) -> GameFacts:
    """One seat: the opponent is stated or implied, so nobody else acts."""
    shapes = _shapes(params)
    cells = max(rows * columns for rows, columns in shapes)
    # The name, the player and a colon; two payoffs a cell, a mark between rows; a question mark.
    words = 4 + sum(2 * rows * columns + rows - 1 for rows, columns in shapes) / len(shapes)
    return GameFacts(
        seats=1,
        max_turns=(1,),
        graded=params.question == "regret",
        can_draw=False,
        zero_sum=False,
        roles=("row", "column"),
        abilities=("formal reasoning", "strategic reasoning"),
        count_instances=partial(_count_instances, params),
        prompt_tokens=(150 + 12 * cells, 50 + 12 * cells),
        compact_words=(words, words),
        players=("random", "first_legal", "scripted", "human", "equilibrium", "best_response"),
    )


def build(params: MatrixParams, rows: Rows) -> Game:
    """The game of these parameters; it reads no rows."""
    from gift_dsl.games.matrix_rules import make_matrix_game

    return make_matrix_game(params, facts(params))


FAMILY: Final = Family(
    name="matrix_games",
    description="Choose an action in a two-player payoff table: equilibrium, best response or regret.",
    params=MatrixParams,
    facts=facts,
    build=build,
    check=check,
)

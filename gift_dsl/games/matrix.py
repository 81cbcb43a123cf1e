"""Matrix games: one simultaneous choice, judged against equilibria or a stated opponent (GIFT, section 3.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MaxLen, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows

CLASSIC_GAMES: Final = (
    "prisoners_dilemma",
    "battle_of_the_sexes",
    "chicken",
    "stag_hunt",
    "radio_station",
    "iterated_dominance",
    "duopoly",
    "three_by_four",
    "weakly_dominated",
)
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


@dataclass(frozen=True, slots=True)
class Bimatrix:
    """One two-player game in normal form."""

    row: Annotated[
        PayoffTable, Doc("Payoffs of the row player, one list a row action.")
    ]
    column: Annotated[
        PayoffTable, Doc("Payoffs of the column player, in the same shape as `row`.")
    ]


@dataclass(frozen=True, slots=True)
class RandomGames:
    """A generator of integer games with a stated property, by rejection."""

    rows: Annotated[int, Ge(2), Le(8), Doc("Number of row actions.")] = 2
    columns: Annotated[int, Ge(2), Le(8), Doc("Number of column actions.")] = 2
    low: Annotated[int, Ge(-1000), Le(1000), Doc("Smallest payoff.")] = 0
    high: Annotated[int, Ge(-1000), Le(1000), Doc("Largest payoff.")] = 9
    property: Annotated[
        Literal["any", "unique_pure", "several_pure", "no_pure", "dominance_solvable"],
        Doc(
            "What every generated game must have: any; one pure equilibrium; several; none; solvable by dominance."
        ),
    ] = "any"


@dataclass(frozen=True, slots=True)
class MatrixParams:
    """Parameters of `matrix_games`."""

    games: Annotated[
        tuple[ClassicGame, ...] | None,
        Doc(
            "Classic games to draw from; all nine unless `matrices` or `random` is given."
        ),
    ] = None
    matrices: Annotated[
        dict[str, Bimatrix] | None, Doc("Own games by name, any size up to 12 x 12.")
    ] = None
    random: Annotated[
        RandomGames | None,
        Doc("Draw fresh random games instead of, or beside, the named ones."),
    ] = None
    question: Annotated[
        Literal["auto", "equilibrium", "best_response", "regret"],
        Doc(
            "What is asked. `equilibrium`: an action that some Nash equilibrium plays, only where that set is proper. "
            "`best_response`: the best action against a stated mix of the opponent. `regret`: graded, "
            "1 minus the normalised loss against it. `auto`: equilibrium where there is exactly one, else best_response."
        ),
    ] = "auto"
    permute: Annotated[
        Literal["none", "reverse", "full"],
        Doc("Order of rows and columns: as written, or reversed, or any."),
    ] = "full"
    scales: Annotated[
        tuple[Annotated[int, Ge(1), Le(1000)], ...],
        MinLen(1),
        Doc("Positive factors drawn for each player's payoffs."),
    ] = (1,)
    shifts: Annotated[
        tuple[Annotated[int, Ge(-10_000), Le(10_000)], ...],
        MinLen(1),
        Doc("Numbers drawn and added to all payoffs."),
    ] = (0, 100, -100)
    labels: Annotated[
        Literal["numbers", "letters"], Doc("How actions are named: 1, 2, … or A, B, …")
    ] = "numbers"


def check(params: MatrixParams) -> str | None:
    """The first contradiction between parameters, or None."""
    for name, game in (params.matrices or {}).items():
        shapes = {
            tuple(len(row) for row in game.row),
            tuple(len(row) for row in game.column),
        }
        if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
            return f"`matrices.{name}`: `row` and `column` must be tables of one and the same shape"
    if params.random is not None and params.random.low >= params.random.high:
        return f"`random.low` is {params.random.low}, which is not below `random.high` ({params.random.high})"
    return None


def facts(params: MatrixParams) -> GameFacts:
    """One turn a seat, both at once: the seats act in order and see nothing of each other."""
    return GameFacts(
        seats=1,
        max_turns=(1,),
        graded=params.question == "regret",
        can_draw=False,
        zero_sum=False,
        roles=("row", "column"),
        abilities=("formal reasoning", "strategic reasoning"),
        prompt_tokens=(260, 120),
        players=(
            "random",
            "first_legal",
            "scripted",
            "human",
            "equilibrium",
            "best_response",
        ),
    )


def build(params: MatrixParams, rows: Rows) -> Game:
    from gift_dsl.games.matrix_rules import MatrixGame

    return MatrixGame(params)


FAMILY: Final = Family(
    name="matrix_games",
    description="Choose an action in a two-player payoff table: equilibrium, best response or regret.",
    params=MatrixParams,
    facts=facts,
    build=build,
    check=check,
)

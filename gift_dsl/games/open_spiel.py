"""Adapter for OpenSpiel games that have a text observation (extra `open_spiel`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows


@dataclass(frozen=True, slots=True)
class OpenSpielParams:
    """Parameters of `open_spiel`."""

    game: Annotated[str, MinLen(1), Doc("OpenSpiel's short name, e.g. `kuhn_poker`.")]
    seats: Annotated[int, Ge(1), Le(10), Doc("Number of players the game has with these options.")] = 2
    horizon: Annotated[
        int,
        Ge(1),
        Le(500),
        Doc("Most turns of one seat; a longer play ends as it stands."),
    ] = 30
    options: Annotated[
        dict[str, bool | int | float | str] | None,
        Doc("Parameters of the game, as OpenSpiel names them."),
    ] = None


def facts(params: OpenSpielParams) -> GameFacts:
    """What the parameters say; OpenSpiel's own rules are not read before the game is built."""
    return GameFacts(
        seats=params.seats,
        max_turns=(params.horizon,) * params.seats,
        graded=True,
        can_draw=True,
        zero_sum=False,
        # What differs between instances is not known before the package is read, so none are held out.
        count_instances=lambda: 1,
        perfect_information=False,
        abilities=("adapter: as the game",),
        prompt_tokens=(300, 150),
    )


def build(params: OpenSpielParams, rows: Rows) -> Game:
    """The game, once its package has shown that it can be made.

    Raises:
        MachineError: the package is not installed, or lacks something on this machine.
        UsageError: the package has no such game, or not with these seats or options.
    """
    from gift_dsl.games.open_spiel_rules import make_game

    return make_game(params)


FAMILY: Final = Family(
    name="open_spiel",
    description="An OpenSpiel game by its short name (needs the extra `open_spiel`).",
    params=OpenSpielParams,
    facts=facts,
    build=build,
    variables=frozenset({"legal", "text"}),
)

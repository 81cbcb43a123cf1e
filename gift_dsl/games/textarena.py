"""Adapter for TextArena environments (extra `textarena`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows


@dataclass(frozen=True, slots=True)
class TextArenaParams:
    """Parameters of `textarena`."""

    env: Annotated[str, MinLen(1), Doc("Id of the environment, e.g. `KuhnPoker-v0`.")]
    seats: Annotated[int, Ge(1), Le(15), Doc("Number of players the environment is made with.")] = 2
    horizon: Annotated[
        int,
        Ge(1),
        Le(500),
        Doc("Most turns of one seat; a longer play ends as it stands."),
    ] = 20
    options: Annotated[
        dict[str, bool | int | float | str] | None,
        Doc("Keyword arguments of the environment."),
    ] = None


def facts(params: TextArenaParams) -> GameFacts:
    """What the parameters say; the environment's own rules are not read before it is built."""
    return GameFacts(
        seats=params.seats,
        max_turns=(params.horizon,) * params.seats,
        graded=True,
        can_draw=True,
        zero_sum=False,
        # What differs between instances is not known before the package is read, so none are held out.
        count_instances=lambda: 1,
        perfect_information=False,
        actions="free_text",
        abilities=("adapter: as the environment",),
        prompt_tokens=(400, 150),
        players=("scripted", "human"),
        whole_observations=False,
    )


def build(params: TextArenaParams, rows: Rows) -> Game:
    """The game, once its package has shown that it can be made.

    Raises:
        MachineError: the package is not installed, or lacks something on this machine.
        UsageError: the package has no such game, or not with these seats or options.
    """
    from gift_dsl.games.textarena_rules import make_game

    return make_game(params)


FAMILY: Final = Family(
    name="textarena",
    description="A TextArena environment by its id (needs the extra `textarena`).",
    params=TextArenaParams,
    facts=facts,
    build=build,
)

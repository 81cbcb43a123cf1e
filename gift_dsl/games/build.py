"""From the plan's plain values to a game that can be played."""

from __future__ import annotations

from gift_dsl.games.families import get_family
from gift_dsl.games.game import Game, Rows
from gift_dsl.games.params import make_params
from gift_dsl.plan import GamePlan


def build(plan: GamePlan, rows: Rows = ()) -> Game:
    """The game of a plan.

    Args:
        plan: its family and the values of the family's parameters.
        rows: of its dataset, those of one split; empty for games without data.

    Raises:
        UsageError: the family is not installed.
        MachineError: the family needs something that this machine lacks.
    """
    family = get_family(plan.family)
    return family.build(make_params(family.params, plan.params), rows)

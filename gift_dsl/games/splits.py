"""Instances of one split: a family's canonical key decides, whatever the seed."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from gift_dsl.errors import GiftError
from gift_dsl.games.game import Game, Split, State
from gift_dsl.rng import fraction

TEST_SHARE: Final = 0.1
DEV_SHARE: Final = 0.1
MAX_DRAWS: Final = 10_000


def split_of(key: str, test_share: float = TEST_SHARE) -> Split:
    """The split of an instance key; it depends on nothing else."""
    place = fraction("split", key)
    if place < test_share:
        return "test"
    return "dev" if place < test_share + DEV_SHARE else "train"


def draw_instance(
    game: Game, rng: random.Random, split: Split | None, accepts: Callable[[State], bool] = lambda _state: True
) -> State:
    """A first state of a split, by rejection.

    Args:
        game: whose instances are drawn.
        rng: stream of this instance; further draws go on in it.
        split: None where every instance will do: the family is too small to split, or its rows were split before.
        accepts: a further condition, e.g. that the trained seat has its role.

    Raises:
        GiftError: none of 10,000 draws fits.
    """
    for _ in range(MAX_DRAWS):
        state = game.start(rng)
        if accepts(state) and (split is None or split_of(game.instance_key(state)) == split):
            return state
    wanted = f"in split `{split}`" if split else "with the wanted role"
    raise GiftError(f"{type(game).__name__}: no instance {wanted} was found in {MAX_DRAWS} draws")

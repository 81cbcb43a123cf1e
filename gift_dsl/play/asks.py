"""What a play can wait for, and what it can be answered."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from gift_dsl.play.seats import ModelPlayer
from gift_dsl.seat import Completion, Player, PlayerFault, Request, Turn


@dataclass(slots=True, eq=False)
class ModelAsk:
    """A turn that a model is asked for."""

    player: ModelPlayer
    request: Request


@dataclass(slots=True, eq=False)
class PlayerAsk:
    """A turn that a player is asked for, and how its stream is made."""

    player: Player
    turn: Turn
    draw: Callable[[], random.Random]


@dataclass(slots=True, eq=False)
class JudgeAsk:
    """A finished game whose outcome takes time to tell, and what waits for it."""

    verdict: Awaitable[object]


Ask = ModelAsk | PlayerAsk | JudgeAsk
Answer = Completion | str | PlayerFault | None
"""None answers a `JudgeAsk`."""

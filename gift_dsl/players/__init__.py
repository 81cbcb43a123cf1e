"""Seats that need no weights: random, scripted, solver, human, OpenAI-compatible servers, and pools of them.

`make_player` makes one from its plan; `pool` draws names. HTTP players share a `Network` and a `Budget`.
"""

from gift_dsl.players.make import Services, make_player

__all__ = ["Services", "make_player"]

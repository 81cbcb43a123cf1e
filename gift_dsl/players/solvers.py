"""Players that know the answer: minimax on boards, equilibria and best responses in matrix games."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import ClassVar

from gift_dsl.errors import UsageError
from gift_dsl.players.answer import tagged
from gift_dsl.seat import Turn


@dataclass(frozen=True, slots=True)
class MinimaxPlayer:
    """Plays board games by minimax, one of the best actions at random.

    Attributes:
        epsilon: probability of a uniformly random legal action instead, in [0, 1].
        depth: plies to look ahead; None: exact on small boards, `minimax.default_depth` on others.
    """

    name: str
    epsilon: float = 0.0
    depth: int | None = None
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """An action that attains the value of the position, unless it errs on purpose.

        Raises:
            UsageError: it does not sit at a board game.
        """
        from gift_dsl.games.board_rules import BoardState
        from gift_dsl.games.minimax import best_actions

        if not isinstance(turn.state, BoardState):
            raise UsageError(f"`{self.name}` plays board games only, and `{turn.game}` is none")
        errs = rng.random() < self.epsilon
        return tagged(turn.tag, rng.choice(turn.legal if errs else best_actions(turn.state, self.depth)))


@dataclass(frozen=True, slots=True)
class EquilibriumPlayer:
    """Plays its part of one Nash equilibrium of a matrix game, drawn from its mix."""

    name: str
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """An action that the equilibrium plays; where a mix of the opponent is stated it is not used.

        Raises:
            UsageError: it does not sit at a matrix game.
        """
        from gift_dsl.games.matrix_rules import MatrixState, equilibrium_mix

        if not isinstance(turn.state, MatrixState):
            raise UsageError(f"`{self.name}` plays matrix games only, and `{turn.game}` is none")
        weights = [float(share) for share in equilibrium_mix(turn.state)]
        return tagged(turn.tag, rng.choices(turn.state.own_actions, weights)[0])


@dataclass(frozen=True, slots=True)
class BestResponsePlayer:
    """Plays a best response of a matrix game: to the stated mix, or to the other part of an equilibrium."""

    name: str
    waits: bool = False
    reads_messages: ClassVar[bool] = False

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """One of the best responses at random.

        Raises:
            UsageError: it does not sit at a matrix game.
        """
        from gift_dsl.games.matrix_rules import MatrixState, best_response_actions

        if not isinstance(turn.state, MatrixState):
            raise UsageError(f"`{self.name}` plays matrix games only, and `{turn.game}` is none")
        return tagged(turn.tag, rng.choice(best_response_actions(turn.state)))

"""Names of the random streams of one step, so that every draw has its own and one episode replays alone."""

from __future__ import annotations

import random
from dataclasses import dataclass

from gift_dsl.games.game import Split
from gift_dsl.rng import stream

Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Keys:
    """What every stream of one step has in its name.

    Attributes:
        seed: of the spec, or of its evaluation.
        split: where the instances come from.
        stage: name of the stage; of an evaluation any fixed name, so that checkpoints meet the same instances.
        step: counted from 0 within the stage; 0 in an evaluation.
        root: empty in training; evaluation has a root of its own.
    """

    seed: int
    split: Split
    stage: str
    step: int
    root: tuple[str, ...] = ()

    def name(self, purpose: str, *rest: str | int) -> Key:
        """The name of a stream."""
        return (*self.root, purpose, self.split, self.stage, self.step, *rest)

    def stream(self, purpose: str, *rest: str | int) -> random.Random:
        """The generator of one purpose, e.g. `stream("instance", group, game, occurrence)`."""
        return stream(self.seed, *self.name(purpose, *rest))

    @property
    def place(self) -> str:
        """The prefix of the ids of groups and episodes."""
        return "/".join((*self.root, self.stage, str(self.step)))

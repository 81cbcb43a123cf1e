"""Who sits at a table, and what a table is: everything that stays the same while the episodes of a step are played."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol, runtime_checkable

from gift_dsl.games.build import build
from gift_dsl.games.game import Game, GameFacts, Rows
from gift_dsl.plan import GamePlan
from gift_dsl.play.template import AppendOnly, NotAppendOnly, check_append_only
from gift_dsl.play.voids import VoidLimit
from gift_dsl.seat import Codec, Completion, Player, TokenPolicy

POLICY: Final = "policy"
"""What records call the player of a trained seat."""


@dataclass(frozen=True, slots=True, eq=False)
class ModelPlayer:
    """A model in a seat.

    Attributes:
        name: in records.
        policy: the model; two players with one policy are asked in one batch.
        template: what is known of its chat template.
        temperature: None: that of the game's rollout.
        max_tokens: of one turn; None: that of the part.
    """

    name: str
    policy: TokenPolicy
    template: AppendOnly | NotAppendOnly
    temperature: float | None = None
    max_tokens: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class WrittenPlayer:
    """A player whose words are written down as a model's tokens: what it says is to be learned.

    Attributes:
        player: who speaks.
        codec: of the model that will learn.
        template: what is known of its chat template.
        write: from a text to the completion that a model would have sampled to say it.
    """

    player: Player
    codec: Codec
    template: AppendOnly | NotAppendOnly
    write: Callable[[str], Completion]


Seat = Player | ModelPlayer | WrittenPlayer


@runtime_checkable
class Choice(Protocol):
    """A name that stands for several players: a pool, or the kept snapshots of the policy."""

    def choose(self, rng: random.Random) -> str:
        """The name of the player who sits down; drawn once for each group and part."""
        ...


def model_player(
    name: str, policy: TokenPolicy, *, temperature: float | None = None, max_tokens: int | None = None
) -> ModelPlayer:
    """A model as a player: checks its chat template."""
    return ModelPlayer(name, policy, check_append_only(policy.codec), temperature, max_tokens)


@dataclass(frozen=True, slots=True, eq=False)
class TableGame:
    """A game, what the plan says of it, and what is known of it before it is played."""

    plan: GamePlan
    game: Game
    facts: GameFacts


def table_game(plan: GamePlan, rows: Rows = ()) -> TableGame:
    """The game of a plan, ready to be played; `rows` are those of one split."""
    game = build(plan, rows)
    return TableGame(plan, game, game.facts)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is different when nothing is learned: voids are taken up again, and seats take turns instead of being drawn.

    Attributes:
        temperature, max_tokens: of the trained seats, instead of the rollout's.
        max_replays: times that an episode without a result is taken up again, after all others: from the turn that
            nobody answered, so that long games are not lost more often than short ones.
        history: what prompts hold of earlier turns, of every seat: all of them, as in training, or nothing: then a
            prompt is the system text and one message with the rules and the present state.
    """

    temperature: float
    max_tokens: int
    max_replays: int = 3
    history: Literal["full", "none"] = "full"


@dataclass(slots=True)
class Stopwatch:
    """CPU time that something took of the table's thread, in seconds."""

    seconds: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Everything that stays the same while the episodes of one step are played.

    Attributes:
        games: by name.
        policy: who sits in the trained seats: a model, or any player that is to be measured.
        players: everybody else, by name.
        system_prompt: of every conversation; empty for none.
        max_context: longest sequence of a trained seat in tokens; None: no limit.
        rates: success rate by label at the step's start, for `reward: difficulty`.
        evaluation: None in training.
        lockstep: the policy is asked only when nobody else is waited for. Slower, but with recorded opponents its
            batches are then the same in every run.
        limit: of episodes without a result, for a step that is played in several calls; None: each has its own.
        acting: what players took that answer on the spot; it runs on from call to call.
    """

    games: Mapping[str, TableGame]
    policy: Seat
    players: Mapping[str, Seat | Choice] = field(default_factory=dict[str, Seat | Choice])
    system_prompt: str = ""
    max_context: int | None = None
    rates: Mapping[str, float] = field(default_factory=dict[str, float])
    evaluation: Evaluation | None = None
    lockstep: bool = False
    limit: VoidLimit | None = None
    acting: Stopwatch = field(default_factory=Stopwatch)

    @property
    def keeps_history(self) -> bool:
        """Whether prompts hold earlier turns; only an evaluation can leave them out."""
        return self.evaluation is None or self.evaluation.history == "full"

    def choose(self, name: str, rng: random.Random) -> tuple[str, Seat]:
        """The player that a name stands for, and its own name; a pool is drawn from until a player is found."""
        found = self.players[name]
        while isinstance(found, Choice):
            name = found.choose(rng)
            found = self.players[name]
        return name, found

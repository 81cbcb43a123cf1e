"""The Game protocol (`game_api = 1`): rules as values and pure functions.

A state is a frozen dataclass. It holds no prompt, no reward shaping, no turn limit, no I/O and no generator: all
chance of the rules, tie-breaks included, is drawn once in `Game.start` and stored. One law suite runs over every game.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol, runtime_checkable

GAME_API: Final = 1

Action = str
Split = Literal["train", "dev", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "dev", "test")
Result = Literal["win", "draw", "loss"]
Outcome = Result | float
"""Of one seat: a result, which the spec's `reward` turns into a number, or a grade in [0, 1]."""


@dataclass(frozen=True, slots=True)
class FreeText:
    """Legal actions that cannot be listed: any text that `reason` does not refuse.

    Attributes:
        max_chars: longer text is refused.
        forbidden: words the text may not contain, compared case-folded as whole words and as plain stems.
        one_line: a line break is refused.
    """

    max_chars: int = 2000
    forbidden: tuple[str, ...] = ()
    one_line: bool = False


Legal = tuple[Action, ...] | FreeText
"""What the player who acts may do. Shown to that player only."""


class State(Protocol):
    """A position of a game: everything the rules know, hidden information included."""

    @property
    def current_player(self) -> int:
        """The seat that acts, counted from 0; -1 when the game is over."""
        ...

    @property
    def is_terminal(self) -> bool:
        """Whether the game is over."""
        ...

    def observation(self, player: int) -> object:
        """All that `player` may see: a frozen dataclass whose fields are the variables of the prompt template."""
        ...

    def legal_actions(self) -> Legal:
        """What the current player may do; empty when the game is over."""
        ...

    def apply(self, action: Action) -> State:
        """The position after the current player acts.

        Raises:
            ValueError: the action is not legal, or the game is over.
        """
        ...

    def outcome(self) -> tuple[Outcome, ...]:
        """One outcome a seat.

        Raises:
            ValueError: the game is not over.
        """
        ...


@dataclass(frozen=True, slots=True)
class GameFacts:
    """What the compiler may know of a game without playing it.

    Attributes:
        seats: number of players.
        max_turns: for each seat, the most turns it can take in one play (illegal attempts not counted).
        graded: outcomes are numbers in [0, 1] instead of win, draw and loss.
        can_draw: a play can end without a winner.
        zero_sum: one seat's win is the loss of all others.
        roles: what a seat can be besides its number ("spy", "civilian"), "" left out.
        perfect_information: every seat sees the whole state.
        actions: "listed" when legal actions are enumerable, else "free_text".
        abilities: what the game asks for, in the words of GIFT's table 1 where it has one.
        count_instances: counts distinct instances up to symmetry, which can take a moment; None when they are unbounded
            or not known before data is read.
        prompt_tokens: estimated tokens of (first observation, each later one) in the standard wording.
        compact_words: the same in words of the compact wording, the request for an answer included, of a usual turn;
            None for games without one.
        dataset: instances come from rows of a dataset.
        whole_observations: an observation alone holds all that its player knows of the play; False where it holds only
            what is new since the player's last turn, so that no turn can be asked for without those before it.
        players: scripted player types that can sit in it besides models ("random", "minimax", …).
    """

    seats: int
    max_turns: tuple[int, ...]
    graded: bool
    can_draw: bool
    zero_sum: bool
    roles: tuple[str, ...] = ()
    perfect_information: bool = True
    actions: Literal["listed", "free_text"] = "listed"
    abilities: tuple[str, ...] = ()
    count_instances: Callable[[], int | None] = field(default=lambda: None, compare=False, repr=False)
    prompt_tokens: tuple[int, int] = (200, 100)
    compact_words: tuple[float, float] | None = None
    dataset: bool = False
    players: tuple[str, ...] = ("random", "first_legal", "scripted", "human")
    whole_observations: bool = True

    @property
    def family_size(self) -> int | None:
        """Number of distinct instances, counted when it is asked for."""
        return self.count_instances()

    @property
    def reward_range(self) -> tuple[float, float]:
        """Of the outcome before penalties; always inside [0, 1]."""
        return (0.0, 1.0)


@runtime_checkable
class Game(Protocol):
    """A game with its parameters bound. Holds no mutable state; safe to share between episodes.

    A game may have more, which is asked for by name: `reason(state)`, why a finished play ended as it did;
    `chance(state)`, the success rate of a uniform player of a first state, in [0, 1]; `settle(state)`, of a finished
    state whose outcome takes time to tell, an awaitable after which `state.outcome()` answers at once, or None where it
    does so already.
    """

    @property
    def facts(self) -> GameFacts:
        """What follows from the parameters alone."""
        ...

    def start(self, rng: random.Random) -> State:
        """A first state of some split; all chance of the rules is drawn here from `rng`."""
        ...

    def role(self, state: State, player: int) -> str:
        """The role of a seat in this instance ("spy"); "" where the game has none."""
        ...

    def instance_key(self, state: State) -> str:
        """The canonical key of an instance, equal for instances that teach the same (design, section 4)."""
        ...


Rows = Sequence[Mapping[str, Any]]
"""Dataset rows as plain values; games never load data themselves."""


@dataclass(frozen=True, slots=True)
class Family:
    """A kind of game: its parameters are declared once, here, and nowhere else.

    Attributes:
        name: the `type` in a spec.
        description: one sentence for `gift list games`.
        params: frozen dataclass; each field is `Annotated[type, annotated_types constraints, Doc("…")]`.
        facts: what follows from the parameters alone.
        build: binds parameters and rows to a Game; heavy imports happen inside.
        check: the first contradiction between parameters as a sentence, or None.
        files: shipped data files that instances are drawn from, below `games/`; their bytes are part of the plan.
        prompt: default template of an observation, for families that ship no wording.
        variables: what that template may read; the fields of the family's observations.
    """

    name: str
    description: str
    params: type[Any]
    facts: Callable[[Any], GameFacts]
    build: Callable[[Any, Rows], Game]
    check: Callable[[Any], str | None] = field(default=lambda _params: None)
    files: Callable[[Any], tuple[str, ...]] = field(default=lambda _params: ())
    prompt: str = "{{ text }}"
    variables: frozenset[str] = frozenset({"text"})
    game_api: int = GAME_API

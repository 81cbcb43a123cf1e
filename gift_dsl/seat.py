"""Who can sit at a table: three protocols. Engines and players implement them; the table knows nothing else.

A seat is filled by a `TokenPolicy` (a model: token ids in, token ids out) or by a `Player` (anything that answers an
observation with a text). Nothing above this file says which.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

Role = Literal["system", "user", "assistant"]
FinishReason = Literal["stop", "length"]
"""`stop`: an end-of-turn id was sampled (it is the last id). `length`: the token limit cut the turn."""


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Request:
    """One turn that a model is asked for.

    Attributes:
        context: token ids of everything before the turn, the opening of the assistant's turn included.
        max_tokens: most ids to sample, the end of the turn included.
        temperature: of the softmax; 0 is greedy (evaluation only).
        stream_key: name of the random stream: no two requests of a run share one.
        seed: seed that the stream is made of.
        episode: id of the episode, so that an engine can keep its cache across turns.
        group: id of the group, so that an engine can share the prefill of equal contexts.
    """

    context: tuple[int, ...]
    max_tokens: int
    temperature: float
    stream_key: tuple[str | int, ...]
    seed: int
    episode: str
    group: str


@dataclass(frozen=True, slots=True)
class Completion:
    """What was sampled: ids, and for each the log-probability under the sampled distribution (temperature included)."""

    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    finish_reason: FinishReason


class Codec(Protocol):
    """A chat template and its tokenizer."""

    @property
    def end_of_turn_ids(self) -> frozenset[int]:
        """Ids that end an assistant's turn when sampled."""
        ...

    def render(self, messages: Sequence[Message], *, open_turn: bool) -> tuple[int, ...]:
        """Ids of a conversation; with `open_turn` up to where the assistant's next turn begins."""
        ...

    def encode(self, text: str) -> tuple[int, ...]:
        """Ids of plain text, special tokens in it read as plain text."""
        ...

    def decode(self, ids: Sequence[int]) -> str:
        """Text of ids, without special tokens."""
        ...


@runtime_checkable
class TokenPolicy(Protocol):
    """A model in a seat."""

    @property
    def codec(self) -> Codec:
        """Its chat template and tokenizer."""
        ...

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """One completion a request, in the order asked; the whole batch is one generation."""
        ...

    async def score(
        self, contexts: Sequence[tuple[int, ...]], continuations: Sequence[tuple[int, ...]]
    ) -> Sequence[tuple[float, bool]]:
        """Sum of log-probabilities of each continuation, and whether greedy decoding would give it."""
        ...


class PlayerFault(Exception):  # noqa: N818 - a fault is an event that the table handles, not an error of the program
    """A player gave no answer: its endpoint failed, timed out, or answered with nothing readable.

    Never the policy's loss: the table asks again from the kept state, then counts the play as void.
    """

    def __init__(self, player: str, reason: str, *, endpoint: str | None = None) -> None:
        self.player, self.reason, self.endpoint = player, reason, endpoint
        super().__init__(f"{player}: {reason}" + (f" ({endpoint})" if endpoint else ""))


@dataclass(frozen=True, slots=True)
class Turn:
    """What a player is asked: everything its seat may see, and nothing else.

    Attributes:
        observation: the game's frozen observation for this seat.
        legal: legal actions, or a `FreeText`.
        messages: the conversation of this seat so far, the observation's text last.
        state: the whole state where information is perfect, for solvers; None otherwise.
        seat: counted from 0.
        game: label of the part.
        tag: the answer tag that the prompt asks for.
    """

    observation: Any
    legal: Any
    messages: tuple[Message, ...]
    state: Any | None
    seat: int
    game: str
    tag: str


class CutText(str):
    """What a player said until its token limit cut it; empty where nothing but reasoning was said."""

    __slots__ = ()


@runtime_checkable
class Player(Protocol):
    """Anything in a seat that answers with a text."""

    @property
    def name(self) -> str:
        """As the spec names it."""
        ...

    @property
    def waits(self) -> bool:
        """True when `act` waits for the outside (HTTP, a person): such turns are awaited while others go on."""
        ...

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The text of one turn, its action in the answer tag.

        Raises:
            PlayerFault: there is no answer.
        """
        ...

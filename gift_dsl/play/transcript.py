"""What one seat has heard and said: as text for players, as exact tokens for models.

Sampled ids are never tokenized again, rewritten or stripped. In an `AppendTranscript` they stand in one sequence with
the ids that the template adds between them. In `TurnTranscripts` each turn is a sequence of its own, whose prompt is
rendered anew: the fallback for templates that cannot be appended to, and what `thinking: strip` means.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, count
from typing import Protocol, Self

from gift_dsl.play.parse import without_thoughts
from gift_dsl.play.template import AppendOnly, Ids, NotAppendOnly
from gift_dsl.records import Sequence
from gift_dsl.seat import Codec, Completion, Message

Span = tuple[int, int]


class Conversation(Protocol):
    """What the table needs of a seat's memory; `keeps`: earlier turns are shown again with each new message."""

    keeps: bool

    def hear(self, text: str, part: int) -> None:
        """A message for this seat; `part` is the index of the part it belongs to."""
        ...

    def copy(self) -> Conversation:
        """An independent copy: members of a group continue one opening."""
        ...


class Chat:
    """The memory of a player that reads messages."""

    def __init__(self, system: str, *, keeps: bool = True) -> None:
        self.keeps = keeps
        self.messages = _opening(system)

    def hear(self, text: str, part: int) -> None:
        """A message for this seat."""
        if not self.keeps:
            self.messages = _only_system(self.messages)
        self.messages.append(Message("user", text))

    def say(self, text: str) -> None:
        """What the seat answered."""
        self.messages.append(Message("assistant", text))

    def copy(self) -> Chat:
        """An independent copy."""
        other = Chat("", keeps=self.keeps)
        other.messages = list(self.messages)
        return other


def _opening(system: str) -> list[Message]:
    return [Message("system", system)] if system else []


def _only_system(messages: list[Message]) -> list[Message]:
    return [message for message in messages if message.role == "system"]


class Transcript(Conversation, Protocol):
    """The memory of a model."""

    codec: Codec

    def context(self) -> Ids:
        """Ids up to where the model's next turn begins."""
        ...

    def say(self, completion: Completion, part: int) -> tuple[int, Span]:
        """A sampled turn. Returns the index of its sequence and where in its completion the sampled ids stand."""
        ...

    def sequences(self) -> tuple[Sequence, ...]:
        """What was sampled so far, in order."""
        ...

    def copy(self) -> Transcript:
        """An independent copy."""
        ...


def make_transcript(
    template: AppendOnly | NotAppendOnly, codec: Codec, system: str, *, strip: bool, turns: Iterator[int] | None = None
) -> Transcript:
    """An empty transcript.

    Args:
        template: what the start-up check found.
        codec: of the model.
        system: its system prompt; empty for none.
        strip: thoughts are taken out of earlier turns.
        turns: numbers for the turns, shared by all transcripts of one trajectory.
    """
    numbers = count() if turns is None else turns
    if strip or isinstance(template, NotAppendOnly):
        return TurnTranscripts(template, codec, system, strip=strip, turns=numbers)
    return AppendTranscript(template, system, numbers)


class AppendTranscript:
    """One sequence, to which ids are only ever appended."""

    keeps = True

    def __init__(self, template: AppendOnly, system: str, turns: Iterator[int]) -> None:
        self.codec = template.codec
        self._template, self._turns = template, turns
        self._messages = _opening(system)
        self._prompt: Ids = ()
        self._ids: list[int] = []
        self._mask: list[int] = []
        self._logprobs: list[float] = []
        self._parts: list[int] = []
        self._turn_of: list[int] = []
        self._last: Completion | None = None

    def hear(self, text: str, part: int) -> None:
        """A message: rendered with the prompt before the first turn, appended after it."""
        if not self._prompt:
            self._messages.append(Message("user", text))
            self._prompt = self._template.open(self._messages)
            return
        self._give((*self._rest_of_close(), *self._template.next_turn(text)), part)
        self._last = None

    def context(self) -> Ids:
        """Ids up to where the model's next turn begins."""
        return (*self._prompt, *self._ids)

    def say(self, completion: Completion, part: int) -> tuple[int, Span]:
        """A sampled turn, exactly as it was sampled."""
        start, size = len(self._ids), len(completion.ids)
        self._ids += completion.ids
        self._mask += [1] * size
        self._logprobs += completion.logprobs
        self._parts += [part] * size
        self._turn_of += [next(self._turns)] * size
        self._last = completion
        return 0, (start, start + size)

    def sequences(self) -> tuple[Sequence, ...]:
        """The one sequence, up to the last sampled id; a turn that was cut is closed with ids of mask 0."""
        length = len(self._mask) - next(
            (place for place, bit in enumerate(reversed(self._mask)) if bit), len(self._mask)
        )
        if length == 0:
            return ()
        end = self._template.end if self._last is not None and self._last.finish_reason == "length" else ()
        return (
            Sequence(
                prompt_ids=self._prompt,
                completion_ids=(*self._ids[:length], *end),
                mask=(*self._mask[:length], *(0 for _ in end)),
                logprobs=(*self._logprobs[:length], *(0.0 for _ in end)),
                parts=(*self._parts[:length], *(self._parts[length - 1] for _ in end)),
                turns=(*self._turn_of[:length], *(-1 for _ in end)),
            ),
        )

    def copy(self) -> AppendTranscript:
        """An independent copy with its own numbers of turns."""
        other = AppendTranscript(self._template, "", count(max(self._turn_of, default=-1) + 1))
        other._messages, other._prompt, other._last = list(self._messages), self._prompt, self._last
        other._ids, other._mask, other._logprobs = list(self._ids), list(self._mask), list(self._logprobs)
        other._parts, other._turn_of = list(self._parts), list(self._turn_of)
        return other

    def _rest_of_close(self) -> Ids:
        if self._last is None:
            return ()
        return self._template.rest_of_close(self._last.ids, is_ended=self._last.finish_reason == "stop")

    def _give(self, ids: Ids, part: int) -> None:
        self._ids += ids
        self._mask += [0] * len(ids)
        self._logprobs += [0.0] * len(ids)
        self._parts += [part] * len(ids)
        self._turn_of += [-1] * len(ids)


class TurnTranscripts:
    """A sequence for each turn; earlier turns are rendered anew in its prompt."""

    keeps = True

    def __init__(
        self, template: AppendOnly | NotAppendOnly, codec: Codec, system: str, *, strip: bool, turns: Iterator[int]
    ) -> None:
        self.codec = codec
        self._template, self._strip, self._turns = template, strip, turns
        self._messages = _opening(system)
        self._context: Ids = ()
        self._sequences: list[Sequence] = []

    def hear(self, text: str, part: int) -> None:
        """A message; the whole conversation is rendered with it."""
        self._messages.append(Message("user", text))
        self._context = self.codec.render(self._messages, open_turn=True)

    def context(self) -> Ids:
        """Ids up to where the model's next turn begins."""
        return self._context

    def say(self, completion: Completion, part: int) -> tuple[int, Span]:
        """A sampled turn: a sequence as it was sampled, and a text in later prompts."""
        text = self.codec.decode(completion.ids)
        self._messages.append(Message("assistant", without_thoughts(text) if self._strip else text))
        size, turn = len(completion.ids), next(self._turns)
        is_cut = completion.finish_reason == "length" and isinstance(self._template, AppendOnly)
        end = self._template.end if is_cut and isinstance(self._template, AppendOnly) else ()
        self._sequences.append(
            Sequence(
                prompt_ids=self._context,
                completion_ids=(*completion.ids, *end),
                mask=(*(1 for _ in completion.ids), *(0 for _ in end)),
                logprobs=(*completion.logprobs, *(0.0 for _ in end)),
                parts=(part,) * (size + len(end)),
                turns=(*(turn for _ in completion.ids), *(-1 for _ in end)),
            )
        )
        return len(self._sequences) - 1, (0, size)

    def sequences(self) -> tuple[Sequence, ...]:
        """One for each turn."""
        return tuple(self._sequences)

    def copy(self) -> Self:
        """An independent copy with its own numbers of turns."""
        used = chain.from_iterable(sequence.turns for sequence in self._sequences)
        turns = count(max(used, default=-1) + 1)
        other = type(self)(self._template, self.codec, "", strip=self._strip, turns=turns)
        other._messages, other._context, other._sequences = list(self._messages), self._context, list(self._sequences)
        return other


class SingleTurns(TurnTranscripts):
    """A sequence for each turn, whose prompt holds the system text and the last message: nothing said before."""

    keeps = False

    def hear(self, text: str, part: int) -> None:
        """A message; what was heard and said before it is forgotten."""
        self._messages = _only_system(self._messages)
        super().hear(text, part)

"""Who is evaluated: a model in a seat or one behind a chat API, asked for many texts at once.

Prompts are plain text, as lm-eval builds them, or the messages of a chat. What is sampled for one question depends on
its own key and not on what else is asked.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol, TypeVar, cast

from gift_dsl.errors import GiftError, UsageError
from gift_dsl.players.openai import OpenAIPlayer
from gift_dsl.players.together import all_of
from gift_dsl.rng import stream
from gift_dsl.seat import CutText, Message, Player, PlayerFault, Request, TokenPolicy, Turn

T = TypeVar("T")
Ids = tuple[int, ...]
Prompt = str | tuple[Message, ...]
Score = tuple[float, bool]
"""Sum of log-probabilities of a continuation, and whether greedy decoding would give it."""

_ROWS: Final = 256
_SCORED: Final = 1024
_UNDER_WAY: Final = 256
_HOPELESS: Final = 16
"""So many questions without a single answer: the key, the address or the model is wrong."""


@dataclass(frozen=True, slots=True)
class Question:
    """One text that is asked for.

    Attributes:
        key: names the item (task, item, repeat); no two questions of an evaluation share one.
        prompt: plain text that is continued, or messages that are answered.
        max_tokens: most tokens of the answer.
        temperature: 0 is greedy.
        until: the answer ends before the first of these texts.
    """

    key: tuple[str | int, ...]
    prompt: Prompt
    max_tokens: int
    temperature: float
    until: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """A text, or why there is none.

    Attributes:
        text: without special tokens; empty where there is a fault.
        truncated: it was cut at its token limit, as far as the subject tells.
        prompt_cut: its prompt was too long for the model and lost its beginning.
        fault: why there is no answer; None where there is one.
    """

    text: str
    truncated: bool = False
    prompt_cut: bool = False
    fault: str | None = None


Note = Callable[[Mapping[int, Answer]], None]
"""Hears which questions (by index) have been answered, as it happens."""
Count = Callable[[int], None]
"""Hears how many more items are done."""


class Subject(Protocol):
    """What is evaluated."""

    @property
    def name(self) -> str:
        """As results call it."""
        ...

    @property
    def is_chat(self) -> bool:
        """True for a chat API: it takes messages only and gives no log-probabilities."""
        ...

    async def answer(self, questions: Sequence[Question], note: Note) -> Sequence[Answer]:
        """An answer to each question, in the order asked."""
        ...

    async def score(self, pairs: Sequence[tuple[Prompt, str]], count: Count) -> Sequence[Score]:
        """The score of each (prompt, continuation).

        Raises:
            UsageError: the subject gives no log-probabilities.
        """
        ...


class PolicySubject:
    """A model in a seat: questions are answered in batches of like length, the longest first.

    Args:
        policy: the seat.
        seed: of all sampling (`evaluation.seed`).
        name: as results call it.
        rows: most questions of one batch.
        max_length: most ids of prompt and answer together; longer prompts lose their beginning. None: no limit.
    """

    is_chat = False

    def __init__(
        self, policy: TokenPolicy, seed: int, *, name: str = "policy", rows: int = _ROWS, max_length: int | None = None
    ) -> None:
        self._policy, self._seed, self._name = policy, seed, name
        self._rows, self._max_length = rows, max_length

    @property
    def name(self) -> str:
        """As results call it."""
        return self._name

    @property
    def policy(self) -> TokenPolicy:
        """The seat."""
        return self._policy

    async def answer(self, questions: Sequence[Question], note: Note) -> Sequence[Answer]:
        """An answer to each question, in the order asked."""
        whole = [self._ids(question.prompt) for question in questions]
        contexts = [self._fit(ids, question.max_tokens) for ids, question in zip(whole, questions, strict=True)]
        longest_first = sorted(range(len(questions)), key=lambda index: -len(contexts[index]))
        answers: dict[int, Answer] = {}
        for start in range(0, len(questions), self._rows):
            batch = longest_first[start : start + self._rows]
            done = await self._answer_batch([(contexts[index], questions[index]) for index in batch])
            found = {
                index: replace(one, prompt_cut=len(contexts[index]) < len(whole[index]))
                for index, one in zip(batch, done, strict=True)
            }
            answers |= found
            note(found)
        return [answers[index] for index in range(len(questions))]

    async def score(self, pairs: Sequence[tuple[Prompt, str]], count: Count) -> Sequence[Score]:
        """The score of each (prompt, continuation). Equal prompts are encoded once."""
        known: dict[Prompt, Ids] = {}
        ids = [self._pair(prompt, continuation, known) for prompt, continuation in pairs]
        # equal contexts side by side: the engine encodes those of one call once
        order = sorted(range(len(pairs)), key=lambda index: (-len(ids[index][0]), ids[index][0]))
        scores: dict[int, Score] = {}
        for batch in _whole_contexts(order, ids):
            contexts, continuations = zip(*(ids[index] for index in batch), strict=True)
            found = await _answered(self._policy.score(contexts, continuations))
            scores |= dict(zip(batch, found, strict=True))
            count(len(batch))
        return [scores[index] for index in range(len(pairs))]

    async def _answer_batch(self, batch: Sequence[tuple[Ids, Question]]) -> list[Answer]:
        names = ["eval/" + "/".join(map(str, question.key)) for _, question in batch]
        requests = [
            Request(
                context=context,
                max_tokens=question.max_tokens,
                temperature=question.temperature,
                stream_key=("eval", "benchmark", *question.key),
                seed=self._seed,
                episode=name,
                group=name,
            )
            for name, (context, question) in zip(names, batch, strict=True)
        ]
        done = await _answered(self._policy.complete(requests))
        # each prompt is answered once: what an engine keeps for a next turn is of no use
        forget: Any = getattr(self._policy, "forget", None)
        if forget is not None:
            forget(names)
        decode = self._policy.codec.decode
        return [
            Answer(_cut(decode(one.ids), question.until), one.finish_reason == "length")
            for one, (_, question) in zip(done, batch, strict=True)
        ]

    def _ids(self, prompt: Prompt) -> Ids:
        codec = self._policy.codec
        if isinstance(prompt, str):
            return codec.encode(prompt) or (self._first_id,)
        if prompt[-1].role != "assistant":
            return codec.render(prompt, open_turn=True)
        return codec.render(prompt[:-1], open_turn=True) + codec.encode(prompt[-1].content)

    def _pair(self, prompt: Prompt, continuation: str, known: dict[Prompt, Ids]) -> tuple[Ids, Ids]:
        """Ids of a prompt and of its continuation, cut apart as lm-eval's own models do. `known` holds prompts' ids."""
        encode = self._policy.codec.encode
        bare = prompt.rstrip() if isinstance(prompt, str) else prompt
        context = known[bare] if bare in known else self._ids(bare)
        known[bare] = context
        if isinstance(prompt, str) and bare:
            rest = encode(prompt + continuation)[len(context) :]
        else:
            rest = encode(continuation if bare else f"{prompt}{continuation}")
        return self._fit(context, len(rest) - 1), rest

    @property
    def _first_id(self) -> int:
        """What stands before a text that has nothing before it."""
        return min(self._policy.codec.end_of_turn_ids, default=0)

    def _fit(self, context: Ids, room: int) -> Ids:
        return context if self._max_length is None else context[-max(1, self._max_length - room) :]


class ChatSubject:
    """A model behind a chat API, many questions under way at once; the limits are those of its network.

    Args:
        player: who answers; an `OpenAIPlayer` is sent the sampling of each question, and an empty or cut answer is its
            own: bad format, and not a question without an answer.
        seed: of a player that draws by itself.
        under_way: most questions that wait or are being answered.
    """

    is_chat = True

    def __init__(self, player: Player, seed: int, *, under_way: int = _UNDER_WAY) -> None:
        self._player, self._seed, self._under_way = player, seed, under_way

    @property
    def name(self) -> str:
        """As results call it."""
        return self._player.name

    async def answer(self, questions: Sequence[Question], note: Note) -> Sequence[Answer]:
        """An answer to each question, in the order asked. What stays unanswered has a fault.

        Raises:
            LimitReached: the budget does not allow another call.
            GiftError: nothing is answered at all.
        """
        answers: dict[int, Answer] = {}
        waiting = iter(enumerate(questions))
        faults = 0

        async def work() -> None:
            nonlocal faults
            for index, question in waiting:
                answers[index] = await self._answer(question)
                faults += answers[index].fault is not None
                if faults == len(answers) and faults >= _HOPELESS:
                    raise GiftError(f"no answer to any of the first {faults} questions: {answers[index].fault}")
                note({index: answers[index]})

        await all_of(work() for _ in range(min(self._under_way, len(questions))))
        return [answers[index] for index in range(len(questions))]

    async def score(self, pairs: Sequence[tuple[Prompt, str]], count: Count) -> Sequence[Score]:
        """Never.

        Raises:
            UsageError: always: a chat API gives no log-probabilities of a given text.
        """
        raise UsageError(f"`{self.name}` is a chat API, which gives no log-likelihood of a given text")

    async def _answer(self, question: Question) -> Answer:
        rng = stream(self._seed, "eval", "benchmark", *question.key)
        try:
            text = await ask(_sampling_as(self._player, question), question.prompt, rng)
        except PlayerFault as fault:
            return Answer("", fault=str(fault))
        return Answer(_cut(text, question.until), truncated=isinstance(text, CutText))


async def _answered(work: Awaitable[T]) -> T:
    """What a model says.

    Raises:
        GiftError: its server did not answer, in all tries.
    """
    try:
        return await work
    except PlayerFault as fault:
        raise GiftError(f"no answer of the model: {fault}; what was answered is kept") from fault


async def ask(player: Player, prompt: Prompt, rng: Any) -> str:  # noqa: ANN401 - a random.Random
    """What a player says to a prompt that belongs to no game.

    Raises:
        PlayerFault: it gives no answer.
    """
    messages = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    return await player.act(Turn(None, (), messages, None, 0, "benchmark", "answer"), rng)


def prompt_hash(prompt: Prompt) -> str:
    """A digest of a prompt's text, 16 hex digits."""
    parts = ["text", prompt] if isinstance(prompt, str) else [part for m in prompt for part in (m.role, m.content)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def _sampling_as(player: Player, question: Question) -> Player:
    if not isinstance(player, OpenAIPlayer):
        return player
    chat = replace(player.chat, temperature=question.temperature, max_tokens=question.max_tokens)
    return cast(Player, replace(player, chat=chat, is_measured=True))


def _cut(text: str, until: Sequence[str]) -> str:
    for end in until:
        if end:
            text = text.partition(end)[0]
    return text


def _whole_contexts(order: Sequence[int], ids: Sequence[tuple[Ids, Ids]]) -> list[list[int]]:
    """Batches of at least `_SCORED` pairs, cut between two different contexts only."""
    batches: list[list[int]] = []
    for index in order:
        if not batches or (len(batches[-1]) >= _SCORED and ids[batches[-1][-1]][0] != ids[index][0]):
            batches.append([])
        batches[-1].append(index)
    return batches

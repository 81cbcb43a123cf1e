"""One seat of one play: what it was told, what it is asked, and how its answers are read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from typing import Final

from gift_dsl.games.game import Legal, State
from gift_dsl.play.asks import ModelAsk, PlayerAsk
from gift_dsl.play.keys import Key, Keys
from gift_dsl.play.parse import BadFormat, IllegalAction, parse_answer, read_action
from gift_dsl.play.seats import ModelPlayer, Table, WrittenPlayer
from gift_dsl.play.setting import Notes, Setting
from gift_dsl.play.transcript import Chat, SingleTurns, Span, Transcript, make_transcript
from gift_dsl.records import TurnEnd, TurnRecord
from gift_dsl.rng import branch
from gift_dsl.seat import Completion, CutText, Request, Turn

OPENING: Final = (-1, 0)
"""The member in the names of streams that all members of a group share."""

Member = tuple[int, int]
"""Number of the member in its group, and of the trajectory in its episode."""

Tokens = tuple[int, int | None, Span | None]
"""Of a turn: how many were sampled, in which sequence, and where in it."""


@dataclass(slots=True, eq=False)
class Chair:
    """One seat of one play.

    Attributes:
        setting: of the part.
        seat: counted from 0.
        seed, stream: what the streams of its turns have in their names.
        memory: what it has heard and said; a trained seat's outlives the play.
        asked: turns it was asked for.
        retries: further tries it has had after unplayable actions; an opponent's start anew each turn.
        penalty: sum so far, at most 0.
        truncated: turns cut at their token limit.
        problem: how the turn before ended, if it was not played.
        reason: why.
        note: the penalty of the turn before, if it is to be told.
        feedback: on the part before, for the first message.
        observation: what it was told last.
        legal: what it may do.
        ids: of the episode and its group, where a model sits; made when it is asked first.
        is_trained: the policy sits here.
        max_turns: that it may be asked for; of an opponent, that its rules foresee.
    """

    setting: Setting
    seat: int
    seed: int
    stream: Key
    memory: Chat | Transcript
    asked: int = 0
    retries: int = 0
    penalty: float = 0.0
    truncated: int = 0
    problem: TurnEnd | None = None
    reason: str | None = None
    note: str | None = None
    feedback: str | None = None
    observation: object = None
    legal: Legal = ()
    ids: tuple[str, str] | None = None
    is_trained: bool = field(init=False)
    max_turns: int = field(init=False)
    _reads: bool = field(init=False)
    _branch: Callable[..., random.Random] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        setting = self.setting
        self.is_trained = self.seat in setting.trained
        self._reads = not isinstance(self.memory, Chat) or getattr(setting.seats[self.seat], "reads_messages", True)
        self.max_turns = setting.part.leaf.max_turns if self.is_trained else setting.game.facts.max_turns[self.seat]

    @property
    def turns_left(self) -> int:
        """Turns that this seat may still be asked for."""
        return self.max_turns - self.asked

    def copy(self, keys: Keys, member: Member) -> Chair:
        """An independent copy for a member of the group."""
        stream = stream_of(keys, self.setting, self.seat, member)
        other = Chair(self.setting, self.seat, self.seed, stream, self.memory.copy())
        other.asked, other.retries, other.truncated = self.asked, self.retries, self.truncated
        other.penalty, other.note, other.feedback = self.penalty, self.note, self.feedback
        other.problem, other.reason = self.problem, self.reason
        other.observation, other.legal = self.observation, self.legal
        return other

    def draws(self, turn: int, what: int | str) -> random.Random:
        """The stream of a turn: of one attempt at it, or for one purpose."""
        if self._branch is None:
            self._branch = branch(self.seed, *self.stream)
        return self._branch(turn, what)

    def tell(self, state: State) -> None:
        """The next message: the observation, and what was wrong with the last answer."""
        self.observation, self.legal = state.observation(self.seat), state.legal_actions()
        if self._reads:
            self.memory.hear(self.setting.text(self.observation, self._notes()), self.setting.index)
        self.asked += 1
        self.feedback = self.note = None

    def _notes(self) -> Notes:
        left = max(1, self.max_turns - self.asked)
        if not self.memory.keeps:
            return Notes(self.seat + 1, 1, left)  # the first turn's wording has the rules in it
        return Notes(self.seat + 1, self.asked + 1, left, self.feedback, self.note, self.reason)

    def ask_player(self, state: State, attempt: int) -> PlayerAsk:
        """The turn of a player that answers in text."""
        setting, player = self.setting, self.setting.seats[self.seat]
        if isinstance(player, WrittenPlayer):
            player = player.player
        assert not isinstance(player, ModelPlayer)
        turn = Turn(
            observation=self.observation,
            legal=self.legal,
            messages=tuple(self.memory.messages) if self._reads and isinstance(self.memory, Chat) else (),
            state=state if setting.game.facts.perfect_information else None,
            seat=self.seat,
            game=setting.part.leaf.label,
            tag=setting.game.plan.prompt.tag,
        )
        return PlayerAsk(player, turn, partial(self.draws, self.asked, attempt))

    def ask_model(self, table: Table, key: Key, seed: int, ids: tuple[str, str]) -> ModelAsk | None:
        """The turn of a model; None where its context leaves no room for a single token.

        Args:
            table: with the limits of trained seats.
            key: name of the stream.
            seed: of the stream.
            ids: of the episode and of its group.
        """
        player, rollout = self.setting.seats[self.seat], self.setting.part.leaf.rollout
        assert isinstance(player, ModelPlayer)
        assert not isinstance(self.memory, Chat)
        temperature, max_tokens, context = rollout.temperature, rollout.max_tokens_per_turn, self.memory.context()
        if self.is_trained and table.evaluation is not None:
            temperature, max_tokens = table.evaluation.temperature, table.evaluation.max_tokens
        max_tokens = max_tokens if player.max_tokens is None else player.max_tokens
        if self.is_trained and table.max_context is not None:
            max_tokens = min(max_tokens, table.max_context - len(context))
        if max_tokens < 1:
            return None
        temperature = temperature if player.temperature is None else player.temperature
        return ModelAsk(player, Request(context, max_tokens, temperature, key, seed, *ids))

    def read(self, answer: Completion | str) -> TurnRecord:
        """An answer as a record; `action` is set where it names a legal action. The memory keeps the answer."""
        player = self.setting.seats[self.seat]
        if isinstance(player, WrittenPlayer) and isinstance(answer, str):
            answer = player.write(answer)
        if isinstance(answer, Completion):
            assert not isinstance(self.memory, Chat)
            sequence, span = self.memory.say(answer, self.setting.index)
            text = self.memory.codec.decode(answer.ids)
            said = self._said(text, is_cut=answer.finish_reason == "length")
            return self.record(text, *said, tokens=(len(answer.ids), sequence, span))
        assert isinstance(self.memory, Chat)
        if self._reads:
            self.memory.say(answer)
        return self.record(answer, *self._said(answer, is_cut=isinstance(answer, CutText)))

    def record(
        self,
        text: str,
        action: str | None,
        end: TurnEnd,
        reason: str | None = None,
        *,
        tokens: Tokens = (0, None, None),
    ) -> TurnRecord:
        """A turn of this seat."""
        setting, seat = self.setting, self.seat
        return TurnRecord(setting.part.leaf.label, seat, setting.names[seat], text, action, end, reason, *tokens)

    def _said(self, text: str, *, is_cut: bool) -> tuple[str | None, TurnEnd, str | None]:
        """The action that a text names, how its turn ended, and why where that was without an action."""
        prompt = self.setting.game.plan.prompt
        if is_cut and self.is_trained:
            return None, "truncated", "the turn was cut at its token limit"
        parsed = parse_answer(text, prompt.tag, prompt.think if self.is_trained else "optional")
        if isinstance(parsed, BadFormat):
            return None, "bad_format", parsed.reason
        action = read_action(parsed.answer, self.legal)
        if isinstance(action, IllegalAction):
            return None, "illegal_action", action.reason
        return action, "action", None


def opponent_memory(table: Table, setting: Setting, seat: int) -> Chat | Transcript:
    """Of a seat that is not trained: it begins with the play."""
    player, system = setting.seats[seat], table.system_prompt
    if not isinstance(player, ModelPlayer):
        return Chat(system, keeps=table.keeps_history)
    if not table.keeps_history:
        return SingleTurns(player.template, player.policy.codec, system, strip=False, turns=count())
    strip = setting.part.leaf.rollout.thinking == "strip"
    return make_transcript(player.template, player.policy.codec, system, strip=strip)


def stream_of(keys: Keys, setting: Setting, seat: int, member: Member) -> Key:
    """What the streams of a seat have in their names; no two seats of a run share one, but where noise is common."""
    is_trained = seat in setting.trained
    if not is_trained and setting.part.leaf.rollout.opponent_noise == "common":
        member = OPENING
    return keys.name("policy" if is_trained else "opponent", *setting.key, *member, seat)

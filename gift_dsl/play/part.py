"""One play of one game as an explicit state machine: it says which turn it waits for, and is given the answer.

Nothing here waits or knows the loop. A failed call leaves the state as it was, so the same turn is asked again.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from gift_dsl.games.game import FreeText, Legal, Outcome, State
from gift_dsl.play.asks import Answer, Ask, JudgeAsk
from gift_dsl.play.chair import OPENING, Chair, Member, opponent_memory, stream_of
from gift_dsl.play.keys import Keys
from gift_dsl.play.parse import IllegalAction, read_action
from gift_dsl.play.seats import ModelPlayer, Table
from gift_dsl.play.setting import Setting
from gift_dsl.play.transcript import Chat, Transcript
from gift_dsl.records import OutcomeName, TurnRecord
from gift_dsl.seat import PlayerFault

# What an opponent that finds no legal text says instead: neutral, so that nobody wins or loses by it.
_FILLERS: Final = ("I have nothing to add.", "Pass.", "Nothing more from me.")


@dataclass(frozen=True, slots=True)
class SeatEnd:
    """How a play ended for one trained seat.

    Attributes:
        outcome: what it counts as.
        reward: in [0, 1] before penalties; None when void.
        finished: by the rules of the game, an illegal action included; not by a bad format or a used-up budget.
        reason: why, where the outcome alone does not say it.
    """

    outcome: OutcomeName
    reward: float | None
    finished: bool
    reason: str | None = None


Said = tuple[TurnRecord, Transcript | None]
"""A turn with the transcript that holds its tokens; the record's `sequence` counts within that transcript."""


@dataclass(slots=True, eq=False)
class Play:
    """One play of a part.

    Attributes:
        table, keys, setting: what is played where.
        member: in the names of streams; `OPENING` is shared by a group.
        state: of the game.
        chairs: of each seat that has been asked; the trained ones are put in before the play begins.
        said: turns in order.
        opponent_illegal: actions of opponents that could not be played.
        ends: by trained seat, once the play is over.
        fault: the failure that made the play void.
    """

    table: Table
    keys: Keys
    setting: Setting
    member: Member
    state: State
    chairs: dict[int, Chair] = field(default_factory=lambda: {})
    said: list[Said] = field(default_factory=lambda: [])
    opponent_illegal: int = 0
    ends: dict[int, SeatEnd] | None = None
    fault: PlayerFault | None = None
    _seat: int = -1
    _attempt: int = 0
    _num_failed: int = 0
    _ask: Ask | None = None
    _is_settled: bool = False

    def next(self) -> Ask | None:
        """The turn that the play waits for; None when it is over, or when an opening has reached a trained seat."""
        if self.ends is None and self._ask is None:
            self._advance()
        return None if self.ends is not None else self._ask

    def give(self, answer: Answer) -> None:
        """The answer to what was asked last."""
        self._ask = None
        if answer is None:
            self._is_settled = True
            return
        chair = self.chairs[self._seat]
        if isinstance(answer, PlayerFault):
            self._fail(chair, answer)
            return
        self._attempt = self._num_failed = 0
        record = self._played(chair.read(answer), chair.legal)
        self.said.append((record, None if isinstance(chair.memory, Chat) else chair.memory))
        chair.problem, chair.reason = (None, None) if record.end == "action" else (record.end, record.reason)
        if record.end == "action":
            chair.retries = chair.retries if chair.is_trained else 0
        elif chair.is_trained:
            self._refuse_trained(chair)
        else:
            self._refuse_opponent(chair)

    def resume(self) -> None:
        """Go on with a void play where it stopped: whoever failed is asked for the same turn again.

        Played from its start instead, a long game would be void more often than a short one and results would lean
        towards short ones.
        """
        chair = self.chairs[self._seat]
        self.ends = self.fault = None
        self._num_failed = chair.retries = 0
        if self.said[-1][0].end == "fault":
            self._ask = self._make_ask(chair)

    def fork(self, member: Member) -> Play:
        """A member's continuation of this opening."""
        chairs = {seat: chair.copy(self.keys, member) for seat, chair in self.chairs.items()}
        return Play(
            self.table,
            self.keys,
            self.setting,
            member,
            self.state,
            chairs,
            list(self.said),
            self.opponent_illegal,
            self.ends,
            self.fault,
            self._seat,
        )

    def sit(self, seat: int, memory: Chat | Transcript) -> Chair:
        """Take a seat."""
        stream = stream_of(self.keys, self.setting, seat, self.member)
        self.chairs[seat] = chair = Chair(self.setting, seat, self.keys.seed, stream, memory)
        return chair

    def _advance(self) -> None:
        """Ask whoever acts, or end."""
        if self.state.is_terminal:
            self._finish()
            return
        self._seat = seat = self.state.current_player
        is_trained = seat in self.setting.trained
        if is_trained and self.member == OPENING:
            return
        chair = self.chairs.get(seat) or self.sit(seat, opponent_memory(self.table, self.setting, seat))
        if is_trained and chair.turns_left < 1:
            self._end_early(chair, "loss", "every turn of this part was used up")
            return
        chair.tell(self.state)
        self._ask = self._make_ask(chair)

    def _make_ask(self, chair: Chair) -> Ask | None:
        if not isinstance(self.setting.seats[chair.seat], ModelPlayer):
            return chair.ask_player(self.state, self._attempt)
        key = (*chair.stream, chair.asked, self._attempt)
        if chair.ids is None:
            group = f"{self.keys.place}/{self.setting.key[0]}"
            place = () if chair.is_trained else (self.setting.index, chair.seat)
            chair.ids = "/".join(map(str, (group, *self.member, *place))), group
        ask = chair.ask_model(self.table, key, self.keys.seed, chair.ids)
        if ask is None:
            chair.truncated += 1
            self._end_early(chair, "bad_format", "the context is full")
        return ask

    def _fail(self, chair: Chair, fault: PlayerFault) -> None:
        """A call without an answer: ask the same turn again, or give the play up."""
        self.said.append((chair.record("", None, "fault", str(fault)), None))
        self._attempt += 1
        self._num_failed += 1
        if self._num_failed <= self.setting.part.leaf.rollout.max_turn_retries:
            self._ask = self._make_ask(chair)
        else:
            self._make_void(fault)

    def _make_void(self, fault: PlayerFault) -> None:
        self.fault = fault
        self.ends = {seat: SeatEnd("void", None, False, str(fault)) for seat in self.setting.trained}

    def _played(self, record: TurnRecord, legal: Legal) -> TurnRecord:
        """Put the state after an action in place of this one."""
        if record.action is None:
            return record
        try:
            self.state = self.state.apply(record.action)
        except ValueError as error:
            # Rules may refuse a text for more than can be listed; a listed action that they refuse is a bug.
            if isinstance(legal, FreeText):
                return replace(record, action=None, end="illegal_action", reason=str(error))
            raise
        return record

    def _refuse_trained(self, chair: Chair) -> None:
        """The game's rule for bad answers: try again, or lose."""
        plan, rollout = self.setting.game.plan, self.setting.part.leaf.rollout
        is_cut = chair.problem == "truncated"
        penalty = plan.illegal_penalty if chair.problem == "illegal_action" else plan.format_penalty
        record, memory = self.said[-1]
        self.said[-1] = (replace(record, penalty=penalty), memory)
        chair.penalty += penalty
        chair.note = f"{penalty:g}" if plan.show_penalty and penalty else None
        chair.truncated += is_cut
        if is_cut and rollout.on_truncation == "retry":
            return
        if not is_cut and chair.retries < plan.illegal_retries:
            chair.retries += 1
            return
        self._end_early(chair, "loss", chair.reason)

    def _refuse_opponent(self, chair: Chair) -> None:
        """The rule for opponents: some further tries, then what the spec says; never counted against the policy."""
        rollout = self.setting.part.leaf.rollout
        self.opponent_illegal += 1
        chair.retries += 1
        if chair.retries <= rollout.opponent_illegal_retry:
            return
        name = self.setting.names[chair.seat]
        match rollout.opponent_illegal_then:
            case "random_legal":
                self._play_for(chair)
            case "forfeit":
                self.ends = self._forfeit(chair.seat, f"{name} had no legal action")
            case "void":
                self._make_void(PlayerFault(name, f"no legal action: {chair.reason}"))

    def _play_for(self, chair: Chair) -> None:
        """A random legal action, or where actions cannot be listed a text that says nothing."""
        legal = chair.legal
        rng = chair.draws(chair.asked, "legal")
        action = _any_text(legal) if isinstance(legal, FreeText) else rng.choice(legal)
        if action is None:
            self._make_void(PlayerFault(self.setting.names[chair.seat], f"no legal action: {chair.reason}"))
            return
        record = chair.record("", action, "action", "played for an opponent without a legal action")
        self.said.append((self._played(record, legal), None))
        chair.problem = chair.reason = None
        chair.retries = 0

    def _end_early(self, chair: Chair, outcome: OutcomeName, reason: str | None) -> None:
        """A trained seat cannot go on: it loses, and whoever played against it wins."""
        named: dict[str, OutcomeName] = {"truncated": "bad_format", "bad_format": "bad_format"}
        named["illegal_action"] = "illegal_action"
        outcome = named.get(chair.problem or "", outcome)
        finished = outcome == "illegal_action"
        self.ends = self._forfeit(chair.seat, "the other side could not go on")
        self.ends[chair.seat] = replace(self.ends[chair.seat], outcome=outcome, finished=finished, reason=reason)

    def _forfeit(self, loser: int, reason: str) -> dict[int, SeatEnd]:
        """A seat loses by default, and with it those who share its role; all others win."""
        roles = self.setting.roles
        graded: dict[Outcome, Outcome] = {"win": 1.0, "loss": 0.0}
        ends: dict[int, SeatEnd] = {}
        for seat in self.setting.trained:
            loses = seat == loser or (roles[seat] != "" and roles[seat] == roles[loser])
            outcome: Outcome = "loss" if loses else "win"
            worth = graded[outcome] if self.setting.game.facts.graded else outcome
            ends[seat] = self._end(worth, reason)
        return ends

    def _finish(self) -> None:
        """The game is over: say what it came to, once its outcome can be told at once."""
        game = self.setting.game.game
        settle = None if self._is_settled else getattr(game, "settle", None)
        waiting = None if settle is None else settle(self.state)
        if waiting is not None:
            self._ask = JudgeAsk(waiting)
            return
        outcomes = self.state.outcome()
        explain = getattr(game, "reason", None)
        reason = None if explain is None else (str(explain(self.state)) or None)
        self.ends = {seat: self._end(outcomes[seat], reason) for seat in self.setting.trained}

    def _end(self, outcome: Outcome, reason: str | None) -> SeatEnd:
        """An outcome of the rules: its name and its worth. A grade that is neither 0 nor 1 counts as a draw."""
        win, draw, loss = self.setting.game.plan.reward
        match outcome:
            case "win":
                return SeatEnd("success", win, True, reason)
            case "draw":
                return SeatEnd("draw", draw, True, reason)
            case "loss":
                return SeatEnd("loss", loss, True, reason)
            case _:
                grade = float(outcome)
                return SeatEnd("success" if grade >= 1 else "draw" if grade > 0 else "loss", grade, True, reason)


def _any_text(legal: Legal) -> str | None:
    return next((text for text in _FILLERS if not isinstance(read_action(text, legal), IllegalAction)), None)

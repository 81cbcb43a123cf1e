"""One episode: it walks its parts, carries what the trained seats remember, and ends as trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from types import MappingProxyType
from typing import Final

from gift_dsl.play.asks import Answer, Ask
from gift_dsl.play.chair import OPENING
from gift_dsl.play.compose import Walk
from gift_dsl.play.keys import Keys
from gift_dsl.play.part import Play, Said, SeatEnd
from gift_dsl.play.reward import PartResult, composite_return
from gift_dsl.play.seats import ModelPlayer, Table, WrittenPlayer
from gift_dsl.play.setting import Setting, settle
from gift_dsl.play.transcript import Chat, SingleTurns, Transcript, make_transcript
from gift_dsl.records import OutcomeName, PartRecord, Trajectory, TurnRecord
from gift_dsl.records import Sequence as TokenSequence
from gift_dsl.seat import PlayerFault

FEEDBACK: Final[Mapping[OutcomeName, str]] = MappingProxyType(
    {
        "success": "You succeeded in the task before this one.",
        "draw": "The task before this one ended without a winner.",
        "loss": "You did not succeed in the task before this one.",
        "bad_format": "Your answer in the task before this one could not be read.",
        "illegal_action": "Your action in the task before this one was not allowed.",
    }
)


class GroupStart:
    """What the members of a group share, and the openings that are played once for all of them.

    Attributes:
        walk: what is played.
        settings: of each part.
        openings: of each part: what happens before the policy's first token of it.
        num_trajectories: trained seats of one episode.
        strips: thoughts are taken out of earlier turns, in all parts if one asks for it.
    """

    def __init__(self, table: Table, keys: Keys, walk: Walk) -> None:
        self.table, self.keys, self.walk = table, keys, walk
        self.settings = settle(table, keys, walk)
        self.openings = tuple(Play(table, keys, setting, OPENING, setting.state) for setting in self.settings)
        self.num_trajectories = max(len(setting.trained) for setting in self.settings)
        self.strips = any(part.leaf.rollout.thinking == "strip" for part in walk.parts)

    @property
    def id(self) -> str:
        """Of the group."""
        return f"{self.keys.place}/{self.walk.group}"


@dataclass(slots=True, eq=False)
class Trainee:
    """One trained seat through a whole episode.

    Attributes:
        index: of its trajectory in the episode.
        strips: its thoughts are taken out of earlier turns.
        memories: by number of the conversation.
        turns: numbers for its turns.
        parts: records so far.
        results: by label, of what was played.
        said: turns of every seat it played with.
        feedback, note: what its next message is to tell.
    """

    index: int
    strips: bool
    memories: dict[int, Chat | Transcript] = field(default_factory=lambda: {})
    turns: Iterator[int] = field(default_factory=count)
    parts: list[PartRecord] = field(default_factory=lambda: [])
    results: dict[str, PartResult] = field(default_factory=lambda: {})
    said: list[Said] = field(default_factory=lambda: [])
    feedback: str | None = None
    note: str | None = None

    def sit(self, play: Play, seat: int) -> None:
        """Take a trained seat of a play, with what is remembered of this conversation."""
        setting = play.setting
        context = setting.part.context
        if context not in self.memories:
            self.memories[context] = self._new_memory(play.table)
        chair = play.sit(seat, self.memories[context])
        chair.note, chair.feedback = self.note, self.feedback if setting.part.tells else None
        self.feedback = self.note = None

    def leave(self, play: Play, seat: int) -> None:
        """Take note of how a play ended."""
        assert play.ends is not None
        end, chair = play.ends[seat], play.chairs[seat]
        self.parts.append(_part_record(play, seat, end))
        self.said += play.said
        self.feedback, self.note = FEEDBACK.get(end.outcome), chair.note
        if end.reward is not None:
            self.results[play.setting.part.leaf.label] = PartResult(end.reward, end.finished)

    def tokens(self) -> tuple[tuple[TokenSequence, ...], tuple[TurnRecord, ...]]:
        """All sequences, and all turns with the places of their tokens in them."""
        sequences: list[TokenSequence] = []
        first: dict[int, int] = {}
        for memory in self.memories.values():
            if not isinstance(memory, Chat):
                first[id(memory)] = len(sequences)
                sequences += memory.sequences()
        return tuple(sequences), tuple(
            [said[0] if said[1] is None else _placed(said[0], said[1], first) for said in self.said]
        )

    def _new_memory(self, table: Table) -> Chat | Transcript:
        player, system = table.policy, table.system_prompt
        if not isinstance(player, ModelPlayer | WrittenPlayer):
            return Chat(system, keeps=table.keeps_history)
        codec = player.policy.codec if isinstance(player, ModelPlayer) else player.codec
        if not table.keeps_history:
            return SingleTurns(player.template, codec, system, strip=False, turns=self.turns)
        return make_transcript(player.template, codec, system, strip=self.strips, turns=self.turns)


class Episode:
    """One play of a walk by one member of a group.

    Attributes:
        start: what the group shares.
        member: number in the group.
        num_resumed: how often it has gone on after a failure.
        void: the failure that has left it without a result, and the share of such episodes that its game allows.
    """

    def __init__(self, start: GroupStart, member: int) -> None:
        self.start, self.member, self.num_resumed = start, member, 0
        self.void: tuple[PlayerFault, float] | None = None
        self._trainees = [Trainee(index, start.strips) for index in range(start.num_trajectories)]
        self._to_play = iter(self._plan())
        self._upcoming = next(self._to_play, None)
        self._play: Play | None = None

    def next(self) -> Ask | Play | None:
        """The turn it waits for; an opening that must be played first; None when it is over or void."""
        if self._play is not None:
            ask = self._play.next()
            if ask is not None:
                return ask
        while self._upcoming is not None:
            setting, index = self._upcoming
            opening = self.start.openings[setting.index]
            if self._play is None:
                if not is_played(opening):
                    return opening
                self._play = self._begin(opening, index)
            ask = self._play.next()
            if ask is not None:
                return ask
            if self._play.fault is not None:
                self.void = self._play.fault, setting.part.leaf.rollout.max_void_share
                return None
            self._end_play(self._play, index)
        return None

    def resume(self) -> None:
        """Go on with a void episode where it stopped."""
        self.void = None
        self.num_resumed += 1
        self.play.resume()

    def give_up(self) -> None:
        """Leave a void episode as it is: what was played before counts, what would come later is unplayed."""
        self._end_play(self.play, None if self._upcoming is None else self._upcoming[1])
        for setting, index in self._rest():
            for trainee, seat in self._players(setting, index):
                trainee.parts.append(_unplayed(setting, seat))

    def _rest(self) -> Sequence[tuple[Setting, int | None]]:
        """What has not been begun, and now will not be."""
        rest = [] if self._upcoming is None else [self._upcoming, *self._to_play]
        self._upcoming = None
        return rest

    @property
    def play(self) -> Play:
        """What is being played. Only between `next` and `give`."""
        assert self._play is not None, "nothing was asked"
        return self._play

    @property
    def setting(self) -> Setting:
        """The part that is played or comes next; the last one when the episode is over."""
        return self.start.settings[-1] if self._upcoming is None else self._upcoming[0]

    def give(self, answer: Answer) -> None:
        """The answer to what was asked last."""
        assert self._play is not None, "nothing was asked"
        self._play.give(answer)

    def trajectories(self) -> tuple[Trajectory, ...]:
        """One for each trained seat, in their order; the member's number is that of the episode."""
        return tuple(self._trajectory(trainee) for trainee in self._trainees)

    def role(self, index: int) -> str:
        """What a trajectory is grouped by where several seats are trained: its roles in the games they share."""
        shared = [setting for setting in self.start.settings if len(setting.trained) > 1]
        return "+".join(dict.fromkeys(setting.group_role(setting.trained[index]) for setting in shared))

    def _plan(self) -> Iterator[tuple[Setting, int | None]]:
        """Every play in order; the number is of the one trainee who plays, None where all play together.

        Where all seats of some game are trained, each of its trainees plays the other games by itself.
        """
        for setting in self.start.settings:
            if len(self._trainees) == len(setting.trained):
                yield setting, None
            else:
                yield from ((setting, trainee.index) for trainee in self._trainees)

    def _players(self, setting: Setting, index: int | None) -> Sequence[tuple[Trainee, int]]:
        """The trainees of a play with their seats."""
        if index is not None:
            return [(self._trainees[index], setting.trained[0])]
        return list(zip(self._trainees, setting.trained, strict=True))

    def _begin(self, opening: Play, index: int | None) -> Play:
        play = opening.fork((self.member, index or 0))
        for trainee, seat in self._players(play.setting, index):
            trainee.sit(play, seat)
        return play

    def _end_play(self, play: Play, index: int | None) -> None:
        for trainee, seat in self._players(play.setting, index):
            trainee.leave(play, seat)
        self._play = None
        self._upcoming = next(self._to_play, None)

    def _trajectory(self, trainee: Trainee) -> Trajectory:
        start = self.start
        sequences, turns = trainee.tokens()
        outcome = None
        if self.void is None:
            outcome = composite_return(start.walk.tree, trainee.results, step=start.keys.step, rates=start.table.rates)
        name = "/".join(map(str, (start.id, self.member, *([trainee.index] if len(self._trainees) > 1 else []))))
        return Trajectory(
            episode=name,
            group=start.id,
            member=self.member,
            task=start.walk.task,
            sequences=sequences,
            parts=tuple(trainee.parts),
            turns=turns,
            outcome_return=outcome,
            penalty=math.fsum(part.penalty for part in trainee.parts),
        )


def is_played(opening: Play) -> bool:
    """Whether an opening has come to the policy's first turn, or to its end."""
    return opening.next() is None


def _placed(record: TurnRecord, transcript: Transcript, first: Mapping[int, int]) -> TurnRecord:
    """A turn with the number of its sequence in the trajectory; without one where another seat spoke."""
    start = first.get(id(transcript))
    if start is None or record.sequence is None:
        return replace(record, sequence=None, span=None)
    return replace(record, sequence=start + record.sequence) if start else record


def _part_record(play: Play, seat: int, end: SeatEnd) -> PartRecord:
    setting, chair = play.setting, play.chairs[seat]
    return PartRecord(
        label=setting.part.leaf.label,
        game=setting.game.plan.name,
        instance=setting.instance,
        seat=seat,
        role=setting.roles[seat],
        outcome=end.outcome,
        reward=end.reward,
        penalty=chair.penalty,
        reason=end.reason,
        opponent_illegal=play.opponent_illegal,
        truncated=chair.truncated,
        chance=setting.chance,
    )


def _unplayed(setting: Setting, seat: int) -> PartRecord:
    label, plan = setting.part.leaf.label, setting.game.plan
    return PartRecord(
        label, plan.name, setting.instance, seat, setting.roles[seat], "unplayed", None, chance=setting.chance
    )

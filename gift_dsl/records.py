"""What was played, as plain data: turns, sequences, trajectories, episodes, groups and steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

RECORD_SCHEMA: Final = "gift-trajectory/1"

OutcomeName = Literal["success", "draw", "loss", "bad_format", "illegal_action", "void", "unplayed"]
"""Of one part for one seat. `void`: a player gave no answer; `unplayed`: a part after a void one."""

TurnEnd = Literal["action", "bad_format", "illegal_action", "truncated", "fault"]


@dataclass(frozen=True, slots=True)
class TurnRecord:
    """One action of one seat.

    Attributes:
        part: label of the part.
        seat: counted from 0.
        player: name of the player; `policy` for a trained seat.
        text: what it said.
        action: the action read from it; None when there is none.
        end: how the turn ended.
        reason: why, where `end` is not `action`.
        tokens: number of sampled ids; 0 for players without tokens.
        sequence: index of the sequence that holds the sampled ids; None for players that are not trained.
        span: [start, end) of the sampled ids in that sequence's completion.
        penalty: what this turn costs its seat, at most 0; the part's sum has it too.
    """

    part: str
    seat: int
    player: str
    text: str
    action: str | None
    end: TurnEnd
    reason: str | None = None
    tokens: int = 0
    sequence: int | None = None
    span: tuple[int, int] | None = None
    penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class Sequence:
    """One row of tokens: what was given and what was sampled, exactly.

    Attributes:
        prompt_ids: ids before the first sampled one.
        completion_ids: ids from the first sampled one to the last; sampled and given ones mixed.
        mask: 1 exactly on sampled ids, same length as `completion_ids`.
        logprobs: of the sampled distribution on sampled ids, 0.0 elsewhere.
        parts: for each completion id the index of the part it belongs to.
        turns: for each completion id the index of the policy's turn, -1 on given ids.
    """

    prompt_ids: tuple[int, ...]
    completion_ids: tuple[int, ...]
    mask: tuple[int, ...]
    logprobs: tuple[float, ...]
    parts: tuple[int, ...]
    turns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PartRecord:
    """How one part went for one trained seat.

    Attributes:
        label: of the leaf in its stage.
        game: name of the game.
        instance: canonical key of the instance.
        seat, role: of the trained seat.
        outcome: what it counts as.
        reward: worth in [0, 1] before penalties; None when void or unplayed.
        penalty: sum of the penalties of its turns, at most 0.
        reason: why it is void, badly formatted or illegal; None otherwise.
        opponent_illegal: actions of opponents that could not be played.
        truncated: turns cut at their token limit.
        chance: success rate of a uniform player on this instance, where the game states it.
    """

    label: str
    game: str
    instance: str
    seat: int
    role: str
    outcome: OutcomeName
    reward: float | None
    penalty: float = 0.0
    reason: str | None = None
    opponent_illegal: int = 0
    truncated: int = 0
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Trajectory:
    """One trained seat's record of an episode.

    Attributes:
        episode: id of the episode.
        group: id of the group (of the role within it, when every seat is trained).
        member: index in the group.
        task: label of what was played (a leaf's label, or the labels of an `all_of`), for selection per task.
        sequences: one if contexts are shared, one per part if fresh, one per turn where a template rewrites history.
        parts: in the order played.
        turns: of every seat, in the order played.
        outcome_return: aggregate of the parts' rewards; None when void.
        penalty: sum of all penalties, at most 0.
    """

    episode: str
    group: str
    member: int
    task: str
    sequences: tuple[Sequence, ...]
    parts: tuple[PartRecord, ...]
    turns: tuple[TurnRecord, ...]
    outcome_return: float | None
    penalty: float

    @property
    def is_void(self) -> bool:
        """True when a player's failure left the episode without a return."""
        return self.outcome_return is None

    @property
    def raw_return(self) -> float | None:
        """Aggregate plus penalties: what selection and advantages use."""
        return None if self.outcome_return is None else self.outcome_return + self.penalty


@dataclass(frozen=True, slots=True)
class Group:
    """The trajectories that share a start and a baseline, in order of member."""

    id: str
    task: str
    trajectories: tuple[Trajectory, ...]


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What one step logs: a flat mapping of numbers, and what it was part of."""

    stage: str
    step: int
    metrics: Mapping[str, float]

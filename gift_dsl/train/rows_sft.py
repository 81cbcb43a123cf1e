"""From trajectories to what a supervised update learns from: rows of ids, with a mask of what is learned.

`where` chooses games and outcomes part by part: what a policy said in a part that is not wanted stays in the context
of what comes after it, with mask 0. An episode of which nothing is wanted is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gift_dsl.plan import JsonMap
from gift_dsl.records import OutcomeName, Trajectory

_COUNTS_AS: Final[Mapping[OutcomeName, str]] = {
    "success": "win",
    "draw": "draw",
    "loss": "loss",
    "bad_format": "loss",
    "illegal_action": "loss",
}


@dataclass(frozen=True, slots=True)
class TaughtRow:
    """One sequence.

    Attributes:
        ids: the whole of it.
        mask: 1 on ids that are learned, same length.
    """

    ids: tuple[int, ...]
    mask: tuple[int, ...]


Taught = tuple[TaughtRow, ...]
"""The rows of one episode, at least one; each has an id that is learned."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which play is learned from; None: any.

    Attributes:
        games: their names.
        outcomes: `win`, `draw` or `loss`; a part without a result has none and is wanted only by None.
        steps: from the first to the last, both included.
    """

    games: frozenset[str] | None = None
    outcomes: frozenset[str] | None = None
    steps: tuple[int, int] | None = None

    def has_step(self, step: int) -> bool:
        """Whether a step is wanted."""
        return self.steps is None or self.steps[0] <= step <= self.steps[1]

    def parts(self, trajectory: Trajectory) -> frozenset[int]:
        """The numbers of the parts that are wanted."""
        return frozenset(
            number
            for number, part in enumerate(trajectory.parts)
            if (self.games is None or part.game in self.games)
            and (self.outcomes is None or _COUNTS_AS.get(part.outcome) in self.outcomes)
        )


def make_wanted(where: JsonMap | None) -> Wanted:
    """What the `where` of a stage asks for."""
    where = where or {}
    outcome = where.get("outcome")
    steps = where.get("steps")
    return Wanted(
        games=_names(where.get("game")),
        outcomes=None if outcome == "any" else _names(outcome),
        steps=None if steps is None else (steps[0], steps[1]),
    )


def _names(value: Any) -> frozenset[str] | None:  # a name, several, or None
    if value is None:
        return None
    return frozenset([value] if isinstance(value, str) else value)


def taught_rows(trajectory: Trajectory, wanted: Wanted) -> Taught:
    """The rows of one trajectory of which something is learned; its step is not looked at."""
    parts = wanted.parts(trajectory)
    rows: list[TaughtRow] = []
    for sequence in trajectory.sequences:
        learned = [int(bit and part in parts) for bit, part in zip(sequence.mask, sequence.parts, strict=True)]
        if any(learned):
            given = (0,) * len(sequence.prompt_ids)
            rows.append(TaughtRow((*sequence.prompt_ids, *sequence.completion_ids), (*given, *learned)))
    return tuple(rows)


def taught_play(played: Iterable[tuple[int, Trajectory]], wanted: Wanted) -> Iterator[Taught]:
    """The rows of every episode of which something is learned.

    Args:
        played: trajectories with their steps.
        wanted: which are learned from.
    """
    for step, trajectory in played:
        rows = taught_rows(trajectory, wanted) if wanted.has_step(step) else ()
        if rows:
            yield rows


def fits(rows: Sequence[TaughtRow], max_context: int) -> bool:
    """Whether every row is at most so long."""
    return all(len(row.ids) <= max_context for row in rows)

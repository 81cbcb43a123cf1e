"""The processes that train together, as far as playing is concerned: who one is, and how all get what each has.

Without a process group there is one. Exceptions travel too: a process that failed alone would leave the others
waiting for it for ever.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast

from gift_dsl.errors import GiftError, LimitReached, MachineError
from gift_dsl.play.voids import TooManyVoids

T = TypeVar("T")
Gather = Callable[[Any], list[Any]]
"""From what one process has to what each has, by rank."""


def _alone(value: Any) -> list[Any]:
    return [value]


@dataclass(frozen=True, slots=True)
class Team:
    """A process among its peers.

    Attributes:
        rank: counted from 0.
        size: number of processes.
        gather: called by all of them together.
    """

    rank: int = 0
    size: int = 1
    gather: Gather = _alone

    def together(self, work: Callable[[], Sequence[T]]) -> list[T]:
        """What the work of every process gives, one after the other by rank.

        Raises:
            GiftError: on every process, if the work of one raised, and of the same class on all of them: what is done
                about it (a limit saves and stops) is done together. Another process's is told with its rank.
        """
        mine: list[T] = []
        error: BaseException | None = None
        try:
            mine = list(work())
        except Exception as caught:  # noqa: BLE001 - told to the others and raised again below
            error = caught
        shared = cast("list[tuple[list[T], Failure | None]]", self.gather((mine, _failure(error))))
        failures = {rank: failure for rank, (_, failure) in enumerate(shared) if failure is not None}
        worst = min((kind for kind, _ in failures.values()), default=None)
        if error is not None and failures[self.rank][0] == worst:
            raise error
        if worst is not None:
            told = "; ".join(f"process {rank}: {text}" for rank, (kind, text) in failures.items() if kind == worst)
            raise _KINDS[worst](told if worst else f"another process failed: {told}") from error
        return [one for own, _ in shared for one in own]


Failure = tuple[int, str]
"""Place in `_KINDS` and text of what a process's work raised."""

_KINDS: Final = (GiftError, MachineError, TooManyVoids, LimitReached)
"""What all processes raise because of one; where several failed, the first of these."""


_OF_ANOTHER: Final = re.compile(r"(another process failed: )?process \d+: ")
"""How `together` begins what it tells of a process that is not this one."""


def is_of_another(message: str) -> bool:
    """Whether an error tells of a process that is not the one that raised it."""
    return _OF_ANOTHER.match(message) is not None


def _failure(error: BaseException | None) -> Failure | None:
    if error is None:
        return None
    kind = next((place for place in (1, 2, 3) if isinstance(error, _KINDS[place])), 0)
    return kind, str(error) if kind else f"{type(error).__name__}: {error}"

"""The processes that train together, as far as playing is concerned: who one is, and how all get what each has.

Without a process group there is one. Exceptions travel too: a process that failed alone would leave the others
waiting for it for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from gift_dsl.errors import GiftError

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
            GiftError: on every process, if the work of one raised; another process's is told with its rank.
        """
        mine: list[T] = []
        error: BaseException | None = None
        try:
            mine = list(work())
        except Exception as caught:  # noqa: BLE001 - told to the others and raised again below
            error = caught
        reason = None if error is None else f"{type(error).__name__}: {error}"
        shared = cast("list[tuple[list[T], str | None]]", self.gather((mine, reason)))
        if error is not None:
            raise error
        failed = [f"process {rank}: {reason}" for rank, (_, reason) in enumerate(shared) if reason is not None]
        if failed:
            raise GiftError("another process failed: " + "; ".join(failed))
        return [one for own, _ in shared for one in own]

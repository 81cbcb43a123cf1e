"""Episodes without a result: how many a step may have, and whose failures they were."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from gift_dsl.errors import GiftError
from gift_dsl.seat import PlayerFault


class TooManyVoids(GiftError):  # noqa: N818 - what happened, in the words of the design
    """More episodes of a step than allowed have no result, because players gave no answer. The run can be resumed."""


class VoidLimit:
    """Counts the episodes of one step that have no result.

    Where games allow different shares, each void one weighs the share of its own game.

    Args:
        place: of the step, for messages.
        episodes: of the step, of all processes.
        known: reasons and allowed shares of those that are without a result already.

    Raises:
        TooManyVoids: `known` is more than the share allows.
    """

    def __init__(self, place: str, episodes: int, known: Iterable[tuple[str, float]] = ()) -> None:
        self.place, self.episodes = place, episodes
        self.faults = Counter[str]()
        self.used = 0.0
        for reason, share in known:
            self.add(reason, share)

    def add(self, fault: PlayerFault | str, max_share: float) -> None:
        """One more episode without a result.

        Raises:
            TooManyVoids: there are now more than the share allows; names the endpoints and the reasons.
        """
        self.faults[str(fault)] += 1
        allowed = max_share * self.episodes
        self.used += 1 / allowed if allowed else float("inf")
        if self.used > 1 + 1e-9:
            reasons = "; ".join(f"{reason} ({count} times)" for reason, count in self.faults.most_common(5))
            raise TooManyVoids(
                f"{self.faults.total()} of the {self.episodes} episodes of {self.place} have no result, more than the "
                f"{max_share:.0%} that `max_void_share` allows: {reasons}"
            )

"""Baselines by role: a running mean of what each role of each game returns, for trajectories without a fair group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from gift_dsl.records import PartRecord


@dataclass(frozen=True, slots=True)
class RoleBaselines:
    """Role-conditioned advantage estimation (RAE; Liu et al. 2025, SPIRAL, arXiv:2506.24119).

        A = R - b[role];    then b[role] <- decay * b[role] + (1 - decay) * R

    Advantages are taken from the baselines as they were at the step's start; a baseline that already knew the return
    it is subtracted from would be biased. There is no division by a std.

    Attributes:
        decay: in [0, 1).
        means: running mean by `role_key`, 0 where nothing was seen yet: all that a checkpoint has to keep.
    """

    decay: float
    means: Mapping[str, float] = field(default_factory=dict[str, float])

    def __getitem__(self, key: str) -> float:
        return self.means.get(key, 0.0)

    def updated(self, returns: Iterable[tuple[str, float]]) -> RoleBaselines:
        """After a step: keys and returns in (group, member) order, those of void members left out."""
        means = dict(self.means)
        for key, value in returns:
            means[key] = self.decay * means.get(key, 0.0) + (1 - self.decay) * value
        return replace(self, means=means)


def role_key(parts: Sequence[PartRecord]) -> str:
    """What a return is a return of: game and role of every part in it, in whatever order they were played.

    Where a game has no roles, the seat takes their place.
    """
    return " + ".join(sorted(f"{part.game}/{part.role or f'seat {part.seat}'}" for part in parts))

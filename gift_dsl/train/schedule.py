"""The learning rate of each step, as a pure function of the step."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, assert_never


@dataclass(frozen=True, slots=True)
class RateSchedule:
    """How the learning rate goes.

    Attributes:
        kind: what follows the warm-up.
        warmup: steps over which the rate rises; the first of them is not idle, the last has the full rate.
        horizon: step at which a linear or cosine schedule has come to its end; counted from the stage's start.
        floor: that end, as a share of the peak.
    """

    kind: Literal["constant", "linear", "cosine"]
    warmup: int
    horizon: int
    floor: float


def rate_factor(schedule: RateSchedule, step: int) -> float:
    """The learning rate of a step as a share of the peak, in [0, 1].

    Args:
        schedule: the plan's.
        step: counted from 0 within the stage; all updates of a step have one rate.
    """
    if step < schedule.warmup:
        return (step + 1) / schedule.warmup
    if step >= schedule.horizon:
        return 1.0 if schedule.kind == "constant" else schedule.floor
    done = (step - schedule.warmup) / (schedule.horizon - schedule.warmup)
    match schedule.kind:
        case "constant":
            return 1.0
        case "linear":
            left = 1 - done
        case "cosine":
            left = (1 + math.cos(math.pi * done)) / 2
        case _:
            assert_never(schedule.kind)
    return schedule.floor + (1 - schedule.floor) * left

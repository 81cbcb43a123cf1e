"""Statistics of outcomes: intervals, paired comparisons, ratings and the sample sizes a difference needs."""

from __future__ import annotations

import math
from statistics import NormalDist


def wilson(successes: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """The score interval of a rate (Wilson 1927, JASA 22; method 3 of Newcombe 1998, Statistics in Medicine 17).

        (p + z^2/2n +- z sqrt(p(1-p)/n + z^2/4n^2)) / (1 + z^2/n),  p = successes/n, n = total

    It is never empty and never leaves [0, 1], at rates of 0 and 1 and for few rounds too. The rounds are taken as
    independent: those that share an instance need an interval clustered by it.

    Args:
        successes: in [0, total].
        total: number of rounds; without any the rate can be everything, and the interval is (0, 1).
        confidence: two-sided, in (0, 1).

    Returns:
        Lower and upper bound of the rate, as shares.

    Raises:
        ValueError: a number is outside its range.
    """
    if not 0 <= successes <= total:
        raise ValueError(f"successes must be between 0 and total: {successes} of {total}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, both excluded: {confidence}")
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate, scale = successes / total, 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # Where all or none succeed one bound is exact, but not in floating point.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == total else centre + half
    return low, high

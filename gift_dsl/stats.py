"""Statistics of outcomes: intervals, paired comparisons, and the sample sizes that a difference needs.

The standard library is enough for all but the bootstrap: `gift plan` says how many rounds and seeds a difference needs
without importing numpy or scipy. Confidences are two-sided, in (0, 1).
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist, fmean, variance
from typing import Final

Interval = tuple[float, float]
"""Lower and upper bound."""

_NORMAL: Final = NormalDist()
_MOST_NEEDED: Final = 10**9


def wilson(successes: int, total: int, confidence: float = 0.95) -> Interval:
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
    _check_confidence(confidence)
    if total == 0:
        return 0.0, 1.0
    return _score_interval(successes / total, total, _NORMAL.inv_cdf((1 + confidence) / 2))


def clustered_mean(clusters: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """The interval of a mean of values in [0, 1] that come in clusters: rounds that share an instance.

    Wilson's interval at the effective number of rounds n* = p(1-p)/v, with the t quantile of K - 1 degrees of freedom
    in place of z (the way of Korn and Graubard 1998, Survey Methodology 24, with the interval of Wilson). v is the
    variance of the ratio estimate p = sum y / sum m over K clusters (Cochran 1977, equation 6.13), but never below that
    of independent rounds: a design effect below 1 is not believed. Where all values are alike every cluster counts as
    one round. Clusters of one round of 0 or 1 give Wilson's interval with t in place of z.

    Args:
        clusters: the values of each; empty ones are left out.
        confidence: two-sided, in (0, 1).

    Returns:
        Lower and upper bound; (0, 1) for fewer than two clusters, which say nothing of others.

    Raises:
        ValueError: a value or the confidence is outside its range.
    """
    _check_confidence(confidence)
    filled = [cluster for cluster in clusters if cluster]
    if any(not 0 <= value <= 1 for cluster in filled for value in cluster):
        raise ValueError("values must be in [0, 1]")
    num_clusters, num_values = len(filled), sum(map(len, filled))
    if num_clusters < 2:
        return 0.0, 1.0
    mean = math.fsum(value for cluster in filled for value in cluster) / num_values
    between = math.fsum((math.fsum(cluster) - mean * len(cluster)) ** 2 for cluster in filled)
    between *= num_clusters / (num_clusters - 1) * (num_values - 1) / num_values
    within = math.fsum((value - mean) ** 2 for cluster in filled for value in cluster)
    spread = max(between, within) / num_values**2
    effective = mean * (1 - mean) / spread if spread > 1e-18 else num_clusters
    return _score_interval(mean, effective, t_quantile((1 + confidence) / 2, num_clusters - 1))


def _score_interval(rate: float, total: float, z: float) -> Interval:
    scale = 1 + z * z / total
    centre = (rate + z * z / (2 * total)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / total + z * z / (4 * total * total))
    # Where all or none succeed one bound is exact, but not in floating point.
    low = 0.0 if rate == 0 else max(0.0, centre - half)
    high = 1.0 if rate == 1 else min(1.0, centre + half)
    return low, high


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two means.

    Attributes:
        estimate: second minus first.
        interval: of the difference.
        p_value: two-sided, of no difference.
    """

    estimate: float
    interval: Interval
    p_value: float


def welch(first: Sequence[float], second: Sequence[float], confidence: float = 0.95) -> Difference:
    """The difference of two means of independent values with unequal variances (Welch 1947, Biometrika 34).

    For methods the values are one score a seed: then the interval is that of the methods, not of the items.

    Args:
        first: at least two values.
        second: at least two values.
        confidence: two-sided, in (0, 1).

    Raises:
        ValueError: fewer than two values.
    """
    _check_confidence(confidence)
    if min(len(first), len(second)) < 2:
        raise ValueError(f"a spread needs at least two values: {len(first)} and {len(second)}")
    estimate = fmean(second) - fmean(first)
    shares = [variance(values) / len(values) for values in (first, second)]
    error = math.sqrt(sum(shares))
    if error == 0:
        return Difference(estimate, (estimate, estimate), 1.0 if estimate == 0 else 0.0)
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(values) - 1) for share, values in zip(shares, (first, second), strict=True)
    )
    half = t_quantile((1 + confidence) / 2, freedom) * error
    return Difference(estimate, (estimate - half, estimate + half), 2 * t_tail(abs(estimate) / error, freedom))


def mcnemar(only_first: int, only_second: int) -> float:
    """Exact two-sided p-value of paired successes (McNemar 1947; the binomial test of the pairs that differ).

    Args:
        only_first: pairs in which only the first succeeded.
        only_second: pairs in which only the second did.
    """
    total, least = only_first + only_second, min(only_first, only_second)
    return min(1.0, 2 * sum(math.comb(total, count) for count in range(least + 1)) / 2**total)


def paired_score(differences: Sequence[Sequence[float]], confidence: float = 0.95) -> Interval:
    """The score interval of a difference of paired rates (Tango 1998, Statistics in Medicine 17, 891-908).

    The bounds are the differences d that the score test does not reject, of n pairs of which the first alone succeeded
    in b and the second alone in c:

        (c - b - n d) / sqrt(n (2 q + d (1 - d))) = +- z,  q the likelihood estimate of b / n under d

    It always has a width, where no pair differs too. Pairs that share an instance count at their effective number, n
    times the variance of independent pairs by that between instances, at most n, with the t quantile in place of z;
    where all of them differ alike every instance counts as one pair (as in `clustered_mean`).

    Args:
        differences: second minus first, -1, 0 or 1, for each pair of each cluster (an instance); empty ones are left
            out.
        confidence: two-sided, in (0, 1).

    Returns:
        Lower and upper bound in [-1, 1]; (-1, 1) for fewer than two clusters.

    Raises:
        ValueError: a difference or the confidence is something else.
    """
    _check_confidence(confidence)
    filled = [cluster for cluster in differences if cluster]
    values = [value for cluster in filled for value in cluster]
    if any(value not in (-1, 0, 1) for value in values):
        raise ValueError("differences of outcomes must be -1, 0 or 1")
    if len(filled) < 2:
        return -1.0, 1.0
    is_clustered = len(values) > len(filled)
    total = _effective(filled) if is_clustered else len(values)
    share = total / len(values)
    only_first, only_second = share * values.count(-1), share * values.count(1)
    probability = (1 + confidence) / 2
    z = t_quantile(probability, len(filled) - 1) if is_clustered else _NORMAL.inv_cdf(probability)
    # the bounds for the first are those for the second, with both signs turned
    return -_tango(only_second, only_first, total, z), _tango(only_first, only_second, total, z)


def _effective(clusters: Sequence[Sequence[float]]) -> float:
    """How many independent values say as much of their mean as those in clusters do; at most their number."""
    num_clusters, num_values = len(clusters), sum(map(len, clusters))
    mean = math.fsum(map(math.fsum, clusters)) / num_values
    between = math.fsum((math.fsum(cluster) - mean * len(cluster)) ** 2 for cluster in clusters)
    between *= num_clusters / (num_clusters - 1) * (num_values - 1) / num_values
    within = math.fsum((value - mean) ** 2 for cluster in clusters for value in cluster)
    return num_values * within / max(between, within) if within > 1e-18 else num_clusters


def _tango(only_first: float, only_second: float, total: float, z: float) -> float:
    """The upper bound of the second's rate minus the first's: the score falls as the difference grows."""

    def is_rejected(difference: float) -> bool:
        spare = difference * (1 - difference)
        middle = (2 * total - only_second + only_first) * difference - only_first - only_second
        root = math.sqrt(max(0.0, middle * middle + 8 * total * only_first * spare))
        share = (root - middle) / (4 * total)
        variance = max(0.0, total * (2 * share + spare))
        return total * difference - (only_second - only_first) > z * math.sqrt(variance)

    low, high = (only_second - only_first) / total, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if is_rejected(middle) else (middle, high)
    return high


def paired_bootstrap(
    differences: Sequence[Sequence[float]], rng: random.Random, *, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """The mean difference of pairs in clusters: percentile interval of whole clusters drawn again (Efron 1979).

    The p-value is that of flipping the sign of whole clusters (Fisher's randomisation test), which is exact when the
    arms are alike, whatever the values are.

    Args:
        differences: second minus first, for each pair of each cluster (an instance); empty clusters are left out.
        rng: a stream of `gift_dsl.rng`.
        resamples: of each kind.
        confidence: two-sided, in (0, 1).

    Raises:
        ValueError: there are fewer than two clusters.
    """
    import numpy as np

    _check_confidence(confidence)
    filled = [cluster for cluster in differences if cluster]
    if len(filled) < 2:
        raise ValueError("a paired comparison needs at least two instances")
    sums = np.array([math.fsum(cluster) for cluster in filled])
    sizes = np.array([len(cluster) for cluster in filled], dtype=float)
    generator = np.random.default_rng(rng.getrandbits(128))
    estimate = float(sums.sum() / sizes.sum())
    means, flipped = np.empty(resamples), np.empty(resamples)
    for start in range(0, resamples, 500):
        stop = min(start + 500, resamples)
        drawn = generator.integers(len(filled), size=(stop - start, len(filled)))
        means[start:stop] = sums[drawn].sum(1) / sizes[drawn].sum(1)
        signs = generator.integers(2, size=(stop - start, len(filled))) * 2 - 1
        flipped[start:stop] = signs @ sums / sizes.sum()
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    extreme = int((np.abs(flipped) >= abs(estimate) - 1e-12).sum())
    return Difference(estimate, (float(low), float(high)), (extreme + 1) / (resamples + 1))


def holm(p_values: Sequence[float]) -> tuple[float, ...]:
    """p-values corrected for their number (Holm 1979, Scandinavian Journal of Statistics 6), in the order given."""
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected, worst = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = worst
    return tuple(corrected)


def rounds_needed(rate: float, difference: float, *, power: float = 0.8, confidence: float = 0.95) -> int:
    """Rounds of each of two checkpoints that show a difference of rates (Fleiss 1981, equation 3.14, uncorrected).

    Rounds are taken as independent; those that share an instance count for less, by their design effect.

    Args:
        rate: of the first, in (0, 1).
        difference: to be seen, not 0; `rate + difference` in [0, 1].
        power: probability that it is seen, in (0, 1).
        confidence: two-sided, in (0, 1).

    Raises:
        ValueError: a number is outside its range.
    """
    other = rate + difference
    if not 0 < rate < 1 or not 0 <= other <= 1 or difference == 0:
        raise ValueError(f"rates must be different and in [0, 1]: {rate} and {other}")
    _check_confidence(confidence)
    z, z_power = _NORMAL.inv_cdf((1 + confidence) / 2), _NORMAL.inv_cdf(power)
    middle = (rate + other) / 2
    root = z * math.sqrt(2 * middle * (1 - middle)) + z_power * math.sqrt(rate * (1 - rate) + other * (1 - other))
    return math.ceil((root / difference) ** 2)


def seeds_needed(spread: float, difference: float, *, power: float = 0.8, confidence: float = 0.95) -> int:
    """Seeds of each of two methods that show a difference of means, at least 3.

        n >= 2 (spread / difference)^2 (t_(1+confidence)/2 + t_power)^2,  t with 2n - 2 degrees of freedom

    Args:
        spread: standard deviation between seeds, at least 0, in the unit of `difference`.
        difference: to be seen, not 0.
        power: probability that it is seen, in (0, 1).
        confidence: two-sided, in (0, 1).

    Raises:
        ValueError: a number is outside its range.
    """
    if spread < 0 or difference == 0:
        raise ValueError(f"a spread is at least 0 and a difference is not 0: {spread}, {difference}")
    _check_confidence(confidence)

    def suffices(seeds: int) -> bool:
        freedom = 2 * seeds - 2
        total = t_quantile((1 + confidence) / 2, freedom) + t_quantile(power, freedom)
        return seeds >= 2 * (spread / difference) ** 2 * total**2

    return _least(suffices, 3)


def _least(suffices: Callable[[int], bool], first: int) -> int:
    """The least number from `first` on that suffices; whatever is larger suffices too."""
    high = first
    while not suffices(high):
        if high > _MOST_NEEDED:
            raise ValueError("the difference is too small for any number of seeds")
        high *= 2
    low = first if high == first else high // 2
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle + 1, high)
    return high


def t_tail(value: float, freedom: float) -> float:
    """P(T > value) of Student's t, value at least 0 (Abramowitz and Stegun 1964, 26.7.1)."""
    return _incomplete_beta(freedom / 2, 0.5, freedom / (freedom + value * value)) / 2


@lru_cache(maxsize=1024)
def t_quantile(probability: float, freedom: float) -> float:
    """The value that Student's t stays below with a probability in (0, 1); `freedom` is positive."""
    if not 0 < probability < 1 or not freedom > 0:
        raise ValueError(f"a probability is in (0, 1) and degrees of freedom are positive: {probability}, {freedom}")
    if probability < 0.5:
        return -t_quantile(1 - probability, freedom)
    low, high = 0.0, 2.0
    while t_tail(high, freedom) > 1 - probability:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_tail(middle, freedom) > 1 - probability else (low, middle)
    return (low + high) / 2


def _incomplete_beta(a: float, b: float, x: float) -> float:
    """I_x(a, b), the continued fraction of Abramowitz and Stegun 26.5.8 by the method of Lentz (1976)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        return 1 - _incomplete_beta(b, a, 1 - x)
    log_front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    upper, lower = 1.0, 0.0
    fraction = 1.0
    for step in range(10_000):
        half = step // 2
        if step == 0:
            term = 1.0
        elif step % 2:
            term = -(a + half) * (a + b + half) * x / ((a + 2 * half) * (a + 2 * half + 1))
        else:
            term = half * (b - half) * x / ((a + 2 * half - 1) * (a + 2 * half))
        lower = 1 / _not_zero(1 + term * lower)
        upper = _not_zero(1 + term / upper)
        fraction *= upper * lower
        if abs(1 - upper * lower) < 1e-15 and step:
            break
    return math.exp(log_front) * (fraction - 1) / a


def _not_zero(value: float) -> float:
    return value if abs(value) > 1e-300 else 1e-300


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be between 0 and 1, both excluded: {confidence}")

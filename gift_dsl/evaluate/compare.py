"""Whether two arms differ. Items are not methods.

One run an arm compares two checkpoints, pair by pair on the same instances. A verdict on methods needs several seeds an
arm, and the spread between them. A difference whose interval covers zero is none, and nothing is compared that too many
plays without a result may have changed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import fmean
from typing import Any, Final, Literal

from gift_dsl.errors import GiftError, UsageError
from gift_dsl.evaluate.scores import Round
from gift_dsl.rng import stream
from gift_dsl.stats import Difference, Interval, clustered_mean, holm, mcnemar, paired_bootstrap, paired_score, welch

COMPARISON_SCHEMA: Final = "gift-comparison/1"
LEAST_SEEDS: Final = 3
MAX_DROPPED: Final = 0.02
CONFIDENCE: Final = 0.95

Kind = Literal["checkpoints", "methods", "too few seeds"]
Measure = Literal["success", "score"]
Verdict = Literal["higher", "lower", "none", "refused"]

_Key = tuple[int, int, int]
"""Number of the instance, seat, and how often both stood before: what is paired across runs."""


@dataclass(frozen=True, slots=True)
class RunScores:
    """The rounds of one run.

    Attributes:
        run: its name.
        seed: of its training.
        games: rounds by name of a game, or `chain/label` for a part of a chain.
    """

    run: str
    seed: int
    games: Mapping[str, Sequence[Round]]


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two arms in one game.

    Attributes:
        game: its name, or `chain/label`.
        arms: names of the first and the second.
        means: of each, over the rounds that are compared; None where there are none.
        difference: second minus first; None where it could not be estimated.
        interval: of the difference, 95 %, not corrected for the number of games; None without enough seeds.
        p_value: two-sided; None as above.
        corrected: `p_value` by Holm's method over all games and pairs of arms.
        num_pairs: rounds compared, for each run.
        num_dropped: rounds left out of both arms, because one had no result.
        verdict: of the second against the first; `none` where the interval covers zero or `corrected` is above 5 %;
            `refused` where `reason` says why.
        reason: why it is refused, or why nothing is found though the interval leaves out zero.
    """

    game: str
    arms: tuple[str, str]
    means: tuple[float | None, float | None]
    difference: float | None
    interval: Interval | None
    p_value: float | None
    corrected: float | None
    num_pairs: int
    num_dropped: int
    verdict: Verdict
    reason: str | None = None

    def __str__(self) -> str:
        first, second = self.arms
        place = f"{self.game}: {second} against {first}"
        shown = "" if self.difference is None else f" {100 * self.difference:+.1f} points"
        if self.interval is not None:
            shown += f" ({100 * self.interval[0]:+.1f} to {100 * self.interval[1]:+.1f})"
        match self.verdict:
            case "refused":
                return f"{place}:{shown} no verdict, {self.reason}"
            case "none":
                return f"{place}: {self.reason or 'no difference'}{shown and f',{shown}'}"
            case _:
                return f"{place}: {self.verdict},{shown}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """What may be said of some arms.

    Attributes:
        kind: of what: two checkpoints (one run an arm), methods, or neither for want of seeds.
        measure: rate of success, or mean score with draws.
        note: what a reader must know, in a sentence.
        contrasts: of each pair of arms, each game.
    """

    kind: Kind
    measure: Measure
    note: str
    contrasts: tuple[Contrast, ...]

    def __str__(self) -> str:
        return "\n".join([self.note, *map(str, self.contrasts)])

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "schema": COMPARISON_SCHEMA,
            "kind": self.kind,
            "measure": self.measure,
            "note": self.note,
            "contrasts": [
                {
                    "game": one.game,
                    "arms": list(one.arms),
                    "means": list(one.means),
                    "difference": one.difference,
                    "interval": None if one.interval is None else list(one.interval),
                    "p_value": one.p_value,
                    "corrected": one.corrected,
                    "pairs": one.num_pairs,
                    "dropped": one.num_dropped,
                    "verdict": one.verdict,
                    "reason": one.reason,
                }
                for one in self.contrasts
            ],
        }


def run_scores(run: str, seed: int, samples: Iterable[Mapping[str, Any]]) -> RunScores:
    """The rounds of a run from what `GamesResult.samples` wrote.

    Raises:
        GiftError: a line lacks what a comparison needs.
    """
    games: defaultdict[str, list[Round]] = defaultdict(list)
    for sample in samples:
        try:
            chain, label = sample["chain"], sample["label"]
            one = Round(**{name: value for name, value in sample.items() if name not in ("game", "label", "chain")})
        except (KeyError, TypeError) as error:
            raise GiftError(f"the rounds of `{run}` cannot be read: {error}") from error
        games[label if chain is None else f"{chain}/{label}"].append(one)
    return RunScores(run, seed, games)


def compare(
    arms: Mapping[str, Sequence[RunScores]],
    *,
    measure: Measure = "success",
    seed: int = 1,
    may_be_empty: bool = False,
) -> Comparison:
    """Compare every pair of arms in every game that all runs played.

    Args:
        arms: the runs of each, by its name.
        measure: what is compared.
        seed: of the bootstrap.
        may_be_empty: without a game in common there are no contrasts, and no error.

    Raises:
        UsageError: fewer than two arms, an arm without runs, or a seed twice in one arm.
        GiftError: the runs have no game in common, or played other instances.
    """
    _check(arms)
    games = _common_games(arms, may_be_empty=may_be_empty)
    kind, note = _kind(arms)
    contrasts = [
        _contrast(_Question(game, pair, (arms[pair[0]], arms[pair[1]]), measure, seed), kind)
        for game in games
        for pair in combinations(arms, 2)
    ]
    return Comparison(kind, measure, note, tuple(_corrected(contrasts)))


def _check(arms: Mapping[str, Sequence[RunScores]]) -> None:
    if len(arms) < 2:
        raise UsageError("a comparison needs at least two arms")
    for name, runs in arms.items():
        if not runs:
            raise UsageError(f"the arm `{name}` has no run")
        seed, times = Counter(run.seed for run in runs).most_common(1)[0]
        if times > 1:
            raise UsageError(f"the arm `{name}` has {times} runs of seed {seed}: they are one seed, not {times}")


def _common_games(arms: Mapping[str, Sequence[RunScores]], *, may_be_empty: bool) -> list[str]:
    runs = [run for arm in arms.values() for run in arm]
    games = [name for name in runs[0].games if all(name in run.games for run in runs)]
    if not games and not may_be_empty:
        raise GiftError("the runs have no game in common: " + "; ".join(f"{run.run}: {_names(run)}" for run in runs))
    return games


def _names(run: RunScores) -> str:
    return ", ".join(run.games) or "none"


def _kind(arms: Mapping[str, Sequence[RunScores]]) -> tuple[Kind, str]:
    sizes = {name: len(runs) for name, runs in arms.items()}
    if max(sizes.values()) == 1:
        return "checkpoints", (
            "One run an arm: these are differences of checkpoints, not of methods. "
            f"A verdict on methods needs at least {LEAST_SEEDS} seeds an arm."
        )
    if min(sizes.values()) < LEAST_SEEDS:
        few = ", ".join(f"`{name}` has {size}" for name, size in sizes.items() if size < LEAST_SEEDS)
        return "too few seeds", f"A verdict on methods needs at least {LEAST_SEEDS} seeds an arm: {few}."
    return "methods", "Intervals are between seeds: these are differences of methods."


@dataclass(frozen=True, slots=True)
class _Question:
    """Two arms, one game."""

    game: str
    names: tuple[str, str]
    arms: tuple[Sequence[RunScores], Sequence[RunScores]]
    measure: Measure
    seed: int

    @property
    def value(self) -> Callable[[Round], float]:
        """What a round is worth."""
        return _success if self.measure == "success" else _score


def _success(one: Round) -> float:
    return one.success


def _score(one: Round) -> float:
    return one.reward or 0.0


def _contrast(question: _Question, kind: Kind) -> Contrast:
    first, second = ([_keyed(run.games[question.game]) for run in arm] for arm in question.arms)
    keys, num_dropped = _pairs(question, [*first, *second])
    seeds = [
        [fmean(question.value(run[key]) for key in keys) for run in runs] if keys else [] for runs in (first, second)
    ]
    means = [fmean(values) if values else None for values in seeds]
    contrast = Contrast(
        game=question.game,
        arms=question.names,
        means=(means[0], means[1]),
        difference=None if means[0] is None or means[1] is None else means[1] - means[0],
        interval=None,
        p_value=None,
        corrected=None,
        num_pairs=len(keys),
        num_dropped=num_dropped,
        verdict="refused",
    )
    reason = _refusal(contrast, kind, seeds)
    if reason is not None:
        return replace(contrast, reason=reason)
    is_paired = kind == "checkpoints"
    found = _paired(question, keys, first[0], second[0]) if is_paired else welch(seeds[0], seeds[1], CONFIDENCE)
    return replace(contrast, interval=found.interval, p_value=found.p_value, verdict="none")


def _refusal(contrast: Contrast, kind: Kind, seeds: Sequence[Sequence[float]]) -> str | None:
    """Why nothing is said of two arms, or None."""
    total = contrast.num_pairs + contrast.num_dropped
    if contrast.num_dropped > MAX_DROPPED * total:
        return f"{contrast.num_dropped} of {total} pairs have no result, more than {MAX_DROPPED:.0%}"
    if kind == "too few seeds":
        return f"there are fewer than {LEAST_SEEDS} seeds an arm"
    if kind == "methods" and all(len(set(values)) == 1 for values in seeds):
        return "all seeds of an arm have the same score, so their spread is not known"
    if kind == "checkpoints" and contrast.num_pairs < 2:
        return "there are fewer than two pairs"
    return None


def _keyed(rounds: Iterable[Round]) -> Mapping[_Key, Round]:
    seen: Counter[tuple[int, int]] = Counter()
    found: dict[_Key, Round] = {}
    for one in rounds:
        place = (one.number, one.seat)
        found[(*place, seen[place])] = one
        seen[place] += 1
    return found


def _pairs(question: _Question, runs: Sequence[Mapping[_Key, Round]]) -> tuple[list[_Key], int]:
    """What all runs played to a result, and how many rounds are dropped because one did not.

    Raises:
        GiftError: a number stands for other instances in another run.
    """
    common = [key for key in runs[0] if all(key in run for run in runs)]
    for key in common:
        instances = {run[key].instance for run in runs}
        if len(instances) > 1:
            raise GiftError(
                f"{question.game}: the runs of {' and '.join(map(repr, question.names))} played other instances; "
                "evaluate them with one split, one `evaluation.seed` and one game"
            )
    kept = [key for key in common if not any(run[key].is_missing for run in runs)]
    return kept, len(common) - len(kept)


def _paired(
    question: _Question, keys: Sequence[_Key], first: Mapping[_Key, Round], second: Mapping[_Key, Round]
) -> Difference:
    """The difference of two checkpoints: instances are drawn again, or their signs flipped, with all their rounds."""
    value = question.value
    by_instance: defaultdict[int, list[float]] = defaultdict(list)
    for key in keys:
        by_instance[key[0]].append(value(second[key]) - value(first[key]))
    clusters = list(by_instance.values())
    if len(clusters) < 2:
        mean = fmean(clusters[0])
        return Difference(mean, (-1.0, 1.0), 1.0)
    rng = stream(question.seed, "compare", question.game, *question.names)
    found = paired_bootstrap(clusters, rng, confidence=CONFIDENCE)
    values = [value for cluster in clusters for value in cluster]
    if not set(values) <= {-1.0, 0.0, 1.0}:
        return replace(found, interval=_of_like(clusters)) if len(set(values)) == 1 else found
    signs = Counter(values)
    found = replace(found, interval=paired_score(clusters, CONFIDENCE))
    return replace(found, p_value=mcnemar(signs[-1.0], signs[1.0])) if len(clusters) == len(keys) else found


def _of_like(clusters: Sequence[Sequence[float]]) -> Interval:
    """The interval of differences in [-1, 1] that are all alike, of which a bootstrap knows no spread."""
    low, high = clustered_mean([[(value + 1) / 2 for value in cluster] for cluster in clusters], CONFIDENCE)
    return 2 * low - 1, 2 * high - 1


def _corrected(contrasts: Sequence[Contrast]) -> list[Contrast]:
    """With p-values corrected for the number of those that were asked, and the verdicts that follow."""
    asked = [one for one in contrasts if one.p_value is not None]
    corrected = iter(holm([one.p_value for one in asked if one.p_value is not None]))
    return [one if one.p_value is None else _judged(one, next(corrected)) for one in contrasts]


def _judged(contrast: Contrast, corrected: float) -> Contrast:
    assert contrast.interval is not None
    low, high = contrast.interval
    contrast = replace(contrast, corrected=corrected, verdict="none")
    if low <= 0 <= high:
        return contrast
    if not _is_significant(corrected):
        # the interval is of this contrast alone, and of another test than the p-value
        is_by_number = _is_significant(contrast.p_value)
        return replace(contrast, reason="not significant after correction" if is_by_number else "not significant")
    return replace(contrast, verdict="higher" if low > 0 else "lower")


def _is_significant(p_value: float | None) -> bool:
    return p_value is not None and p_value <= 1 - CONFIDENCE + 1e-12

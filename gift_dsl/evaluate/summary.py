"""From what lm-eval returns to what is kept: counts, intervals, the average, one JSON file."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.stats import clustered_mean, wilson

SCHEMA: Final = "gift-benchmarks/1"
AVERAGED: Final[Mapping[str, str]] = {"mmlu": "acc", "mmlu_pro": "acc", "commongen": "win_tie", "social_iqa": "acc"}
"""What the paper's Avg is the mean of, with equal weights, and the score of each."""

_MISSING: Final = ("void", "unjudged")
"""Outcomes of items without a score."""
_BESIDE: Final = ("truncated", "prompt_cut")
"""What is counted beside the outcomes."""


@dataclass(frozen=True, slots=True)
class BenchmarksResult:
    """What came out, in the shape of lm-eval's results and more beside it. Everything is JSON.

    Attributes:
        subject: who was evaluated.
        results: by task: `<metric>,<scoring>` (None where nothing was answered), its `_stderr`, `alias`, `sample_len`.
            lm-eval's groups are among them.
        groups: `avg`, where all four of the paper's are there; groups of lm-eval's own.
        n_samples: by task: `original` and `effective` number of items.
        counts: by task and scoring: items by outcome, and `truncated` ones among them; `prompt_cut` where some prompts
            did not fit into the model.
        intervals: by task: 95 % of each `<metric>,<scoring>`; a share of unanswered items widens it to both bounds.
        protocols: by task: all that a score means nothing without.
        more: by task: what only some have (`consistency` of a judge, `judge`).
        versions, configs, n_shot, higher_is_better: as lm-eval has them.
        duration_s: wall time of what was not taken up again.
    """

    subject: str
    results: Mapping[str, Mapping[str, Any]]
    groups: Mapping[str, Mapping[str, Any]]
    n_samples: Mapping[str, Mapping[str, int]]
    counts: Mapping[str, Mapping[str, Mapping[str, int]]]
    intervals: Mapping[str, Mapping[str, tuple[float, float]]]
    protocols: Mapping[str, Mapping[str, Any]]
    more: Mapping[str, Mapping[str, Any]]
    versions: Mapping[str, Any]
    configs: Mapping[str, Any]
    n_shot: Mapping[str, Any]
    higher_is_better: Mapping[str, Any]
    duration_s: float

    def to_json(self) -> dict[str, Any]:
        """One object, with lm-eval's names where it has one."""
        return {
            "schema": SCHEMA,
            "subject": self.subject,
            "results": plain(self.results),
            "groups": plain(self.groups),
            "n-samples": plain(self.n_samples),
            "n-shot": plain(self.n_shot),
            "versions": plain(self.versions),
            "configs": plain(self.configs),
            "higher_is_better": plain(self.higher_is_better),
            "counts": plain(self.counts),
            "intervals": plain(self.intervals),
            "protocols": plain(self.protocols),
            "more": plain(self.more),
            "duration_s": round(self.duration_s, 3),
        }


def summarise(
    found: Mapping[str, Any], protocol: Mapping[str, Any], rename: Callable[[str], str] = str
) -> dict[str, Any]:
    """What is kept of one result of the harness: all but its samples, and what follows from them.

    Args:
        found: of the harness.
        protocol: of all its tasks.
        rename: from lm-eval's names of tasks and groups to those that are kept.
    """
    results = {name: dict(values) for name, values in found["results"].items()}
    leaves = _values(found["samples"])
    intervals: dict[str, dict[str, list[float]]] = {}
    for (task, column), values in [*leaves.items(), *_pooled(found, leaves).items()]:
        if all(value is None for value in values):
            results[task][column] = None  # nothing was answered: nan is no JSON
        known = _numbers(values)
        if known is None or column not in results[task]:
            continue
        metric, _, scoring = column.partition(",")
        results[task][f"{metric}_stderr,{scoring}"] = standard_error(known)
        intervals.setdefault(task, {})[column] = list(interval_of(known, len(values) - len(known)))
    names = ("n-samples", "n-shot", "versions", "configs", "higher_is_better")
    by_task = {
        "results": results,
        "groups": {name: results[name] for name in found.get("groups", {})},
        **{name: found[name] for name in names},
        "counts": _counts(found["samples"]),
        "intervals": intervals,
        "protocols": {task: dict(protocol) for task in results},
    }
    return {place: {rename(name): plain(value) for name, value in of.items()} for place, of in by_task.items()}


def _pooled(
    found: Mapping[str, Any], leaves: Mapping[tuple[str, str], Sequence[Any]]
) -> dict[tuple[str, str], list[Any]]:
    """The items of each group whose score is the mean over them; groups that weigh otherwise have no interval."""
    pooled: dict[tuple[str, str], list[Any]] = {}
    for group, values in found.get("groups", {}).items():
        for column in values:
            items = [item for task in _below(found, group) for item in leaves.get((task, column), ())]
            known = _numbers(items) or []
            if known and math.isclose(math.fsum(known) / len(known), values[column], abs_tol=1e-9):
                pooled[group, column] = items
    return pooled


def _below(found: Mapping[str, Any], name: str) -> list[str]:
    """The tasks of a group and of those in it."""
    children: Sequence[str] = found["group_subtasks"].get(name, ())
    return [task for child in children for task in _below(found, child)] or [name]


def _values(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[tuple[str, str], list[Any]]:
    """Of every item, by (task, "metric,filter")."""
    values: dict[tuple[str, str], list[Any]] = {}
    for task, rows in samples.items():
        for row in rows:
            for metric in row["metrics"]:
                values.setdefault((task, f"{metric},{row['filter']}"), []).append(row[metric])
    return values


def standard_error(values: Sequence[float]) -> float:
    """Of a mean of independent items (ddof 1); 0 of a single one."""
    if len(values) < 2:
        return 0.0
    mean = math.fsum(values) / len(values)
    return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))


def interval_of(known: Sequence[float], num_void: int = 0) -> tuple[float, float]:
    """The 95 % interval of a mean in [0, 1]: Wilson's, of values besides 0 and 1 at their effective number.

    The latter is that of games, each item a cluster of its own (`stats.clustered_mean`): values that are all alike have
    the interval of a rate, and not one of width 0.

    Unanswered items are counted as wrong for the lower end and as right for the upper one.
    """
    low = _interval([*known, *[0.0] * num_void])[0]
    return low, _interval([*known, *[1.0] * num_void])[1]


def _interval(values: Sequence[float]) -> tuple[float, float]:
    if all(value in (0.0, 1.0) for value in values):
        return wilson(int(sum(values)), len(values))
    return clustered_mean([(value,) for value in values])


def _numbers(values: Sequence[Any]) -> list[float] | None:
    """The values that are there, where all lie in [0, 1]: others are not shares of items."""
    known = [value for value in values if value is not None]
    if not known or not all(isinstance(value, bool | int | float) and 0 <= value <= 1 for value in known):
        return None
    return [float(value) for value in known]


def _counts(samples: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, dict[str, int]]]:
    """Of our benchmarks: items by outcome, by task and scoring."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for task, rows in samples.items():
        for row in rows:
            graded = row["filtered_resps"][0] if row["filtered_resps"] else None
            if isinstance(graded, Mapping) and "outcome" in graded:
                counter = counts.setdefault(task, {}).setdefault(row["filter"], Counter())
                counter[str(cast("Mapping[str, Any]", graded)["outcome"])] += 1
                answer = getattr(row["resps"][0][0], "answer", None)
                counter["truncated"] += answer is not None and answer.truncated
                if answer is not None and answer.prompt_cut:
                    counter["prompt_cut"] += 1
    return {task: {name: dict(sorted(one.items())) for name, one in of.items()} for task, of in counts.items()}


def combine(subject: str, finished: Sequence[Mapping[str, Any]], duration_s: float) -> BenchmarksResult:
    """One result of several benchmarks, with the average where there is one."""

    def merged(name: str) -> dict[str, Any]:
        return {key: value for one in finished for key, value in one[name].items()}

    results, groups, intervals, counts = (merged(name) for name in ("results", "groups", "intervals", "counts"))
    average, ends = average_of(results, intervals, counts)
    if average:
        groups["avg"], intervals["avg"] = average, ends
    return BenchmarksResult(
        subject=subject,
        results=results,
        groups=groups,
        n_samples=merged("n-samples"),
        counts=counts,
        intervals=intervals,
        protocols=merged("protocols"),
        more=merged("more"),
        versions=merged("versions"),
        configs=merged("configs"),
        n_shot=merged("n-shot"),
        higher_is_better=merged("higher_is_better"),
        duration_s=duration_s,
    )


def average_of(
    results: Mapping[str, Mapping[str, Any]],
    intervals: Mapping[str, Mapping[str, Sequence[float]]],
    counts: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> tuple[dict[str, Any], dict[str, list[float]]]:
    """The paper's Avg and its 95 % interval by scoring: the mean of four scores, each of the same weight.

    Both are empty where one of the four is missing or unanswered: a mean of three is another number.
    """
    average: dict[str, Any] = {}
    ends: dict[str, list[float]] = {}
    for scoring in ("none", "gift_v1"):
        columns = {name: f"{metric},{scoring}" for name, metric in AVERAGED.items()}
        if any(results.get(name, {}).get(column) is None for name, column in columns.items()):
            continue
        values = [results[name][column] for name, column in columns.items()]
        errors = [results[name][f"{metric}_stderr,{scoring}"] for name, metric in AVERAGED.items()]
        mean, error = math.fsum(values) / len(AVERAGED), math.hypot(*errors) / len(AVERAGED)
        average |= {"alias": "avg", f"avg,{scoring}": mean, f"avg_stderr,{scoring}": error}
        shares = [_missing_share(counts.get(name, {}).get(scoring, {})) for name in columns]
        parts = [intervals[name][column] for name, column in columns.items()]
        ends[f"avg,{scoring}"] = list(_interval_of_mean(values, shares, parts))
    return average, ends


def _interval_of_mean(
    values: Sequence[float], missing: Sequence[float], ends: Sequence[Sequence[float]]
) -> tuple[float, float]:
    """The interval of a mean of independent scores, from their own (MOVER, Zou and Donner 2008, Stat. Med. 27).

    The distances of the ends from the scores are added as squares, on each side by itself, so that neither a score of 0
    or 1 nor one that all items share makes a point of it. What is unanswered is wrong, or right, in all parts at once:
    it moves the mean before chance is added.

    Args:
        values: the scores of what was answered.
        missing: share of the items of each that has no score.
        ends: of their intervals, which hold both bounds of what is missing.
    """
    lows = [value * (1 - share) for value, share in zip(values, missing, strict=True)]
    highs = [low + share for low, share in zip(lows, missing, strict=True)]
    down = math.hypot(*(low - pair[0] for low, pair in zip(lows, ends, strict=True)))
    up = math.hypot(*(pair[1] - high for high, pair in zip(highs, ends, strict=True)))
    return max(0.0, (math.fsum(lows) - down) / len(values)), min(1.0, (math.fsum(highs) + up) / len(values))


def _missing_share(counts: Mapping[str, int]) -> float:
    """Of items by outcome."""
    total = sum(number for outcome, number in counts.items() if outcome not in _BESIDE)
    return sum(counts.get(outcome, 0) for outcome in _MISSING) / total if total else 0.0


def plain(value: Any) -> Any:  # noqa: ANN401 - any value of lm-eval's
    """As JSON reads it again."""
    return json.loads(json.dumps(value, default=_unknown))


def _unknown(value: Any) -> Any:  # noqa: ANN401
    item = getattr(value, "item", None)  # numpy's numbers
    return item() if callable(item) else str(value)


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401
    """A file that is whole or not there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(path.name + ".new")
    draft.write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    draft.replace(path)


def write_samples(path: Path, samples: Mapping[str, Sequence[Any]]) -> None:
    """A JSON line for each item and scoring."""
    draft = path.with_name(path.name + ".new")
    with draft.open("w", encoding="utf-8") as file:
        for task, rows in samples.items():
            for row in rows:
                file.write(json.dumps({"task": task, **row}, ensure_ascii=False, default=_unknown) + "\n")
    draft.replace(path)

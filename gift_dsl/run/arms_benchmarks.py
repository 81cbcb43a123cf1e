# pyright: basic
"""The benchmarks of runs in a comparison: items instead of rounds, and the control arm that gains are held against."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import read_object, safe_name
from gift_dsl.errors import GiftError, MachineError
from gift_dsl.evaluate.compare import RunScores, compare
from gift_dsl.evaluate.scores import Round
from gift_dsl.plan import Plan
from gift_dsl.records import OutcomeName
from gift_dsl.run.request import BENCHMARKS

_SCORES: Final = ("acc", "win_tie")
"""Metrics that are shares of items; of those that a task has, the first."""


def compare_benchmarks(arms: Mapping[str, Sequence[tuple[RunDirectory, Plan]]]) -> list[dict[str, Any]]:
    """Contrasts of each pair of arms on every benchmark that all runs were asked; none where one was asked nothing.

    They are corrected for their own number, apart from those of games.

    Raises:
        GiftError: a benchmark was asked in different ways.
        MachineError: samples of a run are missing or damaged.
    """
    everybody = [run for runs in arms.values() for run, _ in runs]
    documents = {run.path: found for run in everybody if (found := _document(run)) is not None}
    if len(documents) < len(everybody):
        return []
    _check_protocols({path: document for path, (_, document) in documents.items()})
    scores = {
        name: [RunScores(run.path.name, plan.seed, _items(run, documents[run.path][0])) for run, plan in runs]
        for name, runs in arms.items()
    }
    asked = [set(one.games) for runs in scores.values() for one in runs]
    return compare(scores, measure="score").to_json()["contrasts"] if set.intersection(*asked) else []


def control_arms(arms: Mapping[str, Sequence[Plan]]) -> list[str]:
    """Arms in which no game is rewarded, but only the form of answers."""
    return [
        name
        for name, plans in arms.items()
        if any(stage.reward == "format_only" for plan in plans for stage in plan.stages)
    ]


def _document(run: RunDirectory) -> tuple[str, Mapping[str, Any]] | None:
    """The checkpoint that counts (the finished model, or the last one that was tested) and what was found of it."""
    try:
        found = read_object(run.evaluation / f"{BENCHMARKS}.json")["checkpoints"]
    except FileNotFoundError:
        return None
    name = "final" if "final" in found else list(found)[-1]
    return name, found[name]


def _check_protocols(documents: Mapping[Path, Mapping[str, Any]]) -> None:
    (first, mine), *others = documents.items()
    for path, theirs in others:
        for task in mine["protocols"].keys() & theirs["protocols"].keys():
            one, other = mine["protocols"][task], theirs["protocols"][task]
            for key in sorted(one.keys() | other.keys()):
                if one.get(key) != other.get(key):
                    raise GiftError(
                        f"`{task}` was asked differently, so it cannot be compared: `{key}` is {one.get(key)} in "
                        f"{first} and {other.get(key)} in {path}"
                    )


def _items(run: RunDirectory, checkpoint: str) -> dict[str, list[Round]]:
    """By benchmark, every item in our scoring; in commands and tables it is called `benchmark/NAME`."""
    folder = run.evaluation / BENCHMARKS / safe_name(checkpoint)
    found = {
        f"benchmark/{path.stem.removeprefix('samples_')}": list(_rounds(path))
        for path in sorted(folder.glob("samples_*.jsonl"))
    }
    if not found:
        raise MachineError(f"the samples of the benchmarks are missing: there are none in {folder}")
    return found


def _rounds(path: Path) -> Iterator[Round]:
    number = 0
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        try:
            row = json.loads(line)
            metric = next((name for name in _SCORES if name in row["metrics"]), None)
            if row["filter"] == "gift_v1" or metric is None:
                continue
            value, instance = row[metric], f"{row['task']}/{row['doc_hash']}"
        except (KeyError, TypeError, ValueError) as error:
            raise MachineError(f"{path} is damaged: {error}") from error
        yield Round(number, instance, 0, "", _outcome(value), None if value is None else float(value))
        number += 1


def _outcome(value: float | None) -> OutcomeName:
    if value is None:
        return "void"
    return "success" if value == 1 else "loss" if value == 0 else "draw"

# pyright: basic
"""The benchmarks of runs in a comparison: items instead of rounds, and the control arm that gains are held against."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import read_object, safe_name
from gift_dsl.errors import GiftError, MachineError
from gift_dsl.evaluate.compare import Comparison, RunScores, compare
from gift_dsl.evaluate.scores import Round
from gift_dsl.plan import Plan
from gift_dsl.records import OutcomeName
from gift_dsl.run.request import BENCHMARKS
from gift_dsl.run.tested import tested_checkpoint

_UNREAD: Final = "gift_v1"
"""A second reading of the same answers, by the paper's parser: no scoring of its own in a comparison."""
_GAMES: Final = ("game/", "chain/")
"""Tasks that are played, not asked."""


@dataclass(frozen=True, slots=True)
class Asked:
    """The benchmarks of one model: of the checkpoint of a run that counts, or of one evaluation.

    Attributes:
        place: where it was found.
        name: of the run, or of the file.
        seed: of the training.
        protocols: by task, how it was asked.
        folder: of the samples.
        files: names of what was asked, as samples are called; None: all that lie there.
    """

    place: Path
    name: str
    seed: int
    protocols: Mapping[str, Mapping[str, Any]]
    folder: Path
    files: tuple[str, ...] | None = None


def asked_of_run(run: RunDirectory, plan: Plan) -> Asked | None:
    """The benchmarks of a run; None where it was asked none.

    Raises:
        MachineError: what it wrote is damaged or of another version.
    """
    found = tested_checkpoint(run, BENCHMARKS)
    if found is None:
        return None
    checkpoint, document = found
    folder = run.evaluation / BENCHMARKS / safe_name(checkpoint)
    return Asked(run.path, run.path.name, plan.seed, document["protocols"], folder)


def asked_of_evaluation(path: Path, document: Mapping[str, Any]) -> Asked | None:
    """The benchmarks of a `gift-eval/1` file, whose samples lie in the folder of its name; None where it has none.

    The folder may hold samples of earlier evaluations, of benchmarks that this one was not asked: they are left out.

    Raises:
        MachineError: the folder is not beside the file.
    """
    protocols = {task: how for task, how in document["protocols"].items() if not task.startswith(_GAMES)}
    if not protocols:
        return None
    folder = path.with_suffix("") / BENCHMARKS
    names = [one.stem.removeprefix("samples_") for one in sorted(folder.glob("samples_*.jsonl"))]
    files = tuple(name for name in names if _tasks(folder / f"{name}.json") & protocols.keys())
    return Asked(path, path.stem, document["seed"], protocols, folder, files)


def _tasks(path: Path) -> set[str]:
    """Of one benchmark's result; none where it was not finished."""
    try:
        return set(read_object(path).get("results", ()))
    except FileNotFoundError:
        return set()


def compare_benchmarks(arms: Mapping[str, Sequence[Asked | None]]) -> Comparison | None:
    """Contrasts of each pair of arms on every benchmark that all were asked; None where they have none in common.

    They are corrected for their own number, apart from those of games. A task with one metric and one filter is called
    `benchmark/NAME`, each of several `benchmark/NAME/METRIC,FILTER`. Metrics that are no numbers from 0 to 1 for each
    item are not compared.

    Raises:
        GiftError: a benchmark was asked in different ways.
        MachineError: samples are missing or damaged.
    """
    everybody = [one for members in arms.values() for one in members]
    asked = [one for one in everybody if one is not None]
    if len(asked) < len(everybody):
        return None
    _check_protocols({one.place: one.protocols for one in asked})
    scores = {
        name: [RunScores(one.name, one.seed, _items(one)) for one in members if one is not None]
        for name, members in arms.items()
    }
    common = set.intersection(*(set(one.games) for members in scores.values() for one in members))
    return compare(scores, measure="score") if common else None


def control_arms(arms: Mapping[str, Sequence[Plan]]) -> list[str]:
    """Arms in which no game is rewarded, but only the form of answers."""
    return [
        name
        for name, plans in arms.items()
        if any(stage.reward == "format_only" for plan in plans for stage in plan.stages)
    ]


def _check_protocols(protocols: Mapping[Path, Mapping[str, Mapping[str, Any]]]) -> None:
    (first, mine), *others = protocols.items()
    for path, theirs in others:
        for task in mine.keys() & theirs.keys():
            one, other = mine[task], theirs[task]
            for key in sorted(one.keys() | other.keys()):
                if one.get(key) != other.get(key):
                    raise GiftError(
                        f"`{task}` was asked differently, so it cannot be compared: `{key}` is {one.get(key)} in "
                        f"{first} and {other.get(key)} in {path}"
                    )


def _items(asked: Asked) -> dict[str, list[Round]]:
    """By benchmark and scoring, every item."""
    paths = [
        path
        for path in sorted(asked.folder.glob("samples_*.jsonl"))
        if asked.files is None or path.stem.removeprefix("samples_") in asked.files
    ]
    if not paths:
        raise MachineError(f"the samples of the benchmarks are missing: there are none in {asked.folder}")
    found: dict[str, list[Round]] = {}
    for path in paths:
        name, scorings = f"benchmark/{path.stem.removeprefix('samples_')}", _scorings(path)
        for scoring, rows in scorings.items():
            if all(value is None or 0 <= value <= 1 for _, value in rows):
                found[name if len(scorings) == 1 else f"{name}/{scoring}"] = list(_rounds(rows))
    return found


def _scorings(path: Path) -> dict[str, list[tuple[str, float | None]]]:
    """Of a file of samples by `METRIC,FILTER`: instance and value of each item, None where it has no answer.

    A value that is no number is not a number (`nan`): of a text's perplexity, which is a pair.

    Raises:
        MachineError: a line is damaged.
    """
    found: defaultdict[str, list[tuple[str, float | None]]] = defaultdict(list)
    for line in path.read_text(encoding="utf-8").removesuffix("\n").split("\n"):
        try:
            row = json.loads(line)
            if row["filter"] == _UNREAD:
                continue
            for metric in row["metrics"]:
                found[f"{metric},{row['filter']}"].append((f"{row['task']}/{row['doc_hash']}", _value(row[metric])))
        except (KeyError, TypeError, ValueError) as error:
            raise MachineError(f"{path} is damaged: {error}") from error
    return found


def _value(value: object) -> float | None:
    if value is None:
        return None
    return float(value) if isinstance(value, int | float) else math.nan


def _rounds(rows: Sequence[tuple[str, float | None]]) -> Iterator[Round]:
    for number, (instance, value) in enumerate(rows):
        yield Round(number, instance, 0, "", _outcome(value), value)


def _outcome(value: float | None) -> OutcomeName:
    if value is None:
        return "void"
    return "success" if value == 1 else "loss" if value == 0 else "draw"

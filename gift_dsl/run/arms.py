# pyright: basic
"""Runs as the arms of a comparison: which of them are one arm, what arms differ in, and what each of them scored."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.artifacts.directory import RunDirectory, open_run
from gift_dsl.artifacts.files import read_object
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.evaluate.compare import MAX_DROPPED, Comparison, Contrast, Measure, RunScores, compare, run_scores
from gift_dsl.plan import Plan, digest, to_json
from gift_dsl.run.arms_benchmarks import asked_of_evaluation, asked_of_run, compare_benchmarks, control_arms
from gift_dsl.run.evaluate import read_eval
from gift_dsl.run.request import BENCHMARKS, FINAL
from gift_dsl.run.tested import tested_checkpoint

_ARM: Final = "gift-arm/1"
_SHOWN: Final = 3
_MISSING: Final = "-"
_DIGESTS: Final = {"rules_hash": "its rules or rewards are", "template_hash": "its prompt is"}
_NO_GAMES: Final[Mapping[str, Any]] = {"protocol": None, "games": {}, "chains": {}, "plays": ()}
_ALWAYS: Final[Mapping[str, Any]] = {"history": "full"}
"""How results were made that do not say it: it was the only way there was."""


@dataclass(frozen=True, slots=True)
class ComparedRun:
    """A run that takes part.

    Attributes:
        run: its directory.
        plan: of it.
        scores: what was measured: `protocol`, `games`, `chains`, `plays`.
    """

    run: RunDirectory
    plan: Plan
    scores: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Arms:
    """Runs that differ only in their seed are one arm.

    Attributes:
        source: which evaluation is compared: `final`, a stage's `after`, or `benchmarks` alone.
        protocol: of it; None where no games were played.
        runs: by name of the arm.
        differences: what the plans of the arms differ in: place to values, in the order of arms.
    """

    source: str
    protocol: Mapping[str, Any] | None
    runs: Mapping[str, tuple[ComparedRun, ...]]
    differences: Mapping[str, tuple[str, ...]]


def compare_runs(paths: Sequence[Path], *, measure: Measure = "success", stage: str | None = None) -> dict[str, Any]:
    """What may be said of the methods, or of the checkpoints, of some runs.

    Args:
        paths: run directories.
        measure: rate of success, or mean score with draws.
        stage: whose evaluation at its end is compared, on dev; None: the final one where all runs have one, else that
            at the end of the last stage.

    Returns:
        A `gift-comparison/1` document with `arms`, `differences`, `source` and `protocol` beside, `benchmarks` (more
        contrasts, of mean scores) where all runs were asked some, and `controls`, the arms that only learn the form.

    Raises:
        UsageError: one arm only, a seed twice in an arm, or a stage that a run does not have.
        MachineError: a folder is no run of this version, or was not evaluated.
        GiftError: the runs cannot be compared: other instances, opponents, rules or sampling.
    """
    arms = make_arms(paths, stage)
    scores = {name: [_scores_of(one) for one in runs] for name, runs in arms.runs.items()}
    # benchmarks are asked after the last stage only
    asked = {name: [asked_of_run(one.run, one.plan) for one in runs] for name, runs in arms.runs.items()}
    return _document(scores, None if stage else compare_benchmarks(asked), measure) | {
        "source": arms.source,
        "protocol": arms.protocol and dict(arms.protocol),
        "controls": control_arms({name: [one.plan for one in runs] for name, runs in arms.runs.items()}),
        "arms": {
            name: [{"run": str(one.run.path), "seed": one.plan.seed, "run_id": one.plan.runtime.run_id} for one in runs]
            for name, runs in arms.runs.items()
        },
        "differences": {place: list(values) for place, values in arms.differences.items()},
    }


def _document(
    scores: Mapping[str, Sequence[RunScores]], benchmarks: Comparison | None, measure: Measure
) -> dict[str, Any]:
    """Contrasts of games and of benchmarks; with the latter there need be no game that all played."""
    games = compare(scores, measure=measure, may_be_empty=benchmarks is not None)
    asked = () if benchmarks is None else benchmarks.contrasts
    return games.to_json() | {
        "benchmarks": [] if benchmarks is None else benchmarks.to_json()["contrasts"],
        "too_many_voids": too_many_voids((*games.contrasts, *asked)),
    }


def compare_evaluations(paths: Sequence[Path], *, measure: Measure = "success") -> dict[str, Any]:
    """What may be said of checkpoints that `gift eval` measured, each an arm of its own.

    Args:
        paths: `gift-eval/1` files.
        measure: rate of success, or mean score with draws.

    Returns:
        As `compare_runs`; `differences` holds who was evaluated.

    Raises:
        UsageError: fewer than two of them, or one twice.
        MachineError: a file is no evaluation of this version.
        GiftError: they were evaluated differently.
    """
    files = _distinct(paths)
    if len(files) < 2:
        raise UsageError("a comparison needs at least two evaluations")
    documents = [read_eval(path) for path in files]
    _check_evaluations(files, documents)
    labels = _file_labels(files, documents)
    scores = {
        label: [run_scores(label, one["seed"], _samples(one["plays"]))]
        for label, one in zip(labels, documents, strict=True)
    }
    asked = {label: [asked_of_evaluation(path, one)] for label, path, one in zip(labels, files, documents, strict=True)}
    protocols = [one["protocol"] for one in documents]
    return _document(scores, compare_benchmarks(asked), measure) | {
        "source": "eval",
        "protocol": protocols[0] if all(protocols) else None,
        "controls": [],
        "arms": {
            label: [{"run": str(path), "seed": one["seed"], "run_id": ""}]
            for label, path, one in zip(labels, files, documents, strict=True)
        },
        "differences": {"subject": [f"{one['subject']['kind']} {one['subject']['source']}" for one in documents]},
    }


def _check_evaluations(files: Sequence[Path], documents: Sequence[Mapping[str, Any]]) -> None:
    """Refuse games that were played in different ways; a file without games has nothing to differ in."""
    played = [(path, one) for path, one in zip(files, documents, strict=True) if one["protocol"]]
    for path, other in played[1:]:
        first, document = played[0]
        for name in document["games"].keys() & other["games"].keys():
            one, two = document["games"][name]["opponents"], other["games"][name]["opponents"]
            if one != two:
                raise GiftError(f"`{name}` was played against {one} in {first} and against {two} in {path}")
        _check_digests((first, document["protocols"]), (path, other["protocols"]))
        _check_protocol((str(first), document["protocol"]), (str(path), other["protocol"]))


def _check_digests(first: tuple[Path, Mapping[str, Any]], other: tuple[Path, Mapping[str, Any]]) -> None:
    """Refuse games of other rules, rewards or words, where both files have their digests."""
    (here, mine), (there, theirs) = first, other
    for task in mine.keys() & theirs.keys():
        for key, what in _DIGESTS.items():
            digests = {one[task][key] for one in (mine, theirs) if key in one[task]}
            if len(digests) > 1:
                raise GiftError(
                    f"`{task}` was played differently, so it cannot be compared: {what} other in {there} than in {here}"
                )


def _file_labels(files: Sequence[Path], documents: Sequence[Mapping[str, Any]]) -> list[str]:
    """Who was evaluated, where these names are different; else the names of the files."""
    names = [str(one["subject"]["name"]) for one in documents]
    if len(set(names)) < len(names):
        names = [path.stem for path in files]
    return names if len(set(names)) == len(names) else [str(path) for path in files]


def too_many_voids(contrasts: Sequence[Contrast]) -> list[str]:
    """Games and benchmarks of which nothing can be said, because too many plays or items have no result."""
    dropped = [one for one in contrasts if one.num_dropped > MAX_DROPPED * (one.num_pairs + one.num_dropped)]
    return list(dict.fromkeys(one.game for one in dropped))


def make_arms(paths: Sequence[Path], stage: str | None = None) -> Arms:
    """Group runs, name the groups, and see that they may be compared. Raises as `compare_runs`."""
    runs = [open_run(path) for path in _distinct(paths)]
    source, found = _read(runs, stage)
    _check_protocols(found)
    groups: dict[str, list[ComparedRun]] = {}
    for one in found:
        groups.setdefault(arm_hash(one.plan), []).append(one)
    if len(groups) < 2:
        raise UsageError(
            "these runs differ in nothing but their seed: they are one arm, and a comparison needs two"
            if len(found) > 1
            else "a comparison needs at least two runs"
        )
    plans = [members[0].plan for members in groups.values()]
    differences = dict(_differences([arm_body(plan) for plan in plans]))
    labels = _labels(plans, differences)
    arms = {label: tuple(members) for label, members in zip(labels, groups.values(), strict=True)}
    return Arms(source, found[0].scores["protocol"], arms, differences)


def arm_hash(plan: Plan) -> str:
    """Digest of a plan without its runtime block, its evaluation and its seed."""
    return digest(_ARM, arm_body(plan))


def arm_body(plan: Plan) -> dict[str, Any]:
    """What makes an arm: all of a plan that is no runtime, evaluation, seed, or digest of them.

    How runs were evaluated is no method: where it differs in what matters, they are not compared at all. The weights
    that the `tiny` preset begins with follow from the seed, which is left out.
    """
    body = to_json(plan)
    for name in ("runtime", "evaluation", "seed", "spec_hash"):
        del body[name]
    if plan.model.tiny is not None:
        body["model"]["print"] = None
    return body


def _distinct(paths: Sequence[Path]) -> list[Path]:
    seen: dict[Path, Path] = {}
    for path in paths:
        if path.resolve() in seen:
            raise UsageError(f"{path} is named twice")
        seen[path.resolve()] = path
    return list(seen.values())


# ── what was measured ──


def _read(runs: Sequence[RunDirectory], stage: str | None) -> tuple[str, list[ComparedRun]]:
    plans = [run.plan for run in runs]
    if stage is None:
        finals = [tested_checkpoint(run, FINAL) for run in runs]
        if all(one is not None for one in finals):
            return FINAL, [
                _renamed(ComparedRun(run, plan, one[1]))
                for run, plan, one in zip(runs, plans, finals, strict=True)
                if one is not None
            ]
        if _have_only_benchmarks(runs):
            return BENCHMARKS, [ComparedRun(run, plan, _NO_GAMES) for run, plan in zip(runs, plans, strict=True)]
    names = [stage or plan.stages[-1].name for plan in plans]
    found = [
        ComparedRun(run, plan, _after(run, plan, name)) for run, plan, name in zip(runs, plans, names, strict=True)
    ]
    return " and ".join(f"{name}-after" for name in dict.fromkeys(names)), [_renamed(one) for one in found]


def _have_only_benchmarks(runs: Sequence[RunDirectory]) -> bool:
    """All were asked benchmarks, and one of them played nothing at the end of its last stage."""
    are_asked = all((run.evaluation / f"{BENCHMARKS}.json").is_file() for run in runs)
    return are_asked and not all((run.evaluation / f"{run.plan.stages[-1].name}-after.json").is_file() for run in runs)


def _after(run: RunDirectory, plan: Plan, stage: str) -> Mapping[str, Any]:
    if stage not in [one.name for one in plan.stages]:
        raise UsageError(f"{run.path} has no stage `{stage}`; it has {', '.join(one.name for one in plan.stages)}")
    try:
        return read_object(run.evaluation / f"{stage}-after.json")
    except FileNotFoundError as error:
        raise MachineError(
            f"{run.path} was not evaluated at the end of `{stage}`: it has not come so far, or its spec has neither "
            "`evaluation.probe` nor `evaluation.final`"
        ) from error


def _renamed(one: ComparedRun) -> ComparedRun:
    """The chain of a stage under one name, so that stages of two runs that are called differently have one."""
    names = [stage.name for stage in one.plan.stages]
    plays = [{**play, "chain": "chain" if play["chain"] in names else play["chain"]} for play in one.scores["plays"]]
    return ComparedRun(one.run, one.plan, {**one.scores, "plays": plays})


def _scores_of(one: ComparedRun) -> RunScores:
    return run_scores(one.run.path.name, one.plan.seed, _samples(one.scores["plays"]))


def _samples(plays: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for play in plays:
        for sample in play["rounds"]:
            yield {"game": "", "label": play["label"], "chain": play["chain"], **sample}


# ── may they be compared ──


def _check_protocols(runs: Sequence[ComparedRun]) -> None:
    """Refuse runs that were measured in different ways.

    Raises:
        GiftError: names the first way, and both runs.
    """
    first = runs[0]
    for other in runs[1:]:
        places = (str(first.run.path), first.scores["protocol"]), (str(other.run.path), other.scores["protocol"])
        _check_protocol(*places)
        for name in first.scores["games"]:
            if name in other.scores["games"]:
                _check_game(name, first, other)


def _check_protocol(first: tuple[str, Mapping[str, Any] | None], other: tuple[str, Mapping[str, Any] | None]) -> None:
    (here, mine), (there, theirs) = ((place, {**_ALWAYS, **(protocol or {})}) for place, protocol in (first, other))
    for key, value in mine.items():
        told = theirs.get(key)
        if told != value:
            raise GiftError(
                f"these were evaluated differently, so they cannot be compared: `{key}` is {value} in {here} and "
                f"{told} in {there}"
            )


def _check_game(name: str, first: ComparedRun, other: ComparedRun) -> None:
    ways = [_ways(name, one) for one in (first, other)]
    for what, (mine, theirs) in zip(ways[0], zip(ways[0].values(), ways[1].values(), strict=True), strict=True):
        if mine != theirs:
            raise GiftError(
                f"`{name}` was played differently, so it cannot be compared: {what} {_short(mine)} in "
                f"{first.run.path}, {_short(theirs)} in {other.run.path}"
            )


def _ways(name: str, one: ComparedRun) -> Mapping[str, Any]:
    """What two results of a game must share."""
    game = one.plan.game(name)
    return {
        "opponents": one.scores["games"][name]["opponents"],
        "family": game.family,
        "parameters": to_json(game.params),
        "reward": list(game.reward),
        "retries of illegal actions": game.illegal_retries,
    }


# ── what they differ in ──


def _differences(bodies: Sequence[Any], place: str = "") -> Iterator[tuple[str, tuple[str, ...]]]:
    """Places at which plans differ, with the value of each; a composition of another kind is one difference."""
    if all(body == bodies[0] for body in bodies):
        return
    if all(isinstance(body, Mapping) for body in bodies) and len({body.get("kind") for body in bodies}) == 1:
        for key in dict.fromkeys(key for body in bodies for key in cast("Mapping[str, Any]", body)):
            yield from _differences([body.get(key, _MISSING) for body in bodies], f"{place}.{key}" if place else key)
    elif all(isinstance(body, list) for body in bodies) and len({len(body) for body in bodies}) == 1:
        for index, items in enumerate(zip(*bodies, strict=True)):
            yield from _differences(items, f"{place}[{_name(items, index)}]")
    else:
        yield place, tuple(_short(body) for body in bodies)


def _name(items: Sequence[Any], index: int) -> str:
    """Of an item of a list: its own, where all plans call it the same."""
    names = {item.get("name") for item in items if isinstance(item, Mapping)}
    return str(names.pop()) if len(names) == 1 and None not in names else str(index)


def _short(value: Any) -> str:
    if isinstance(value, Mapping) and "kind" in value:
        return str(cast("Mapping[str, Any]", value)["kind"])
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _labels(plans: Sequence[Plan], differences: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Short and different names: that of the spec, else what the arms differ in, else what the sweep calls them."""
    by_name = [plan.runtime.name for plan in plans]
    by_sweep = [_without_seed(plan.runtime.run_id) for plan in plans]
    few = list(differences)[:_SHOWN]
    by_difference = [
        ", ".join(dict.fromkeys(f"{place.rpartition('.')[2]}={differences[place][index]}" for place in few))
        for index in range(len(plans))
    ]
    candidates = [by_difference, by_name, by_sweep] if len(differences) <= _SHOWN else [by_name, by_sweep]
    for labels in candidates:
        if len(set(labels)) == len(plans) and all(labels):
            return labels
    return [f"{name} {index + 1}" for index, name in enumerate(by_name)]


def _without_seed(run_id: str) -> str:
    return ",".join(word for word in run_id.split(",") if not word.startswith("seed="))

"""What a run keeps for others, and what a plan that names it in `from_run` or `data.runs` holds of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from gift_dsl.artifacts.checkpoints import Checkpoint, check, number_of
from gift_dsl.artifacts.directory import RunDirectory, find_named, open_run
from gift_dsl.errors import MachineError
from gift_dsl.plan import FilePrint, Plan, StagePlan, frozen

BEST: Final = "best"
"""The model of the last stage that probed best on dev: by the mean success of its games, the first of equals."""
Step = int | Literal["final", "best"] | None
Digest = Callable[[Path, Literal["model", "play"]], str | None]
"""The digest of a folder's files, as `data.digest_of_folder`; None where there are none."""


def kept_model(run: RunDirectory, step: Step) -> Path:
    """The folder of a model that a run keeps, in Hugging Face's format; a checkpoint's may hold adapters alone.

    Args:
        run: its directory.
        step: what the last stage handed on, its best on dev, or a checkpoint by its step, the latest stage first.

    Raises:
        MachineError: the run did not come so far, or did not keep it.
    """
    stages = [stage.name for stage in run.plan.stages]
    if step == "final":
        path = run.stages / stages[-1]
        if not path.is_dir():
            raise MachineError(f"the run {run.path} is not done: stage `{stages[-1]}` has handed on no model")
        return path
    if step == BEST:
        path = run.stages / BEST
        if not path.is_dir():
            raise MachineError(
                f"the run {run.path} kept no best model: its last stage was not probed, or its "
                "`evaluation.final.checkpoints` does not name `best`"
            )
        return path
    for stage in reversed(stages):
        for folder in sorted((run.checkpoints / stage).glob("checkpoint-*"), key=number_of):
            found = check(folder)
            if isinstance(found, Checkpoint) and found.state.get("step") == step:
                return folder
    raise MachineError(f"the run {run.path} kept no checkpoint of step {step}")


@frozen
class Named:
    """A model of another run, or its play, as a spec names it. `who` is `model`, `opponents.<name>` or `data.<run>`."""

    who: str
    run: str
    step: Step = None

    @property
    def is_play(self) -> bool:
        """Whether it is what the run played, and no model."""
        return self.who.startswith("data.")

    @property
    def label(self) -> str:
        """What its print is called."""
        return self.run if self.is_play else f"{self.run} ({self.step})"


def named(plan: Plan) -> Iterator[Named]:
    """Everything that a plan takes from another run: the policy first."""
    if plan.model.from_run is not None:
        yield Named("model", plan.model.from_run, plan.model.from_step)
    for opponent in plan.opponents:
        given: Any = opponent.params.get("from_run") if opponent.type == "local" else None
        if given is not None:
            yield Named(f"opponents.{opponent.name}", given["run"], given["step"])
    for run in dict.fromkeys(run for stage in plan.stages for run in _learned_from(stage)):
        yield Named(f"data.{run}", run)


def _learned_from(stage: StagePlan) -> Sequence[str]:
    return (stage.data or {}).get("runs") or ()


def named_run(plan: Plan, run: str) -> RunDirectory:
    """A run that a stage learns from: the one that the plan's run began with.

    Raises:
        MachineError: it was not there, or is not there any more.
    """
    folder, known = Path(plan.runtime.folder), plan.runtime.from_runs.get(f"data.{run}")
    if known is not None:
        return open_run(folder / known)
    return find_named(run, folder, folder / str(plan.runtime.output["dir"]))


def with_origins(plan: Plan, digest: Digest, begun: Plan | None = None) -> Plan:
    """The plan with the print of what it takes from other runs, and with where that lies.

    One that is not there has a print without a digest, and the reason.

    Args:
        plan: of a new run, or of one that goes on.
        digest: takes the print of a folder; it is not asked again for a folder that the plan knows already.
        begun: plan of the run that goes on: what it names too is that in the folder that it knows. None: each is what
            its name means now.
    """
    before = {} if begun is None else {one: begun.runtime.from_runs.get(one.who) for one in named(begun)}
    prints: dict[str, FilePrint] = {}
    folders: dict[str, str] = {}
    for one in named(plan):
        try:
            folder = before.get(one) or _relative(plan, _find(plan, one))
        except MachineError as error:
            prints[one.who] = FilePrint(one.label, None, f"not there: {error}")
            continue
        folders[one.who] = folder
        known = _print(plan, one.who)
        if known is None or known.sha256 is None or plan.runtime.from_runs.get(one.who) != folder:
            known = _digested(plan, one, folder, digest)
        prints[one.who] = known
    return _put(plan, prints, folders)


def _find(plan: Plan, one: Named) -> Path:
    folder = Path(plan.runtime.folder)
    run = find_named(one.run, folder, folder / str(plan.runtime.output["dir"]))
    return run.path if one.is_play else kept_model(run, one.step)


def _relative(plan: Plan, path: Path) -> str:
    """A path from the spec's folder where it lies below, so that both can be moved together."""
    above = Path(plan.runtime.folder).absolute()
    path = path.absolute()
    return path.relative_to(above).as_posix() if path.is_relative_to(above) else str(path)


def _digested(plan: Plan, one: Named, folder: str, digest: Digest) -> FilePrint:
    path = Path(plan.runtime.folder) / folder
    try:
        # of a run what it played: what else is in its directory may still change, as its report does
        found = digest(RunDirectory(path).trajectories, "play") if one.is_play else digest(path, "model")
    except MachineError as error:
        return FilePrint(one.label, None, str(error))
    gone = f"not in {path} any more"
    reason = f"not there: the run {path} recorded no play (`output.trajectories`)" if path.is_dir() else gone
    return FilePrint(one.label, found, None if found else reason if one.is_play else gone)


def _print(plan: Plan, who: str) -> FilePrint | None:
    known = {"model": plan.model.print}
    known |= {f"opponents.{opponent.name}": opponent.print for opponent in plan.opponents}
    known |= {f"data.{item.name}": item for stage in plan.stages for item in stage.data_prints}
    return known.get(who)


def _put(plan: Plan, prints: dict[str, FilePrint], folders: dict[str, str]) -> Plan:
    stages = tuple(
        replace(stage, data_prints=tuple(_of_play(item, stage, prints) for item in stage.data_prints))
        for stage in plan.stages
    )
    opponents = tuple(
        replace(opponent, print=prints.get(f"opponents.{opponent.name}", opponent.print)) for opponent in plan.opponents
    )
    model = replace(plan.model, print=prints.get("model", plan.model.print))
    plan = replace(plan, model=model, opponents=opponents, stages=stages)
    return replace(plan, runtime=replace(plan.runtime, from_runs=folders))


def _of_play(item: FilePrint, stage: StagePlan, prints: dict[str, FilePrint]) -> FilePrint:
    return prints[f"data.{item.name}"] if item.name in _learned_from(stage) else item

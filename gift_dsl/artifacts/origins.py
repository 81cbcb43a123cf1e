"""Models that a run keeps for others, and what a plan that names them in `from_run` holds of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from gift_dsl.artifacts.checkpoints import Checkpoint, check, number_of
from gift_dsl.artifacts.directory import RunDirectory, find_named
from gift_dsl.errors import MachineError
from gift_dsl.plan import FilePrint, Plan, frozen

BEST: Final = "best"
"""The model of the last stage that probed best on dev: by the mean success of its games, the first of equals."""
Step = int | Literal["final", "best"] | None
Digest = Callable[[str, str | None, Path], FilePrint]
"""As `data.fingerprint_model`: from (source, revision, folder of relative paths)."""


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
    """A model of another run as a spec names it. `who` is `model` or `opponents.<name>`."""

    who: str
    run: str
    step: Step

    @property
    def label(self) -> str:
        """What its print is called."""
        return f"{self.run} ({self.step})"


def named_models(plan: Plan) -> Iterator[Named]:
    """Every model that a plan takes from another run: the policy first."""
    if plan.model.from_run is not None:
        yield Named("model", plan.model.from_run, plan.model.from_step)
    for opponent in plan.opponents:
        given: Any = opponent.params.get("from_run") if opponent.type == "local" else None
        if given is not None:
            yield Named(f"opponents.{opponent.name}", given["run"], given["step"])


def with_origins(plan: Plan, digest: Digest, begun: Plan | None = None) -> Plan:
    """The plan with the print of each model of another run, and with where it lies.

    One that is not there has a print without a digest, and the reason.

    Args:
        plan: of a new run, or of one that goes on.
        digest: takes the print of a folder; it is not asked again for a folder that the plan knows already.
        begun: plan of the run that goes on: a model that it names too is the one in the folder that it knows. None:
            each is what its name means now.
    """
    before = {} if begun is None else {one: begun.runtime.from_runs.get(one.who) for one in named_models(begun)}
    prints: dict[str, FilePrint] = {}
    folders: dict[str, str] = {}
    for one in named_models(plan):
        try:
            folder = before.get(one) or _relative(plan, _find(plan, one))
        except MachineError as error:
            prints[one.who] = FilePrint(one.label, None, f"not there: {error}")
            continue
        folders[one.who] = folder
        known = _print(plan, one.who)
        if known is None or known.sha256 is None or plan.runtime.from_runs.get(one.who) != folder:
            known = _digested(plan, folder, digest)
        prints[one.who] = replace(known, name=one.label)
    return _put(plan, prints, folders)


def _find(plan: Plan, one: Named) -> Path:
    folder = Path(plan.runtime.folder)
    return kept_model(find_named(one.run, folder, folder / str(plan.runtime.output["dir"])), one.step)


def _relative(plan: Plan, path: Path) -> str:
    """A path from the spec's folder where it lies below, so that both can be moved together."""
    above = Path(plan.runtime.folder).absolute()
    path = path.absolute()
    return path.relative_to(above).as_posix() if path.is_relative_to(above) else str(path)


def _digested(plan: Plan, folder: str, digest: Digest) -> FilePrint:
    path = Path(plan.runtime.folder) / folder
    found = digest(f"./{path.name}", None, path.parent)
    return found if found.sha256 is not None else FilePrint(found.name, None, f"not in {path} any more")


def _print(plan: Plan, who: str) -> FilePrint | None:
    if who == "model":
        return plan.model.print
    return next(opponent.print for opponent in plan.opponents if f"opponents.{opponent.name}" == who)


def _put(plan: Plan, prints: dict[str, FilePrint], folders: dict[str, str]) -> Plan:
    opponents = tuple(
        replace(opponent, print=prints.get(f"opponents.{opponent.name}", opponent.print)) for opponent in plan.opponents
    )
    model = replace(plan.model, print=prints.get("model", plan.model.print))
    return replace(plan, model=model, opponents=opponents, runtime=replace(plan.runtime, from_runs=folders))

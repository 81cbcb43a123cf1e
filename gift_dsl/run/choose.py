"""Which run a command is about: a new one, or one that waits; and what a plan may differ in from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final, NoReturn

from gift_dsl.artifacts.changes import Change, compare_plans, only_grows, settings
from gift_dsl.artifacts.directory import RunDirectory, find_runs
from gift_dsl.artifacts.hold import Holder
from gift_dsl.artifacts.lock import Machine, accelerators, differences, make_lock
from gift_dsl.artifacts.origins import with_origins
from gift_dsl.artifacts.status import Status
from gift_dsl.data import digest_of_folder
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.plan import Plan, plan_hash, to_json
from gift_dsl.run.models import drop_model
from gift_dsl.run.request import FINAL, RunRequest, Tell

_TOLD_BY_THE_SPEC: Final = ("gift.", "plan_hash", "spec_hash", "processes")
"""Beginnings of what differs between two locks because the spec does, and the version of this program."""


def output_folder(plan: Plan) -> Path:
    """The folder of all runs, without `..` in it."""
    return (Path(plan.runtime.folder) / str(plan.runtime.output["dir"])).resolve()


def machine_of(plan: Plan) -> Machine:
    """Processes and threads that a new run of a plan has here."""
    resources = plan.runtime.resources
    processes: int = resources["processes"]
    threads: int = resources.get("threads") or max(1, (os.cpu_count() or 1) // processes)
    return Machine(processes, threads, *accelerators())


def find_run(request: RunRequest) -> tuple[RunDirectory | None, Plan]:
    """The run to go on with, or None for a new one, and its plan. It is not touched yet: `take_up` does that.

    The plan of a run that goes on is the one that is asked for, over the models of other runs that it began with.
    With `finish` it may be a run that `is_finished`: there is nothing to do for it.

    Raises:
        UsageError: an unfinished run of the plan waits and none of `resume`, `finish` and `fresh` was said, or `resume`
            was, and none waits.
        MachineError: the one that waits was planned otherwise, or somebody writes it.
    """
    plan = request.plan
    if request.mode == "fresh":
        return None, plan
    runs = find_runs(output_folder(plan), plan.runtime.name, arm=plan.runtime.run_id)[::-1]
    same = _of_plan((run for run in runs if request.mode == "finish" or run.status.state != "done"), plan)
    if request.mode == "new":
        return (None, plan) if same is None else _refuse_a_second(same[0].path, same[0].holder())
    return same or _longer_or_new(runs, request)


def is_finished(run: RunDirectory, plan: Plan) -> bool:
    """Whether a run is done, and was planned as it is asked for now."""
    return run.status.state == "done" and plan_hash(run.plan) == plan_hash(plan)


def _of_plan(runs: Iterable[RunDirectory], plan: Plan) -> tuple[RunDirectory, Plan] | None:
    return next(((run, new) for run, old, new in _wanted(runs, plan) if plan_hash(old) == plan_hash(new)), None)


def _longer_or_new(runs: Sequence[RunDirectory], request: RunRequest) -> tuple[RunDirectory | None, Plan]:
    """For a plan that has no run to go on with: one of fewer steps, else a new one, where that may be."""
    plan = request.plan
    longer = next(((run, new) for run, old, new in _wanted(runs, plan) if only_grows(to_json(old), to_json(new))), None)
    if longer is not None:
        return longer
    waiting = [*_wanted((run for run in runs if run.status.state != "done"), plan)]
    if waiting:
        run, old, new = waiting[0]
        listed = "".join(f"\n  {change}" for change in settings(compare_plans(to_json(old), to_json(new))))
        raise MachineError(
            f"{run.path} cannot go on with another plan; a new run: {request.anew}. What differs:{listed}"
        )
    if request.mode == "finish":
        return None, plan
    raise UsageError(f"there is no unfinished run of {plan.runtime.name} in {output_folder(plan)}")


def _wanted(runs: Iterable[RunDirectory], plan: Plan) -> Iterator[tuple[RunDirectory, Plan, Plan]]:
    """Runs, each with its plan and the one that it would go on with."""
    for run in runs:
        old = run.plan
        yield run, old, with_origins(plan, digest_of_folder, old)


def _refuse_a_second(path: Path, writer: Holder | None) -> NoReturn:
    if writer is not None:
        raise MachineError(f"{path} is being written by {writer}; stop it first, or begin another with --fresh")
    raise UsageError(
        f"{path} is an unfinished run of this plan; say --resume to go on with it, or --fresh for a new one"
    )


def take_up(run: RunDirectory, request: RunRequest, tell: Tell) -> None:
    """Give a run today's plan, spec and lock; what else differs from the session before is named.

    Whoever is killed in between has a run that goes on: with the old plan, or with this one.

    Args:
        run: that `find_run` found; this process holds it, and the machine is ready.
        request: what is run from now on.
        tell: says what changed.
    """
    plan, before = request.plan, run.lock
    changes = settings(compare_plans(to_json(run.plan), to_json(plan)))
    if plan_hash(run.plan) != plan_hash(plan):
        _reopen(run, plan)
        tell(f"{run.path} goes on for more steps than it was planned for")
    machine = machine_of(plan)
    if int(before["processes"]) == machine.processes:
        machine = replace(machine, threads=int(before["threads"]))  # other numbers of them round differently
    lock = make_lock(plan, machine)
    for change in changes:
        tell(f"changed: {_with_effect(change, machine)}")
    for difference in differences(before, lock):
        if not difference.key.startswith(_TOLD_BY_THE_SPEC):
            tell(f"not as in the session before: {difference}")
    kept = run.renew(plan, written=request.written, resolved=request.resolved, lock=lock)
    if kept is not None:
        tell(f"spec, plan and lock of the session before are kept in {kept}")


def _with_effect(change: Change, machine: Machine) -> str:
    """A change that a run goes on with; one of threads says so where it changes nothing."""
    if change.path != "runtime.resources.threads" or change.new == machine.threads:
        return str(change)
    return f"{change.what} (without effect: with as many processes a run keeps its threads, {machine.threads})"


def _reopen(run: RunDirectory, plan: Plan) -> None:
    """The last stage of a finished run goes on: what was measured at its end is measured again.

    Before the plan is replaced, so that whoever is killed in between has a run that is not done, and not one that is
    done with a plan of more steps. The next resume does it again, or ends the stage again from its last checkpoint.
    """
    last = plan.stages[-1].name
    if run.status.state == "done":
        run.set_status(Status("stopped", last, reason="it was planned for fewer steps"))
    drop_model(run, last)
    measured = (run.evaluation / f"{name}.json" for name in (f"{last}-after", FINAL, "benchmarks"))
    for path in (*measured, run.summary, run.manifest):
        path.unlink(missing_ok=True)

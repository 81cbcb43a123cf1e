"""A run from its directory to its summary: stages in order, by processes that this one starts or a launcher gave.

This file prepares the run, says which stage is next, and says what to do when a run ends before its time.
"""

from __future__ import annotations

import re
import shutil
from contextlib import suppress
from dataclasses import replace
from time import monotonic
from typing import Protocol

from gift_dsl.artifacts.checkpoints import SEAL, latest, number_of
from gift_dsl.artifacts.directory import RunDirectory, create_run
from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.artifacts.lines import cut, is_until
from gift_dsl.artifacts.lock import make_lock
from gift_dsl.artifacts.manifest import write_manifest
from gift_dsl.artifacts.status import Status
from gift_dsl.artifacts.trajectories import cut_after
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.plan import Plan, StagePlan
from gift_dsl.run.choose import find_run, is_finished, machine_of, output_folder, take_up
from gift_dsl.run.given import GivenRanks, given_processes, is_given
from gift_dsl.run.models import stage_model
from gift_dsl.run.preflight import check_machine, fill_prints
from gift_dsl.run.processes import OwnProcesses, Signals, listening
from gift_dsl.run.request import BENCHMARKS, FINAL, STOPPED, RunOutcome, RunRequest, Tell
from gift_dsl.run.summary import make_summary

__all__ = ["RunOutcome", "RunRequest", "run_plan"]


class _Crew(Protocol):
    """Whoever performs stages."""

    signals: Signals

    def perform(self, run: RunDirectory, what: str) -> int:
        """Perform a stage, named by its index, or the final evaluation; 0, STOPPED or the code of a failure."""
        ...


def run_plan(request: RunRequest, tell: Tell) -> RunOutcome:
    """Perform a run, or go on with it.

    Raises:
        UsageError: an unfinished run waits and neither `resume` nor `fresh` was said, or there is none to resume.
        MachineError: the machine lacks something, or somebody else writes the run.
    """
    with listening() as signals:
        if not is_given():
            return _lead(request, tell, OwnProcesses(signals))
        crew = GivenRanks(signals)
        if not crew.is_main:
            return crew.follow()
        code, run = GiftError.exit_code, None
        try:
            outcome = _lead(request, tell, crew)
            code, run = outcome.exit_code, outcome.run
        except GiftError as error:
            code = error.exit_code
            raise
        finally:
            crew.dismiss(run, code)
        return outcome


def _lead(request: RunRequest, tell: Tell, crew: _Crew) -> RunOutcome:
    _check_launcher(request.plan)
    plan = fill_prints(request.plan)
    run, plan = find_run(replace(request, plan=plan))
    if run is not None and is_finished(run, plan):
        tell(f"done already: {run.path}")
        return RunOutcome(run, 0, read_object(run.summary), was_done=True)
    found, request = run, replace(request, plan=plan)
    check_machine(plan, request.find_key, request.disk_gib if run is None else None)
    if run is None:
        lock = make_lock(plan, machine_of(plan))
        run = create_run(output_folder(plan), plan, written=request.written, resolved=request.resolved, lock=lock)
    tell(f"run: {run.path}")
    with run.hold():
        if found is not None:
            take_up(run, request, tell)
        return _drive(run, request, tell, crew)


def _check_launcher(plan: Plan) -> None:
    """The plan's batches are cut for as many processes as there are."""
    given, planned = given_processes(), int(plan.runtime.resources["processes"])
    if given is not None and given != planned:
        raise UsageError(
            f"the launcher started {given} processes, and the run is planned for {planned}; say --processes {given}"
        )


def _drive(run: RunDirectory, request: RunRequest, tell: Tell, crew: _Crew) -> RunOutcome:
    plan, before, began = run.plan, run.status.wall_s, monotonic()

    def wall_s() -> float:
        """Of all sessions; the processes of a stage count on from what is written before it."""
        return round(before + monotonic() - began, 3)

    _cut(run, plan)
    for what in _work(run, plan):
        stage = None if what == FINAL else plan.stages[int(what)]
        if stage is not None:
            tell(f"stage {stage.name} ({stage.type}), {_length(stage)}")
        run.set_status(Status("running", None if stage is None else stage.name, run.status.step, wall_s=wall_s()))
        code = crew.perform(run, what)
        with suppress(MachineError):  # a full disk, of which more is said below
            run.set_status(replace(run.status, wall_s=wall_s()))
        if code != 0 or crew.signals.got:
            return _ended_early(run, code, crew.signals, request, tell)
    summary = make_summary(run, plan)
    write_whole(run.summary, json_text(summary))
    run.set_status(Status("done"))
    write_manifest(run)
    return RunOutcome(run, 0, summary)


def _length(stage: StagePlan) -> str:
    most = stage.until.max_steps
    return f"at most {most} step{'s' * (most != 1)}" if most else "as many steps as its recordings give"


def _work(run: RunDirectory, plan: Plan) -> list[str]:
    """What is still to be done, in order."""
    work = [str(index) for index, stage in enumerate(plan.stages) if not stage_model(run, stage.name).is_dir()]
    wanted = {FINAL: plan.evaluation.final is not None, BENCHMARKS: bool(plan.evaluation.benchmarks)}
    if any(is_wanted and not (run.evaluation / f"{name}.json").is_file() for name, is_wanted in wanted.items()):
        work.append(FINAL)
    return work


def _cut(run: RunDirectory, plan: Plan) -> None:
    """Remove what was written after the checkpoint that the run goes on from, so that each step is there once."""
    for index, stage in enumerate(plan.stages):
        if stage_model(run, stage.name).is_dir():
            continue
        folder = run.checkpoints / stage.name
        found = latest(folder)
        done = 0 if found is None else int(found.state["step"])
        for path in folder.glob("checkpoint-*"):  # they were skipped, and will be written again
            if number_of(path) > (-1 if found is None else found.number):
                shutil.rmtree(path)
        cut(run.metrics, is_until(index, done - 1))
        cut_after(run, [one.name for one in plan.stages], index, done - 1)
        for step, path in run.probes(stage.name).items():
            if step > done:
                path.unlink()
        return


def _ended_early(run: RunDirectory, code: int, signals: Signals, request: RunRequest, tell: Tell) -> RunOutcome:
    status = run.status
    if code in (0, STOPPED):
        reason = signals.got[0] if signals.got else status.reason
        run.set_status(replace(status, state="stopped", reason=reason))
        limit = re.search(r"limits\.\w+", reason or "")
        first = "" if limit is None else f"raise `{limit[0]}`, and "  # it would be reached again at once
        tell(f"stopped ({reason}) and saved; {first}go on with: {request.again}")
        return RunOutcome(run, signals.exit_code if signals.got else GiftError.exit_code, None)
    with suppress(MachineError):  # a full disk, which was told; without it the run looks killed, and goes on as well
        run.set_status(replace(status, state="failed", reason=status.reason or f"a process ended with {code}"))
    kept = _kept(run)
    if kept is None:  # what is mended may be the weights, with which a run does not go on
        tell(f"failed; nothing was trained yet, begin anew with: {request.anew}")
    else:
        tell(f"failed; {kept}, go on with: {request.again}")
    return RunOutcome(run, code if code in (1, 2, 3, 4) else GiftError.exit_code, None)


def _kept(run: RunDirectory) -> str | None:
    """What a run that failed goes on from; None where it did nothing yet."""
    if any(run.checkpoints.glob(f"*/*/{SEAL}")):
        return "the last checkpoint is whole"
    if any(stage_model(run, stage.name).is_dir() for stage in run.plan.stages):
        return "the stages that ended are kept"
    return "what was measured is kept" if any(run.evaluation.glob("*.json")) else None

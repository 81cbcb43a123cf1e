"""A run from its directory to its summary: stages in order, each in processes of its own, which this one watches.

This process loads no model. It holds the run's directory, hands signals on, and says what to do next when a run ends
before its time.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.artifacts.checkpoints import latest
from gift_dsl.artifacts.directory import RunDirectory, create_run, find_runs
from gift_dsl.artifacts.files import json_text, write_whole
from gift_dsl.artifacts.lines import cut, is_until
from gift_dsl.artifacts.lock import Machine, differences, make_lock
from gift_dsl.artifacts.manifest import write_manifest
from gift_dsl.artifacts.status import Status
from gift_dsl.artifacts.trajectories import cut_after
from gift_dsl.errors import GiftError, MachineError, UsageError
from gift_dsl.plan import JsonMap, Plan, plan_hash, to_json
from gift_dsl.players.make import FindKey
from gift_dsl.run.models import stage_model
from gift_dsl.run.preflight import check_machine, fill_prints
from gift_dsl.run.summary import make_summary
from gift_dsl.run.worker import FINAL, STOPPED

Tell = Callable[[str], None]
"""Says a line to whoever watches."""
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
_GRACE_S: Final = 20.0
"""Time that the other processes of a stage have to notice that one has failed."""


@dataclass(frozen=True, slots=True)
class RunRequest:
    """What is to be run.

    Attributes:
        plan: of one run.
        written: the spec's files, by name.
        resolved: the meaning of the spec.
        mode: `new`: refuse where an unfinished run of this plan waits; `resume` or `fresh` decide.
        disk_gib: estimated need; None where it is not known.
        find_key: gives the key of an endpoint.
        again: the command that would resume it, to be shown.
    """

    plan: Plan
    written: Mapping[str, str | bytes]
    resolved: JsonMap
    mode: str
    disk_gib: float | None
    find_key: FindKey
    again: str


@dataclass(frozen=True, slots=True)
class RunOutcome:
    """How a run ended.

    Attributes:
        run: its directory.
        exit_code: of the design.
        summary: None where it did not come to its end.
    """

    run: RunDirectory
    exit_code: int
    summary: JsonMap | None


@dataclass(slots=True)
class _Signals:
    """What was sent to this process while a run goes on."""

    got: list[signal.Signals] = field(default_factory=list[signal.Signals])
    children: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])

    def handle(self, number: int, _frame: object) -> None:
        """The first is handed on as a request to finish the step; the second ends everything."""
        self.got.append(signal.Signals(number))
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM if len(self.got) == 1 else signal.SIGKILL)
        if len(self.got) > 1:
            os._exit(self.exit_code)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for everything else that asks to stop."""
        return 130 if self.got[0] == signal.SIGINT else 143


def run_plan(request: RunRequest, tell: Tell) -> RunOutcome:
    """Perform a run, or go on with it.

    Raises:
        UsageError: an unfinished run waits and neither `resume` nor `fresh` was said, or there is none to resume.
        MachineError: the machine lacks something, or somebody else writes the run.
        GiftError: a stage failed.
    """
    plan = fill_prints(request.plan)
    request = replace(request, plan=plan)
    run = _find(request, tell)
    if run is None:
        check_machine(plan, request.find_key, request.disk_gib)
        lock = make_lock(plan, _machine(plan))
        output = Path(plan.runtime.folder) / str(plan.runtime.output["dir"])
        run = create_run(output, plan, written=request.written, resolved=request.resolved, lock=lock)
    else:
        check_machine(plan, request.find_key, None)
    tell(f"run: {run.path}")
    with run.hold():
        return _drive(run, run.plan, request, tell)


def _machine(plan: Plan) -> Machine:
    resources = plan.runtime.resources
    processes: int = resources["processes"]
    threads: int = resources.get("threads") or max(1, (os.cpu_count() or 1) // processes)
    return Machine(processes, threads)


# ── which run ──


def _find(request: RunRequest, tell: Tell) -> RunDirectory | None:
    """The run to go on with, or None for a new one."""
    plan = request.plan
    output = Path(plan.runtime.folder) / str(plan.runtime.output["dir"])
    runs = find_runs(output, plan.runtime.name, arm=plan.runtime.run_id)
    waiting = [run for run in runs if run.status.state != "done"]
    same = [run for run in waiting if plan_hash(run.plan) == plan_hash(plan)]
    if request.mode == "fresh":
        return None
    if request.mode == "new":
        if same:
            raise UsageError(
                f"{same[-1].path} is an unfinished run of this plan; say --resume to go on with it, or --fresh for a "
                "new one"
            )
        return None
    if same:
        return _resumed(same[-1], plan, tell)
    for run in reversed(runs):
        if _only_longer(run.plan, plan):
            with run.hold():
                run.replace_plan(plan)
                _reopen(run, plan)
            tell(f"{run.path} goes on for more steps than it was planned for")
            return _resumed(run, plan, tell)
    if waiting:
        listed = "".join(f"\n  {line}" for line in _changes(to_json(waiting[-1].plan), to_json(plan)))
        raise MachineError(
            f"{waiting[-1].path} cannot go on with another plan; start a new run with --fresh. What differs:{listed}"
        )
    raise UsageError(f"there is no unfinished run of {plan.runtime.name} in {output}")


def _resumed(run: RunDirectory, plan: Plan, tell: Tell) -> RunDirectory:
    """The run with today's runtime block; what else differs from its first session is named."""
    if to_json(run.plan.runtime) != to_json(plan.runtime):
        run.replace_plan(plan)
    machine = Machine(int(run.lock["processes"]), int(run.lock["threads"]))
    if int(run.lock["processes"]) != plan.runtime.resources["processes"]:
        machine = _machine(plan)
    for difference in differences(run.lock, make_lock(plan, machine)):
        if not difference.key.startswith(("gift.", "plan_hash")):
            tell(f"not as in the first session: {difference}")
    return run


def _only_longer(old: Plan, new: Plan) -> bool:
    """Whether two plans differ in nothing but more steps of a last stage with a constant learning rate."""
    last_old, last_new = old.stages[-1], new.stages[-1]
    if last_new.algorithm is None or last_new.algorithm.schedule != "constant":
        return False
    if last_new.until.max_steps <= last_old.until.max_steps:
        return False
    stretched = replace(
        last_old,
        until=replace(last_old.until, max_steps=last_new.until.max_steps),
        schedule_steps=last_new.schedule_steps,
    )
    return plan_hash(replace(old, stages=(*old.stages[:-1], stretched))) == plan_hash(new)


def _reopen(run: RunDirectory, plan: Plan) -> None:
    """The last stage of a finished run goes on: what was measured at its end is measured again."""
    last = plan.stages[-1].name
    shutil.rmtree(stage_model(run, last), ignore_errors=True)
    for name in (f"{last}-after", FINAL, "benchmarks"):
        (run.evaluation / f"{name}.json").unlink(missing_ok=True)


def _changes(old: Any, new: Any) -> Iterator[str]:
    """Values that differ between two plans, the runtime block left out."""
    before, after = dict(_values(old, "")), dict(_values(new, ""))
    for place in dict.fromkeys([*before, *after]):
        if not place.startswith("runtime.") and before.get(place) != after.get(place):
            yield f"{place}: {_short(before.get(place))} -> {_short(after.get(place))}"


def _values(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in cast("dict[str, Any]", value).items():
            yield from _values(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, item in enumerate(cast("list[Any]", value)):
            yield from _values(item, f"{place}[{index}]")
    else:
        yield place, value


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


# ── its stages ──


def _drive(run: RunDirectory, plan: Plan, request: RunRequest, tell: Tell) -> RunOutcome:
    with _listening() as signals:
        _cut(run, plan)
        work = [str(index) for index, stage in enumerate(plan.stages) if not stage_model(run, stage.name).is_dir()]
        if plan.evaluation.final is not None and not (run.evaluation / "final.json").is_file():
            work.append(FINAL)
        for what in work:
            stage = None if what == FINAL else plan.stages[int(what)]
            if stage is not None:
                tell(f"stage {stage.name} ({stage.type}), at most {stage.until.max_steps} steps")
            status = run.status
            run.set_status(Status("running", None if stage is None else stage.name, status.step))
            code = _run_processes(run, plan, what, signals)
            if code != 0 or signals.got:
                return _ended_early(run, code, signals, request, tell)
    summary = make_summary(run, plan)
    write_whole(run.summary, json_text(summary))
    run.set_status(Status("done"))
    write_manifest(run)
    return RunOutcome(run, 0, summary)


def _cut(run: RunDirectory, plan: Plan) -> None:
    """Remove what was written after the checkpoint that the run goes on from, so that each step is there once."""
    for index, stage in enumerate(plan.stages):
        if stage_model(run, stage.name).is_dir():
            continue
        found = latest(run.checkpoints / stage.name)
        done = 0 if found is None else int(found.state["step"])
        cut(run.metrics, is_until(index, done - 1))
        cut_after(run, [one.name for one in plan.stages], index, done - 1)
        for path in run.evaluation.glob(f"{stage.name}-step-*.json"):
            if int(path.stem.rpartition("-")[2]) > done:
                path.unlink()
        return


def _ended_early(run: RunDirectory, code: int, signals: _Signals, request: RunRequest, tell: Tell) -> RunOutcome:
    status = run.status
    if code in (0, STOPPED):
        reason = signals.got[0].name if signals.got else "a limit is reached"
        run.set_status(replace(status, state="stopped", reason=reason))
        tell(f"saved; go on with: {request.again}")
        return RunOutcome(run, signals.exit_code if signals.got else GiftError.exit_code, None)
    run.set_status(replace(status, state="failed", reason=f"a process ended with {code}"))
    tell(f"failed; the last checkpoint is whole, go on with: {request.again}")
    return RunOutcome(run, code if code in (1, 2, 3, 4) else GiftError.exit_code, None)


@contextmanager
def _listening() -> Generator[_Signals]:
    signals = _Signals()
    before = {number: signal.signal(number, signals.handle) for number in _SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run_processes(run: RunDirectory, plan: Plan, what: str, signals: _Signals) -> int:
    """Start the processes of one stage and wait for them; the code of the first that failed, else of all."""
    number: int = plan.runtime.resources["processes"]
    command = [sys.executable, "-m", "gift_dsl.run.worker", str(run.path), what]
    port = _free_port() if number > 1 else 0
    children = [_start(command, _environment(rank, number, port)) for rank in range(number)]
    signals.children[:] = children
    if signals.got:  # it came while they were started
        for child in children:
            child.send_signal(signal.SIGTERM)
    try:
        return _wait(children)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
        signals.children.clear()


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches this process alone, which hands it on once."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=sys.stderr, env=dict(environment), start_new_session=True
    )


def _environment(rank: int, number: int, port: int) -> Mapping[str, str]:
    ours = {
        "GIFT_PARENT_PIPE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }
    if number > 1:
        ours |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(number),
            "LOCAL_WORLD_SIZE": str(number),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    return {**os.environ, **ours}


def _wait(children: Sequence[subprocess.Popen[bytes]]) -> int:
    """Until all have ended; when one fails, the others have some time to notice."""
    failed_at: float | None = None
    code = 0
    while True:
        codes = [child.poll() for child in children]
        ended = [one for one in codes if one is not None]
        bad = [one for one in ended if one not in (0, STOPPED)]
        if bad and failed_at is None:
            failed_at, code = time.monotonic(), bad[0]
        if len(ended) == len(children):
            return code or max(ended)
        if failed_at is not None and time.monotonic() - failed_at > _GRACE_S:
            return code
        time.sleep(0.05)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

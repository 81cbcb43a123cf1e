"""The run directory: plain files under `<output.dir>/<name>[/<arm>]/<plan_hash[:8]>-<n>/`.

spec, plan, lock and status are there before anything else happens, so that a run that is killed in its first second
still says what it was. docs/run_directory.md describes every file.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from gift_dsl.artifacts.files import explained, json_text, read_object, safe_name, sync_folder, write_whole
from gift_dsl.artifacts.hold import Holder, hold, holder, join
from gift_dsl.artifacts.plan_file import read_plan, write_plan
from gift_dsl.artifacts.status import Status, now, read_status, write_status
from gift_dsl.errors import MachineError
from gift_dsl.plan import JsonMap, Plan, plan_hash, to_json

_RUN_NAME: Final = re.compile(r"([0-9a-f]{8})-([0-9]+)")


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """One run on disk. Holds paths only: what is in the files is read when it is asked for."""

    path: Path

    @property
    def spec(self) -> Path:
        """Folder of the files as the user wrote them."""
        return self.path / "spec"

    @property
    def resolved(self) -> Path:
        """The meaning of the spec, everything filled in."""
        return self.path / "spec.resolved.json"

    @property
    def plan_file(self) -> Path:
        """The plan that each rank and each resume loads."""
        return self.path / "plan.json"

    @property
    def lock_file(self) -> Path:
        """What the run depends on besides its plan."""
        return self.path / "lock.json"

    @property
    def earlier(self) -> Path:
        """Folder of what spec, plan and lock were before a resume changed them, one folder a change."""
        return self.path / "earlier"

    @property
    def status_file(self) -> Path:
        """What the run is doing."""
        return self.path / "status.json"

    @property
    def metrics(self) -> Path:
        """JSON lines, one object a step."""
        return self.path / "metrics.jsonl"

    @property
    def trajectories(self) -> Path:
        """Folder of what was played: an index and one shard a step."""
        return self.path / "trajectories"

    @property
    def answers(self) -> Path:
        """Folder of what servers answered, a file of JSON lines for each process."""
        return self.path / "answers"

    @property
    def evaluation(self) -> Path:
        """Folder of evaluations, one JSON file each."""
        return self.path / "eval"

    def probe(self, stage: str, step: int) -> Path:
        """The evaluation of a stage after a step of it, steps counted from 1."""
        return self.evaluation / f"{stage}-step-{step:06d}.json"

    def probes(self, stage: str) -> dict[int, Path]:
        """The evaluations within a stage that there are, by step, in their order.

        Exactly those: a stage may be called as this one, and go on with `-step-`.
        """
        wanted = re.compile(re.escape(stage) + r"-step-([0-9]{6,})\.json")
        found = ((wanted.fullmatch(path.name), path) for path in self.evaluation.glob("*.json"))
        return dict(sorted((int(match[1]), path) for match, path in found if match is not None))

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints, one folder a stage."""
        return self.path / "checkpoints"

    @property
    def stages(self) -> Path:
        """Folder of the models that stages hand over, one folder each."""
        return self.path / "stages"

    @property
    def summary(self) -> Path:
        """The result, written at the end."""
        return self.path / "summary.json"

    @property
    def log(self) -> Path:
        """What was logged, as text."""
        return self.path / "log.txt"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def manifest(self) -> Path:
        """sha256 of every other file that does not change any more."""
        return self.path / "manifest-sha256.txt"

    @property
    def plan(self) -> Plan:
        """The plan, read anew.

        Raises:
            MachineError: there is none, or it does not fit this version.
        """
        return read_plan(self.plan_file)

    @property
    def lock(self) -> dict[str, Any]:
        """What the run depends on besides its plan, as of its last session, read anew.

        Raises:
            MachineError: there is none, or it is damaged.
        """
        try:
            return read_object(self.lock_file)
        except FileNotFoundError as error:
            raise MachineError(f"{self.lock_file} is missing") from error

    @property
    def status(self) -> Status:
        """What the run is doing, read anew.

        Raises:
            MachineError: it is missing, damaged or of a newer version.
        """
        try:
            return read_status(self.status_file)
        except FileNotFoundError as error:
            raise MachineError(f"{self.path} is not a run: it has no {self.status_file.name}") from error

    def set_status(self, status: Status) -> None:
        """Write what the run is doing; `started` stays that of the run, `updated`, pid and host are of now.

        `wall_s` never falls: whoever does not know it writes 0.
        """
        with contextlib.suppress(MachineError):
            old = self.status
            status = replace(status, started=old.started, wall_s=max(status.wall_s, old.wall_s))
        write_status(self.status_file, replace(status, updated=now(), pid=os.getpid(), host=socket.gethostname()))

    def renew(self, plan: Plan, *, written: Mapping[str, str | bytes], resolved: JsonMap, lock: JsonMap) -> Path | None:
        """Put what the run now is in place of what it was, which is kept whole as `earlier/<k>/`.

        For `until.steps` that grew, another runtime block or another machine. The plan is replaced last: whoever is
        killed in between finds the old one, and renews again.

        Args:
            plan: what is run from now on.
            written: the spec and the files it names, as the user wrote them.
            resolved: the meaning of the spec.
            lock: what `lock.make_lock` made.

        Returns:
            Where the old files are kept; None where nothing differs and nothing was written.

        Raises:
            MachineError: the disk is full.
        """
        spec = {name: _bytes(text) for name, text in _flattened(written)}
        files = {self.resolved: json_text(resolved), self.lock_file: json_text(lock)}
        files[self.plan_file] = json_text(to_json(plan))
        old = {path.name: path.read_bytes() for path in self.spec.iterdir()}
        if old == spec and all(path.read_bytes() == content for path, content in files.items()):
            return None
        with explained(self.path):
            kept = self._keep_earlier((self.spec, *files))
            for name in old.keys() - spec.keys():
                (self.spec / name).unlink()
            for path, content in ({self.spec / name: content for name, content in spec.items()} | files).items():
                write_whole(path, content)
        return kept

    def _keep_earlier(self, paths: Iterable[Path]) -> Path:
        """Copy files and folders to a new folder of `earlier`, which is there whole or not at all."""
        number = 1
        while (kept := self.earlier / str(number)).exists():
            number += 1
        draft = self.earlier / f".{number}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        for path in paths:
            copy: Callable[[Path, Path], object] = shutil.copytree if path.is_dir() else shutil.copyfile
            copy(path, draft / path.name)
        draft.rename(kept)
        sync_folder(self.earlier)
        return kept

    @contextmanager
    def hold(self) -> Generator[RunDirectory]:
        """Be the one command that writes the run. The kernel ends it when the process dies, however it dies.

        Raises:
            MachineError: somebody else writes this run, named by process and host.
        """
        with hold(self.path):
            yield self

    @contextmanager
    def join(self) -> Generator[RunDirectory]:
        """Be one of the processes that the holding command started: while one lives, no other command gets the run.

        Raises:
            MachineError: another command is just taking the run.
        """
        with join(self.path):
            yield self

    def holder(self) -> Holder | None:
        """Who writes the run now; None when nobody does, so that a run which says `running` was killed."""
        return holder(self.path)


def run_parent(output_dir: Path, name: str, arm: str = "") -> Path:
    """Where the runs of a name, and of an arm of its sweep, lie."""
    return output_dir / safe_name(name) / safe_name(arm) if arm else output_dir / safe_name(name)


def create_run(
    output_dir: Path, plan: Plan, *, written: Mapping[str, str | bytes], resolved: JsonMap, lock: JsonMap
) -> RunDirectory:
    """Make the directory of a new run, with everything in it that is known before the first step.

    Args:
        output_dir: folder of all runs.
        plan: what is run; every file it depends on is on this machine.
        written: the spec and the files it names, as the user wrote them: name to text. Names are flattened.
        resolved: the meaning of the spec.
        lock: what `lock.make_lock` made.

    Returns:
        The run, in a folder that nobody had before: its number is one more than the highest there is.

    Raises:
        MachineError: the disk is full or may not be written.
    """
    digest = plan_hash(plan)
    if digest is None:
        raise ValueError("a run needs the digest of every file its plan depends on")
    parent = run_parent(output_dir, plan.runtime.name, plan.runtime.run_id)
    with explained(parent):
        run = RunDirectory(_next_folder(parent, digest[:8]))
        run.spec.mkdir()
        for name, text in _flattened(written):
            write_whole(run.spec / name, _bytes(text))
        write_whole(run.resolved, json_text(resolved))
        write_plan(run.plan_file, plan)
        write_whole(run.lock_file, json_text(lock))
        # Last: a folder with a status is a whole run.
        write_status(run.status_file, Status("running"))
        sync_folder(parent)
    return run


def _next_folder(parent: Path, prefix: str) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    numbers = [int(found[2]) for path in parent.iterdir() if (found := _RUN_NAME.fullmatch(path.name))]
    number = max(numbers, default=0) + 1
    while True:
        try:
            (parent / f"{prefix}-{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return parent / f"{prefix}-{number}"


def _bytes(text: str | bytes) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _flattened(written: Mapping[str, str | bytes]) -> Iterator[tuple[str, str | bytes]]:
    """Each file under the last part of its name, made safe; a second one of that name gets a number."""
    taken: set[str] = set()
    for name, text in written.items():
        base = safe_name(re.split(r"[\\/]", name.rstrip("\\/"))[-1] or "spec")
        stem, dot, suffix = base.rpartition(".") if "." in base else (base, "", "")
        number, flat = 1, base
        # Without regard to case: macOS has one file for both.
        while flat.casefold() in taken:
            number += 1
            flat = f"{stem}-{number}{dot}{suffix}"
        taken.add(flat.casefold())
        yield flat, text


def open_run(path: Path) -> RunDirectory:
    """The run in a folder.

    Raises:
        MachineError: the folder is no run, or one of a newer version of gift.
    """
    if not path.is_dir():
        raise MachineError(f"there is no run at {path}")
    run = RunDirectory(path)
    _ = run.status
    return run


def find_named(name: str, folder: Path, output_dir: Path) -> RunDirectory:
    """The run that a spec means by a text: a run directory, or the newest finished run of a name.

    Args:
        name: a run directory, from `folder` as all paths of a spec or from `output_dir`; else the name of runs.
        folder: of the spec.
        output_dir: folder of all runs.

    Raises:
        MachineError: there is no such run.
    """
    for place in (folder, output_dir):
        path = place / Path(name).expanduser()
        if RunDirectory(path).status_file.is_file():
            return open_run(path)
    runs = [run for run in find_runs(output_dir, name) if run.status.state == "done"]
    if not runs:
        raise MachineError(f"there is no run directory {folder / name}, and no finished run `{name}` in {output_dir}")
    return runs[-1]


def find_runs(output_dir: Path, name: str, plan_hash: str | None = None, arm: str = "") -> list[RunDirectory]:
    """The runs of a name (and of an arm of its sweep) in the order in which they were made, the newest last.

    Folders that are no run, or one that this version cannot read, are passed over.

    Args:
        output_dir: folder of all runs.
        name: of the spec.
        plan_hash: only runs of this plan, as it is now; None: all.
        arm: id of the run in its sweep; empty without one.
    """
    parent = run_parent(output_dir, name, arm)
    found: list[tuple[int, RunDirectory]] = []
    for path in parent.iterdir() if parent.is_dir() else ():
        run, match = RunDirectory(path), _RUN_NAME.fullmatch(path.name)
        if match is None:
            continue
        with contextlib.suppress(MachineError):
            _ = run.status
            if plan_hash is None or run.lock.get("plan_hash") == plan_hash:
                found.append((int(match[2]), run))
    return [run for _, run in sorted(found, key=lambda item: item[0])]

"""A run is a folder of its own, complete before anything happens, and written by one process at a time."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gift_dsl.artifacts import files
from gift_dsl.artifacts.directory import create_run, find_named, find_runs, open_run
from gift_dsl.artifacts.files import safe_name, write_whole
from gift_dsl.artifacts.lock import Machine, make_lock
from gift_dsl.artifacts.status import RUN_SCHEMA, Status
from gift_dsl.errors import MachineError
from gift_dsl.plan import FilePrint, plan_hash
from tests.artifacts.runs import QUICKSTART, make_run, quickstart

HOLD = """
import sys, time
from pathlib import Path
from gift_dsl.artifacts.directory import open_run
with open_run(Path(sys.argv[1])).hold():
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_new_run_has_its_spec_plan_lock_and_status(tmp_path):
    run = make_run(tmp_path)
    assert run.path == tmp_path / "quickstart" / f"{plan_hash(quickstart())[:8]}-1"
    there = sorted(path.relative_to(run.path).as_posix() for path in run.path.rglob("*") if path.is_file())
    assert there == ["lock.json", "plan.json", "spec.resolved.json", "spec/quickstart.yaml", "status.json"]
    assert (run.spec / "quickstart.yaml").read_bytes() == QUICKSTART.read_bytes()
    assert run.plan == quickstart()
    assert run.status.state == "running"
    assert json.loads(run.status_file.read_text())["schema"] == RUN_SCHEMA


def test_runs_of_one_name_are_counted_and_found_newest_last(tmp_path):
    first, second = make_run(tmp_path), make_run(tmp_path)
    other = make_run(tmp_path, "seed=2")
    assert [run.path.name[-2:] for run in (first, second, other)] == ["-1", "-2", "-3"]
    assert find_runs(tmp_path, "quickstart", plan_hash(quickstart())) == [first, second]
    assert find_runs(tmp_path, "quickstart") == [first, second, other]
    assert find_runs(tmp_path, "quickstart", "0" * 64) == []
    assert find_runs(tmp_path, "other") == []


def test_a_run_is_found_by_its_whole_hash_and_not_by_the_part_in_its_name(tmp_path):
    make_run(tmp_path)
    digest = plan_hash(quickstart())
    assert find_runs(tmp_path, "quickstart", digest[:8] + "0" * 56) == []


def test_the_tenth_run_is_newer_than_the_ninth(tmp_path):
    made = [make_run(tmp_path) for _ in range(11)]
    assert find_runs(tmp_path, "quickstart") == made


def test_a_run_is_named_by_its_path_from_the_spec_or_from_the_folder_of_runs_or_by_its_name(tmp_path):
    folder, output = tmp_path, tmp_path / "runs"
    first, second, third = (make_run(output) for _ in range(3))
    for name in (f"./runs/quickstart/{first.path.name}", f"quickstart/{first.path.name}", str(first.path)):
        assert find_named(name, folder, output) == first
    with pytest.raises(
        MachineError, match=r"no run directory \S+/quickstart, and no finished run `quickstart` in \S+runs"
    ):
        find_named("quickstart", folder, output)
    for run in (first, second):
        run.set_status(Status("done"))
    assert find_named("quickstart", folder, output) == second
    third.set_status(Status("failed"))
    assert find_named("quickstart", folder, output) == second


def test_an_arm_of_a_sweep_has_a_folder_of_its_own(tmp_path):
    plan = quickstart()
    arms = [replace(plan, runtime=replace(plan.runtime, run_id=f"model=org/{name},seed=1")) for name in "ab"]
    runs = [create_run(tmp_path, arm, written={}, resolved={}, lock={}) for arm in arms]
    assert [run.path.parent.parent for run in runs] == [tmp_path / "quickstart"] * 2
    assert runs[0].path.parent != runs[1].path.parent
    assert find_runs(tmp_path, "quickstart", arm="model=org/b,seed=1") == [runs[1]]
    assert find_runs(tmp_path, "quickstart") == []


def test_runs_that_begin_at_once_get_folders_of_their_own(tmp_path):
    plan = quickstart()
    with ThreadPoolExecutor(8) as pool:
        runs = list(
            pool.map(lambda _: create_run(tmp_path, plan, written={}, resolved={}, lock={}), range(24)),
        )
    assert sorted(int(run.path.name.split("-")[1]) for run in runs) == list(range(1, 25))


def test_a_run_needs_the_digest_of_everything_it_depends_on(tmp_path):
    plan = quickstart()
    model = replace(plan.model, print=FilePrint("Qwen/Qwen2.5-0.5B", None, "not on this machine"))
    with pytest.raises(ValueError, match="digest of every file"):
        create_run(tmp_path, replace(plan, model=model), written={}, resolved={}, lock={})
    assert list(tmp_path.iterdir()) == []


@settings(max_examples=25)
@given(st.dictionaries(st.text(max_size=300), st.binary(max_size=3), max_size=6))
def test_files_as_written_stay_inside_their_folder(tmp_path_factory, written):
    tmp_path = tmp_path_factory.mktemp("run")
    run = make_run(tmp_path, written=written)
    assert sorted(path.read_bytes() for path in run.spec.iterdir()) == sorted(written.values())
    assert {path.name for path in run.path.iterdir() if path.is_dir()} == {"spec"}
    assert {path.name for path in tmp_path.iterdir()} == {"quickstart"}


def test_files_of_one_name_are_all_kept(tmp_path):
    names = ["a/base.yaml", "../base.yaml", "/etc/Base.yaml", "C:\\specs\\base.yaml", "..", "<stdin>"]
    run = make_run(tmp_path, written={name: name for name in names})
    kept = {path.name: path.read_text() for path in run.spec.iterdir()}
    assert sorted(kept.values()) == sorted(names)
    assert {"base.yaml", "base-2.yaml", "Base-3.yaml", "base-4.yaml"} < kept.keys()


@given(st.text(max_size=200), st.text(max_size=200))
def test_a_safe_name_is_one_portable_part_of_a_path_and_tells_texts_apart(one, other):
    name = safe_name(one)
    assert Path(name).name == name
    assert name not in (".", "..")
    assert 0 < len(name.encode()) <= 100
    assert safe_name(name) == name
    if one != other:
        assert name != safe_name(other)


@pytest.mark.parametrize("text", ["nested-all-1.5b", "arm=nested,seed=1", "checkpoint-20"])
def test_a_name_that_is_safe_stays(text):
    assert safe_name(text) == text


@pytest.mark.parametrize("text", ["", ".", "..", ".hidden", "a/b", "nul", "COM1.txt", "end.", "ü", "x" * 101])
def test_a_name_that_is_not_safe_is_changed(text):
    assert safe_name(text) != text


# ── opening ──


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(MachineError, match="there is no run at"):
        open_run(tmp_path / "none")
    with pytest.raises(MachineError, match=r"is not a run: it has no status\.json"):
        open_run(tmp_path)
    (tmp_path / "status.json").write_text('{"schema": "other/1"}')
    with pytest.raises(MachineError, match="is of no run: its `schema` is 'other/1'"):
        open_run(tmp_path)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": "gift-run/1"}', b'{"schema": "gift-run/x"}'])
def test_a_damaged_status_is_named(tmp_path, content):
    (tmp_path / "status.json").write_bytes(content)
    with pytest.raises(MachineError, match=r"status\.json is (damaged|of no run)"):
        open_run(tmp_path)


def test_a_run_of_a_newer_gift_is_refused_and_passed_over(tmp_path):
    run = make_run(tmp_path)
    document = json.loads(run.status_file.read_text()) | {"schema": "gift-run/2"}
    run.status_file.write_text(json.dumps(document))
    with pytest.raises(MachineError, match=r"newer gift.*gift-run/2.*upgrade gift-dsl"):
        open_run(run.path)
    assert find_runs(tmp_path, "quickstart") == []


def test_a_run_without_its_plan_or_lock_is_named_when_they_are_read(tmp_path):
    run = make_run(tmp_path)
    run.plan_file.unlink()
    run.lock_file.unlink()
    with pytest.raises(MachineError, match="there is no plan at"):
        _ = run.plan
    with pytest.raises(MachineError, match=r"lock\.json is missing"):
        _ = run.lock


def test_the_page_names_every_place_of_a_run(tmp_path):
    run = make_run(tmp_path)
    page = (Path(__file__).parent.parent.parent / "docs" / "run_directory.md").read_text(encoding="utf-8")
    public = [name for name in dir(run) if not name.startswith("_")]  # 3.11.2 lists a __weakref__ that cannot be read
    places = [value for name in public if isinstance(value := getattr(run, name), Path) and name != "path"]
    assert len(places) == 16
    assert [place.name for place in places if f"`{place.name}" not in page] == []


# ── status ──


def test_a_status_keeps_when_the_run_began_and_says_who_wrote_it(tmp_path):
    run = make_run(tmp_path)
    began = run.status.started
    old = replace(run.status, started="2020-01-01T00:00:00Z", pid=1)
    write_whole(run.status_file, json.dumps({name: getattr(old, name) for name in old.__slots__}).encode())
    run.set_status(Status("stopped", stage="nested", step=4, reason="SIGTERM"))
    status = open_run(run.path).status
    assert (status.state, status.stage, status.step, status.reason) == ("stopped", "nested", 4, "SIGTERM")
    assert status.started == "2020-01-01T00:00:00Z"
    assert status.updated >= began
    assert status.pid == os.getpid()


def renewed(run, plan, written=None, resolved=None):
    written = {"b.yaml": "b"} if written is None else written
    return run.renew(plan, written=written, resolved=resolved or {"gift": 1}, lock=make_lock(plan, Machine(1, 1)))


def test_a_plan_that_grows_is_replaced_with_its_spec_and_lock_and_the_old_ones_are_kept(tmp_path):
    run = make_run(tmp_path)
    plans = [run.plan, quickstart("seed=2"), quickstart("seed=3")]
    before = {name: (run.path / name).read_bytes() for name in ("plan.json", "lock.json", "spec.resolved.json")}
    kept = [renewed(run, plan, resolved={"gift": 1, "seed": plan.seed}) for plan in plans[1:]]
    assert kept == [run.earlier / "1", run.earlier / "2"]
    assert run.plan == plans[2]
    assert run.lock["plan_hash"] == plan_hash(plans[2])
    assert json.loads(run.resolved.read_text()) == {"gift": 1, "seed": 3}
    assert [path.name for path in run.spec.iterdir()] == ["b.yaml"]
    assert {name: (kept[0] / name).read_bytes() for name in before} == before
    assert (kept[0] / "spec" / "quickstart.yaml").read_bytes() == QUICKSTART.read_bytes()
    assert json.loads((kept[1] / "lock.json").read_text())["plan_hash"] == plan_hash(plans[1])
    assert find_runs(tmp_path, "quickstart", plan_hash(plans[2])) == [run]
    assert find_runs(tmp_path, "quickstart", plan_hash(plans[0])) == []


def test_what_is_as_it_was_is_not_written_again(tmp_path):
    run = make_run(tmp_path)
    assert renewed(run, run.plan, written={"specs/quickstart.yaml": QUICKSTART.read_bytes()}) is None
    assert not run.earlier.exists()


def test_a_renewal_that_is_killed_at_any_moment_leaves_the_old_plan_and_is_done_again(tmp_path, monkeypatch):
    whole = write_whole
    for fatal in range(4):  # of the files that are written
        run = make_run(tmp_path / str(fatal))
        old, written = run.plan, []

        def dies(path, content, fatal=fatal, written=written):
            written.append(path.name)
            if len(written) > fatal:
                raise KeyboardInterrupt
            whole(path, content)

        with monkeypatch.context() as patched:
            patched.setattr("gift_dsl.artifacts.directory.write_whole", dies)
            with pytest.raises(KeyboardInterrupt):
                renewed(run, quickstart("seed=2"))
        assert written[-1] == ["b.yaml", "spec.resolved.json", "lock.json", "plan.json"][fatal]
        assert run.plan == old
        assert (run.earlier / "1" / "plan.json").read_bytes() == run.plan_file.read_bytes()
        renewed(run, quickstart("seed=2"))
        assert (run.plan, run.lock["plan_hash"]) == (quickstart("seed=2"), plan_hash(quickstart("seed=2")))


# ── one writer ──


def test_a_second_writer_is_refused_with_the_first_ones_name(tmp_path):
    run = make_run(tmp_path)
    with (
        run.hold(),
        pytest.raises(MachineError, match=rf"is being written by process {os.getpid()} on \S+; stop it first"),
        open_run(run.path).hold(),
    ):
        pass
    with run.hold() as held:
        assert held.holder().pid == os.getpid()
    assert run.holder() is None


def test_what_happens_while_a_run_is_held_is_not_explained_away(tmp_path):
    run = make_run(tmp_path)
    with pytest.raises(PermissionError), run.hold():
        raise PermissionError(errno.EACCES, "of the caller")
    assert run.holder() is None


def test_the_kernel_frees_a_run_whose_writer_was_killed(tmp_path):
    run = make_run(tmp_path)
    assert run.holder() is None
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run.path)], stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout.readline() == "held\n"
        assert run.holder().pid == writer.pid
        with pytest.raises(MachineError, match=f"process {writer.pid} on"), run.hold():
            pass
        writer.send_signal(signal.SIGKILL)
        writer.wait()
    assert run.status.state == "running"
    assert run.holder() is None
    with run.hold():
        assert run.holder().pid == os.getpid()


def test_asking_who_holds_a_run_does_not_keep_a_writer_away(tmp_path):
    run = make_run(tmp_path)
    until = time.monotonic() + 0.3
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(lambda: [run.holder() for _ in iter(lambda: time.monotonic() < until, False)])
        while not asking.done():
            with run.hold():
                pass


RANK = """
import sys, time
from pathlib import Path
from gift_dsl.artifacts.directory import open_run
with open_run(Path(sys.argv[1])).join():
    print("joined", flush=True)
    time.sleep(60)
"""


def test_a_rank_that_outlives_its_killed_command_keeps_the_next_one_away(tmp_path):
    run = make_run(tmp_path)
    command = [sys.executable, "-c", RANK, str(run.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as rank:
        assert rank.stdout.readline() == "joined\n"
        assert run.holder().pid == rank.pid
        with pytest.raises(MachineError, match=f"still being written by process {rank.pid} on"), run.hold():
            pass
        rank.kill()
        rank.wait()
    with run.hold(), run.join(), run.join():
        assert run.holder().pid == os.getpid()
    assert run.holder() is None


def test_a_rank_does_not_join_while_another_command_takes_the_run(tmp_path):
    run = make_run(tmp_path)
    with (run.path / ".ranks").open("w") as taking:
        fcntl.flock(taking, fcntl.LOCK_EX)
        with pytest.raises(MachineError, match="is being taken by another command"), run.join():
            pass


def test_a_holder_that_has_not_signed_yet_is_another_process(tmp_path):
    run = make_run(tmp_path)
    with run.hold():
        (run.path / ".writer").write_text('{"pid": ')
        with pytest.raises(MachineError, match="is being written by another process; stop it first"), run.hold():
            pass


def test_a_disk_without_locks_is_said_and_used(tmp_path, monkeypatch, caplog):
    def unsupported(handle, kind):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", unsupported)
    with make_run(tmp_path).hold():
        assert "cannot be locked (No locks available): nothing keeps a second writer away" in caplog.text


# ── files that are whole ──


def test_bytes_are_on_the_disk_before_their_name_is(tmp_path, monkeypatch):
    done, rename = [], Path.replace
    if not Path("/proc/self/fd").is_dir():
        pytest.skip("nothing tells here which file a handle is of")
    monkeypatch.setattr(files.os, "fsync", lambda handle: done.append(Path(f"/proc/self/fd/{handle}").resolve().name))
    monkeypatch.setattr(Path, "replace", lambda self, target: done.append("rename") or rename(self, target))
    write_whole(tmp_path / "plan.json", b"{}")
    assert done == [".plan.json.partial", "rename", tmp_path.name]


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path, monkeypatch):
    path = tmp_path / "status.json"
    write_whole(path, b"old")

    def full(handle):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(MachineError, match=r"the disk is full: .*status\.json could not be written"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_that_may_not_be_written_is_named(tmp_path, monkeypatch):
    def refused(self, *args, **options):
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(MachineError, match="may not be written: Permission denied"):
        make_run(tmp_path)


def test_another_fault_of_the_disk_is_not_explained_away(tmp_path, monkeypatch):
    def broken(handle):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(files.os, "fsync", broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_whole(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []

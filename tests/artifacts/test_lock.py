"""The lock says what a run depended on besides its plan, and never a secret."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import gift_dsl
from gift_dsl import api
from gift_dsl.artifacts.lock import (
    PACKAGES,
    Difference,
    Machine,
    accelerators,
    differences,
    git_state,
    make_lock,
    package_versions,
)
from gift_dsl.plan import FilePrint, plan_hash
from gift_dsl.settings import shipped
from tests.artifacts.runs import quickstart

MACHINE = Machine(processes=2, threads=4, devices=("NVIDIA H100",), driver="12.8", deterministic={"tf32": False})
DECIDING = {"torch", "transformers", "trl", "accelerate", "tokenizers", "numpy", "jinja2", "pydantic"}


def test_a_lock_has_what_was_run_and_on_what():
    lock = make_lock(quickstart(), MACHINE)
    assert lock["spec_hash"] == quickstart().spec_hash
    assert lock["plan_hash"] == plan_hash(quickstart())
    assert lock["gift"]["version"] == gift_dsl.__version__
    assert lock["python"] == platform.python_version()
    assert (lock["processes"], lock["threads"], lock["devices"]) == (2, 4, ["NVIDIA H100"])
    assert lock["platform"]["cpus"] == os.cpu_count()
    assert lock["seeds"] == {"seed": quickstart().seed, "evaluation": quickstart().evaluation.seed}
    assert json.loads(json.dumps(lock)) == lock


def test_the_versions_are_those_that_are_installed():
    found = package_versions()
    assert DECIDING | {"lm-eval", "math-verify"} <= set(PACKAGES) == found.keys()
    assert all(found[name] == version(name) for name in DECIDING)
    assert found["deepspeed"] is None or found["deepspeed"] == version("deepspeed")


def test_a_package_that_is_not_installed_has_no_version(monkeypatch):
    monkeypatch.setattr("gift_dsl.artifacts.lock.PACKAGES", ("no-such-package-here",))
    assert package_versions() == {"no-such-package-here": None}


def test_a_lock_is_made_without_importing_what_it_names():
    code = (
        "import sys; from gift_dsl import api; from gift_dsl.artifacts import (checkpoints, directory, lines, lock,"
        " manifest, trajectories);"
        f"(plan,) = api.compile_spec({str(shipped('specs') / 'quickstart.yaml')!r});"
        "lock.make_lock(plan, lock.Machine(1, 1));"
        "print(sorted({'torch', 'numpy', 'trl', 'transformers', 'accelerate', 'lm_eval'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_lock_has_names_of_environment_variables_and_never_their_values(monkeypatch):
    monkeypatch.setenv("OPENROUTER_API_KEY", "sk-secret-value")
    (plan,) = api.compile_spec(str(shipped("specs") / "nested_all.yaml"))
    lock = make_lock(plan, MACHINE)
    assert "OPENROUTER_API_KEY" in lock["environment"]
    assert "sk-secret-value" not in json.dumps(lock)
    assert lock["opponents"]["qwen14b"] == {"type": "openai", "model": "Qwen/Qwen3-14B"}


def test_a_lock_has_the_digests_of_weights_and_data():
    plan = quickstart()
    weights, rows = FilePrint("org/model", "a" * 64), FilePrint("org/rows", "b" * 64)
    games = (replace(plan.games[0], data=rows), *plan.games[1:])
    lock = make_lock(replace(plan, model=replace(plan.model, print=weights), games=games), MACHINE)
    assert lock["model"] == {"name": "org/model", "sha256": "a" * 64, "reason": None}
    assert lock["data"]["org/rows"] == {"name": "org/rows", "sha256": "b" * 64, "reason": None}
    assert all(len(item["sha256"]) == 64 for item in lock["data"].values())


# ── the checkout ──


def git(folder, *words):
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def checkout(folder):
    (folder / "gift_dsl").mkdir()
    (folder / "pyproject.toml").write_text("[project]\n")
    git(folder, "init", "-q")
    git(folder, "add", "pyproject.toml")
    git(folder, "commit", "-q", "-m", "x")
    return folder / "gift_dsl"


def test_a_checkout_has_its_commit_and_says_when_files_differ(tmp_path):
    package = checkout(tmp_path)
    sha = git(tmp_path, "rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("not tracked")
    assert git_state(package) == {"git_sha": sha, "git_dirty": False}
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert git_state(package) == {"git_sha": sha, "git_dirty": True}


def test_an_installed_package_has_no_commit_even_inside_somebodys_repository(tmp_path):
    checkout(tmp_path)
    installed = tmp_path / "venv" / "site-packages" / "gift_dsl"
    installed.mkdir(parents=True)
    assert git_state(installed) == {"git_sha": None, "git_dirty": None}


def test_without_git_there_is_no_commit(tmp_path, monkeypatch):
    package = checkout(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(package) == {"git_sha": None, "git_dirty": None}


def test_a_checkout_without_a_commit_has_none(tmp_path):
    (tmp_path / "pyproject.toml").write_text("")
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path / Path("gift_dsl")) == {"git_sha": None, "git_dirty": None}


# ── differences ──


def test_equal_locks_do_not_differ():
    assert differences(make_lock(quickstart(), MACHINE), make_lock(quickstart(), MACHINE)) == []


def test_what_differs_is_named_by_its_path():
    old = make_lock(quickstart(), MACHINE)
    new = make_lock(quickstart(), replace(MACHINE, threads=8))
    new["packages"] = new["packages"] | {"torch": "9.9"}
    found = differences(old, new)
    assert found == [Difference("packages.torch", old["packages"]["torch"], "9.9"), Difference("threads", 4, 8)]
    assert str(found[1]) == "threads: 4 -> 8"


def test_a_key_that_came_or_went_is_a_difference():
    assert differences({"a": {"b": 1}}, {"a": {"c": [2]}}) == [Difference("a.b", 1, None), Difference("a.c", None, [2])]


def test_accelerators_are_named_with_their_driver_where_there_are_any(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert accelerators() == ((), None)
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H100 80GB HBM3, 580.65'\necho 'NVIDIA H100 80GB HBM3, 580.65'\n")
    program.chmod(0o755)
    assert accelerators() == (("NVIDIA H100 80GB HBM3",) * 2, "580.65")
    program.write_text("#!/bin/sh\nexit 9\n")  # a driver that does not answer
    assert accelerators() == ((), None)

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from gift_dsl import settings

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gift_dsl"
KINDS = ("games", "templates", "specs")

# They adapt libraries that ship no usable types; everything else is checked strictly.
ADAPTERS = (
    "engines/*.py",
    "evaluate/harness.py",
    "games/math_worker.py",
    "games/open_spiel_rules.py",
    "games/textarena_rules.py",
    "run/arms.py",
    "run/arms_benchmarks.py",
    "run/evaluate.py",
    "run/examine.py",
    "run/final.py",
    "run/given.py",
    "run/models.py",
    "run/ranks.py",
    "run/stage.py",
    "run/subjects.py",
    "run/trackers.py",
    "run/worker.py",
    "spec/events_ruamel.py",
    "train/glow.py",
    "train/grpo.py",
    "train/guards.py",
    "train/optimizers.py",
    "train/sft.py",
    "train/sharding.py",
)

LIST_SHIPPED = """
import json, gift_dsl
from gift_dsl.settings import shipped
found = {kind: str(shipped(kind)) for kind in ("games", "templates", "specs")}
print(json.dumps({"package": gift_dsl.__file__, **found}))
"""


def contents(folder):
    """Every file of a folder and of those below it, but what tools and runs left there: relative path to bytes."""
    left = {"__pycache__", "runs"}
    files = (
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not left.intersection(path.relative_to(folder).parts)
    )
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def run(*command, cwd, path=None):
    """Run a command with warnings on, `path` in front of everything that is installed; its standard output."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """An sdist, and the wheel that is built from that sdist."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT), cwd=folder)
    return folder


@pytest.fixture(scope="module")
def unpacked(distributions, tmp_path_factory):
    """The sdist as a folder."""
    folder = tmp_path_factory.mktemp("sdist")
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return next(folder.iterdir())


@pytest.fixture(scope="module")
def installed(distributions, tmp_path_factory):
    """The wheel, installed alone into a folder."""
    folder = tmp_path_factory.mktemp("wheel")
    wheel = next(distributions.glob("*.whl"))
    run(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(folder), str(wheel), cwd=folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkout_uses_its_own_folders(kind):
    assert settings.shipped(kind) == ROOT / kind
    assert contents(ROOT / kind)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["unpacked", "installed"])
def test_every_shipped_file_is_found_in_the_sdist_and_in_the_wheel(form, request, tmp_path):
    folder = request.getfixturevalue(form)
    found = json.loads(run(sys.executable, "-c", LIST_SHIPPED, cwd=tmp_path, path=folder))
    assert Path(found["package"]).is_relative_to(folder)
    for kind in KINDS:
        assert Path(found[kind]).is_relative_to(folder)
        assert contents(Path(found[kind])) == contents(ROOT / kind)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["unpacked", "installed"])
def test_the_command_runs_from_the_sdist_and_from_the_wheel(form, request, tmp_path):
    folder = request.getfixturevalue(form)
    assert "validate" in run(sys.executable, "-m", "gift_dsl", "--help", cwd=tmp_path, path=folder)


@pytest.mark.slow
def test_the_wheel_is_typed_and_holds_nothing_but_the_package(installed):
    assert (installed / "gift_dsl" / "py.typed").is_file()
    folders = {path.name for path in installed.iterdir() if path.suffix != ".dist-info"}
    assert folders <= {"bin", "gift_dsl"}


def test_only_adapters_are_checked_less_than_strictly():
    allowed = {path for pattern in ADAPTERS for path in PACKAGE.glob(pattern)}
    relaxed = {path for path in PACKAGE.rglob("*.py") if "# pyright: basic" in path.read_text(encoding="utf-8")}
    assert relaxed <= allowed


def test_no_group_of_a_pattern_is_repeated_possessively():
    """Python 3.11.0 to 3.11.4 match such groups wrongly: Debian's 3.11.2 took no spec for YAML."""
    wrong = re.compile(r"\)[*+?]\+|\(\?>")
    found = [path for path in PACKAGE.rglob("*.py") if wrong.search(path.read_text(encoding="utf-8"))]
    assert found == []


def test_the_paper_index_names_places_that_exist():
    text = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
    named = [
        word for word in re.findall(r"`([\w./]+)`", text) if re.fullmatch(r"(gift_dsl|tests|specs|games)/\S+", word)
    ]
    assert len(named) > 20
    assert [path for path in named if not (ROOT / path).exists() and not (PACKAGE / path).exists()] == []


@pytest.mark.skipif(shutil.which("make") is None, reason="there is no make on this machine")
def test_another_index_is_used_for_torch_alone(tmp_path):
    index = "https://torch.example/cpu"
    plan = run("make", "-n", "test", f"VENV={tmp_path}/venv", f"TORCH_INDEX={index}", cwd=ROOT)
    (line,) = [line for line in plan.splitlines() if index in line]
    requirement = line.rpartition(" install ")[2]
    assert requirement.startswith(f'--index-url "{index}" "torch>=')
    assert requirement.count('"') == 4

"""The tutorial and the README are executed: each file is written, each command run, each shown output compared."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STEP = re.compile(r"<!-- (file|run): (.*?)(?: -> (\d+))? -->\n```(\w*)\n(.*?)```", re.S)


def steps():
    return STEP.findall((ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8"))


def test_the_tutorial_does_what_it_says(tmp_path):
    runs = 0
    for kind, what, code, language, body in steps():
        if kind == "file":
            (tmp_path / what).write_text(body, encoding="utf-8")
            continue
        command = [sys.executable, "-m", "gift_dsl", *shlex.split(what)[1:]]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == int(code or 0), f"{what}: {done.stderr}"
        if language == "console":
            assert body.split("\n", 1)[1] == done.stdout + done.stderr, what
        runs += 1
    assert runs >= 6


def test_every_code_block_of_the_tutorial_is_a_step():
    text = (ROOT / "docs" / "tutorial.md").read_text(encoding="utf-8")
    assert text.count("```") == 2 * len(steps())


COMMANDS = re.findall(r"\.venv/bin/gift (.+?)(?:  +#.*)?$", (ROOT / "README.md").read_text(), re.M)
# What a run in the README does takes minutes; here it does the same with less of everything.
LESS = (
    "stages[warmup].data.scripted.episodes=64",
    "stages[nested].until.steps=1",
    "evaluation.final.rounds=3",
    "algorithm.group_size=2",
    "algorithm.mini_batch_size=16",
)


@pytest.mark.slow
@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("run ")])
def test_every_run_of_the_readme_runs(command, tmp_path):
    less = " ".join(f"--set {shlex.quote(one)}" for one in LESS)
    test_every_command_of_the_readme_runs(f"{command} {less}", tmp_path)


@pytest.mark.parametrize("command", [command for command in COMMANDS if not command.startswith("run ")])
def test_every_command_of_the_readme_runs(command, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "gift_dsl", "init", "my-experiment"], cwd=tmp_path, check=True, capture_output=True
    )
    arguments = shlex.split(command)
    if arguments[0] == "init":
        arguments[1] = "another"
    done = subprocess.run(
        [sys.executable, "-m", "gift_dsl", *arguments], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_spec_of_the_readme_is_valid(tmp_path):
    block = re.search(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    assert block is not None
    (tmp_path / "readme.yaml").write_text(block[1])
    done = subprocess.run(
        [sys.executable, "-m", "gift_dsl", "validate", "readme.yaml"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_links_in_the_documents_lead_somewhere():
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"

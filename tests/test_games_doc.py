"""docs/games.md is executed: its game file, its plugin package, and its table of laws."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from gift_dsl import api

PAGE = (Path(__file__).parent.parent / "docs" / "games.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"<!-- (file|run|plugin|entry point):? ?(.*?) ?-->\n```\w*\n(.*?)```", re.S)
BLOCKS = BLOCK.findall(PAGE)


def gift(folder, command, *paths):
    """Runs a command of the page; `paths` are where packages are looked for first."""
    path = os.pathsep.join([*map(str, paths), os.environ.get("PYTHONPATH", "")])
    arguments = [sys.executable, "-m", "gift_dsl", *shlex.split(command)[1:]]
    env = {**os.environ, "PYTHONPATH": path}
    return subprocess.run(arguments, cwd=folder, capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def package(tmp_path):
    """The page's plugin as it would be installed: its module, and metadata with its entry point."""
    site = tmp_path / "site"
    info = site / "nim_game-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: nim-game\nVersion: 1.0\n")
    (entry,) = [body for kind, _, body in BLOCKS if kind == "entry point"]
    group, name, value = re.search(r'entry-points\."(.+?)"\]\n(\w+) = "(.+?)"', entry).groups()
    (info / "entry_points.txt").write_text(f"[{group}]\n{name} = {value}\n")
    (module,) = [body for kind, what, body in BLOCKS if kind == "file" and what.endswith(".py")]
    (site / "nim_game.py").write_text(module)
    return site


def test_the_game_file_of_the_page_keeps_the_laws(tmp_path):
    for kind, what, body in BLOCKS:
        if kind == "file" and what.endswith(".yaml"):
            (tmp_path / what).write_text(body)
    commands = [what for kind, what, _ in BLOCKS if kind == "run"]
    assert commands
    for command in commands:
        done = gift(tmp_path, command)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_of_the_page_keeps_the_laws_and_can_be_played(tmp_path, package):
    commands = [what for kind, what, _ in BLOCKS if kind == "plugin"]
    assert len(commands) == 2
    for command in commands:
        done = gift(tmp_path, command, package)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_plugin_of_the_page_is_short(package):
    body = (package / "nim_game.py").read_text()
    game = body[body.index("class NimState") : body.index("FAMILY")]
    assert len([line for line in game.splitlines() if line.strip()]) <= 60


def test_a_plugin_can_be_named_in_a_spec(tmp_path, package):
    spec = tmp_path / "nim.yaml"
    spec.write_text(
        "gift: 1\nname: nim\nmodel: {source: ./m}\ngames: {nim: {type: nim, most: 9, opponents: random}}\n"
        "stages: [{name: main, type: grpo, play: nim, until: {steps: 1}}]\n"
    )
    done = gift(tmp_path, "gift validate nim.yaml", package)
    assert done.returncode == 0, done.stderr
    spec.write_text(spec.read_text().replace("most: 9", "most: 99"))
    done = gift(tmp_path, "gift validate nim.yaml", package)
    assert done.returncode == 3
    assert "`games.nim.most` must be at most 40" in done.stderr


MUTANTS = {
    "stream": ("rng.randint(5, self.params.most)", "__import__('random').randint(5, self.params.most)"),
    "legal": ("if action not in self.legal_actions():", "if action == '1':"),
    "illegal": ('raise ValueError(f"{action!r} cannot be taken; legal: {self.legal_actions()}")', "return self"),
    "horizon": ("turns = (params.most + 1) // 2", "turns = 2"),
    "end": ("return tuple(str(n) for n in range(1, min(3, self.matches) + 1))", "return ('1', '2', '3')"),
    "shown": ("self.legal_actions() if player == self.current_player else ()", "self.legal_actions()"),
    "zero-sum": ('("win", "loss") if self.turn % 2 else ("loss", "win")', '("win", "win")'),
    "outcomes": ('return ("win", "loss") if', 'return ("win", "lost") if'),
    "result": ('raise ValueError("the game is not over")', 'return ("draw", "draw")'),
    "values": ("@dataclass(frozen=True, slots=True)\nclass NimState", "@dataclass(slots=True)\nclass NimState"),
    "keys": ("return str(state.matches)", "return str(id(state))"),
}


@pytest.mark.parametrize("law", MUTANTS)
def test_a_plugin_that_breaks_a_law_fails(tmp_path, package, law):
    old, new = MUTANTS[law]
    module = package / "nim_game.py"
    assert old in module.read_text()
    module.write_text(module.read_text().replace(old, new))
    done = gift(tmp_path, "gift game test nim", package)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "broken" in done.stdout


def test_the_table_of_the_page_is_what_the_command_prints():
    printed = api.law_table([api.law_report(name, 5) for name in api.games_to_test()])
    assert PAGE.rstrip().endswith(printed.rstrip())


def test_one_game_or_all_must_be_asked_for(tmp_path):
    assert gift(tmp_path, "gift game test").returncode == 2
    assert gift(tmp_path, "gift game test tictactoe --all").returncode == 2
    assert gift(tmp_path, "gift game test chess").returncode == 2

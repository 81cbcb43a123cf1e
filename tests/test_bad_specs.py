"""Every mistake a spec can have, as a small wrong spec and the exact text that answers it.

`specs/err/NAME.yaml` says on its first line what is wrong with it, `NAME.out` is what `gift validate` prints. A line
`# options: ...` gives options of the command line. `pytest --accept` rewrites the answers; read them in review: is the
place right, the message plain and true, the hint a repair, and is there one message for one mistake?
"""

from __future__ import annotations

import ast
import os
import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import Annotated

import pytest
from annotated_types import MultipleOf

import gift_dsl
from gift_dsl.api import check_spec
from gift_dsl.spec import check as spec_check
from gift_dsl.spec.codes import CODES
from gift_dsl.spec.files import project_root
from gift_dsl.spec.render import render_text, to_github, to_json

FOLDER = Path(__file__).parent / "specs" / "err"
WRONG_SPECS = sorted(FOLDER.glob("*.yaml"))


@pytest.fixture
def at_home(monkeypatch):
    monkeypatch.chdir(FOLDER)


def options_of(path: Path) -> dict[str, list[str]]:
    """`--set` and `--only` of the line `# options: ...`, if there is one."""
    lines = path.read_text(encoding="utf-8").splitlines()[:2]
    words = shlex.split(next((line.partition(":")[2] for line in lines if line.startswith("# options:")), ""))
    pairs = list(zip(words[::2], words[1::2], strict=True))
    return {name: [value for option, value in pairs if option == f"--{name[:-1]}"] for name in ("sets", "onlys")}


@lru_cache(maxsize=256)
def checked(path: Path):
    options = options_of(path)
    return check_spec(path.name, sets=options["sets"], only=options["onlys"])


def answer(path: Path) -> str:
    """The text for people. The folder of the project is the one thing in it that differs between machines."""
    found = checked(path)
    text = render_text(found.diagnostics, found.sources)
    return text.replace(str(project_root(FOLDER)), "/project") + "\n"


@pytest.mark.parametrize("path", WRONG_SPECS, ids=lambda path: path.stem)
def test_a_wrong_spec_is_answered_where_it_is_wrong(path, golden, at_home):
    golden(path.with_suffix(".out"), answer(path))


def test_there_are_many_of_them():
    assert len(WRONG_SPECS) >= 60


def test_every_answer_has_its_spec():
    assert {path.stem for path in FOLDER.glob("*.out")} == {path.stem for path in WRONG_SPECS}


@pytest.mark.parametrize("path", WRONG_SPECS, ids=lambda path: path.stem)
def test_the_name_of_a_wrong_spec_is_what_it_is_wrong_with(path, at_home):
    found = {item.code for item in checked(path).diagnostics}
    assert any(path.stem.startswith(code) for code in found) or path.stem in NAMED_BY_CAUSE


NAMED_BY_CAUSE = {
    "composition-game-keys",
    "composition-options",
    "composition-two-keys",
    "composition-typo",
    "composition-weight",
    "extends-place",
    "extends-set",
    "extends-type",
    "final-opponents",
    "fragment",
    "game-file-list",
    "game-file-typo",
    "game-file-yaml",
    "missing-key-typo",
    "opponent-inline",
    "prompt-file-lines",
    "scripted-weights",
    "seats-pool",
    "secret-in-url",
    "set-value",
    "set-yaml",
    "sweep-path",
    "sweep-type",
    "sweep-values",
    "template-quoted",
    "template-var",
    "var-key",
    "var-value",
    "vars-type",
    "wrong-version",
    "wrong-version-next",
}
"""Specs that are about where a value was written rather than about a code."""


# ── what no file of text can show ──


def make_deep_chain(folder: Path) -> str:
    for number in range(20):
        (folder / f"{number}.yaml").write_text(f"extends: {number + 1}.yaml\n", encoding="utf-8")
    (folder / "20.yaml").write_text("gift: 1\n", encoding="utf-8")
    return "0.yaml"


def make_folder(folder: Path) -> str:
    (folder / "folder.yaml").mkdir()
    return "folder.yaml"


def make_link(folder: Path) -> str:
    (folder / "real.yaml").write_text("gift: 1\n", encoding="utf-8")
    (folder / "link.yaml").symlink_to("real.yaml")
    return "link.yaml"


def make_base_link(folder: Path) -> str:
    (folder / "spec.yaml").write_text(f"extends: {make_link(folder)}\n", encoding="utf-8")
    return "spec.yaml"


def make_large(folder: Path) -> str:
    (folder / "large.yaml").write_bytes(b"# " + b"x" * (1 << 20))
    return "large.yaml"


def make_latin1(folder: Path) -> str:
    (folder / "latin1.yaml").write_bytes("gift: 1\ndescription: café\n".encode("latin-1"))
    return "latin1.yaml"


def make_nul(folder: Path) -> str:
    (folder / "nul.yaml").write_bytes(b"gift: 1\nname: a\x00b\n")
    return "nul.yaml"


def make_locked(folder: Path) -> str:
    (folder / "locked.yaml").write_text("gift: 1\n", encoding="utf-8")
    (folder / "locked.yaml").chmod(0)
    return "locked.yaml"


NO_TEXT = {
    make_deep_chain: ("extends-depth", "15.yaml:1:10: error[extends-depth]: more than 16 files extend one another"),
    make_folder: ("file-not-regular", "folder.yaml:1:1: error[file-not-regular]: `folder.yaml` is not a regular file"),
    make_link: ("file-symlink", "link.yaml:1:1: error[file-symlink]: `link.yaml` is a symbolic link"),
    make_base_link: ("file-symlink", "spec.yaml:1:10: error[file-symlink]: `link.yaml` is reached through a symbolic"),
    make_large: ("file-too-large", "large.yaml:1:1: error[file-too-large]: a spec may have 1 MiB at most"),
    make_latin1: ("yaml-encoding", "latin1.yaml:2:17: error[yaml-encoding]: byte 0xe9 is not UTF-8"),
    make_nul: ("yaml-control", "nul.yaml:2:8: error[yaml-control]: the character U+0000 may not stand in a spec"),
    (lambda _: "missing.yaml"): ("file-missing", "missing.yaml:1:1: error[file-missing]: there is no file"),
}


@pytest.mark.parametrize(("make", "expected"), NO_TEXT.items(), ids=lambda item: getattr(item, "__name__", ""))
def test_what_is_no_text_of_a_spec_is_refused_too(make, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = check_spec(make(tmp_path))
    code, start = expected
    assert [item.code for item in found.diagnostics] == [code]
    assert render_text(found.diagnostics, found.sources).startswith(start)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: 0)() == 0, reason="root may read everything")
def test_a_file_without_permission_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [item.code for item in check_spec(make_locked(tmp_path)).diagnostics] == ["file-unreadable"]


def test_a_name_that_the_system_refuses_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [item.code for item in check_spec("x" * 300 + ".yaml").diagnostics] == ["file-unreadable"]


def test_a_rule_of_a_plugin_is_told_in_its_own_words(monkeypatch):
    """`wrong-value` is for rules of plugins; no built-in key has one that lacks a code."""
    from dataclasses import make_dataclass, replace

    from gift_dsl.games.families import FAMILIES
    from gift_dsl.spec.walk import hints

    params = make_dataclass("Params", [("level", Annotated[int, MultipleOf(2)], 2)], frozen=True)
    family = replace(FAMILIES["board"], name="even", params=params, check=lambda _: None)
    for module in (spec_check, __import__("gift_dsl.spec.walk", fromlist=["walk"])):
        monkeypatch.setattr(module, "find_family", {"even": family}.get)
    hints.cache_clear()
    text = "gift: 1\nname: x\nmodel: {source: tiny}\ngames: {own: {type: even, level: 3}}\n"
    (found,) = [item for item in check_spec("-", text).diagnostics if item.code != "missing-key"]
    assert (found.code, found.span.line, found.span.column) == ("wrong-value", 4, 34)
    assert "multiple of 2" in found.message


# ── all codes ──


def emitted_codes() -> set[str]:
    """The codes that the sources can give: constants shaped like one, where a code goes."""
    found: set[str] = set()
    for path in Path(gift_dsl.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                values = [*node.args[:1], *(word.value for word in node.keywords if word.arg == "code")]
                if name in ("Diagnostic", "Refusal", "finding", "add", "_add", "_report"):
                    found |= {value.value for value in values if isinstance(value, ast.Constant)}
    return {code for code in found if isinstance(code, str) and re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", code)}


ELSEWHERE = {"file-unreadable", "wrong-value"} | {code for code, _ in NO_TEXT.values()}


def test_every_code_is_shown_by_a_wrong_spec(at_home):
    shown = {item.code for path in WRONG_SPECS for item in checked(path).diagnostics}
    assert (set(CODES) | emitted_codes()) - shown - ELSEWHERE == set()


def test_no_wrong_spec_shows_a_code_that_is_not_documented(at_home):
    shown = {item.code for path in WRONG_SPECS for item in checked(path).diagnostics}
    assert shown - set(CODES) == set()


# ── all answers ──


@pytest.mark.parametrize("path", WRONG_SPECS, ids=lambda path: path.stem)
def test_a_place_lies_inside_the_text_it_names(path, at_home):
    found = checked(path)
    for item in found.diagnostics:
        lines = re.split(r"\r\n|\n|\r", found.sources[item.span.file])
        assert 1 <= item.span.line <= item.span.end_line <= len(lines)
        assert 1 <= item.span.column <= len(lines[item.span.line - 1]) + 1


@pytest.mark.parametrize("path", WRONG_SPECS, ids=lambda path: path.stem)
def test_a_finding_is_told_alike_to_people_programs_and_github(path, at_home):
    found = checked(path).diagnostics
    codes = [item.code for item in found]
    assert [item["code"] for item in to_json(found)] == codes
    lines = to_github(found).splitlines()
    assert [re.search(r"title=([a-z0-9-]+)", line).group(1) for line in lines] == codes


def test_only_warnings_leave_a_spec_valid(at_home):
    for path in WRONG_SPECS:
        found = checked(path)
        assert found.ok == all(item.severity == "warning" for item in found.diagnostics)
        assert found.diagnostics, f"{path.name} has nothing wrong"

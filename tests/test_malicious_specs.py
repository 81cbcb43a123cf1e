"""Specs of people who mean harm: each is refused with a diagnostic, nothing of theirs is read or run, and it is soon.

The files are in `specs/malicious`; the first line of each says the code with which it is refused. What is too large
for a file is made here.
"""

from __future__ import annotations

import json
import sys
from functools import lru_cache
from pathlib import Path

import pytest

from gift_dsl.api import check_spec
from gift_dsl.settings import shipped
from gift_dsl.spec.render import render_text, to_github, to_json

FOLDER = Path(__file__).parent / "specs" / "malicious"
SPECS = sorted(FOLDER.glob("*.yaml"))
CANARY = "canary0value0that0nobody0may0see"
HARMLESS = """\
gift: 1
name: x
model: {source: tiny}
stages: [{name: main, type: grpo, play: ttt, until: {steps: 1}}]
rollout: {max_tokens_per_turn: 20}
"""
OWN_PROMPT = "{type: tictactoe, opponents: random, prompt: {template: %s}}"
GAME = "games: {ttt: {type: tictactoe, opponents: random}}\n"


class Watch:
    """What Python was asked to open, run or connect to, while it is on."""

    def __init__(self) -> None:
        self.on = False
        self.opened: list[str] = []
        self.acted: list[str] = []
        sys.addaudithook(self)

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self.on:
            return
        if event == "open":
            self.opened.append(str(arguments[0]))
        elif event.split(".")[0] in ("os", "subprocess", "socket", "urllib", "ftplib", "pty", "webbrowser"):
            self.acted.append(event)


WATCH = Watch()
LOOKING = {"os.listdir", "os.scandir"}


@pytest.fixture
def corpus(monkeypatch):
    """The folder of the corpus, with a canary in the environment where a spec might look for it."""
    monkeypatch.chdir(FOLDER)
    monkeypatch.setenv("HF_TOKEN", CANARY)
    monkeypatch.setenv("OPENAI_API_KEY", CANARY)


def watched(check):
    """What a check returns, with what it opened and did."""
    WATCH.opened.clear()
    WATCH.acted.clear()
    WATCH.on = True
    try:
        return check(), tuple(WATCH.opened), tuple(WATCH.acted)
    finally:
        WATCH.on = False


def shown(found) -> list[str]:
    """All that may be printed of a check."""
    return [
        render_text(found.diagnostics, found.sources),
        json.dumps(to_json(found.diagnostics)),
        to_github(found.diagnostics),
    ]


@lru_cache(maxsize=128)
def checked(path: Path):
    return check_spec(path.name)


def errors(found) -> set[str]:
    return {item.code for item in found.diagnostics if item.severity == "error"}


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_a_malicious_spec_is_refused_and_reaches_nothing(path, corpus):
    code = path.read_text(encoding="utf-8").split("\n")[0].removeprefix("# refused: ")
    check_spec(path.name)  # imports what it needs
    found, opened, acted = watched(lambda: check_spec(path.name))
    assert code in errors(found)
    assert set(acted) <= LOOKING
    ours = tuple(str(folder) for folder in (FOLDER, shipped("games"), shipped("templates")))
    assert [name for name in opened if Path(name).is_absolute() and not name.startswith(ours)] == []
    assert not any(CANARY in text for text in shown(found))


def test_the_corpus_covers_what_a_shared_file_can_try():
    assert len(SPECS) >= 50


# ── what is shown ──


SECRETS = [
    "hf_abcdefGHIJKLmnopQRSTuvwx",
    "sk-proj-abcDEF0123456789abcDEF0123456789",
    "hunter2secret",
    "AKIAABCDEFGHIJKL1234",
]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_no_output_repeats_a_secret(path, monkeypatch):
    monkeypatch.chdir(FOLDER)
    for text in shown(checked(path)):
        assert not any(secret in text for secret in SECRETS)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
@pytest.mark.parametrize("ascii_only", [False, True])
def test_no_output_moves_the_cursor_or_turns_text_round(path, ascii_only, monkeypatch):
    monkeypatch.chdir(FOLDER)
    found = checked(path)
    for text in (render_text(found.diagnostics, found.sources, ascii_only=ascii_only), to_github(found.diagnostics)):
        assert text.replace("\n", "").isprintable()
    assert len(to_github(found.diagnostics).splitlines()) == len(found.diagnostics)


# ── templates ──

ATTACKS = {
    "class": "{{ cells.__class__ }}",
    "globals": "{{ legal.__init__.__globals__ }}",
    "subscript": "{{ cells['__class__'] }}",
    "built subscript": "{{ cells['__cla' ~ 'ss__'] }}",
    "attr filter": "{{ cells|attr('__class__') }}",
    "map attribute": "{{ legal|map(attribute='__class__')|list }}",
    "call": "{{ cells.format(cells) }}",
    "format string": "{{ '%1000000000d' % 1 }}",
    "format filter": "{{ '{0.__class__}'|format(cells) }}",
    "multiplication": "{{ 'a' * 1000000000 }}",
    "power": "{{ 9 ** 9 ** 9 }}",
    "center": "{{ cells|center(1000000000) }}",
    "ljust": "{{ cells.ljust(1000000000) }}",
    "indent": "{{ cells|indent(1000000000) }}",
    "replace": "{{ cells|replace('.', '................................') }}",
    "range": "{% for i in range(999999999) %}x{% endfor %}",
    "nested loops": "{% for a in legal %}{% for b in legal %}{% for c in legal %}x{% endfor %}{% endfor %}{% endfor %}",
    "recursive loop": "{% for a in legal recursive %}{{ loop(a) }}{% endfor %}",
    "macro": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "include": "{% include '/etc/passwd' %}",
    "import": "{% import 'os' as os %}",
    "from import": "{% from 'os' import system %}",
    "extends": "{% extends '/etc/passwd' %}",
    "set": "{% set x = cells %}{{ x }}",
    "block": "{% block a %}{{ self.a() }}{% endblock %}",
    "cycler": "{{ cycler.__init__.__globals__.os.popen('id').read() }}",
    "lipsum": "{{ lipsum.__globals__ }}",
    "namespace": "{{ namespace(a=1) }}",
    "self": "{{ self._TemplateReference__context }}",
    "request": "{{ request.application }}",
    "long join": "{{ legal|join('" + "x" * 300 + "') }}",
    "concatenation": "{{ " + " ~ ".join(["cells"] * 200) + " }}",
    "long constant": "{{ '" + "x" * 5000 + "' }}",
    "huge number": "{{ 9" + "9" * 400 + " }}",
    "deep": "{{ " + "(" * 500 + "cells" + ")" * 500 + " }}",
    "deep not": "{{ " + "not " * 3000 + "cells }}",
    "deep list": "{{ " + "[" * 3000 + "]" * 3000 + " }}",
    "deep if": "{% if cells %}" * 1000 + "{% endif %}" * 1000,
    "full-width": "{{ cells.\uff46ormat }}",
}


@pytest.mark.parametrize("where", ["template", "answer"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_template_that_attacks_is_refused_with_its_line(attack, where):
    """Where an attack is written, two lines into a block, is where it is told."""
    block = "\n".join(f"        {line}" for line in ["first", "second", *ATTACKS[attack].split("\n")])
    game = "games:\n  ttt:\n    type: tictactoe\n    opponents: random\n    prompt:\n"
    found = check_spec("-", f"{HARMLESS}{game}      {where}: |\n{block}\n")
    assert errors(found) & {"template-forbidden", "template-syntax", "template-unknown-variable"}
    assert {item.span.line for item in found.diagnostics} == {14}


def test_what_other_settings_of_jinja_would_run_is_only_text():
    game = OWN_PROMPT % json.dumps("{{ cells }}\n# for x in y\n## set x = 1")
    assert check_spec("-", f"{HARMLESS}games: {{ttt: {game}}}\n").ok


# ── files ──


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A project with a secret beside it, and links that lead there."""
    root = tmp_path / "project"
    root.mkdir()
    (root / ".git").mkdir()
    (tmp_path / "secret.yaml").write_text(f"type: board\ndescription: {CANARY}\n", encoding="utf-8")
    (root / "link.yaml").symlink_to(tmp_path / "secret.yaml")
    (root / "folder").symlink_to(tmp_path)
    (root / "loop.yaml").symlink_to("loop.yaml")
    monkeypatch.chdir(root)
    return root


WAYS = {
    "extends": "extends: REF\n",
    "game file": "games: {ttt: {opponents: random, file: REF}}\n",
    "prompt file": "games: {ttt: {type: tictactoe, opponents: random, prompt: {file: REF}}}\n",
    "chat template": GAME + "model: {source: tiny, chat_template: REF}\n",
}
REFS = {
    "../secret.yaml": "-outside",
    "folder/secret.yaml": "file-symlink",
    "link.yaml": "file-symlink",
    "loop.yaml": "file-symlink",
    "/proc/self/environ": "-outside",
    "~/secret.yaml": "-outside",
    "http://localhost/secret.yaml": "-outside",
    "file:secret.yaml": "-outside",
    "folder/../../secret.yaml": "-outside",
    "x/../../secret.yaml": "-outside",
    "..": "-outside",
    ".": "file-not-regular",
    ".git": "file-not-regular",
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("ref", REFS)
def test_all_that_a_spec_may_name_goes_through_one_door(way, ref, project):
    head = "\n".join(line for line in HARMLESS.splitlines() if way != "chat template" or "model" not in line) + "\n"
    (project / "spec.yaml").write_text(head + WAYS[way].replace("REF", f"'{ref}'"), encoding="utf-8")
    found = check_spec("spec.yaml")
    (item,) = [item for item in found.diagnostics if item.code not in ("missing-key", "unknown-game")]
    assert item.code.endswith(REFS[ref])
    assert (item.span.file, item.severity) == ("spec.yaml", "error")
    assert not any(CANARY in text for text in shown(found))


def test_a_pipe_is_not_waited_for(project):
    import os

    os.mkfifo(project / "pipe.yaml")
    assert errors(check_spec("pipe.yaml")) == {"file-not-regular"}
    for way in WAYS.values():
        (project / "spec.yaml").write_text(way.replace("REF", "pipe.yaml"), encoding="utf-8")
        assert "file-not-regular" in errors(check_spec("spec.yaml"))


# ── size ──


def named(count: int, line: str) -> str:
    return "".join(line.format(i) for i in range(count))


SPEC = HARMLESS + GAME
GAMES = HARMLESS + "games:\n  ttt: {type: tictactoe, opponents: random}\n"
LARGE = {
    "deep flow": "[" * 2000 + "]" * 2000,
    "deep maps": "{a: " * 2000 + "}" * 2000,
    "deep keys": "{" * 5000,
    "deep block": "".join(" " * depth + "a:\n" for depth in range(1300)),
    "dashes": "- " * 300_000,
    "questions": "? " * 100_000,
    "anchors": named(9_000, "x-{0}: &a{0} 1\n"),
    "quotes": "'" * 900_000,
    "a long line": SPEC + "description: '" + "x" * 900_000 + "'\nseed: no\n",
    "a long key": SPEC + '? "' + "x" * 900_000 + '"\n: 1\n',
    "a long name": HARMLESS + "games: {ttt: {type: tictactoe, opponents: " + "a" * 900_000 + "}}\n",
    "a long path": SPEC + "sweep: {axes: {? " + "a." * 100_000 + "x : [1]}}\n",
    "a long template": HARMLESS + f"games: {{ttt: {OWN_PROMPT % json.dumps('{{ cells }}' * 70_000)}}}\n",
    "beginnings of tokens": SPEC + "description: '" + "eyJ" * 300_000 + "'\nseed: no\n",
    "beginnings of addresses": SPEC + "description: '" + "://a:" * 180_000 + "'\nseed: no\n",
    "many unknown keys": SPEC + named(3000, "k{0}: 1\n"),
    "many wrong items": SPEC + "tags: [" + "1, " * 9_000 + "]\n",
    "many references": SPEC + "description: '" + "${x}" * 60_000 + "'\n",
    "many tags": SPEC + "tags: [" + "!a b, " * 9_000 + "]\n",
    "many duplicates": SPEC + "seed: 1\n" * 5000,
    "many runs of much": GAMES
    + named(600, "  g{0}: {{type: tictactoe, opponents: random}}\n")
    + f"sweep: {{axes: {{seed: [{', '.join(map(str, range(256)))}]}}}}\n",
}


@pytest.mark.parametrize("name", LARGE)
def test_a_large_spec_is_refused_with_few_words(name):
    """That none of these takes for ever is seen by the test ending."""
    found = check_spec("-", LARGE[name])
    assert errors(found)
    assert len(found.diagnostics) <= 1000
    for text in shown(found)[::2]:
        assert max(map(len, text.splitlines())) < 3000


def test_errors_are_told_before_the_warnings_that_would_crowd_them_out():
    never_played = named(1100, "  g{0}: {{type: arithmetic}}\n")
    found = check_spec("-", GAMES + never_played + "algorithm: {discount: 0.5, mini_batch_size: 7}\n")
    assert "batch-arithmetic" in errors(found)
    assert len(found.diagnostics) == 1000

"""The command line: exit codes, one JSON document on stdout, diagnostics on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.compiler.conftest import BASE

WRONG = BASE.replace("keep: 1.0", "kep: 1.0")


def gift(*arguments: str, stdin: str | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "gift_dsl", *arguments]
    plain = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    return subprocess.run(command, capture_output=True, text=True, input=stdin, env={**plain, **env}, check=False)


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(BASE)
    return str(path)


@pytest.fixture
def wrong(tmp_path):
    path = tmp_path / "wrong.yaml"
    path.write_text(WRONG)
    return str(path)


def test_a_good_spec_ends_with_0_and_one_line(good):
    done = gift("validate", good)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{good}: ok\n", "")


def test_a_wrong_spec_ends_with_3_and_says_why_on_stderr(wrong):
    done = gift("validate", wrong)
    assert done.returncode == 3
    assert done.stdout == ""
    assert "error[unknown-key]: unknown key `kep` in `algorithm`" in done.stderr
    assert "did you mean `keep`?" in done.stderr


def test_several_specs_are_checked_together(good, wrong):
    done = gift("validate", good, wrong)
    assert done.returncode == 3
    assert done.stdout == f"{good}: ok\n"


def test_a_spec_comes_from_standard_input():
    assert gift("validate", "-", stdin=BASE).returncode == 0
    assert "<stdin>" in gift("validate", "-", stdin=WRONG).stderr


def test_the_json_of_validate_is_one_document_with_the_promised_keys(wrong):
    done = gift("validate", wrong, "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 3
    assert document["schema"] == "gift-validate/1"
    (found,) = document["diagnostics"]
    keys = {"code", "severity", "message", "hint", "file", "line", "column", "end_line", "end_column", "notes"}
    assert keys <= set(found)
    assert (found["code"], found["line"]) == (
        "unknown-key",
        WRONG.splitlines().index("algorithm: {kep: 1.0, groups_per_step: 8, group_size: 4, mini_batch_size: all}") + 1,
    )


def test_annotations_for_a_workflow(wrong):
    done = gift("validate", wrong, "--format", "github")
    assert done.stdout.startswith("::error file=")
    assert gift("validate", wrong, "--format", "xml").returncode == 2


def test_a_missing_file_is_told_with_exit_code_3(tmp_path):
    done = gift("validate", str(tmp_path / "none.yaml"))
    assert done.returncode == 3
    assert "none.yaml" in done.stderr


@pytest.mark.parametrize("arguments", [["validate"], ["valdate", "x"], ["validate", "--nope"], ["list", "things"]])
def test_wrong_usage_ends_with_2(arguments):
    assert gift(*arguments).returncode == 2


def test_plan_prints_what_will_happen(good):
    done = gift("plan", good)
    assert done.returncode == 0
    for words in ("Plan for base", "nested", "sums > matrix > tictactoe > spy", "Memory", "Needs"):
        assert words in done.stdout


def test_plan_refuses_a_wrong_spec(wrong):
    assert gift("plan", wrong).returncode == 3


def test_plan_against_an_earlier_plan_ends_with_5_when_something_differs(good, tmp_path):
    assert gift("plan", good, "--against", good).returncode == 0
    done = gift("plan", good, "--set", "seed=3", "--against", good)
    assert done.returncode == 5
    assert "~ seed  10000 -> 3  (changes results: new run)" in done.stdout


def test_a_fragment_can_be_checked_but_not_planned(tmp_path):
    path = tmp_path / "part.yaml"
    path.write_text("fragment: true\nalgorithm: {keep: 0.5}\n")
    assert "ok (fragment)" in gift("validate", str(path)).stdout
    assert gift("plan", str(path)).returncode == 2


def test_a_set_argument_is_shown_where_it_is_wrong(good):
    done = gift("validate", good, "--set", "algorithm.keep=2")
    assert done.returncode == 3
    assert "<--set>:1:16: error[out-of-range]" in done.stderr


def test_secrets_never_reach_the_output(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(BASE + "x: sk-proj-abcdefghijklmnopqrstuvwxyz0123456789\n")
    done = gift("validate", str(path), "--json")
    assert "abcdefghijklmnop" not in done.stdout + done.stderr
    assert "abcdefghijklmnop" not in gift("validate", str(path)).stderr


def test_no_colour_wins_over_forced_colour(wrong):
    assert "\x1b[" in gift("validate", wrong, FORCE_COLOR="1").stderr
    assert "\x1b[" not in gift("validate", wrong, FORCE_COLOR="1", NO_COLOR="1").stderr


def test_an_ascii_terminal_gets_ascii(wrong):
    done = gift("validate", wrong, PYTHONIOENCODING="ascii")
    assert done.stderr.isascii()
    assert " | " in done.stderr


def test_a_bug_is_one_line_and_a_file(good, monkeypatch):
    code = (
        "import sys, gift_dsl.api as api\n"
        "def broken(*a, **k): raise ZeroDivisionError('oops')\n"
        "api.check_spec = broken\n"
        f"sys.argv = ['gift', 'validate', {good!r}]\n"
        "from gift_dsl.cli import main\nmain()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "this is a bug: ZeroDivisionError: oops" in done.stderr
    assert "Traceback" not in done.stderr

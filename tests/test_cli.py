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


def test_what_plan_prints_as_json_can_be_compared_with(good, tmp_path):
    printed = tmp_path / "printed.json"
    printed.write_text(gift("plan", good, "--json").stdout)
    assert gift("plan", good, "--against", str(printed)).stdout == "no difference\n"
    assert gift("plan", good, "--set", "seed=3", "--against", str(printed)).returncode == 5


def test_the_run_of_a_sweep_is_compared_with_the_same_one(good, tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(BASE + "sweep: {axes: {seed: [1, 2]}}\n")
    printed = tmp_path / "printed.json"
    printed.write_text(gift("plan", str(sweep), "--json").stdout)
    same = gift("plan", str(sweep), "--only", "seed=2", "--against", str(printed))
    assert (same.returncode, same.stdout) == (0, "no difference\n"), same.stderr
    other = gift("plan", good, "--against", str(printed))
    assert other.returncode == 2
    assert "the earlier plan has the runs seed=1, seed=2" in other.stderr


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": "gift-plan/1"}', '{"schema": "gift-plan/1", "plan": {}}'])
def test_what_is_no_whole_plan_is_not_compared_with(good, tmp_path, text):
    path = tmp_path / "plan.json"
    path.write_text(text)
    done = gift("plan", good, "--against", str(path))
    assert done.returncode == 2
    assert done.stderr.startswith("gift: ")


def test_a_run_is_chosen_by_the_id_that_is_shown(tmp_path):
    sweep = tmp_path / "sweep.yaml"
    sweep.write_text(BASE + "sweep: {axes: {seed: [1, 2], compat: [none, gift_v1]}}\n")
    asked = gift("show", str(sweep))
    assert asked.returncode == 2
    ids = [line.removeprefix("  --only ") for line in asked.stderr.splitlines() if line.startswith("  --only ")]
    assert len(ids) == 4
    for one in ids:
        done = gift("show", str(sweep), "--only", one)
        assert f"run {one}," in done.stdout, done.stderr
    assert gift("validate", str(sweep), "--only", ids[0], "--only", ids[3]).stdout.endswith("ok (2 runs)\n")


@pytest.mark.parametrize("command", ["plan", "show", "run"])
def test_json_of_a_wrong_spec_is_the_document_of_validate(wrong, command):
    done = gift(command, wrong, "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout) == json.loads(gift("validate", wrong, "--json").stdout)


def test_a_closed_stderr_changes_no_exit_code(wrong):
    command = f'"{sys.executable}" -m gift_dsl validate "{wrong}" 2>&-'
    assert subprocess.run(["sh", "-c", command], check=False).returncode == 3


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="the system has no /dev/full")  # noqa: PTH110
def test_a_full_disk_is_no_bug(good):
    command = f'"{sys.executable}" -m gift_dsl plan "{good}" > /dev/full'
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (4, "gift: no space left where this writes to\n")


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

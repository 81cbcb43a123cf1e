"""`gift eval`, `compare` and `tournament` as commands: a document on stdout, all else on stderr, exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from tests.run.evaluated import examined_run, finished_run, make_run, rounds_of
from tests.run.small import SPEC


def gift(*words, **options):
    command = [sys.executable, "-m", "gift_dsl", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"))


def test_eval_prints_one_document_and_tells_the_rest_elsewhere(run, tmp_path):
    out = tmp_path / "result.json"
    done = gift("eval", run.path, "--games", "arithmetic,tictactoe", "--rounds", "2", "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert list(document["games"]) == ["arithmetic", "tictactoe"]
    assert document == json.loads(out.read_text(encoding="utf-8"))
    assert f"written: {out}" in done.stderr


def test_compare_prints_a_table_and_ends_with_0_where_there_is_no_difference(tmp_path):
    plays = {"arithmetic": rounds_of(0.5, "a")}
    paths = [examined_run(tmp_path, plays), examined_run(tmp_path, plays, "games.chain.order=shuffled")]
    done = gift("compare", *paths)
    assert done.returncode == 0, done.stderr
    assert "no difference" in done.stdout
    assert done.stdout.startswith("| game")


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("eval", "nothing"), 2, "neither a spec file, a run directory, a model folder nor a hub id"),
        (("eval", "nothing.yaml"), 3, "there is no file `nothing.yaml`"),
        (("eval", "RUN", "--split", "train"), 2, "--split is dev or test"),
        (("eval", "RUN", "--format", "word"), 2, "--format is markdown or latex"),
        (("eval", "RUN", "--rounds", "0"), 2, "--rounds"),
        (("eval", "RUN"), 4, "is not done"),
        (("compare", "RUN"), 2, "a comparison needs at least two runs"),
        (("compare", "RUN", "--measure", "luck"), 2, "--measure is success or score"),
        (("compare", "RUN", "--paper", "table9/x"), 2, "the paper has no row `table9/x`"),
        (("compare", "RUN", "nowhere"), 4, "there is no run at nowhere"),
        (("tournament", "RUN"), 2, "at least two contestants"),
        (("tournament", "nothing"), 2, "neither a spec file nor a run directory"),
    ],
)
def test_what_is_wrong_is_said_with_the_code_of_the_design(tmp_path, words, code, said):
    path = make_run(tmp_path).path if "RUN" in words else None
    if words[:2] == ("compare", "RUN") and "nowhere" not in words:
        path = examined_run(tmp_path, {"arithmetic": rounds_of(0.5, "a")})
    done = gift(*(path if word == "RUN" else word for word in words), cwd=tmp_path)
    assert done.returncode == code, done.stderr
    assert said in " ".join(done.stderr.split())
    assert done.stdout == ""


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_evaluation_that_is_stopped_keeps_what_is_finished(tmp_path, number, code):
    (tmp_path / "spec.yaml").write_text(SPEC)
    command = [sys.executable, "-m", "gift_dsl", "eval", "spec.yaml", "--games", "arithmetic,tictactoe"]
    with subprocess.Popen(
        [*command, "--rounds", "100000"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = ""
        while "rounds " not in line or "/" not in line:
            line = process.stderr.readline()
            assert line, "it ended by itself"
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
    assert process.returncode == code
    assert "what is finished is kept" in told
    assert "Traceback" not in told


@pytest.mark.slow
def test_a_tournament_that_is_stopped_names_the_command_that_goes_on(tmp_path):
    (tmp_path / "spec.yaml").write_text(SPEC)
    words = ["spec.yaml", "--games", "tictactoe", "--players", "random,minimax,first_legal", "--rounds", "3000"]
    command = [sys.executable, "-m", "gift_dsl", "tournament", *words, "--samples", "0", "--out", "out.json"]
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, cwd=tmp_path, **pipes) as process:
        line = ""
        while "random against minimax: 1500 rounds" not in line:
            line = process.stderr.readline()
            assert line, "it ended by itself"
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told
    assert "go on with: gift tournament spec.yaml --games tictactoe --players random,minimax,first_legal" in told
    assert not (tmp_path / "out.json").exists()
    again = told.partition("go on with: gift ")[2].split()
    done = gift(*again, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "random against minimax: done before" in done.stderr

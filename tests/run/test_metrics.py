"""What each step of a run logs: where its time went, and that every name is in docs/run_directory.md."""

from __future__ import annotations

import math
import re
from itertools import pairwise
from pathlib import Path

import pytest

from gift_dsl.artifacts.lines import read_lines
from tests.run.small import SPEC, here
from tests.run.test_spent import served

PAGE = Path(__file__).parents[2] / "docs" / "run_directory.md"
TIMES = {f"time/{part}_s" for part in ("play", "generate", "opponents", "environment", "update", "step")}
ROUNDING = 1e-9


def lines_of(run, kind):
    """Lines of the played, or of the supervised, stages of a run."""
    types = {stage.name: stage.type for stage in run.plan.stages}
    return [line for line in read_lines(run.metrics) if (types[line["stage"]] == "grpo") == (kind == "played")]


@pytest.fixture
def played(finished):
    lines = lines_of(finished.run, "played")
    assert len(lines) == 4
    return lines


def test_a_played_step_says_where_its_time_went(played):
    for line in played:
        assert {name for name in line if name.startswith("time/")} == TIMES
        assert line.keys() >= {"wall_s", "tokens_per_s"}
        for name in (*TIMES, "wall_s", "tokens_per_s"):
            assert math.isfinite(line[name]), name
            assert line[name] > 0 or (name == "time/opponents_s" and line[name] == 0), name


def test_no_part_is_longer_than_what_it_is_part_of(played):
    for line in played:
        play, update, whole = (line[f"time/{part}_s"] for part in ("play", "update", "step"))
        generate, opponents, environment = (line[f"time/{part}_s"] for part in ("generate", "opponents", "environment"))
        assert play + update <= whole + ROUNDING
        assert generate <= play + ROUNDING
        assert opponents <= play + ROUNDING
        assert environment <= whole + ROUNDING
        assert generate + opponents + environment >= play - ROUNDING, "what nobody else took is the opponents'"


def test_the_steps_together_are_no_longer_than_the_run(finished, played):
    (*_, last) = played
    whole = sum(line["time/step_s"] for line in read_lines(finished.run.metrics))
    assert 0 < whole < last["wall_s"]
    times = [line["wall_s"] for line in read_lines(finished.run.metrics)]
    assert times == sorted(times)
    for before, after in pairwise(played):
        assert after["wall_s"] - before["wall_s"] >= after["time/step_s"] - 0.002, "to a millisecond"


def test_the_speed_is_that_of_sampling_while_playing(played):
    for line in played:
        assert line["policy_tokens"] > 0
        assert line["tokens_per_s"] == pytest.approx(line["policy_tokens"] / line["time/play_s"])


def test_a_supervised_step_says_how_long_it_took(finished):
    lines = lines_of(finished.run, "supervised")
    assert len(lines) == 2
    for line in lines:
        assert {name for name in line if name.startswith("time/")} == {"time/step_s"}
        assert 0 < line["time/step_s"] < line["wall_s"]


def test_the_time_of_an_opponent_that_thinks_is_that_of_opponents(tmp_path):
    head = SPEC.partition("stages:")[0].replace("opponents: random", "opponents: rival, trainee: {seat: 1}")
    body = """\
stages: [{name: nested, type: grpo, play: tictactoe, until: {steps: 1}}]
algorithm: {keep: 1.0, groups_per_step: 2, group_size: 4, mini_batch_size: 4, learning_rate: 0.001}
resources: {micro_batch_size: 4, threads: 1}
"""
    with served() as server:
        server.latency_s = 0.5
        text = f"{head}{body}opponents:\n  rival: {{type: openai, base_url: '{server.url}', model: m}}\n"
        outcome = here(tmp_path, text)
    (line,) = read_lines(outcome.run.metrics)
    assert outcome.exit_code == 0
    assert 0.4 < line["time/opponents_s"] <= line["time/play_s"]
    assert line["time/generate_s"] < line["time/play_s"] - 0.4
    assert line["usage"]["rival"]["calls"] == len(server.asked)


def documented():
    """Names of the table of docs/run_directory.md: the first cell of each of its rows."""
    page = PAGE.read_text(encoding="utf-8")
    table = page.partition("**metrics.jsonl**")[2].partition("\n**")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return [name for cell in cells for name in re.findall(r"`([^`]+)`", cell)]


def test_every_name_is_in_the_page_and_every_other_name_of_the_page_needs_a_reason(finished):
    logged = {name for line in read_lines(finished.run.metrics) for name in line}
    logged = {re.sub(r"^(game|groups)/(arithmetic|tictactoe)/", r"\1/NAME/", name) for name in logged}
    names = documented()
    assert len(names) == len(set(names))
    assert logged <= set(names)
    assert set(names) - logged <= {
        "alarms",  # nothing looked wrong
        "opponent/NAME/void",  # nobody failed
        *(f"update/{what}" for what in ("loss", "grad_norm", "grad_norm_max", "learning_rate", "entropy", "kl")),
        *(f"update/clip_share{side}" for side in ("", "_low", "_high")),  # all returns were equal
        *(f"mismatch/{what}" for what in ("abs_difference", "kl", "truncated_share")),  # the engine's are the trainer's
    }

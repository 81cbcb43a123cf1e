"""Weights and words that a run did not make itself are in its plan, and a resume refuses others.

Stages are pretended: what is tested is decided before a model is loaded.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.artifacts.directory import find_runs
from gift_dsl.artifacts.origins import named_run
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.plan import missing_prints, plan_hash
from gift_dsl.run import models
from tests.run.small import Told
from tests.run.test_going_on import SPEC as TINY
from tests.run.test_going_on import crew, go

__all__ = ["crew"]

WARM = TINY.replace("name: small", "name: warm")
FROM_WARM = TINY.replace("{source: tiny}", "{from_run: {run: warm}}")
AGAINST = TINY.replace("opponents: random", "opponents: rival") + "opponents:\n  rival: {type: local, RIVAL}\n"


def model_in(folder, weights="1"):
    """What a folder needs to be taken for a model."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_text(weights)
    (folder / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages }}"}))
    return folder


def warm(folder, weights, mode="new"):
    """A finished run `warm` that handed on these weights."""
    run = go(folder, text=WARM, mode=mode).run
    model_in(run.stages / "nested", weights)
    return run


def waiting(folder, crew, text):
    """A run that failed in its stage, to be gone on with."""
    crew.codes = [1]
    return go(folder, text=text).run


def refusal(folder, text, **options):
    """Why a run does not go on; it is left as it was."""
    before = {run.path: run.plan for run in find_runs(folder / "runs", "small")}
    with pytest.raises(MachineError) as raised:
        go(folder, text=text, mode="resume", **options)
    assert {run.path: run.plan for run in find_runs(folder / "runs", "small")} == before
    return str(raised.value)


# ── the run that `from_run` names ──


def test_a_run_goes_on_with_the_run_that_it_began_with_and_not_with_a_newer_one(tmp_path, crew):
    first = warm(tmp_path, "1")
    run = waiting(tmp_path, crew, FROM_WARM)
    begun = run.plan
    warm(tmp_path, "2", mode="fresh")
    assert go(tmp_path, text=FROM_WARM, mode="resume").run.path == run.path
    assert run.plan.model.print == begun.model.print
    assert plan_hash(run.plan) == plan_hash(begun)
    assert models.find_start(run, run.plan, 0) == str(first.stages / "nested")


def test_a_new_run_begins_with_the_newest_run(tmp_path, crew):
    warm(tmp_path, "1")
    former = go(tmp_path, text=FROM_WARM).run
    second = warm(tmp_path, "2", mode="fresh")
    run = go(tmp_path, text=FROM_WARM).run
    assert models.find_start(run, run.plan, 0) == str(second.stages / "nested")
    assert plan_hash(run.plan) != plan_hash(former.plan)


def test_a_run_that_waits_is_told_of_whatever_its_name_means_now(tmp_path, crew):
    warm(tmp_path, "1")
    waiting(tmp_path, crew, FROM_WARM)
    warm(tmp_path, "2", mode="fresh")
    with pytest.raises(UsageError, match="is an unfinished run of this plan"):
        go(tmp_path, text=FROM_WARM)


def test_a_run_whose_origin_changed_is_refused_with_its_name(tmp_path, crew):
    first = warm(tmp_path, "1")
    waiting(tmp_path, crew, FROM_WARM)
    model_in(first.stages / "nested", "3")
    assert "the files of warm (final) are others" in refusal(tmp_path, FROM_WARM)


def test_a_run_whose_origin_is_gone_is_refused_with_its_name(tmp_path, crew):
    first = warm(tmp_path, "1")
    waiting(tmp_path, crew, FROM_WARM)
    warm(tmp_path, "1", mode="fresh")
    shutil.rmtree(first.path)
    said = refusal(tmp_path, FROM_WARM)
    assert "warm (final)" in said
    assert str(first.path) in said


def test_a_plan_is_made_before_the_run_that_it_starts_from(tmp_path, crew):
    spec = tmp_path / "spec.yaml"
    spec.write_text(FROM_WARM)
    (plan,) = api.compile_spec(str(spec))
    assert plan_hash(plan) is None
    (waits,) = missing_prints(plan)
    assert waits.name == "warm (final)"
    assert "no finished run `warm`" in str(waits.reason)
    with pytest.raises(MachineError, match="no finished run `warm`"):
        go(tmp_path, text=FROM_WARM)
    warm(tmp_path, "1")
    run = go(tmp_path, text=FROM_WARM).run
    spec.write_text(FROM_WARM)
    (plan,) = api.compile_spec(str(spec))
    assert plan_hash(plan) == plan_hash(run.plan)


def test_a_folder_of_runs_that_moved_with_its_spec_goes_on(tmp_path, crew):
    old, new = tmp_path / "old", tmp_path / "new"
    old.mkdir()
    warm(old, "1")
    waiting(old, crew, FROM_WARM)
    old.rename(new)
    run = go(new, text=FROM_WARM, mode="resume").run
    assert Path(models.find_start(run, run.plan, 0)).is_relative_to(new)


# ── the runs that a stage learns from ──

TAUGHT = TINY.replace(
    "type: grpo, play: tictactoe, until: {steps: 3}", "type: sft, play: tictactoe, data: {runs: [warm]}"
)


def played(folder, text, mode="new"):
    """A finished run `warm` of which this play was recorded."""
    run = go(folder, text=WARM, mode=mode).run
    run.trajectories.mkdir(exist_ok=True)
    (run.trajectories / "index.jsonl").write_text(text)
    return run


def test_a_run_goes_on_with_the_play_that_it_began_with_and_not_with_newer_play(tmp_path, crew):
    first = played(tmp_path, "1")
    run = waiting(tmp_path, crew, TAUGHT)
    begun = run.plan
    played(tmp_path, "2", mode="fresh")
    assert go(tmp_path, text=TAUGHT, mode="resume").run.path == run.path
    assert run.plan.stages == begun.stages
    assert named_run(run.plan, "warm").path == first.path


def test_a_run_that_learns_from_play_that_changed_is_refused_with_its_name(tmp_path, crew):
    first = played(tmp_path, "1")
    waiting(tmp_path, crew, TAUGHT)
    (first.trajectories / "index.jsonl").write_text("2")
    assert "stages.nested.data_prints[0]: the files of warm are others" in refusal(tmp_path, TAUGHT)


def test_a_run_without_recorded_play_is_named(tmp_path, crew):
    run = go(tmp_path, text=WARM).run
    with pytest.raises(MachineError, match="recorded no play") as raised:
        go(tmp_path, text=TAUGHT)
    assert str(run.path) in str(raised.value)


# ── opponents and tokenizers ──


def test_an_opponent_from_a_run_stays_the_one_that_the_run_began_with(tmp_path, crew):
    text = AGAINST.replace("RIVAL", "from_run: {run: warm}")
    first = warm(tmp_path, "1")
    run = waiting(tmp_path, crew, text)
    warm(tmp_path, "2", mode="fresh")
    go(tmp_path, text=text, mode="resume")
    (rival,) = run.plan.opponents
    assert models.opponent_folder(run.plan, rival) == first.stages / "nested"


def test_another_opponent_in_its_folder_is_refused(tmp_path, crew):
    text = AGAINST.replace("RIVAL", "source: ./opp")
    model_in(tmp_path / "opp")
    run = waiting(tmp_path, crew, text)
    (rival,) = run.plan.opponents
    assert rival.print is not None
    assert run.lock["opponents"]["rival"]["sha256"] == rival.print.sha256
    model_in(tmp_path / "opp", "2")
    said = refusal(tmp_path, text)
    assert "opponents.rival.print: " in said
    assert "the files of ./opp are others" in said
    model_in(tmp_path / "opp", "1")
    assert go(tmp_path, text=text, mode="resume").run.path == run.path


def test_another_tokenizer_in_its_folder_is_refused(tmp_path, crew):
    text = TINY.replace("{source: tiny}", "{source: ./model, tokenizer: ./words}")
    model_in(tmp_path / "model")
    words = model_in(tmp_path / "words")
    run = waiting(tmp_path, crew, text)
    (words / "readme.txt").write_text("no part of a tokenizer")
    (words / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ messages[0] }}"}))
    assert "the files of ./words are others" in refusal(tmp_path, text)
    model_in(words)
    told = Told()
    assert go(tmp_path, text=text, mode="resume", told=told).run.path == run.path
    assert "not as in the session before" not in str(told)


def test_an_opponent_that_is_not_there_is_named(tmp_path, crew):
    with pytest.raises(MachineError, match=r"opponent `rival`: the model folder \./opp does not exist"):
        go(tmp_path, text=AGAINST.replace("RIVAL", "source: ./opp"))

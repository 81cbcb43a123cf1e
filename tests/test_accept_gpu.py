"""`scripts/accept_gpu.py` without a GPU: what it refuses, and what its checks say of given numbers."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

PATH = Path(__file__).parent.parent / "scripts" / "accept_gpu.py"
GOOD = {"update/loss": -0.01, "mismatch/kl": 2e-5}


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("accept_gpu", PATH)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "accept_gpu", module)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def model(tmp_path):
    """A folder that looks like a model."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in ("config.json", "tokenizer_config.json"):
        (folder / name).write_text("{}")
    return folder


def refused(script, capsys, *arguments):
    with pytest.raises(SystemExit) as end:
        script.main([str(one) for one in arguments])
    return end.value.code, capsys.readouterr().err


def words(checks):
    return {check.what.split()[0]: check.passed for check in checks}


def test_without_a_gpu_nothing_runs_and_no_log_is_written(script, capsys, model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    out = tmp_path / "accept.log"
    code, error = refused(script, capsys, model, "--out", out)
    assert code == 4
    assert "no GPU" in error
    assert not out.exists()


def test_a_folder_that_is_not_there_is_named(script, capsys, tmp_path):
    code, error = refused(script, capsys, tmp_path / "missing")
    assert code == 4
    assert f"no folder {tmp_path / 'missing'}" in error


def test_a_folder_without_a_tokenizer_is_no_model(script, capsys, model):
    (model / "tokenizer_config.json").unlink()
    code, error = refused(script, capsys, model)
    assert code == 4
    assert "has no tokenizer_config.json" in error


def test_an_id_of_the_hub_is_left_to_the_run(script):
    assert script.checked_model("someone/small-chat") == "someone/small-chat"


@pytest.mark.parametrize("arguments", [(), ("model", "--steps", "0"), ("model", "--step-size", "1")])
def test_wrong_arguments_end_with_the_code_of_usage(script, capsys, arguments):
    assert refused(script, capsys, *arguments)[0] == 2


def test_both_ways_are_specs_that_the_language_accepts(script, tmp_path):
    from gift_dsl.api import compile_spec

    for way, options in script.WAYS.items():
        path = tmp_path / f"{way}.yaml"
        values = {"way": way, "model": '"tiny-chat/model"', "options": options, "steps": 10}
        path.write_text(script.SPEC % {**values, "runs": '"runs"'})
        (plan,) = compile_spec(str(path))
        assert (plan.model.lora is not None) == (way == "lora")
        assert plan.model.compute == "bf16"
        assert plan.stages[-1].until.max_steps == 10


def test_good_steps_pass(script):
    assert set(words(script.check_steps([GOOD, GOOD], 2)).values()) == {True}


@pytest.mark.parametrize(
    ("records", "failed"),
    [
        ([GOOD], "steps"),
        ([GOOD, {**GOOD, "update/loss": None}], "finite"),
        ([GOOD, {**GOOD, "mismatch/kl": 0.002}], "k3"),
        ([GOOD, {**GOOD, "mismatch/kl": None}], "k3"),
    ],
)
def test_a_bad_step_fails_the_check_that_it_belongs_to(script, records, failed):
    found = words(script.check_steps(records, 2))
    assert [name for name, passed in found.items() if not passed] == [failed]


def test_steps_without_an_update_prove_nothing(script):
    found = words(script.check_steps([{}, {}], 2))
    assert found == {"steps": True, "finite": False, "k3": False}


def test_memory_counts_where_it_was_measured(script):
    plan = {"peak": 4.0}
    assert script.check_memory([1.0, 4.9], plan).passed is True
    assert script.check_memory([5.1], plan).passed is False
    assert script.check_memory([2.9], plan).passed is False
    assert script.check_memory([], plan).passed is None
    assert script.check_memory([4.0], None).passed is None

"""A step of a run that trained adapters is where another run may begin."""

from __future__ import annotations

import shutil

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from gift_dsl.engines.load import load_model, load_policy
from gift_dsl.errors import MachineError
from tests.engines.test_load import save
from tests.run.small import here
from tests.run.test_models import SIZES, SPEC, load, rewarded

pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # of peft, used here too
LORA = rewarded(SPEC).replace("./model,", "./model, lora: {rank: 4, alpha: 8},").replace("steps: 1", "steps: 2")


@pytest.fixture(scope="module")
def first(tmp_path_factory):
    """Two steps with adapters, each with a checkpoint; the folder of the spec and the run."""
    folder = tmp_path_factory.mktemp("adapted")
    save(folder / "model", **SIZES)
    return folder, here(folder, LORA.replace("name: real", "name: first")).run


def at(run, step):
    """The model of a step: its adapters on what the stage began with."""
    (checkpoint,) = (run.checkpoints / "play").glob(f"checkpoint-{2 * step}")
    base = AutoModelForCausalLM.from_pretrained(run.path.parents[2] / "model")
    return checkpoint, PeftModel.from_pretrained(base, checkpoint).merge_and_unload().state_dict()


def test_a_run_begins_with_a_step_of_a_run_with_adapters(first):
    folder, run = first
    still = SPEC.replace("learning_rate: 0.001", "learning_rate: 0.0").replace("name: real", "name: second")
    second = here(folder, still.replace("source: ./model", "from_run: {run: first, step: 1}"))
    assert second.exit_code == 0
    _, wanted = at(run, 1)
    found, base = load(second.run.stages / "play"), load(folder / "model")
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert any(not torch.equal(found[name], base[name]) for name in wanted), "the step has learned something"


def test_adapters_are_loaded_with_what_they_adapt_also_where_the_run_was_moved(first, tmp_path):
    _, run = first
    checkpoint, wanted = at(run, 2)
    loaded = load_policy(run.plan.model, str(checkpoint)).model
    assert all(torch.equal(loaded.state_dict()[name], wanted[name]) for name in wanted)
    shutil.copytree(checkpoint, tmp_path / "run" / "checkpoints" / "play" / "checkpoint-4")
    moved = tmp_path / "run" / "checkpoints" / "play" / "checkpoint-4"
    config = moved / "adapter_config.json"
    config.write_text(config.read_text().replace(str(run.path.parents[2]), "/nowhere"))
    with pytest.raises(MachineError, match=r"holds adapters of /nowhere/.*model, which does not exist"):
        load_model(run.plan.model, str(moved))
    shutil.copytree(run.path.parents[2] / "model", tmp_path / "run" / "stages" / "model")
    assert torch.equal(load_model(run.plan.model, str(moved)).lm_head.weight, wanted["lm_head.weight"])

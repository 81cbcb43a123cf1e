"""Two processes that share the weights of one model (FSDP, on CPUs by gloo) train as one process that has them all."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.train import sharded

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPT = "tests.train.sharded"


def run(folder, kind, *words):
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *words, "-m", SCRIPT, kind, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(path.read_text()) for path in sorted(folder.glob("rank-*.json"))]


def by_two(folder, kind):
    """What the first of two processes saw, and that the second saw the same."""
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    first, second = run(folder, kind, *words)
    for name, seen in first.items():
        assert seen["kind"] == kind
        assert seen["losses"] == second[name]["losses"], name
        assert seen["plays"] == second[name]["plays"], name
        assert second[name]["handed_on"] is None
    return first


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    (found,) = run(tmp_path_factory.mktemp("one") / "runs", "none")
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    return by_two(tmp_path_factory.mktemp("two") / "runs", "fsdp")


@pytest.fixture(scope="module", params=["zero2", "zero3"])
def zero(request, tmp_path_factory):
    if find_spec("deepspeed") is None:
        pytest.skip("DeepSpeed is not installed")
    return by_two(tmp_path_factory.mktemp(request.param) / "runs", request.param)


def assert_close(some, others):
    assert some.keys() == others.keys()
    for name in some:
        assert torch.allclose(torch.tensor(some[name]), torch.tensor(others[name]), rtol=0, atol=1e-5), name


pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ["whole", "recomputing", "lora", "carried"])
def test_shared_weights_give_the_losses_norms_and_weights_of_whole_ones(name, one, two):
    assert len(one[name]["losses"]) == (2 if name == "carried" else 4)
    assert two[name]["losses"] == pytest.approx(one[name]["losses"], abs=1e-6)
    assert two[name]["norms"] == pytest.approx(one[name]["norms"], abs=1e-5)
    assert_close(one[name]["plays"], two[name]["plays"])


def test_a_process_holds_its_part_of_the_weights_alone(two):
    assert two["whole"]["local"] < 0.6 * two["whole"]["whole"]


@pytest.mark.parametrize("name", ["whole", "lora", "bf16"])
def test_who_plays_and_who_is_handed_on_have_the_trained_weights(name, two):
    for key, value in two[name]["handed_on"].items():
        assert rounded(value, name) == rounded(two[name]["plays"][key], name), key


def rounded(values, name):
    return torch.tensor(values).bfloat16().tolist() if name == "bf16" else values


def test_in_bf16_masters_stay_fp32(two):
    handed_on = [torch.tensor(value) for value in two["bf16"]["handed_on"].values()]
    assert any(not torch.equal(value, value.bfloat16().float()) for value in handed_on)
    saved = load_file(Path(two["bf16"]["checkpoint"]) / "model.safetensors")
    assert {value.dtype for value in saved.values()} == {torch.float32}


def test_a_checkpoint_loads_with_from_pretrained(two):
    loaded = AutoModelForCausalLM.from_pretrained(two["whole"]["checkpoint"])
    for name, tensor in loaded.state_dict().items():
        assert torch.equal(tensor, torch.tensor(two["whole"]["handed_on"][name])), name


def test_a_stopped_stage_goes_on_bit_by_bit(two):
    whole, resumed = two["whole"], two["resumed"]
    assert resumed["losses"] == whole["losses"][2:]
    for part in ("plays", "handed_on", "moments"):
        assert resumed[part] == whole[part]


def test_one_process_goes_on_where_two_that_shared_the_weights_were_stopped(one, two, tmp_path):
    first = Path(two["resumed"]["checkpoint"]).with_name("checkpoint-2")
    plan = sharded.plan_with("none", kl_coef=0.2, entropy_coef=0.1)
    seen = sharded.trained(plan, tmp_path, resume_from=first)
    assert seen["losses"] == pytest.approx(one["whole"]["losses"][2:], abs=1e-6)
    assert_close(seen["handed_on"], one["whole"]["handed_on"])


def test_a_checkpoint_holds_whole_moments_for_whoever_carries_or_resumes_them(one, two):
    one_state, two_state = (
        torch.load(Path(seen["whole"]["checkpoint"]) / "optimizer.pt", weights_only=True)["state"]
        for seen in (one, two)
    )
    assert one_state.keys() == two_state.keys()
    for index, each in one_state.items():
        assert torch.allclose(each["exp_avg"], two_state[index]["exp_avg"], atol=1e-5)
        assert each["step"] == two_state[index]["step"]


def test_under_zero_the_losses_norms_and_weights_are_those_of_one_process(one, zero):
    for name in ("whole", "lora"):
        assert zero[name]["losses"] == pytest.approx(one[name]["losses"], abs=1e-6)
        assert zero[name]["norms"] == pytest.approx(one[name]["norms"], abs=1e-5)
        assert_close(one[name]["handed_on"], zero[name]["handed_on"])
        assert zero[name]["plays"] == zero[name]["handed_on"]


def test_under_zero_a_stopped_stage_goes_on_bit_by_bit(zero):
    whole, resumed = zero["whole"], zero["resumed"]
    assert resumed["losses"] == whole["losses"][2:]
    assert resumed["handed_on"] == whole["handed_on"]


def test_under_zero_what_is_handed_on_are_the_fp32_masters(zero):
    handed_on = [torch.tensor(value) for value in zero["bf16"]["handed_on"].values()]
    assert any(not torch.equal(value, value.bfloat16().float()) for value in handed_on)

"""What one process can show of shared weights: what the trainers are told, and the copy that plays."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest
import torch
from accelerate.utils import DeepSpeedPlugin
from trl.trainer.grpo_config import GRPOConfig

from gift_dsl.errors import GiftError
from gift_dsl.plan import LoraPlan
from gift_dsl.train import sharding
from gift_dsl.train.guards import too_large
from gift_dsl.train.sharding import Spread, needs_copy, sharding_arguments, sharding_of, zero_config
from tests.train.staged import engine_of, job_of, recorded_plan

NAMES = frozenset(field.name for field in dataclasses.fields(GRPOConfig))
LORA = LoraPlan(rank=4, alpha=8.0, dropout=0.1, target_modules=("q_proj",))


def plan_with(sharding, processes=2, **model):
    plan = recorded_plan()
    resources = {**plan.runtime.resources, "sharding": sharding, "processes": processes}
    runtime = replace(plan.runtime, resources=resources)
    return replace(plan, model=replace(plan.model, **model), runtime=runtime)


def recomputes(arguments):
    """Who computes activations again: FSDP, the model."""
    own = arguments.get("gradient_checkpointing", arguments.get("activation_checkpointing"))
    return arguments.get("fsdp_config", {}).get("activation_checkpointing", False), own


def test_one_process_has_nothing_to_share():
    assert [sharding_of(plan_with(kind, 1)) for kind in ("fsdp", "zero2", "zero3")] == ["none"] * 3
    assert "fsdp" not in sharding_arguments(plan_with("fsdp", 1), NAMES)


def test_a_copy_plays_where_no_process_has_all_weights():
    assert [kind for kind in ("none", "fsdp", "zero2", "zero3") if needs_copy(plan_with(kind))] == ["fsdp", "zero3"]


@pytest.mark.parametrize(
    ("model", "who"),
    [
        ({"gradient_checkpointing": False}, (False, False)),
        ({"gradient_checkpointing": True}, (True, False)),
        ({"gradient_checkpointing": True, "lora": LORA}, (False, True)),  # FSDP's own would draw other dropout
    ],
)
def test_fsdp_computes_activations_again_itself_unless_dropout_must_be_the_same(model, who):
    assert recomputes(sharding_arguments(plan_with("fsdp", **model), NAMES)) == who
    assert recomputes(sharding_arguments(plan_with("none", **model), NAMES)) == (False, model["gradient_checkpointing"])


@pytest.mark.parametrize(("kind", "stage"), [("zero2", 2), ("zero3", 3)])
def test_accelerate_understands_the_configuration_made_for_deepspeed(kind, stage, monkeypatch):
    config = zero_config(plan_with(kind, compute="bf16"))
    monkeypatch.setattr("accelerate.utils.dataclasses.is_deepspeed_available", lambda: True, raising=False)
    monkeypatch.setattr("accelerate.utils.imports.is_deepspeed_available", lambda: True)
    plugin = DeepSpeedPlugin(hf_ds_config=config)
    assert plugin.zero_stage == stage
    assert plugin.deepspeed_config["bf16"] == {"enabled": True}
    assert plugin.is_auto("gradient_clipping")


def test_the_copy_has_no_weights_while_it_rests_and_those_of_the_model_afterwards():
    model, copy = engine_of().model, engine_of()
    copy.model.to(torch.bfloat16)
    spread = Spread(model, copy, is_first=True)
    spread.rest()
    assert sum(weight.numel() for weight in copy.model.parameters()) == 0
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(1.0)
    spread.give()
    for (name, mine), theirs in zip(copy.model.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(mine, theirs.bfloat16()), name
    whole = spread.whole_model()
    assert {weight.dtype for weight in whole.parameters()} == {torch.float32}
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(whole(ids).logits, model(ids).logits)


def test_a_model_that_plays_itself_never_rests():
    engine = engine_of()
    spread = Spread(engine.model, engine, is_first=True)
    spread.rest()
    assert all(weight.numel() for weight in engine.model.parameters())


def test_without_memory_for_the_copy_vllm_is_named(monkeypatch):
    def whole(weight):
        raise torch.OutOfMemoryError

    spread = Spread(engine_of().model, engine_of(), is_first=True)
    spread.rest()
    monkeypatch.setattr(sharding, "whole", whole)
    with pytest.raises(GiftError, match=r"gathered into the copy that plays: play with vLLM"):
        spread.give()


def test_an_update_that_is_too_large_says_what_to_lower_and_that_weights_can_be_shared(tmp_path):
    job = job_of(plan_with("none", gradient_checkpointing=True), tmp_path)
    assert str(too_large(job)).endswith(
        "lower `resources.micro_batch_size` or share the weights between processes (`resources.sharding: fsdp`)"
    )
    shared = replace(job, spread=Spread(job.engine.model, job.engine, is_first=True))
    assert str(too_large(shared)).endswith("was updated: lower `resources.micro_batch_size`")

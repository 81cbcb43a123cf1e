"""What `GiftTrainer` overrides and calls in TRL. A release that moves one of these fails here first."""

from __future__ import annotations

import inspect

import pytest
from transformers import Trainer
from trl.models import utils as model_utils
from trl.trainer import utils
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer

from gift_dsl.train.grpo import GiftTrainer

OVERRIDDEN = {
    "_generate_and_score_completions": ["self", "inputs"],
    "_prepare_inputs": ["self", "generation_batch"],
    "_compute_loss": ["self", "model", "inputs"],
    "get_train_dataloader": ["self"],
    "create_optimizer": ["self", "model"],
    "create_scheduler": ["self", "num_training_steps", "optimizer"],
    "log": ["self", "logs", "start_time"],
    "_save_checkpoint": ["self", "model", "trial"],
}
"""Names of the parameters in TRL, or in the trainer below it."""


def parameters(function):
    return list(inspect.signature(inspect.unwrap(function)).parameters)


def source(name):
    return inspect.getsource(inspect.unwrap(getattr(GRPOTrainer, name)))


@pytest.mark.parametrize("name", OVERRIDDEN)
def test_what_is_overridden_has_the_parameters_that_we_know(name):
    assert parameters(getattr(GRPOTrainer, name)) == OVERRIDDEN[name]
    assert name in vars(GiftTrainer)


def test_nothing_else_of_trl_is_overridden():
    own = {name for name, value in vars(GiftTrainer).items() if inspect.isfunction(value)}
    assert {name for name in own if hasattr(GRPOTrainer, name)} == {
        *OVERRIDDEN,
        "__init__",
        "_get_per_token_logps_and_entropies",
    }


def test_log_probabilities_and_entropies_come_first():
    assert parameters(GRPOTrainer._get_per_token_logps_and_entropies)[:7] == [
        "self",
        "model",
        "input_ids",
        "attention_mask",
        "logits_to_keep",
        "batch_size",
        "compute_entropy",
    ]
    assert "per_token_logps, entropies, aux_loss = self._get_per_token_logps_and_entropies(" in source("_compute_loss")
    assert "compute_entropy=True" in source("_compute_loss")


def test_the_hook_gets_prompts_and_the_trainer_and_gives_these_keys():
    text = source("_generate")
    assert "output = self.rollout_func(prompts, self)" in text
    assert 'required_keys = {"prompt_ids", "completion_ids", "logprobs"}' in text
    assert 'extra_fields.pop("env_mask", None)' in text
    assert "rollout_func" in parameters(GRPOTrainer.__init__)


def test_a_batch_has_the_keys_that_are_cut_to_length():
    text = source("_generate_and_score_completions")
    for key in ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask", "advantages", "num_items_in_batch"):
        assert f'"{key}": {key},' in text
    assert 'output["sampling_per_token_logps"]' in text
    assert 'output["tool_mask"]' in text
    assert "self.args.gradient_accumulation_steps % generate_every != 0" in text


def test_the_loss_reads_what_we_put_into_a_batch_and_divides_as_we_do():
    text = source("_compute_loss")
    assert 'inputs.get("old_per_token_logps")' in text
    assert 'advantages = inputs["advantages"]' in text
    assert 'completion_mask * inputs["tool_mask"]' in text
    assert "((per_token_loss * mask).sum(-1) / mask.sum(-1).clamp(min=1.0)).mean()" in text
    assert "(per_token_loss.size(0) * self.max_completion_length)" in text
    assert 'inputs["num_items_in_batch"].clamp(min=1.0) / self.accelerator.num_processes' in text
    assert "normalizer * self.current_gradient_accumulation_steps / self.args.steps_per_generation" in text


def test_data_are_loaded_by_the_batch_and_sampler_that_are_asked_for():
    text = source("get_train_dataloader")
    for name in ("dataset", "description", "batch_size", "sampler_fn", "is_training"):
        assert f"{name}=" in text
        assert name in parameters(GRPOTrainer._get_dataloader)


def test_the_buffer_and_its_cursor_are_as_they_were():
    text = source("_prepare_inputs")
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in text
    assert "self._step += 1" in source("training_step")
    assert "self._metrics" in source("log")


def test_the_helpers_have_the_parameters_that_we_know():
    assert parameters(utils.add_fused_lm_head)[:2] == ["model", "temperature"]
    assert parameters(utils.RepeatSampler)[:4] == ["data_source", "mini_repeat_count", "batch_size", "repeat_count"]
    assert parameters(model_utils.prepare_deepspeed) == ["model", "accelerator"]
    assert parameters(model_utils.prepare_fsdp)[:2] == ["model", "accelerator"]


def test_the_trainer_below_saves_when_it_is_told_to_and_asks_the_optimizer_once_an_update():
    text = inspect.getsource(Trainer._maybe_log_save_evaluate)
    assert text.index("self.log(") < text.index("if self.control.should_save:")
    assert "self._save_checkpoint(model, trial)" in text
    assert {"logging_nan_inf_filter", "ddp_timeout", "save_strategy"} <= {*GRPOConfig.__dataclass_fields__}

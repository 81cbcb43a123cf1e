# pyright: basic
"""Copies of a model that training does not change: snapshots of the policy, and weights to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM


def merged_weights(model: Any) -> dict[str, Tensor]:
    """Weights of a model by the names of its architecture, adapters added to what they adapt; the model is untouched.

    Merging and unmerging in place would leave the trained model with rounding errors.
    """
    base = base_model(model)
    weights = {
        name.replace(".base_layer", ""): tensor.detach().clone()
        for name, tensor in base.state_dict().items()
        if "lora_" not in name
    }
    for name, module in base.named_modules():
        if hasattr(module, "get_delta_weight"):
            with torch.no_grad():
                for adapter in module.active_adapters:
                    weights[f"{name}.weight"] += module.get_delta_weight(adapter)
    return weights


def base_model(model: Any) -> Any:
    """The architecture under adapters, if there are any."""
    return model.get_base_model() if is_adapted(model) else model


def is_adapted(model: Any) -> bool:
    """Whether a model is one of peft's, with adapters around it."""
    return hasattr(model, "get_base_model")


def load_frozen(folder: Path, like: Any) -> Any:
    """A frozen copy that was saved, in the format and on the device of the model that it was taken of."""
    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=like.dtype).to(like.device).eval().requires_grad_(False)


def frozen_copy(model: Any) -> Any:
    """A model of the same architecture with today's weights, without gradients, on the same device."""
    base = base_model(model)
    with torch.random.fork_rng([]):
        copy = type(base)(base.config)  # a deep copy would keep TRL's forward of the original
    copy.to(device=base.device, dtype=base.dtype)
    copy.load_state_dict(merged_weights(model))
    copy.generation_config = base.generation_config
    return copy.eval().requires_grad_(False)

# pyright: basic
"""Copies of a model that training does not change: snapshots of the policy, and weights to hand on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from transformers import AutoModelForCausalLM

if TYPE_CHECKING:
    from gift_dsl.engines.transformers import TransformersEngine


def merged_weights(model: Any, device: str | torch.device | None = None) -> dict[str, Tensor]:
    """Weights of a model by the names of its architecture, adapters added to what they adapt; the model is untouched.

    Merging and unmerging in place would leave the trained model with rounding errors.

    Args:
        model: with or without adapters.
        device: where they are wanted, one after the other, so that the model's has room for a single one; None: there.
    """
    base = base_model(model)
    adapted = {f"{name}.weight": each for name, each in base.named_modules() if hasattr(each, "get_delta_weight")}
    weights: dict[str, Tensor] = {}
    with torch.no_grad():
        for long_name, tensor in base.state_dict().items():
            name = long_name.replace(".base_layer", "")
            if "lora_" in name:
                continue
            weight = tensor.detach().clone() if name in adapted or device is None else tensor.detach()
            if name in adapted:
                for adapter in adapted[name].active_adapters:
                    weight += adapted[name].get_delta_weight(adapter)
            weights[name] = weight if device is None else weight.to(device, copy=True)
    return weights


def base_model(model: Any) -> Any:
    """The architecture under adapters, if there are any."""
    return model.get_base_model() if is_adapted(model) else model


def is_adapted(model: Any) -> bool:
    """Whether a model is one of peft's, with adapters around it."""
    return hasattr(model, "get_base_model")


def load_frozen(folder: Path, like: Any, device: str | torch.device | None = None) -> Any:
    """A frozen copy that was saved, in the format of the model that it was taken of; on its device, or on another."""
    auto: Any = AutoModelForCausalLM
    return auto.from_pretrained(folder, dtype=like.dtype).to(device or like.device).eval().requires_grad_(False)


def frozen_copy(model: Any, device: str | torch.device | None = None) -> Any:
    """A model of the same architecture with today's weights, without gradients; on the same device, or on another.

    It computes what the model computes, to the bit: weights have the model's format, and buffers that no file holds
    (the frequencies of rotary positions, float32 beside bf16 weights) are the model's own.
    """
    base = base_model(model)
    with torch.random.fork_rng([]):
        copy = type(base)(base.config)  # a deep copy would keep TRL's forward of the original
    copy.to(device or base.device)
    for weight in copy.parameters():
        weight.data = weight.data.to(base.dtype)
    weights, buffers = merged_weights(model, device), dict(base.named_buffers())
    for name, buffer in copy.named_buffers():
        buffer.data = buffers[name].to(buffer.device, copy=True)
    copy.load_state_dict(weights)
    copy.generation_config = base.generation_config
    return copy.eval().requires_grad_(False)


def frozen_engine(engine: TransformersEngine, folder: Path | None = None) -> TransformersEngine:
    """An engine of a copy of a model as it is now, or as it was saved.

    The copy waits on the CPU and visits the device of the model while it plays, so that an update has that memory.
    """
    model = engine.model
    copy = frozen_copy(model, "cpu") if folder is None else load_frozen(folder, model, "cpu")
    return engine.sibling(copy, visits=base_model(model).device)


class Visit:
    """A model whose weights never change, on the CPU, and its stays on a device.

    Args:
        model: on the CPU.
        device: that it computes on.
    """

    def __init__(self, model: Any, device: torch.device) -> None:
        self._model, self._device = model, device
        self._home = [(weight, weight.data) for weight in model.parameters()]
        self._is_there = False

    def begin(self) -> None:
        """Copy the weights to the device, if they are not there."""
        if not self._is_there:
            self._model.to(self._device)
            self._is_there = True

    def end(self) -> None:
        """Release what was copied; nothing is copied back but buffers."""
        if self._is_there:
            for weight, at_home in self._home:
                weight.data = at_home
            self._model.to("cpu")
            self._is_there = False

# pyright: basic
"""Weights that are spread over the processes: how TRL's trainers are told, and how the whole of them is had again.

FSDP is torch's `fully_shard` (Zhao et al. 2023, arXiv:2304.11277, in its second form), ZeRO is DeepSpeed's (Rajbhandari
et al. 2020, arXiv:1910.02054); accelerate applies either to a model when a trainer takes it. Nothing else of gift knows
of shards: who plays, is measured or is handed on gets whole weights, and a checkpoint holds whole weights as they are
stored. With FSDP it also holds whole states of the optimizer, in the file that a run without sharding writes, so that a
checkpoint of one is a checkpoint of the other; with ZeRO, DeepSpeed adds its own files, one a process.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType
from peft import get_peft_model
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors.torch import load_file
from torch import Tensor
from torch.distributed.fsdp import MixedPrecisionPolicy
from torch.distributed.tensor import DTensor, distribute_tensor
from transformers.integrations.deepspeed import unset_hf_deepspeed_config

from gift_dsl.engines.frozen import base_model, is_adapted, load_frozen
from gift_dsl.engines.load import quiet_peft
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.errors import GiftError
from gift_dsl.plan import Plan

_OPTIMIZER_FILE: Final = "optimizer.pt"
_SCHEDULER_FILE: Final = "scheduler.pt"
_WRAPPED: Final = "_checkpoint_wrapped_module."
"""Stands in the names of layers whose activations are computed again."""


def sharding_of(plan: Plan) -> str:
    """`none`, `fsdp`, `zero2` or `zero3`; one process has nothing to spread."""
    resources = plan.runtime.resources
    return str(resources["sharding"]) if resources["processes"] > 1 else "none"


def needs_copy(plan: Plan) -> bool:
    """Whether no process has all weights while it trains; `zero2` spreads gradients and optimizer states alone."""
    return sharding_of(plan) in ("fsdp", "zero3")


# ── what the trainers are told ──


def sharding_arguments(plan: Plan, names: frozenset[str]) -> dict[str, Any]:
    """What TRL's configuration is told of sharding and of computing activations again.

    Args:
        plan: its model and resources.
        names: of the configuration's fields, which differ between versions of transformers.
    """
    model, kind = plan.model, sharding_of(plan)
    recomputes = model.gradient_checkpointing
    if kind in ("zero2", "zero3"):
        return {"deepspeed": zero_config(plan), **_recomputing(recomputes, names)}
    if kind == "none":
        return _recomputing(recomputes, names)
    # FSDP's own spares a third gathering of each layer, and does not repeat what dropout drew
    is_own = recomputes and (model.lora is None or model.lora.dropout == 0)
    config = {"version": 2, "reshard_after_forward": True, "activation_checkpointing": is_own}
    return {"fsdp": True, "fsdp_config": config, **_recomputing(recomputes and not is_own, names)}


def zero_config(plan: Plan) -> dict[str, Any]:
    """DeepSpeed's configuration. What is `auto` is filled in from the trainer's own."""
    stage = 3 if sharding_of(plan) == "zero3" else 2
    return {
        "zero_optimization": {"stage": stage},
        "bf16": {"enabled": plan.model.compute == "bf16"},
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "steps_per_print": 10**9,  # it would print to standard output
    }


def _recomputing(value: bool, names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name in ("gradient_checkpointing", "activation_checkpointing") if name in names}


@contextmanager
def offering_shards(plan: Plan) -> Iterator[None]:
    """A block in which accelerate decides how processes share the work; the process group is there before.

    accelerate 1.15 takes FSDP for a matter of GPUs, although torch shards on CPUs as well (gloo): there it is told of
    another kind of device while it decides.
    """
    state: dict[str, Any] = PartialState._shared_state
    kind = state.get("distributed_type")
    hides = sharding_of(plan) == "fsdp" and kind == DistributedType.MULTI_CPU
    try:
        if hides:
            state["distributed_type"] = DistributedType.MULTI_XPU
        yield
    finally:
        if hides:
            state["distributed_type"] = kind


def settle(accelerator: Any, plan: Plan) -> None:
    """Look that accelerate has understood, and set what it would choose otherwise.

    Gathered weights are bf16 and gradients are added in fp32; accelerate would add in bf16 and round log-probs.

    Raises:
        RuntimeError: accelerate does not share the work as the plan has it.
    """
    kind, state = sharding_of(plan), accelerator.state
    plugin, zero = (getattr(state, name, None) for name in ("fsdp_plugin", "deepspeed_plugin"))
    if (kind == "fsdp", kind in ("zero2", "zero3")) != (plugin is not None, zero is not None):
        raise RuntimeError(f"the plan has `sharding: {kind}`, and accelerate {state!r}")
    if zero is not None:
        unset_hf_deepspeed_config()  # else all that is loaded from here on, opponents too, would be cut up
    if plugin is not None and plan.model.compute == "bf16" and plan.model.weights != "bf16":
        plugin.mixed_precision_policy = MixedPrecisionPolicy(
            param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32
        )


# ── whole tensors ──


def whole(weight: Tensor) -> Tensor:
    """All of a weight as it computes, on every process; they call it together."""
    if hasattr(weight, "ds_id"):
        from deepspeed.runtime.zero import GatheredParameters  # pyright: ignore[reportMissingImports] - an extra

        with GatheredParameters([weight]):
            return weight.detach().clone()
    weight = weight.detach()
    return weight.full_tensor() if isinstance(weight, DTensor) else weight


def stored(weight: Tensor) -> Tensor:
    """All of a weight as it is stored: DeepSpeed computes with bf16 ones and keeps masters in fp32 beside them."""
    if hasattr(weight, "_z3_optimizer") or hasattr(weight, "_hp_mapping"):
        from deepspeed.utils import safe_get_full_fp32_param  # pyright: ignore[reportMissingImports] - an extra

        master: Tensor | None = safe_get_full_fp32_param(weight)
        if master is not None:
            return master
    return whole(weight)


def put(target: Tensor, value: Tensor) -> None:
    """Give a tensor the values of a whole one that every process has; none waits for another."""
    with torch.no_grad():
        if isinstance(target, DTensor):
            target.to_local().copy_(_part(target, value).to_local())
        else:
            target.copy_(value)


def _part(like: DTensor, value: Tensor) -> DTensor:
    """A whole tensor spread as another one is."""
    device, local = like.device_mesh.device_type, value.to(dtype=like.dtype)
    return distribute_tensor(local.to(device), like.device_mesh, like.placements, src_data_rank=None)


def names_of(model: Any) -> dict[str, Tensor]:
    """Weights by name, those that share one once, whatever wraps the layers."""
    return {name.replace(_WRAPPED, ""): weight for name, weight in model.named_parameters()}


class Spread:
    """The trained model where processes share it, and the whole copy that plays where none has all of it.

    The copy computes in the compute type. It has weights until `rest`, which comes before every update and gives the
    update their memory, and again from `give` on. All methods are called by all processes together.

    Args:
        model: that is trained; its weights are spread when a trainer takes it.
        engine: of the copy, which has the weights that the stage starts from; or of the model itself.
        is_first: this process gets what only one needs.
    """

    def __init__(self, model: Any, engine: TransformersEngine, *, is_first: bool) -> None:
        self.model, self.engine, self._is_first = model, engine, is_first
        self._rests = False

    def give(self) -> None:
        """Gather the present weights for the copy, if there is one and it has none.

        Raises:
            GiftError: the memory does not suffice.
        """
        if not self._rests:
            return
        theirs = names_of(self.model)
        try:
            for name, own in self.engine.model.named_parameters():
                own.data = whole(theirs[name]).to(own.dtype, copy=True)
        except torch.OutOfMemoryError as error:
            raise GiftError(
                "out of memory while the weights were gathered into the copy that plays: play with vLLM "
                "(`resources.vllm`), or train a smaller model"
            ) from error
        self._rests = False

    def rest(self) -> None:
        """Release the copy's weights."""
        if self.engine.model is self.model:
            return
        for own in self.engine.model.parameters():
            own.data = torch.empty(0, dtype=own.dtype, device=own.device)
        self.engine.forget()  # new weights may come to stand where the old ones did
        self._rests = True

    def whole_model(self) -> Any | None:
        """The model with its weights as they are stored, on the CPU of the first process; None on the others."""
        weights = gathered(self.model, keeps=self._is_first)
        return unspread(self.model, weights) if self._is_first else None


def gathered(model: Any, *, keeps: bool) -> dict[str, Tensor]:
    """Whole weights by name, on the CPU; empty where they are not kept."""
    found: dict[str, Tensor] = {}
    for name, weight in names_of(model).items():
        value = stored(weight)
        if keeps:
            found[name] = value.to("cpu", copy=True)
    return found


def unspread(model: Any, weights: dict[str, Tensor]) -> Any:
    """A model of the same architecture and adapters with these weights, on the CPU."""
    base = base_model(model)
    with torch.random.fork_rng([]), torch.device("meta"), quiet_peft():
        made = type(base)(base.config)  # FSDP's class makes the architecture's own
        if is_adapted(model):
            made = get_peft_model(made, model.peft_config["default"])
    made.load_state_dict(weights, strict=False, assign=True)
    _give_buffers(made, model)
    base_model(made).tie_weights()
    base_model(made).generation_config = base.generation_config
    left = [name for name, weight in made.named_parameters() if weight.is_meta]
    if left:
        raise ValueError(f"no weights were gathered for {left}")
    return made


def _give_buffers(made: Any, model: Any) -> None:
    """What is no weight is nowhere spread."""
    theirs = {name.replace(_WRAPPED, ""): buffer for name, buffer in model.named_buffers()}
    for prefix, module in made.named_modules():
        for name in [name for name, buffer in module._buffers.items() if buffer is not None]:
            module._buffers[name] = theirs[f"{prefix}.{name}" if prefix else name].detach().to("cpu", copy=True)


# ── checkpoints ──


def save_weights(model: Any, folder: Path, tokenizer: Any, *, saves: bool) -> None:
    """Write whole weights as the trainer writes them without sharding; all processes call it together."""
    weights = gathered(model, keeps=saves)
    if not saves:
        return
    unspread(model, weights).save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def load_weights(model: Any, folder: Path) -> None:
    """Read what `save_weights` wrote; every process reads it for itself."""
    if is_adapted(model):
        saved = load_file(folder / SAFETENSORS_WEIGHTS_NAME)
        values = {_with_adapter(name): value for name, value in saved.items()}
    else:
        values = names_of(load_frozen(folder, torch.empty(0, dtype=next(model.parameters()).dtype)))
    wanted = {name: one for name, one in names_of(model).items() if one.requires_grad or not is_adapted(model)}
    for name, weight in wanted.items():
        put(weight, values[name])


def _with_adapter(name: str) -> str:
    """A name in a file of adapters as the model has it."""
    head, _, last = name.rpartition(".")
    return f"{head}.default.{last}"


def optimizer_state(optimizer: Any, *, keeps: bool) -> dict[str, Any]:
    """The state of an optimizer with whole tensors, on the CPU; empty where it is not kept."""
    state = optimizer.state_dict()
    gathered_state = {
        index: {key: _gathered(value, keeps=keeps) for key, value in each.items()}
        for index, each in state["state"].items()
    }
    return {**state, "state": gathered_state} if keeps else {}


def _gathered(value: Any, *, keeps: bool) -> Any:
    if not isinstance(value, Tensor):
        return value
    value = whole(value)
    return value.to("cpu", copy=True) if keeps else None


def spread_state(optimizer: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The state of an optimizer with tensors spread as its weights are; the inverse of `optimizer_state`."""
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    parts = {
        index: {key: _spread(weights[index], value) for key, value in each.items()}
        for index, each in state["state"].items()
    }
    return {**state, "state": parts}


def _spread(weight: Tensor, value: Any) -> Any:
    """A state that has the shape of its weight is spread as it is; a counter is not."""
    if isinstance(weight, DTensor) and isinstance(value, Tensor) and value.shape == weight.shape:
        return _part(weight, value)
    return value


class ShardedCheckpoints:
    """What a trainer of transformers saves and loads where processes share its weights. To be mixed in before it."""

    accelerator: Any
    args: Any
    is_deepspeed_enabled: bool
    is_fsdp_enabled: bool
    lr_scheduler: Any
    model: Any
    optimizer: Any
    processing_class: Any

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights in Hugging Face's format."""
        if not (self.is_fsdp_enabled or self.is_deepspeed_enabled):
            super().save_model(output_dir, _internal_call)  # type: ignore[misc]
            return
        folder = Path(output_dir or self.args.output_dir)
        save_weights(self.model, folder, self.processing_class, saves=self.args.should_save)
        if self.args.should_save:
            torch.save(self.args, folder / "training_args.bin")

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        if not self.is_fsdp_enabled:
            super()._save_optimizer_and_scheduler(output_dir)  # type: ignore[misc]
            return
        state = optimizer_state(self.optimizer, keeps=self.args.should_save)
        if self.args.should_save:
            torch.save(state, Path(output_dir) / _OPTIMIZER_FILE)
            torch.save(self.lr_scheduler.state_dict(), Path(output_dir) / _SCHEDULER_FILE)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if not self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)  # type: ignore[misc]
            return
        load_weights(self.model if model is None else model, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if not self.is_fsdp_enabled:
            super()._load_optimizer_and_scheduler(checkpoint)  # type: ignore[misc]
            return
        if checkpoint is not None:
            load_optimizer(self.optimizer, Path(checkpoint))
            saved = torch.load(Path(checkpoint) / _SCHEDULER_FILE, map_location="cpu", weights_only=True)
            self.lr_scheduler.load_state_dict(saved)


def load_optimizer(optimizer: Any, checkpoint: Path) -> None:
    """Give an optimizer the state of a checkpoint, whatever spreads its weights.

    Raises:
        FileNotFoundError: the checkpoint holds none.
        ValueError: it is of another optimizer, or of other weights.
    """
    state = torch.load(checkpoint / _OPTIMIZER_FILE, map_location="cpu", weights_only=True, mmap=True)
    plain = getattr(optimizer, "optimizer", optimizer)
    numbers = [len(group["params"]) for group in plain.param_groups]
    if numbers != [len(group["params"]) for group in state["param_groups"]]:
        raise ValueError("the groups of its weights are others")
    plain.load_state_dict(spread_state(plain, state))

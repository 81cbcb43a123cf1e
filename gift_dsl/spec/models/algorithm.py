"""`algorithm`: GRPO and its relatives, every term a separate named field; presets are plain values."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal

from pydantic import Field

from gift_dsl.plan import AlgorithmPlan
from gift_dsl.spec.models.fields import Count, NonNegative, Positive, Probability, Strict, plain

PresetName = Literal["gift", "gift_v1", "starpo_s", "dapo", "dr_grpo"]


class AlgorithmSpec(Strict):
    """The update rule. A field that is left out has the value of the preset."""

    preset: Annotated[PresetName | None, Field(description="Named set of values that the fields below override.")] = (
        None
    )
    group_size: Annotated[
        int | None, Field(ge=2, le=4096, description="Episodes that share an instance and a baseline (G).")
    ] = None
    groups_per_step: Annotated[Count | None, Field(le=65_536, description="Groups played in one step (P).")] = None
    keep: Annotated[
        float | None,
        Field(gt=0, le=1, description="Share of groups kept, those with the largest std of raw returns (StarPO-S)."),
    ] = None
    scope: Annotated[
        Literal["global", "per_task"] | None,
        Field(description="Groups compete for being kept across all tasks, or within each task."),
    ] = None
    drop_zero: Annotated[
        bool | None,
        Field(
            description="Never keep a group whose returns are all equal: it teaches nothing. Under `baseline: role` it "
            "does, and is not dropped."
        ),
    ] = None
    dynamic_sampling: Annotated[
        bool | None, Field(description="Play further groups until enough have unequal returns (DAPO, eq. 11).")
    ] = None
    max_refills: Annotated[
        Count | None, Field(le=100, description="Most further rounds of dynamic sampling in one step.")
    ] = None
    loss: Annotated[
        Literal["trajectory", "token", "constant"] | None,
        Field(
            description="Mean of the token losses: within each trajectory and then over them (paper); over all tokens "
            "(DAPO); or a sum over a constant length (Dr. GRPO)."
        ),
    ] = None
    clip_low: Annotated[float | None, Field(gt=0, lt=1, description="Ratios are clipped at 1 - clip_low.")] = None
    clip_high: Annotated[
        float | None, Field(gt=0, le=10, description="Ratios are clipped at 1 + clip_high (clip-higher of DAPO).")
    ] = None
    dual_clip: Annotated[
        Annotated[float, Field(gt=1, le=100)] | Literal["off"] | None,
        Field(
            description="Bound on the ratio where the advantage is negative (arXiv 1912.09729); at least 1 + clip_high."
        ),
    ] = None
    advantage_scale: Annotated[
        Literal["group", "batch", "none"] | None,
        Field(description="Advantages are divided by the std of their group, of the batch, or not (Dr. GRPO)."),
    ] = None
    baseline: Annotated[
        Literal["group", "role"] | None,
        Field(description="The mean of the group, or a running mean per game and role (RAE, arXiv 2506.24119)."),
    ] = None
    baseline_decay: Annotated[
        float | None, Field(ge=0, lt=1, description="Decay of the running mean of `baseline: role`.")
    ] = None
    credit: Annotated[
        Literal["trajectory", "to_go", "segment", "discount"] | None,
        Field(
            description="What a token is credited with: the return of the trajectory (paper); the outcomes of its part "
            "and later ones; the outcome of its own part; or later rewards discounted per turn."
        ),
    ] = None
    discount: Annotated[float | None, Field(gt=0, le=1, description="Factor per turn of `credit: discount`.")] = None
    entropy_coef: Annotated[float | None, Field(ge=0, le=1, description="Weight of the entropy bonus.")] = None
    kl_coef: Annotated[
        float | None,
        Field(ge=0, le=10, description="Weight of the KL term to the start model; above 0 it is loaded too."),
    ] = None
    overlong: Annotated[
        Literal["none", "mask", "penalty"] | None,
        Field(description="Truncated trajectories count as they are, are masked out, or cost a soft penalty (DAPO)."),
    ] = None
    overlong_cache: Annotated[
        Count | None, Field(description="Tokens before the limit over which the soft penalty grows to -1.")
    ] = None
    importance_cap: Annotated[
        float | None,
        Field(ge=1, le=100, description="Truncation of the weights that correct the engine's log-probabilities."),
    ] = None
    epochs: Annotated[Count | None, Field(le=16, description="Passes over the kept trajectories of a step.")] = None
    mini_batch_size: Annotated[
        Count | Literal["all"] | None,
        Field(description="Trajectories of one optimizer update; `all`: one update takes every kept trajectory."),
    ] = None
    optimizer: Annotated[Literal["adamw", "muon"] | None, Field(description="Optimizer of the update.")] = None
    learning_rate: Annotated[float | None, Field(ge=0, le=1, description="Peak learning rate.")] = None
    schedule: Annotated[
        Literal["constant", "linear", "cosine"] | None, Field(description="Learning rate over the stage.")
    ] = None
    min_learning_rate: Annotated[
        Probability | None, Field(description="Where a linear or cosine schedule ends, as a share of the peak.")
    ] = None
    warmup_steps: Annotated[
        NonNegative | None, Field(description="Steps over which the learning rate rises from 0.")
    ] = None
    weight_decay: Annotated[float | None, Field(ge=0, le=1, description="Decoupled weight decay.")] = None
    adam_beta1: Annotated[float | None, Field(ge=0, lt=1, description="Decay of the first moment.")] = None
    adam_beta2: Annotated[float | None, Field(ge=0, lt=1, description="Decay of the second moment.")] = None
    max_grad_norm: Annotated[Positive | None, Field(description="Gradients are clipped to this norm.")] = None


_GIFT_V1: Final[dict[str, Any]] = {
    "group_size": 16,
    "groups_per_step": 8,
    "keep": 0.25,
    "scope": "global",
    "drop_zero": False,
    "dynamic_sampling": False,
    "max_refills": 10,
    "loss": "trajectory",
    "clip_low": 0.2,
    "clip_high": 0.28,
    "dual_clip": 3.0,
    "advantage_scale": "group",
    "baseline": "group",
    "baseline_decay": 0.95,
    "credit": "trajectory",
    "discount": 0.95,
    "entropy_coef": 0.001,
    "kl_coef": 0.0,
    "overlong": "none",
    "overlong_cache": 100,
    "importance_cap": 3.0,
    "epochs": 1,
    "mini_batch_size": 32,
    "optimizer": "adamw",
    "learning_rate": 1e-6,
    "schedule": "constant",
    "min_learning_rate": 0.0,
    "warmup_steps": 0,
    "weight_decay": 0.01,
    "adam_beta1": 0.9,
    "adam_beta2": 0.999,
    "max_grad_norm": 1.0,
}
_STARPO_S: Final = {**_GIFT_V1, "drop_zero": True}
_GIFT: Final = {**_STARPO_S, "scope": "per_task"}
_DAPO: Final = {
    **_GIFT,
    "keep": 1.0,
    "drop_zero": True,
    "dynamic_sampling": True,
    "loss": "token",
    "entropy_coef": 0.0,
    "dual_clip": "off",
    "mini_batch_size": "all",
}
_DR_GRPO: Final = {
    **_GIFT,
    "keep": 1.0,
    "drop_zero": False,
    "loss": "constant",
    "advantage_scale": "none",
    "entropy_coef": 0.0,
    "mini_batch_size": "all",
}

PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {"gift": _GIFT, "gift_v1": _GIFT_V1, "starpo_s": _STARPO_S, "dapo": _DAPO, "dr_grpo": _DR_GRPO}
)
"""`algorithms.md` 1.7 for `gift_v1`; the others differ from it by the named terms only. Frozen within `gift: 1`."""


def resolve_algorithm(*layers: AlgorithmSpec | None) -> AlgorithmPlan:
    """The values that hold: each layer's own fields over those of the layers before it, over the last preset named.

    A stage that names another preset starts from that preset; fields written at the top level still override it.
    """
    written = [plain(layer) for layer in layers if layer is not None]
    values: dict[str, Any] = {"preset": "gift"}
    for fields in written:
        values |= fields
    return AlgorithmPlan(**{**PRESETS[values["preset"]], **values})

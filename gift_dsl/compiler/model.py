"""The policy as the run gets it, and what is known of its size before it is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.pins import unpinned
from gift_dsl.compiler.shapes import ModelShape, projections, shape_of, tiny_shape
from gift_dsl.data import fingerprint_model, fingerprint_tokenizer, hub_snapshot, is_local
from gift_dsl.errors import Diagnostic, Note
from gift_dsl.plan import LoraPlan, ModelPlan
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.model import ModelSpec, TinySpec
from gift_dsl.spec.suggest import did_you_mean


def model_shape(context: Context) -> ModelShape | None:
    """The layout of the policy: of `tiny`, a local or cached folder, or a known model; None when it is not known."""
    model = context.spec.model
    if model.source is None:
        return None
    if model.source == "tiny":
        sizes = model.tiny or TinySpec.model_construct()
        if sizes.hidden_size % sizes.heads:
            return None
        shape = tiny_shape(
            hidden_size=sizes.hidden_size,
            num_layers=sizes.layers,
            num_heads=sizes.heads,
            intermediate_size=sizes.intermediate_size,
        )
        return replace(shape, max_positions=sizes.max_positions)
    folder = _folder(context, model)
    try:
        return shape_of(model.source, folder)
    except (OSError, ValueError):
        return shape_of(model.source, None)


def _folder(context: Context, model: ModelSpec) -> Path | None:
    assert model.source is not None
    if is_local(model.source):
        return context.folder / Path(model.source).expanduser()
    return hub_snapshot("model", model.source, model.revision)


def compile_model(context: Context) -> ModelPlan:
    """The plan of the policy; its checks must have passed."""
    spec, model = context.spec, context.spec.model
    lora = model.lora
    adapters = None
    if lora is not None:
        targets = (lora.target_modules,) if isinstance(lora.target_modules, str) else tuple(lora.target_modules)
        adapters = LoraPlan(lora.rank, lora.alpha, lora.dropout, targets)
    tiny = model.source == "tiny"
    known = None if tiny or model.source is None else fingerprint_model(model.source, model.revision, context.folder)
    return ModelPlan(
        source=model.source,
        revision=model.revision,
        from_run=model.from_run.run if model.from_run is not None else None,
        from_step=model.from_run.step if model.from_run is not None else None,
        tokenizer=model.tokenizer,
        chat_template=model.chat_template,  # a file has been inlined
        compute=spec.precision,
        weights=model.weights,
        lora=adapters,
        gradient_checkpointing=model.gradient_checkpointing,
        attention=model.attention,
        tiny=plain(model.tiny or TinySpec.model_construct()) if tiny else None,
        print=known,
        tokenizer_print=None if model.tokenizer is None else fingerprint_tokenizer(model.tokenizer, context.folder),
    )


def check(context: Context) -> Iterator[Diagnostic]:
    """Weights stored in a format that the learning rate cannot move; unpinned sources."""
    model = context.spec.model
    sizes = model.tiny
    if sizes is not None and sizes.hidden_size % sizes.heads:
        message = f"`hidden_size: {sizes.hidden_size}` is not a multiple of `heads: {sizes.heads}`"
        yield context.finding("bad-params", message, ("model", "tiny"), at_key=True)
    if model.source is not None and is_local(model.source) and model.revision is not None:
        message = "`revision` names a commit of the hub, but the source is a local folder"
        yield context.finding("no-effect", message, ("model", "revision"), severity="warning", at_key=True)
    if model.source is not None and model.source != "tiny":
        is_beside = (context.folder / model.source).is_dir()
        hint = f"for the folder of this name beside the spec, write `./{model.source}`" if is_beside else None
        yield from unpinned(context, ("model",), model.source, model.revision, hint)
    if model.weights == "bf16" and model.lora is None:
        yield from _rates(context)
    yield from _targets(context)


def _targets(context: Context) -> Iterator[Diagnostic]:
    """Adapters on layers that the model does not have."""
    lora, shape = context.spec.model.lora, model_shape(context)
    if lora is None or shape is None or isinstance(lora.target_modules, str):
        return
    known = tuple(projections(shape))
    for index, target in enumerate(lora.target_modules):
        if target.rpartition(".")[2] not in known:
            yield context.finding(
                "unknown-lora-target",
                f"{shape.name} has no linear layer `{target}`",
                ("model", "lora", "target_modules", index),
                hint=did_you_mean(target, known) or "its layers are " + ", ".join(f"`{name}`" for name in known),
            )


def _rates(context: Context) -> Iterator[Diagnostic]:
    """bf16 keeps 8 bits: at the paper's 1e-6 an Adam update moves 2 % of the weights, the others round to no change."""
    from gift_dsl.compiler.batch import stage_algorithm
    from gift_dsl.spec.models.stages import GrpoStage

    for index, stage in enumerate(context.spec.stages):
        if not isinstance(stage, GrpoStage):
            continue
        rate = stage_algorithm(context, stage).learning_rate
        if 0 < rate < 1e-5:
            own = ("stages", index, "algorithm", "learning_rate")
            other = own if context.tree.at(own) is not None else ("algorithm", "learning_rate")
            yield context.finding(
                "bf16-weights",
                f"weights stored in bf16 hardly move at the learning rate {rate:g} of stage `{stage.name}`: most "
                "updates round to nothing",
                ("model", "weights"),
                hint="leave `weights` at fp32 (`precision: bf16` computes in bf16 all the same)",
                notes=[Note("the learning rate is set here", context.span(other))] if context.tree.at(other) else [],
            )
            return

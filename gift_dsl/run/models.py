# pyright: basic
"""The models of a run: where each stage starts from, and what it hands on. Folders in Hugging Face's format."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.directory import RunDirectory, find_named
from gift_dsl.artifacts.origins import kept_model, named
from gift_dsl.data import is_local
from gift_dsl.errors import MachineError
from gift_dsl.plan import ModelPlan, OpponentPlan, Plan

START = "start"


def stage_model(run: RunDirectory, stage: str) -> Path:
    """Where the model lies that a stage hands on; it is there once the stage is done."""
    return run.stages / stage


def find_start(run: RunDirectory, plan: Plan, index: int) -> str:
    """The folder or hub id of the model that a stage starts from.

    Args:
        run: its directory.
        plan: of the run.
        index: of the stage, counted from 0.

    Raises:
        MachineError: it is not there.
    """
    from gift_dsl.engines.load import find_source

    if index:
        return str(stage_model(run, plan.stages[index - 1].name))
    if plan.model.tiny is not None:
        return str(stage_model(run, START))
    if plan.model.from_run is not None:
        return str(model_folder(plan))
    return find_source(plan.model, Path(plan.runtime.folder))


def model_here(plan: Plan) -> ModelPlan:
    """The plan's model as it is loaded: a tokenizer folder stands beside the spec, wherever a command is called."""
    model = plan.model
    if model.tokenizer is None or not is_local(model.tokenizer):
        return model
    return replace(model, tokenizer=str(Path(plan.runtime.folder) / Path(model.tokenizer).expanduser()))


def make_start(run: RunDirectory, plan: Plan, rows: Any) -> None:
    """Build the model of the `tiny` preset, if the run begins with one and it is not there yet."""
    from gift_dsl.engines.tiny import build_tiny

    folder = stage_model(run, START)
    if plan.model.tiny is None or folder.exists():
        return
    draft = folder.with_name(f".{START}")
    shutil.rmtree(draft, ignore_errors=True)
    build_tiny(plan, draft, rows)
    draft.rename(folder)


def opponent_model(plan: Plan, opponent: OpponentPlan) -> ModelPlan:
    """What is loaded for a `local` opponent: in the formats of the policy, with its own tokenizer and template."""
    params = opponent.params
    from_run: Any = params.get("from_run") or {}
    return replace(
        plan.model,
        source=params.get("source"),
        revision=params.get("revision"),
        from_run=from_run.get("run"),
        from_step=from_run.get("step"),
        tokenizer=None,
        chat_template=None,
        lora=None,
        tiny=None,
    )


def model_folder(plan: Plan, who: str = "model") -> Path:
    """The folder of a model of another run: of the plan's run, the one that it began with.

    Args:
        plan: whose runtime knows it.
        who: `model`, or `opponents.<name>`.

    Raises:
        MachineError: it was not there, or is not there any more.
    """
    known = plan.runtime.from_runs.get(who)
    if known is None:
        one = next(one for one in named(plan) if one.who == who)
        folder = Path(plan.runtime.folder)
        return kept_model(find_named(one.run, folder, folder / str(plan.runtime.output["dir"])), one.step)
    path = Path(plan.runtime.folder) / known
    if not path.is_dir():
        raise MachineError(f"the model that the run began with is not in {path} any more")
    return path


def opponent_folder(plan: Plan, opponent: OpponentPlan) -> Path | None:
    """The folder of a `local` opponent that another run made; None for others.

    Raises:
        MachineError: there is no such run, stage or checkpoint.
    """
    return model_folder(plan, f"opponents.{opponent.name}") if opponent.params.get("from_run") is not None else None


def is_adapter(folder: Path) -> bool:
    """Whether a checkpoint holds adapters alone."""
    return (folder / "adapter_config.json").is_file()


def drop_model(run: RunDirectory, stage: str) -> None:
    """Forget what a stage handed on; it is whole or not there, whoever is killed in between."""
    folder = stage_model(run, stage)
    draft = folder.with_name(f".{stage}")
    shutil.rmtree(draft, ignore_errors=True)
    if folder.is_dir():
        folder.rename(draft)
        shutil.rmtree(draft, ignore_errors=True)


def hand_on(run: RunDirectory, stage: str, model: Any, tokenizer: Any) -> Path:
    """Save the model of a finished stage, adapters merged; whole or not there."""
    from gift_dsl.engines.frozen import frozen_copy

    folder = stage_model(run, stage)
    draft = folder.with_name(f".{stage}")
    shutil.rmtree(draft, ignore_errors=True)
    plain = frozen_copy(model) if hasattr(model, "peft_config") else model
    plain.save_pretrained(draft)
    tokenizer.save_pretrained(draft)
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)
    return folder

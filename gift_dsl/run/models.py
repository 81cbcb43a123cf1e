# pyright: basic
"""The models of a run: where each stage starts from, and what it hands on. Folders in Hugging Face's format."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.checkpoints import Checkpoint, check, number_of
from gift_dsl.artifacts.directory import RunDirectory, find_named
from gift_dsl.data import is_local
from gift_dsl.errors import MachineError
from gift_dsl.plan import ModelPlan, OpponentPlan, Plan

START = "start"
BEST = "best"
"""The model of the last stage that probed best on dev: by the mean success of its games, the first of equals."""


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
    folder = Path(plan.runtime.folder)
    if plan.model.from_run is not None:
        return str(find_in_run(plan.model, folder, folder / str(plan.runtime.output["dir"])))
    return find_source(plan.model, folder)


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


def find_in_run(model: ModelPlan, folder: Path, output: Path) -> Path:
    """The model of another run: what its last stage handed on, or a checkpoint of it, which may hold adapters alone.

    Args:
        model: with `from_run`, as `find_named` reads it.
        folder: of the spec.
        output: folder of all runs.

    Raises:
        MachineError: there is no such run, stage or checkpoint.
    """
    assert model.from_run is not None
    run = find_named(model.from_run, folder, output)
    stages = [stage.name for stage in run.plan.stages]
    if model.from_step == "final":
        path = stage_model(run, stages[-1])
        if not path.is_dir():
            raise MachineError(f"the run {run.path} is not done: stage `{stages[-1]}` has handed on no model")
        return path
    if model.from_step == "best":
        path = stage_model(run, BEST)
        if not path.is_dir():
            raise MachineError(
                f"the run {run.path} kept no best model: its last stage was not probed, or its "
                "`evaluation.final.checkpoints` does not name `best`"
            )
        return path
    for stage in reversed(stages):
        for folder in sorted((run.checkpoints / stage).glob("checkpoint-*"), key=number_of):
            found = check(folder)
            if isinstance(found, Checkpoint) and found.state.get("step") == model.from_step:
                return folder
    raise MachineError(f"the run {run.path} kept no checkpoint of step {model.from_step}")


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

"""Stages as the run gets them."""

from __future__ import annotations

from typing import Any

from gift_dsl.compiler.batch import compile_batch, stage_algorithm
from gift_dsl.compiler.budget import stage_context
from gift_dsl.compiler.composition import compile_play, stage_steps
from gift_dsl.compiler.context import Context
from gift_dsl.compiler.prompts import system_prompt
from gift_dsl.data import fingerprint_files
from gift_dsl.plan import AlgorithmPlan, FilePrint, Play, StagePlan, UntilPlan
from gift_dsl.spec.models.fields import plain
from gift_dsl.spec.models.stages import DataSpec, GrpoStage, SftStage


def _until(stage: GrpoStage) -> UntilPlan:
    until = stage.until
    success = until.success
    return UntilPlan(
        max_steps=stage_steps(stage),
        subgame_episodes=until.subgame_episodes,
        policy_tokens=until.policy_tokens,
        success_game=success.game if success is not None else None,
        success_at_least=success.at_least if success is not None else None,
        success_patience=success.patience if success is not None else None,
    )


def _prints(context: Context, data: DataSpec) -> tuple[FilePrint, ...]:
    """Of files and of runs; which run a name means is found when the plan is whole."""
    files = fingerprint_files([*(data.files or [])], context.folder)
    return (*files, *(FilePrint(name, None, "not looked for yet") for name in data.runs or []))


def compile_stage(context: Context, index: int) -> StagePlan:
    """The plan of one stage; its checks must have passed."""
    stage = context.spec.stages[index]
    play = compile_play(context, index)
    if isinstance(stage, GrpoStage):
        return _played(context, index, stage, play, stage_algorithm(context, stage))
    fields = stage.sft if isinstance(stage, SftStage) else stage.glow
    steps = stage_steps(stage)
    data: dict[str, Any] = plain(stage.data)
    return StagePlan(
        name=stage.name,
        type=stage.type,
        play=play,
        system_prompt=system_prompt(context, index),
        until=UntilPlan(max_steps=steps),
        schedule_steps=stage.schedule_steps or steps,
        optimizer=stage.optimizer,
        reward="game",
        max_context=stage_context(context, play),
        algorithm=None,
        batch=None,
        supervised=plain(fields),
        data=data,
        data_prints=_prints(context, stage.data),
        epochs=stage.epochs,
    )


def _played(context: Context, index: int, stage: GrpoStage, play: Play, algorithm: AlgorithmPlan) -> StagePlan:
    until = _until(stage)
    return StagePlan(
        name=stage.name,
        type="grpo",
        play=play,
        system_prompt=system_prompt(context, index),
        until=until,
        schedule_steps=stage.schedule_steps or until.max_steps,
        optimizer=stage.optimizer,
        reward=stage.reward,
        max_context=stage_context(context, play),
        algorithm=algorithm,
        batch=compile_batch(context, play, algorithm),
        supervised=None,
        data=None,
        data_prints=(),
        epochs=algorithm.epochs,
    )

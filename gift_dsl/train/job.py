"""What a trainer is given: one stage of one process, and what it tells the run while it trains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.engines.vllm import VllmEngine
from gift_dsl.plan import JsonMap, Plan, StagePlan
from gift_dsl.play.seats import Choice, Seat, TableGame
from gift_dsl.records import Group, StepRecord
from gift_dsl.train.sharding import Spread


def _no_step(record: StepRecord) -> None:
    del record


def _no_groups(step: int, groups: Sequence[Group]) -> None:
    del step, groups


def _no_reason() -> str | None:
    return None


def _no_checkpoint(folder: Path, state: JsonMap) -> None:
    del folder, state


def _no_probe(step: int) -> None:
    del step


def _no_length(steps: int) -> None:
    del steps


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Hooks:
    """What a trainer calls, always between two steps. On every process, unless said otherwise.

    Attributes:
        on_course: by a supervised trainer, with the steps that its data gives, before it trains.
        on_groups: with the number of a step (from 0) and everything that was played in it, before its updates. Work
            that goes on beside these is returned, and waited for before `on_step`.
        on_step: with the metrics of a step, after it; on rank 0 only.
        should_stop: why the stage is to end now, or None. The trainer then saves a checkpoint and returns.
        on_checkpoint: with the folder and the state of the trainer (`step`, ...) once all files are written; on rank
            0 only. Whoever is called makes the checkpoint count and removes old ones.
        probe: with the number of steps done so far.
        on_resume: with the number of steps done, once a checkpoint is loaded and before anything is played: what the
            session that wrote it did not come to is made up for.
        is_done: after a probe: the stage has reached what it was to reach, and ends.
    """

    on_course: Callable[[int], None] = _no_length
    on_groups: Callable[[int, Sequence[Group]], Future[Any] | None] = _no_groups
    on_step: Callable[[StepRecord], None] = _no_step
    should_stop: Callable[[], str | None] = _no_reason
    on_checkpoint: Callable[[Path, JsonMap], None] = _no_checkpoint
    probe: Callable[[int], None] = _no_probe
    on_resume: Callable[[int], None] = _no_probe
    is_done: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class StageJob:
    """One stage as one process trains it.

    Attributes:
        plan: of the whole run.
        stage: this one.
        index: of the stage in the plan, counted from 0.
        engine: with the model that is trained, in place, and its codec. Its weights are those that the stage starts
            from, also when it is resumed.
        tokenizer: of the model.
        rollout: plays in place of `engine`, whose weights it is given before each step. None: `engine` plays.
        spread: the model that is trained, where processes share its weights. Where none has all of them, `engine` holds
            a whole copy, and is given the weights of each step. None: the model of `engine` is trained.
        folder: checkpoints are written at folder/checkpoint-<updates done>.
        rank: of this process, counted from 0.
        processes: that train together.
        resume_from: a checkpoint of this stage; None: from its start.
        carry_from: the last checkpoint of the stage before, for `optimizer: carry`; None: there is no such stage.
        hooks: what is called between steps.
        games: of the stage, on the train split, by name.
        players: everybody but the policy and its snapshots, by name.
        snapshots: names of the opponents that are earlier versions of the policy.
        lockstep: batches of the policy do not depend on how fast others answer.
        closing: what is awaited at the end, in the event loop in which the games were played.
    """

    plan: Plan
    stage: StagePlan
    index: int
    engine: TransformersEngine
    tokenizer: Any
    folder: Path
    rollout: VllmEngine | None = None
    spread: Spread | None = None
    rank: int = 0
    processes: int = 1
    resume_from: Path | None = None
    carry_from: Path | None = None
    hooks: Hooks = field(default_factory=Hooks)
    games: Mapping[str, TableGame] = field(default_factory=dict[str, TableGame])
    players: Mapping[str, Seat | Choice] = field(default_factory=dict[str, Seat | Choice])
    snapshots: tuple[str, ...] = ()
    lockstep: bool = False
    closing: tuple[Callable[[], Awaitable[None]], ...] = ()

    @property
    def model(self) -> Any:
        """What is trained."""
        return self.engine.model if self.spread is None else self.spread.model

    def saves_after(self, done: int) -> bool:
        """Whether a checkpoint is due after so many steps: every so many, and after those that are kept for ever."""
        every: int = self.plan.runtime.output["save_every"]
        return done % every == 0 or done in kept_steps(self.plan, self.stage)


def kept_steps(plan: Plan, stage: StagePlan) -> frozenset[int]:
    """Steps of a stage whose checkpoints the final evaluation will test; it tests the last stage."""
    if plan.evaluation.final is None or stage.name != plan.stages[-1].name:
        return frozenset()
    return frozenset(one for one in plan.evaluation.final.checkpoints if isinstance(one, int))

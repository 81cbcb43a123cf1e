# pyright: basic
"""Supervised fine-tuning by TRL: its trainer over rows that are tokens already, with the loss on the policy's alone.

The loss of an update is the sum over its learned tokens divided by their number, of all micro-batches and processes:
how an update is cut into pieces changes nothing but rounding.

Dimensions: B rows of a micro-batch, L ids of its longest row.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, ProgressCallback
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from gift_dsl.data import slots
from gift_dsl.plan import JsonMap
from gift_dsl.records import StepRecord
from gift_dsl.train.epochs import EMPTY, Course, make_course
from gift_dsl.train.guards import NotFinite, are_finite, gradient_norm, guard, within_memory
from gift_dsl.train.job import StageJob
from gift_dsl.train.league import League, snapshot_rules
from gift_dsl.train.lessons import collect
from gift_dsl.train.optimizers import carry_optimizer, make_optimizer
from gift_dsl.train.rows_sft import TaughtRow
from gift_dsl.train.schedule import RateSchedule, rate_factor
from gift_dsl.train.sharding import ShardedCheckpoints, offering_shards, settle, sharding_arguments
from gift_dsl.train.state import TrainState
from gift_dsl.train.team import Team

_NOT_LEARNED: Final = -100
_NOTHING: Final = TaughtRow((0, 0), (0, 0))
"""Stands at a place without a row: the shortest that has a next id to predict."""


def train_sft(job: StageJob) -> None:
    """Train a stage until its end, or until a hook asks to stop.

    Args:
        job: with games and players if its data is scripted.

    Raises:
        MachineError: recorded play is not there.
        GiftError: there is nothing to learn from, or scripted play fails.
        NotFinite: a loss or gradient is no number.
    """
    with within_memory(job):
        SupervisedTrainer(job, make_stage_course(job)).run()


def make_stage_course(job: StageJob) -> Course:
    """The updates of a supervised stage; the same on every process."""
    fields = _fields(job)
    at_once: int = job.plan.runtime.resources["micro_batch_size"] * job.processes
    # All episodes are played by the policy as the stage finds it: that is who a snapshot is before there is one.
    league = League(job.players, snapshot_rules(job.plan, set(job.snapshots)), job.engine)
    episodes = collect(job, league.players(TrainState()))
    for engine in league.engines():
        engine.forget()
    return make_course(
        episodes,
        batch_size=fields["batch_size"],
        epochs=job.stage.epochs,
        at_once=at_once,
        name=(job.plan.seed, job.stage.name),
    )


def make_config(job: StageJob, course: Course) -> SFTConfig:
    """TRL's settings of a stage: one long epoch over the places of all updates, in order."""
    fields, model = _fields(job), job.plan.model
    micro: int = job.plan.runtime.resources["micro_batch_size"]
    return SFTConfig(
        output_dir=str(job.folder),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=course.places // (micro * job.processes),
        max_steps=len(course.updates),
        learning_rate=fields["learning_rate"],
        lr_scheduler_type="constant",  # create_scheduler makes ours
        weight_decay=fields["weight_decay"],
        max_grad_norm=fields["max_grad_norm"],
        bf16=model.compute == "bf16" and model.weights != "bf16",
        **sharding_arguments(job.plan, frozenset(field.name for field in dataclasses.fields(SFTConfig))),
        use_cpu=job.engine.model.device.type == "cpu",
        seed=job.plan.seed,
        data_seed=job.plan.seed,
        train_sampling_strategy="sequential",
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        max_length=None,
        packing=False,
        dataloader_pin_memory=job.engine.model.device.type != "cpu",
        report_to=[],
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",  # finish_step asks for checkpoints
        disable_tqdm=True,
        log_level="error",
        ddp_find_unused_parameters=False,
    )


class SupervisedTrainer(ShardedCheckpoints, SFTTrainer):
    """TRL's trainer over the updates of a course."""

    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any

    def __init__(self, job: StageJob, course: Course) -> None:
        self.job, self.course, self.fields = job, course, _fields(job)
        self._started = time.perf_counter()
        self.micro_tokens: list[float] = []
        config = make_config(job, course)
        with offering_shards(job.plan):
            super().__init__(
                model=job.model,
                args=config,
                data_collator=self.collate,
                train_dataset=slots(len(course.updates) * course.places),
                processing_class=job.tokenizer,
            )
        settle(self.accelerator, job.plan)
        self.team = Team(job.rank, job.processes, lambda value: gather_object([value]))
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)

    def run(self) -> None:
        """From the start or from a checkpoint to the end."""
        resume_from = self.job.resume_from
        self.rest()
        self.job.hooks.on_course(len(self.course.updates))
        self.train(resume_from_checkpoint=str(resume_from) if resume_from else None)

    def rest(self) -> None:
        """Let the copy that is measured give its memory to the updates."""
        if self.job.spread is not None:
            self.job.spread.rest()

    # ── rows ──

    def collate(self, places: Sequence[Mapping[str, str]]) -> dict[str, Tensor]:
        """The rows at these places, [B, L]. Padding stands at the end, where causal attention never looks at it."""
        numbers = [self.course.read(int(place["prompt"])) for place in places]
        rows = [_NOTHING if number == EMPTY else self.course.rows[number] for number in numbers]
        width = max(len(row.ids) for row in rows)
        ids_BL = torch.zeros((len(rows), width), dtype=torch.int64)
        labels_BL = torch.full((len(rows), width), _NOT_LEARNED)
        for index, row in enumerate(rows):
            ids_L, mask_L = torch.tensor(row.ids), torch.tensor(row.mask, dtype=torch.bool)
            ids_BL[index, : len(ids_L)] = ids_L
            labels_BL[index, : len(ids_L)] = ids_L.masked_fill(~mask_L, _NOT_LEARNED)
        position_BL = torch.arange(width).expand(len(rows), width).contiguous()
        return {"input_ids": ids_BL, "labels": labels_BL, "position_ids": position_BL}

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """TRL's, which divides by the learned tokens of the whole update."""
        gathered: Any = self.accelerator.gather((inputs["labels"][:, 1:] != _NOT_LEARNED).sum())
        self.micro_tokens.append(float(gathered.sum()))
        return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)

    # ── optimizer ──

    def create_optimizer(self, *args: Any) -> Any:
        """The plan's optimizer."""
        del args
        if self.optimizer is None:
            self.optimizer = make_optimizer(
                self.model,
                self.fields["optimizer"],
                learning_rate=self.fields["learning_rate"],
                muon_learning_rate=self.fields["muon_learning_rate"],
                weight_decay=self.fields["weight_decay"],
            )
            guard(self.optimizer, self._may_step)
        return self.optimizer

    def _may_step(self, optimizer: Any) -> bool:
        """Always, or it raises NotFinite: a gradient is no number. The weights are those before, the rows are saved."""
        update = self.state.global_step
        if not are_finite([gradient_norm(optimizer)], self.team):
            path = self.job.folder / f"not-finite-update-{update}-rank-{self.team.rank}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            rows = [self.course.rows[number] for number in self.course.updates[update]]
            torch.save([{"ids": list(row.ids), "mask": list(row.mask)} for row in rows], path)
            raise NotFinite(
                f"the gradient of update {update} of stage `{self.job.stage.name}` is not finite; the weights are "
                f"those before it, and its rows are in {path}"
            )
        return True

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The plan's learning rate."""
        del num_training_steps
        if self.lr_scheduler is None:
            schedule = make_schedule(self.fields, self.job.stage.schedule_steps or len(self.course.updates))
            carry_optimizer(self.optimizer, self.job)
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, lambda update: rate_factor(schedule, update))
            self._created_lr_scheduler = True
        return self.lr_scheduler

    # ── between updates ──

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called by Trainer after each update; nothing is printed or sent."""
        del start_time
        noted, tokens = self._metrics["train"], self.micro_tokens
        means = {key: _mean(noted[key], tokens) for key in ("entropy", "mean_token_accuracy")}
        noted.clear()
        self.micro_tokens = []
        if "loss" in logs:
            self.finish_step({**means, **logs})

    def finish_step(self, logged: Mapping[str, float]) -> None:
        """Metrics, probe, and whether to save or stop."""
        done, hooks = self.state.global_step, self.job.hooks
        metrics = self._step_metrics(logged, done - 1)
        if self.team.rank == 0:
            hooks.on_step(StepRecord(self.job.stage.name, done - 1, metrics))
        hooks.probe(done)
        self.rest()
        reasons = [reason for reason in self.team.gather(hooks.should_stop()) if reason is not None]
        ends = bool(reasons) or done >= len(self.course.updates)
        self.control.should_save = ends or self.job.saves_after(done)
        self.control.should_training_stop = ends
        self._started = time.perf_counter()

    def _step_metrics(self, logged: Mapping[str, float], update: int) -> dict[str, float]:
        """Of one update; tokens are those of all processes."""
        rows = [self.course.rows[number] for number in self.course.updates[update]]
        return {
            "loss": logged["loss"],
            "grad_norm": logged["grad_norm"],
            "learning_rate": logged["learning_rate"],
            "entropy": logged["entropy"],
            "accuracy": logged["mean_token_accuracy"],
            "epoch": float(self.course.epoch(update)),
            "tokens/learned": float(sum(sum(row.mask) for row in rows)),
            "tokens/read": float(sum(len(row.ids) for row in rows)),
            "time/step_s": time.perf_counter() - self._started,
        }

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super(SFTTrainer, self)._save_checkpoint(model, trial)  # no model card of TRL's
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.team.rank == 0:
            state = self.save_state_of_stage(folder)
            self.job.hooks.on_checkpoint(folder, state)
        self.accelerator.wait_for_everyone()

    def save_state_of_stage(self, folder: Path) -> JsonMap:
        """Write what a checkpoint of this stage needs besides Trainer's files; called on rank 0."""
        state = {"step": self.state.global_step}
        (folder / "gift_state.json").write_text(json.dumps(state), encoding="utf-8")
        return state


def make_schedule(fields: JsonMap, horizon: int) -> RateSchedule:
    """The learning rate of a supervised stage; `warmup` is a share of the horizon in updates."""
    warmup = round(fields["warmup"] * horizon)
    return RateSchedule(fields["schedule"], warmup, horizon, fields["min_learning_rate"])


def _mean(values: Sequence[float], tokens: Sequence[float]) -> float:
    """Over the tokens of an update, from the means over those of each micro-batch."""
    sums = [value * number for value, number in zip(values, tokens, strict=True)]
    return sum(sums) / max(1.0, sum(tokens))


def _fields(job: StageJob) -> JsonMap:
    assert job.stage.supervised is not None
    return job.stage.supervised

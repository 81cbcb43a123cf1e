# pyright: basic
"""GRPO by TRL: its trainer, our rollouts, and a small subclass that places our advantages.

TRL asks for as many rows as the plan says and optimises them; which rows these are, and what each token of them is
credited with, was decided in `train.step`. What the subclass changes:

- the rows of an update stay in their order, longest first, and each micro-batch is cut to its longest row;
- advantages are those of our rows, of each token; the log-probabilities of the rollout are the old ones where engine
  and trainer compute alike (fp32 in this process), else they are computed again and the difference is corrected;
- the entropy bonus is the mean over the tokens of an update, and the KL term is weighed like the rest of its row;
- the learning rate is a function of the step, and an update without trajectories moves nothing;
- checkpoints are saved between steps only, with everything that the stage adapts.

Dimensions: B rows, T completion tokens.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import json
import logging
import os
import time
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final

import torch
from accelerate.utils import gather_object
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR
from transformers import PrinterCallback, ProgressCallback

os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # the hook was stable over 16 releases; the pin is narrow

from trl.models.utils import prepare_deepspeed, prepare_fsdp
from trl.trainer import utils as trl_utils
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import RepeatSampler, add_fused_lm_head

from gift_dsl.data import slots
from gift_dsl.engines.frozen import frozen_copy, is_adapted
from gift_dsl.errors import GiftError, LimitReached
from gift_dsl.plan import AlgorithmPlan, AllOf, Leaf, Play, StagePlan, leaves
from gift_dsl.play.seats import ModelPlayer, model_player
from gift_dsl.play.voids import TooManyVoids
from gift_dsl.records import StepRecord
from gift_dsl.train.batch import Row, Update, rows_of_rank
from gift_dsl.train.guards import NotFinite, are_finite, gradient_norm, guard, within_memory
from gift_dsl.train.importance import Mismatch, importance_weights, mismatch_sums
from gift_dsl.train.job import StageJob
from gift_dsl.train.league import League, snapshot_rules
from gift_dsl.train.optimizers import carry_optimizer, make_optimizer
from gift_dsl.train.schedule import RateSchedule, rate_factor
from gift_dsl.train.sharding import ShardedCheckpoints, offering_shards, settle, sharding_arguments
from gift_dsl.train.state import TrainState
from gift_dsl.train.statistics import TokenSums, clipped, step_metrics, token_sums, update_metrics
from gift_dsl.train.step import Playing, Step, make_step
from gift_dsl.train.team import Team

_LOG: Final = logging.getLogger(__name__)
_NEW_OBJECTS: Final = 50_000
"""After so many Python looks for garbage while a step is played."""
_LOSSES: Final[Mapping[str, str]] = {"trajectory": "grpo", "token": "dapo", "constant": "dr_grpo"}
_STATE_FILE: Final = "gift_state.json"
_OF_COMPLETIONS: Final = (
    "completion_ids",
    "completion_mask",
    "tool_mask",
    "advantages",
    "old_per_token_logps",
    "ref_per_token_logps",
    "sampling_per_token_logps",
)


def train_grpo(job: StageJob) -> None:
    """Train a stage until its end, or until a hook asks to stop.

    Args:
        job: with games and players.

    Raises:
        TooManyVoids: too many episodes of a step have no result.
        NotFinite: a loss or gradient is no number.
        GiftError: the stage cannot be trained so, the memory does not suffice, or another process failed.
    """
    if (job.plan.model.lora is not None) != is_adapted(job.engine.model):
        raise ValueError("the engine's model has adapters where the plan has none, or the other way round")
    resources = job.plan.runtime.resources
    with asyncio.Runner() as runner:
        playing = Playing(
            plan=job.plan,
            stage=job.stage,
            games=job.games,
            policy=model_player("policy", job.engine),
            league=League(job.players, snapshot_rules(job.plan, set(job.snapshots)), job.engine),
            runner=runner,
            most_episodes=resources.get("rollout_batch_size"),
            lockstep=job.lockstep or has_other_engines(job),
            filler_id=job.tokenizer.eos_token_id or 0,
        )
        if job.rollout is not None:
            policy = model_player("policy", job.rollout)
            playing = dataclasses.replace(playing, policy=policy, lockstep=job.lockstep, is_in_process=False)
        trainer = GiftTrainer(job, playing)
        trainer.rest()
        try:
            with within_memory(job):
                trainer.run()
                trainer.give_weights()  # to whoever measures the stage
        except (LimitReached, TooManyVoids):
            trainer.save_between_steps()
            raise
        finally:
            for close in job.closing:
                runner.run(_awaited(close))


def has_other_engines(job: StageJob) -> bool:
    """Whether other models play, each in a thread of its own: the policy's batches would be up to chance."""
    others = (player for player in job.players.values() if isinstance(player, ModelPlayer))
    return bool(job.snapshots) or any(player.policy is not job.engine for player in others)


def make_config(job: StageJob) -> GRPOConfig:
    """TRL's settings of a stage: one prompt a step, which stands for all its rows."""
    algorithm, batch = job.stage.algorithm, job.stage.batch
    assert algorithm is not None
    assert batch is not None
    resources, model = job.plan.runtime.resources, job.plan.model
    micro: int = resources["micro_batch_size"]
    return GRPOConfig(
        output_dir=str(job.folder),
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch.rows_per_update // (job.processes * micro),
        steps_per_generation=batch.rows // (job.processes * micro),
        num_generations=batch.rows,
        num_iterations=1,  # epochs are rows of the plan
        max_steps=job.stage.until.max_steps * batch.updates,
        max_completion_length=most_policy_tokens(job.stage.play),
        temperature=temperature_of(job.stage),
        learning_rate=algorithm.learning_rate,
        lr_scheduler_type="constant",  # create_scheduler makes ours
        weight_decay=algorithm.weight_decay,
        adam_beta1=algorithm.adam_beta1,
        adam_beta2=algorithm.adam_beta2,
        max_grad_norm=algorithm.max_grad_norm,
        loss_type=_LOSSES[algorithm.loss],
        epsilon=algorithm.clip_low,
        epsilon_high=algorithm.clip_high,
        delta=None if algorithm.dual_clip == "off" else algorithm.dual_clip,
        beta=0.0,  # _compute_loss adds the terms of KL and entropy
        entropy_coef=0.0,
        scale_rewards="none",
        bf16=model.compute == "bf16" and model.weights != "bf16",
        disable_dropout=model.lora is None or model.lora.dropout == 0,  # what samples has none
        **sharding_arguments(job.plan, frozenset(field.name for field in dataclasses.fields(GRPOConfig))),
        use_cpu=job.engine.model.device.type == "cpu",
        seed=job.plan.seed,
        data_seed=job.plan.seed,
        shuffle_dataset=False,
        report_to=[],
        logging_steps=1,
        logging_nan_inf_filter=False,  # it would log a loss that is no number as the mean of those before
        save_strategy="no",  # _finish_step asks for checkpoints
        disable_tqdm=True,
        log_level="error",
        ddp_find_unused_parameters=False,
        ddp_timeout=6 * 3600,  # the other processes wait for slow opponents
    )


def temperature_of(stage: StagePlan) -> float:
    """The one sampling temperature of a stage.

    Raises:
        GiftError: its parts have several.
    """
    found = sorted({leaf.rollout.temperature for leaf in leaves(stage.play)})
    if len(found) > 1:
        raise GiftError(
            f"stage `{stage.name}` samples at temperatures {found}: the update needs the log-probabilities of one "
            "distribution; use one temperature in a stage"
        )
    return found[0]


def most_policy_tokens(play: Play) -> int:
    """Ids that the policy can sample in one trajectory at most: what Dr. GRPO's loss divides by."""
    if isinstance(play, Leaf):
        return play.max_turns * play.max_tokens_per_turn
    tokens = [most_policy_tokens(part) for part in play.parts]
    return sum(tokens) if isinstance(play, AllOf) else max(tokens)


class _Over(Exception):  # noqa: N818 - the loop of Trainer is left, nothing went wrong
    pass


class GiftTrainer(ShardedCheckpoints, GRPOTrainer):
    """TRL's trainer over the steps of a stage.

    Attributes:
        scores_sampled: positions whose log-probabilities nobody reads do not go through the head: prompts (off a GPU)
            and what was given between turns. Saves a seventh of an update with the 126 ids of the quickstart's model
            and half with 4,096 (docs/performance.md); `benchmarks/update.py` measures the head without it, too.
    """

    scores_sampled = True
    _is_resumed = False
    _beside: Future[Any] | None = None
    args: Any
    model: Any
    optimizer: Any
    lr_scheduler: Any
    max_completion_length: Any

    def __init__(self, job: StageJob, playing: Playing) -> None:
        self.job, self.playing = job, playing
        self.algorithm: AlgorithmPlan = playing.algorithm
        self.batch_plan = playing.batch
        self.train_state = TrainState()
        self.current: Step | None = None
        self._rows: Sequence[Row] = ()
        self._row_tokens: Sequence[int] = ()
        self._scored: tuple[Tensor, Tensor] | None = None
        self._sampled_BT = torch.zeros(0)
        self._played: dict[str, list[Any]] = {}
        self._mismatch = torch.zeros(4, dtype=torch.float64)
        self._sums = torch.zeros(len(TokenSums._fields), dtype=torch.float64)
        self._losses: list[Tensor] = []
        self._logs: Any = None
        self._logged: list[dict[str, float]] = []
        self._started = self._updating = time.perf_counter()
        config = make_config(job)
        with offering_shards(job.plan):
            super().__init__(
                model=job.model,
                reward_funcs=_no_reward,
                args=config,
                train_dataset=slots(job.stage.until.max_steps),
                processing_class=job.tokenizer,
                rollout_func=_rollout,
            )
        settle(self.accelerator, job.plan)
        if self.algorithm.kl_coef and not is_adapted(self.model):
            self.ref_model = self._make_reference()
        self.team = Team(job.rank, job.processes, lambda value: gather_object([value]))
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        if job.rollout is not None:
            job.rollout.open(self.model, self.accelerator, job.tokenizer)
        if job.resume_from is not None:
            self.train_state = read_state(job.resume_from)
            playing.league.restore(self.train_state, job.folder)

    @property
    def steps_done(self) -> int:
        """Steps of the stage whose updates are all made."""
        return self.state.global_step // self.batch_plan.updates

    def run(self) -> None:
        """From the start or from a checkpoint to the end."""
        resume_from = self.job.resume_from
        self._is_resumed = resume_from is not None
        with suppress(_Over):
            self.train(resume_from_checkpoint=str(resume_from) if resume_from else None)
        self._make_up()  # where the checkpoint is of the last step, so that nothing was played

    # ── rows ──

    def get_train_dataloader(self) -> Any:
        """The number of the step with each micro-batch; TRL's gives it as often as the step has rows, every time."""
        steps: Any = self.train_dataset
        return self._get_dataloader(
            dataset=steps,
            description="Training",
            batch_size=1,
            sampler_fn=self._steps_of_micro_batches,
            is_training=True,
        )

    def _steps_of_micro_batches(self, dataset: Any) -> RepeatSampler:
        """One for each process, as often as a process has micro-batches."""
        return RepeatSampler(dataset, self.job.processes, repeat_count=self.args.steps_per_generation, shuffle=False)

    def play(self, number: int) -> dict[str, list[Any]]:
        """Play one step; the rows of this process as TRL wants them.

        Raises:
            _Over: the session that wrote the checkpoint had come to the end of the stage.
        """
        if self._make_up() and self._is_over():
            raise _Over
        self.give_weights()
        with _seldom_collecting():
            started = time.perf_counter()
            self.current = step = make_step(self.playing, self.train_state, number, self.team)
            self.rest()
            _LOG.debug("step %d played in %.1f s", number, time.perf_counter() - started)
            started = time.perf_counter()
            self._beside = self.job.hooks.on_groups(number, step.played)
            step.clock.recording = time.perf_counter() - started
        self._rows = [row for update in step.updates for row in rows_of_rank(update, self.team.rank, self.team.size)]
        self._row_tokens = [update.num_tokens for update in step.updates for _ in self._own(update)]
        return {
            "prompt_ids": [list(row.prompt_ids) for row in self._rows],
            "completion_ids": [list(row.completion_ids) for row in self._rows],
            "logprobs": [list(row.logprobs) for row in self._rows],
            "env_mask": [list(row.mask) for row in self._rows],
        }

    def _make_up(self) -> bool:
        """See to what the session that wrote a checkpoint left undone; whether it was loaded since."""
        was_loaded, self._is_resumed = self._is_resumed, False
        if was_loaded:
            self.give_weights()
            self.job.hooks.on_resume(self.steps_done)
        return was_loaded

    def give_weights(self) -> None:
        """Let an engine that has weights of its own play with the present ones."""
        if self.job.rollout is not None:
            self.job.rollout.sync_weights(self.state.global_step)
        elif self.job.spread is not None:
            self.job.spread.give()

    def rest(self) -> None:
        """Let an engine that has weights of its own give its memory to the update."""
        if self.job.rollout is not None:
            self.job.rollout.sleep()
        if self.job.spread is not None:
            self.job.spread.rest()

    def _own(self, update: Update) -> Sequence[Row]:
        return rows_of_rank(update, self.team.rank, self.team.size)

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        self._played = self.play(int(inputs[0]["prompt"]))
        self._updating = time.perf_counter()
        with self._as_if_aligned(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="`(is_)?gradient_checkpointing", category=FutureWarning
            )  # TRL's own
            batch = super()._generate_and_score_completions(inputs * len(self._rows))
        width, device = batch["completion_ids"].shape[1], batch["completion_ids"].device
        padded = [[*row.advantages, *[0.0] * (width - len(row.advantages))] for row in self._rows]
        batch["advantages"] = torch.tensor(padded, dtype=torch.float32, device=device)
        batch["row_weight"] = torch.tensor([row.weight for row in self._rows], device=device)
        batch["update_tokens"] = torch.tensor(self._row_tokens, dtype=torch.float32, device=device)
        return batch

    @contextmanager
    def _as_if_aligned(self) -> Iterator[None]:
        """Keeps TRL from computing old log-probabilities, which we have or compute on shorter rows."""
        steps, self.args.gradient_accumulation_steps = (
            self.args.gradient_accumulation_steps,
            self.args.steps_per_generation * self.num_iterations,
        )
        try:
            yield
        finally:
            self.args.gradient_accumulation_steps = steps

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        """As TRL does it, but in order, and each micro-batch cut to its longest row."""
        place = self._step % self.args.steps_per_generation
        if place == 0 or self._buffered_inputs is None:
            whole = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = [_trimmed(one) for one in _split(whole, self.args.steps_per_generation)]
            for micro in self._buffered_inputs:
                self._add_old_logps(micro)
                self._add_reference_logps(micro)
        return self._buffered_inputs[place]

    def _add_old_logps(self, micro: dict[str, Any]) -> None:
        """The log-probabilities of the weights that sampled, by this trainer's computation or the engine's own."""
        engine_logp_BT = micro.pop("sampling_per_token_logps")
        if self.job.plan.model.compute == "fp32" and self.playing.is_in_process:
            micro["old_per_token_logps"] = engine_logp_BT
            return
        own_BT = self._logps(self.model, micro)
        mask_BT, cap = micro["completion_mask"] * micro["tool_mask"], self.algorithm.importance_cap
        micro["old_per_token_logps"] = own_BT
        micro["advantages"] = micro["advantages"] * importance_weights(own_BT, engine_logp_BT, mask_BT, cap)
        self._mismatch += mismatch_sums(own_BT, engine_logp_BT, mask_BT, cap).cpu()

    def _add_reference_logps(self, micro: dict[str, Any]) -> None:
        """Those of the weights that the stage started from, where a KL term asks for them."""
        if self.algorithm.kl_coef:
            model: Any = self.accelerator.unwrap_model(self.model)
            with model.disable_adapter() if self.ref_model is None else nullcontext():
                micro["ref_per_token_logps"] = self._logps(self.ref_model or self.model, micro)

    @torch.no_grad()
    def _logps(self, model: Any, micro: dict[str, Any]) -> Tensor:
        """Of what was sampled, without the dropout of adapters: what sampled had none."""
        ids_BL = torch.cat([micro["prompt_ids"], micro["completion_ids"]], dim=1)
        mask_BL = torch.cat([micro["prompt_mask"], micro["completion_mask"]], dim=1)
        self._sampled_BT = micro["completion_mask"] * micro["tool_mask"]
        was_training = model.training
        model.eval()
        try:
            return self._get_per_token_logps_and_entropies(model, ids_BL, mask_BL, micro["completion_ids"].shape[1])[0]
        finally:
            model.train(was_training)

    def _make_reference(self) -> Any:
        """The weights that the stage starts from. TRL would load them anew, and not by their revision."""
        model = frozen_copy(self.job.engine.model)
        add_fused_lm_head(model, temperature=self.temperature)
        if self.is_deepspeed_enabled:
            return prepare_deepspeed(model, self.accelerator)
        if self.is_fsdp_enabled:
            return prepare_fsdp(model, self.accelerator)
        return self.accelerator.prepare_model(model, evaluation_mode=True)

    # ── loss ──

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Any, attention_mask: Any, logits_to_keep: Any, **kwargs: Any
    ) -> Any:
        """TRL's, but of the sampled ids alone, and 0 at all others."""
        if not self.scores_sampled or kwargs.get("compute_aux_loss"):
            found = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, **kwargs
            )
        else:
            ids_BT = input_ids[:, -logits_to_keep:]
            labels_BL = torch.full_like(input_ids, -100)
            labels_BL[:, -logits_to_keep:] = ids_BT.masked_fill(self._sampled_BT == 0, -100)
            with self.accelerator.autocast(), _scoring_labels_only():
                out = model(input_ids=input_ids, attention_mask=attention_mask, labels=labels_BL, fused_lm_head=True)
            entropy_BT: Any = out.entropy[:, -logits_to_keep:] if kwargs.get("compute_entropy") else None
            found = out.log_probs[:, -logits_to_keep:], entropy_BT, None
        if kwargs.get("compute_entropy"):
            self._scored = found[0], found[1]
        return found

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._sampled_BT = inputs["completion_mask"] * inputs["tool_mask"]
        loss = super()._compute_loss(model, inputs)
        assert self._scored is not None
        logp_BT, entropy_BT = self._scored
        self._scored = None
        mask_BT = inputs["completion_mask"] * inputs["tool_mask"]
        if self.algorithm.entropy_coef:
            tokens = inputs["update_tokens"][0].clamp(min=1.0) / self.team.size
            loss = loss - self.algorithm.entropy_coef * (entropy_BT * mask_BT).sum() / tokens
        kl_BT = torch.zeros_like(logp_BT)
        if self.algorithm.kl_coef:
            difference_BT = inputs["ref_per_token_logps"] - logp_BT
            kl_BT = torch.exp(difference_BT) - difference_BT - 1
            weighed_BT = kl_BT * inputs["row_weight"][:, None]
            loss = loss + self.algorithm.kl_coef * self._aggregate(weighed_BT, mask_BT, inputs)
        ratio_BT = (logp_BT - inputs["old_per_token_logps"]).exp()
        sums = token_sums(mask_BT, entropy_BT, kl_BT, *clipped(ratio_BT, inputs["advantages"], self.algorithm))
        self._sums = self._sums.to(sums.device) + sums
        self._losses.append(loss.detach())
        return loss

    def _aggregate(self, terms_BT: Tensor, mask_BT: Tensor, inputs: dict[str, Any]) -> Tensor:
        """TRL's mean over rows, or over tokens, of the loss's type, as part of an update."""
        micro_batches = self.current_gradient_accumulation_steps
        sums_B = (terms_BT * mask_BT).sum(-1)
        match self.algorithm.loss:
            case "trajectory":
                return (sums_B / mask_BT.sum(-1).clamp(min=1.0)).mean() / micro_batches
            case "constant":
                return sums_B.mean() / self.max_completion_length / micro_batches
            case _:
                share = micro_batches / self.args.steps_per_generation
                return sums_B.sum() / (inputs["num_items_in_batch"].clamp(min=1.0) / self.team.size * share)

    # ── optimizer ──

    def create_optimizer(self, *args: Any) -> Any:
        """The plan's optimizer; asked before each of its steps."""
        del args
        if self.optimizer is None:
            algorithm = self.algorithm
            optimizer = make_optimizer(
                self.model,
                algorithm.optimizer,
                learning_rate=algorithm.learning_rate,
                betas=(algorithm.adam_beta1, algorithm.adam_beta2),
                weight_decay=algorithm.weight_decay,
            )
            guard(optimizer, self._may_step)
            self.optimizer = optimizer
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The plan's learning rate, the same for all updates of a step."""
        del num_training_steps
        if self.lr_scheduler is None:
            algorithm, horizon = self.algorithm, self.job.stage.schedule_steps
            schedule = RateSchedule(algorithm.schedule, algorithm.warmup_steps, horizon, algorithm.min_learning_rate)
            updates = self.batch_plan.updates
            carry_optimizer(self.optimizer, self.job)
            self.lr_scheduler = LambdaLR(
                optimizer or self.optimizer, lambda update: rate_factor(schedule, update // updates)
            )
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _may_step(self, optimizer: Any) -> bool:
        """False for an update without trajectories. Asked several times an update where DeepSpeed steps piece by piece.

        Raises:
            NotFinite: a gradient is no number.
        """
        assert self.current is not None
        number = self.state.global_step % self.batch_plan.updates
        losses, self._losses = self._losses, []
        if not self.current.updates[number].num_trajectories:
            return False
        if not are_finite((*losses, gradient_norm(optimizer)), self.team):
            path = self.job.folder / f"not-finite-step-{self.current.number}-rank-{self.team.rank}.pt"
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.save(self._buffered_inputs, path)
            raise NotFinite(
                f"loss or gradient of update {number} of step {self.current.number} in stage `{self.job.stage.name}` "
                f"is not finite; the weights are those before it, and its rows are in {path}"
            )
        return True

    # ── between steps ──

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Called by Trainer after each update; nothing is printed or sent."""
        del start_time
        if "loss" not in logs:
            return
        assert self.current is not None
        self._metrics["train"].clear()  # TRL's are means over micro-batches, and fillers would count
        if self.current.updates[(self.state.global_step - 1) % self.batch_plan.updates].num_trajectories:
            self._logged.append(logs)
        if self.state.global_step % self.batch_plan.updates == 0:
            self._finish_step()

    def _finish_step(self) -> None:
        """Metrics, probe, and whether to save or stop."""
        step, hooks, stage = self.current, self.job.hooks, self.job.stage
        assert step is not None
        self.train_state = step.state
        done = self.steps_done
        ended = time.perf_counter()
        if self._beside is not None:
            self._beside.result()
        step.clock.recording += time.perf_counter() - ended
        sums, mismatch = (torch.stack(each).sum(0) for each in zip(*self._gathered_sums(), strict=True))
        metrics = {
            **step_metrics(step, self.algorithm),
            **update_metrics(self._logged, TokenSums(*sums.tolist()), Mismatch.from_sums(mismatch)),
            "time/update_s": ended - self._updating,
            "time/step_s": time.perf_counter() - self._started,
        }
        self._logged = []
        self._sums, self._mismatch = torch.zeros_like(self._sums), torch.zeros_like(self._mismatch)
        if self.team.rank == 0:
            hooks.on_step(StepRecord(stage.name, step.number, metrics))
        if self.job.spread is not None and self.job.snapshots:
            self.job.spread.give()
        self.train_state = self.playing.league.after_step(
            self.train_state, done, self.job.folder, saves=self.team.rank == 0
        )
        self.give_weights()
        hooks.probe(done)
        reasons = [reason for reason in self.team.gather(hooks.should_stop()) if reason is not None]
        ends = self._is_over()
        self.control.should_save = bool(reasons) or ends or self.job.saves_after(done)
        self.control.should_training_stop = bool(reasons) or ends
        self._started = time.perf_counter()

    def _is_over(self) -> bool:
        """Whether what has been done is all that the stage was to do. Trainer itself knows the number of steps only."""
        until, state = self.job.stage.until, self.train_state
        return (
            self.steps_done >= until.max_steps
            or (until.subgame_episodes is not None and state.subgame_episodes >= until.subgame_episodes)
            or (until.policy_tokens is not None and state.policy_tokens >= until.policy_tokens)
            or self.job.hooks.is_done()
        )

    def _gathered_sums(self) -> list[tuple[Tensor, Tensor]]:
        return self.team.gather((self._sums.cpu(), self._mismatch))

    def save_between_steps(self) -> None:
        """Save what the last whole step left, when the next one could not be played to its end."""
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.steps_done and not folder.exists():
            self._save_checkpoint(self.model, None)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        super(GRPOTrainer, self)._save_checkpoint(model, trial)  # no model card of TRL's
        folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
        if self.team.rank == 0:
            state = {"step": self.steps_done, "train_state": self.train_state.to_json()}
            (folder / _STATE_FILE).write_text(json.dumps(state), encoding="utf-8")
            self.job.hooks.on_checkpoint(folder, state)
            kept = folder.parent.glob(f"checkpoint-*/{_STATE_FILE}")
            self.playing.league.prune(folder.parent, [read_state(path.parent) for path in kept])
        self.accelerator.wait_for_everyone()


def read_state(checkpoint: Path) -> TrainState:
    """What a checkpoint of a stage remembers."""
    state = json.loads((checkpoint / _STATE_FILE).read_text(encoding="utf-8"))
    return TrainState.from_json(state["train_state"])


async def _awaited(close: Callable[[], Awaitable[None]]) -> None:
    await close()


def _rollout(prompts: Sequence[str], trainer: Any) -> dict[str, list[Any]]:
    """The rows that were played when TRL asked for its batch."""
    del prompts
    return trainer._played


def _no_reward(completions: Sequence[Any], **_: Any) -> list[float | None]:
    """Advantages are placed by `GiftTrainer`."""
    return [0.0] * len(completions)


@contextmanager
def _scoring_labels_only() -> Iterator[None]:
    """Off a GPU TRL takes every position through the head, prompts and given ids too, to throw most of it away."""
    name = "_use_triton"  # asked there for nothing else (tests/train/test_grpo_head.py)
    before = getattr(trl_utils, name)
    setattr(trl_utils, name, lambda device: True)
    try:
        yield
    finally:
        setattr(trl_utils, name, before)


@contextmanager
def _seldom_collecting() -> Iterator[None]:
    """Look for garbage after many new objects, not 700: what is played is records, nearly all of which stay.

    Not while weights are updated: there a cycle may hold a graph of tensors.
    """
    before = gc.get_threshold()
    gc.set_threshold(_NEW_OBJECTS, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _split(batch: Mapping[str, Any], num_chunks: int) -> list[dict[str, Any]]:
    """The rows of each micro-batch; what is no row is in all of them."""
    size = batch["completion_ids"].shape[0] // num_chunks
    return [
        {
            key: value if value is None or value.ndim == 0 else value[size * index : size * (index + 1)]
            for key, value in batch.items()
        }
        for index in range(num_chunks)
    ]


def _trimmed(micro: dict[str, Any]) -> dict[str, Any]:
    """A micro-batch without columns that are padding in all of its rows."""
    prompt = int(micro["prompt_mask"].sum(-1).max())
    completion = int(micro["completion_mask"].sum(-1).max())
    cut = {key: micro[key][:, :completion] for key in _OF_COMPLETIONS if key in micro}
    return {
        **micro,
        **cut,
        "prompt_ids": micro["prompt_ids"][:, -prompt:],
        "prompt_mask": micro["prompt_mask"][:, -prompt:],
    }

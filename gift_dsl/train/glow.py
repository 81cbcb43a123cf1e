# pyright: basic
"""GLOW (arXiv:2601.04992) by a subclass of the supervised trainer: samples whose loss still falls weigh less.

A sample is a row: an episode, or one conversation of it where contexts are fresh. The loss of an update is the mean
over its rows of weight times the row's mean loss. Weights are those of whole updates, whatever is computed at once,
so where a weight depends on other samples the update's losses are computed before its first gradient.

Dimensions: B rows of a micro-batch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from gift_dsl.plan import JsonMap
from gift_dsl.train.epochs import EMPTY, Course
from gift_dsl.train.glow_weights import GlowHistory, GlowRule, glow_weights, sample_losses
from gift_dsl.train.guards import within_memory
from gift_dsl.train.job import StageJob
from gift_dsl.train.sft import SupervisedTrainer, make_stage_course

_HISTORY_FILE: Final = "glow_state.pt"


def train_glow(job: StageJob) -> None:
    """Train a stage until its end, or until a hook asks to stop. Raises what `train_sft` raises."""
    with within_memory(job):
        GlowTrainer(job, make_stage_course(job)).run()


def make_rule(fields: JsonMap) -> GlowRule:
    """How a change of loss becomes a weight, from the fields of a stage."""
    names = ("alpha", "beta", "offset", "weight_min", "weight_max", "normalise", "missing")
    return GlowRule(**{name: fields[name] for name in names})


class GlowTrainer(SupervisedTrainer):
    """Weighs rows by how their loss changed since an earlier epoch; what it remembers is in the checkpoint."""

    loss_is_scaled_for_ga = True  # each micro-batch's loss is its share of the update's

    def __init__(self, job: StageJob, course: Course) -> None:
        super().__init__(job, course)
        self.rule = make_rule(self.fields)
        self.history = GlowHistory(len(course.rows))
        if job.resume_from is not None:
            self.history = GlowHistory.from_state(torch.load(job.resume_from / _HISTORY_FILE, weights_only=True))
        self._seen: list[tuple[Tensor, Tensor]] = []
        self._settled: dict[int, Tensor] = {}

    def collate(self, places: Sequence[Mapping[str, str]]) -> dict[str, Tensor]:
        """The rows at these places and their numbers."""
        numbers = [self.course.read(int(place["prompt"])) for place in places]
        return {**super().collate(places), "row_B": torch.tensor(numbers)}

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> Any:
        """The micro-batches of an update. Where a weight depends on other rows, all weights are settled here."""
        samples, num_items = super().get_batch_samples(epoch_iterator, num_batches, device)
        epoch = self.course.epoch(self.state.global_step)
        self._seen, self._settled = [], {}
        if samples and epoch and (self.rule.normalise or self.rule.missing == "batch_mean"):
            with torch.no_grad(), self.compute_loss_context_manager():
                losses = [self._row_losses(self.model, self._prepare_inputs(dict(sample)))[:2] for sample in samples]
            rows_B, losses_B = self._of_all_processes(losses)
            self._settled = dict(zip(rows_B.tolist(), self._weights(rows_B, losses_B, epoch), strict=True))
        return samples, num_items

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """This process's share of the update's mean of weight times loss; gradients of processes are averaged."""
        del return_outputs, num_items_in_batch
        rows_B, losses_B, whole = self._row_losses(model, inputs)
        self._seen.append((rows_B, losses_B.detach()))
        epoch = self.course.epoch(self.state.global_step)
        if self._settled:
            weights_B = torch.stack([self._settled[row] for row in rows_B.tolist()] or [torch.zeros(())])
        else:
            weights_B = self._weights(rows_B, losses_B.detach().cpu(), epoch)
        weighed = (weights_B[: len(rows_B)].to(losses_B) * losses_B).sum()
        num_rows = len(self.course.updates[self.state.global_step])
        return weighed * self.team.size / num_rows + 0.0 * whole

    def _weights(self, rows_B: Tensor, losses_B: Tensor, epoch: int) -> Tensor:
        return glow_weights(losses_B, self.history.previous(rows_B, epoch), self.rule, epoch=epoch)

    def _row_losses(self, model: Any, inputs: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Numbers and mean losses of the rows, places without a row left out; and a sum that every weight is part of.

        All processes must use all weights in each backward pass, also where one of them has no row.
        """
        numbers_B = inputs.pop("row_B").cpu()
        outputs = model(**inputs, use_cache=False, fused_lm_head=True)
        losses_B = sample_losses(outputs.log_probs, outputs.label_mask)
        self._note(outputs)
        is_row_B = numbers_B != EMPTY
        return numbers_B[is_row_B], losses_B[is_row_B.to(losses_B.device)], outputs.log_probs.sum()

    def _note(self, outputs: Any) -> None:
        """The same metrics as TRL keeps for supervised fine-tuning."""
        if not torch.is_grad_enabled():
            return
        sums = torch.stack([outputs.label_mask.sum(), outputs.entropy.detach().sum(), outputs.is_top1.sum()]).float()
        gathered: Any = self.accelerator.gather(sums)
        num_tokens, entropy, num_right = gathered.view(-1, 3).sum(0).tolist()
        self.micro_tokens.append(num_tokens)
        self._metrics["train"]["entropy"].append(entropy / max(1.0, num_tokens))
        self._metrics["train"]["mean_token_accuracy"].append(num_right / max(1.0, num_tokens))

    def _of_all_processes(self, seen: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
        """Numbers and losses of the rows of an update."""
        mine = [(rows_B.cpu(), losses_B.double().cpu()) for rows_B, losses_B in seen]
        found = [pair for theirs in self.team.gather(mine) for pair in theirs]
        return torch.cat([rows_B for rows_B, _ in found]), torch.cat([losses_B for _, losses_B in found])

    def finish_step(self, logged: Mapping[str, float]) -> None:
        """Remember the update's losses, then go on as every supervised stage does."""
        rows_B, losses_B = self._of_all_processes(self._seen)
        self.history.record(rows_B, losses_B, self.course.epoch(self.state.global_step - 1))
        super().finish_step(logged)

    def save_state_of_stage(self, folder: Path) -> JsonMap:
        """The history, too."""
        torch.save(self.history.state(), folder / _HISTORY_FILE)
        return super().save_state_of_stage(folder)

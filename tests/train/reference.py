"""What the trainer must compute, written from the formulas and nothing else: slow loops over trajectories and tokens.

It shares no code with `gift_dsl.train`. A batch is what was kept; every trajectory is looked at as a whole, so there
are no rows, no fillers and no padding here. TRL's aggregations, written from its formulas too, stand at the end: they
are what rows are fed to, so that a test can ask whether the two losses are one.
"""

from __future__ import annotations

import math
import statistics

import torch

from tests.train.made import VOCABULARY

CONSTANT_LENGTH = 16
"""What Dr. GRPO divides by."""


class Bigram:
    """The smallest policy: a token depends on the one before it."""

    def __init__(self, seed=0):
        generator = torch.Generator().manual_seed(seed)
        self.logits = torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64).requires_grad_()

    def logprob(self, before, token):
        return torch.log_softmax(self.logits[before], dim=0)[token]

    def logprobs(self, prompt, completion):
        ids = [*prompt, *completion]
        return torch.stack([self.logprob(ids[place - 1], ids[place]) for place in range(len(prompt), len(ids))])


def token_loss(ratio, advantage, rule):
    """GIFT, appendix B.1, eqs. 3 to 5, with clip-higher (DAPO) and dual clip (arXiv 1912.09729)."""
    clipped = min(max(ratio, 1 - rule.clip_low), 1 + rule.clip_high)
    loss = -min(ratio * advantage, clipped * advantage)
    if rule.dual_clip != "off" and advantage < 0:
        loss = min(loss, -rule.dual_clip * advantage)
    return loss


def advantages_of(returns, scale, batch):
    """GRPO's of one group; None for a void member. `batch`: all returns of the batch."""
    alive = [value for value in returns if value is not None]
    spread = statistics.stdev({"group": alive, "batch": batch}.get(scale, [0, 0]))
    divisor = 1.0 if scale == "none" else spread + 1e-6
    mean = math.fsum(alive) / len(alive)
    return [None if value is None else (value - mean) / divisor for value in returns]


def trajectory_losses(policy, trajectory, advantages, rule):
    """The loss of every sampled token; `advantages` of each sequence's tokens."""
    losses = []
    for sequence, own in zip(trajectory.sequences, advantages, strict=True):
        ids = [*sequence.prompt_ids, *sequence.completion_ids]
        for place, sampled in enumerate(sequence.mask):
            if sampled:
                here = len(sequence.prompt_ids) + place
                ratio = torch.exp(policy.logprob(ids[here - 1], ids[here]) - sequence.logprobs[place])
                losses.append(token_loss(ratio, own[place], rule))
    return losses


def aggregate(losses, rule):
    """From the token losses of every trajectory to one number (paper, DAPO, Dr. GRPO)."""
    if rule.loss == "trajectory":
        return sum(sum(own) / len(own) for own in losses) / len(losses)
    if rule.loss == "token":
        return sum(sum(own) for own in losses) / sum(len(own) for own in losses)
    return sum(sum(own) for own in losses) / (len(losses) * CONSTANT_LENGTH)


def reference_losses(policy, pairs, rule, mini):
    """The loss of each mini-batch of (trajectory, advantages), one after the other; each is asked for as it comes."""
    trained = [
        (trajectory, advantages)
        for trajectory, advantages in pairs
        if any(any(sequence.mask) for sequence in trajectory.sequences)
        and not (rule.overlong == "mask" and any(part.truncated for part in trajectory.parts))
    ]
    for _ in range(rule.epochs):
        for start in range(0, len(trained), mini):
            window = trained[start : start + mini]
            losses = [trajectory_losses(policy, trajectory, advantages, rule) for trajectory, advantages in window]
            yield aggregate(losses, rule)


def as_trl_would(policy, updates, rule, *, processes=1, micro_batch=None):
    """The loss of each update as TRL sums it up: over micro-batches of padded rows, on every process.

    An update of fillers alone counts in what TRL calls a mean update, but nobody steps for it.
    """
    tokens_of_step = sum(sum(row.mask) for update in updates for row in update.rows)
    for update in updates:
        if not any(row.episode for row in update.rows):
            continue
        micro = micro_batch or len(update.rows) // processes
        parts = []
        for rank in range(processes):
            rows = update.rows[rank::processes]
            batches = [rows[start : start + micro] for start in range(0, len(rows), micro)]
            normaliser = tokens_of_step / len(updates) / processes
            parts += [_micro_batch_loss(policy, rows, rule, normaliser, len(batches)) / processes for rows in batches]
        yield sum(parts)


def _micro_batch_loss(policy, rows, rule, normaliser, num_batches):
    width = max(len(row.completion_ids) for row in rows)

    def padded(values):
        return torch.stack([torch.cat([own, torch.zeros(width - len(own), dtype=torch.float64)]) for own in values])

    def table(name):
        return padded([torch.tensor(getattr(row, name), dtype=torch.float64) for row in rows])

    mask, advantages = table("mask"), table("advantages")
    ratio = torch.exp(padded([policy.logprobs(row.prompt_ids, row.completion_ids) for row in rows]) - table("logprobs"))
    clipped = ratio.clamp(1 - rule.clip_low, 1 + rule.clip_high)
    bounded = ratio if rule.dual_clip == "off" else ratio.clamp(max=rule.dual_clip)
    losses = -torch.min(bounded * advantages, clipped * advantages) * mask
    if rule.loss == "trajectory":
        return (losses.sum(-1) / mask.sum(-1).clamp(min=1)).mean() / num_batches
    if rule.loss == "token":
        return losses.sum() / max(normaliser, 1.0)
    return losses.sum() / (len(rows) * CONSTANT_LENGTH) / num_batches

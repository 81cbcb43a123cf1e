# pyright: basic
"""What stands between a broken update and the weights: numbers that are not finite, memory that does not suffice."""

from __future__ import annotations

import types
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from gift_dsl.errors import GiftError
from gift_dsl.train.job import StageJob
from gift_dsl.train.sharding import whole
from gift_dsl.train.team import Team


class NotFinite(GiftError):  # noqa: N818 - what happened, as for TooManyVoids
    """A loss or gradient is no number. The weights are those before the update, and its rows were saved."""


def guard(optimizer: Any, may_step: Callable[[Any], bool]) -> None:
    """Ask before each step of an optimizer; several times an update where DeepSpeed steps piece by piece."""
    step = optimizer.step

    def guarded(self: Any, closure: Any = None) -> Any:
        return step(closure) if may_step(self) else None

    optimizer.step = types.MethodType(guarded, optimizer)


def gradient_norm(optimizer: Any) -> Tensor:
    """Over all weights of an optimizer, also where processes share them; they call it together."""
    grads = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
    return whole(torch.nn.utils.get_total_norm(grads))


def are_finite(values: Iterable[Tensor], team: Team) -> bool:
    """Whether numbers are finite on every process; asked of all, because none may go on alone where shards are."""
    return all(team.gather(all(bool(one.isfinite()) for one in values)))


@contextmanager
def within_memory(job: StageJob) -> Generator[None]:
    """A block of updates that says what to lower where one does not fit."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise too_large(job) from error


def too_large(job: StageJob) -> GiftError:
    """What to say when an update does not fit into memory."""
    ways = ["lower `resources.micro_batch_size`"]
    if not job.plan.model.gradient_checkpointing:
        ways.append("set `model.gradient_checkpointing: true`")
    if job.spread is None:
        ways.append("share the weights between processes (`resources.sharding: fsdp`)")
    said = f"{', '.join(ways[:-1])} or {ways[-1]}" if ways[1:] else ways[0]
    return GiftError(f"out of memory while stage `{job.stage.name}` was updated: {said}")

# pyright: basic
"""The rollout engine in this process: a transformers model as a `TokenPolicy`.

Made for models and batches for which starting a server costs more than it brings: tests, laptops, small models, one
GPU. Keys and values of an episode are kept from turn to turn; the members of a group share the encoding of their
first prompt; rows that have ended are left behind.

What is sampled is a function of weights, context and the request's own stream, and of floating-point rounding, which
may depend on what else is in the batch: a uniform that falls within that rounding of a border between two ids takes
the other one.
"""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from gift_dsl.engines.cache import capacity_for
from gift_dsl.engines.forward import Compute, Forward, Ids, check_model
from gift_dsl.engines.frozen import Visit
from gift_dsl.engines.generation import generate
from gift_dsl.engines.memory import Memory
from gift_dsl.engines.scoring import score
from gift_dsl.errors import GiftError
from gift_dsl.seat import Codec, Completion, Request

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What bounds the memory of generation.

    Attributes:
        prefill_tokens: most ids that one forward pass encodes.
        rows: most requests that are generated at once; more are answered one batch after the other.
        batch_bytes: most keys and values of one batch, unless a single row has more. None: a quarter of the memory of
            the GPU that it computes on; no limit on a CPU.
        kept_bytes: most memory of what is kept between turns; what was not used for longest is encoded again.
    """

    prefill_tokens: int = 8192
    rows: int = 256
    batch_bytes: int | None = None
    kept_bytes: int = 8 << 30


class _Stopped(Exception):  # noqa: N818 - nobody waits for the answer any more
    pass


class TransformersEngine:
    """A model in this process. Generation runs in a thread of its own, one call after the other.

    Sampling is that of the request's temperature and nothing else: what the checkpoint's generation_config wants
    (top-p, penalties) is not read. The model may be trained between calls; what was kept is dropped when its weights
    have changed.

    Args:
        model: a transformers causal language model, on its device.
        codec: of its tokenizer.
        compute: bf16 is autocast.
        limits: of memory.
        visits: where it computes, if it waits on the CPU between the times that everything is forgotten; its weights
            must not change then. None: where it is.

    Raises:
        MachineError: the model keeps more than keys and values of each position.
    """

    def __init__(
        self,
        model: Any,
        codec: Codec,
        *,
        compute: Compute = "fp32",
        limits: EngineLimits | None = None,
        visits: torch.device | None = None,
    ) -> None:
        self._codec, self._limits = codec, limits or EngineLimits()
        self._visit = None if visits is None else Visit(model, visits)
        self._forward = Forward(model, compute, self._limits.prefill_tokens)
        self._memory = Memory()
        self._weights: object = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gift-generate")

    def sibling(self, model: Any, *, visits: torch.device | None = None) -> TransformersEngine:
        """An engine of another model with the same tokenizer, that computes alike."""
        compute: Compute = "bf16" if self._forward.is_autocast else "fp32"
        return TransformersEngine(model, self._codec, compute=compute, limits=self._limits, visits=visits)

    @property
    def model(self) -> Any:
        """The model."""
        return self._forward.model

    @property
    def codec(self) -> Codec:
        """Its chat template and tokenizer."""
        return self._codec

    @property
    def kept_bytes(self) -> int:
        """Memory of what is kept between turns."""
        return self._memory.num_bytes

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """One completion a request, in the order asked.

        At temperature 0 the likeliest id is taken, with log-probability 0: the sampled distribution is a point.

        Raises:
            GiftError: the memory does not suffice; says what to lower.
        """
        return await self._run(lambda check: self._complete(requests, check))

    async def score(self, contexts: Sequence[Ids], continuations: Sequence[Ids]) -> Sequence[tuple[float, bool]]:
        """Sum of log-probabilities of each continuation at temperature 1, and whether greedy decoding would give it.

        Raises:
            GiftError: the memory does not suffice.
        """
        rows = self._limits.rows
        return await self._run(lambda check: score(self._forward, contexts, continuations, rows, check))

    def check(self) -> None:
        """Refuse a model that this engine cannot generate with; takes as long as a few short prompts.

        Raises:
            MachineError: its results depend on what else is in a batch.
        """
        check_model(self._forward)

    def forget(self, episodes: Iterable[str] | None = None) -> None:
        """Release what is kept of these episodes, or of all: call it when they are over."""
        self._memory.forget(episodes)
        if episodes is None and self._visit is not None:
            self._thread.submit(self._visit.end).result()  # after work that nobody waits for any more

    async def _run(self, work: Callable[[Callable[[], None]], T]) -> T:
        """Work in the thread, so that others are heard meanwhile; it ends soon after nobody waits for it."""
        stop = threading.Event()

        def check() -> None:
            if stop.is_set():
                raise _Stopped

        def run() -> T:
            if self._visit is not None:
                self._visit.begin()
            with self._forward.ready():
                return work(check)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, run)
        except asyncio.CancelledError:
            stop.set()
            raise
        except torch.OutOfMemoryError as error:
            self.forget()
            raise GiftError(
                "out of memory while generating: lower `resources.rollout_batch_size`, which changes no episode, or "
                "`rollout.max_tokens_per_turn`"
            ) from error

    def _complete(self, requests: Sequence[Request], check: Callable[[], None]) -> list[Completion]:
        weights = [(parameter.data_ptr(), parameter._version) for parameter in self.model.parameters()]
        if weights != self._weights:
            self._memory.forget()
            self._weights = weights
        done: list[Completion] = []
        for batch in self._batches(requests):
            done += generate(self._forward, self._memory, batch, self._codec.end_of_turn_ids, check)
        self._memory.trim(self._limits.kept_bytes)
        return done

    def _batches(self, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        """Requests in their order, as many at once as the limits allow."""
        most = most_columns(self.model, self._forward.dtype, self._limits.batch_bytes)
        first, widest = 0, 0
        for index, request in enumerate(requests):
            widest = max(widest, capacity_for(len(request.context) + request.max_tokens, has_more_turns=True))
            number = index - first + 1
            if number > 1 and (number > self._limits.rows or number * widest > most):
                yield requests[first:index]
                first = index
                widest = capacity_for(len(request.context) + request.max_tokens, has_more_turns=True)
        if requests:
            yield requests[first:]


def most_columns(model: Any, dtype: torch.dtype, most_bytes: int | None) -> float:
    """Columns of a cache, of all rows together, that fit into a number of bytes.

    Args:
        model: whose keys and values they are.
        dtype: of these.
        most_bytes: None: a quarter of the memory of the model's GPU; without one there is no limit.
    """
    if most_bytes is None:
        if model.device.type != "cuda":
            return math.inf
        most_bytes = torch.cuda.mem_get_info(model.device)[1] // 4
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return most_bytes / (2 * config.num_hidden_layers * heads * width * dtype.itemsize)

# pyright: basic
"""vLLM as the rollout engine. Untested until it has run on a real vLLM, which needs CUDA.

Of TRL, only the way from the trained weights to vLLM's is used (`VLLMGeneration.sync_weights`, for LoRA, FSDP and
ZeRO too). Turns do not go through its `generate`, which waits for the slowest of a batch on all processes: they go to
a server over HTTP (`mode: serve`), or to the engine in this process by `add_request` and `step` (`mode: colocate`).

What is sampled is no function of the seed alone, so a run with vLLM cannot be repeated bit for bit. Its
log-probabilities are those of the sampled distribution, temperature included (vLLM's `processed_logprobs`), and not
those that the trainer computes: the trainer computes them again and corrects the difference.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import torch

from gift_dsl.engines.served import (
    SCORE_FIELDS,
    ServedModel,
    Server,
    completion_of,
    sampling_fields,
    server_address,
)
from gift_dsl.errors import GiftError, MachineError
from gift_dsl.plan import Plan, StagePlan
from gift_dsl.play.seats import POLICY
from gift_dsl.players.chat import Failure
from gift_dsl.seat import Codec, Completion, PlayerFault, Request

Ids = tuple[int, ...]
Score = tuple[float, bool]

_LOG: Final = logging.getLogger(__name__)
_MOST_ROWS: Final = 1024
"""Of a colocated engine; more wait in its queue."""
_START: Final = (
    "start it with: VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --logprobs-mode processed_logprobs "
    """--weight-transfer-config '{"backend": "nccl"}'"""
)


@dataclass(frozen=True, slots=True)
class VllmSettings:
    """How a stage uses vLLM.

    Attributes:
        mode: a server that was started apart, or an engine in each training process.
        base_url: of the server.
        memory_share: of the device, for an engine in this process, in (0, 1).
        tensor_parallel: devices that one copy of the model is spread over.
        max_context: longest sequence in tokens; None: the model's own limit.
        max_rows: most episodes alive at once on one process.
    """

    mode: Literal["serve", "colocate"]
    base_url: str | None
    memory_share: float
    tensor_parallel: int
    max_context: int | None
    max_rows: int

    @classmethod
    def of(cls, plan: Plan, stage: StagePlan, processes: int) -> VllmSettings | None:
        """Those of a stage; None: it is played without vLLM, or not played."""
        resources = plan.runtime.resources
        vllm, algorithm = resources.get("vllm"), stage.algorithm
        if vllm is None or algorithm is None or stage.type != "grpo":
            return None
        step = -(-algorithm.groups_per_step // processes) * algorithm.group_size
        return cls(
            vllm["mode"],
            vllm.get("base_url"),
            vllm["memory_share"],
            vllm["tensor_parallel"],
            stage.max_context,
            min(resources.get("rollout_batch_size") or step, step, _MOST_ROWS),
        )


class _Model(Protocol):
    """A model that vLLM holds."""

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]: ...

    async def score(self, contexts: Sequence[Ids], continuations: Sequence[Ids]) -> Sequence[Score]: ...


class VllmEngine:
    """A `TokenPolicy` whose weights are the trainer's as of the last `sync_weights`; before that it cannot play.

    Args:
        settings: of the stage.
        codec: of the model's tokenizer.

    Raises:
        MachineError: no address of the server, or a colocated engine that is spread over devices.
    """

    def __init__(self, settings: VllmSettings, codec: Codec) -> None:
        if settings.mode == "serve" and settings.base_url is None:
            raise MachineError("`resources.vllm.mode: serve` needs `resources.vllm.base_url`, the server's address")
        if settings.mode == "colocate" and settings.tensor_parallel > 1:
            raise MachineError(
                "`resources.vllm.tensor_parallel` above 1 needs `mode: serve`: processes play their own episodes and "
                "would have to step one colocated engine alike"
            )
        self.settings, self._codec = settings, codec
        self._model: _Model | None = None
        self._weights: Any = None
        self._wait: Callable[[], None] = _alone
        self._version: int | None = None

    @property
    def codec(self) -> Codec:
        """Its chat template and tokenizer."""
        return self._codec

    @property
    def is_open(self) -> bool:
        """Whether it has somewhere to get weights from."""
        return self._model is not None

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """One completion a request, in the order asked.

        Raises:
            PlayerFault: the server did not answer, in all tries.
            MachineError: its answers cannot be used.
        """
        return await self._opened().complete(requests)

    async def score(self, contexts: Sequence[Ids], continuations: Sequence[Ids]) -> Sequence[Score]:
        """Sum of log-probabilities of each continuation at temperature 1, and whether each of its ids is the likeliest.

        Raises:
            ValueError: a context is empty.
            PlayerFault, MachineError: as for `complete`.
        """
        return await self._opened().score(contexts, continuations)

    def forget(self, episodes: Iterable[str] | None = None) -> None:
        """What was read before is vLLM's to keep and to drop."""
        del episodes

    def open(self, model: Any, accelerator: Any, tokenizer: Any) -> None:
        """Connect the weights that are trained with those that play; all processes call it together.

        Args:
            model: that is trained, as the trainer holds it.
            accelerator: the trainer's.
            tokenizer: of the model.

        Raises:
            MachineError: vLLM is not installed, no server answers, or it was started in another way than is needed.
        """
        if accelerator.is_main_process:
            _LOG.warning("vLLM plays; gift has not yet been run with a real one, so look at `mismatch/kl` of the steps")
        self._weights = _connect(self.settings, model, accelerator, tokenizer)
        self._wait = accelerator.wait_for_everyone
        ends = self._codec.end_of_turn_ids
        if self.settings.mode == "serve":
            if accelerator.is_main_process:
                _check_server(self._weights.vllm_client, self.settings)
            self._model = ServedModel(Server(self.settings.base_url or ""), ends)
        else:
            self._model = ColocatedModel(self._weights.llm, ends, accelerator.device)

    def sync_weights(self, version: int) -> None:
        """Wake up, and play with the weights as they are now; all processes call it together before they play.

        Args:
            version: of the weights, counted by who trains them: those that vLLM has already are not sent again.
        """
        if version == self._version:
            return
        self._settle()
        self._weights.sync_weights()
        # TRL sends to a server from the first process alone, and nothing keeps the others from asking it meanwhile.
        self._wait()
        if self.settings.mode == "colocate":
            self._weights.llm.wake_up(tags=["kv_cache"])
        self._version = version

    def sleep(self) -> None:
        """Give the memory of a colocated engine to the update; its weights are gone then. Not while it plays."""
        if self.settings.mode == "colocate" and self._version is not None:
            self._settle()
            self._weights.llm.sleep(level=2)
            self._version = None

    def _settle(self) -> None:
        """Let a colocated engine end what was cancelled."""
        if isinstance(self._model, ColocatedModel):
            self._model.settle()

    def _opened(self) -> _Model:
        if self._model is None or self._version is None:
            raise RuntimeError("vLLM is asked to play before it has the weights that are to play")
        return self._model


def _alone() -> None:
    """There is nobody to wait for."""


def _connect(settings: VllmSettings, model: Any, accelerator: Any, tokenizer: Any) -> Any:
    """TRL's way from trained weights to vLLM's."""
    try:
        from trl.generation.vllm_generation import VLLMGeneration

        return VLLMGeneration(
            model=model,
            accelerator=accelerator,
            processing_class=tokenizer,
            mode="server" if settings.mode == "serve" else "colocate",
            server_base_url=None if settings.base_url is None else server_address(settings.base_url),
            tensor_parallel_size=settings.tensor_parallel if settings.mode == "colocate" else 1,
            gpu_memory_utilization=settings.memory_share,
            max_model_length=settings.max_context,
            max_num_seqs=settings.max_rows,
            enable_sleep_mode=settings.mode == "colocate",
        )
    except ImportError as error:
        raise MachineError(
            f"`resources.vllm` needs vLLM beside the trainer: pip install 'gift-dsl[vllm]' ({error})"
        ) from error
    except (OSError, RuntimeError, ValueError) as error:  # the ConnectionError of `requests` is an OSError only
        start = f"; {_START}" if settings.mode == "serve" else ""
        raise MachineError(f"vLLM (`mode: {settings.mode}`) cannot be used: {error}{start}") from error


def _check_server(client: Any, settings: VllmSettings) -> None:
    """Refuse a server whose answers cannot be trained on.

    Raises:
        MachineError: of what it tells of its own settings, something is not as it must be.
    """
    told = client.get_server_info()["model_config"]
    if told["logprobs_mode"] != "processed_logprobs":
        raise MachineError(
            f"the vLLM server at {settings.base_url} reports `{told['logprobs_mode']}`, which are not the "
            f"log-probabilities that it samples by; {_START}"
        )
    if settings.max_context is not None and told["max_model_len"] < settings.max_context:
        raise MachineError(
            f"the vLLM server at {settings.base_url} takes sequences of {told['max_model_len']} tokens and the stage "
            f"needs {settings.max_context}; start it with --max-model-len {settings.max_context}"
        )


class ColocatedModel:
    """An engine in this process, driven in a thread of its own so that others are heard meanwhile.

    Args:
        llm: vLLM's `LLM`, made by TRL with `processed_logprobs`.
        ends: ids that end a turn.
        device: of this process.
    """

    def __init__(self, llm: Any, ends: Collection[int], device: torch.device) -> None:
        self._engine, self._ends = llm.llm_engine, ends
        self._numbers = itertools.count()
        # CUDA's current device is each thread's own
        start = (lambda: torch.cuda.set_device(device)) if device.type == "cuda" else None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="gift-vllm", initializer=start)

    async def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the order asked.

        Raises:
            PlayerFault: generation was aborted.
            MachineError: what came back cannot be used.
        """
        asked = [(request.context, sampling_fields(request, self._ends)) for request in requests]
        outputs = await self._run(asked)
        return [self._completion(*pair) for pair in zip(outputs, requests, strict=True)]

    async def score(self, contexts: Sequence[Ids], continuations: Sequence[Ids]) -> list[Score]:
        """Of each continuation, as `TokenPolicy.score` says.

        Raises:
            ValueError: a context is empty.
        """
        if not all(contexts):
            raise ValueError("a continuation is scored after at least one id")
        pairs = list(zip(contexts, continuations, strict=True))
        outputs = await self._run([(context + rest, SCORE_FIELDS) for context, rest in pairs])
        return [_score(output, len(context)) for output, (context, _) in zip(outputs, pairs, strict=True)]

    def settle(self) -> None:
        """Wait until nothing is under way."""
        self._thread.submit(_nothing).result()

    async def _run(self, asked: Sequence[tuple[Ids, dict[str, Any]]]) -> list[Any]:
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._drive, asked, stop)
        except asyncio.CancelledError:
            stop.set()
            raise
        except torch.OutOfMemoryError as error:
            raise GiftError("out of memory in vLLM: lower `resources.vllm.memory_share`") from error

    def _drive(self, asked: Sequence[tuple[Ids, dict[str, Any]]], stop: threading.Event) -> list[Any]:
        """Step the engine until every request is answered, or nobody waits for the answers."""
        from vllm.sampling_params import (  # pyright: ignore[reportMissingImports] - where there is CUDA
            RequestOutputKind,
            SamplingParams,
        )

        how = {"detokenize": False, "output_kind": RequestOutputKind.FINAL_ONLY}
        names = [f"gift-{next(self._numbers)}" for _ in asked]
        done: dict[str, Any] = {}
        try:
            for name, (ids, fields) in zip(names, asked, strict=True):
                prompt = {"type": "token", "prompt_token_ids": list(ids)}
                self._engine.add_request(name, prompt, SamplingParams(**fields, **how))
            while len(done) < len(names) and not stop.is_set():
                done |= {output.request_id: output for output in self._engine.step() if output.finished}
        finally:
            left = [name for name in names if name not in done]
            if left:
                with suppress(Exception):  # what ended the work is what is to be told
                    self._engine.abort_request(left)
        return [done.get(name) for name in names]

    def _completion(self, output: Any, request: Request) -> Completion:
        sampled = output.outputs[0]
        ids = list(sampled.token_ids)
        logprobs = [row[token].logprob for token, row in zip(ids, sampled.logprobs or (), strict=False)]
        found = completion_of((ids, logprobs), sampled.finish_reason, request, self._ends)
        if not isinstance(found, Failure):
            return found
        if found.is_transient:
            raise PlayerFault(POLICY, found.detail)
        raise MachineError(f"vLLM: {found.detail}")


def _nothing() -> None:
    pass


def _score(output: Any, start: int) -> Score:
    """Of the prompt's ids from `start` on."""
    ids, rows = output.prompt_token_ids, output.prompt_logprobs
    found = [rows[place][ids[place]] for place in range(start, len(ids))]
    return sum(one.logprob for one in found), all(one.rank == 1 for one in found)

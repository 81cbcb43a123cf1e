"""A model behind vLLM's `/v1/completions`: token ids go in, sampled ids and their log-probabilities come out.

What is sent and what can be read from an answer is here; neither vLLM nor TRL is. Untested until it has run on a real
vLLM: the requests are those that TRL's own client sends, the answers those that the sources of vLLM 0.22 to 0.31 give.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, cast
from urllib.error import HTTPError
from urllib.request import ProxyHandler, build_opener
from urllib.request import Request as UrlRequest

from gift_dsl.errors import MachineError
from gift_dsl.play.seats import POLICY
from gift_dsl.players.backoff import Backoff, read_retry_after
from gift_dsl.players.chat import Failure, read_error, shown
from gift_dsl.players.network import HostLimits, Network, Outgoing, find_proxy, host_of
from gift_dsl.players.together import all_of
from gift_dsl.rng import stream
from gift_dsl.seat import Codec, Completion, PlayerFault, Request

T = TypeVar("T")

_BACKOFF: Final = Backoff(base_s=1.0)
_HEADERS: Final = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gift-dsl"}
_TOKEN: Final = "token_id:"
_LOOK_S: Final = 10.0
_AT_ONCE: Final = 512
"""Most requests of one process under way at once; vLLM queues what it cannot start, and each takes a file."""
# Each field is sent, because a server takes what is missing from the model's generation_config.
_PLAIN: Final[dict[str, Any]] = {
    "n": 1,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
    "ignore_eos": True,  # what ends a turn is said by `stop_token_ids`
}


def sampling_fields(request: Request, ends: Collection[int]) -> dict[str, Any]:
    """How a turn is sampled, by the names of vLLM's completion requests, which are those of its `SamplingParams`.

    The seed is a function of the request's stream, so that no two requests share their draws. The sampler is vLLM's
    own and its arithmetic depends on what else is in a batch: the same seed need not give the same ids again.
    """
    return _PLAIN | {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "seed": stream(request.seed, *request.stream_key).getrandbits(63),
        "stop_token_ids": sorted(ends),
        "logprobs": 0,  # of the sampled ids and no others
    }


SCORE_FIELDS: Final = _PLAIN | {"max_tokens": 1, "temperature": 1.0, "prompt_logprobs": 0}
"""What asks for the log-probabilities of the prompt; the one id that is sampled too is not looked at."""


def completion_of(
    sampled: tuple[Sequence[int], Sequence[float]], reason: str | None, request: Request, ends: Collection[int]
) -> Completion | Failure:
    """What was sampled as the completion of a request.

    Args:
        sampled: ids and their log-probabilities.
        reason: why vLLM says that it stopped.
        request: that was asked.
        ends: ids that end a turn.
    """
    ids, logprobs = tuple(sampled[0]), tuple(sampled[1])
    if reason not in ("stop", "length"):
        return Failure("aborted", f"generation ended with `{reason}`", is_transient=True)
    problem = _problem(ids, logprobs, request, ends)
    if problem is None and reason == "stop" and ids[-1] not in ends:
        problem = f"the turn ended with id {ids[-1]}, which ends no turn of this model's chat template"
    if problem is not None:
        return Failure("unlike", f"{problem}; is the same model served, by vLLM?", is_transient=False)
    if request.temperature == 0:  # the distribution that was sampled is a point
        logprobs = (0.0,) * len(ids)
    return Completion(ids, logprobs, "stop" if ids[-1] in ends else "length")


def _problem(ids: Sequence[int], logprobs: Sequence[float], request: Request, ends: Collection[int]) -> str | None:
    if not 0 < len(ids) <= request.max_tokens:
        return f"{len(ids)} ids came back where 1 to {request.max_tokens} were asked for"
    if len(ids) != len(logprobs) or not all(map(math.isfinite, logprobs)):
        return "not every id has a log-probability"
    if any(token in ends for token in ids[:-1]):
        return "generation went on after the end of the turn"
    return None


@dataclass(frozen=True, slots=True)
class Server:
    """Where a model is served.

    Attributes:
        base_url: without `/v1`.
        timeout_s: until one request counts as failed; vLLM queues what it cannot start, so this is long.
        retries: further tries of a request that failed in a way that may pass.
        backoff: pauses before them.
    """

    base_url: str
    timeout_s: float = 900.0
    retries: int = 4
    backoff: Backoff = _BACKOFF

    @property
    def host(self) -> str:
        """What faults name."""
        return host_of(self.base_url)

    @property
    def url(self) -> str:
        """Of completions."""
        return f"{server_address(self.base_url)}/v1/completions"

    def network(self) -> Network:
        """Connections for one batch: between two batches a server closes those that it thinks idle."""
        return Network(HostLimits({self.host: _AT_ONCE}), self.backoff)


def server_address(base_url: str) -> str:
    """An address as TRL's client wants it: without `/v1` and without a slash at its end."""
    return base_url.rstrip("/").removesuffix("/v1").rstrip("/")


class ServedModel:
    """Asks a vLLM server, each request in a task of its own.

    Args:
        server: where it is.
        ends: ids that end a turn.
    """

    def __init__(self, server: Server, ends: Collection[int]) -> None:
        self._server, self._ends = server, ends

    async def complete(self, requests: Sequence[Request]) -> list[Completion]:
        """One completion a request, in the order asked.

        Raises:
            PlayerFault: a request failed in all its tries.
            MachineError: an answer that no further try can change.
        """
        async with self._server.network() as network:
            return await all_of(self._complete(network, request) for request in requests)

    async def score(
        self, contexts: Sequence[tuple[int, ...]], continuations: Sequence[tuple[int, ...]]
    ) -> list[tuple[float, bool]]:
        """Of each continuation, as `TokenPolicy.score` says.

        Raises:
            ValueError: a context is empty.
            PlayerFault, MachineError: as for `complete`.
        """
        if not all(contexts):
            raise ValueError("a continuation is scored after at least one id")
        pairs = zip(contexts, continuations, strict=True)
        async with self._server.network() as network:
            return await all_of(self._score(network, *pair) for pair in pairs)

    async def _complete(self, network: Network, request: Request) -> Completion:
        fields = sampling_fields(request, self._ends) | {"return_tokens_as_token_ids": True}
        return await self._ask(
            network, {"prompt": request.context, **fields}, lambda choice: _read(choice, request, self._ends)
        )

    async def _score(
        self, network: Network, context: tuple[int, ...], continuation: tuple[int, ...]
    ) -> tuple[float, bool]:
        ids = context + continuation
        if not continuation:
            return 0.0, True
        return await self._ask(
            network, {"prompt": ids, **SCORE_FIELDS}, lambda choice: _read_score(choice, ids, len(context))
        )

    async def _ask(self, network: Network, body: dict[str, Any], read: Callable[[dict[str, Any]], T | Failure]) -> T:
        """The answer to a request, asked again while that may help."""
        payload, host, failures = json.dumps(body | {"stream": False}).encode(), self._server.host, 0
        while True:
            async with network.limits.gate(host):
                found = await self._exchange(network, payload, read)
            if not isinstance(found, Failure):
                return found
            if not found.is_transient:
                raise MachineError(f"the vLLM server at {host}: {found.detail}")
            failures += 1
            if failures > self._server.retries:
                raise PlayerFault(POLICY, f"{found.detail} ({failures} tries)", endpoint=host)
            await network.pause(failures, found.retry_after_s)

    async def _exchange(
        self, network: Network, payload: bytes, read: Callable[[dict[str, Any]], T | Failure]
    ) -> T | Failure:
        response = await network.post(Outgoing(self._server.url, _HEADERS, payload, self._server.timeout_s))
        if isinstance(response, Failure):
            return response
        if response.status != 200:
            return read_error(response.status, response.body, read_retry_after(response.retry_after))
        try:
            choice = json.loads(response.body)["choices"][0]
        except (LookupError, RecursionError, TypeError, ValueError):
            return Failure("malformed", f"no completion in the reply: {shown(response.body)}", is_transient=True)
        return read(cast(dict[str, Any], choice))


class ServedPolicy:
    """A `TokenPolicy` whose weights are those that a server was started with: nothing is trained here.

    Args:
        codec: of the model's tokenizer.
        server: where it is.
        max_length: most ids of a prompt and its answer together; None: not known.
    """

    def __init__(self, codec: Codec, server: Server, max_length: int | None = None) -> None:
        self._codec, self._model = codec, ServedModel(server, codec.end_of_turn_ids)
        self.max_length = max_length

    @property
    def codec(self) -> Codec:
        """Its chat template and tokenizer."""
        return self._codec

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """One completion a request, in the order asked. Raises as `ServedModel.complete`."""
        return await self._model.complete(requests)

    async def score(
        self, contexts: Sequence[tuple[int, ...]], continuations: Sequence[tuple[int, ...]]
    ) -> Sequence[tuple[float, bool]]:
        """As `TokenPolicy.score` says, of what the server tells of its prompts. Raises as `ServedModel.score`."""
        return await self._model.score(contexts, continuations)


@dataclass(frozen=True, slots=True)
class Card:
    """What a server says of the model that it holds.

    Attributes:
        name: as requests may call it.
        source: the folder or hub id that it was started with.
        max_length: of its sequences in tokens; None: it does not say.
    """

    name: str
    source: str
    max_length: int | None


def read_card(server: Server) -> Card:
    """Ask a server for its model; of several (adapters) the one that the others are based on.

    Raises:
        MachineError: nobody answers, or it is no server of models.
    """
    url = f"{server_address(server.base_url)}/v1/models"
    proxy = find_proxy(url)
    opener = build_opener(ProxyHandler({} if proxy is None else {"http": proxy, "https": proxy}))
    try:
        with opener.open(UrlRequest(url, headers=_HEADERS), timeout=_LOOK_S) as reply:
            listed = json.loads(reply.read())["data"]
        found = next(one for one in listed if one.get("parent") is None)
        length = found.get("max_model_len")
        return Card(str(found["id"]), str(found.get("root") or found["id"]), None if length is None else int(length))
    except HTTPError as error:
        error.close()
        raise MachineError(f"the server at {server.host} does not say what it serves: {url} is {error.code}") from error
    except OSError as error:
        raise MachineError(f"`resources.vllm`: nobody answers at {server.host}: {error}") from error
    except (AttributeError, LookupError, StopIteration, TypeError, ValueError) as error:
        raise MachineError(f"the server at {server.host} does not say what it serves; is it a vLLM server?") from error


def _read(choice: dict[str, Any], request: Request, ends: Collection[int]) -> Completion | Failure:
    """A completion from one choice of an answer."""
    try:
        ids = [_token(text) for text in choice["logprobs"]["tokens"]]
        logprobs = [float(value) for value in choice["logprobs"]["token_logprobs"]]
        return completion_of((ids, logprobs), choice["finish_reason"], request, ends)
    except (KeyError, TypeError, ValueError) as error:
        detail = f"the reply has no ids with log-probabilities ({error!r}); is it a vLLM server?"
        return Failure("unlike", detail, is_transient=False)


def _token(text: str) -> int:
    if not text.startswith(_TOKEN):
        raise ValueError(f"{shown(text)} is no token id")
    return int(text.removeprefix(_TOKEN))


def _read_score(choice: dict[str, Any], ids: Sequence[int], start: int) -> tuple[float, bool] | Failure:
    """The score of the ids from `start` on, from one choice of an answer."""
    try:
        found = [choice["prompt_logprobs"][place][str(ids[place])] for place in range(start, len(ids))]
        return math.fsum(float(one["logprob"]) for one in found), all(one["rank"] == 1 for one in found)
    except (LookupError, TypeError, ValueError) as error:
        detail = f"the reply has no log-probabilities of the prompt ({error!r}); is it a vLLM server?"
        return Failure("unlike", detail, is_transient=False)

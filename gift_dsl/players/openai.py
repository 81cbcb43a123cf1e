"""A model behind any server with an OpenAI-compatible chat API."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from urllib.parse import urlsplit, urlunsplit

from gift_dsl.players.backoff import read_retry_after
from gift_dsl.players.chat import ChatSettings, Failure, Reply, Tokens, masked, read_error, read_reply
from gift_dsl.players.network import Network, Outgoing, host_of
from gift_dsl.players.usage import Bill, Budget
from gift_dsl.seat import CutText, PlayerFault, Turn


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where requests go, and how long they are waited for.

    Attributes:
        base_url: of the API, up to and including `/v1`.
        key: sent as a bearer token; None: none is sent. Never shown.
        timeout_s: until one request counts as failed; waiting for a free place at the host is not counted.
        retries: further tries of a request that failed in a way that may pass.
        usd_per_mtok: price of a million (prompt, completion) tokens.
    """

    base_url: str
    key: str | None = field(default=None, repr=False)
    timeout_s: float = 60.0
    retries: int = 4
    usd_per_mtok: tuple[float, float] = (0.0, 0.0)

    @property
    def host(self) -> str:
        """What faults and limits name."""
        return host_of(self.base_url)

    @property
    def url(self) -> str:
        """Of chat completions; a query of the base address is kept."""
        return self._at("chat/completions")

    @property
    def models_url(self) -> str:
        """Of the list of models."""
        return self._at("models")

    def _at(self, path: str) -> str:
        parts = urlsplit(self.base_url)
        return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{path}"))

    @property
    def headers(self) -> Mapping[str, str]:
        """Of every request."""
        headers = {"Content-Type": "application/json", "Accept": "application/json", "User-Agent": "gift-dsl"}
        return headers if self.key is None else {**headers, "Authorization": f"Bearer {self.key}"}

    def usd(self, tokens: Tokens) -> float:
        """Price of tokens."""
        prompt, completion = self.usd_per_mtok
        return (prompt * tokens.prompt + completion * tokens.completion) / 1_000_000


@dataclass(frozen=True, slots=True, eq=False)
class OpenAIPlayer:
    """Asks the server for each turn. `act` returns the reply without its reasoning part.

    Attributes:
        chat: what is sent besides the conversation.
        endpoint: where it is sent.
        network: connections, shared with other players.
        budget: limits and counts, shared with other players.
        is_measured: it is who is evaluated: an empty answer and one without its end are its own, and no fault.
    """

    name: str
    chat: ChatSettings
    endpoint: Endpoint
    network: Network
    budget: Budget
    is_measured: bool = False
    waits: bool = True

    def with_temperature(self, temperature: float) -> OpenAIPlayer:
        """The same player, asking for other sampling."""
        return replace(self, chat=replace(self.chat, temperature=temperature))

    async def act(self, turn: Turn, rng: random.Random) -> str:
        """The reply of the server, a `CutText` where its token limit ended it and the player is measured.

        The server's sampler is its own, so `rng` is not used.

        Raises:
            PlayerFault: no readable reply after all tries, or an answer that no further try can change.
            LimitReached: the budget does not allow another call.
        """
        payload = json.dumps(self.chat.body(turn.messages), ensure_ascii=False).encode()
        failures = 0
        while True:
            result = await self._call(payload)
            if isinstance(result, Reply):
                return CutText(result.text) if self.is_measured and result.is_cut else result.text
            failures += 1
            if not result.is_transient or failures > self.endpoint.retries:
                break
            await self.network.pause(failures, result.retry_after_s)
        self.budget.give_up(self.name)
        tries = f" ({failures} tries)" if failures > 1 else ""
        raise PlayerFault(self.name, result.detail + tries, endpoint=self.endpoint.host)

    async def _call(self, payload: bytes) -> Reply | Failure:
        """One request, within the limits of host and budget."""
        # A token is at least one byte, and the names of the fields make up for what the chat template adds.
        most_usd = self.endpoint.usd(Tokens(len(payload), self.chat.max_tokens))
        async with self.network.limits.gate(self.endpoint.host):
            self.budget.start_call(self.name, most_usd)
            bill = Bill(most_usd, is_reported=False, fault="cancelled")
            try:
                result = await self._exchange(payload)
                bill = self._bill(result, most_usd)
            finally:
                self.budget.end_call(self.name, most_usd, bill)
        return result

    async def _exchange(self, payload: bytes) -> Reply | Failure:
        endpoint = self.endpoint
        response = await self.network.post(Outgoing(endpoint.url, endpoint.headers, payload, endpoint.timeout_s))
        if isinstance(response, Failure):
            return response
        body = masked(response.body, endpoint.key)
        if 200 <= response.status < 300:
            return read_reply(body, takes_empty=self.is_measured)
        return read_error(response.status, body, read_retry_after(response.retry_after))

    def _bill(self, result: Reply | Failure, most_usd: float) -> Bill:
        fault = result.kind if isinstance(result, Failure) else None
        served = result.served if isinstance(result, Reply) else None
        if result.tokens is not None:
            tokens = result.tokens
            return Bill(self.endpoint.usd(tokens), tokens.prompt, tokens.completion, fault=fault, served=served)
        if isinstance(result, Failure) and result.is_free:
            return Bill(fault=fault)
        return Bill(most_usd, is_reported=False, fault=fault, served=served)

"""Whether a chat API answers, before anything is played: one GET of its list of models, which costs nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Final

from gift_dsl.errors import MachineError
from gift_dsl.players.backoff import read_retry_after
from gift_dsl.players.chat import Failure, masked, read_error
from gift_dsl.players.make import FindKey
from gift_dsl.players.network import Network, Outgoing, check_endpoint
from gift_dsl.players.openai import Endpoint

_LOOK_S: Final = 10.0
_PAUSES_S: Final = (1.0, 2.0)
_REFUSED: Final = (401, 403)


async def check_servers(asked: Iterable[tuple[str | None, str]], find_key: FindKey) -> None:
    """As `check_server`, of several at once.

    Args:
        asked: name of the variable that holds the key, and address; one that comes twice is asked once.
        find_key: gives the key.

    Raises:
        MachineError: one of them does not answer as it should, or its key is not there.
    """
    servers = [(Endpoint(url, find_key(name, url)), name) for name, url in dict.fromkeys(asked)]
    await asyncio.gather(*(check_server(*server) for server in servers))


async def check_server(endpoint: Endpoint, key_name: str | None, timeout_s: float = _LOOK_S) -> None:
    """See that a server answers and takes the key. What fails for the moment is asked three times, silence once.

    A server without a list of models (404, 405) passes: not all have one.

    Args:
        endpoint: with its key.
        key_name: of the variable that holds the key.
        timeout_s: for the connection, and for each answer.

    Raises:
        MachineError: nobody listens or answers in time, the key is refused, or the server fails (5xx); says what to
            do, without the key.
    """
    await check_endpoint(endpoint.base_url, timeout_s)
    async with Network() as network:
        for pause_s in (*_PAUSES_S, None):
            problem = await _look(network, endpoint, timeout_s)
            if problem is None:
                return
            if pause_s is None or not problem.is_transient or problem.kind == "timeout":
                raise MachineError(f"{endpoint.host} {_told(problem, endpoint, key_name)}")
            await asyncio.sleep(pause_s)


async def _look(network: Network, endpoint: Endpoint, timeout_s: float) -> Failure | None:
    found = await network.get(Outgoing(endpoint.models_url, endpoint.headers, None, timeout_s))
    if isinstance(found, Failure):
        return None if found.kind == "too_long" else found
    if found.status in _REFUSED or (found.status >= 500 and found.status != 501):
        return read_error(found.status, masked(found.body, endpoint.key), read_retry_after(found.retry_after))
    return None


def _told(problem: Failure, endpoint: Endpoint, key_name: str | None) -> str:
    """What is wrong with a server, and the repair."""
    if problem.kind == "timeout":
        return f"takes connections, but gives {problem.detail}; wait until its model is loaded, or correct `base_url`"
    if problem.kind in {f"http_{status}" for status in _REFUSED}:
        status = problem.kind.removeprefix("http_")
        if endpoint.key is None:
            return f"refuses requests without a key (HTTP {status}); name the variable that holds one: `api_key_env`"
        return f"refuses the key in {key_name} (HTTP {status}); set the variable to one that it takes"
    if problem.kind.startswith("http_"):
        return f"fails: {problem.detail} ({len(_PAUSES_S) + 1} tries); wait until it is ready, or repair it"
    return f"gives no answer: {problem.detail}; is `base_url` right?"

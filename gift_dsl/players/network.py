"""What HTTP players share: connections, a limit of requests for each host, and pauses. The only aiohttp file."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass
from weakref import WeakKeyDictionary

from gift_dsl.errors import MachineError
from gift_dsl.players.backoff import Backoff
from gift_dsl.players.chat import Failure

if TYPE_CHECKING:
    import aiohttp

DEFAULT_CONCURRENCY: Final = 32
MAX_REPLY_BYTES: Final = 8 * 1024 * 1024
"""A longer reply is a failure: a turn of a game never is."""

_MAX_CONNECT_S: Final = 10.0
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
_DEFAULT_PORTS: Final[Mapping[str, int]] = {"http": 80, "https": 443}


def host_of(base_url: str) -> str:
    """Host of an address in lower case, with its port unless that is the scheme's own; no user name or password.

    Raises:
        ValueError: the address has no host, or its port is no number.
    """
    parts = urlsplit(base_url)
    if not parts.hostname:
        raise ValueError(f"{base_url!r} names no host")
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f"{name}:{parts.port}"


def is_loopback(base_url: str) -> bool:
    """Whether an address is on this machine."""
    return urlsplit(base_url).hostname in _LOOPBACK


class HostLimits:
    """Most requests under way at once, for each host and event loop; requests beyond wait in order."""

    def __init__(self, most: Mapping[str, int] | None = None) -> None:
        """With the limit of each host (`host_of`); hosts that are not named have `DEFAULT_CONCURRENCY`."""
        self._most = dict(most or {})
        self._gates: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, asyncio.Semaphore]] = WeakKeyDictionary()

    @classmethod
    def smallest(cls, wanted: Iterable[tuple[str, int]]) -> HostLimits:
        """Of (host, limit) pairs: players of one host share the smallest limit that one of them states."""
        most: dict[str, int] = {}
        for host, limit in wanted:
            most[host] = min(limit, most.get(host, limit))
        return cls(most)

    def gate(self, host: str) -> asyncio.Semaphore:
        """What a request to a host holds while it is under way, in the running event loop."""
        gates = self._gates.setdefault(asyncio.get_running_loop(), {})
        if host not in gates:
            gates[host] = asyncio.Semaphore(self._most.get(host, DEFAULT_CONCURRENCY))
        return gates[host]


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One request: a POST of JSON, or a GET without a payload. `headers` may hold a key, so they are never shown."""

    url: str
    headers: Mapping[str, str]
    payload: bytes | None
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Response:
    """What came back, read to its end."""

    status: int
    body: bytes
    retry_after: str | None


class Network:
    """Connections of all HTTP players, opened when they are needed; one set for each event loop.

    Use it as an async context manager around everything that plays: at its end every connection is closed.
    Redirects are not followed, cookies are not kept, `.netrc` is not read: a key goes to the host it is meant for.
    The machine's proxies are used, but never for this machine itself.
    """

    def __init__(self, limits: HostLimits | None = None, backoff: Backoff | None = None) -> None:
        self.limits, self.backoff = limits or HostLimits(), backoff or Backoff()
        self._sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, aiohttp.ClientSession] = WeakKeyDictionary()
        self._proxies: dict[str, str | None] = {}
        # When a request is sent again changes no result, so its jitter needs no named stream.
        self._jitter = random.Random()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections of the running event loop; they are opened again when they are needed."""
        session = self._sessions.pop(asyncio.get_running_loop(), None)
        if session is not None:
            await session.close()

    async def pause(self, failures: int, retry_after_s: float | None) -> None:
        """Wait before a request that failed `failures` times is sent again."""
        await asyncio.sleep(self.backoff.delay_s(failures, retry_after_s, self._jitter.uniform))

    async def post(self, request: Outgoing) -> Response | Failure:
        """Send a request and read the whole response, whatever its status. Does not wait at the gate of its host."""
        return await self._send("POST", request)

    async def get(self, request: Outgoing) -> Response | Failure:
        """As `post`, for what is only read."""
        return await self._send("GET", request)

    async def _send(self, method: str, request: Outgoing) -> Response | Failure:
        import aiohttp

        limits = aiohttp.ClientTimeout(total=request.timeout_s, sock_connect=min(request.timeout_s, _MAX_CONNECT_S))
        try:
            async with self._session().request(
                method,
                request.url,
                data=request.payload,
                headers=request.headers,
                timeout=limits,
                allow_redirects=False,
                proxy=self._proxy(request.url),
            ) as response:
                body = await _read(response.content)
                if body is None:
                    return Failure("too_long", f"the reply is longer than {MAX_REPLY_BYTES} bytes", is_transient=False)
                return Response(response.status, body, response.headers.get("Retry-After"))
        except (aiohttp.ClientError, OSError) as error:
            return _failure(error, request.timeout_s)

    def _proxy(self, url: str) -> str | None:
        """The machine's proxy for an address; asked for once, which is slow on some systems."""
        if url not in self._proxies:
            self._proxies[url] = find_proxy(url)
        return self._proxies[url]

    def _session(self) -> aiohttp.ClientSession:
        import aiohttp

        loop = asyncio.get_running_loop()
        if loop not in self._sessions:
            self._sessions[loop] = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),  # the gates limit
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._sessions[loop]


async def _read(content: aiohttp.StreamReader) -> bytes | None:
    """A body to its end; None where it is too long."""
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > MAX_REPLY_BYTES:
            return None
    return bytes(body)


async def check_endpoint(base_url: str, timeout_s: float = _MAX_CONNECT_S) -> None:
    """See, before anything is played, that somebody listens at an address. Nothing is sent, so no key is either.

    Behind a proxy it is the proxy that must listen.

    Args:
        base_url: of an endpoint.
        timeout_s: until nobody is taken to be there.

    Raises:
        MachineError: the connection is refused, the name is not known, or nobody answers in time.
    """
    proxy = find_proxy(base_url)
    parts = urlsplit(proxy or base_url)
    # Not its user name and password.
    place = (
        f"{host_of(base_url)}" if proxy is None else f"the proxy {parts.hostname}, on the way to {host_of(base_url)}"
    )
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme))
    except TimeoutError:
        raise MachineError(f"nobody answers at {place}: no connection within {timeout_s:g} s") from None
    except OSError as error:
        raise MachineError(f"nobody answers at {place}: {error}") from error
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


def find_proxy(url: str) -> str | None:
    """The machine's proxy for an address; None where it is asked directly, as this machine itself always is."""
    parts = urlsplit(url)
    if is_loopback(url) or not parts.hostname or proxy_bypass(parts.hostname):
        return None
    return getproxies().get(parts.scheme)


def _failure(error: Exception, timeout_s: float) -> Failure:
    """What a request without a response ended in."""
    import aiohttp

    words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    match error:
        case aiohttp.ConnectionTimeoutError():
            return Failure("connect", "no connection within the time limit", is_transient=True, is_free=True)
        case TimeoutError():
            return Failure("timeout", f"no answer within {timeout_s:g} s", is_transient=True)
        case aiohttp.ClientConnectorCertificateError() | aiohttp.ClientSSLError():
            return Failure("tls", words, is_transient=False, is_free=True)
        case aiohttp.InvalidURL() | aiohttp.NonHttpUrlClientError():
            return Failure("bad_url", words, is_transient=False, is_free=True)
        case aiohttp.ClientConnectorError():
            return Failure("connect", words, is_transient=True, is_free=True)
        case _:
            return Failure("cut", words, is_transient=True)

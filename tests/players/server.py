"""A local server of the OpenAI chat API that fails on purpose; standard library only.

`python -m tests.players.server [--port N] [--faults 0.3] [--latency 0.05] [--seed 0]` runs one on its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

FAULTS = ("http_500", "http_429", "malformed", "empty", "cut", "stall")
REASONS = {"http_500": "Internal Server Error", "http_429": "Too Many Requests"}


@dataclass
class Asked:
    """One request as it came in."""

    path: str
    headers: dict[str, str]
    body: dict


def in_random_mix(share, seed=0, faults=FAULTS):
    """Every request fails with probability `share`, each way as often as the others."""
    rng = random.Random(seed)
    return lambda _asked: rng.choice(faults) if rng.random() < share else "ok"


def in_order(*kinds):
    """The first request goes as the first of `kinds` says, and so on; the rest are answered."""
    left = list(kinds)
    return lambda _asked: left.pop(0) if left else "ok"


@dataclass
class FaultServer:
    """Answers on a free port of this machine while it is entered.

    Attributes:
        choose: the kind of each answer: `ok`, one of `FAULTS`, `close`, or (status, headers, body).
        reply: what an `ok` says, from the body of the request.
        latency_s: seconds before each answer.
        retry_after: the header of a 429.
        models: as `choose`, for requests of the list of models.
        asked: every request of a turn; `looked`: of the list of models.
        kinds: how many answers there were of each kind.
        open: connections that are open now; `most_busy`: most requests under way at once.
    """

    choose: object = None
    reply: object = lambda _body: "<answer>1</answer>"
    models: object = lambda _asked: (200, {}, '{"object": "list", "data": [{"id": "m", "object": "model"}]}')
    latency_s: float = 0.0
    retry_after: str = "0"
    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    looked: list[Asked] = field(default_factory=list)
    kinds: Counter = field(default_factory=Counter)
    open: int = 0
    busy: int = 0
    most_busy: int = 0

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    async def __aenter__(self):
        self.choose = self.choose or (lambda _asked: "ok")
        self.closed = asyncio.Event()
        self.handlers = set()
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", self.port)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for handler in self.handlers:
            handler.cancel()
        await asyncio.gather(*self.handlers, return_exceptions=True)
        await self.server.wait_closed()

    async def all_closed(self):
        """Wait until no connection is open: the clients have let go of theirs."""
        while self.open:
            self.closed.clear()
            await self.closed.wait()

    async def serve(self, reader, writer):
        handler = asyncio.current_task()
        self.handlers.add(handler)
        self.open += 1
        try:
            with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                while await self.answer(reader, writer):
                    pass
        finally:
            self.open -= 1
            self.closed.set()
            self.handlers.discard(handler)
            writer.close()

    async def answer(self, reader, writer):
        asked = await read_request(reader)
        if asked.path.endswith("/models"):
            self.looked.append(asked)
            return await self.give(self.models(asked), asked, reader, writer)
        self.asked.append(asked)
        kind = self.choose(asked)
        self.kinds[kind if isinstance(kind, str) else kind[0]] += 1
        self.busy += 1
        self.most_busy = max(self.busy, self.most_busy)
        try:
            return await self.give(kind, asked, reader, writer)
        finally:
            self.busy -= 1

    async def give(self, kind, asked, reader, writer):
        if kind == "stall":
            # Nothing more comes; the client has to give up, and then there is nothing more to read.
            await reader.read()
            return False
        await asyncio.sleep(self.latency_s)
        data = self.response(kind, asked)
        if data is None:
            return False
        writer.write(data)
        await writer.drain()
        return kind != "cut"

    def response(self, kind, asked):
        if isinstance(kind, tuple):
            return http(*kind)
        match kind:
            case "close":
                return None
            case "http_500":
                return http(500, {}, json.dumps({"error": {"message": "out of memory"}}))
            case "http_429":
                return http(429, {"Retry-After": self.retry_after}, json.dumps({"error": "too many requests"}))
            case "malformed":
                return http(200, {}, '{"choices": [{"message"')
            case "empty":
                return http(200, {}, completion(""))
            case "cut":
                whole = http(200, {}, completion(self.reply(asked.body)))
                return whole[:-20]
        return http(200, {}, completion(self.reply(asked.body)))


def completion(content, usage=(20, 5), **choice):
    """A chat completion as servers write it."""
    told = {"prompt_tokens": usage[0], "completion_tokens": usage[1]} if usage else None
    message = {"role": "assistant", "content": content}
    return json.dumps({"choices": [{"index": 0, "finish_reason": "stop", "message": message, **choice}], "usage": told})


def http(status, headers, body):
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", f"Content-Length: {len(data)}"]
    lines += [f"{name}: {value}" for name, value in {"Content-Type": "application/json", **headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode() + data


async def read_request(reader):
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    path = head[0].split()[1]
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    for line in head[1:]:
        if line.lower().startswith("authorization: "):
            headers["authorization"] = line.split(": ", 1)[1]
    data = await reader.readexactly(int(headers.get("content-length", 0)))
    return Asked(path, headers, json.loads(data) if data else {})


async def main(options):
    choose = in_random_mix(options.faults, options.seed)
    async with FaultServer(choose, latency_s=options.latency, port=options.port) as server:
        print(server.url, flush=True)  # noqa: T201  # whoever started it reads the port
        await server.server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--faults", type=float, default=0.3)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--seed", type=int, default=0)
    with suppress(KeyboardInterrupt):
        asyncio.run(main(parser.parse_args()))

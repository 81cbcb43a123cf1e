"""A stand-in for vLLM: its completions over HTTP, or its engine in this process, over a real model of a few weights.

It samples in bf16, as vLLM does, so that its log-probabilities are not the trainer's; it answers the last first. What
it takes and gives is what the sources of vLLM say, no more: `FIELDS` are those of its completion requests that are
used here.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import threading
from dataclasses import dataclass, field
from types import SimpleNamespace

from aiohttp import web

from gift_dsl.seat import Request
from tests.engines.small import Numbers, engine_of, logprobs_after

# vllm/entrypoints/openai/completion/protocol.py, class CompletionRequest
FIELDS = {
    *("prompt", "stream", "n", "top_p", "top_k", "min_p", "temperature", "seed", "max_tokens", "stop_token_ids"),
    *("ignore_eos", "repetition_penalty", "presence_penalty", "frequency_penalty", "logprobs", "prompt_logprobs"),
    "return_tokens_as_token_ids",
}
REFUSED = {"error": {"message": "This model's maximum context length is 8 tokens.", "code": 400}}


@dataclass
class Sampler:
    """What both kinds share: a model, asked by the fields of a request, whose ends of turn are obeyed."""

    model: object
    compute: str = "bf16"
    numbers: object = field(default_factory=itertools.count)

    def engine(self, fields):
        """Without memory of its own, so that the model may be another at any time."""
        return engine_of(self.model, Numbers(frozenset(fields["stop_token_ids"])), compute=self.compute)

    def request(self, ids, fields):
        """The engine's own words for it; its sampler has streams of its own."""
        name = f"{next(self.numbers)}"
        return Request(tuple(ids), fields["max_tokens"], fields["temperature"], ("vllm", fields["seed"]), 0, name, name)

    async def complete(self, ids, fields):
        (one,) = await self.engine(fields).complete([self.request(ids, fields)])
        return one

    def prompt_rows(self, ids):
        """Log-probability and rank of each id of a prompt after the first."""
        rows = logprobs_after(self.model, ids)
        for place, token in enumerate(ids[1:]):
            yield token, float(rows[place, token]), int((rows[place] >= rows[place, token]).sum())


class StandIn(Sampler):
    """`vllm serve` on a free port of this machine while it is entered, in a thread of its own.

    Attributes:
        asked: bodies of all requests, in order of arrival; sent: what was answered, in the order in which it was.
        faults: what the next requests are answered instead: a status, `text`, `abort`, `no ids`, or `hang`.
        batch: the last of so many requests is answered first; 1: in order.
        change: what an honest choice is changed by before it is sent.
        root, longest: the folder that it was started with, and its `--max-model-len`.
    """

    def __init__(self, model=None, compute="bf16", *, faults=(), batch=1, change=lambda choice: choice):
        super().__init__(model, compute)
        self.faults, self.batch, self.change = list(faults), batch, change
        self.asked, self.sent, self.hanging = [], [], threading.Event()
        self.waiting, self.num_ready = [], 0
        self.root, self.longest = "", 4096

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        ready = threading.Event()
        self.thread = threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True)
        self.thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *_):
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join(10)
        assert not self.thread.is_alive()

    async def serve(self, ready):
        self.loop, self.over = asyncio.get_running_loop(), asyncio.Event()
        app = web.Application()
        app.router.add_post("/v1/completions", self.answer)
        app.router.add_get("/v1/models", self.list_models)
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = runner.addresses[0][1]
        ready.set()
        await self.over.wait()
        await runner.cleanup()

    async def list_models(self, _):
        """As vLLM's ModelCard (vllm/entrypoints/openai/engine/protocol.py): adapters name their parent."""
        base = {"id": "base", "object": "model", "root": self.root, "parent": None, "max_model_len": self.longest}
        adapter = {"id": "adapter", "object": "model", "root": "/somewhere", "parent": "base", "max_model_len": None}
        return web.json_response({"object": "list", "data": [adapter, base]})

    async def answer(self, http):
        body = await http.json()
        self.asked.append(body)
        fault = self.faults.pop(0) if self.faults else None
        if fault == "hang":
            self.hanging.set()
            await self.over.wait()
        if fault == "text":
            return web.Response(text="<html>upstream</html>")
        if isinstance(fault, int):
            return web.json_response(REFUSED, status=fault)
        mine = asyncio.Event()
        self.waiting.append(mine)
        choice = await (self.scored(body) if "prompt_logprobs" in body else self.sampled(body))
        if fault == "abort":
            choice["finish_reason"] = "abort"
        if fault == "no ids":
            choice["logprobs"]["tokens"] = ["Hello"] * len(choice["logprobs"]["tokens"])
        await self.turn(mine)
        choice = self.change(choice)
        self.sent.append((body, choice))
        return web.Response(text=json.dumps({"choices": [choice]}), content_type="application/json")

    async def turn(self, mine):
        """Wait until the last of as many as are to come back to front can be answered."""
        self.num_ready += 1
        if self.num_ready % self.batch == 0:
            self.waiting[-1].set()
        if self.batch > 1:
            await mine.wait()
        self.waiting.remove(mine)
        if self.waiting and self.batch > 1:
            self.loop.call_later(0.01, self.waiting[-1].set)

    async def sampled(self, body):
        one = await self.complete(body["prompt"], body)
        tokens = [f"token_id:{token}" for token in one.ids]
        logprobs = {"tokens": tokens, "token_logprobs": list(one.logprobs), "top_logprobs": [{} for _ in tokens]}
        return {"text": "", "finish_reason": one.finish_reason, "logprobs": logprobs, "prompt_logprobs": None}

    async def scored(self, body):
        rows = [None]
        for token, logprob, rank in self.prompt_rows(body["prompt"]):
            rows.append({str(token): {"logprob": logprob, "rank": rank, "decoded_token": ""}})
        return {"text": "", "finish_reason": "length", "logprobs": None, "prompt_logprobs": rows}


class LLM(Sampler):
    """vLLM's `LLM` and its engine: each step ends the request that was added last."""

    def __init__(self, model, compute="bf16"):
        super().__init__(model, compute)
        self.llm_engine, self.waiting, self.aborted, self.calls = self, {}, [], []
        self.lock = threading.Event()
        self.lock.set()

    def sleep(self, level):
        self.calls.append(("sleep", level))

    def wake_up(self, tags):
        self.calls.append(("wake_up", *tags))

    def add_request(self, request_id, prompt, params):
        assert prompt["type"] == "token"
        self.waiting[request_id] = (prompt["prompt_token_ids"], params)

    def abort_request(self, request_ids):
        self.aborted += request_ids
        for name in request_ids:
            self.waiting.pop(name)

    def step(self):
        self.lock.wait()
        name, (ids, params) = self.waiting.popitem()
        one = asyncio.run(self.complete(ids, {"seed": 0, "stop_token_ids": [], **params}))
        rows = [{token: SimpleNamespace(logprob=logprob)} for token, logprob in zip(one.ids, one.logprobs, strict=True)]
        output = SimpleNamespace(token_ids=list(one.ids), logprobs=rows, finish_reason=one.finish_reason)
        prompt_rows = [
            None,
            *({token: SimpleNamespace(logprob=value, rank=rank)} for token, value, rank in self.prompt_rows(ids)),
        ]
        unfinished = [SimpleNamespace(request_id=other, finished=False) for other in self.waiting]
        found = SimpleNamespace(
            request_id=name, finished=True, outputs=[output], prompt_token_ids=ids, prompt_logprobs=prompt_rows
        )
        return [*unfinished, found]

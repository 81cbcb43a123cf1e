"""The OpenAI-compatible chat format: what is asked, and what can be read from the answer. No network here."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, cast

from gift_dsl.plan import JsonMap, to_json
from gift_dsl.seat import Message

_THOUGHTS: Final = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_OPENING: Final = re.compile(r"<think>", re.IGNORECASE)
_CLOSING: Final = re.compile(r".*</think>", re.DOTALL | re.IGNORECASE)
_SHOWN_CHARS: Final = 300
_MASK: Final = b"***"


@dataclass(frozen=True, slots=True)
class ChatSettings:
    """What is sent with each request. Every sampling field is explicit, so no server's default can differ.

    Attributes:
        model: name of the model as the server knows it.
        temperature, top_p, max_tokens: sampling.
        seed: of the server's sampler; None: not sent.
        thinking: `off` and `on` set `enable_thinking` of the chat template; `default` sends nothing.
        system: system prompt instead of the game's own.
        extra_body: further fields, merged into the body; they win.
    """

    model: str
    temperature: float
    top_p: float
    max_tokens: int
    seed: int | None = None
    thinking: Literal["off", "on", "default"] = "off"
    system: str | None = None
    extra_body: JsonMap = field(default_factory=dict[str, Any])

    def body(self, messages: Sequence[Message]) -> dict[str, Any]:
        """The body of a request for the next message of a conversation, as plain JSON values."""
        body: dict[str, Any] = {
            "model": self.model,
            "messages": self._messages(messages),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
            "stream": False,
        }
        if self.seed is not None:
            body["seed"] = self.seed
        if self.thinking != "default":
            body["chat_template_kwargs"] = {"enable_thinking": self.thinking == "on"}
        return _merged(body, to_json(self.extra_body))

    def _messages(self, messages: Sequence[Message]) -> list[dict[str, str]]:
        plain = [{"role": message.role, "content": message.content} for message in messages]
        if self.system is None:
            return plain
        return [{"role": "system", "content": self.system}, *(item for item in plain if item["role"] != "system")]


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a server counted for one request."""

    prompt: int
    completion: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A readable answer.

    Attributes:
        text: without its reasoning part; empty only where an empty answer was taken for one (`read_reply`).
        tokens: what the server counted; None where it told nothing.
        is_cut: whether the token limit ended it.
        served: model and fingerprint that the server names; None where it names none.
    """

    text: str
    tokens: Tokens | None
    is_cut: bool = False
    served: str | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """A request without a readable answer.

    Attributes:
        kind: short and stable, for counts: `http_429`, `timeout`, `connect`, `cut`, `malformed`, `empty`, …
        detail: for a person; shows no key.
        is_transient: whether the same request may succeed when it is sent again.
        is_free: whether it certainly cost nothing.
        retry_after_s: what the server asked to wait.
        tokens: what the server counted, where it said so.
    """

    kind: str
    detail: str
    is_transient: bool
    is_free: bool = False
    retry_after_s: float | None = None
    tokens: Tokens | None = None


def read_reply(body: bytes, *, takes_empty: bool = False) -> Reply | Failure:
    """The answer in the body of a successful response.

    Args:
        body: as it came.
        takes_empty: an empty text, or reasoning alone, is an answer where the model ended it itself or its token limit
            did (`finish_reason`). So it is of who is measured, whose bad answers are results; of all others it is a
            failure.
    """
    try:
        data = json.loads(body)
    except (RecursionError, ValueError):  # not JSON, not UTF-8, or nested without end
        return Failure("malformed", f"the reply is not JSON: {shown(body)}", is_transient=True)
    if not isinstance(data, dict):
        return Failure("malformed", f"the reply is not an object: {shown(body)}", is_transient=True)
    values = cast(dict[str, Any], data)
    tokens = _tokens(values.get("usage"))
    if values.get("error"):  # some gateways report the failure of what is behind them as a success
        return Failure("error_reply", _message(values, body), is_transient=True, tokens=tokens)
    text = _content(values)
    if text is None:
        return Failure("malformed", f"the reply has no message: {shown(body)}", is_transient=True, tokens=tokens)
    text, end = without_thoughts(text), values["choices"][0].get("finish_reason")
    if text or (takes_empty and end in ("stop", "length")):
        return Reply(text, tokens, is_cut=end == "length", served=_served(values))
    why = ", and ended at its token limit" if end == "length" else ""
    return Failure("empty", f"the reply is empty, or reasoning alone{why}", is_transient=True, tokens=tokens)


def read_error(status: int, body: bytes, retry_after_s: float | None) -> Failure:
    """What a response with another status than 2xx says. Only 408, 409, 425, 429 and 5xx are worth another try."""
    try:
        data = json.loads(body)
    except (RecursionError, ValueError):
        data = None
    detail = f"HTTP {status}: {_message(data, body)}"
    if 300 <= status < 400:
        detail = f"HTTP {status}: redirects are not followed, because a key belongs to one host; correct `base_url`"
    elif status < 500 and "chat_template_kwargs" in detail:
        detail += " (`thinking: default` does not send this field)"
    is_transient = status in (408, 409, 425, 429) or status >= 500
    return Failure(f"http_{status}", detail, is_transient, is_free=True, retry_after_s=retry_after_s)


def without_thoughts(text: str) -> str:
    """A reply without its reasoning, however the chat template wrote the tags; empty where nothing else is there."""
    text = _CLOSING.sub("", _THOUGHTS.sub("", text))
    return _OPENING.split(text, maxsplit=1)[0].strip()


def masked(body: bytes, key: str | None) -> bytes:
    """A body without the key: servers like to quote a key that they refuse, and what they say is shown and kept."""
    return body if not key else body.replace(key.encode(), _MASK)


def shown(body: bytes | str) -> str:
    """The beginning of a foreign text on one line, without anything that a terminal would obey."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else body
    line = "".join(char if char.isprintable() else " " for char in text[: 4 * _SHOWN_CHARS])
    line = " ".join(line.split())
    return line if len(line) <= _SHOWN_CHARS else f"{line[:_SHOWN_CHARS]}…"


def _merged(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Maps merge, everything else is replaced."""
    merged = dict(first)
    for key, value in second.items():
        old: Any = merged.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            value = _merged(cast(dict[str, Any], old), cast(dict[str, Any], value))
        merged[key] = value
    return merged


def _content(values: Mapping[str, Any]) -> str | None:
    """The text of the first choice; some servers send it in parts. None where there is no message at all."""
    try:
        content = values["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        return None
    if isinstance(content, list):
        parts = [cast(dict[str, Any], part).get("text") for part in cast(list[Any], content) if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else "" if content is None else None


def _served(values: Mapping[str, Any]) -> str | None:
    """What the server says that it is, which may be another version than was asked for."""
    names = (values.get("model"), values.get("system_fingerprint"))
    return " ".join(shown(name) for name in names if isinstance(name, str) and name) or None


def _tokens(usage: Any) -> Tokens | None:  # noqa: ANN401  # any JSON value may stand there
    try:
        prompt, completion = int(usage["prompt_tokens"]), int(usage["completion_tokens"])
    except (KeyError, OverflowError, TypeError, ValueError):
        return None
    return Tokens(prompt, completion) if min(prompt, completion) >= 0 else None


def _message(data: Any, body: bytes) -> str:  # noqa: ANN401  # any JSON value may stand there
    """The server's own words, wherever it puts them."""
    places = (("error", "message"), ("error",), ("message",), ("detail",))
    for place in places:
        value = data
        for key in place:
            value = cast(dict[str, Any], value).get(key) if isinstance(value, dict) else None
        if isinstance(value, str) and value.strip():
            return shown(value)
    return shown(body) or "no message"

"""Keys, hosts and request bodies: a shared spec chooses them, so it could send any of your keys anywhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic
from gift_dsl.settings import KNOWN_KEY_HOSTS
from gift_dsl.spec.models.opponents import OpenAIOpponent
from gift_dsl.spec.node import dotted

_SECRET_NAME: Final = re.compile(r"(?i)(?:^|[_.-])(?:key|apikey|token|secret|password|passwd|pwd|auth|sig|signature)$")
_OWNED: Final = {
    "model": "model",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_tokens": "max_tokens",
    "seed": "seed",
    "messages": None,
    "stream": None,
}
"""What a request's body says of its own: the field that gives it; None where the game does, or gift."""


def host_of(url: str) -> str:
    """The host of an address, lower-case, without the port; empty where it names none that can be reached."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or "").lower() if parts.port != 0 else ""
    except ValueError:  # an open bracket, a port that is no number or too large
        return ""


def key_pairs(context: Context) -> tuple[tuple[str, str, str], ...]:
    """(opponent, host, name of the key's environment variable) of every endpoint that asks for a key."""
    return tuple(
        (name, host_of(opponent.base_url), opponent.api_key_env)
        for name, opponent in context.spec.opponents.items()
        if isinstance(opponent, OpenAIOpponent) and opponent.api_key_env is not None
    )


def check(context: Context) -> Iterator[Diagnostic]:
    """Known keys at foreign hosts; money limits without prices; addresses that hold credentials."""
    for name, opponent in context.spec.opponents.items():
        if isinstance(opponent, OpenAIOpponent):
            yield from _endpoint(context, name, opponent)
            yield from _body(context, name, opponent)
    vllm = context.spec.resources.vllm
    if vllm is not None and vllm.base_url is not None:
        yield from _address(context, ("resources", "vllm", "base_url"), vllm.base_url)


def _address(context: Context, path: Loc, url: str) -> Iterator[Diagnostic]:
    """An address that nobody can reach, or that holds what must not be shared; it is not shown then."""
    if not host_of(url):
        message = f"the address `{dotted(path)}` names no host that can be reached"
        hint = "write http://HOST:PORT/v1, the port between 1 and 65535"
        yield replace(context.finding("bad-url", message, path, hint=hint), secret="@" in url or "?" in url)
        return
    parts = urlsplit(url)
    what = "a user name or password" if "@" in parts.netloc and not parts.password else ""  # a password is found before
    named = [key for key, value in parse_qsl(parts.query) if value and _SECRET_NAME.search(key)]
    if named:
        what = f"a secret: `{named[0]}`"
    if what:
        message = f"the address `{dotted(path)}` holds {what}"
        hint = "take it out and name an environment variable with `api_key_env`"
        yield replace(context.finding("secret-in-spec", message, path, hint=hint), secret=True)


def _body(context: Context, name: str, opponent: OpenAIOpponent) -> Iterator[Diagnostic]:
    """Fields of the request that the spec says elsewhere, and locks: two values of one are a mistake."""
    extra = opponent.extra_body or {}
    path: Loc = ("opponents", name, "extra_body")
    for key in extra:
        if key in _OWNED:
            owner = _OWNED[key]
            told = f"the field `{owner}` of the opponent says it" if owner else "each request has its own"
            hint = f"write `{owner}: ...` beside `extra_body`" if owner else "remove it"
            message = f"`extra_body` cannot give `{key}`: {told}"
            yield context.finding("owned-key", message, (*path, key), at_key=True, hint=hint)
    template = extra.get("chat_template_kwargs")
    if isinstance(template, dict) and "enable_thinking" in template and opponent.thinking != "default":
        yield context.finding(
            "owned-key",
            f"`extra_body` cannot give `enable_thinking`: the field `thinking` says it (`{opponent.thinking}`)",
            (*path, "chat_template_kwargs", "enable_thinking"),
            at_key=True,
            hint="write `thinking: on` or `off` beside `extra_body`, or `default`, which sends nothing",
        )


def _endpoint(context: Context, name: str, opponent: OpenAIOpponent) -> Iterator[Diagnostic]:
    path: Loc = ("opponents", name)
    host, key = host_of(opponent.base_url), opponent.api_key_env
    yield from _address(context, (*path, "base_url"), opponent.base_url)
    if not host:
        return
    known = KNOWN_KEY_HOSTS.get(key or "")
    if key is not None and known is not None and host not in known:
        yield context.finding(
            "key-at-foreign-host",
            f"`{name}` would send {key} to {host}; that key belongs to {' or '.join(sorted(known))}",
            (*path, "api_key_env"),
            hint="name the key of that host, or correct `base_url`",
        )
    elif known is not None and urlsplit(opponent.base_url).scheme != "https":
        yield context.finding(
            "key-without-encryption",
            f"`{name}` would send {key} to {host} without encryption, where anybody on the way can read it",
            (*path, "base_url"),
            hint="write https://",
        )
    if context.spec.limits.opponent_usd is not None and opponent.usd_per_mtok is None:
        yield context.finding(
            "limit-without-price",
            f"`limits.opponent_usd` cannot be kept: `{name}` has no price",
            path,
            at_key=True,
            hint="add `usd_per_mtok: {input: 0, output: 0}` with the prices of the endpoint",
        )

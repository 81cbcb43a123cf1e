"""Keys and hosts: a shared spec chooses both, so it could send any of your keys anywhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from urllib.parse import urlsplit

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic
from gift_dsl.settings import KNOWN_KEY_HOSTS
from gift_dsl.spec.models.opponents import OpenAIOpponent


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


def _endpoint(context: Context, name: str, opponent: OpenAIOpponent) -> Iterator[Diagnostic]:
    path: Loc = ("opponents", name)
    host, key = host_of(opponent.base_url), opponent.api_key_env
    if not host:
        message = f"the address of `{name}` names no host that can be reached"
        hint = "write http://HOST:PORT/v1, the port between 1 and 65535"
        finding = context.finding("bad-url", message, (*path, "base_url"), hint=hint)
        yield replace(finding, secret="@" in opponent.base_url)
        return
    parts = urlsplit(opponent.base_url)
    if "@" in parts.netloc and not parts.password:  # a password is found wherever it stands
        message = f"the address of `{name}` holds a user name or password"
        hint = "take it out and name an environment variable with `api_key_env`"
        finding = context.finding("secret-in-spec", message, (*path, "base_url"), hint=hint)
        yield replace(finding, secret=True)
    known = KNOWN_KEY_HOSTS.get(key or "")
    if key is not None and known is not None and host not in known:
        yield context.finding(
            "key-at-foreign-host",
            f"`{name}` would send {key} to {host}; that key belongs to {' or '.join(sorted(known))}",
            (*path, "api_key_env"),
            hint="name the key of that host, or correct `base_url`",
        )
    if context.spec.limits.opponent_usd is not None and opponent.usd_per_mtok is None:
        yield context.finding(
            "limit-without-price",
            f"`limits.opponent_usd` cannot be kept: `{name}` has no price",
            path,
            at_key=True,
            hint="add `usd_per_mtok: {input: 0, output: 0}` with the prices of the endpoint",
        )

"""Addresses of endpoints that lack the path which OpenAI-compatible servers answer below."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.keys import host_of
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import OpenAIOpponent


def check(context: Context) -> Iterator[Diagnostic]:
    """`/chat/completions` is put after the address as it is written; vLLM and most others answer below `/v1`."""
    for name, opponent in context.spec.opponents.items():
        if not isinstance(opponent, OpenAIOpponent) or not host_of(opponent.base_url):
            continue
        if not urlsplit(opponent.base_url).path.strip("/"):
            yield context.finding(
                "url-without-path",
                f"`{name}` is asked at {opponent.base_url.rstrip('/')}/chat/completions, and most servers answer below "
                "`/v1`",
                ("opponents", name, "base_url"),
                severity="warning",
                hint=f"write {opponent.base_url.rstrip('/')}/v1",
            )

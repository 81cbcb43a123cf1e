"""Which key may go to which host. A shared spec chooses both, so it could send any of a user's keys anywhere."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from gift_dsl.errors import MachineError
from gift_dsl.players.network import host_of
from gift_dsl.settings import KNOWN_KEY_HOSTS, user_config_dir

AskKey = Callable[[str, str], bool]
"""Asks a person at a terminal whether the key named second may go to the host named first."""


def resolve_key(
    env_name: str | None,
    base_url: str,
    bindings: Mapping[str, str],
    ask: AskKey | None = None,
    environ: Mapping[str, str] | None = None,
) -> str | None:
    """The key for an endpoint, read from the environment only if the user lets it go there.

    Args:
        env_name: name of the environment variable; None: the endpoint needs no key.
        base_url: where the key would go.
        bindings: host, with its port unless that is the scheme's own, to the name that the user bound to it
            (`settings.load_key_bindings`).
        ask: for pairs that are not bound; None where there is nobody to ask.
        environ: the environment; that of the process unless given.

    Raises:
        MachineError: the key belongs to another host, the pair is not bound, or the variable holds no usable key.
    """
    if env_name is None:
        return None
    host = host_of(base_url)
    _refuse_foreign(env_name, base_url, host)
    if bindings.get(host) != env_name and not (ask is not None and ask(host, env_name)):
        line = f"{json.dumps(host)} = {json.dumps(env_name)}"
        raise MachineError(
            f"the key in {env_name} is not bound to {host}; to let it go there, write the line {line} "
            f"in {user_config_dir() / 'keys.toml'}"
        )
    key = (os.environ if environ is None else environ).get(env_name, "").strip()
    if not key:
        raise MachineError(f"the environment variable {env_name}, which holds the key for {host}, is not set")
    if not (key.isascii() and key.isprintable()):
        raise MachineError(f"the environment variable {env_name} holds characters that no key for {host} can have")
    return key


def _refuse_foreign(env_name: str, base_url: str, host: str) -> None:
    """A key of a known owner goes to its owner, encrypted, whatever the user bound."""
    known, parts = KNOWN_KEY_HOSTS.get(env_name), urlsplit(base_url)
    if known is None:
        return
    if parts.hostname not in known:
        owners = " or ".join(sorted(known))
        raise MachineError(f"the key in {env_name} belongs to {owners} and is not sent to {host}")
    if parts.scheme != "https":
        raise MachineError(f"the key in {env_name} is not sent to {host} without encryption; use https in `base_url`")

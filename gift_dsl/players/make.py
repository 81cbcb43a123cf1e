"""From the plan to players: one frozen table of types."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from gift_dsl.errors import UsageError
from gift_dsl.plan import JsonMap, OpponentPlan
from gift_dsl.players.chat import ChatSettings
from gift_dsl.players.clue import CluePlayer
from gift_dsl.players.human import Ask, HumanPlayer
from gift_dsl.players.keys import resolve_key
from gift_dsl.players.network import DEFAULT_CONCURRENCY, HostLimits, Network, host_of
from gift_dsl.players.openai import Endpoint, OpenAIPlayer
from gift_dsl.players.recorder import Recorder, RecordStore, Replayer
from gift_dsl.players.simple import FirstLegalPlayer, RandomPlayer, ScriptedPlayer
from gift_dsl.players.solvers import BestResponsePlayer, EquilibriumPlayer, MinimaxPlayer
from gift_dsl.players.usage import Budget
from gift_dsl.seat import Player

FindKey = Callable[[str | None, str], str | None]
"""The key for (name of an environment variable, base address); raises MachineError where there is none to send."""


def _no_bindings(env_name: str | None, base_url: str) -> str | None:
    return resolve_key(env_name, base_url, {})


@dataclass(frozen=True, slots=True, eq=False)
class Services:
    """What players share and the plan does not hold.

    Attributes:
        network: connections of HTTP players; whoever plays closes it.
        budget: limits and counts of HTTP players.
        base_urls: address of each HTTP player by name, where the plan's `params` do not hold it.
        find_key: `resolve_key` with the user's bindings; without it no key is sent anywhere.
        ask: how a person is asked.
        store: where answers of HTTP players are kept; None: they are not.
        replay: answer from `store` alone.
    """

    network: Network = field(default_factory=Network)
    budget: Budget = field(default_factory=Budget)
    base_urls: Mapping[str, str] = field(default_factory=lambda: MappingProxyType(dict[str, str]()))
    find_key: FindKey = _no_bindings
    ask: Ask = input
    store: RecordStore | None = None
    replay: bool = False


def server_of(plan: OpponentPlan, base_urls: Mapping[str, str]) -> tuple[str | None, str]:
    """Of an `openai` player: name of the variable that holds its key, and its address."""
    return plan.params.get("api_key_env"), str(base_urls.get(plan.name) or plan.params["base_url"])


def _make_openai(plan: OpponentPlan, services: Services) -> Player:
    """The live player, or what records it, or what stands for it."""
    params, store = plan.params, services.store
    chat = make_chat_settings(params)
    if store is not None and services.replay:
        return Replayer(plan.name, chat, store)
    key_name, base_url = server_of(plan, services.base_urls)
    try:
        host_of(base_url)
    except ValueError as error:
        raise UsageError(f"`{plan.name}` cannot be asked: {error}") from error
    prices: Mapping[str, float] = params.get("usd_per_mtok") or {"input": 0.0, "output": 0.0}
    endpoint = Endpoint(
        base_url=base_url,
        key=services.find_key(key_name, base_url),
        timeout_s=params["timeout_s"],
        retries=params["retries"],
        usd_per_mtok=(prices["input"], prices["output"]),
    )
    player = OpenAIPlayer(plan.name, chat, endpoint, services.network, services.budget)
    return player if store is None else Recorder(player, store)


_Make = Callable[[OpponentPlan, Services], Player]

_MAKERS: Final[Mapping[str, _Make]] = MappingProxyType(
    {
        "random": lambda plan, _: RandomPlayer(plan.name),
        "first_legal": lambda plan, _: FirstLegalPlayer(plan.name),
        "scripted": lambda plan, _: ScriptedPlayer(plan.name, tuple(plan.params["replies"]), plan.params["cycle"]),
        "minimax": lambda plan, _: MinimaxPlayer(plan.name, plan.params["epsilon"], plan.params.get("depth")),
        "equilibrium": lambda plan, _: EquilibriumPlayer(plan.name),
        "best_response": lambda plan, _: BestResponsePlayer(plan.name),
        "clue": lambda plan, _: CluePlayer(plan.name, plan.params["specific"], plan.params["random_vote"]),
        "human": lambda plan, services: HumanPlayer(plan.name, services.ask),
        "openai": _make_openai,
    }
)

_NOT_HERE: Final[Mapping[str, str]] = MappingProxyType(
    {
        "local": "is a model, which an engine binds",
        "self": "is the policy itself, which an engine binds",
        "snapshot": "is an earlier policy, which an engine binds",
        "pool": "draws the name of another player; `make_pool` makes it",
    }
)


def make_player(plan: OpponentPlan, services: Services | None = None) -> Player:
    """The player that a plan describes.

    Raises:
        UsageError: its type is not one of a player without weights, or its address names no host.
        MachineError: the key of an HTTP player may not be sent to its host, or is not set.
    """
    maker = _MAKERS.get(plan.type)
    if maker is None:
        reason = _NOT_HERE.get(plan.type, f"has type `{plan.type}`; known: {', '.join((*_MAKERS, *_NOT_HERE))}")
        raise UsageError(f"`{plan.name}` {reason}")
    return maker(plan, services or Services())


def make_chat_settings(params: JsonMap) -> ChatSettings:
    """What an `openai` opponent sends with each request; a judge is one, too."""
    extra: Mapping[str, Any] = params.get("extra_body") or {}
    return ChatSettings(
        model=params["model"],
        temperature=params["temperature"],
        top_p=params["top_p"],
        max_tokens=params["max_tokens"],
        seed=params.get("seed"),
        thinking=params["thinking"],
        system=params.get("system"),
        extra_body=extra,
    )


def host_limits(endpoints: Iterable[tuple[str, int | None]]) -> HostLimits:
    """The limits of (base address, most requests at once) pairs; None stands for the default."""
    return HostLimits.smallest((host_of(url), most or DEFAULT_CONCURRENCY) for url, most in endpoints)

"""What HTTP players use, and where it stops: calls, tokens, dollars, failures."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from types import MappingProxyType
from typing import Any, Final

from gift_dsl.errors import LimitReached

_MOST_SERVED: Final = 8


@dataclass(frozen=True, slots=True)
class Usage:
    """What one player has used so far.

    Attributes:
        calls: requests sent, further tries included.
        prompt_tokens, completion_tokens: as the server counted them.
        usd: cost of those tokens.
        unreported: calls that may have cost something, but whose tokens nobody told (cut off, timed out, …).
        usd_unreported: most that these can have cost.
        faults: calls that brought no readable answer, by reason (`http_429`, `timeout`, …).
        unanswered: turns that were given up after all tries.
        served: readable answers by the model and fingerprint that the server named with them, where it named any;
            beyond the first eight they are `others`.
    """

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    usd: float = 0.0
    unreported: int = 0
    usd_unreported: float = 0.0
    faults: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(dict[str, int]()))
    unanswered: int = 0
    served: Mapping[str, int] = field(default_factory=lambda: MappingProxyType(dict[str, int]()))

    def plus(self, bill: Bill) -> Usage:
        """With one more call that has ended."""
        served = bill.served
        if served is not None and served not in self.served and len(self.served) >= _MOST_SERVED:
            served = "others"
        return replace(
            self,
            prompt_tokens=self.prompt_tokens + bill.prompt_tokens,
            completion_tokens=self.completion_tokens + bill.completion_tokens,
            usd=self.usd + (bill.usd if bill.is_reported else 0.0),
            unreported=self.unreported + (not bill.is_reported),
            usd_unreported=self.usd_unreported + (0.0 if bill.is_reported else bill.usd),
            faults=_with_one(self.faults, bill.fault),
            served=_with_one(self.served, served),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for checkpoints and reports."""
        values: dict[str, Any] = {name: getattr(self, name) for name in _FIELDS}
        return {**values, "faults": dict(self.faults), "served": dict(self.served)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Usage:
        """The inverse of `to_json`."""
        faults, served = (MappingProxyType(dict(values.get(name, {}))) for name in ("faults", "served"))
        numbers = {name: value for name, value in values.items() if name not in ("faults", "served")}
        return cls(**numbers, faults=faults, served=served)


_FIELDS: Final = tuple(field.name for field in fields(Usage))


def _with_one(counts: Mapping[str, int], name: str | None) -> Mapping[str, int]:
    return counts if name is None else MappingProxyType({**counts, name: counts.get(name, 0) + 1})


@dataclass(frozen=True, slots=True)
class Bill:
    """How one call ended.

    Attributes:
        usd: its cost; where `is_reported` is False, the most it can have cost.
        prompt_tokens, completion_tokens: 0 where nobody told.
        is_reported: False where the call may have cost something and nobody told how much.
        fault: why there is no readable answer; None where there is one.
        served: what the server said that it is; None where it said nothing, or there is no readable answer.
    """

    usd: float = 0.0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    is_reported: bool = True
    fault: str | None = None
    served: str | None = None


Note = Callable[[str, Usage], None]
"""Is told a player and what it has used, where each call under way counts as one of which nobody tells what it cost."""


def _no_note(player: str, usage: Usage) -> None:
    del player, usage


class Budget:
    """What all HTTP players of a run may use together, and what each has used. Safe to share between threads.

    A call is let through only if it cannot pass a limit even at its highest cost, calls under way included: a limit
    in dollars is never exceeded, as long as a server keeps to `max_tokens` and to its prices.
    """

    def __init__(
        self,
        *,
        opponent_usd: float | None = None,
        opponent_calls: int | None = None,
        used: Mapping[str, Usage] | None = None,
        note: Note = _no_note,
    ) -> None:
        """With the spec's `limits`, and what earlier sessions of the run have used.

        `note` is called before a call is sent and when it has ended, by one thread at a time; it may not call back.
        """
        self._usd, self._calls = opponent_usd, opponent_calls
        self._used = dict(used or {})
        self._under_way = dict[str, tuple[int, float]]()
        self._note = note
        self._lock = threading.Lock()

    def usage(self, player: str) -> Usage:
        """What one player has used; a call under way counts as a call and costs nothing yet."""
        with self._lock:
            return self._used.get(player, Usage())

    def usages(self) -> Mapping[str, Usage]:
        """What each player has used, by name."""
        with self._lock:
            return MappingProxyType(dict(sorted(self._used.items())))

    def start_call(self, player: str, most_usd: float) -> None:
        """Count a call that is about to be sent.

        Args:
            player: who makes it.
            most_usd: the most that it can cost; the same amount goes to `end_call`.

        Raises:
            LimitReached: it could pass a limit. Nothing is counted then.
        """
        with self._lock:
            self._check(player, most_usd)
            used, (calls, usd) = self._used.get(player, Usage()), self._under_way.get(player, (0, 0.0))
            self._used[player] = replace(used, calls=used.calls + 1)
            self._under_way[player] = (calls + 1, usd + most_usd)
            self._tell(player)

    def end_call(self, player: str, most_usd: float, bill: Bill) -> None:
        """Count how a started call ended."""
        with self._lock:
            calls, usd = self._under_way[player]
            self._under_way[player] = (calls - 1, usd - most_usd if calls > 1 else 0.0)
            self._used[player] = self._used[player].plus(bill)
            self._tell(player)

    def give_up(self, player: str) -> None:
        """Count a turn without an answer."""
        with self._lock:
            used = self._used.get(player, Usage())
            self._used[player] = replace(used, unanswered=used.unanswered + 1)
            self._tell(player)

    def _tell(self, player: str) -> None:
        used, (calls, usd) = self._used[player], self._under_way.get(player, (0, 0.0))
        if calls:
            used = replace(used, unreported=used.unreported + calls, usd_unreported=used.usd_unreported + usd)
        self._note(player, used)

    def _check(self, player: str, most_usd: float) -> None:
        calls = sum(used.calls for used in self._used.values())
        if self._calls is not None and calls >= self._calls:
            raise LimitReached(
                f"`limits.opponent_calls` is reached: {calls} calls were made, and `{player}` asks again"
            )
        spent = sum(used.usd + used.usd_unreported for used in self._used.values())
        under_way = sum(usd for _, usd in self._under_way.values())
        if self._usd is not None and spent + under_way + most_usd > self._usd:
            raise LimitReached(
                f"`limits.opponent_usd` is reached: ${spent:.4f} of ${self._usd:g} are spent, "
                f"${under_way:.4f} are under way, and the next call of `{player}` can cost ${most_usd:.4f}"
            )

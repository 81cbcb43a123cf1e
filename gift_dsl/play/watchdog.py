"""Who is waited for when nothing moves: a thread that names the episode, whatever holds it up.

A thread of its own, because a rule that does not come back holds up the loop, and with it every timer of the loop.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from gift_dsl.play.episode import Episode
from gift_dsl.play.keys import Keys
from gift_dsl.play.part import Play
from gift_dsl.seat import Player

_LOG: Final = logging.getLogger(__name__)
_SHORTEST_PAUSE_S: Final = 0.002
_LONGEST_PAUSE_S: Final = 5.0

Runner = Episode | Play
"""What goes on turn by turn: an episode, or the opening of a part of a group."""


@dataclass(slots=True, eq=False)
class Wait:
    """Turns that one answer is waited for.

    Attributes:
        what: what has not happened, as the beginning of a sentence.
        runners: whose turns they are, at least one.
        since: when it began, on the monotonic clock.
        warn_after_s: how long it may take until it is told of; twice as long each time it was.
    """

    what: str
    runners: Sequence[Runner]
    since: float
    warn_after_s: float


class Watchdog:
    """Tells the log of turns that are not answered within their `turn_timeout_s`; a context manager around a loop.

    It only tells. Who gives up, and when, is for the players' own time limits to say.

    Args:
        keys: of the step.
        patience_s: the shortest `turn_timeout_s` that is played with.
        clock: seconds, monotonic.

    Attributes:
        doing: whose turn the loop is busy with itself, and which player has it; no player: the rules. None while the
            loop waits.
    """

    def __init__(self, keys: Keys, patience_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.doing: tuple[Runner, Player | None] | None = None
        self._keys, self._clock = keys, clock
        self._pause_s = min(max(patience_s / 4, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)
        self._waits: dict[Wait, None] = {}
        self._seen: tuple[Runner, Player | None] | None = None
        self._seen_as: Wait | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="gift-watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def watch(self, who: str, runners: Sequence[Runner]) -> Wait:
        """Turns that somebody was asked for; until `forget`."""
        wait = self._wait(f"{who} has not answered", runners)
        self._waits[wait] = None
        return wait

    def forget(self, wait: Wait) -> None:
        """The answer is there."""
        del self._waits[wait]

    def look(self) -> None:
        """Tell of everything that has taken too long."""
        now = self._clock()
        late: dict[str, list[Wait]] = {}
        for wait in [*self._waits, *self._own()]:  # a copy: the loop goes on meanwhile
            if now - wait.since >= wait.warn_after_s:
                late.setdefault(wait.what, []).append(wait)
        for what, waits in late.items():
            self._tell(what, waits, now)

    def _run(self) -> None:
        while not self._ended.wait(self._pause_s):
            self.look()

    def _own(self) -> Sequence[Wait]:
        """What the loop does itself. Only this thread reads the clock for it: a turn may take a few microseconds."""
        doing = self.doing
        if doing is not self._seen:
            self._seen, self._seen_as = doing, None
            if doing is not None:
                runner, player = doing
                who = None if player is None else f"player `{player.name}`"
                what = "the rules have not come back" if who is None else f"{who} has not answered"
                self._seen_as = self._wait(what, [runner])
        return () if self._seen_as is None else (self._seen_as,)

    def _wait(self, what: str, runners: Sequence[Runner]) -> Wait:
        return Wait(what, runners, self._clock(), min(_patience_s(runner) for runner in runners))

    def _tell(self, what: str, waits: Sequence[Wait], now: float) -> None:
        oldest = min(waits, key=lambda wait: wait.since)
        num_others = sum(len(wait.runners) for wait in waits) - 1
        more = f"; so wait {num_others} more" if num_others else ""
        took_s = now - oldest.since
        shown = f"{took_s:.0f}" if took_s >= 10 else f"{took_s:.2g}"
        _LOG.warning("%s for %s s: %s%s", what, shown, self._place(oldest.runners[0]), more)
        for wait in waits:
            wait.warn_after_s = 2 * (now - wait.since)

    def _place(self, runner: Runner) -> str:
        """Enough to play the episode alone."""
        setting, keys = runner.setting, self._keys
        leaf = setting.part.leaf
        label = "" if leaf.label == leaf.game else f" (`{leaf.label}`)"
        group = f"{keys.place}/{setting.key[0]}"
        who = f"episode {group}/{runner.member}" if isinstance(runner, Episode) else f"the opening of group {group}"
        return f"game `{leaf.game}`, part {setting.index + 1}{label}, {who}, seed {keys.seed}, split {keys.split}"


def _patience_s(runner: Runner) -> float:
    return runner.setting.part.leaf.rollout.turn_timeout_s

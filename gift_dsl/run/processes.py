"""The processes of a stage: started and watched by this one, which loads no model; how they end, and their signals."""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NoReturn

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.errors import GiftError
from gift_dsl.run.request import STOPPED, Stop

SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
"""They ask a run to finish its step, save and end."""
_GRACE_S: Final = 20.0
"""Time that the other processes of a stage have to end when one of them has."""
_SETTINGS: Final = ("ACCELERATE_MIXED_PRECISION", "ACCELERATE_DYNAMO_", "ACCELERATE_GRADIENT_", "ACCELERATE_FP8_")
"""Beginnings of variables that accelerate and transformers take for what nobody told a trainer, which a plan leaves
to nobody. `accelerate launch` always sets some, from its own configuration."""
_GONE: Final = ("Connection closed by peer", "Connection reset by peer", "Broken pipe")
_SHOW_CURSOR: Final = "\x1b[?25h"


def end(code: int) -> NoReturn:
    """End this process after its exit handlers, but without taking Python apart, as `multiprocessing` ends its own.

    A thread of a library that lets go of a tensor while Python is taken apart aborts the process. Those of torch's
    groups may: where weights are shared they outlive their group, to which torch 2.13 keeps references in several
    caches (pytorch/pytorch#179291 and #190489).
    """
    threading._shutdown()  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    atexit._run_exitfuncs()  # pyright: ignore[reportPrivateUsage]
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code)


class Signals:
    """What was sent to this process while a run goes on.

    Attributes:
        got: names of the signals, the first first.
        children: they get the first signal as a request to finish the step, and are killed by the second.
    """

    def __init__(self) -> None:
        self.got = Stop()
        self.children: list[subprocess.Popen[bytes]] = []

    def handle(self, number: int, _frame: object) -> None:
        """The first asks to stop; the second ends everything at once, and the last checkpoint counts."""
        is_first = not self.got
        for child in self.children:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM if is_first else signal.SIGKILL)
        if not is_first:
            if sys.stderr.isatty():  # a killed process leaves its bar's cursor hidden
                os.write(2, _SHOW_CURSOR.encode())
            os._exit(self.exit_code)
        self.got.note(number)

    @property
    def exit_code(self) -> int:
        """130 for Ctrl-C, 143 for everything else that asks to stop."""
        return 130 if self.got[0] == "SIGINT" else 143


@contextmanager
def listening() -> Generator[Signals]:
    """Signals are noted until the end of the block."""
    signals = Signals()
    before = {number: signal.signal(number, signals.handle) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class OwnProcesses:
    """Every stage in as many new processes as the plan says.

    Args:
        signals: of this process.
    """

    def __init__(self, signals: Signals) -> None:
        self.signals = signals

    def perform(self, run: RunDirectory, what: str) -> int:
        """Start the processes of one stage and wait for them; the code of the first that failed, else of all."""
        number: int = run.plan.runtime.resources["processes"]
        children = start_together([sys.executable, "-m", "gift_dsl.run.worker", str(run.path), what], number)
        self.signals.children[:] = children
        if self.signals.got:  # it came while they were started
            for child in children:
                child.send_signal(signal.SIGTERM)
        try:
            return wait_for(children, self._code)
        finally:
            self.signals.children.clear()

    def _code(self, code: int) -> int:
        """A process that was asked to stop before it could listen has lost nothing."""
        return STOPPED if self.signals.got and code == -signal.SIGTERM else code


def start_together(command: Sequence[str], number: int) -> list[subprocess.Popen[bytes]]:
    """A command as the ranks of a process group on this machine; each ends when this process does."""
    port = _free_port() if number > 1 else 0
    return [_start(command, _environment(rank, number, port)) for rank in range(number)]


def wait_for(children: Sequence[subprocess.Popen[bytes]], code_of: Callable[[int], int] = int) -> int:
    """The code of the first that failed, else of all; when one fails or leaves early, the others have time to notice.

    Args:
        children: processes that work together; none is left behind, whatever happens.
        code_of: what the exit code of one stands for.
    """
    try:
        return _wait(children, code_of)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdin is not None:
                child.stdin.close()


def _wait(children: Sequence[subprocess.Popen[bytes]], code_of: Callable[[int], int]) -> int:
    left_at: float | None = None
    code = 0
    while True:
        ended = [code_of(one) for child in children if (one := child.poll()) is not None]
        bad = [one for one in ended if one not in (0, STOPPED)]
        code = code or next(iter(bad), 0)
        if len(ended) == len(children):
            return code or max(ended)
        if left_at is None and any(ended):
            left_at = time.monotonic()
        if left_at is not None and time.monotonic() - left_at > _GRACE_S:
            return code or STOPPED
        time.sleep(0.05)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """In a session of its own: Ctrl-C reaches this process alone, which hands it on once."""
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=sys.stderr, env=dict(environment), start_new_session=True
    )


def _environment(rank: int, number: int, port: int) -> Mapping[str, str]:
    ours = {"GIFT_PARENT_PIPE": "1", **quiet_environment()}
    if number > 1:
        ours |= {
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(number),
            "LOCAL_WORLD_SIZE": str(number),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
    return {**{name: value for name, value in os.environ.items() if not name.startswith(_SETTINGS)}, **ours}


def forget_settings() -> None:
    """This process trains as the plan says, whatever a launcher was told or somebody exported."""
    for name in [*os.environ]:
        if name.startswith(_SETTINGS):
            del os.environ[name]


def quiet_environment() -> dict[str, str]:
    """Nothing calls home; `HF_HUB_DISABLE_TELEMETRY` is read by the hub's library and by TRL alike."""
    return {
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRL_EXPERIMENTAL_SILENCE": "1",
    }


class AnotherEndedError(GiftError):
    """An exchange failed as `is_another_gone` says: what is wrong is with another process."""

    def __init__(self) -> None:
        super().__init__("another process of the run has ended; it says why, or was killed (a signal, its memory)")


def is_another_gone(error: BaseException) -> bool:
    """Whether an exchange between processes failed because another one has ended, by the words that gloo has for it.

    Seen with torch 2.13, after SIGKILL of one of two processes: "Connection closed by peer", and "Read error …:
    Connection reset by peer".
    """
    text = str(error)
    return isinstance(error, RuntimeError) and "gloo" in text and any(words in text for words in _GONE)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

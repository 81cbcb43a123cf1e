"""Who writes a run: one command at a time, and the processes that it started.

Locks of the kernel (flock), which ends them when a process dies, however it dies. Nothing has to be cleaned up.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO, cast

from gift_dsl.artifacts.files import explained
from gift_dsl.errors import MachineError

WRITER = ".writer"
RANKS = ".ranks"
_TRY_AGAIN_S = 0.02
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that writes a run; None where it could not be read."""

    pid: int | None
    host: str | None

    def __str__(self) -> str:
        return "another process" if self.pid is None else f"process {self.pid} on {self.host}"


@contextmanager
def hold(folder: Path) -> Generator[None]:
    """Be the one command that writes a run.

    Raises:
        MachineError: another command writes it, or processes of one that was killed still do; both are named.
    """
    with _opened(folder / WRITER) as writer:
        if not _take(writer, shared=False):
            raise MachineError(f"{folder} is being written by {_named(folder / WRITER)}; stop it first")
        with _opened(folder / RANKS) as ranks:
            if not _take(ranks, shared=False):
                raise MachineError(
                    f"{folder} is still being written by {_named(folder / RANKS)}, left behind by a command that was "
                    "killed; stop them first"
                )
            ranks.truncate(0)
        writer.truncate(0)
        _sign(writer)
        try:
            yield
        finally:
            writer.truncate(0)


@contextmanager
def join(folder: Path) -> Generator[None]:
    """Be one of the processes of the command that holds a run.

    A rank that outlives its command, which a kill can do, keeps the next command away until it has ended.

    Raises:
        MachineError: another command is just taking the run.
    """
    with _opened(folder / RANKS) as ranks:
        if not _take(ranks, shared=True):
            raise MachineError(f"{folder} is being taken by another command")
        _sign(ranks)
        yield


def holder(folder: Path) -> Holder | None:
    """Who writes a run now; None when nobody does."""
    for name in (WRITER, RANKS):
        if (folder / name).exists():
            with (folder / name).open("r", encoding="utf-8") as opened:
                if not _take(opened, shared=False, tries=1):
                    return _holders(folder / name)[0]
    return None


def _opened(path: Path) -> TextIO:
    with explained(path):
        return path.open("a+", encoding="utf-8")


def _sign(opened: TextIO) -> None:
    opened.write(json.dumps({"pid": os.getpid(), "host": socket.gethostname()}) + "\n")
    opened.flush()


def _holders(path: Path) -> list[Holder]:
    """Who signed a file, each once; at least one, known or not."""
    found: dict[Holder, None] = {}
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            document = cast("dict[str, object]", json.loads(line))
            found[Holder(int(str(document["pid"])), str(document["host"]))] = None
        except (ValueError, KeyError, TypeError):  # not signed yet: it was opened in this moment
            continue
    return list(found) or [Holder(None, None)]


def _named(path: Path) -> str:
    return ", ".join(map(str, _holders(path)))


def _take(opened: TextIO, *, shared: bool, tries: int = 5) -> bool:
    """Lock a file until it is closed; False when somebody else has it.

    A few tries, because whoever asks for the `holder` has the lock for a moment.
    """
    import fcntl  # not on Windows, which does not train

    kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    for attempt in range(tries):
        try:
            fcntl.flock(opened.fileno(), kind | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_TRY_AGAIN_S if attempt + 1 < tries else 0)
        except OSError as error:  # a network disk without locks
            _log.warning("%s cannot be locked (%s): nothing keeps a second writer away", opened.name, error.strerror)
            return True
        else:
            return True
    return False

"""JSON lines that only grow: one record a line, in the kernel's hands before `append` returns.

A process may be killed at any moment. What it leaves is whole lines and at most one torn one at the end, which has no
line break: readers pass over it, and the next writer removes it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from gift_dsl.artifacts.files import explained, json_line, write_whole
from gift_dsl.errors import MachineError

_PIECE = 1 << 16


class Lines:
    """The writer of one file of JSON lines. One at a time: whoever holds the run.

    Records survive the death of the process once `append` has returned. `sync` makes them survive the machine's.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with explained(path):
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        _drop_torn_end(self._handle)

    def append(self, record: Mapping[str, Any]) -> None:
        """Add one record; numbers that are not finite become null.

        Raises:
            MachineError: the disk is full; the file is as it was.
        """
        self.extend((record,))

    def extend(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Add several records with one write: after a kill, a beginning of them may be there."""
        left = memoryview("".join(json_line(record) + "\n" for record in records).encode())
        size = os.fstat(self._handle).st_size
        with explained(self.path):
            try:
                while left:
                    left = left[os.write(self._handle, left) :]
            except OSError:
                os.ftruncate(self._handle, size)
                raise

    def sync(self) -> None:
        """Wait until all records are on the disk."""
        os.fsync(self._handle)

    def close(self) -> None:
        """Give the file back. No record is lost without it."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _drop_torn_end(handle: int) -> None:
    """Cut a file after its last line break."""
    end = os.fstat(handle).st_size
    while end > 0:
        start = max(0, end - _PIECE)
        found = os.pread(handle, end - start, start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    os.ftruncate(handle, end)


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a file, in order; none where there is no file. A torn last line is passed over.

    Raises:
        MachineError: a whole line is not a JSON object, with its number.
    """
    try:
        opened = path.open("rb")
    except FileNotFoundError:
        return
    with opened:
        for number, line in enumerate(opened, start=1):
            if not line.endswith(b"\n"):
                return
            yield _record(line, f"{path}:{number}")


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record: object = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{where} is damaged: it is not JSON") from error
    if not isinstance(record, dict):
        raise MachineError(f"{where} is damaged: it is not a JSON object")
    return cast("dict[str, Any]", record)


def cut(path: Path, keep: Callable[[dict[str, Any]], bool]) -> int:
    """Remove the records that `keep` refuses and a torn last line, in one step; the number of records removed.

    The lines that stay keep their bytes. Nothing may hold the file open for writing.
    """
    if not path.is_file():
        return 0
    kept: list[bytes] = []
    removed = 0
    with path.open("rb") as opened:
        for number, line in enumerate(opened, start=1):
            if not line.endswith(b"\n"):
                break
            if keep(_record(line, f"{path}:{number}")):
                kept.append(line)
            else:
                removed += 1
    write_whole(path, b"".join(kept))
    return removed


def is_until(stage_index: int, step: int) -> Callable[[Mapping[str, Any]], bool]:
    """Whether a record is of a stage and step up to this one; a record without a step belongs to no step and stays.

    Records say where they belong with `stage_index` and `step`, both counted from 0, steps within their stage.
    """

    def keep(record: Mapping[str, Any]) -> bool:
        stage_of, step_of = record.get("stage_index"), record.get("step")
        if stage_of is None or step_of is None:
            return True
        return (int(stage_of), int(step_of)) <= (stage_index, step)

    return keep

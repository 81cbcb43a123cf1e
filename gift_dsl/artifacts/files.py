"""Files that are whole or not there: written beside their place, flushed to the disk, then renamed into it."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.errors import MachineError

PARTIAL_SUFFIX: Final = ".partial"
"""Ends the name of a file that is being written. One process writes a run, so a name needs no number, and what a
killed process left is overwritten by the next."""

MAX_NAME_BYTES: Final = 100
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._=,+@-]+")
# Windows opens a device for these, whatever follows a dot.
_DEVICES: Final = re.compile(r"(?i)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?")


@contextmanager
def explained(path: Path) -> Generator[None]:
    """Turn a full disk or a read-only place into an error that says so; other errors pass.

    Raises:
        MachineError: there is no space left for `path`, or it may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise MachineError(
                f"the disk is full: {path} could not be written. What was complete before is kept; free some space "
                "and resume the run"
            ) from error
        if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
            raise MachineError(f"{path} may not be written: {error.strerror}") from error
        raise


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step: readers see the old bytes or the new ones, also after a crash of the machine.

    Raises:
        MachineError: the disk is full; `path` is as it was.
    """
    partial = path.with_name(f".{path.name}{PARTIAL_SUFFIX}")
    with explained(path):
        try:
            with partial.open("wb") as draft:
                draft.write(content)
                draft.flush()
                os.fsync(draft.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make names that were added to a folder survive a crash of the machine."""
    if os.name == "nt":  # pragma: no cover - a folder cannot be opened there
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the bytes that somebody else wrote to a file survive a crash of the machine."""
    with path.open("rb") as opened:
        os.fsync(opened.fileno())


def finite(value: object) -> object:
    """JSON data in which each number that is not finite is null: strict JSON has neither NaN nor Infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: finite(item) for key, item in cast("Mapping[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in cast("list[Any]", value)]
    return value


def json_line(value: object) -> str:
    """Strict JSON on one line, without a line break; numbers that are not finite are null."""
    return _strict(value, indent=None, separators=(",", ":"))


def json_text(value: object) -> bytes:
    """Strict JSON for people: indented, keys in the order given, a line break at the end."""
    return (_strict(value, indent=1, separators=(",", ": ")) + "\n").encode()


def _strict(value: object, indent: int | None, separators: tuple[str, str]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)
    except (ValueError, TypeError):  # a number that is not finite, or a mapping that is no dict
        return json.dumps(finite(value), ensure_ascii=False, allow_nan=False, indent=indent, separators=separators)


def read_object(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        MachineError: it holds something else.
    """
    try:
        document: object = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise MachineError(f"{path} is damaged: it is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise MachineError(f"{path} is damaged: it is not a JSON object")
    return cast("dict[str, Any]", document)


def sha256_of(path: Path) -> str:
    """Hex digest of a file's bytes, read in pieces."""
    with path.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def safe_name(text: str) -> str:
    """A file name for any text: one path component, portable, and different for different texts.

    A text that is a portable name already stays as it is; any other gets a part of its digest at the end.
    """
    portable = _UNSAFE.sub("_", text)
    is_plain = text.strip(".") == text != "" and len(text) <= MAX_NAME_BYTES
    if portable == text and is_plain and not _DEVICES.fullmatch(text):
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    stem = portable.strip("._")[: MAX_NAME_BYTES - len(mark) - 1].rstrip(".") or "x"
    return f"{stem}-{mark}"

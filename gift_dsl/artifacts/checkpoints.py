"""Checkpoints that count: a folder that somebody else filled, sealed with the digest of each of its files.

A folder without `complete.json` is one whose writer was killed. It is never read, and never in the way.
"""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from gift_dsl.artifacts.decode import DecodeError, decode
from gift_dsl.artifacts.files import (
    PARTIAL_SUFFIX,
    explained,
    json_text,
    read_object,
    sha256_of,
    sync_file,
    sync_folder,
    write_whole,
)
from gift_dsl.errors import MachineError
from gift_dsl.plan import JsonMap, to_json

CHECKPOINT_SCHEMA: Final = "gift-checkpoint/1"
SEAL: Final = "complete.json"
_FOLDER: Final = re.compile(r"checkpoint-([0-9]+)")
_log: Final = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A complete checkpoint: its folder, the number in its name, and the state that it was sealed with."""

    path: Path
    number: int
    state: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Incomplete:
    """A checkpoint that does not count, and why."""

    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class SealedFile:
    """A file of a checkpoint as it was when it was sealed; the name is relative, with `/`."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Seal:
    """What complete.json holds."""

    schema: str
    state: JsonMap
    files: tuple[SealedFile, ...]


def _files(folder: Path) -> Iterator[Path]:
    """What belongs to a checkpoint, in order of name."""
    for path in sorted(folder.rglob("*")):
        is_own = path.parent == folder and path.name in (SEAL, f".{SEAL}{PARTIAL_SUFFIX}")
        if path.is_file() and not is_own:
            yield path


def seal(folder: Path, state: JsonMap) -> Checkpoint:
    """Make a checkpoint count: digest each file, wait until all are on the disk, then put `complete.json` in place.

    Args:
        folder: `checkpoint-<n>`, filled by somebody else.
        state: JSON data that belongs to it: cursor, pools, baselines.

    Raises:
        MachineError: the disk is full. The folder then does not count, and earlier ones still do.
    """
    with explained(folder / SEAL):
        files = tuple(_sealed(folder, path) for path in _files(folder))
        for below in {path.parent for path in _files(folder)} | {folder, folder.parent}:
            sync_folder(below)
        write_whole(folder / SEAL, json_text(to_json(Seal(CHECKPOINT_SCHEMA, state, files))))
    return Checkpoint(folder, number_of(folder), dict(state))


def _sealed(folder: Path, path: Path) -> SealedFile:
    sync_file(path)
    return SealedFile(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))


def number_of(folder: Path) -> int:
    """The number in the name `checkpoint-<n>`; -1 for another name."""
    found = _FOLDER.fullmatch(folder.name)
    return int(found[1]) if found else -1


def check(folder: Path, *, verify: bool = True) -> Checkpoint | Incomplete:
    """Whether a checkpoint counts.

    Args:
        folder: of the checkpoint.
        verify: read every byte again; without it, only the files' sizes are looked at.

    Returns:
        The checkpoint with its state, or the reason why it does not count.
    """
    try:
        seal_read = cast("Seal", decode(Seal, read_object(folder / SEAL)))
    except FileNotFoundError:
        return Incomplete(folder, f"it has no {SEAL}: whoever wrote it was interrupted")
    except (MachineError, DecodeError) as error:
        return Incomplete(folder, f"its {SEAL} is damaged: {error}")
    if seal_read.schema != CHECKPOINT_SCHEMA:
        return Incomplete(folder, f"its schema is {seal_read.schema}, and this gift reads {CHECKPOINT_SCHEMA}")
    # Sizes before bytes: a file that was cut short is found without reading gigabytes.
    for is_deep in (False, True) if verify else (False,):
        for file in seal_read.files:
            if wrong := _difference(folder / file.name, file, is_deep):
                return Incomplete(folder, f"its file {file.name} {wrong}")
    return Checkpoint(folder, number_of(folder), dict(seal_read.state))


def _difference(path: Path, file: SealedFile, is_deep: bool) -> str | None:
    if is_deep:
        return None if sha256_of(path) == file.sha256 else "has other bytes than when it was sealed"
    if not path.is_file():
        return "is missing"
    size = path.stat().st_size
    return None if size == file.bytes else f"has {size} bytes, and had {file.bytes}"


def _by_number(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    found = [path for path in folder.iterdir() if path.is_dir() and number_of(path) >= 0] if folder.is_dir() else []
    return sorted(found, key=number_of, reverse=True)


def latest(folder: Path) -> Checkpoint | None:
    """The newest complete checkpoint of a folder of `checkpoint-<n>`; None when there is none.

    Each newer one that does not count is named in a warning of the log.
    """
    for path in _by_number(folder):
        match check(path):
            case Checkpoint() as found:
                return found
            case Incomplete() as skipped:
                _log.warning("checkpoint %s is skipped: %s", skipped.path, skipped.reason)
    return None


def prune(folder: Path, keep: int, pinned: Collection[int] = ()) -> list[Path]:
    """Remove old checkpoints; the folders that were removed.

    Kept are the newest complete one (every byte read again), what is newer than it, the `keep` - 1 complete ones
    before it, and those of a `pinned` number. Without a complete one nothing is removed.

    Args:
        folder: of `checkpoint-<n>` folders.
        keep: how many complete ones stay, at least 1.
        pinned: numbers that stay, for an evaluation that names them.
    """
    if keep < 1:
        raise ValueError(f"at least one checkpoint is kept, not {keep}")
    removed: list[Path] = []
    complete = 0
    for path in _by_number(folder):
        counts = isinstance(check(path, verify=complete == 0), Checkpoint)
        is_old = complete >= keep if counts else complete >= 1
        complete += counts
        if is_old and not (counts and number_of(path) in pinned):
            _remove(path)
            removed.append(path)
    return removed


def _remove(path: Path) -> None:
    """Unseal first: what a kill leaves of a removal is then a leftover, and no checkpoint with missing files."""
    (path / SEAL).unlink(missing_ok=True)
    shutil.rmtree(path)

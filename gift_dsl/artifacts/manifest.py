"""manifest-sha256.txt: the digest of every file of a run that will not change, checked with `sha256sum -c`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import PARTIAL_SUFFIX, sha256_of, write_whole
from gift_dsl.artifacts.hold import RANKS, WRITER
from gift_dsl.errors import MachineError

STILL_CHANGING: Final = frozenset({"status.json", "log.txt", "report.html"})
"""Written after the manifest, or again at any time, at the top of a run."""


def covered_files(folder: Path, manifest: str) -> Iterator[str]:
    """Names of the files that a manifest of this name covers, relative with `/`, in order."""
    left_out = STILL_CHANGING | {manifest, WRITER, RANKS}
    found: list[str] = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        is_partial = path.name.startswith(".") and path.name.endswith(PARTIAL_SUFFIX)
        if path.is_file() and not path.is_symlink() and name not in left_out and not is_partial:
            found.append(name)
    yield from sorted(found)


def write_manifest(run: RunDirectory) -> Path:
    """Write the manifest of a run; where it is. The bytes depend on the covered files alone."""
    lines = [_line(name, sha256_of(run.path / name)) for name in covered_files(run.path, run.manifest.name)]
    write_whole(run.manifest, "".join(lines).encode("utf-8", "surrogateescape"))
    return run.manifest


def _line(name: str, digest: str) -> str:
    """A line of GNU sha256sum: a name with a backslash or a line break is escaped, and so its line begins with one."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return f"{'' if escaped == name else chr(92)}{digest}  {escaped}\n"


def read_manifest(path: Path) -> dict[str, str]:
    """Name to digest.

    Raises:
        MachineError: there is no manifest, or a line of it is none.
    """
    try:
        lines = path.read_bytes().decode("utf-8", "surrogateescape").split("\n")
    except FileNotFoundError as error:
        raise MachineError(f"{path} is missing: the run did not come to its end") from error
    found: dict[str, str] = {}
    for number, line in enumerate(lines[:-1], start=1):
        digest, gap, name = line.removeprefix("\\").partition("  ")
        if not gap or len(digest) != 64:
            raise MachineError(f"{path}:{number} is damaged: it is not a digest and a name")
        found[_unescaped(name) if line.startswith("\\") else name] = digest
    return found


def _unescaped(name: str) -> str:
    pieces = name.split("\\\\")
    return "\\".join(piece.replace("\\n", "\n").replace("\\r", "\r") for piece in pieces)


def check_manifest(run: RunDirectory) -> list[str]:
    """What differs from the manifest of a run, one sentence a file; empty when nothing does.

    Raises:
        MachineError: there is no manifest, or it is damaged.
    """
    written = read_manifest(run.manifest)
    there = set(covered_files(run.path, run.manifest.name))
    wrong = [f"{name} is missing" for name in sorted(written.keys() - there)]
    wrong += [f"{name} is new" for name in sorted(there - written.keys())]
    changed = (name for name in sorted(there & written.keys()) if sha256_of(run.path / name) != written[name])
    return wrong + [f"{name} was changed" for name in changed]

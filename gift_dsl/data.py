"""Datasets and weights as files: fingerprints by hashlib, rows by `datasets` (inside functions only)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

from gift_dsl.plan import FilePrint
from gift_dsl.settings import shipped

_CHUNK: Final = 1 << 20
_ABSENT: Final = "not on this machine"
_WEIGHTS: Final = (".safetensors", ".json", ".txt", ".model", ".jinja")


def is_local(source: str) -> bool:
    """Whether a source is a path (starts with `.`, `/` or `~`) and not a hub id."""
    return source.startswith((".", "/", "~"))


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def _blob_sha256(path: Path) -> str:
    """The digest of a file; a hub cache names its large blobs by it, so those need not be read."""
    target = path.resolve()
    name = target.name
    named = target.parent.name == "blobs" and len(name) == 64 and all(c in "0123456789abcdef" for c in name)
    return name if named else _sha256(target)


def _files(root: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    if root.is_file():
        yield root
        return
    for path in sorted(root.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden and (not suffixes or path.name.endswith(suffixes)):
            yield path


def fingerprint(root: Path, suffixes: tuple[str, ...] = ()) -> str | None:
    """One digest for a file or folder: of the names and digests of its files; None when there are none.

    Args:
        root: a file, or a folder that is searched to its end; hidden files are left out.
        suffixes: only files that end so; all when empty.
    """
    digest, found = hashlib.sha256(), False
    for path in _files(root, suffixes):
        name = path.name if root.is_file() else path.relative_to(root).as_posix()
        digest.update(f"{name}\0{_blob_sha256(path)}\n".encode())
        found = True
    return digest.hexdigest() if found else None


def hub_snapshot(kind: Literal["model", "dataset"], name: str, revision: str | None) -> Path | None:
    """The folder of a hub repository in this machine's cache, or None. Reads no network."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE") or home / "hub")
    repository = cache / f"{kind}s--{name.replace('/', '--')}"
    commit = revision or "main"
    reference = repository / "refs" / commit
    if reference.is_file():
        commit = reference.read_text(encoding="utf-8").strip()
    snapshot = repository / "snapshots" / commit
    return snapshot if snapshot.is_dir() else None


def _print(label: str, kind: Literal["model", "dataset"], source: str, revision: str | None, folder: Path) -> FilePrint:
    suffixes = _WEIGHTS if kind == "model" else ()
    if is_local(source):
        root = folder / Path(source).expanduser()
        digest = fingerprint(root, suffixes) if root.exists() else None
        return FilePrint(label, digest, None if digest else f"{source} does not exist or is empty")
    snapshot = hub_snapshot(kind, source, revision)
    digest = fingerprint(snapshot, suffixes) if snapshot is not None else None
    return FilePrint(label, digest, None if digest else _ABSENT)


def fingerprint_dataset(source: str, name: str | None, revision: str | None, folder: Path) -> FilePrint:
    """Identity of a dataset's files.

    Args:
        source: hub id or local path; relative paths start at `folder`.
        name: configuration; part of the label only.
        revision: commit of a hub dataset.
        folder: where the spec stands.
    """
    return _print(f"{source}:{name}" if name else source, "dataset", source, revision, folder)


def fingerprint_model(source: str, revision: str | None, folder: Path) -> FilePrint:
    """Identity of a model's weights, configuration and tokenizer."""
    return _print(source, "model", source, revision, folder)


def fingerprint_files(names: list[str], folder: Path) -> tuple[FilePrint, ...]:
    """Identity of each of several local files or folders."""
    return tuple(_print(name, "dataset", name if is_local(name) else f"./{name}", None, folder) for name in names)


def fingerprint_shipped(names: tuple[str, ...]) -> FilePrint | None:
    """Identity of shipped game data, by names below `games/`; None when there are none."""
    if not names:
        return None
    digests = [f"{name}\0{_sha256(shipped('games') / name)}\n" for name in names]
    return FilePrint(", ".join(names), hashlib.sha256("".join(digests).encode()).hexdigest())

"""Datasets and weights as files: fingerprints by hashlib, rows by `datasets` (inside functions only)."""

from __future__ import annotations

import hashlib
import logging
import os
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any, Final, Literal, cast

from gift_dsl.errors import MachineError
from gift_dsl.plan import FilePrint
from gift_dsl.settings import shipped

_COMMIT: Final = re.compile("[0-9a-f]{40}")
_CHUNK: Final = 1 << 20
_OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
_HUB_TIMEOUT_S: Final = 5.0
_ABSENT: Final = "not on this machine"
_WEIGHTS: Final = (".safetensors", ".json", ".txt", ".model", ".jinja")
_ROWS: Final = (
    ".jsonl", ".json", ".csv", ".tsv", ".parquet", ".arrow", ".txt", ".md", ".yaml", ".gz", ".zst", ".xz", ".zip",
)  # fmt: skip
"""Ends of the files of a dataset in the hub's layout, its card included, which names configurations and splits."""
TOKENIZER: Final = (
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "chat_template.json",
    ".jinja", "vocab.json", "vocab.txt", "merges.txt", ".model", ".tiktoken",
)  # fmt: skip
"""Ends of the files of a tokenizer."""
_Kind = Literal["model", "dataset", "tokenizer"]
MAX_FILES: Final = 20_000
"""Entries of a folder that are looked at: who names `/usr` has mistyped a path, and is to be told so in time."""


def is_local(source: str) -> bool:
    """Whether a source is a path (starts with `.`, `/` or `~`) and not a hub id."""
    return source.startswith((".", "/", "~"))


def is_commit(revision: str | None) -> bool:
    """Whether a revision of the hub names a commit, and not a branch or a tag, which may move."""
    return revision is not None and _COMMIT.fullmatch(revision) is not None


def _sha256(path: Path) -> str:
    """The digest of a file's bytes, as many as it says it has: what the system makes up while it is read has no end."""
    digest, left = hashlib.sha256(), path.stat().st_size
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(_CHUNK, left))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()


def _blob_sha256(path: Path) -> str:
    """The digest of a file; a hub cache names its large blobs by it, so those need not be read."""
    target = path.resolve()
    name = target.name
    named = target.parent.name == "blobs" and len(name) == 64 and all(c in "0123456789abcdef" for c in name)
    return name if named else _sha256(target)


def _files(root: Path, suffixes: tuple[str, ...], *, deep: bool) -> Sequence[Path]:
    """A file, or those of a folder in order, without hidden ones.

    Raises:
        MachineError: the folder holds more than `MAX_FILES` entries.
        OSError: as the system raises it.
    """
    if root.is_file():
        return [root]
    found: list[Path] = []
    for number, entry in enumerate(_entries(root, deep=deep)):
        if number == MAX_FILES:
            raise MachineError(f"{root} holds more than {MAX_FILES:,} files; name the folder of what is meant")
        if (not suffixes or entry.name.endswith(suffixes)) and entry.is_file():
            found.append(Path(entry.path))
    return sorted(found)


def _entries(folder: Path, *, deep: bool) -> Iterator[os.DirEntry[str]]:
    """What a folder holds and, if asked, the folders in it; neither hidden things nor links to folders are entered."""
    waiting = [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if not entry.name.startswith("."):
                    yield entry
                    if deep and entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)


def fingerprint(root: Path, suffixes: tuple[str, ...] = (), *, deep: bool = True) -> str | None:
    """One digest for a file or folder: of the names and digests of its files; None when there are none.

    Args:
        root: a file, or a folder that is searched to its end; hidden files are left out.
        suffixes: only files that end so; all when empty.
        deep: whether the folders in a folder are searched too.

    Raises:
        MachineError: a file cannot be read, or there are more than `MAX_FILES` of them.
    """
    digest, path = hashlib.sha256(), root
    try:
        files: Sequence[Path] = _files(root, suffixes, deep=deep) if root.exists() else ()
        for path in files:
            name = path.name if root.is_file() else path.relative_to(root).as_posix()
            digest.update(f"{name}\0{_blob_sha256(path)}\n".encode())
    except OSError as error:
        raise MachineError(f"{error.filename or path} cannot be read: {error.strerror or error}") from error
    return digest.hexdigest() if files else None


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


def _print(label: str, kind: _Kind, source: str, revision: str | None, folder: Path) -> FilePrint:
    local = is_local(source)
    repository = "dataset" if kind == "dataset" else "model"
    root = folder / Path(source).expanduser() if local else hub_snapshot(repository, source, revision)
    absent = f"{source} does not exist or is empty" if local else _ABSENT
    try:
        digest = None if root is None else _digest(kind, root)
    except MachineError as error:
        return FilePrint(label, None, str(error))
    return FilePrint(label, digest, None if digest else absent)


def _digest(kind: _Kind, root: Path) -> str | None:
    """Of the files that a reader of this kind opens: a model lies in one folder, a dataset in several."""
    if kind == "dataset":
        return fingerprint(root, _ROWS)
    return fingerprint(root, _WEIGHTS if kind == "model" else TOKENIZER, deep=False)


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


def digest_of_folder(folder: Path, kind: Literal["model", "play"]) -> str | None:
    """The digest of a model's files, or of all files of a run's play; None where there are none.

    Raises:
        MachineError: a file cannot be read.
    """
    return fingerprint(folder) if kind == "play" else _digest("model", folder)


def fingerprint_tokenizer(source: str, folder: Path) -> FilePrint:
    """Identity of a tokenizer that stands apart from its model: of its words, its settings and its chat template."""
    return _print(source, "tokenizer", source, None, folder)


def fingerprint_files(names: list[str], folder: Path) -> tuple[FilePrint, ...]:
    """Identity of each of several local files or folders."""
    return tuple(_print(name, "dataset", name if is_local(name) else f"./{name}", None, folder) for name in names)


def fingerprint_shipped(names: tuple[str, ...]) -> FilePrint | None:
    """Identity of shipped game data, by names below `games/`; None when there are none."""
    if not names:
        return None
    digests = [f"{name}\0{_sha256(shipped('games') / name)}\n" for name in names]
    return FilePrint(", ".join(names), hashlib.sha256("".join(digests).encode()).hexdigest())


_READERS: Final[Mapping[str, str]] = {
    ".jsonl": "json",
    ".json": "json",
    ".csv": "csv",
    ".parquet": "parquet",
}


def load(source: str, name: str | None, revision: str | None, split: str, folder: Path) -> list[dict[str, Any]]:
    """The rows of one split of a dataset.

    Args:
        source: hub id, or a local file (.jsonl, .json, .csv, .parquet) or folder in the hub's layout.
        name: its configuration.
        revision: commit of a hub dataset.
        split: name of the split; a single file is all `train`.
        folder: relative paths start here.

    Raises:
        MachineError: it is not there or cannot be read; the message names it and, for a split, those that exist.
    """
    import datasets as library  # pyright: ignore[reportMissingTypeStubs]
    from datasets.exceptions import DatasetsError  # pyright: ignore[reportMissingTypeStubs]

    datasets: Any = library  # its functions are only half typed
    datasets.disable_progress_bars()  # of reading; a download has its own
    path = folder / Path(source).expanduser() if is_local(source) else None
    if path is not None and not path.exists():
        raise MachineError(f"the dataset {source} does not exist (looked for {path})")
    reader = _READERS.get(path.suffix) if path is not None and path.is_file() else None
    problem: str | None = None
    try:
        with _reading_quietly():
            if reader is not None:
                found = datasets.load_dataset(reader, data_files={split: str(path)}, split=split)
            elif path is not None:
                found = datasets.load_dataset(str(path), name=name, split=split)
            else:
                with hub_within_reach() as problem:
                    found = datasets.load_dataset(source, name=name, revision=revision, split=split)
    except (OSError, ValueError, StopIteration, DatasetsError) as error:
        if problem is not None:
            raise MachineError(f"the dataset {source} is not on this machine, and {problem}") from error
        raise MachineError(f"split `{split}` of the dataset {source} cannot be loaded: {_cause(error)}") from error
    return [dict(cast("Mapping[str, Any]", row)) for row in found]


@contextmanager
def _reading_quietly() -> Generator[None]:
    """A block in which readers of files do not log what they raise as well."""
    readers = logging.getLogger("datasets.packaged_modules")
    level = readers.level
    readers.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        readers.setLevel(level)


def _cause(error: Exception) -> str:
    """Why a dataset cannot be loaded; what the library says of files that it cannot make rows of is in their cause."""
    cause = error.__cause__ or error
    # so it fails where the first file, or every file, holds nothing
    is_empty = isinstance(cause, StopIteration) or type(cause).__name__ == "EmptyDataError"  # of pandas
    if is_empty or "corresponds to no data" in str(cause):
        return "it holds no rows, or a file of it holds none"
    return str(error) if cause is error else f"{error}: {cause}"


@contextmanager
def hub_within_reach() -> Generator[str | None]:
    """A block in which the hub's libraries fail at once where it cannot be reached, instead of after 23 s each time.

    They take what this machine has of it. Yields why the hub cannot be reached; None where it can.
    """
    problem = "the hub is switched off by HF_HUB_OFFLINE or the like" if is_offline() else _hub_problem(_endpoint())
    if problem is None:
        yield None
        return
    import datasets.config as of_datasets  # pyright: ignore[reportMissingTypeStubs]
    import huggingface_hub.constants as of_hub

    switches: tuple[Any, ...] = (of_datasets, of_hub)
    before = [switch.HF_HUB_OFFLINE for switch in switches]
    try:
        for switch in switches:
            switch.HF_HUB_OFFLINE = True
        yield problem
    finally:
        for switch, value in zip(switches, before, strict=True):
            switch.HF_HUB_OFFLINE = value


def is_offline() -> bool:
    """Whether the user's environment forbids asking the hub."""
    return bool(offline_variables())


def offline_variables() -> list[str]:
    """Names of the environment variables that forbid it."""
    return [name for name in _OFFLINE if os.environ.get(name, "").lower() in ("1", "on", "true", "yes")]


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "").strip() or "https://huggingface.co"


@lru_cache(maxsize=4)
def _hub_problem(endpoint: str) -> str | None:
    """Why nobody answers there, found in one attempt through this machine's proxies; None where somebody does."""
    answers: SimpleQueue[str | None] = SimpleQueue()
    # in a thread: looking up a name has no time limit of its own
    Thread(target=lambda: answers.put(_attempt(endpoint)), daemon=True).start()
    try:
        reason = answers.get(timeout=_HUB_TIMEOUT_S)
    except Empty:
        reason = f"no answer within {_HUB_TIMEOUT_S:g} s"
    if reason is None:
        return None
    return f"the hub ({endpoint}) cannot be reached: {reason}; without a network set HF_HUB_OFFLINE=1"


def _attempt(endpoint: str) -> str | None:
    from ssl import SSLError
    from urllib.error import HTTPError, URLError
    from urllib.request import Request, build_opener

    try:
        with build_opener().open(Request(endpoint, method="HEAD"), timeout=_HUB_TIMEOUT_S):
            return None
    except HTTPError as error:  # somebody answers
        error.close()
        return None
    except URLError as error:  # certificates are the libraries' to check, with those that they know
        return None if isinstance(error.reason, SSLError) else str(error.reason)
    except (OSError, ValueError) as error:
        return str(error)


def slots(number: int) -> Any:
    """Make a `datasets.Dataset` of one row a step; its `prompt`, the number of the step, is all that TRL is to know."""
    import datasets as library  # pyright: ignore[reportMissingTypeStubs]

    datasets: Any = library
    return datasets.Dataset.from_dict({"prompt": [str(step) for step in range(number)]})

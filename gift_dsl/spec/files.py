"""Which files a spec may read, and reading them: regular files of at most 1 MiB, under one root, through no link.

A spec is something people share. What it names (`extends`, a game file, a template) is read on the machine of whoever
runs it, so it must not reach beyond the project that holds it, and must not block or fill the memory.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.source import MAX_BYTES, decode
from gift_dsl.spec.suggest import did_you_mean

_ROOT_MARKS: Final = (".git", "pyproject.toml", "gift.toml", ".gift")
_FOREIGN: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:|[/~]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_SUFFIXES: Final = frozenset({".yaml", ".yml", ".json"})


@frozen
class Refusal:
    """Why a reference to a file is not followed."""

    code: str
    message: str
    hint: str | None = None

    def at(self, span: Span) -> Diagnostic:
        """The refusal as a diagnostic at the place of the reference."""
        return Diagnostic(self.code, self.message, span, hint=self.hint)


def project_root(directory: Path) -> Path:
    """The folder that a spec in `directory` (resolved) may read from.

    The nearest ancestor, the directory included, that holds .git, pyproject.toml, gift.toml or .gift; failing that
    the directory's parent, so that `../base.yaml` works; never the root of the file system.
    """
    for folder in (directory, *directory.parents):
        if folder != folder.parent and any(os.path.lexists(folder / mark) for mark in _ROOT_MARKS):
            return folder
    return directory if directory.parent == directory.parent.parent else directory.parent


def locate_file(reference: str, directory: Path, root: Path, word: str) -> Path | Refusal:
    """The file that a spec means by `reference`.

    Args:
        reference: a relative path with forward slashes, as written in the spec.
        directory: the resolved folder of the file that says it.
        root: as `project_root` gives it.
        word: first part of the codes of refusals: `extends` gives `extends-outside`, `extends-missing`.

    Returns:
        The absolute path of something under `root` that is reached through no link; or why there is none.
    """
    if not reference.strip() or _CONTROL.search(reference):
        return Refusal(f"{word}-missing", f"{reference!r} is not a file name")
    if _FOREIGN.match(reference) or "\\" in reference:
        hint = "copy the file into the project and give its path relative to this file, with forward slashes"
        return Refusal(f"{word}-outside", f"`{reference}` is not a relative path to a local file", hint)
    target = Path(os.path.normpath(directory / reference))
    if not target.is_relative_to(root):
        message = f"`{reference}` leaves the project folder `{root}`"
        return Refusal(f"{word}-outside", message, "move the file into the project")
    if not os.path.lexists(target):
        return Refusal(f"{word}-missing", f"there is no file `{reference}`", _similar_files(target.parent, reference))
    if os.path.realpath(target) != str(target):  # unlike Path.resolve this bears links that lead to themselves
        return Refusal("file-symlink", f"`{reference}` is reached through a symbolic link", "name the file itself")
    return target


def _similar_files(folder: Path, reference: str) -> str | None:
    suffixes = {Path(reference).suffix} - _SUFFIXES or _SUFFIXES
    try:
        names = sorted(file.name for file in folder.iterdir() if file.suffix in suffixes)
    except OSError:
        return "the folder does not exist"
    prefix = reference[: -len(Path(reference).name)]
    return did_you_mean(reference, [prefix + name for name in names])


def read_source(path: Path, file: str, span: Span | None = None) -> tuple[str | None, list[Diagnostic]]:
    """The text of a spec file, or None and why not.

    Args:
        path: where the file is. Its last part may not be a symbolic link.
        file: the name that spans get.
        span: who asks for the file; without it the diagnostics stand at the file's first line.
    """
    data = _read_bytes(path, file)
    if isinstance(data, Refusal):
        return None, [data.at(span or Span(file, 1, 1, 1, 1))]
    return decode(data, file)


def _read_bytes(path: Path, file: str) -> bytes | Refusal:
    try:
        if path.is_symlink():
            hint = f"name the file itself: {os.path.realpath(path)}"
            return Refusal("file-symlink", f"`{file}` is a symbolic link", hint)
        # O_NONBLOCK: opening a pipe must not wait for its writer
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return Refusal("file-missing", f"there is no file `{file}`", _similar_files(path.parent, file))
    except (OSError, ValueError) as error:
        return Refusal("file-unreadable", f"`{file}` cannot be read: {getattr(error, 'strerror', None) or error}")
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return Refusal("file-not-regular", f"`{file}` is not a regular file")
    with os.fdopen(descriptor, "rb") as stream:
        return stream.read(MAX_BYTES + 1)

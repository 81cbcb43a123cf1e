"""`gift init`: a project to start from, made of a shipped spec, the schema for editors and what git should ignore."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from gift_dsl.errors import MachineError, UsageError
from gift_dsl.settings import shipped
from gift_dsl.spec.suggest import did_you_mean

SCHEMA_FILE: Final = ".gift/gift-spec-v1.schema.json"
"""Where the schema lies in a project. It is committed: an editor then checks a fresh clone without gift."""
_MODELINE: Final = "# yaml-language-server: $schema="
_IGNORED: Final = ("runs/", ".env")


def starters() -> dict[str, Path]:
    """The specs that a project can start from, by name."""
    folder = shipped("specs")
    paths = [*sorted(folder.glob("*.yaml")), *sorted(folder.glob("starters/*.yaml"))]
    return {path.stem: path for path in paths}


def init_project(folder: Path, start: str) -> list[Path]:
    """Write a starter spec, the schema it names on its first line, and `.gitignore`.

    Lines that a `.gitignore` already there lacks are added to it; nothing else is changed.

    Returns:
        The files written, the spec first.

    Raises:
        UsageError: there is no such starter, or a file would be overwritten; nothing is written then.
        MachineError: the folder cannot be written.
    """
    known = starters()
    if start not in known:
        hint = did_you_mean(start, known) or "`gift list starters` names them"
        raise UsageError(f"there is no starter `{start}`; {hint}")
    from gift_dsl.spec.schema import schema_text

    spec, schema, text = folder / f"{start}.yaml", folder / SCHEMA_FILE, schema_text()
    if spec.exists():
        raise UsageError(f"{spec} is there already; remove it, or start in another folder")
    if schema.exists() and schema.read_text(encoding="utf-8") != text:
        raise UsageError(f"{schema} is of another version of gift; renew it with `gift schema --out {schema}`")
    new = {spec: _with_modeline(known[start].read_text(encoding="utf-8"))}
    if not schema.exists():
        new[schema] = text
    ignored = _ignored(folder / ".gitignore")
    if ignored is not None:
        new[folder / ".gitignore"] = ignored
    try:
        for path, body in new.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(body, encoding="utf-8")
    except OSError as error:
        raise MachineError(f"{error.filename} cannot be written: {error.strerror}") from error
    return list(new)


def _with_modeline(text: str) -> str:
    """The spec with the schema of its own folder named on line 1."""
    body = text.partition("\n")[2] if text.startswith(_MODELINE) else text
    return f"{_MODELINE}{SCHEMA_FILE}\n{body}"


def _ignored(path: Path) -> str | None:
    """A `.gitignore` with the lines that it lacks; None where it lacks none."""
    old = path.read_text(encoding="utf-8") if path.is_file() else ""
    missing = [line for line in _IGNORED if line not in old.splitlines()]
    gap = "\n" if old and not old.endswith("\n") else ""
    return old + gap + "".join(f"{line}\n" for line in missing) if missing else None

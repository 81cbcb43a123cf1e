"""What the final evaluation of a run wrote, as a comparison reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.files import read_object
from gift_dsl.errors import MachineError
from gift_dsl.run.request import BENCHMARKS, FINAL

SCHEMAS: Final[Mapping[str, str]] = {FINAL: "gift-final/1", BENCHMARKS: "gift-final-benchmarks/1"}
"""By name of the file: what it says it is."""


def tested_checkpoint(run: RunDirectory, name: str) -> tuple[str, Mapping[str, Any]] | None:
    """The checkpoint that counts, and what was found of it: the finished model, or the last one that was tested.

    Args:
        run: its directory.
        name: `final` (games) or `benchmarks`.

    Returns:
        Name of the checkpoint and its result; None where there was no such evaluation.

    Raises:
        MachineError: the file is damaged, or of another version.
    """
    path = run.evaluation / f"{name}.json"
    try:
        document = read_object(path)
    except FileNotFoundError:
        return None
    if document.get("schema") != SCHEMAS[name]:
        raise MachineError(
            f"{path} is not of this version: its schema is {document.get('schema')!r}, not {SCHEMAS[name]}"
        )
    found = cast("dict[str, dict[str, Any]]", document.get("checkpoints"))
    if not found:
        raise MachineError(f"{path} is damaged: it has no checkpoints")
    checkpoint = "final" if "final" in found else list(found)[-1]
    return checkpoint, found[checkpoint]

"""status.json: what a run is doing, for people and for the next command. Replaced in one step each time."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal, cast

from gift_dsl.artifacts.decode import DecodeError, decode
from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.errors import MachineError
from gift_dsl.plan import to_json

RUN_SCHEMA: Final = "gift-run/1"
RUN_FAMILY, RUN_VERSION = "gift-run", 1
_OLDEST: Final = 1

State = Literal["running", "stopped", "failed", "done"]
"""`stopped`: by a signal or a limit, to be resumed. `failed`: by an error. A run that says `running` and that nobody
holds was killed."""


def now() -> str:
    """The time in UTC, as `2026-01-31T12:00:00Z`."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True, slots=True)
class Status:
    """What a run is doing.

    Attributes:
        state: see `State`.
        stage: name of the stage it is in; None before the first and after the last.
        step: last step that was finished in that stage, counted from 0; None before it.
        reason: why it stopped or failed; None otherwise.
        wall_s: seconds that its sessions have taken together, from when each held the run to its last word.
        started: when the run was made; stays when it is resumed.
        updated: when this was written.
        pid, host: of the process that wrote it.
        schema: version of the run directory.
    """

    state: State
    stage: str | None = None
    step: int | None = None
    reason: str | None = None
    wall_s: float = 0.0
    started: str = field(default_factory=now)
    updated: str = field(default_factory=now)
    pid: int = field(default_factory=os.getpid)
    host: str = field(default_factory=socket.gethostname)
    schema: str = RUN_SCHEMA


def write_status(path: Path, status: Status) -> None:
    """Replace status.json in one step."""
    write_whole(path, json_text({"schema": status.schema, **to_json(status)}))


def read_status(path: Path) -> Status:
    """The status in a file of this schema or an older one.

    Raises:
        FileNotFoundError: there is no such file.
        MachineError: it is damaged, or of a newer version of gift.
    """
    document = read_object(path)
    check_schema(document.get("schema"), path)
    try:
        return cast("Status", decode(Status, document))
    except DecodeError as error:
        raise MachineError(f"{path} is damaged: {error}") from error


def check_schema(schema: object, path: Path) -> None:
    """Refuse what this version of gift does not know.

    Raises:
        MachineError: the schema is of no run directory, or of a newer one.
    """
    family, _, version = schema.partition("/") if isinstance(schema, str) else ("", "", "")
    if family != RUN_FAMILY or not version.isdecimal() or int(version) < _OLDEST:
        raise MachineError(f"{path} is of no run: its `schema` is {schema!r}, not {RUN_SCHEMA}")
    if int(version) > RUN_VERSION:
        raise MachineError(
            f"{path} was written by a newer gift: its schema is {schema}, and this one reads up to {RUN_SCHEMA}; "
            "upgrade gift-dsl"
        )

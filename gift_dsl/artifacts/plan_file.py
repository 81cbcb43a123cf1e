"""plan.json: written before the first step, and what each rank and each resume loads."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from gift_dsl.artifacts.decode import DecodeError, decode
from gift_dsl.artifacts.files import json_text, read_object, write_whole
from gift_dsl.errors import MachineError
from gift_dsl.plan import PLAN_SCHEMA, JsonMap, Plan, to_json


def from_json(document: JsonMap) -> Plan:
    """The plan whose plain JSON data (`plan.to_json`) is `document`.

    Raises:
        DecodeError: it is not the data of a plan of this version, with the place that does not fit.
    """
    schema = document.get("schema")
    if schema != PLAN_SCHEMA:
        raise DecodeError(f"schema: expected {PLAN_SCHEMA}, got {schema!r}")
    return cast("Plan", decode(Plan, document))


def read_plan(path: Path) -> Plan:
    """The plan in a file.

    Raises:
        MachineError: there is no such file, or it holds no plan of this version.
    """
    try:
        return from_json(read_object(path))
    except FileNotFoundError as error:
        raise MachineError(f"there is no plan at {path}") from error
    except DecodeError as error:
        raise MachineError(f"{path} is not a plan that this version of gift can run: {error}") from error


def write_plan(path: Path, plan: Plan) -> None:
    """Write a plan in one step. Its bytes depend on the plan alone."""
    write_whole(path, json_text(to_json(plan)))

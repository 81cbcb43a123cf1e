"""What differs between two plans, and whether a run may go on with the difference."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, Final, Literal, cast

from gift_dsl.plan import frozen

Means = Literal["can resume", "changes results: new run"]
_NAMED: Final = ("stages", "games", "opponents")
_DERIVED: Final = (("spec_hash",), ("runtime", "folder"))
_LONGEST: Final = 80


@frozen
class Change:
    """One value that differs. `path` is dotted, with stages, games and opponents by name."""

    path: str
    old: Any
    new: Any
    means: Means

    def to_json(self) -> dict[str, Any]:
        """The change as plain data; long texts are cut."""
        return {"path": self.path, "old": _shown(self.old), "new": _shown(self.new), "means": self.means}


def _shown(value: Any) -> Any:
    if isinstance(value, str | dict | list):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return value


def _by_name(value: Any) -> Any:
    """Lists of things with a name as maps, so that an inserted one does not shift all others."""
    if not isinstance(value, list):
        return value
    items = cast("list[Any]", value)
    named = bool(items) and all(isinstance(item, dict) and "name" in item for item in items)
    return {str(item["name"]): item for item in items} if named else items


def _walk(old: Any, new: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any, Any]]:
    if len(path) == 1 and path[0] in _NAMED:
        old, new = _by_name(old), _by_name(new)
    if isinstance(old, dict) and isinstance(new, dict):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in dict.fromkeys([*before, *after]):
            yield from _walk(before.get(key), after.get(key), (*path, key))
    elif old != new:
        yield path, old, new


def _means(path: tuple[str, ...], old: Any, new: Any, plan: dict[str, Any]) -> Means:
    if path[0] == "runtime":
        return "can resume"
    grows = path[0] == "stages" and path[2:] in (("until", "max_steps"), ("schedule_steps",))
    if grows and isinstance(old, int) and isinstance(new, int) and new > old:
        stage = next((s for s in plan["stages"] if s["name"] == path[1]), None)
        if stage is not None and stage["algorithm"] is not None and stage["algorithm"]["schedule"] == "constant":
            return "can resume"
    return "changes results: new run"


def compare_plans(old: dict[str, Any], new: dict[str, Any]) -> tuple[Change, ...]:
    """Every value that differs between two plans as JSON data, in the order of the plan."""
    found = [item for item in _walk(old, new, ()) if item[0] not in _DERIVED]
    return tuple(Change(".".join(path), a, b, _means(path, a, b, new)) for path, a, b in found)

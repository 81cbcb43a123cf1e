"""What differs between two plans, and whether a run may go on with the difference."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, Final, Literal, cast

from gift_dsl.plan import frozen

Means = Literal["can resume", "changes results: new run"]
_NAMED: Final = ("stages", "games", "opponents")
_DERIVED: Final = (("spec_hash",), ("runtime", "folder"))
_PRINT: Final = {"name", "sha256", "reason"}
"""Keys of a `FilePrint`."""
_BY_ENDPOINT: Final = {"base_urls": "base_url", "concurrency": "concurrency"}
"""Parts of the runtime block by endpoint, and what the spec calls one of their values."""
_LONGEST: Final = 80
_Path = tuple[str, ...]
_Found = tuple[_Path, Any, Any]


@frozen
class Change:
    """One value that differs; `str()` says it in a line.

    Attributes:
        path: dotted, with stages, games and opponents by name.
        place: the same as the spec calls it.
        old: its value before.
        new: its value now.
        refusal: why a run may not go on with it; None where it may.
        files: whose bytes differ, and how, where these are digests; else None.
        follows: nobody wrote it: it follows from another value.
    """

    path: str
    place: str
    old: Any
    new: Any
    refusal: str | None
    files: str | None
    follows: bool

    @property
    def means(self) -> Means:
        """Whether a run can go on with it."""
        return "can resume" if self.refusal is None else "changes results: new run"

    def __str__(self) -> str:
        return f"{self.what} ({'may change' if self.refusal is None else f'may not change: {self.refusal}'})"

    @property
    def what(self) -> str:
        """The change alone, without whether it may be."""
        return f"{self.place}: {self.files or f'{_text(self.old)} -> {_text(self.new)}'}"

    def to_json(self) -> dict[str, Any]:
        """The change as plain data; long texts are cut."""
        return {"path": self.path, "old": _shown(self.old), "new": _shown(self.new), "means": self.means}


def compare_plans(old: dict[str, Any], new: dict[str, Any]) -> tuple[Change, ...]:
    """Every value that differs between two plans as JSON data, in the order of the plan."""
    found = [item for item in _walk(old, new, ()) if item[0] not in _DERIVED]
    return tuple(_change(item, old, new) for item in found)


def settings(changes: Sequence[Change]) -> list[Change]:
    """What somebody changed, without what only follows from it; what no run may go on with first."""
    written = [change for change in changes if not change.follows] or changes
    return sorted(written, key=lambda change: change.refusal is None)


def only_grows(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a run of the old plan may go on with the new one, and has more to do then."""
    changes = compare_plans(old, new)
    return all(change.refusal is None for change in changes) and any(
        not change.path.startswith("runtime.") for change in changes
    )


def _change(found: _Found, old: dict[str, Any], new: dict[str, Any]) -> Change:
    path, before, after = found
    files = None
    if isinstance(before, dict) and isinstance(after, dict):  # of files whose bytes differ
        prints = cast("list[dict[str, Any]]", [before, after])
        files = f"the files of {prints[1]['name']} {prints[1]['reason'] or 'are others than when the run began'}"
        before, after = prints[0]["sha256"], prints[1]["sha256"]
    return Change(
        path=".".join(path if files is None else (*path, "sha256")),
        place=_place(path, new),
        old=before,
        new=after,
        refusal=_refusal(path, old, new),
        files=files,
        follows=_follows(path, old, new),
    )


# ── what differs ──


def _by_name(value: Any) -> Any:
    """Lists of things with a name as maps, so that an inserted one does not shift all others."""
    if not isinstance(value, list):
        return value
    items = cast("list[Any]", value)
    named = bool(items) and all(isinstance(item, dict) and "name" in item for item in items)
    return {str(item["name"]): item for item in items} if named else items


def _walk(old: Any, new: Any, path: _Path) -> Iterator[_Found]:
    """Values that differ. Two prints of known files that differ are one of them."""
    if len(path) == 1 and path[0] in _NAMED:
        old, new = _by_name(old), _by_name(new)
    if old == new:
        return
    if isinstance(old, dict) and isinstance(new, dict) and not _are_other_files(old, new):
        before, after = cast("dict[str, Any]", old), cast("dict[str, Any]", new)
        for key in dict.fromkeys([*before, *after]):
            yield from _walk(before.get(key), after.get(key), (*path, key))
    elif _are_alike(old, new):
        pairs = zip(cast("list[Any]", old), cast("list[Any]", new), strict=True)
        for index, (one, other) in enumerate(pairs):
            yield from _walk(one, other, (*path[:-1], f"{path[-1]}[{index}]"))
    else:
        yield path, old, new


def _are_other_files(old: Any, new: Any) -> bool:
    return old.keys() == _PRINT == new.keys() and old["sha256"] not in (None, new["sha256"])


def _are_alike(old: Any, new: Any) -> bool:
    """Whether both are as many objects in a list, so that each can be compared with its counterpart."""
    if not (isinstance(old, list) and isinstance(new, list)):
        return False
    items, others = cast("list[Any]", old), cast("list[Any]", new)
    return len(items) == len(others) and all(isinstance(item, dict) for item in (*items, *others))


def _follows(path: _Path, old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether a value is computed: the sizes of a step always, the horizon of a schedule where it is that of steps."""
    if path[0] != "stages" or len(path) < 3:
        return False
    if path[2] == "batch":
        return True
    stages = [_stage(plan, path[1]) for plan in (old, new)]
    return path[2] == "schedule_steps" and all(
        stage is not None and stage["schedule_steps"] == stage["until"]["max_steps"] for stage in stages
    )


def _stage(plan: dict[str, Any], name: str) -> dict[str, Any] | None:
    return next((stage for stage in plan["stages"] if stage["name"] == name), None)


# ── what it means ──


def _refusal(path: _Path, old: dict[str, Any], new: dict[str, Any]) -> str | None:
    if path[0] == "runtime":
        return None
    if path[0] == "stages" and path[2:] in (("until", "max_steps"), ("schedule_steps",)):
        before, after = _stage(old, path[1]), _stage(new, path[1])
        if before is not None and after is not None and after["algorithm"] is not None:
            more = after["until"]["max_steps"] - before["until"]["max_steps"]
            return _why_not_as_long(after, more, is_last=after["name"] == new["stages"][-1]["name"])
    return "results depend on it"


def _why_not_as_long(stage: dict[str, Any], more: int, *, is_last: bool) -> str | None:
    """Why a stage that is trained may not have another number of steps; None where it may."""
    schedule = stage["algorithm"]["schedule"]
    if schedule != "constant":
        return f"the learning rate of all its steps depends on it (`schedule: {schedule}`)"
    if more == 0:
        return "results depend on it"
    if more < 0:
        return "a stage may only get more steps"
    return None if is_last else "only the last stage may get more steps"


# ── how it is said ──


def _place(path: _Path, plan: dict[str, Any]) -> str:
    if path[0] == "runtime":
        return _place_of_runtime(path[1:])
    if path[0] == "stages" and path[2:] == ("until", "max_steps"):
        until = (_stage(plan, path[1]) or {"until": {}})["until"]
        others = [key for key, value in until.items() if key != "max_steps" and value is not None]
        return ".".join((*path[:-1], "max_steps" if others else "steps"))
    return ".".join(path)


def _place_of_runtime(path: _Path) -> str:
    if len(path) == 2 and path[0] in _BY_ENDPOINT:
        return f"opponents.{path[1]}.{_BY_ENDPOINT[path[0]]}"
    return ".".join(path)


def _shown(value: Any) -> Any:
    if isinstance(value, str | dict | list):
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return value


def _text(value: Any) -> str:
    """In one line, as a spec may say it; text that YAML would not take bare, in quotes."""
    shown = _shown(value)
    if isinstance(shown, str) and (not isinstance(value, str) or (shown.isprintable() and shown)):
        return shown
    return json.dumps(shown, ensure_ascii=False)

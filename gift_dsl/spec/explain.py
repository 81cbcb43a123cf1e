"""`gift explain`: a key, a kind of opponent, stage, benchmark or game, a preset, or the code of a diagnostic."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gift_dsl.errors import UsageError
from gift_dsl.spec.catalogue import (
    BENCHMARK_NOTES,
    FILE_KEYS,
    OTHER_WORDS,
    PRESET_NOTES,
    GameType,
    all_game_types,
    facts_json,
    summary,
)
from gift_dsl.spec.codes import CODES
from gift_dsl.spec.forms import FieldDoc, fields_of
from gift_dsl.spec.models.algorithm import PRESETS
from gift_dsl.spec.models.fields import Strict
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.opponents import OPPONENT_TYPES, PREDEFINED
from gift_dsl.spec.models.stages import STAGE_TYPES
from gift_dsl.spec.reference import (
    BENCHMARK_TYPES,
    COMPOSITIONS,
    DEFAULT_PRESET,
    Entry,
    entries,
    find_entries,
    merged,
    of_kind,
    preset_values,
    range_words,
    shown,
    type_words,
)
from gift_dsl.spec.suggest import did_you_mean

Json = dict[str, Any]

_PLACES: Final = {"opponents": OPPONENT_TYPES, "stages": STAGE_TYPES, "evaluation.benchmarks": BENCHMARK_TYPES}
_SKIPPED: Final = frozenset({"", "*", "NAME"})


def explain(query: str) -> Json:
    """Everything that a word or path of the language means, as the document of `gift explain --json`.

    Args:
        query: a key (`clip_high`), a path (`stages[0].until.steps`, `snapshot.pick`), the name of a type, game,
            composition or preset, a value of an enumeration, a code, or a common word for one of these.

    Returns:
        `entries`, each with `what` it is: `field`, `type`, `game`, `preset`, `code` or `file key`; at least one.

    Raises:
        UsageError: nothing has this name; the message says what was probably meant.
    """
    tokens = _from_section([part for part in re.split(r"[.\[\]]", query) if part not in _SKIPPED])
    found = [*_codes(query), *_file_keys(query), *_presets(tokens), *_games(tokens), *_types(tokens)]
    found += _fields(tokens, exact=bool(found)) if tokens else []
    found = found or list(_values(query))
    if not found and query in OTHER_WORDS:
        return {**explain(OTHER_WORDS[query]), "query": query}
    if not found:
        hint = did_you_mean(tokens[-1] if tokens else query, _names())
        raise UsageError(f"nothing in the language is called `{query}`" + (f"; {hint}" if hint else ""))
    return {"schema": "gift-explain/1", "query": query, "entries": found}


def _from_section(tokens: list[str]) -> list[str]:
    """A path that begins with a type, `snapshot.pick`, from the section of such types on."""
    if len(tokens) < 2:
        return tokens
    if tokens[0] in all_game_types():  # keys that all games have are no family's
        return ["games", *tokens[tokens[1] in GameSpec.model_fields :]]
    place = next((place for place, types in _PLACES.items() if tokens[0] in types), "")
    return [*filter(None, place.split(".")), *tokens]


def _names() -> list[str]:
    """Every word that can be explained."""
    keys = dict.fromkeys(entry.item.name for entry in entries())
    types = (*OPPONENT_TYPES, *STAGE_TYPES, *BENCHMARK_TYPES, *COMPOSITIONS, *all_game_types())
    return list(dict.fromkeys([*keys, *types, *PRESETS, *CODES, *FILE_KEYS, *OTHER_WORDS]))


# ── what is found ──


def _codes(query: str) -> Iterator[Json]:
    if query in CODES:
        code = CODES[query]
        yield {
            "what": "code",
            "name": query,
            "severity": code.severity,
            "description": code.cause,
            "repair": code.repair,
            "example": code.example,
        }


def _file_keys(query: str) -> Iterator[Json]:
    if query in FILE_KEYS:
        yield {"what": "file key", "name": query, "description": FILE_KEYS[query]}


def _presets(tokens: Sequence[str]) -> Iterator[Json]:
    if len(tokens) != 1 or tokens[0] not in PRESETS:
        return
    (name,) = tokens
    values, base = PRESETS[name], PRESETS[DEFAULT_PRESET]
    yield {
        "what": "preset",
        "name": name,
        "description": PRESET_NOTES[name],
        "values": dict(values),
        "differs_from": DEFAULT_PRESET,
        "differences": {
            key: {DEFAULT_PRESET: base[key], name: values[key]} for key in values if values[key] != base[key]
        },
    }


def _games(tokens: Sequence[str]) -> Iterator[Json]:
    *way, name = tokens or [""]
    game = all_game_types().get(name) if way in ([], ["games"]) else None
    if game is not None:
        yield {
            "what": "game",
            "name": name,
            "description": game.description,
            "origin": game.origin,
            "family": game.family.name,
            "facts": _facts(game),
            "fields": [_brief(item) for item in game.params.values()],
            "common_fields": [
                _brief(item) for item in fields_of(GameSpec).values() if item.name not in ("type", "file")
            ],
        }


def _facts(game: GameType) -> Json:
    facts = game.facts()
    if facts is None:
        return facts_json(None)
    return {
        **facts_json(facts),
        "reward_range": list(facts.reward_range),
        "zero_sum": facts.zero_sum,
        "roles": list(facts.roles),
        "perfect_information": facts.perfect_information,
        "actions": facts.actions,
        "distinct_instances": facts.family_size,
        "players": list(facts.players),
        "needs_dataset": facts.dataset,
    }


def _types(tokens: Sequence[str]) -> Iterator[Json]:
    *way, name = tokens or [""]
    for place, types in _PLACES.items():
        if name in types and ".".join(way) in ("", place, place.rpartition(".")[2]):
            yield _type(name, types[name], place)
    if name in COMPOSITIONS and not way:
        yield _type(name, COMPOSITIONS[name], "games and stages[].play")


def _type(name: str, model: type[Strict], place: str) -> Json:
    description = BENCHMARK_NOTES.get(name) or summary(model.__doc__)
    found: Json = {"what": "type", "name": name, "of": place, "description": description}
    if place == "opponents":
        found["predefined"] = name in PREDEFINED
    return {**found, "fields": [_brief(item) for item in fields_of(model).values() if item.name != "type"]}


def _fields(tokens: Sequence[str], *, exact: bool) -> list[Json]:
    """The keys that a path means; only one that the path names from the root where something else has the name too."""
    found = find_entries(tokens)
    if exact:
        found = [entry for entry in found if [step.key for step in entry.steps] == list(tokens)]
    kind = next((token for token in tokens[1:] if token in all_game_types()), "")
    return [_field(of_kind(entry, kind), kinds, also) for entry, kinds, also in merged(found)]


def _values(query: str) -> Iterator[Json]:
    """The keys of which this is a value."""
    for entry, kinds, also in merged(entries()):
        if any(query in map(str, form.values) for form in entry.item.forms):
            yield _field(entry, kinds, also)


def _field(entry: Entry, kinds: Sequence[str], also: Sequence[str]) -> Json:
    item = entry.item
    found: Json = {"what": "field", "path": entry.path, "also": list(also), "of_types": list(kinds), **_brief(item)}
    values = [value for form in item.forms for value in form.values]
    presets = preset_values(entry)
    if presets:
        found |= {"default": presets[DEFAULT_PRESET], "default_from": f"preset `{DEFAULT_PRESET}`", "presets": presets}
    inner = [_brief(field) for model in item.models[:1] for field in fields_of(model).values()]
    return found | {
        "range": range_words(item.forms),
        "values": values,
        "hashed": entry.hashed,
        "types": _types_below(item),
        "fields": inner if len(item.models) == 1 else [],
    }


def _types_below(item: FieldDoc) -> list[str]:
    """The kinds of the maps that may stand here, where there are several."""
    if GameSpec in item.models:
        return [*all_game_types(), *("all_of", "any_of", "in_turn")]
    known = [pair for types in (COMPOSITIONS, *_PLACES.values()) for pair in types.items()]
    return [name for name, model in known if model in item.models] if len(item.models) > 1 else []


def _brief(item: FieldDoc) -> Json:
    return {
        "name": item.name,
        "type": type_words(item.forms),
        "required": item.required,
        "default": item.default,
        "description": item.description,
    }


# ── for people ──


def explain_text(document: Mapping[str, Any]) -> str:
    """The document of `explain` as text for a terminal."""
    show = {
        "code": _show_code,
        "file key": _show_file_key,
        "preset": _show_preset,
        "game": _show_game,
        "type": _show_type,
        "field": _show_field,
    }
    blocks = ["\n".join(show[entry["what"]](entry)) for entry in document["entries"]]
    return "\n\n".join(blocks).replace("`", "") + "\n" if blocks else ""


def _rows(pairs: Sequence[tuple[str, str]]) -> list[str]:
    width = max((len(name) for name, _ in pairs), default=0)
    return [f"  {name:<{width}}  {text}".rstrip() for name, text in pairs]


def _table(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    """A line for each key: name, default, description."""
    rows: list[tuple[str, str]] = []
    for item in fields:
        state = "required" if item["required"] else "" if item["default"] is None else shown(item["default"])
        rows.append((item["name"], f"{item['description']}" + (f" [{state}]" if state else "")))
    return _rows(rows)


def _show_field(entry: Mapping[str, Any]) -> list[str]:
    kinds = f"  (of {', '.join(entry['of_types'])})" if entry["of_types"] else ""
    presets = entry.get("presets", {})
    facts = [
        ("type", entry["type"]),
        ("range", entry["range"]),
        ("default", _default(entry)),
        ("presets", ", ".join(f"{name} {shown(value)}" for name, value in presets.items())),
        ("types", ", ".join(entry["types"])),
        ("hash", "part of spec_hash" if entry["hashed"] else "not part of spec_hash: it changes no result"),
        ("also", ", ".join(entry["also"])),
    ]
    lines = [entry["path"] + kinds, f"  {entry['description']}", *_rows([pair for pair in facts if pair[1]])]
    return [*lines, "", *_table(entry["fields"])] if entry["fields"] else lines


def _default(entry: Mapping[str, Any]) -> str:
    if entry["required"]:
        return "none: it is required"
    told = "none" if entry["default"] is None else shown(entry["default"])
    return told + (f" ({entry['default_from']})" if "default_from" in entry else "")


def _show_type(entry: Mapping[str, Any]) -> list[str]:
    name = "may be named without being defined" if entry.get("predefined") else ""
    head = f"{entry['name']}  (in {entry['of']}{'; ' + name if name else ''})"
    lines = [head, f"  {entry['description']}"]
    return [*lines, "", *_table(entry["fields"])] if entry["fields"] else lines


def _show_game(entry: Mapping[str, Any]) -> list[str]:
    origin = "family" if entry["origin"] == "family" else f"{entry['origin']}, of family {entry['family']}"
    facts = [(key.replace("_", " "), _fact(value)) for key, value in entry["facts"].items() if value not in (None, [])]
    none = [] if facts else ["  What it is like depends on parameters that must be given."]
    lines = [f"{entry['name']}  ({origin})", f"  {entry['description']}", "", *_rows(facts), *none]
    own = ["", "parameters", *_table(entry["fields"])] if entry["fields"] else []
    return [*lines, *own, "", "every game also has", *_table(entry["common_fields"])]


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # JSON


def _show_file_key(entry: Mapping[str, Any]) -> list[str]:
    return [f"{entry['name']}  (how files become a spec)", f"  {entry['description']}"]


def _show_preset(entry: Mapping[str, Any]) -> list[str]:
    different = entry["differences"]
    base = {key: f"  ({DEFAULT_PRESET}: {shown(values[DEFAULT_PRESET])})" for key, values in different.items()}
    rows = [(key, shown(value) + base.get(key, "")) for key, value in entry["values"].items()]
    return [f"{entry['name']}  (preset of algorithm)", f"  {entry['description']}", "", *_rows(rows)]


def _show_code(entry: Mapping[str, Any]) -> list[str]:
    example = [f"    {line}" for line in entry["example"].splitlines()]
    lines = [f"{entry['name']}  ({entry['severity']})", f"  {entry['description']}"]
    return [*lines, "", "  for example", *example, "", f"  repair: {entry['repair']}"]

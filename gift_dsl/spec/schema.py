"""The JSON Schema (draft 2020-12) that editors complete and check specs with, made from the models.

It is of files as people write them, not of composed specs. In a file that extends others, is a fragment or sweeps,
everything has its partial form: nothing is required, and null drops a key. Any value may be a variable, `${vars.x}`.

Maps of several kinds are told apart by `if` and `then` on the `type`, or on a key that only one of them has, and never
by `oneOf`: an editor then completes the keys of the kind that was chosen, and its errors speak of that kind alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from gift_dsl.spec.catalogue import GameType, all_game_types, summary
from gift_dsl.spec.forms import KIND, Bounds, FieldDoc, Form, fields_of, tag_of
from gift_dsl.spec.models.algorithm import PRESETS, AlgorithmSpec
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.fields import Strict
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.opponents import PREDEFINED
from gift_dsl.spec.models.spec import Spec

Schema = dict[str, Any]

DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_PARTIAL: Final = "~partial"
_REFERENCE: Final = re.compile(r'"#/\$defs/([^"]+)"')

_VARIABLE: Final = r"^\$\{vars\.[A-Za-z_][A-Za-z0-9_-]*\}$"
"""A text that is nothing but this takes the variable's value with its type."""
_WITH_VARIABLE: Final = r"\$\{vars\."
"""Inside other text the value is written out, so that the text is anything."""
_A_VARIABLE: Final[Mapping[str, Any]] = MappingProxyType({"type": "string", "pattern": _WITH_VARIABLE})
_DROPPED: Final[Mapping[str, Any]] = MappingProxyType(
    {"type": "null", "errorMessage": "this kind has no such key (null would drop an inherited one)"}
)
"""A key of another kind, which a base file may have given: in a partial form null drops it."""

_TYPES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "text": "string",
        "int": "integer",
        "float": "number",
        "bool": "boolean",
        "list": "array",
        "tuple": "array",
        "map": "object",
    }
)
_TYPE_WORDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "integer": "a whole number",
        "number": "a number",
        "boolean": "true or false",
        "array": "a list",
        "object": "a map",
    }
)
_BY_KEY: Final[Mapping[type[Strict], str]] = MappingProxyType(
    {PartSpec: "play", AllOfSpec: "all_of", AnyOfSpec: "any_of", InTurnSpec: "in_turn"}
)
"""Maps without a `type`, by the key that tells them, in the order in which it is looked for."""


def authoring_schema() -> Schema:
    """The schema of a spec file.

    Raises:
        MachineError: an installed plugin, whose parameters belong in it, does not load.
    """
    games = all_game_types()
    defs: dict[str, Schema] = {}
    for suffix in ("", _PARTIAL):
        _Writer(games, suffix, defs).root()
    defs = _shared(defs)
    fragment = {"properties": {"fragment": {"const": True}}, "required": ["fragment"]}
    return {
        "$schema": DRAFT,
        "description": "A gift spec, version 1: one experiment that trains a language model by playing games.",
        "type": "object",
        "if": {"anyOf": [{"required": ["extends"]}, {"required": ["sweep"]}, fragment]},
        "then": _ref(f"Spec{_PARTIAL}"),
        "else": _ref("Spec"),
        "$defs": {name: defs[name] for name in sorted(defs)},
    }


def schema_text() -> str:
    """The schema as a file: a line for each definition, so that a difference shows which of them changed."""
    document = authoring_schema()
    defs = document.pop("$defs")
    head = [f"{json.dumps(key)}: {_line(value)}" for key, value in document.items()]
    body = ",\n".join(f"{json.dumps(name)}: {_line(value)}" for name, value in defs.items())
    return "{\n" + ",\n".join([*head, f'"$defs": {{\n{body}\n}}']) + "\n}\n"


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _shared(defs: Mapping[str, Schema]) -> dict[str, Schema]:
    """The definitions without partial forms that say, with all they refer to, what the whole ones say."""
    texts = {name: json.dumps(body) for name, body in defs.items()}
    partial = {name for name in defs if name.endswith(_PARTIAL)}
    differ = {name for name in partial if texts[name].replace(_PARTIAL, "") != texts.get(name.removesuffix(_PARTIAL))}
    while more := {name for name in partial - differ if differ.intersection(_REFERENCE.findall(texts[name]))}:
        differ |= more

    def point(match: re.Match[str]) -> str:
        return match[0] if match[1] in differ else match[0].replace(_PARTIAL, "")

    return {name: json.loads(_REFERENCE.sub(point, texts[name])) for name in defs if name not in partial - differ}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _when(condition: Schema, then: Schema) -> Schema:
    return {"if": {"type": "object", **condition}, "then": then}


def _named(keys: Iterable[str], found: Mapping[str, FieldDoc]) -> Schema:
    """Keys with their descriptions, their values unchecked."""
    return {key: {"description": found[key].description} for key in found if key in keys}


def _shown(keyed: Mapping[str, type[Strict]]) -> Schema:
    """The keys that tell what a map is, with their descriptions."""
    return {key: {"description": fields_of(model)[key].description} for key, model in keyed.items()}


def _type_is(tag: str) -> Schema:
    return {"properties": {"type": {"const": tag}}, "required": ["type"]}


def _map(description: str = "") -> Schema:
    """A map, or a variable that holds one; null is taken away where a definition is used and must not be null."""
    told = {"description": description} if description else {}
    words = {"pattern": _VARIABLE, "patternErrorMessage": "this must be a map, or ${vars.NAME}"}
    return {**told, "type": ["object", "string", "null"], **words}


def _limits(kind: str, bounds: Bounds) -> Schema:
    """The keywords of some bounds."""
    found: Schema = {
        "minimum": bounds.at_least,
        "exclusiveMinimum": bounds.above,
        "maximum": bounds.at_most,
        "exclusiveMaximum": bounds.below,
        "pattern": None if bounds.pattern is None else f"{bounds.pattern}|{_WITH_VARIABLE}",
    }
    suffix = {"text": "Length", "map": "Properties"}.get(kind, "Items")
    found |= {f"min{suffix}": bounds.shortest, f"max{suffix}": bounds.longest}
    return {key: value for key, value in found.items() if value is not None}


def _described(item: FieldDoc, default: Any) -> Schema:
    """Description and default of a key; the default is in the words too, as editors show those."""
    made: Schema = {"description": item.description} if item.description else {}
    if default is not None and default not in ([], {}):
        made["description"] = f"{item.description} Default: {json.dumps(default, ensure_ascii=False)}."
    return made if default is None else {**made, "default": default}


@dataclass(slots=True)
class _Writer:
    """Writes definitions, all of them whole (`suffix` is empty) or partial."""

    games: Mapping[str, GameType]
    suffix: str
    defs: dict[str, Schema]
    written: dict[str, type[Strict]] = field(default_factory=dict[str, "type[Strict]"])

    @property
    def partial(self) -> bool:
        return bool(self.suffix)

    def root(self) -> None:
        """The definition of the whole file: a spec, and the keys that put files together."""
        name = self.model(Spec)
        properties = {**self.defs[name]["properties"], **_file_keys()}
        anchors = {"^x-": {"description": "Ignored: a place for anchors."}}
        self.defs[name] |= {"type": "object", "properties": properties, "patternProperties": anchors}

    # ── maps of one kind ──

    def model(self, model: type[Strict]) -> str:
        """The name of a model's definition, written unless it is there."""
        name = self.name_of(model) + self.suffix
        if name not in self.defs:
            self.defs[name] = {}  # holds the place: compositions contain themselves
            found = fields_of(model)
            defaults: Mapping[str, Any] = PRESETS["gift"] if model is AlgorithmSpec else {}
            properties = {key: self.key(item, defaults.get(key)) for key, item in found.items()}
            self.defs[name] = self.closed(properties, found, summary(model.__doc__))
        return name

    def name_of(self, model: type[Strict]) -> str:
        """The name of a model's class; with a number where a plugin's parameters have a class of the same name."""
        same = [model.__name__, *(f"{model.__name__}.{number}" for number in range(2, 1000))]
        return next(name for name in same if self.written.setdefault(name, model) is model)

    def closed(self, properties: Schema, found: Mapping[str, FieldDoc], description: str) -> Schema:
        """A map with these keys and no other."""
        required = [name for name, item in found.items() if item.required and not self.partial]
        must = {"required": required} if required else {}
        return {**_map(description), "properties": properties, **must, "additionalProperties": False}

    def loose(self, kinds: Iterable[Mapping[str, FieldDoc]]) -> Schema:
        """A map whose kind another file says: the keys of every kind, their values unchecked."""
        found: Schema = {}
        for keys in kinds:
            found |= {name: {"description": item.description} for name, item in keys.items() if name not in found}
        return {"properties": found, "additionalProperties": False}

    def key(self, item: FieldDoc, default: Any = None) -> Schema:
        """The schema of one key; null is an absent key, so that only what is required may not be null."""
        value = self.value(item.forms, nullable=self.partial or not item.required)
        return {**value, **_described(item, item.default if default is None else default)}

    # ── values ──

    def value(self, forms: Sequence[Form], *, nullable: bool) -> Schema:
        """The schema of what may stand at one place, a variable included."""
        models = [form.model for form in forms if form.model is not None]
        if len(models) > 1 or (models and len(forms) == 1):
            name = self.union(models, forms) if len(models) > 1 else self.model(models[0])
            return _ref(name) if nullable else {**_ref(name), "type": ["object", "string"]}
        if models or any(form.kind == "enum" for form in forms):
            return {"anyOf": self.options(forms, nullable=nullable)}
        return self.merged(forms, nullable=nullable)

    def options(self, forms: Sequence[Form], *, nullable: bool) -> list[Schema]:
        """Alternatives that keywords would confuse if they stood in one schema."""
        found = [self.option(form) for form in forms]
        if not any(form.kind == "text" for form in forms):
            found.append({**_A_VARIABLE})
        return [*found, {"type": "null"}] if nullable else found

    def option(self, form: Form) -> Schema:
        if form.model is not None:
            return {**_ref(self.model(form.model)), "type": "object"}
        if form.kind == "enum":
            return {"enum": list(form.values)}
        return {"type": _TYPES[form.kind], **self.keywords(form)}

    def merged(self, forms: Sequence[Form], *, nullable: bool) -> Schema:
        """One schema for several types: each keyword speaks of one of them only."""
        if any(form.kind == "any" for form in forms):
            return {}
        types, keywords = [_TYPES[form.kind] for form in forms], Schema()
        for form in forms:
            keywords |= self.keywords(form)
        if "string" not in types:
            wanted = " or ".join(_TYPE_WORDS[name] for name in types)
            types.append("string")
            keywords |= {"pattern": _VARIABLE, "patternErrorMessage": f"this must be {wanted}, or ${{vars.NAME}}"}
        types += ["null"] if nullable else []
        return {"type": types if len(types) > 1 else types[0], **keywords}

    def keywords(self, form: Form) -> Schema:
        """What a value of this form must obey besides its type."""
        found = _limits(form.kind, form.bounds)
        if self.partial:
            found.pop("minProperties", None)  # the rest of a map is in another file
        if form.kind == "list":
            found["items"] = self.value(form.inner[0], nullable=False)
        elif form.kind == "tuple":
            items = [self.value(inner, nullable=False) for inner in form.inner]
            found |= {"prefixItems": items, "items": False, "minItems": len(items)}
        elif form.kind == "map":
            found["additionalProperties"] = self.value(form.inner[0], nullable=True)
            if form.names.pattern is not None:
                found["propertyNames"] = {"pattern": form.names.pattern, "maxLength": form.names.longest}
        elif form.ref == "opponents":
            found["examples"] = list(PREDEFINED)
        return found

    # ── maps of several kinds ──

    def union(self, models: Sequence[type[Strict]], forms: Sequence[Form]) -> str:
        """The name of the definition of a map of one of several kinds, or of a text that may stand for it."""
        text = next((form for form in forms if form.model is None), None)
        name = _union_name(models) + self.suffix
        if name not in self.defs:
            self.defs[name] = {}
            made = self.by_type(models) if tag_of(models[0]) else self.by_key(models)
            self.defs[name] = made if text is None else _or_text(made, text)
        return name

    def by_type(self, models: Sequence[type[Strict]]) -> Schema:
        """Kinds that their `type` tells."""
        tags = {tag: model for model in models for tag in tag_of(model)}
        rules = [_when(_type_is(tag), self.kind(model)) for tag, model in tags.items()]
        kinds = [fields_of(model) for model in models]
        shared = {key for key in kinds[0] if all(key in keys for keys in kinds)}
        untyped = self.loose(kinds) if self.partial else {"properties": _named(shared - {"type"}, kinds[0])}
        rules.append(_when({"not": {"required": ["type"]}}, untyped))
        must = {} if self.partial else {"required": ["type"]}
        notes = {tag: summary(model.__doc__) for tag, model in tags.items()}
        return {**_map(), "properties": {"type": self.types(notes)}, **must, "allOf": rules}

    def types(self, notes: Mapping[str, str]) -> Schema:
        """The key `type`, each value with its description for completion."""
        options: list[Schema] = [{"enum": list(notes), "enumDescriptions": list(notes.values())}, {**_A_VARIABLE}]
        if self.partial:
            options.append({"type": "null"})
        return {"description": KIND, "anyOf": options}

    def kind(self, model: type[Strict]) -> Schema:
        """A reference to one kind of several. What a base file said for another kind, null drops."""
        name = self.model(model)
        if self.partial:
            self.defs[name]["additionalProperties"] = {**_DROPPED}
        return _ref(name)

    def by_key(self, models: Sequence[type[Strict]]) -> Schema:
        """Kinds that a key of their own tells: compositions, and parts or games beside them. The first key decides."""
        keyed = {key: model for model, key in _BY_KEY.items() if model in models}
        rule = self.game(keyed) if GameSpec in models else self.no_key(keyed)
        for key, model in reversed(keyed.items()):
            rule = {"if": {"required": [key], **self.not_null(key)}, "then": self.kind(model), "else": rule}
        return {**_map(), "allOf": [_when({}, rule)]}

    def not_null(self, key: str) -> Schema:
        """In a partial form a null beside another key only drops; elsewhere it is a value not yet written."""
        return {"properties": {key: {"not": {"type": "null"}}}} if self.partial else {}

    def no_key(self, keyed: Mapping[str, type[Strict]]) -> Schema:
        """The rule for a map with none of the keys that tell what it is: they are what an editor should offer."""
        if self.partial:
            return self.loose(fields_of(model) for model in keyed.values())
        shown = _shown(keyed)
        if PartSpec in keyed.values():
            shown |= _named(fields_of(PartSpec), fields_of(PartSpec))
        must = [{"required": [key]} for key in keyed]
        return {"properties": shown, "additionalProperties": False, "anyOf": must}

    # ── games: the kinds are families and shipped games ──

    def game(self, keyed: Mapping[str, type[Strict]]) -> Schema:
        """The rule for a game: by its `type`, or open where a file says it."""
        rules = [_when(_type_is(name), _ref(self.game_type(game))) for name, game in self.games.items()]
        from_file = {"properties": self.common("file"), "additionalProperties": True}
        rules.append(_when({"required": ["file"], "not": {"required": ["type"]}}, from_file))
        neither: Schema = {"not": {"anyOf": [{"required": ["type"]}, {"required": ["file"]}]}}
        rules.append(_when(neither, self.no_type(keyed)))
        notes = {name: game.description for name, game in self.games.items()}
        return {"properties": {"type": self.types(notes)}, "allOf": rules}

    def no_type(self, keyed: Mapping[str, type[Strict]]) -> Schema:
        """The rule for a game that does not say what it is: `type`, `file` and compositions are offered."""
        compositions = [fields_of(model) for model in keyed.values()]
        if self.partial:
            return self.loose([fields_of(GameSpec), *(game.params for game in self.games.values()), *compositions])
        return {"properties": {**_named({"file"}, fields_of(GameSpec)), **_shown(keyed)}, "required": ["type"]}

    def common(self, *more: str) -> Schema:
        """The keys that a game of any type has, each written once."""
        found = {key: item for key, item in fields_of(GameSpec).items() if key not in ("type", "file") or key in more}
        for key, item in found.items():
            self.defs.setdefault(f"Game.{key}{self.suffix}", self.key(item))
        return {key: _ref(f"Game.{key}{self.suffix}") for key in found}

    def game_type(self, game: GameType) -> str:
        name = f"Game:{game.name}{self.suffix}"
        params = {key: self.key(item) for key, item in game.params.items()}
        properties = {"type": {}, **self.common(), **params}
        self.defs[name] = self.closed(properties, game.params, game.description)
        if self.partial:
            self.defs[name]["additionalProperties"] = {**_DROPPED}
        return name


def _union_name(models: Sequence[type[Strict]]) -> str:
    """Opponents, stages, benchmarks, named games, parts, and what a part plays."""
    names = {"RandomOpponent": "Opponent", "GrpoStage": "Stage", "OwnBenchmark": "Benchmark"}
    if GameSpec in models:
        return "Game"
    if AllOfSpec in models:
        return "Part" if PartSpec in models else "Composition"
    return names.get(models[0].__name__, "Or".join(model.__name__ for model in models))


def _or_text(made: Schema, text: Form) -> Schema:
    """A union with the texts that may stand for a map: any, or one of an enum."""
    rest = {key: value for key, value in made.items() if key not in ("type", "pattern", "patternErrorMessage")}
    if text.kind != "enum":
        return {"type": ["string", "object", "null"], "minLength": 1, **rest}
    return {"anyOf": [{"enum": list(text.values)}, {**_A_VARIABLE}, {"type": ["object", "null"]}], **rest}


def _file_keys() -> Schema:
    """The keys that are gone before a spec is one: they say how it is put together."""
    path = {"type": "string", "minLength": 1}
    patches = {"type": "array", "items": {"type": "object"}}
    axis = {"type": ["array", "object"], "minItems": 1, "minProperties": 1}
    sweep = {
        "axes": {
            "description": "Values by path (`algorithm.group_size`, `stages[main].play`, `vars.x`): a list, or a map "
            "that names them. The runs are all combinations.",
            "type": "object",
            "additionalProperties": axis,
        },
        "exclude": {"description": "Combinations to leave out: maps from axis to value or name.", **patches},
        "add": {"description": "Further runs, taken as they are: maps from path to value.", **patches},
    }
    return {
        "extends": {
            "description": "Base files, relative to this one. Maps merge, all else is replaced, null drops a key; "
            "later files win, and this one last.",
            "anyOf": [path, {"type": "array", "items": path}, {"type": "null"}],
        },
        "fragment": {
            "description": "`true`: a base file for others, which need not be complete.",
            "type": ["boolean", "null"],
        },
        "vars": {
            "description": "Values by name, for `${vars.NAME}` anywhere in the file and in those that extend it.",
            "type": ["object", "null"],
        },
        "sweep": {
            "description": "Several runs in one file: `axes` with `exclude`, and `add`.",
            "type": "object",
            "properties": sweep,
            "additionalProperties": False,
        },
    }

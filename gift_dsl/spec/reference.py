"""The whole language as a flat list of entries: what `gift explain` looks up and what docs/language.md prints."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

from gift_dsl.spec.derive import params_model
from gift_dsl.spec.forms import Bounds, FieldDoc, Form, fields_of, tag_of
from gift_dsl.spec.models.algorithm import PRESETS
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.evaluation import CommonGenBenchmark, LmEvalBenchmark, OwnBenchmark
from gift_dsl.spec.models.fields import MAX_INT, Strict
from gift_dsl.spec.models.opponents import OPPONENT_TYPES
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.models.stages import STAGE_TYPES

COMPOSITIONS: Final[Mapping[str, type[Strict]]] = MappingProxyType(
    {"all_of": AllOfSpec, "any_of": AnyOfSpec, "in_turn": InTurnSpec, "part": PartSpec}
)
"""They stand in each other, so each is described once, below its own name."""
DEFAULT_PRESET: Final = "gift"
BENCHMARK_TYPES: Final[Mapping[str, type[Strict]]] = MappingProxyType(
    {tag: model for model in (OwnBenchmark, CommonGenBenchmark, LmEvalBenchmark) for tag in tag_of(model)}
)
_KINDS: Final[Mapping[str, Mapping[str, type[Strict]]]] = MappingProxyType(
    {"opponents": OPPONENT_TYPES, "stages": STAGE_TYPES, "benchmarks": BENCHMARK_TYPES}
)


@dataclass(frozen=True, slots=True)
class Step:
    """A key on the way to an entry, and what its value holds many of: nothing, a list or a map."""

    key: str
    holds: str = ""

    def __str__(self) -> str:
        return self.key + self.holds


@dataclass(frozen=True, slots=True)
class Entry:
    """A key at its place.

    Attributes:
        steps: the way to it from the root, or from a composition.
        kinds: the values of `type` (of an opponent, stage, benchmark or game) that have it; empty where all do.
        item: the key itself.
        hashed: it and everything round it belong to the meaning.
    """

    steps: tuple[Step, ...]
    kinds: tuple[str, ...]
    item: FieldDoc
    hashed: bool

    @property
    def path(self) -> str:
        """`stages[].until.steps`, `opponents.NAME.temperature`."""
        return ".".join(map(str, self.steps[:-1])) + ("." if len(self.steps) > 1 else "") + self.item.name


def _holders(forms: Sequence[Form], holds: str = "") -> Iterator[tuple[str, type[Strict]]]:
    """The models that a value consists of, each with what holds it."""
    for form in forms:
        if form.model is not None:
            yield holds, form.model
        elif form.kind in ("list", "map"):
            yield from _holders(form.inner[0], holds + ("[]" if form.kind == "list" else ".NAME"))


def below(model: type[Strict], steps: tuple[Step, ...], kinds: tuple[str, ...], hashed: bool) -> Iterator[Entry]:
    """The keys of a model and of the models in them, compositions left out."""
    for name, item in fields_of(model).items():
        entry = Entry((*steps, Step(name)), kinds, item, hashed and item.hashed)
        yield entry
        for holds, inner in _holders(item.forms):
            if inner not in COMPOSITIONS.values():
                way = (*steps, Step(name, holds))
                yield from below(inner, way, tag_of(inner) or kinds, entry.hashed)


@lru_cache(maxsize=1)
def entries() -> tuple[Entry, ...]:
    """Every key of the language, family parameters included, in the order of the models."""
    from gift_dsl.spec.catalogue import all_game_types

    found = list(below(Spec, (), (), hashed=True))
    games = all_game_types()
    place = (Step("games", ".NAME"),)
    for family in dict.fromkeys(game.family.name for game in games.values()):
        kinds = tuple(name for name, game in games.items() if game.family.name == family)
        kinds = (family, *(name for name in kinds if name != family))
        found += below(params_model(games[family].family.params), place, kinds, hashed=True)
    for name, model in COMPOSITIONS.items():
        found += below(model, (Step(name),), (), hashed=True)
    return tuple(found)


def merged(found: Sequence[Entry]) -> list[tuple[Entry, list[str], list[str]]]:
    """Entries that say the same in several places as one: that with the shortest path, all kinds, the other places.

    An override (`stages[].rollout.thinking`) has no default of its own and says what the key that it overrides says.
    """
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(found, key=lambda entry: len(entry.steps)):
        groups.setdefault((entry.item.name, entry.item.description or entry.path), []).append(entry)
    rows: list[tuple[Entry, list[str], list[str]]] = []
    for group in groups.values():
        for first, same in _alike(group):
            kinds = dict.fromkeys(kind for entry in same for kind in entry.kinds if first.kinds)
            others = dict.fromkeys(entry.path for entry in same if entry.path != first.path)
            rows.append((first, list(kinds), list(others)))
    return rows


def _alike(group: Sequence[Entry]) -> list[tuple[Entry, list[Entry]]]:
    """Entries of one name and description, apart where their defaults differ."""
    found: list[tuple[Entry, list[Entry]]] = []
    for entry in group:
        home = next((same for first, same in found if entry.item.default in (None, first.item.default)), None)
        if home is None:
            found.append((entry, [entry]))
        else:
            home.append(entry)
    return found


# ── words ──


def type_words(forms: Sequence[Form], *, many: bool = False) -> str:
    """What a value may be, in words: `text`, `a list of whole numbers`."""
    words = list(dict.fromkeys(_words(form, many=many) for form in forms))
    return _either(words) if sum(" or " in word for word in words) < 2 else "; or ".join(words)


def _either(words: Sequence[str]) -> str:
    *rest, last = words
    return f"{', '.join(rest)} or {last}" if rest else last


_PLAIN: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "text": ("text", "texts"),
        "int": ("a whole number", "whole numbers"),
        "float": ("a number", "numbers"),
        "bool": ("`true` or `false`", "`true` or `false`"),
        "any": ("any value", "any values"),
        "model": ("a map", "maps"),
    }
)
_NAMED: Final[Mapping[type[Strict], str]] = MappingProxyType({model: name for name, model in COMPOSITIONS.items()})


def _words(form: Form, *, many: bool) -> str:
    if form.model is not None and form.model in _NAMED:
        return f"`{_NAMED[form.model]}`"
    if form.ref:
        return f"names of {form.ref}" if many else f"the name of {_ONE[form.ref]}"
    if form.kind == "enum":
        return _either([f"`{shown(value)}`" for value in form.values])
    if form.kind == "list":
        return ("lists of " if many else "a list of ") + type_words(form.inner[0], many=True)
    if form.kind == "tuple":
        return ("pairs [" if many else "a pair [") + ", ".join(type_words(inner) for inner in form.inner) + "]"
    if form.kind == "map":
        return ("maps" if many else "a map") + " from name to " + type_words(form.inner[0])
    return _PLAIN[form.kind][many]


_ONE: Final[Mapping[str, str]] = MappingProxyType({"opponents": "an opponent", "games": "a game"})


def range_words(forms: Sequence[Form]) -> str:
    """The bounds of the numbers and sizes that may stand somewhere; empty where there are none."""
    words = [text for form in forms for text in _range(form)]
    return "; ".join(dict.fromkeys(words))


def _range(form: Form) -> Iterator[str]:
    limits = _number_words(form.bounds)
    if limits:
        yield ", ".join(limits)
    if form.bounds.pattern is not None:
        yield f"matches `{form.bounds.pattern}`"
    if form.kind in ("list", "map"):
        if form.bounds.longest is not None:
            yield f"{form.bounds.shortest or 0} to {form.bounds.longest} of them"
        elif form.bounds.shortest:
            yield "not empty"
    if form.kind in ("list", "tuple"):
        for inner in form.inner:
            yield from (f"each {text}" for item in inner if item.kind in ("int", "float") for text in _range(item))


def _number_words(bounds: Bounds) -> list[str]:
    closed = bounds.at_least not in (None, -MAX_INT) and bounds.above is None
    low = f"at least {bounds.at_least:,}" if closed else ""
    high = "" if bounds.at_most in (None, MAX_INT) else f"at most {bounds.at_most:,}"
    above = "" if bounds.above is None else f"above {bounds.above:,}"
    below = "" if bounds.below is None else f"below {bounds.below:,}"
    return [text for text in (low, above, high, below) if text]


def shown(value: Any) -> str:
    """A plain value as one line."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def preset_values(entry: Entry) -> dict[str, Any]:
    """The value of a key of `algorithm` in each preset; empty for other keys."""
    holder = entry.steps[-2].key if len(entry.steps) > 1 else ""
    if holder != "algorithm" or entry.item.name not in PRESETS[DEFAULT_PRESET]:
        return {}
    return {preset: values[entry.item.name] for preset, values in PRESETS.items()}


# ── look-up ──


def matches(entry: Entry, tokens: Sequence[str]) -> bool:
    """Whether a path means this entry. Names and kinds below lists and maps may be there or not."""
    return _matches(entry, tokens, entry.steps)


def _matches(entry: Entry, tokens: Sequence[str], steps: Sequence[Step]) -> bool:
    if not steps or not tokens:
        return not steps and not tokens
    step, rest = steps[0], tokens[1:]
    if tokens[0] != step.key:
        return False
    if _matches(entry, rest, steps[1:]):
        return True
    if not step.holds or not rest:
        return False
    own = rest[0] in entry.kinds or rest[0] not in kinds_of(step.key) | keys_below(step.key)
    return own and _matches(entry, rest[1:], steps[1:])


@lru_cache(maxsize=64)
def keys_below(key: str) -> frozenset[str]:
    """Keys that may follow a key of the spec, so that they are not taken for a name there."""
    ways = (entry.steps for entry in entries())
    return frozenset(after.key for way in ways for before, after in pairwise(way) if before.key == key)


@lru_cache(maxsize=64)
def kinds_of(key: str) -> frozenset[str]:
    """What `type` may say below a key."""
    if key == "games":
        from gift_dsl.spec.catalogue import all_game_types

        return frozenset({*all_game_types(), *COMPOSITIONS})
    return frozenset(_KINDS.get(key, ()))


_ON_THE_WAY: Final = frozenset({"play", *COMPOSITIONS})


def find_entries(tokens: Sequence[str]) -> list[Entry]:
    """The entries that a path means: exactly, inside a composition, or as the end of their own path."""
    every = entries()
    found = [entry for entry in every if matches(entry, tokens)]
    return found or _in_composition(tokens) or [entry for entry in every if _ends_with(entry, tokens)]


def _in_composition(tokens: Sequence[str]) -> list[Entry]:
    """`stages.play.reward` and `games.everything.any_of.weight`: the last composition named decides, or any."""
    *way, name = tokens
    inside = way[:1] == ["games"] and len(way) > 1
    if not inside and not (way[:1] == ["stages"] and _ON_THE_WAY.intersection(way[1:])):
        return []
    last = next((token for token in reversed(way) if token in COMPOSITIONS), None)
    parts = [entry for entry in entries() if entry.steps[0].key in COMPOSITIONS and len(entry.steps) == 2]
    named = [entry for entry in parts if entry.item.name == name]
    return [entry for entry in named if entry.steps[0].key in (last, "part")] or named


def _ends_with(entry: Entry, tokens: Sequence[str]) -> bool:
    keys = [step.key for step in entry.steps]
    return keys[-len(tokens) :] == list(tokens)


def of_kind(entry: Entry, kind: str) -> Entry:
    """The entry with the default that a shipped game has for it."""
    from gift_dsl.spec.catalogue import all_game_types

    game = all_game_types().get(kind)
    if game is None or entry.item.name not in game.params or entry.steps[0].key != "games":
        return entry
    return replace(entry, item=game.params[entry.item.name])

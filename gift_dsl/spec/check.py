"""From a composed tree to a Spec, or to every mistake at its place.

Pydantic finds what does not fit; this file says it in the words of the person who wrote the file, at the place where
it was written, once, and with the repair.
"""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Literal, cast, get_args, get_origin

from pydantic import ValidationError

from gift_dsl.errors import Diagnostic, Note
from gift_dsl.games.families import find_family
from gift_dsl.games.game import Family
from gift_dsl.games.params import make_params, plain_params
from gift_dsl.spec.consequences import MAX_FINDINGS
from gift_dsl.spec.derive import params_model
from gift_dsl.spec.inline import game_types
from gift_dsl.spec.models.composition import PartSpec
from gift_dsl.spec.models.fields import MAX_INT, Strict
from gift_dsl.spec.models.fields import plain as plain_data
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node, Path, dotted
from gift_dsl.spec.suggest import did_you_mean, suggest
from gift_dsl.spec.walk import Place, hints, is_model, members, options_at, unwrap, walk
from gift_dsl.spec.wording import COMPOSITION_WORDS, describe, length_of, show, type_hint, unit_of

Loc = tuple[str | int, ...]

_TYPE_ERRORS: Final = frozenset(
    {
        "string_type",
        "int_type",
        "float_type",
        "bool_type",
        "list_type",
        "tuple_type",
        "dict_type",
        "model_type",
        "model_attributes_type",
        "int_from_float",
        "literal_error",
        "union_tag_not_found",
    }
)
_OF_ITEMS: Final = _TYPE_ERRORS | {"too_short"}
"""What pydantic says of a list too when an item is wrong: it counts only those that are right."""
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_KEY_NAME: Final = "api_key_env"
_OF_KEYS: Final = frozenset({"unknown-key", "bad-params"})


@dataclass(slots=True)
class _Checker:
    """One pass over one composed tree; collects findings."""

    tree: Node
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    places: dict[Path, Place] | None = None
    unread: bool = False
    """A game file could not be read; who tried has said why."""

    def place(self, path: Path) -> Place | None:
        """The model that rules a map, worked out only when something is wrong."""
        if self.places is None:
            self.places = {place.path: place for place in walk(Spec, self.tree)}
        return self.places.get(path)

    def add(self, code: str, message: str, path: Path, hint: str | None = None, notes: Iterable[Note] = ()) -> None:
        """A finding at a value, at the map that lacks a key, or at the key itself where the code is of keys."""
        node = self.tree.at(path)
        span = self.tree.key_span_of(path) if code in _OF_KEYS else self.tree.span_of(path)
        secret = path[-1:] == (_KEY_NAME,) and node is not None and code not in _OF_KEYS
        if secret and node is not None:
            # what stands where the NAME of a key belongs may be the key
            message, hint = (
                message.replace(show(node), "the value that stands here"),
                hint and _PATTERN_WORDS[_KEY_NAME][1],
            )
        if node is not None and node.origin is not None:
            notes = (*notes, Note("the value comes from here", node.origin))
        self.found.append(Diagnostic(code, message, span, "error", hint, dotted(path), tuple(notes), secret))

    def annotation(self, path: Path) -> Any:
        """The annotation of the field at a path, or None."""
        for cut in range(len(path) - 1, -1, -1):
            place = self.place(path[:cut])
            if place is None or place.model is None:
                continue
            found = _field_of(place, path[cut])
            for part in path[cut + 1 :]:
                found = _inside(found, part)
            return found
        return None


def _field_of(place: Place, key: str | int) -> Any:
    model = place.model
    assert model is not None
    if model is GameSpec and key not in model.model_fields and "type" in place.node.fields:
        family = find_family(place.node.fields["type"].text or "")
        return hints(params_model(family.params)).get(str(key)) if family is not None else None
    return hints(model).get(str(key))


def _inside(annotation: Any, part: str | int) -> Any:
    """The annotation of an item of a list or an entry of a dict."""
    for member in members(unwrap(annotation)[0]):
        bare, _ = unwrap(member)
        origin, args = get_origin(bare), get_args(bare)
        if origin is list and isinstance(part, int):
            return args[0]
        if origin is tuple and isinstance(part, int):
            return args[0] if args[-1] is ... else args[min(part, len(args) - 1)]
        if origin is dict and isinstance(part, str):
            return args[1]
        if len(members(bare)) > 1:
            found = _inside(bare, part)
            if found is not None:
                return found
    return None


def data_path(tree: Node, loc: Loc) -> Path:
    """A pydantic `loc` without the tags of unions; a last part that is not in the tree is a missing key."""
    node, path = tree, list[str | int]()
    tagged: Node | None = None
    for index, part in enumerate(loc):
        kind = node.fields.get("type")
        if kind is not None and kind.text == part and node is not tagged and path[0] != "games":
            tagged = node  # the tag comes first, and a stage of type `sft` has a key `sft` too
            continue
        child = node.child(part)
        if child is not None:
            node = child
            path.append(part)
        elif index == len(loc) - 1 and node.kind == "map" and isinstance(part, str) and _is_key(part):
            path.append(part)
    return tuple(path)


def _is_key(part: str) -> bool:
    """Union branches are named like `list[str]`, `constrained-int` or `<part>`; keys are not."""
    return part.replace("_", "").isalnum() and part not in ("str", "int", "float", "bool")


_BELONGS: Final = " belongs to "


def _unknown_key(check: _Checker, path: Path) -> None:
    holder, key = path[:-1], str(path[-1])
    place = check.place(holder)
    if place is not None and (_foreign_option(check, place, path) or _other_variant(check, place, path)):
        return
    options = options_at(place) if place is not None else ()
    if place is not None and place.model is PartSpec:
        options = (*options, *COMPOSITION_WORDS.values())  # a typo in its one key makes a composition look like a part
    options = tuple(option for option in options if option != key)
    hint = did_you_mean(key, options) or f"there are: {', '.join(f'`{option}`' for option in options)}"
    elsewhere = [] if suggest(key, options) else _lives_at(key)
    below = None if suggest(key, options) or place is None else _lives_below(key, place)
    if below is not None:
        value = check.tree.at(path)
        shown = value.raw if value is not None and value.kind in ("int", "float", "bool") else "..."
        instead = f"write `{below}: {{{key}: {shown}}}`"
        if check.tree.key_span_of(path).is_argument:
            instead = f"set `{dotted((*holder, below, key))}={shown}`"
        hint = f"`{key}`{_BELONGS}`{below}`: {instead}"
    elif elsewhere:
        hint = f"`{key}` belongs to " + " or ".join(f"`{name}`" for name in elsewhere[:3])
    message = f"unknown key `{key}` in {_where(holder, place)}"
    check.add("unknown-key", message, path, hint)


def _foreign_option(check: _Checker, place: Place, path: Path) -> bool:
    """Whether a key in a composition is of another composition, of a part or of a game; reports it then."""
    own, key = COMPOSITION_WORDS.get(place.model or Strict), str(path[-1])
    if own is None and place.model is PartSpec and "play" in place.node.fields:
        own = "play"
    if own is None:
        return False
    name = dotted(path[:-1])
    homes = [word for model, word in COMPOSITION_WORDS.items() if key in model.model_fields]
    if key in COMPOSITION_WORDS.values():
        note = Note(f"`{own}` is here", place.node.key_spans.get(own))
        message, hint = f"`{name}` has both `{own}` and `{key}`", "keep one, or make one of them a part of the other"
        check.add("unknown-key", message, path, hint, [note])
    elif homes:
        what = "a part with `play`" if own == "play" else f"an `{own}`"
        message = f"`{key}` is an option of {' and '.join(f'`{word}`' for word in homes)}, but `{name}` is {what}"
        check.add("unknown-key", message, path, "remove it")
    elif key in PartSpec.model_fields:
        hint = f"write {{play: {{{own}: ...}}, {key}: ...}}"
        check.add("unknown-key", f"`{key}` is an option of a part, not of `{own}` itself", path, hint)
    elif key in GameSpec.model_fields and path[0] == "games" and len(path) == 3:
        keys = [other for other in place.node.fields if other in GameSpec.model_fields]
        if key == keys[0]:  # one mistake, however many keys the game has
            listed = ", ".join(f"`{other}`" for other in keys)
            message = f"`{name}` is an `{own}`, and has {listed} like a game"
            hint = "give these to the games, or give the composition its own name"
            check.add("unknown-key", message, path, _without_inherited(place.node) or hint)
    else:
        return False
    return True


def _without_inherited(node: Node) -> str | None:
    """How a game takes the place of another file's composition, or the reverse; None where one file said both."""
    nulls = ", ".join(f"{key}: null" for key, span in node.key_spans.items() if span.file != node.span.file)
    return f"to drop what was inherited write `{nulls}` next to the rest" if nulls else None


def _where(holder: Path, place: Place | None) -> str:
    """The map in which a key stands, by its path and, where it has one, its type."""
    if not holder:
        return "the spec"
    kind = place.node.fields["type"].text if place is not None and "type" in place.node.fields else None
    if kind and holder[0] == "games":
        return f"`{dotted(holder)}`, a game of the family `{kind}`"  # a shipped game has been inlined
    return f"`{dotted(holder)}`" + (f", which has type `{kind}`" if kind else "")


def _other_variant(check: _Checker, place: Place, path: Path) -> bool:
    """Whether a key is for another type than the map has; reports it then."""
    key, type_node = str(path[-1]), place.node.fields.get("type")
    tags = sorted(tag for tag, model in (place.variants or {}).items() if key in model.model_fields)
    if not tags or type_node is None:
        return False
    listed, span = " or ".join(f"`{tag}`" for tag in tags[:3]), check.tree.key_span_of(path)
    check.add(
        "unknown-key",
        f"`{key}` is for type {listed}, but `{dotted(path[:-1])}` has type `{type_node.text}`",
        path,
        f"remove it, or write `type: {tags[0]}`"
        if span.file == type_node.span.file
        else f"to drop the inherited value write `{key}: null` next to `type`",
        [Note("the type is set here", type_node.span)],
    )
    return True


def _lives_below(key: str, place: Place) -> str | None:
    """The section of a map that has a key which was written beside it: `steps` of a stage belongs to `until`."""
    for name, annotation in hints(place.model).items() if place.model is not None else ():
        if any(
            is_model(bare := unwrap(member)[0]) and key in bare.model_fields
            for member in members(unwrap(annotation)[0])
        ):
            return name
    return None


def _lives_at(key: str, model: type[Strict] = Spec, prefix: str = "", depth: int = 3) -> list[str]:
    """Dotted names of the places that have this key: top-level sections and what stands in them."""
    found = [f"{prefix}{key}"] if prefix and key in model.model_fields else []
    for name, annotation in hints(model).items() if depth > 1 else ():
        for member in members(unwrap(annotation)[0]):
            bare, _ = unwrap(member)
            if is_model(bare):
                found += _lives_at(key, bare, f"{prefix}{name}.", depth - 1)
    return list(dict.fromkeys(found))


def _missing_key(check: _Checker, path: Path) -> None:
    holder, key = path[:-1], str(path[-1])
    place = check.place(holder)
    text = None
    if place is not None and place.model is not None:
        info = place.model.model_fields.get(key)
        text = info.description if info is not None else None
    if key == "type" and place is not None and place.variants:
        text = "one of " + ", ".join(f"`{tag}`" for tag in place.variants)
    hint = f"`{key}`: {text[0].lower()}{text[1:].rstrip('.')}" if text else None
    check.add("missing-key", f"`{dotted(path)}` is missing", path, hint)


def _unknown_value(check: _Checker, path: Path, options: Sequence[str], what: str = "") -> None:
    node = check.tree.at(path)
    assert node is not None
    code = "unknown-type" if path[-1] == "type" else "unknown-value"
    listed = "it is one of " + ", ".join(f"`{option}`" for option in options)
    subject = what or f"`{dotted(path)}` cannot be {show(node)}"
    near = did_you_mean(node.text, list(options)) if node.text and suggest(node.text, options) else None
    check.add(code, subject, path, near or listed)


def _wrong_type(check: _Checker, path: Path) -> None:
    node = check.tree.at(path)
    assert node is not None
    annotation = check.annotation(path)
    bare, _ = unwrap(annotation)
    alone = [unwrap(member)[0] for member in members(bare) if member is not type(None)]
    if len(alone) == 1 and get_origin(alone[0]) is Literal and node.kind == "text":
        if node.text in [str(value) for value in get_args(alone[0]) if not isinstance(value, str)]:
            message = f"`{dotted(path)}` must be a number, but this is {show(node)}"
            check.add("wrong-type", message, path, f"remove the quotes: {node.text}")
            return
        _unknown_value(check, path, [str(value) for value in get_args(alone[0])])
        return
    wanted = describe(annotation) if annotation is not None else "something else"
    hint = type_hint(node, wanted)
    words = [value for member in alone if get_origin(member) is Literal for value in get_args(member)]
    if hint is None and node.text is not None and any(isinstance(word, str) for word in words):
        near = did_you_mean(node.text, words) if suggest(node.text, words) else f"it is {wanted}"
        check.add("unknown-value", f"`{dotted(path)}` cannot be {show(node)}", path, near)
        return
    if path[-1] == "play" and node.kind == "list":
        names = ", ".join(item.text or "..." for item in node.items)
        hint = f"write {{all_of: [{names}]}} to play all in one trajectory, or {{any_of: [{names}]}} for one of them"
    if path == ("gift",) and node.kind == "int":
        hint = "this is a spec of another version of the language; this gift reads version 1"
    check.add("wrong-type", f"`{dotted(path)}` must be {wanted}, but this is {show(node)}", path, hint)


_PATTERN_WORDS: Final = {
    "name": ("bad-name", "a name starts with a letter and holds letters, digits, `_`, `.` and `-`, at most 64 of them"),
    "api_key_env": ("bad-name", "an environment variable's NAME, such as OPENAI_API_KEY; never the key itself"),
    "base_url": ("bad-url", "an address starts with http:// or https:// and holds no spaces"),
    "tag": ("bad-name", "a tag is one lower-case word without < and >"),
}


def _constraint(check: _Checker, path: Path, error: Any) -> None:
    """A value of the right kind that is out of its range, too short, or not of its pattern."""
    kind, context, node = error["type"], error.get("ctx", {}), check.tree.at(path)
    assert node is not None
    name = f"`{dotted(path)}`"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        bound = context[key]
        if abs(bound) == MAX_INT:
            return  # told wherever such a number stands
        shown = int(bound) if bound == int(bound) else bound
        check.add("out-of-range", f"{name} must be {words} {shown}, but this is {show(node)}", path)
    elif kind in ("too_short", "string_too_short"):
        least = context["min_length"]
        message = f"{name} must not be empty" if least == 1 else f"{name} needs at least {least} {unit_of(node)}"
        check.add("too-short", message, path)
    elif kind in ("too_long", "string_too_long"):
        message = f"{name} may have at most {context['max_length']} {unit_of(node)}, but this has {length_of(node)}"
        check.add("too-long", message, path)
    elif kind == "string_pattern_mismatch":
        code, hint = _PATTERN_WORDS.get(str(path[-1]), ("bad-name", f"it must match {context['pattern']}"))
        check.add(code, f"{name} cannot be {show(node)}", path, hint)
    else:
        check.add("wrong-value", f"{name}: {error['msg']}", path)


def _bad_key(check: _Checker, path: Path) -> None:
    """A key that names something and is no name."""
    code, hint = _PATTERN_WORDS["name"]
    message = f"`{path[-1]}` cannot be a name in `{dotted(path[:-1])}`"
    check.found.append(Diagnostic(code, message, check.tree.key_span_of(path), "error", hint, dotted(path)))


def _report(check: _Checker, errors: list[Any]) -> None:
    """Every pydantic error as one finding a place."""
    by_path: dict[Path, list[Any]] = {}
    for error in errors:
        path = data_path(check.tree, error["loc"])
        if error["loc"][-1] == "[key]":
            _bad_key(check, path)
        else:
            by_path.setdefault(path, []).append(error)
    holders = {path[:end] for path in by_path for end in range(len(path))}
    for path, group in islice(by_path.items(), MAX_FINDINGS):
        group = [error for error in group if not (path in holders and error["type"] in _OF_ITEMS)]
        if group:
            _report_one(check, path, group)


def _report_one(check: _Checker, path: Path, group: list[Any]) -> None:
    kinds = {error["type"] for error in group}
    constraint = next((e for e in group if e["type"] not in _TYPE_ERRORS), None)
    if "extra_forbidden" in kinds:
        _unknown_key(check, path)
    elif "missing" in kinds:
        _missing_key(check, path)
    elif "union_tag_invalid" in kinds or "union_tag_not_found" in kinds:
        _bad_tag(check, path)
    elif constraint is not None:
        _constraint(check, path, constraint)
    else:
        _wrong_type(check, path)


def _bad_tag(check: _Checker, path: Path) -> None:
    """A map of a tagged union whose `type` is missing or unknown."""
    node = check.tree.at(path)
    place = check.place(path)
    options = list(place.variants or {}) if place is not None else []
    if node is not None and node.kind == "map" and "type" not in node.fields:
        models = (place.variants or {}).values() if place is not None else ()
        known = {key for model in models for key in model.model_fields}
        near = next((key for key in node.fields if key not in known and suggest(key, ["type"])), None)
        if near is None:
            _missing_key(check, (*path, "type"))
        else:
            check.add("unknown-key", f"unknown key `{near}` in `{dotted(path)}`", (*path, near), "did you mean `type`?")
    elif node is not None and node.kind == "map":
        _unknown_value(
            check, (*path, "type"), options, f"unknown type `{node.fields['type'].value}` in `{dotted(path)}`"
        )
    elif node is not None and node.kind == "text":
        _unknown_value(check, path, options, f"unknown name `{node.value}` in `{dotted(path[:-1])}`")
    else:
        _wrong_type(check, path)


def tidy(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """`steps` missing beside an unknown `step` is one mistake: the missing key goes where the hint supposes it.

    So is `until` missing beside `steps`, which belongs to it.
    """
    findings = list(found)
    hinted = {
        (item.path.rpartition(".")[0], word)
        for item in findings
        if item.code == "unknown-key" and item.hint and (item.hint.startswith("did you mean") or _BELONGS in item.hint)
        for word in item.hint.replace("`", " ").replace("?", " ").replace(",", " ").split()
    }
    hinted |= {(holder, "play") for holder, word in hinted if word in COMPOSITION_WORDS.values()}
    for item in findings:
        holder, _, key = item.path.rpartition(".")
        if not (item.code == "missing-key" and (holder, key) in hinted):
            yield item


def _game_params(check: _Checker, name: str, node: Node, plain: dict[str, Any]) -> dict[str, Any]:
    """A game with its family's parameters split off, checked, and filled with their defaults."""
    common = {key: value for key, value in plain.items() if key in GameSpec.model_fields and key != "params"}
    own = {key: value for key, value in plain.items() if key not in common}
    if _inline_opponent(check, name, node):
        del common["opponents"]
    family = _family(check, name, node, own)
    values = _values(check, name, node, family, own) if family is not None else None
    return common if values is None else {**common, "params": values}


def _family(check: _Checker, name: str, node: Node, own: Iterable[str]) -> Family | None:
    """The family that a game names; None where it names none, which is then reported."""
    kind = node.fields.get("type")
    family = find_family(kind.text) if kind is not None and kind.text else None
    if family is not None:
        return family
    if kind is not None and kind.kind == "text":
        _unknown_value(check, ("games", name, "type"), game_types(), f"unknown game type `{kind.value}`")
    elif "file" in node.fields:
        check.unread = True  # inlining would have put a family in its place
    elif kind is None:
        _without_type(check, name, own)
    return None


def _values(check: _Checker, name: str, node: Node, family: Family, own: dict[str, Any]) -> dict[str, Any] | None:
    """Parameters with defaults filled in, each right and all of them together; None where one is wrong."""
    values = defaults(family.params) if not own else None
    if values is None:
        values = _validated(check, name, family.params, own)
    contradiction = None if values is None else family.check(make_params(family.params, values))
    if contradiction is not None:
        named = next((key for key in re.findall(r"`(\w+)[`.]", contradiction) if key in node.fields), None)
        path: Path = ("games", name) if named is None else ("games", name, named)
        check.add("bad-params", f"`games.{name}`: {contradiction}", path)
    return values


def _without_type(check: _Checker, name: str, own: Iterable[str]) -> None:
    """A game without a type: often the one key that makes it a game or a composition has a typo."""
    known = (*GameSpec.model_fields, *COMPOSITION_WORDS.values())
    near = {key: close for key in own if (close := suggest(key, known))}
    for key in near:
        message, path = f"unknown key `{key}` in `games.{name}`", ("games", name, key)
        check.add("unknown-key", message, path, did_you_mean(key, known))
    if not any(close[0] in COMPOSITION_WORDS.values() for close in near.values()):
        _missing_key(check, ("games", name, "type"))


def _inline_opponent(check: _Checker, name: str, node: Node) -> bool:
    """Whether a game defines an opponent where it should name one; reports it then."""
    given = node.fields.get("opponents")
    if given is None or "type" not in given.fields:
        return False
    message = f"`games.{name}.opponents` names opponents, and this defines one"
    hint = "define it under `opponents`: NAME: {type: ...}, and write its name here"
    check.add("wrong-type", message, ("games", name, "opponents"), hint)
    return True


def _validated(check: _Checker, name: str, params: type[Any], own: dict[str, Any]) -> dict[str, Any] | None:
    """Written parameters with defaults filled in; None where they are wrong, which is then reported."""
    try:
        return plain_data(params_model(params).model_validate_json(json.dumps(own)))
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)
        _report(check, [{**item, "loc": ("games", name, *item["loc"])} for item in wrong])
        return None


@lru_cache(maxsize=256)
def defaults(params: type[Any]) -> dict[str, Any] | None:
    """The values of a family whose every parameter has a default; None where one has none."""
    required = any(item.default is MISSING for item in fields(params))
    return None if required else plain_params(params())


def _prepared(check: _Checker) -> dict[str, Any]:
    """The tree as plain data, games with their parameters apart."""
    plain = check.tree.plain()
    games = check.tree.fields.get("games")
    if games is None or games.kind != "map":
        return plain
    plain["games"] = {
        name: _game_params(check, name, node, plain["games"][name])
        if node.kind == "map" and not node.fields.keys() & {"all_of", "any_of", "in_turn"}
        else plain["games"][name]
        for name, node in games.fields.items()
    }
    return plain


def _inexact(tree: Node) -> Iterator[Diagnostic]:
    """Whole numbers beyond 2^53, also where a value may be anything: they have no canonical form to hash."""
    waiting: list[tuple[Node, Path]] = [(tree, ())]
    while waiting:
        node, path = waiting.pop()
        if node.kind == "int" and abs(cast("int", node.value)) > MAX_INT:
            message = f"`{dotted(path)}` is too large for an exact number"
            yield Diagnostic("out-of-range", message, node.span, "error", "stay below 2^53", dotted(path))
        waiting += [(child, (*path, key)) for key, child in node.fields.items()]
        waiting += [(child, (*path, index)) for index, child in enumerate(node.items)]


def check_spec(tree: Node) -> tuple[Spec | None, list[Diagnostic]]:
    """The Spec that a composed tree says, or every mistake in it.

    Args:
        tree: after `extends`, `--set`, variables, the sweep and the inlining of game files.

    Returns:
        The spec, None when there is an error; the findings in no particular order.
    """
    check = _Checker(tree)
    if tree.kind != "map":
        check.add("wrong-type", f"a spec is a map, but this is {show(tree)}", ())
        return None, check.found
    plain = _prepared(check)
    spec: Spec | None = None
    try:
        spec = Spec.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        _report(check, error.errors(include_url=False, include_input=False))
    told = {item.path for item in check.found}
    check.found += [item for item in _inexact(tree) if item.path not in told]
    findings = list(tidy(check.found))
    return (None if findings or check.unread else spec), findings

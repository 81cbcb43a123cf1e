"""From a composed tree to a Spec, or to every mistake at its place.

Pydantic finds what does not fit; this file says it in the words of the person who wrote the file, at the place where
it was written, once, and with the repair.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from pydantic import ValidationError

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.games.families import find_family
from gift_dsl.games.params import make_params, plain_params
from gift_dsl.spec.derive import params_model
from gift_dsl.spec.inline import game_types
from gift_dsl.spec.models.fields import MAX_INT, Strict
from gift_dsl.spec.models.fields import plain as plain_data
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node, Path
from gift_dsl.spec.suggest import did_you_mean, suggest
from gift_dsl.spec.walk import Place, hints, is_model, members, options_at, unwrap, walk

Loc = tuple[str | int, ...]

KIND_WORDS: Final = {
    "map": "a map",
    "list": "a list",
    "text": "the text",
    "int": "the number",
    "float": "the number",
    "bool": "the truth value",
    "null": "nothing",
}
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
_BOUNDS: Final = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("greater than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_YAML_1_1_BOOLS: Final = {"no": "false", "off": "false", "n": "false", "yes": "true", "on": "true", "y": "true"}


def dotted(path: Sequence[str | int]) -> str:
    """`stages[0].play` for ("stages", 0, "play")."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def show(node: Node) -> str:
    """A value as a message shows it: the number `1.10`, a list."""
    if node.kind in ("map", "list", "null"):
        return KIND_WORDS[node.kind]
    raw = node.raw if len(node.raw) <= 60 else node.raw[:57] + "..."
    return f"{KIND_WORDS[node.kind]} `{raw}`"


def describe(annotation: Any) -> str:
    """What may stand somewhere, in words: one of `a`, `b`, or a whole number."""
    words: list[str] = []
    literals: list[str] = []
    for member in members(unwrap(annotation)[0]):
        bare, _ = unwrap(member)
        origin = get_origin(bare) or bare
        if origin is Literal:
            literals += [f"`{value}`" for value in get_args(bare)]
        elif origin is type(None):
            continue
        elif len(members(bare)) > 1:
            words.append(describe(bare))
        else:
            words.append(_word(origin))
    if literals:
        words.insert(0, literals[0] if len(literals) == 1 else "one of " + ", ".join(literals))
    unique = list(dict.fromkeys(words))
    return unique[0] if len(unique) == 1 else ", ".join(unique[:-1]) + " or " + unique[-1]


def _word(origin: Any) -> str:
    named = {
        str: "text",
        int: "a whole number",
        float: "a number",
        bool: "`true` or `false`",
        list: "a list",
        tuple: "a list",
        dict: "a map",
    }
    return named.get(origin, "a map")


@dataclass(slots=True)
class _Checker:
    """One pass over one composed tree; collects findings."""

    tree: Node
    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    places: dict[Path, Place] | None = None

    def place(self, path: Path) -> Place | None:
        """The model that rules a map, worked out only when something is wrong."""
        if self.places is None:
            self.places = {place.path: place for place in walk(Spec, self.tree)}
        return self.places.get(path)

    def add(
        self, code: str, message: str, span: Span, path: Path, hint: str | None = None, notes: Iterable[Note] = ()
    ) -> None:
        self.found.append(Diagnostic(code, message, span, "error", hint, dotted(path), tuple(notes)))

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
    node, path = tree, []
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


def _unknown_key(check: _Checker, path: Path) -> None:
    holder, key = path[:-1], str(path[-1])
    place = check.place(holder)
    span = check.tree.key_span_of(path)
    options = options_at(place) if place is not None else ()
    other = _other_variant(place, key)
    if other is not None and place is not None:
        tags, tag_span = other
        kind = place.node.fields["type"].text
        check.add(
            "unknown-key",
            f"`{key}` is for {tags}, but `{dotted(holder)}` has type `{kind}`",
            span,
            path,
            f"to drop an inherited value write `{key}: null` next to `type`",
            [Note("the type is set here", tag_span)],
        )
        return
    near = suggest(key, options)
    hint = did_you_mean(key, options)
    elsewhere = [] if near else _lives_at(key)
    if elsewhere:
        hint = f"`{key}` belongs to " + " or ".join(f"`{name}`" for name in elsewhere[:3])
    check.add("unknown-key", f"unknown key `{key}` in {_where(holder, place)}", span, path, hint)


def _where(holder: Path, place: Place | None) -> str:
    """The map in which a key stands, by its path and, where it has one, its type."""
    if not holder:
        return "the spec"
    kind = place.node.fields["type"].text if place is not None and "type" in place.node.fields else None
    return f"`{dotted(holder)}`" + (f", which has type `{kind}`" if kind else "")


def _other_variant(place: Place | None, key: str) -> tuple[str, Span] | None:
    """The variants of a tagged union that do know this key."""
    if place is None or place.variants is None or "type" not in place.node.fields:
        return None
    tags = sorted(tag for tag, model in place.variants.items() if key in model.model_fields)
    if not tags:
        return None
    return "type " + " or ".join(f"`{tag}`" for tag in tags[:3]), place.node.fields["type"].span


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
    check.add("missing-key", f"`{dotted(path)}` is missing", check.tree.span_of((*holder, key)), path, hint)


def _unknown_value(check: _Checker, path: Path, options: Sequence[str], what: str = "") -> None:
    node = check.tree.at(path)
    assert node is not None
    code = "unknown-type" if path[-1] == "type" else "unknown-value"
    listed = "it is one of " + ", ".join(f"`{option}`" for option in options)
    subject = what or f"`{dotted(path)}` cannot be {show(node)}"
    near = did_you_mean(node.text, list(options)) if node.text and suggest(node.text, options) else None
    check.add(code, subject, node.span, path, near or listed)


def _type_hint(node: Node, wanted: str) -> str | None:
    """The repair of a value of the wrong kind, from how it was written."""
    raw = node.raw
    if "`true`" in wanted and raw.lower() in _YAML_1_1_BOOLS:
        return f"YAML 1.2 reads `{raw}` as text; write `{_YAML_1_1_BOOLS[raw.lower()]}`"
    if wanted.startswith("text") and node.kind in ("int", "float", "bool"):
        return f'put it in quotes: "{raw}"'
    if "number" in wanted and node.kind == "text":
        bare = raw.strip("\"'")
        if bare != raw and _reads_as_number(bare):
            return f"remove the quotes: {bare}"
        plain = bare.replace("_", "").replace(",", "").replace(" ", "").replace("10^", "1e").replace("*1e", "e")
        return f"write {plain}" if _reads_as_number(plain) else None
    if wanted == "a whole number" and node.kind == "float" and float(node.value) == int(node.value):  # type: ignore[arg-type]  # kind is float
        return f"write {int(node.value)}"  # type: ignore[arg-type]
    if wanted.startswith("a list") and node.kind in ("text", "int", "float", "map"):
        return "write a list: [" + (raw or "...") + "]"
    return None


def _reads_as_number(text: str) -> bool:
    try:
        return abs(float(text)) < float("inf")
    except ValueError:
        return False


def _wrong_type(check: _Checker, path: Path) -> None:
    node = check.tree.at(path)
    assert node is not None
    annotation = check.annotation(path)
    bare, _ = unwrap(annotation)
    alone = [unwrap(member)[0] for member in members(bare) if member is not type(None)]
    if len(alone) == 1 and get_origin(alone[0]) is Literal and node.kind == "text":
        _unknown_value(check, path, [str(value) for value in get_args(alone[0])])
        return
    wanted = describe(annotation) if annotation is not None else "something else"
    hint = _type_hint(node, wanted)
    if hint is None and node.text is not None:
        literals = [
            str(v)
            for member in members(bare)
            if get_origin(unwrap(member)[0]) is Literal
            for v in get_args(unwrap(member)[0])
        ]
        hint = did_you_mean(str(node.value), literals) if suggest(str(node.value), literals) else None
    check.add("wrong-type", f"`{dotted(path)}` must be {wanted}, but this is {show(node)}", node.span, path, hint)


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
            check.add("out-of-range", f"{name} is too large for an exact number", node.span, path, "stay below 2^53")
            return
        shown = int(bound) if bound == int(bound) else bound
        check.add("out-of-range", f"{name} must be {words} {shown}, but this is {show(node)}", node.span, path)
    elif kind in ("too_short", "string_too_short"):
        check.add(
            "too-short",
            f"{name} must not be empty"
            if context.get("min_length") == 1
            else f"{name} needs at least {context['min_length']} items",
            node.span,
            path,
        )
    elif kind in ("too_long", "string_too_long"):
        check.add("too-long", f"{name} may hold at most {context['max_length']}, but this is longer", node.span, path)
    elif kind == "string_pattern_mismatch":
        code, hint = _PATTERN_WORDS.get(str(path[-1]), ("bad-name", f"it must match {context['pattern']}"))
        check.add(code, f"{name} cannot be {show(node)}", node.span, path, hint)
    else:
        check.add("wrong-value", f"{name}: {error['msg']}", node.span, path)


def _report(check: _Checker, errors: list[Any]) -> None:
    """Every pydantic error as one finding a place."""
    by_path: dict[Path, list[Any]] = {}
    for error in errors:
        by_path.setdefault(data_path(check.tree, error["loc"]), []).append(error)
    for path, group in by_path.items():
        deeper = any(len(other) > len(path) and other[: len(path)] == path for other in by_path)
        group = [error for error in group if not (deeper and error["type"] in _TYPE_ERRORS)]
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
        _missing_key(check, (*path, "type"))
    elif node is not None and node.kind == "map":
        _unknown_value(
            check, (*path, "type"), options, f"unknown type `{node.fields['type'].value}` in `{dotted(path)}`"
        )
    elif node is not None and node.kind == "text":
        _unknown_value(check, path, options, f"unknown name `{node.value}` in `{dotted(path[:-1])}`")
    else:
        _wrong_type(check, path)


def tidy(found: Iterable[Diagnostic]) -> Iterator[Diagnostic]:
    """`steps` missing beside an unknown `step` is one mistake: the missing key goes where the hint already names it."""
    findings = list(found)
    hinted = {
        (item.path.rpartition(".")[0], word)
        for item in findings
        if item.code == "unknown-key" and item.hint
        for word in item.hint.replace("`", " ").replace("?", " ").replace(",", " ").split()
    }
    for item in findings:
        holder, _, key = item.path.rpartition(".")
        if not (item.code == "missing-key" and (holder, key) in hinted):
            yield item


def _game_params(check: _Checker, name: str, node: Node, plain: dict[str, Any]) -> dict[str, Any]:
    """A game with its family's parameters split off, checked, and filled with their defaults."""
    common = {key: value for key, value in plain.items() if key in GameSpec.model_fields and key != "params"}
    own = {key: value for key, value in plain.items() if key not in common}
    kind = node.fields.get("type")
    family = find_family(kind.text) if kind is not None and kind.text else None
    if family is None:
        if kind is not None and kind.kind == "text":
            _unknown_value(check, ("games", name, "type"), game_types(), f"unknown game type `{kind.value}`")
        elif kind is None and not node.fields.keys() & {"all_of", "any_of", "in_turn"}:
            _missing_key(check, ("games", name, "type"))
        return common
    values = defaults(family.params) if not own else None
    if values is None:
        values = _validated(check, name, family.params, own)
    if values is None:
        return common
    contradiction = family.check(make_params(family.params, values))
    if contradiction is not None:
        span = node.key_spans.get("type", node.span)
        check.add(
            "bad-params",
            f"`games.{name}`: {contradiction}",
            check.tree.key_span_of(("games", name)) or span,
            ("games", name),
        )
    return {**common, "params": values}


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


def check_spec(tree: Node) -> tuple[Spec | None, list[Diagnostic]]:
    """The Spec that a composed tree says, or every mistake in it.

    Args:
        tree: after `extends`, `--set`, variables, the sweep and the inlining of game files.

    Returns:
        The spec, None when there is an error; the findings in no particular order.
    """
    check = _Checker(tree)
    if tree.kind != "map":
        check.add("wrong-type", f"a spec is a map, but this is {show(tree)}", tree.first_line(), ())
        return None, check.found
    plain = _prepared(check)
    spec: Spec | None = None
    try:
        spec = Spec.model_validate_json(json.dumps(plain))
    except ValidationError as error:
        _report(check, error.errors(include_url=False, include_input=False))
    findings = list(tidy(check.found))
    return (None if findings else spec), findings

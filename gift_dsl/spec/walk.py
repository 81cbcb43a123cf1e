"""A walk over the models and the tree together: which model stands at which place.

Pydantic says where a value is wrong, not what could have stood there; and it does not check names that point at other
parts of the spec. Both need to know, for each place, the model or field that rules it.
"""

import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from inspect import get_annotations
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Discriminator, Tag
from pydantic.fields import FieldInfo

from gift_dsl.games.families import find_family
from gift_dsl.plan import frozen
from gift_dsl.spec.derive import params_model
from gift_dsl.spec.models.fields import Ref, Strict
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.node import Kind, Node, Path


@frozen
class Place:
    """A value and what rules it.

    Attributes:
        path: where the value is in the tree.
        node: the value.
        model: its model, for a map that has one.
        ref: what it names, for a name of something defined elsewhere.
        variants: for a value of a tagged union, the models by tag.
    """

    path: Path
    node: Node
    model: type[Strict] | None = None
    ref: Ref | None = None
    variants: Mapping[str, type[Strict]] | None = None


@lru_cache(maxsize=512)
def hints(model: type[Strict]) -> Mapping[str, Any]:
    """The annotation of each field of a model, with all metadata."""
    found: dict[str, Any] = {}
    for cls in reversed(model.__mro__):
        found |= get_annotations(cls)
    if any(isinstance(hint, str) for hint in found.values()):
        found = get_type_hints(model, include_extras=True)  # a file of postponed annotations; this is slow
    return {name: hint for name, hint in found.items() if name in model.model_fields}


def unwrap(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """The bare annotation, and the metadata of every `Annotated` round it."""
    metadata: tuple[Any, ...] = ()
    while get_origin(annotation) is Annotated:
        inner, *extra = get_args(annotation)
        annotation, metadata = inner, (*metadata, *extra)
    return annotation, metadata


def members(annotation: Any) -> tuple[Any, ...]:
    """The members of a union, or the annotation alone."""
    return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)


def model_tags(model: type[Strict]) -> tuple[str, ...]:
    """The values that `type` may have in a member of a tagged union."""
    bare = model.model_fields["type"].annotation
    return tuple(str(value) for value in get_args(bare)) if get_origin(bare) is Literal else ()


def is_model(annotation: Any) -> bool:
    """Whether this is one of our models."""
    return isinstance(annotation, type) and issubclass(annotation, Strict)


def _variants(options: tuple[Any, ...]) -> dict[str, type[Strict]]:
    """The models of a union by the value of their `type`."""
    models = [unwrap(option)[0] for option in options]
    return {
        tag: model for model in models if is_model(model) and "type" in model.model_fields for tag in model_tags(model)
    }


def _by_kind(options: tuple[Any, ...]) -> dict[str, Any]:
    """By kind of value, the member of an untagged union that it is checked as; a scalar's alternatives are none."""
    found: dict[str, Any] = {}
    for option in options:
        bare, _ = unwrap(option)
        origin = get_origin(bare) or bare
        kind = "map" if is_model(bare) or origin is dict else "list" if origin in (list, tuple) else None
        kind = "text" if bare is str else kind
        if kind is not None:
            found.setdefault(kind, option)
    return found


def _tagged(options: tuple[Any, ...]) -> dict[str, Any]:
    """The members of a union with a callable discriminator, by tag."""
    return {item.tag: option for option in options for item in unwrap(option)[1] if isinstance(item, Tag)}


def _discriminator(metadata: tuple[Any, ...]) -> Any:
    for item in metadata:
        if isinstance(item, Discriminator):
            return item.discriminator
        if isinstance(item, FieldInfo) and item.discriminator is not None:
            found = item.discriminator
            return found.discriminator if isinstance(found, Discriminator) else found
    return None


@frozen
class _Rule:
    """What an annotation says, looked at once.

    Attributes:
        origin: the container, of a dict, list or tuple.
        model: the model, if it is one.
        ref: the first `Ref` among the metadata.
        how: of a union: `type`, a function that gives the tag, or None where the kind of the value decides.
        members: of a union: its members by type, tag or kind; None for what is no union.
        variants: of a union: the models by tag.
        inner: the annotations of the values of a dict, or of the items of a list or tuple.
    """

    origin: Any
    model: type[Strict] | None
    ref: Ref | None
    how: Any
    members: Mapping[str, Any] | None
    variants: Mapping[str, type[Strict]] | None
    inner: tuple[Any, ...]


def _make_rule(annotation: Any) -> _Rule:
    bare, metadata = unwrap(annotation)
    ref = next((item for item in metadata if isinstance(item, Ref)), None)
    options = tuple(option for option in members(bare) if option is not type(None))
    if len(options) == 1 and options[0] is bare:
        origin, args = get_origin(bare), get_args(bare)
        if origin is list or (origin is tuple and args[-1] is ...):
            inner = args[:1]
        else:
            inner = args if origin is tuple else args[1:] if origin is dict else ()
        return _Rule(origin, bare if is_model(bare) else None, ref, None, None, None, inner)
    how, variants = _discriminator(metadata), _variants(options)
    if how == "type":
        chosen: Mapping[str, Any] = variants
    elif callable(how):
        chosen = _tagged(options)
    else:
        chosen = dict.fromkeys(_KINDS, options[0]) if len(options) == 1 else _by_kind(options)
    return _Rule(None, None, ref, how, chosen, variants or None, ())


_KINDS: Final[tuple[Kind, ...]] = ("map", "list", "text", "int", "float", "bool", "null")
_RULES: Final[dict[int, tuple[Any, _Rule]]] = {}
"""Rules by the identity of their annotation, which is kept beside them: annotations of models live as long as these."""


def _rule(annotation: Any) -> _Rule:
    found = _RULES.get(id(annotation))
    if found is None:
        found = _RULES[id(annotation)] = (annotation, _make_rule(annotation))
    return found[1]


def _shallow(node: Node) -> Any:
    """What the functions that decide unions look at: keys, kinds, and the scalars of a map."""
    return {key: child.value for key, child in node.fields.items()} if node.kind == "map" else node.value


def _choose(annotation: Any, node: Node) -> tuple[_Rule | None, Ref | None, Mapping[str, type[Strict]] | None]:
    """The rule of this value once unions are decided, the reference and the variants on the way."""
    ref: Ref | None = None
    variants: Mapping[str, type[Strict]] | None = None
    while True:
        rule = _rule(annotation)
        ref = ref or rule.ref
        if rule.members is None:
            return rule, ref, variants
        variants = rule.variants or variants
        if rule.how == "type":
            named = node.fields["type"].text if "type" in node.fields else None
            annotation = rule.members.get(named or "")
        else:
            annotation = rule.members.get(str(rule.how(_shallow(node))) if rule.how is not None else node.kind)
        if annotation is None:
            return None, ref, variants


def _children(model: type[Strict], node: Node, path: Path) -> Iterator[Place]:
    known = hints(model)
    if model is GameSpec and not known.keys() >= node.fields.keys():
        family = find_family(node.fields["type"].text or "") if "type" in node.fields else None
        known = {**known, **(hints(params_model(family.params)) if family is not None else {})}
    for key, child in node.fields.items():
        if key in known:
            yield from walk(known[key], child, (*path, key))


def walk(annotation: Any, node: Node, path: Path = ()) -> Iterator[Place]:
    """Every place below `node` that a model or a reference rules, outermost first."""
    rule, ref, variants = _choose(annotation, node)
    if rule is not None and rule.model is not None and node.kind == "map":
        yield Place(path, node, rule.model, None, variants)
        yield from _children(rule.model, node, path)
        return
    if (ref is not None and node.kind == "text") or variants is not None:
        yield Place(path, node, None, ref, variants)
    if rule is None or not rule.inner:
        return
    if rule.origin is dict and node.kind == "map":
        for key, child in node.fields.items():
            yield from walk(rule.inner[0], child, (*path, key))
    elif rule.origin is not dict and node.kind == "list":
        last = len(rule.inner) - 1
        for index, child in enumerate(node.items):
            yield from walk(rule.inner[min(index, last)], child, (*path, index))


def options_at(place: Place) -> tuple[str, ...]:
    """The keys that the map at this place may have."""
    if place.model is None:
        return ()
    names = [name for name in hints(place.model) if not (place.model is GameSpec and name == "params")]
    if place.model is GameSpec and "type" in place.node.fields:
        family = find_family(place.node.fields["type"].text or "")
        names += list(hints(params_model(family.params))) if family is not None else []
    return tuple(names)

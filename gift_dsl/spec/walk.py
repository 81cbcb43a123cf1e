"""A walk over the models and the tree together: which model stands at which place.

Pydantic says where a value is wrong, not what could have stood there; and it does not check names that point at other
parts of the spec. Both need to know, for each place, the model or field that rules it.
"""

import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import Discriminator, Tag
from pydantic.fields import FieldInfo

from gift_dsl.games.families import find_family
from gift_dsl.plan import frozen
from gift_dsl.spec.derive import params_model
from gift_dsl.spec.models.fields import Ref, Strict
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.node import Node, Path


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
    return {
        name: hint for name, hint in get_type_hints(model, include_extras=True).items() if name in model.model_fields
    }


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
    bare, _ = unwrap(hints(model)["type"])
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


def _by_kind(options: tuple[Any, ...], node: Node) -> Any:
    """The member of an untagged union that a value of this kind is checked as; None for a scalar's alternatives."""
    for option in options:
        bare, _ = unwrap(option)
        origin = get_origin(bare) or bare
        if node.kind == "map" and (is_model(bare) or origin is dict):
            return option
        if node.kind == "list" and origin in (list, tuple):
            return option
        if node.kind == "text" and bare is str:
            return option
    return None


def _tagged(options: tuple[Any, ...], tag: str | None) -> Any:
    """The member of a union with a callable discriminator that carries this tag."""
    for option in options:
        if any(isinstance(item, Tag) and item.tag == tag for item in unwrap(option)[1]):
            return option
    return None


def _discriminator(metadata: tuple[Any, ...]) -> Any:
    for item in metadata:
        if isinstance(item, Discriminator):
            return item.discriminator
        if isinstance(item, FieldInfo) and item.discriminator is not None:
            found = item.discriminator
            return found.discriminator if isinstance(found, Discriminator) else found
    return None


def _choose(annotation: Any, node: Node) -> tuple[Any, tuple[Any, ...], Mapping[str, type[Strict]] | None]:
    """The annotation that rules this value once unions are decided, its metadata, and the variants on the way."""
    bare, metadata = unwrap(annotation)
    options = tuple(option for option in members(bare) if option is not type(None))
    if len(options) == 1 and options[0] is bare:
        return bare, metadata, None
    how, variants = _discriminator(metadata), _variants(options) or None
    if how == "type":
        named = node.fields["type"].text if "type" in node.fields else None
        chosen: Any = (variants or {}).get(named or "")
    elif callable(how):
        chosen = _tagged(options, str(how(node.plain())))
    else:
        chosen = options[0] if len(options) == 1 else _by_kind(options, node)
    if chosen is None:
        return None, metadata, variants
    deeper, more, inner = _choose(chosen, node)
    return deeper, (*metadata, *more), inner or variants


def _children(model: type[Strict], node: Node, path: Path) -> Iterator[Place]:
    known = dict(hints(model))
    if model is GameSpec:
        family = find_family(node.fields["type"].text or "") if "type" in node.fields else None
        known |= hints(params_model(family.params)) if family is not None else {}
    for key, child in node.fields.items():
        if key in known:
            yield from walk(known[key], child, (*path, key))


def walk(annotation: Any, node: Node, path: Path = ()) -> Iterator[Place]:
    """Every place below `node` that a model or a reference rules, outermost first."""
    bare, metadata, variants = _choose(annotation, node)
    ref = next((item for item in metadata if isinstance(item, Ref)), None)
    if is_model(bare) and node.kind == "map":
        yield Place(path, node, bare, None, variants)
        yield from _children(bare, node, path)
        return
    if (ref is not None and node.kind == "text") or variants is not None:
        yield Place(path, node, None, ref, variants)
    origin, args = get_origin(bare), get_args(bare)
    if origin is dict and node.kind == "map":
        for key, child in node.fields.items():
            yield from walk(args[1], child, (*path, key))
    elif origin in (list, tuple) and node.kind == "list":
        for index, child in enumerate(node.items):
            yield from walk(
                args[0] if origin is list or args[-1] is ... else args[min(index, len(args) - 1)], child, (*path, index)
            )


def options_at(place: Place) -> tuple[str, ...]:
    """The keys that the map at this place may have."""
    if place.model is None:
        return ()
    names = [name for name in hints(place.model) if not (place.model is GameSpec and name == "params")]
    if place.model is GameSpec and "type" in place.node.fields:
        family = find_family(place.node.fields["type"].text or "")
        names += list(hints(params_model(family.params))) if family is not None else []
    return tuple(names)

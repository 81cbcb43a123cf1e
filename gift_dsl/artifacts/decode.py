"""Plain JSON data back into frozen dataclasses, by their annotations: the inverse of `plan.to_json`."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache
from typing import Any, Literal, Union, cast, get_args, get_origin, get_type_hints


class DecodeError(ValueError):
    """JSON data does not fit the type it should have; the message begins with the place."""


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)


@cache
def _fields(kind: type) -> tuple[Field[Any], ...]:
    return fields(cast("Any", kind))


def _fail(where: str, wanted: str, document: object) -> DecodeError:
    shown = repr(document)
    return DecodeError(f"{where or 'the document'}: expected {wanted}, got {shown[:60]}{'…' if shown[60:] else ''}")


def decode(kind: object, document: object, where: str = "") -> object:
    """The value of a type whose plain JSON data is `document`.

    Args:
        kind: a frozen dataclass, a scalar, a Literal, a union of these, `tuple[X, ...]`, `tuple[X, Y]`, or a
            `Mapping[str, Any]`, which is taken as it is. Classes of one union that have a `kind` are told apart by it.
        document: what `json.loads` made.
        where: the place of `document`, for messages.

    Raises:
        DecodeError: `document` does not fit: a key is unknown or missing, a value has another type. A whole number
            stands for a float; nothing else is converted. A key may be missing only where its field has a default.
    """
    origin = get_origin(kind)
    if origin is Literal:
        return _literal(get_args(kind), document, where)
    if origin in (Union, types.UnionType):
        return _union(get_args(kind), document, where)
    if origin is tuple:
        return _tuple(get_args(kind), document, where)
    if origin is not None and issubclass(origin, Mapping):
        return _mapping(document, where)
    if is_dataclass(kind):
        return _object(cast("type", kind), document, where)
    return _scalar(cast("type", kind), document, where)


def _scalar(kind: type, document: object, where: str) -> object:
    if kind is float and type(document) is int:
        return float(document)
    # `type` and not `isinstance`: to Python, true is a whole number.
    if type(document) is kind:
        return document
    raise _fail(where, "null" if kind is types.NoneType else kind.__name__, document)


def _literal(values: tuple[object, ...], document: object, where: str) -> object:
    if any(type(document) is type(value) and document == value for value in values):
        return document
    raise _fail(where, f"one of {', '.join(map(repr, values))}", document)


def _tuple(kinds: tuple[Any, ...], document: object, where: str) -> tuple[Any, ...]:
    if not isinstance(document, list):
        raise _fail(where, "a list", document)
    items = cast("list[object]", document)
    wanted = (kinds[0],) * len(items) if kinds[-1] is Ellipsis else kinds
    if len(items) != len(wanted):
        raise _fail(where, f"a list of {len(wanted)}", items)
    return tuple(
        decode(kind, item, f"{where}[{index}]") for index, (kind, item) in enumerate(zip(wanted, items, strict=True))
    )


def _mapping(document: object, where: str) -> dict[str, Any]:
    if not isinstance(document, dict):
        raise _fail(where, "an object", document)
    return cast("dict[str, Any]", document)


def _union(kinds: tuple[type, ...], document: object, where: str) -> object:
    classes = [kind for kind in kinds if _is_record(kind)]
    if classes and type(document) is dict:
        return _object(_chosen(classes, cast("dict[str, object]", document), where), cast("object", document), where)
    for kind in kinds:
        try:
            return decode(kind, document, where)
        except DecodeError:
            continue
    raise _fail(where, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds), document)


def _is_record(kind: type) -> bool:
    return is_dataclass(kind)


def _chosen(classes: list[type], document: Mapping[str, object], where: str) -> type:
    """The class that an object of a union is of; where there are several, its `kind` says it."""
    if len(classes) == 1:
        return classes[0]
    tag = document.get("kind")
    for kind in classes:
        if kind.__name__ == tag:
            return kind
    raise _fail(f"{where}.kind", f"one of {', '.join(kind.__name__ for kind in classes)}", tag)


def _object(kind: type, document: object, where: str) -> object:
    items = dict(_mapping(document, where))
    hints, prefix = _hints(kind), f"{where}." if where else ""
    if items.get("kind") == kind.__name__ and "kind" not in hints:
        del items["kind"]
    if unknown := sorted(items.keys() - hints.keys()):
        raise DecodeError(f"{prefix}{unknown[0]}: {kind.__name__} has no such key")
    values: dict[str, Any] = {}
    for field in _fields(kind):
        if field.name in items:
            values[field.name] = decode(hints[field.name], items[field.name], prefix + field.name)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise DecodeError(f"{prefix}{field.name}: the key is missing in {kind.__name__}")
    return kind(**values)

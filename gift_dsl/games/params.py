"""From plain JSON values to a family's frozen parameter dataclass, nested ones included."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


@lru_cache(maxsize=256)
def field_types(cls: type[Any]) -> Mapping[str, Any]:
    """The annotation of each field with its metadata kept (`Annotated[...]`)."""
    return get_type_hints(cls, include_extras=True)


def _fits(annotation: Any, value: Any) -> bool:
    """Whether a value can be of a member of a union; enough to tell a map from a list from a text."""
    base = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    origin = get_origin(base) or base
    if origin is Literal:
        return value in get_args(base)
    if is_dataclass(origin) or origin is dict:
        return isinstance(value, Mapping)
    if origin is tuple:
        return isinstance(value, list | tuple)
    if origin is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, origin) and (origin is not int or not isinstance(value, bool))


def _convert(annotation: Any, value: Any) -> Any:
    """A value as its annotation wants it: lists become tuples, maps become dataclasses."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _convert(args[0], value)
    if origin in (Union, types.UnionType):
        member = next((arg for arg in args if _fits(arg, value)), None)
        return value if member is None else _convert(member, value)
    if origin is tuple:
        inner = args if args[-1:] != (Ellipsis,) else (args[0],) * len(value)
        return tuple(_convert(kind, item) for kind, item in zip(inner, value, strict=True))
    if origin is dict:
        return {key: _convert(args[1], item) for key, item in value.items()}
    if is_dataclass(annotation) and isinstance(annotation, type):
        return make_params(annotation, value)
    return float(value) if annotation is float else value


def make_params(cls: type[T], values: Mapping[str, Any]) -> T:
    """An instance of a parameter dataclass.

    Args:
        cls: a frozen dataclass whose fields are annotated as in `games.game.Family`.
        values: JSON values that were validated before; absent fields take their defaults.
    """
    hints = field_types(cls)
    return cls(**{name: _convert(hints[name], value) for name, value in values.items() if value is not None})


def plain_params(params: Any) -> dict[str, Any]:
    """The JSON values of a parameter dataclass, defaults included and None left out: the inverse of `make_params`."""

    def plain(value: Any) -> Any:
        if is_dataclass(value) and not isinstance(value, type):
            return plain_params(value)
        if isinstance(value, Mapping):
            return {str(key): plain(item) for key, item in value.items()}  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]  # JSON by contract
        return [plain(item) for item in value] if isinstance(value, tuple) else value  # pyright: ignore[reportUnknownVariableType]

    named = ((field.name, getattr(params, field.name)) for field in fields(params))
    return {name: plain(value) for name, value in named if value is not None}

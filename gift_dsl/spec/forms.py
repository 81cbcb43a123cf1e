"""What may stand at a place of the language, read off the models: the one source of schema, reference and `explain`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Final, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen, MinLen
from pydantic.fields import FieldInfo

from gift_dsl.plan import frozen
from gift_dsl.spec.models.fields import NotHashed, Ref, Strict, plain
from gift_dsl.spec.walk import hints, is_model, members, unwrap

Kind = Literal["text", "int", "float", "bool", "enum", "list", "tuple", "map", "model", "any"]

KIND: Final = "Which kind this is; it decides what else may be said."
_SCALARS: Final[Mapping[Any, Kind]] = {str: "text", int: "int", float: "float", bool: "bool"}
_NUMBERS: Final = frozenset({"int", "float"})
_SIZED: Final = frozenset({"text", "list", "tuple", "map"})


@frozen
class Bounds:
    """What a value must obey besides its kind; None is no bound.

    `at_least` to `below` are of numbers; `shortest` and `longest` count characters, items or entries.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    shortest: int | None = None
    longest: int | None = None
    pattern: str | None = None


NO_BOUNDS: Final = Bounds()


@frozen
class Form:
    """One of the kinds of value that may stand somewhere.

    Attributes:
        kind: what kind; an absent value is no form, so a field that may be left out has no form for None.
        bounds: what the value must obey.
        values: the values of an enum.
        inner: forms of what is inside: of the items of a list, of each place of a tuple, of the entries of a map.
        model: the model of a map with fixed keys.
        ref: the section whose names a text must be one of (`games`, `opponents`); empty for other texts.
        names: what the keys of a map must obey, where they are free.
    """

    kind: Kind
    bounds: Bounds = NO_BOUNDS
    values: tuple[Any, ...] = ()
    inner: tuple[tuple[Form, ...], ...] = ()
    model: type[Strict] | None = None
    ref: str = ""
    names: Bounds = NO_BOUNDS


@frozen
class FieldDoc:
    """One key of a model.

    Attributes:
        name: the key.
        forms: what its value may be.
        required: it must be given.
        default: what holds when it is left out, as plain data; None where nothing does, or where the value is a model
            whose own fields say it.
        description: one or two sentences.
        hashed: it belongs to the meaning that `spec_hash` is of.
    """

    name: str
    forms: tuple[Form, ...]
    required: bool
    default: Any
    description: str
    hashed: bool

    @property
    def models(self) -> tuple[type[Strict], ...]:
        """The models of the maps that may stand here, inside lists and maps too."""
        return tuple(dict.fromkeys(inner_models(self.forms)))


def inner_models(forms: tuple[Form, ...]) -> Iterator[type[Strict]]:
    """Every model below some forms, nearest first, not going into the models themselves."""
    for form in forms:
        if form.model is not None:
            yield form.model
        for inner in form.inner:
            yield from inner_models(inner)


def _flat(metadata: tuple[Any, ...]) -> Iterator[Any]:
    for item in metadata:
        if isinstance(item, FieldInfo):
            yield from item.metadata
        else:
            yield item


def _bounds(metadata: tuple[Any, ...]) -> Bounds:
    found = Bounds()
    for item in _flat(metadata):
        match item:
            case Ge(ge=value):
                found = _tighter(found, Bounds(at_least=_number(value)))
            case Gt(gt=value):
                found = _tighter(found, Bounds(above=_number(value)))
            case Le(le=value):
                found = _tighter(found, Bounds(at_most=_number(value)))
            case Lt(lt=value):
                found = _tighter(found, Bounds(below=_number(value)))
            case MinLen(min_length=value):
                found = _tighter(found, Bounds(shortest=value))
            case MaxLen(max_length=value):
                found = _tighter(found, Bounds(longest=value))
            case _:
                found = _tighter(found, Bounds(pattern=getattr(item, "pattern", None)))
    return found


def _number(value: object) -> float:
    assert isinstance(value, int | float)  # annotated_types allows anything that can be compared
    return value


_LOWER: Final = frozenset({"at_least", "above", "shortest"})


def _tighter(left: Bounds, right: Bounds) -> Bounds:
    """Both bounds at once."""
    both: dict[str, Any] = {}
    for item in fields(Bounds):
        one, other = getattr(left, item.name), getattr(right, item.name)
        if one is None or other is None or item.name == "pattern":
            both[item.name] = other if one is None else one
        else:
            both[item.name] = max(one, other) if item.name in _LOWER else min(one, other)
    return Bounds(**both)


def _fitting(kind: Kind, bounds: Bounds) -> Bounds:
    """Of the bounds round a union, those that speak of this member."""
    made = bounds
    if kind not in _NUMBERS:
        made = replace(made, at_least=None, above=None, at_most=None, below=None)
    if kind not in _SIZED:
        made = replace(made, shortest=None, longest=None)
    return made if kind == "text" else replace(made, pattern=None)


def forms_of(annotation: Any, outer: Bounds = NO_BOUNDS) -> tuple[Form, ...]:
    """The forms that an annotation allows; that of None is left out, for a key without a value is an absent key."""
    bare, metadata = unwrap(annotation)
    bounds = _tighter(outer, _bounds(metadata))
    options = members(bare)
    if options != (bare,):
        return tuple(form for option in options for form in forms_of(option, bounds))
    if bare is type(None):
        return ()
    form = _single(bare)
    ref = next((item.section for item in metadata if isinstance(item, Ref)), "")
    return (replace(form, bounds=_fitting(form.kind, bounds), ref=ref),)


def _single(bare: Any) -> Form:
    origin, args = get_origin(bare) or bare, get_args(bare)
    if origin is Literal:
        return Form("enum", values=args)
    if is_model(origin):
        return Form("model", model=origin)
    if origin in _SCALARS:
        return Form(_SCALARS[origin])
    if origin is list or (origin is tuple and args[-1] is ...):
        return Form("list", inner=(forms_of(args[0]),))
    if origin is tuple:
        return Form("tuple", inner=tuple(forms_of(arg) for arg in args))
    if origin is dict:
        return Form("map", inner=(forms_of(args[1]),), names=_bounds(unwrap(args[0])[1]))
    return Form("any")


@lru_cache(maxsize=512)
def fields_of(model: type[Strict]) -> Mapping[str, FieldDoc]:
    """The keys of a model, in the order in which it declares them."""
    return {
        name: _field(name, annotation, model.model_fields[name])
        for name, annotation in hints(model).items()
        if not model.model_fields[name].exclude
    }


def _field(name: str, annotation: Any, info: FieldInfo) -> FieldDoc:
    required = info.is_required()
    default = None if required or info.default_factory is not None else plain(info.default)
    metadata = unwrap(annotation)[1]
    # a model that waits for its forward references does not know its descriptions yet, but its annotations do
    told = [item.description for item in (info, *metadata) if isinstance(item, FieldInfo) and item.description]
    description = told[0] if told else KIND if name == "type" else ""
    marked = any(isinstance(item, NotHashed) for item in metadata)
    return FieldDoc(name, forms_of(annotation), required, default, description, not marked)


def tag_of(model: type[Strict]) -> tuple[str, ...]:
    """What tells this model from the others of a union: the values of its `type`; empty where it has none."""
    kind = fields_of(model).get("type")
    if kind is None or kind.forms[0].kind != "enum":
        return ()
    return tuple(str(value) for value in kind.forms[0].values)

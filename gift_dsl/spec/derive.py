"""The model of a family's parameters, made from its one declaration (a frozen dataclass)."""

import types
from dataclasses import MISSING, fields, is_dataclass
from dataclasses import Field as DataclassField
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import Field, create_model
from typing_extensions import Doc

from gift_dsl.games.params import field_types
from gift_dsl.spec.models.fields import Strict


def _translate(annotation: Any) -> Any:
    """The same annotation with every nested dataclass replaced by its model."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        kept = tuple(item for item in args[1:] if not isinstance(item, Doc))
        inner = _translate(args[0])
        return Annotated[(inner, *kept)] if kept else inner
    if origin in (Union, types.UnionType):
        return Union[tuple(_translate(arg) for arg in args)]  # noqa: UP007  # built at run time
    if origin in (tuple, dict, list):
        container: Any = origin
        return container[tuple(_translate(arg) for arg in args)]
    if is_dataclass(annotation) and isinstance(annotation, type):
        return params_model(annotation)
    return annotation


def _description(annotation: Any) -> str:
    """The text of the field's `Doc`."""
    return next((item.documentation for item in get_args(annotation)[1:] if isinstance(item, Doc)), "")


def _field(annotation: Any, declared: "DataclassField[Any]") -> tuple[Any, Any]:
    """What `create_model` wants: the annotation, and default with description."""
    default = ... if declared.default is MISSING else declared.default
    return (_translate(annotation), Field(default, description=_description(annotation)))


@lru_cache(maxsize=256)
def params_model(params: type[Any]) -> type[Strict]:
    """The strict model of a parameter dataclass: same fields, ranges, descriptions and defaults."""
    hints = field_types(params)
    made: dict[str, Any] = {item.name: _field(hints[item.name], item) for item in fields(params)}
    return create_model(params.__name__, __base__=Strict, __doc__=params.__doc__, **made)

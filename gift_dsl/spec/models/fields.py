"""The base of every model and the field types that have one meaning everywhere."""

from dataclasses import dataclass
from typing import Annotated, Any, Final, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError

from gift_dsl.plan import frozen

MAX_INT: Final = 2**53 - 1
"""Larger integers do not survive canonical JSON (RFC 8785)."""


class Strict(BaseModel):
    """Frozen, strict, and closed: an unknown key is an error, a text is never read as a number."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        hide_input_in_errors=True,
        protected_namespaces=(),
        defer_build=True,
    )


@frozen
class Ref:
    """Marks a text that names a key of `section` (`opponents`, `games`)."""

    section: str


@dataclass(frozen=True, slots=True)
class NotHashed:
    """Marks a field that does not change what is computed; it is left out of `spec_hash`."""


def _no_truth(value: object) -> object:
    """`true` equals 1 in Python, so that pydantic takes it for a `Literal[1]`."""
    if isinstance(value, bool):
        raise PydanticKnownError("literal_error", {"expected": "a number"})
    return value


NUMBER: Final = BeforeValidator(_no_truth)
"""Beside a `Literal` of numbers."""

Int = Annotated[int, Field(ge=-MAX_INT, le=MAX_INT)]
Count = Annotated[int, Field(ge=1, le=MAX_INT)]
NonNegative = Annotated[int, Field(ge=0, le=MAX_INT)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(gt=0, le=1_000_000)]
"""Relative to others: bounded, so that no sum or product of weights leaves the numbers."""
Name = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_.-]*$", max_length=64)]
Text = Annotated[str, Field(min_length=1)]
EnvName = Annotated[str, Field(pattern=r"^[A-Z_][A-Z0-9_]*$", max_length=128)]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$", max_length=2048)]
OpponentName = Annotated[str, Field(min_length=1), Ref("opponents")]
GameName = Annotated[str, Field(min_length=1), Ref("games")]
JsonScalar = bool | int | float | str
Extra = dict[str, Any]


def optional(cls: type[Strict], name: str, doc: str) -> type[Strict]:
    """A copy of a model in which every field may be left out and has no default: what an override may say."""
    from pydantic import create_model

    fields: dict[str, Any] = {
        key: (info.rebuild_annotation() | None, Field(default=None, description=info.description))
        for key, info in cls.model_fields.items()
    }
    return create_model(name, __base__=Strict, __doc__=doc, **fields)


def plain(value: Any) -> Any:
    """A model as plain data without None: what `model_dump` gives, without building a serializer for each class."""
    if isinstance(value, Strict):
        named = ((name, getattr(value, name)) for name in type(value).model_fields)
        return {name: plain(item) for name, item in named if item is not None}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in cast("dict[str, Any]", value).items()}
    return [plain(item) for item in cast("list[Any]", value)] if isinstance(value, list | tuple) else value

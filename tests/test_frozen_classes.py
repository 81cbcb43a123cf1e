"""`plan.frozen` makes what `dataclass(frozen=True, slots=True)` makes."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from dataclasses import FrozenInstanceError, dataclass, field
from typing import get_type_hints

import pytest

import gift_dsl.plan
from gift_dsl.plan import AllOf, FilePrint, Leaf, UntilPlan, frozen


@frozen
class Ours:
    first: int
    second: tuple[str, ...] = ("a",)
    third: list[int] = field(default_factory=lambda: [1])

    def __post_init__(self):
        if self.first == 0:
            raise ValueError("zero")

    @property
    def twice(self):
        return 2 * self.first


@dataclass(frozen=True, slots=True)
class Standard:
    first: int
    second: tuple[str, ...] = ("a",)
    third: list[int] = field(default_factory=lambda: [1])


BOTH = pytest.mark.parametrize("cls", [Ours, Standard])


@BOTH
def test_arguments_are_positions_names_and_defaults(cls):
    made = cls(1)
    assert (made.first, made.second, made.third) == (1, ("a",), [1])
    assert cls(1, ("b",), [2]) == cls(first=1, second=("b",), third=[2])
    assert cls(1).third is not cls(1).third
    for wrong in [{}, {"first": 1, "fourth": 2}]:
        with pytest.raises(TypeError):
            cls(**wrong)


@BOTH
def test_nothing_can_be_changed(cls):
    made = cls(1)
    with pytest.raises(FrozenInstanceError):
        made.first = 2
    with pytest.raises(FrozenInstanceError):
        del made.first
    with pytest.raises((FrozenInstanceError, AttributeError, TypeError)):
        made.fourth = 2
    assert not hasattr(made, "__dict__")


@BOTH
def test_equality_is_of_class_and_values(cls):
    assert cls(1) == cls(1)
    assert cls(1) != cls(2)
    assert cls(1) != 1
    assert hash(cls(1, third=())) == hash((1, ("a",), ()))


def test_two_classes_are_never_equal():
    assert Ours(1) != Standard(1)


@BOTH
def test_copies_are_equal(cls):
    made = cls(1, third=[3])
    assert dataclasses.replace(made, first=2) == cls(2, third=[3])
    assert dataclasses.asdict(made) == {"first": 1, "second": ("a",), "third": [3]}
    assert copy.deepcopy(made) == pickle.loads(pickle.dumps(made)) == copy.copy(made) == made


@BOTH
def test_it_is_a_dataclass_for_all_who_ask(cls):
    assert dataclasses.is_dataclass(cls)
    assert [item.name for item in dataclasses.fields(cls)] == ["first", "second", "third"]
    assert list(get_type_hints(cls)) == ["first", "second", "third"]
    assert repr(cls(1)) == f"{cls.__qualname__}(first=1, second=('a',), third=[1])"
    match cls(5):
        case Ours(first) | Standard(first):
            assert first == 5


def test_a_class_may_refuse_values():
    with pytest.raises(ValueError, match="zero"):
        Ours(0)


def test_methods_and_properties_stay():
    assert Ours(3).twice == 6


def test_the_classes_of_a_plan_are_such_and_have_one_field_at_least():
    found = [item for item in vars(gift_dsl.plan).values() if isinstance(item, type) and dataclasses.is_dataclass(item)]
    assert {AllOf, FilePrint, Leaf, UntilPlan} <= set(found)
    for cls in found:
        assert cls.__setattr__ is Ours.__setattr__, cls
        assert dataclasses.fields(cls)
        assert cls.__bases__ == (object,)

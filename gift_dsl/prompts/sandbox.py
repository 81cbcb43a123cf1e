"""The Jinja2 environment of prompts: what an allowed template can reach while it is rendered.

The allow-list bounds a template's text; this file bounds what the text does with large values. Every read goes
through `getattr` and `getitem` below, loops are paid for before they start, and output is counted while it grows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from typing import Any, Final, TypeGuard, cast

from jinja2 import StrictUndefined, Template, TemplateError, Undefined, nodes, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import FILTERS
from jinja2.runtime import Context, LoopContext
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.tests import TESTS

from gift_dsl.prompts import subset

RENDER_ERRORS: Final = (TemplateError, ArithmeticError, LookupError, TypeError, ValueError)
"""What an allowed template can raise when it meets values that it was not written for."""
MAX_WORK: Final = 200_000
"""Nodes of loop bodies that one rendering may evaluate: some 10 ms, while a 19 x 19 board takes 5,000."""
# No template can spell these two: a name has no blank.
_METER: Final = "gift meter"
_PAID: Final = "gift paid"


@dataclass(slots=True)
class _Meter:
    left: int = MAX_WORK

    def spend(self, work: int) -> None:
        self.left -= work
        if self.left < 0:
            raise SecurityError(f"the loops take more than {MAX_WORK} evaluations")


class PromptEnvironment(ImmutableSandboxedEnvironment):
    """Reads declared fields, items and keys, and nothing else; adds numbers only."""

    intercepted_binops = frozenset({"+"})

    def getattr(self, obj: object, attribute: str) -> object:
        """A declared field of a dataclass, a key of a mapping, or one of the allowed attributes of `loop`."""
        if isinstance(obj, LoopContext) and attribute in subset.LOOP_ATTRIBUTES:
            return getattr(obj, attribute)
        if attribute in getattr(type(obj), "__dataclass_fields__", ()) and not attribute.startswith("_"):
            return getattr(obj, attribute)
        return self._missing(obj, attribute) if isinstance(obj, str) else self.getitem(obj, attribute)

    def getitem(self, obj: object, argument: object) -> object:
        """An item of a list or text by its number, or of a mapping by its key; never an attribute."""
        if not _has_items(obj):
            return self._missing(obj, argument)
        try:
            return obj[argument]
        except (LookupError, TypeError):
            return self._missing(obj, argument)

    def call_binop(self, context: Context, operator: str, left: object, right: object) -> float:
        """`+`, of which texts and lists would grow without bound."""
        for side in (left, right):
            if isinstance(side, Undefined):
                str(side)  # says which one it is
        if not (isinstance(left, (int, float)) and isinstance(right, (int, float))):
            raise TypeError("`+` adds numbers; join texts with `~`")
        return left + right

    def _missing(self, obj: object, name: object) -> Undefined:
        return obj if isinstance(obj, Undefined) else self.undefined(obj=obj, name=cast("str", name))


@lru_cache(maxsize=1)
def environment() -> PromptEnvironment:
    """The one environment; it is never changed after this."""
    made = PromptEnvironment(
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_printable, cache_size=0
    )
    made.globals = {}
    filters: dict[str, Any] = {name: FILTERS[name] for name in subset.FILTERS if name in FILTERS}
    tests: dict[str, Any] = {name: TESTS[name] for name in subset.TESTS}
    filters |= {"flatten": _flatten, "join": _join, "round": _round, _PAID: _paid}
    made.filters, made.tests = filters, tests
    return made


def compile_template(text: str) -> Template:
    """A template that is known to keep to the allow-list, with a toll before each loop."""
    tree = environment().parse(text)
    for loop in list(tree.find_all(nodes.For)):
        weight = nodes.Const(sum(1 for _ in loop.find_all(nodes.Node)))
        loop.iter = nodes.Filter(loop.iter, _PAID, [weight], [], None, None, lineno=loop.lineno)
    tree.set_environment(environment())
    return environment().from_string(tree)


def pieces(template: Template, values: Mapping[str, object]) -> Iterator[str]:
    """The rendered text, bit by bit, so that a reader can stop when it has enough."""
    context = template.new_context({**values, _METER: _Meter()}, shared=True)
    try:
        yield from template.root_render_func(context)
    except RENDER_ERRORS:
        environment().handle_exception()  # raises it again, with the template's lines in its traceback


def _is_list(value: object) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, (tuple, list))


def _is_iterable(value: object) -> TypeGuard[Sized]:
    return isinstance(value, (tuple, list, Mapping, Undefined))


def _has_items(value: object) -> TypeGuard[Mapping[object, object]]:
    return isinstance(value, (tuple, list, str, Mapping))


@pass_context
def _paid(context: Context, rows: object, weight: int) -> object:
    if not _is_iterable(rows):
        raise TypeError(f"a loop goes over a list, not {_kind(rows)}")
    meter: _Meter = context.parent[_METER]
    meter.spend(len(rows) * weight)  # an undefined value says here which one it is
    return rows


def _printable(value: object) -> object:
    if isinstance(value, float):
        return f"{value:.12g}"  # 3 for 3.0, and 0.3 for 0.1 * 3
    if isinstance(value, (str, int, Undefined)):
        return value
    raise TypeError(f"only text and numbers can be printed, not {_kind(value)}")


def _kind(value: object) -> str:
    return "none" if value is None else type(value).__name__


# Jinja2's own versions of these two take anything: `'ab'|join` spreads a text, `'ab'|round(6, 'ceil')` multiplies it.


def _join(items: object, separator: str = "") -> str:
    if isinstance(items, Undefined):
        return str(items)
    if not _is_list(items):
        raise TypeError(f"`join` takes a list, not {_kind(items)}")
    return separator.join([item if isinstance(item, str) else str(_printable(item)) for item in items])


def _flatten(rows: object) -> tuple[Any, ...]:
    if isinstance(rows, Undefined):
        return tuple(rows)
    if not (_is_list(rows) and all(_is_list(row) for row in rows)):
        raise TypeError(f"`flatten` takes a list of lists, not {_kind(rows)}")
    return tuple(chain.from_iterable(rows))


def _round(value: object, digits: int = 0) -> float:
    if not isinstance(value, (int, float)):
        raise TypeError(f"`round` takes a number, not {_kind(value)}")
    return round(float(value), digits) if math.isfinite(value) else float(value)

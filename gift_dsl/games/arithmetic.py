"""Integer problems that are drawn, not downloaded: their text, their value, their key, and how many there are."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import comb, prod
from typing import Literal

Operator = Literal["+", "-", "*"]


@dataclass(frozen=True, slots=True)
class Problem:
    """Operands with an operator between each two; products bind more tightly than sums."""

    operands: tuple[int, ...]
    operators: tuple[Operator, ...]

    @property
    def text(self) -> str:
        """As it is asked: `3 - (-5) * 2`."""
        shown = [f"({value})" if value < 0 and place else str(value) for place, value in enumerate(self.operands)]
        return " ".join([shown[0], *(f"{sign} {value}" for sign, value in zip(self.operators, shown[1:], strict=True))])

    @property
    def value(self) -> int:
        """The answer."""
        return sum(sign * prod(factors) for sign, factors in self._products())

    @property
    def key(self) -> str:
        """Equal for problems that differ by the order of the products, or of the factors in one, only."""
        terms = sorted((-sign, sorted(factors)) for sign, factors in self._products())
        return " ".join(f"{'+' if sign < 0 else '-'}{'*'.join(map(str, factors))}" for sign, factors in terms)

    def _products(self) -> Iterator[tuple[int, list[int]]]:
        sign, factors = 1, [self.operands[0]]
        for operator, operand in zip(self.operators, self.operands[1:], strict=True):
            if operator == "*":
                factors.append(operand)
            else:
                yield sign, factors
                sign, factors = (1 if operator == "+" else -1), [operand]
        yield sign, factors


def draw_problem(operators: Sequence[Operator], low: int, high: int, terms: int, rng: random.Random) -> Problem:
    """A problem with `terms` operands from `low` to `high`, both included."""
    return Problem(
        tuple(rng.randint(low, high) for _ in range(terms)), tuple(rng.choice(operators) for _ in range(terms - 1))
    )


def count_problems(operators: Collection[Operator], num_values: int, terms: int) -> int:
    """The number of distinct keys: ways to deal `terms` operands to positive and negative products, unordered."""

    def num_products(size: int) -> int:
        return _num_multisets(num_values, size) if size == 1 or "*" in operators else 0

    @cache
    def num_sums(left: int, size: int) -> int:
        """Multisets of products of at most `size` factors each that hold `left` factors in all."""
        if size == 0:
            return int(left == 0)
        return sum(
            _num_multisets(num_products(size), copies) * num_sums(left - copies * size, size - 1)
            for copies in range(left // size + 1)
        )

    def num_positive(left: int) -> int:
        return num_sums(left, left) if "+" in operators else num_products(left)

    fewest = 1 if "-" in operators else terms
    return sum(num_positive(left) * num_sums(terms - left, terms - left) for left in range(fewest, terms + 1))


def _num_multisets(kinds: int, size: int) -> int:
    return comb(kinds + size - 1, size) if size else 1

"""Nash equilibria of two-player games in exact arithmetic, degenerate games included.

A payoff table is a tuple of integer rows, `table[i][j]` for row action `i` against column action `j`; `normalise`
makes one of any rational table. Everything here is invariant under positive affine maps of a player's payoffs.

The set of equilibria is a finite union of products of polytopes whose corners are *extreme* equilibria: pairs of
vertices of the two best-response polyhedra that together carry every label (Winkels 1979; Jansen 1981; Avis,
Rosenberg, Savani and von Stengel 2010, section 3). Each equilibrium is a convex combination of extreme ones player
by player, so an action is played in some equilibrium exactly when an extreme one plays it. Support enumeration
pairs supports of equal size and misses such actions in degenerate games.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from math import gcd, lcm
from typing import Literal

Table = tuple[tuple[int, ...], ...]
Mix = tuple[Fraction, ...]
Role = Literal["row", "column"]


@dataclass(frozen=True, slots=True)
class Equilibrium:
    """A pair of mixed actions, neither of which its player can improve on."""

    row: Mix
    column: Mix

    def mix(self, role: Role) -> Mix:
        """The mixed action of one player."""
        return self.row if role == "row" else self.column


@dataclass(frozen=True, slots=True)
class _Ray:
    """An extreme ray of the cone over a best-response polyhedron.

    Attributes:
        weights: unnormalised mixed action, then the payoff that the opponent gets from a best response to it.
        labels: bit i for an own action i that is not played, bit (own + j) for a best response j of the opponent.
    """

    weights: tuple[int, ...]
    labels: int


def normalise(table: Sequence[Sequence[Fraction | int]]) -> Table:
    """The integer table with minimum 0 and greatest common divisor 1 that a positive affine map makes of `table`."""
    denominator = lcm(*(value.denominator for row in table for value in row))
    integers = [[value.numerator * (denominator // value.denominator) for value in row] for row in table]
    low = min(map(min, integers))
    divisor = gcd(*(value - low for row in integers for value in row)) or 1
    return tuple(tuple((value - low) // divisor for value in row) for row in integers)


def transpose(table: Table) -> Table:
    """The same table with rows and columns exchanged."""
    return tuple(zip(*table, strict=True))


@lru_cache(maxsize=4096)
def extreme_equilibria(row: Table, column: Table) -> tuple[Equilibrium, ...]:
    """Every extreme equilibrium, sorted; exactly one if and only if the game has exactly one equilibrium.

    Args:
        row: payoffs of the row player.
        column: payoffs of the column player, in the same shape.
    """
    num_rows, num_columns = len(row), len(row[0])
    every_label = (1 << (num_rows + num_columns)) - 1
    row_rays = _polyhedron(transpose(column))
    column_rays = [(_swap(ray.labels, num_columns, num_rows), ray) for ray in _polyhedron(row)]
    found = {
        Equilibrium(_mix(ray), _mix(other))
        for ray in row_rays
        for labels, other in column_rays
        if ray.labels | labels == every_label
    }
    return tuple(sorted(found, key=lambda equilibrium: (equilibrium.row, equilibrium.column)))


def equilibrium_actions(row: Table, column: Table, role: Role) -> frozenset[int]:
    """The actions of one player that some Nash equilibrium, pure or mixed, plays with positive probability."""
    mixes = [equilibrium.mix(role) for equilibrium in extreme_equilibria(row, column)]
    return frozenset(action for mix in mixes for action, probability in enumerate(mix) if probability > 0)


def pure_equilibria(row: Table, column: Table) -> tuple[tuple[int, int], ...]:
    """Cells (row action, column action) in which both actions are best responses to each other."""
    columns = transpose(row)
    return tuple(
        (i, j)
        for i in range(len(row))
        for j in range(len(columns))
        if row[i][j] == max(columns[j]) and column[i][j] == max(column[i])
    )


def is_dominance_solvable(row: Table, column: Table) -> bool:
    """Whether removing actions that another pure action beats everywhere, again and again, leaves one cell."""
    own: list[Table] = [row, transpose(column)]
    left = [set(range(len(row))), set(range(len(row[0])))]
    changed = True
    while changed:
        changed = False
        for player in (0, 1):
            beaten = _strictly_dominated(own[player], left[player], left[1 - player])
            left[player] -= beaten
            changed = changed or bool(beaten)
    return len(left[0]) == len(left[1]) == 1


def expected_payoffs(table: Sequence[Sequence[Fraction | int]], mix: Sequence[Fraction | int]) -> tuple[Fraction, ...]:
    """The expected payoff of each own action (a row of `table`) against a mixed action of the opponent."""
    return tuple(
        sum((Fraction(value) * share for value, share in zip(payoffs, mix, strict=True)), Fraction(0))
        for payoffs in table
    )


def _strictly_dominated(table: Table, own: set[int], other: set[int]) -> set[int]:
    return {action for action in own if any(all(table[better][j] > table[action][j] for j in other) for better in own)}


def _polyhedron(replies: Table) -> list[_Ray]:
    """Vertices of {(x, v): x a mixed action, v at least the payoff of each reply to x}, as rays.

    The double description method: start from the cone of one reply and cut it with one further reply at a time.

    Args:
        replies: payoffs of the opponent, `replies[j][i]` for its action j against own action i.
    """
    own = len(replies[0])
    unplayed = (1 << own) - 1
    rays = [
        _Ray((*(int(k == i) for k in range(own)), replies[0][i]), (unplayed ^ (1 << i)) | (1 << own))
        for i in range(own)
    ]
    rays.append(_Ray((*(0 for _ in range(own)), 1), unplayed))
    for j in range(1, len(replies)):
        rays = _cut(rays, replies[j], 1 << (own + j))
    return [ray for ray in rays if any(ray.weights[:-1])]


def _cut(rays: list[_Ray], reply: tuple[int, ...], label: int) -> list[_Ray]:
    """The rays of the cone after one more reply; new ones lie between adjacent rays on its two sides."""
    slacks = [
        ray.weights[-1] - sum(payoff * weight for payoff, weight in zip(reply, ray.weights[:-1], strict=True))
        for ray in rays
    ]
    kept = [
        ray if slack else _Ray(ray.weights, ray.labels | label)
        for ray, slack in zip(rays, slacks, strict=True)
        if slack >= 0
    ]
    above = [(ray, slack) for ray, slack in zip(rays, slacks, strict=True) if slack > 0]
    below = [(ray, slack) for ray, slack in zip(rays, slacks, strict=True) if slack < 0]
    needed = len(reply) - 1
    every = [ray.labels for ray in rays]
    for upper, up in above:
        for lower, down in below:
            common = upper.labels & lower.labels
            if common.bit_count() >= needed and _are_adjacent(common, every):
                kept.append(_Ray(_between(upper.weights, -down, lower.weights, up), common | label))
    return kept


def _are_adjacent(common: int, every: list[int]) -> bool:
    """Two rays span a face exactly when no third ray has all labels that they share."""
    return sum(1 for labels in every if labels & common == common) == 2


def _between(first: tuple[int, ...], of_first: int, second: tuple[int, ...], of_second: int) -> tuple[int, ...]:
    weights = [of_first * a + of_second * b for a, b in zip(first, second, strict=True)]
    divisor = gcd(*weights)
    return tuple(weight // divisor for weight in weights)


def _mix(ray: _Ray) -> Mix:
    total = sum(ray.weights[:-1])
    return tuple(Fraction(weight, total) for weight in ray.weights[:-1])


def _swap(labels: int, low_bits: int, high_bits: int) -> int:
    """Labels of the column player's polyhedron in the order of the row player's: rows first."""
    return (labels >> low_bits) | ((labels & ((1 << low_bits) - 1)) << high_bits)

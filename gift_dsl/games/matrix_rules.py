"""The rules of matrix games: one table, one role, one choice.

A right action of an `equilibrium` question is one that some Nash equilibrium, pure or mixed, plays (see
`equilibria`); it is asked only where that is not true of every action. The other questions state the opponent's mix.
Only permutations and positive affine maps change a game's looks, and both keep its equilibria.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from string import ascii_uppercase

from gift_dsl.games.equilibria import Mix, Role, equilibrium_actions, expected_payoffs, extreme_equilibria
from gift_dsl.games.game import Action, GameFacts, Outcome, State
from gift_dsl.games.matrix import Asked, MatrixParams
from gift_dsl.games.matrix_sources import (
    Askable,
    Payoffs,
    Source,
    draw_mix,
    draw_random,
    exact,
    instance_key,
    named_sources,
)

Shown = tuple[tuple[int | float, ...], ...]


@dataclass(frozen=True, slots=True)
class MatrixObservation:
    """What the player sees: everything but the grades. Payoffs are (row player's, column player's) pairs."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    payoffs: tuple[tuple[tuple[int | float, int | float], ...], ...]
    role: Role
    question: Asked
    opponent_mix: tuple[tuple[str, str], ...] | None
    actions: tuple[Action, ...]


@dataclass(frozen=True, slots=True)
class MatrixState:
    """One instance, before or after the one action.

    Attributes:
        source: name of the classic or own game, or `random`.
        rows: names of the row actions; `columns` likewise.
        row: payoffs of the row player as shown; `column` likewise.
        role: the player who is asked.
        question: what is asked.
        mix: the stated mixed action of the other player, if any.
        grades: of each own action, in [0, 1]; hidden.
        action: what was chosen.
    """

    source: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    row: Shown
    column: Shown
    role: Role
    question: Asked
    mix: Mix | None
    grades: tuple[Fraction, ...]
    action: Action | None = None

    @property
    def current_player(self) -> int:
        """Seat 0 until it has chosen."""
        return -1 if self.is_terminal else 0

    @property
    def is_terminal(self) -> bool:
        """Whether the action was taken."""
        return self.action is not None

    @property
    def own_actions(self) -> tuple[Action, ...]:
        """The actions of the role that is asked, legal now or not."""
        return self.rows if self.role == "row" else self.columns

    def observation(self, player: int) -> MatrixObservation:
        """The table, the role, the question and the stated mix."""
        others = self.columns if self.role == "row" else self.rows
        return MatrixObservation(
            rows=self.rows,
            columns=self.columns,
            payoffs=tuple(tuple(zip(a, b, strict=True)) for a, b in zip(self.row, self.column, strict=True)),
            role=self.role,
            question=self.question,
            opponent_mix=None if self.mix is None else tuple(zip(others, map(str, self.mix), strict=True)),
            actions=self.own_actions,
        )

    def legal_actions(self) -> tuple[Action, ...]:
        """The names of the own actions; none once one was taken."""
        return () if self.is_terminal else self.own_actions

    def apply(self, action: Action) -> MatrixState:
        """The instance with the player's action."""
        if action not in self.legal_actions():
            raise ValueError(f"illegal action {action!r}; legal: {self.legal_actions()}")
        shown = self.source, self.rows, self.columns, self.row, self.column
        return MatrixState(*shown, self.role, self.question, self.mix, self.grades, action)

    def outcome(self) -> tuple[Outcome, ...]:
        """A win for a right action; under `regret` the grade itself."""
        if self.action is None:
            raise ValueError("the game is not over: no action was taken")
        grade = self.grades[self.own_actions.index(self.action)]
        if self.question == "regret":
            return (float(grade),)
        return ("win" if grade == 1 else "loss",)


@dataclass(frozen=True, slots=True, eq=False)
class MatrixGame:
    """Matrix games with their parameters bound."""

    params: MatrixParams
    facts: GameFacts
    named: tuple[Askable, ...]

    def start(self, rng: random.Random) -> MatrixState:
        """Draw a game, a role, the opponent's mix where one is stated, an order of actions, scales and a shift.

        Raises:
            GiftError: no random game with the stated property was found in 10,000 draws.
        """
        source, role, question = self._draw_source(rng)
        mix = None if question == "equilibrium" else draw_mix(source.own(role), rng)
        orders: dict[Role, tuple[int, ...]] = {
            "row": _draw_order(len(source.row), self.params.permute, rng),
            "column": _draw_order(len(source.row[0]), self.params.permute, rng),
        }
        shift = rng.choice(self.params.shifts)
        grades = _grades(source, role, question, mix)
        return MatrixState(
            source=source.name,
            rows=_names(len(source.row), self.params.labels),
            columns=_names(len(source.row[0]), self.params.labels),
            row=_show(source.row, orders, rng.choice(self.params.scales), shift),
            column=_show(source.column, orders, rng.choice(self.params.scales), shift),
            role=role,
            question=question,
            mix=mix and tuple(mix[k] for k in orders[_other(role)]),
            grades=tuple(grades[k] for k in orders[role]),
        )

    def role(self, state: State, player: int) -> str:
        """Whether the one seat plays the rows or the columns."""
        assert isinstance(state, MatrixState)
        return state.role

    def instance_key(self, state: State) -> str:
        """Equal up to the order of rows and columns and positive affine maps; role, question and mix are part of it."""
        assert isinstance(state, MatrixState)
        return instance_key(_source(state).tables, state.role, state.question, state.mix)

    def labels(self, state: MatrixState) -> frozenset[Action]:
        """The right actions: some, never all."""
        return _right_actions(state)

    def chance(self, state: MatrixState) -> float:
        """The expected reward of a player who draws an action uniformly, with a win worth 1 and a loss 0."""
        if state.question == "regret":
            return float(sum(state.grades) / len(state.grades))
        return len(self.labels(state)) / len(state.grades)

    def equilibrium_mix(self, state: MatrixState, player: int = 0) -> Mix:
        """One part of the first extreme equilibrium: of the role that is asked, or with `player` 1 of the other."""
        return equilibrium_mix(state, player)

    def best_response_actions(self, state: MatrixState) -> tuple[Action, ...]:
        """Best responses to the stated mix; without one, to the other part of `equilibrium_mix`, if they are right."""
        return best_response_actions(state)

    def _draw_source(self, rng: random.Random) -> tuple[Source, Role, Asked]:
        place = rng.randrange(len(self.named) + (self.params.random is not None))
        if self.params.random is not None and place == len(self.named):
            return draw_random(self.params.random, self.params.question, rng)
        role, question = rng.choice(self.named[place].questions)
        return self.named[place].source, role, question


def equilibrium_mix(state: MatrixState, player: int = 0) -> Mix:
    """One part of the first extreme equilibrium: of the role that is asked, or with `player` 1 of the other."""
    role = state.role if player == 0 else _other(state.role)
    return extreme_equilibria(*_source(state).tables)[0].mix(role)


def best_response_actions(state: MatrixState) -> tuple[Action, ...]:
    """Best responses to the stated mix; without one, to the other part of `equilibrium_mix`, if they are right."""
    right = _right_actions(state)
    if state.mix is None:
        values = expected_payoffs(_source(state).own(state.role), equilibrium_mix(state, player=1))
        best = {a for a, value in zip(state.own_actions, values, strict=True) if value == max(values)}
        right = right & best
    return tuple(a for a in state.own_actions if a in right)


def make_matrix_game(params: MatrixParams, facts: GameFacts) -> MatrixGame:
    """The game of valid parameters (`matrix.check` finds nothing)."""
    return MatrixGame(params, facts, named_sources(params))


def _right_actions(state: MatrixState) -> frozenset[Action]:
    return frozenset(a for a, grade in zip(state.own_actions, state.grades, strict=True) if grade == 1)


def _grades(source: Source, role: Role, question: Asked, mix: Mix | None) -> tuple[Fraction, ...]:
    """The grade of each own action: 1 for a right one, 0 for others or, under `regret`, for the worst."""
    own = source.own(role)
    if mix is None:
        right = equilibrium_actions(*source.tables, role)
        return tuple(Fraction(k in right) for k in range(len(own)))
    values = expected_payoffs(own, mix)
    best, worst = max(values), min(values)
    if question == "regret":
        return tuple(1 - (best - value) / (best - worst) for value in values)
    return tuple(Fraction(value == best) for value in values)


def _source(state: MatrixState) -> Source:
    return Source(state.source, exact(state.row), exact(state.column))


def _other(role: Role) -> Role:
    return "column" if role == "row" else "row"


def _draw_order(size: int, permute: str, rng: random.Random) -> tuple[int, ...]:
    order = list(range(size))
    if permute == "full":
        rng.shuffle(order)
    elif permute == "reverse" and rng.random() < 0.5:
        order.reverse()
    return tuple(order)


def _names(size: int, labels: str) -> tuple[str, ...]:
    return tuple(str(k + 1) if labels == "numbers" else ascii_uppercase[k] for k in range(size))


def _show(payoffs: Payoffs, orders: Mapping[Role, tuple[int, ...]], scale: int, shift: int) -> Shown:
    """A player's payoffs in the drawn order, scaled and shifted; whole numbers as integers."""
    values = ((payoffs[i][j] * scale + shift for j in orders["column"]) for i in orders["row"])
    return tuple(tuple(int(value) if value.denominator == 1 else float(value) for value in row) for row in values)

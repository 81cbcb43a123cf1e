"""Where matrix games come from, what can be asked of them, and how many there are."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from itertools import combinations_with_replacement, product
from math import comb
from typing import Final, assert_never

from gift_dsl.errors import GiftError
from gift_dsl.games.classic import CLASSIC
from gift_dsl.games.equilibria import (
    Mix,
    Role,
    Table,
    equilibrium_actions,
    expected_payoffs,
    extreme_equilibria,
    is_dominance_solvable,
    normalise,
    pure_equilibria,
)
from gift_dsl.games.matrix import Asked, MatrixParams, Property, RandomGames
from gift_dsl.games.matrix_canonical import canonical_form

ROLES: Final[Sequence[Role]] = ("row", "column")
MAX_TRIES: Final = 10_000
MIX_DENOMINATORS: Final = (2, 3, 4)
COUNT_LIMIT: Final = 2_000

Payoffs = tuple[tuple[Fraction, ...], ...]


@dataclass(frozen=True, slots=True)
class Source:
    """A game before it is permuted, scaled and shifted."""

    name: str
    row: Payoffs
    column: Payoffs

    @property
    def tables(self) -> tuple[Table, Table]:
        """Both players' payoffs as the solver wants them."""
        return normalise(self.row), normalise(self.column)

    def own(self, role: Role) -> Payoffs:
        """Payoffs of one player, with its own actions as rows."""
        return self.row if role == "row" else tuple(zip(*self.column, strict=True))


@dataclass(frozen=True, slots=True)
class Askable:
    """A source and the roles in which it can be asked, with the question for each."""

    source: Source
    questions: tuple[tuple[Role, Asked], ...]


def exact(table: Sequence[Sequence[int | float]]) -> Payoffs:
    """The payoffs as they are written: 0.1 is one tenth, not the nearest binary fraction."""
    return tuple(tuple(Fraction(v) if isinstance(v, int) else Fraction(repr(v)) for v in row) for row in table)


def named_sources(params: MatrixParams) -> tuple[Askable, ...]:
    """The classic and own games to draw from; without a choice, the classics that can be asked."""
    own = [Source(name, exact(game.row), exact(game.column)) for name, game in (params.matrices or {}).items()]
    if params.games is None and not own and params.random is None:
        found = [_askable(params.question, _classic(name)) for name in CLASSIC]
        return tuple(askable for askable in found if askable.questions)
    return tuple(_askable(params.question, source) for source in [*map(_classic, params.games or ()), *own])


def ask(question: str, source: Source, role: Role) -> Asked | None:
    """What is asked of a role in a game under the parameter `question`; None where no action is better than another.

    `auto` asks for the equilibrium only where there is exactly one, mixed ones counted, and it is pure.
    """
    if question in ("auto", "equilibrium"):
        right = equilibrium_actions(*source.tables, role)
        decided = question == "equilibrium" or _has_one_pure_equilibrium(source)
        if decided and len(right) < len(source.own(role)):
            return "equilibrium"
    if question == "equilibrium" or len(set(source.own(role))) == 1:
        return None
    return "regret" if question == "regret" else "best_response"


def has_property(source: Source, wanted: Property) -> bool:
    """Whether a game is what the generator was asked for."""
    row, column = source.tables
    match wanted:
        case "any":
            return True
        case "unique_pure":
            return len(pure_equilibria(row, column)) == 1
        case "several_pure":
            return len(pure_equilibria(row, column)) > 1
        case "no_pure":
            return not pure_equilibria(row, column)
        case "dominance_solvable":
            return is_dominance_solvable(row, column)
        case _:
            assert_never(wanted)


def draw_random(spec: RandomGames, question: str, rng: random.Random) -> tuple[Source, Role, Asked]:
    """A random game with the stated property, a role, and what is asked of it.

    Raises:
        GiftError: 10,000 draws held none.
    """
    for _ in range(MAX_TRIES):
        source = Source("random", _draw_payoffs(spec, rng), _draw_payoffs(spec, rng))
        role = rng.choice(ROLES)
        if has_property(source, spec.property):
            asked = ask(question, source, role)
            if asked is not None:
                return source, role, asked
    raise GiftError(
        f"{MAX_TRIES} random {spec.rows} x {spec.columns} games with payoffs from {spec.low} to {spec.high} held none "
        f"with `property: {spec.property}` that `question: {question}` can ask; try another size, range or property"
    )


def draw_mix(own: Payoffs, rng: random.Random) -> Mix:
    """A mixed action of the opponent, in halves, thirds or quarters, against which the own actions are not all alike.

    Args:
        own: payoffs of the player who is asked, own actions as rows, not all rows equal.
        rng: the stream of the instance.
    """
    size = len(own[0])
    while True:  # ends: of the mixes of two columns at most one hides a difference between two rows
        denominator = rng.choice(MIX_DENOMINATORS)
        mix = _share([rng.randrange(size) for _ in range(denominator)], size)
        if _is_telling(own, mix):
            return mix


def count_instances(params: MatrixParams) -> int | None:
    """The number of distinct instance keys; None where counting takes more than 2,000 looks: there are plenty."""
    return _count_instances(named_sources(params), params.random, params.question)


@lru_cache(maxsize=64)
def _count_instances(named: tuple[Askable, ...], spec: RandomGames | None, question: str) -> int | None:
    drawn = () if spec is None else _all_games(spec)
    if drawn is None:
        return None
    asked: list[tuple[Source, Role, Asked]] = [
        (askable.source, role, what)
        for askable in (*named, *(_askable(question, source) for source in drawn))
        for role, what in askable.questions
    ]
    if sum(_num_mixes(len(source.own(role)[0]), what) for source, role, what in asked) > COUNT_LIMIT:
        return None
    keys: set[str] = set()
    for source, role, what in asked:
        tables = source.tables
        keys |= {instance_key(tables, role, what, mix) for mix in _mixes(source.own(role), what)}
    return len(keys)


def instance_key(tables: tuple[Table, Table], role: Role, question: Asked, mix: Mix | None) -> str:
    """A digest that is equal for instances which differ by an order of actions and positive affine maps only."""
    cells = [list(zip(a, b, strict=True)) for a, b in zip(*tables, strict=True)]
    rows: Sequence[str] = [""] * len(cells)
    columns: Sequence[str] = [""] * len(cells[0])
    if mix is not None and role == "row":
        columns = [str(share) for share in mix]
    elif mix is not None:
        rows = [str(share) for share in mix]
    form = canonical_form(cells, rows, columns)
    return hashlib.sha256(repr(("matrix_games", role, question, form)).encode()).hexdigest()


def _classic(name: str) -> Source:
    row, column = CLASSIC[name]
    return Source(name, exact(row), exact(column))


def _askable(question: str, source: Source) -> Askable:
    questions: list[tuple[Role, Asked]] = []
    for role in ROLES:
        asked = ask(question, source, role)
        if asked is not None:
            questions.append((role, asked))
    return Askable(source, tuple(questions))


def _has_one_pure_equilibrium(source: Source) -> bool:
    equilibria = extreme_equilibria(*source.tables)
    return len(equilibria) == 1 and max(equilibria[0].row) == max(equilibria[0].column) == 1


def _draw_payoffs(spec: RandomGames, rng: random.Random) -> Payoffs:
    return tuple(
        tuple(Fraction(rng.randint(spec.low, spec.high)) for _ in range(spec.columns)) for _ in range(spec.rows)
    )


def _all_games(spec: RandomGames) -> tuple[Source, ...] | None:
    """Every game that the generator can draw, one for each key; None where there are too many to look at."""
    cells, values = spec.rows * spec.columns, range(spec.low, spec.high + 1)
    if len(values) ** (2 * cells) > COUNT_LIMIT:
        return None
    tables = [
        tuple(tuple(map(Fraction, flat[k : k + spec.columns])) for k in range(0, cells, spec.columns))
        for flat in product(values, repeat=cells)
    ]
    games = (Source("random", row, column) for row, column in product(tables, repeat=2))
    distinct = {instance_key(game.tables, "row", "equilibrium", None): game for game in games}
    return tuple(game for game in distinct.values() if has_property(game, spec.property))


def _share(chosen: Sequence[int], size: int) -> Mix:
    return tuple(Fraction(chosen.count(k), len(chosen)) for k in range(size))


def _is_telling(own: Payoffs, mix: Mix) -> bool:
    """Whether it is a true mix, where one is possible, and some own action is worse than another against it."""
    return (len(mix) == 1 or max(mix) < 1) and len(set(expected_payoffs(own, mix))) > 1


def _num_mixes(size: int, question: Asked) -> int:
    """An upper bound for `_mixes`."""
    return 1 if question == "equilibrium" else sum(comb(size + d - 1, d) for d in MIX_DENOMINATORS)


def _mixes(own: Payoffs, question: Asked) -> set[Mix | None]:
    """Every mix that `draw_mix` can draw; None alone where none is stated."""
    if question == "equilibrium":
        return {None}
    size = len(own[0])
    drawn = {_share(c, size) for d in MIX_DENOMINATORS for c in combinations_with_replacement(range(size), d)}
    return {mix for mix in drawn if _is_telling(own, mix)}

"""What every pass looks at: a checked spec, the tree it came from, and the games it names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gift_dsl.errors import Diagnostic, Note, Severity, Span
from gift_dsl.games.families import get_family
from gift_dsl.games.game import Family, GameFacts
from gift_dsl.games.params import make_params
from gift_dsl.plan import frozen
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.opponents import OPPONENT_TYPES, PREDEFINED, OpponentSpec
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node, dotted

Loc = tuple[str | int, ...]


@frozen
class BoundGame:
    """A game of the spec with its family's parameters and the facts that follow from them."""

    spec: GameSpec
    family: Family
    params: Any
    facts: GameFacts


@frozen
class Context:
    """One run of a spec.

    Attributes:
        spec: after all checks of shape.
        tree: where each value was written.
        folder: relative paths of the spec start here.
        run_id: id of the run in its sweep; empty without one.
        games: every game that is not a composition.
    """

    spec: Spec
    tree: Node
    folder: Path
    run_id: str
    games: Mapping[str, BoundGame]

    def opponent(self, name: str) -> OpponentSpec | None:
        """The opponent of this name, defined or predefined; None if there is none."""
        return self.spec.opponents.get(name) or predefined(name)

    def finding(  # noqa: PLR0913  # the fields of a Diagnostic, all but the first three by name
        self,
        code: str,
        message: str,
        path: Loc,
        *,
        hint: str | None = None,
        severity: Severity = "error",
        notes: Sequence[Note] = (),
        at_key: bool = False,
    ) -> Diagnostic:
        """A finding at the place of a value, or of its key."""
        span = self.tree.key_span_of(path) if at_key else self.span(path)
        return Diagnostic(code, message, span, severity, hint, dotted(path), tuple(notes))

    def span(self, path: Loc) -> Span:
        """Where a value was written; the nearest enclosing place where it has a default."""
        while path and self.tree.at(path) is None:
            path = path[:-1]
        return self.tree.span_of(path)


def predefined(name: str) -> OpponentSpec | None:
    """The opponent that a bare type name stands for; None for other names."""
    if name not in PREDEFINED:
        return None
    made: Any = OPPONENT_TYPES[name].model_construct(type=name)
    return made


def make_context(spec: Spec, tree: Node, folder: Path, run_id: str = "") -> Context:
    """The context of a checked spec; its games have known types (the check saw to that)."""
    games: dict[str, BoundGame] = {}
    for name, game in spec.games.items():
        if isinstance(game, GameSpec):
            family = get_family(game.type or "")
            params = make_params(family.params, game.params)
            games[name] = BoundGame(game, family, params, family.facts(params))
    return Context(spec, tree, folder, run_id, games)

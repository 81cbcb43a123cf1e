"""What is not pinned can change between two runs of one spec."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.context import Context
from gift_dsl.data import is_local
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import LocalOpponent


def check(context: Context) -> Iterator[Diagnostic]:
    """Hub datasets and local opponents without a commit, and small families without held-out instances."""
    for name, game in context.games.items():
        dataset = getattr(game.params, "dataset", None)
        if dataset is not None and not is_local(dataset.source) and dataset.revision is None:
            message = f"dataset {dataset.source} is not pinned to a commit (`revision`)"
            path = ("games", name, "dataset", "source")
            yield context.finding("unpinned", message, path, severity="warning")
    for name, opponent in context.spec.opponents.items():
        hub = isinstance(opponent, LocalOpponent) and opponent.source is not None and not is_local(opponent.source)
        if isinstance(opponent, LocalOpponent) and hub and opponent.revision is None:
            message = f"model {opponent.source} is not pinned to a commit (`revision`)"
            yield context.finding("unpinned", message, ("opponents", name, "source"), severity="warning")

"""What is not pinned can change between two runs of one spec."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.data import is_commit, is_local
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import LocalOpponent


def check(context: Context) -> Iterator[Diagnostic]:
    """Hub datasets and local opponents without a commit, and small families without held-out instances."""
    for name, game in context.games.items():
        dataset = getattr(game.params, "dataset", None)
        if dataset is not None:
            yield from unpinned(context, ("games", name, "dataset"), dataset.source, dataset.revision)
    for name, opponent in context.spec.opponents.items():
        if isinstance(opponent, LocalOpponent) and opponent.source is not None:
            yield from unpinned(context, ("opponents", name), opponent.source, opponent.revision)


def unpinned(
    context: Context, path: Loc, source: str, revision: str | None, hint: str | None = None
) -> Iterator[Diagnostic]:
    """A source of the hub without a commit; a branch or a tag is none, for it may be moved."""
    if is_local(source) or is_commit(revision):
        return
    what = "dataset" if path[-1] == "dataset" else "model"
    if revision is None:
        message, place = f"{what} {source} is not pinned to a commit (`revision`)", "source"
    else:
        message, place = f"`{revision}` of {what} {source} is no commit: a branch or a tag may move", "revision"
        hint = "write the 40 digits of a commit; the hub shows them under `Files and versions`, `History`"
    yield context.finding("unpinned", message, (*path, place), severity="warning", hint=hint)

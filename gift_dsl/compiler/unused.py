"""Definitions that nothing uses."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gift_dsl.compiler.context import Context
from gift_dsl.compiler.references import named_parts
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.evaluation import CommonGenBenchmark
from gift_dsl.spec.models.opponents import PoolOpponent, SnapshotOpponent


def trained_games(context: Context) -> set[str]:
    """Every game and composition that a stage plays, directly or through a name."""
    return _reachable(context, [name for stage in context.spec.stages for name in named_parts(stage.play)])


def used_games(context: Context) -> set[str]:
    """Every game and composition that a stage plays or evaluation names."""
    evaluation = context.spec.evaluation
    named = [name for block in (evaluation.probe, evaluation.final) if block is not None for name in block.games or []]
    return trained_games(context) | _reachable(context, named)


def _reachable(context: Context, names: Sequence[str]) -> set[str]:
    """These games and all that compositions among them hold."""
    waiting, found = list(names), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += named_parts(context.spec.games[name]) if name not in context.games else []
    return found


def games_of(context: Context, play: object) -> list[str]:
    """The games that a composition holds at any depth, each once, in the order of the spec."""
    reached = _reachable(context, list(named_parts(play)))
    return [name for name in context.games if name in reached]


def _used_opponents(context: Context) -> set[str]:
    evaluation = context.spec.evaluation
    waiting: list[str] = list(evaluation.subjects)
    for game in context.games.values():
        given = game.spec.opponents
        waiting += (
            [given] if isinstance(given, str) else list(given.values()) if isinstance(given, dict) else given or []
        )
    waiting += (evaluation.final.opponents or {}).values() if evaluation.final is not None else []
    waiting += [item.judge for item in evaluation.benchmarks if isinstance(item, CommonGenBenchmark)]
    found: set[str] = set()
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        opponent = context.opponent(name)
        if isinstance(opponent, PoolOpponent):
            waiting += [member if isinstance(member, str) else member.opponent for member in opponent.members]
        elif isinstance(opponent, SnapshotOpponent) and opponent.first is not None:
            waiting.append(opponent.first)
    return found


def check(context: Context) -> Iterator[Diagnostic]:
    """Games that no stage plays, opponents that nobody meets."""
    games, opponents = used_games(context), _used_opponents(context)
    for section, names, used, what in (
        ("games", context.spec.games, games, "is never played"),
        ("opponents", context.spec.opponents, opponents, "is never met"),
    ):
        for name in names:
            if name not in used:
                message = f"`{name}` is defined but {what}"
                yield context.finding(
                    "unused", message, (section, name), severity="warning", at_key=True, hint="remove it"
                )

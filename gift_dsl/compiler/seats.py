"""Seats and players: as many players as seats, roles that exist, and players that know the game."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.context import BoundGame, Context, Loc
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.opponents import PoolOpponent, SnapshotOpponent
from gift_dsl.spec.suggest import did_you_mean

_MODELS = ("openai", "local", "self", "snapshot")


def check(context: Context) -> Iterator[Diagnostic]:
    """Every game of the spec, used or not."""
    for name, game in context.games.items():
        yield from _trainee(context, name, game)
        yield from _opponents(context, name, game)
    final = context.spec.evaluation.final
    if final is not None and final.opponents is not None:
        for name, opponent in final.opponents.items():
            yield from _final(context, name, opponent)


def _final(context: Context, name: str, opponent: str) -> Iterator[Diagnostic]:
    path: Loc = ("evaluation", "final", "opponents", name)
    if name not in context.games:
        message = f"`{name}` is a composition, and opponents sit in a game"
        yield context.finding("seats", message, path, at_key=True, hint="name the games in it, each with its opponent")
    elif context.games[name].facts.seats == 1:
        message = f"`{name}` is played alone and takes no opponent"
        yield context.finding("seats", message, path, at_key=True, hint="remove it")
    else:
        yield from _fits(context, name, context.games[name], opponent, path)


def _trainee(context: Context, name: str, game: BoundGame) -> Iterator[Diagnostic]:
    trainee, facts = game.spec.trainee, game.facts
    if isinstance(trainee.seat, int) and trainee.seat >= facts.seats:
        yield context.finding(
            "seats",
            f"`{name}` has {facts.seats} seats, counted from 0; there is no seat {trainee.seat}",
            ("games", name, "trainee", "seat"),
        )
    if trainee.role != "any" and trainee.role not in facts.roles:
        known = ", ".join(f"`{role}`" for role in facts.roles)
        yield context.finding(
            "unknown-role",
            f"`{name}` has no role `{trainee.role}`" + (f"; its roles are {known}" if known else "; it has no roles"),
            ("games", name, "trainee", "role"),
            hint=did_you_mean(trainee.role, ["any", *facts.roles]),
        )


def _opponents(context: Context, name: str, game: BoundGame) -> Iterator[Diagnostic]:
    given, path = game.spec.opponents, ("games", name, "opponents")
    wanted = _other_seats(game)
    if wanted == 0:
        if given is not None:
            reason = "is played alone" if game.facts.seats == 1 else "is played by trained seats only (`seat: all`)"
            message = f"`{name}` {reason} and takes no opponents"
            yield context.finding("seats", message, path, at_key=True, hint="remove `opponents`")
        return
    if given is None or given == {}:
        yield context.finding(
            "missing-opponents",
            f"`{name}` has {game.facts.seats} seats, and nobody sits in the other{f' {wanted}' if wanted > 1 else ''}",
            ("games", name),
            at_key=True,
            hint="add `opponents: random`, or the name of one of your opponents",
        )
        return
    if isinstance(given, list) and len(given) != wanted:
        yield context.finding(
            "seats",
            f"`{name}` has {wanted} other seat{'s' * (wanted > 1)}, but {len(given)} opponents are listed",
            path,
            hint="list one name for each other seat in seat order, or write one name for all",
        )
    if isinstance(given, dict):
        yield from _roles(context, name, game, given)
    for opponent, place in _seated(given, path):
        yield from _fits(context, name, game, opponent, place)


def _other_seats(game: BoundGame) -> int:
    """Seats that opponents fill: none where every seat is trained."""
    return 0 if game.spec.trainee.seat == "all" else game.facts.seats - 1


def _seated(given: str | list[str] | dict[str, str], path: Loc) -> Iterator[tuple[str, Loc]]:
    """Every name with its place."""
    if isinstance(given, str):
        yield given, path
    elif isinstance(given, list):
        yield from ((name, (*path, index)) for index, name in enumerate(given))
    else:
        yield from ((name, (*path, role)) for role, name in given.items())


def _roles(context: Context, name: str, game: BoundGame, given: dict[str, str]) -> Iterator[Diagnostic]:
    roles, path = game.facts.roles, ("games", name, "opponents")
    for role in given:
        if role not in roles:
            known = ", ".join(f"`{item}`" for item in roles) or "none"
            message = f"`{name}` has no role `{role}`; its roles: {known}"
            yield context.finding("unknown-role", message, (*path, role), at_key=True, hint=did_you_mean(role, roles))
    missing = [role for role in roles if role not in given]
    if missing and all(role in roles for role in given):
        listed = " and ".join(f"`{role}`" for role in missing)
        yield context.finding("seats", f"nobody is named for the role {listed} of `{name}`", path, at_key=True)


def _players(context: Context, name: str) -> Iterator[tuple[str, str]]:
    """Name and type of all who may really sit down: a pool's members instead of the pool, and stand-ins."""
    waiting, seen = [name], {name}
    while waiting:
        player = waiting.pop()
        opponent = context.opponent(player)
        others: list[str] = []
        if isinstance(opponent, PoolOpponent):
            others = [member if isinstance(member, str) else member.opponent for member in opponent.members]
        elif opponent is not None:
            yield player, opponent.type
        if isinstance(opponent, SnapshotOpponent) and opponent.first is not None:
            others.append(opponent.first)
        waiting += [other for other in reversed(others) if other not in seen]
        seen.update(others)


def _fits(context: Context, name: str, game: BoundGame, opponent: str, path: Loc) -> Iterator[Diagnostic]:
    """Whether everybody whom this name may stand for can play the game."""
    allowed = game.facts.players
    for player, kind in _players(context, opponent):
        who = f"`{player}`" if player == opponent else f"`{player}`, whom `{opponent}` may seat,"
        if kind == "human":
            message = f"{who} is a person; a run cannot wait for one"
            yield context.finding("human-opponent", message, path, hint="use `gift play` to play yourself")
        elif kind not in allowed and kind not in _MODELS:
            known = ", ".join(f"`{item}`" for item in (*allowed, *_MODELS) if item != "human")
            message = f"{who} has type `{kind}`, which cannot play `{name}` (a {game.family.name} game)"
            yield context.finding("opponent-cannot-play", message, path, hint=f"these can: {known}")

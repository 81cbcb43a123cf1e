"""Names that point at other parts of the spec: opponents, games, stages, and circles among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic, Note
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.opponents import PREDEFINED, PoolOpponent, SnapshotOpponent
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node
from gift_dsl.spec.suggest import did_you_mean
from gift_dsl.spec.walk import walk

_WORD = {"opponents": "opponent", "games": "game"}


def unknown_names(tree: Node) -> Iterator[Diagnostic]:
    """Every name of an opponent or game that nothing defines. Needs the tree only, so it runs beside other errors."""
    from gift_dsl.spec.check import dotted

    defined: dict[str, Mapping[str, Node]] = {
        section: node.fields if (node := tree.child(section)) is not None else {} for section in _WORD
    }
    for place in walk(Spec, tree):
        if place.ref is None or place.node.text is None:
            continue
        section, name = place.ref.section, place.node.text
        known = [*defined[section], *(PREDEFINED if section == "opponents" else ())]
        if name in known:
            continue
        word = _WORD[section]
        hint = did_you_mean(name, known) or f"define it under `{section}`"
        near = next((n for n in defined[section] if f"`{n}`" in hint), None)
        notes: tuple[Note, ...] = ()
        if near is not None:
            holder = tree.child(section)
            assert holder is not None
            notes = (Note(f"`{near}` is defined here", holder.key_spans.get(near)),)
        message = f"{word} `{name}` is not defined"
        yield Diagnostic(f"unknown-{word}", message, place.node.span, "error", hint, dotted(place.path), notes)


def named_parts(play: object) -> Iterator[str]:
    """Names of games that a composition mentions, at any depth."""
    match play:
        case str():
            yield play
        case AllOfSpec(all_of=parts) | AnyOfSpec(any_of=parts) | InTurnSpec(in_turn=parts):
            for part in parts:
                yield from named_parts(part)
        case PartSpec(play=inner):
            yield from named_parts(inner)
        case _:
            return


def _cycle(edges: Mapping[str, Sequence[str]], start: str) -> tuple[str, ...] | None:
    """The names from `start` back to itself, or None."""
    stack: list[tuple[str, ...]] = [(start,)]
    seen: set[str] = set()
    while stack:
        path = stack.pop()
        for name in edges.get(path[-1], ()):
            if name == start:
                return (*path, start)
            if name not in seen:
                seen.add(name)
                stack.append((*path, name))
    return None


def check(context: Context) -> Iterator[Diagnostic]:
    """Compositions and opponents that contain themselves, and stages of one name."""
    spec = context.spec
    compositions = {name: tuple(named_parts(play)) for name, play in spec.games.items() if name not in context.games}
    yield from _circles(context, "games", "composition-cycle", compositions)
    opponents: dict[str, tuple[str, ...]] = {}
    for name, opponent in spec.opponents.items():
        if isinstance(opponent, PoolOpponent):
            opponents[name] = tuple(m if isinstance(m, str) else m.opponent for m in opponent.members)
        elif isinstance(opponent, SnapshotOpponent) and opponent.first is not None:
            opponents[name] = (opponent.first,)
    yield from _circles(context, "opponents", "opponent-cycle", opponents)
    seen: dict[str, int] = {}
    for index, stage in enumerate(spec.stages):
        if stage.name in seen:
            path: Loc = ("stages", index, "name")
            note = Note("the first one is here", context.span(("stages", seen[stage.name], "name")))
            yield context.finding(
                "duplicate-stage",
                f"two stages are called `{stage.name}`",
                path,
                hint="give each its own name",
                notes=[note],
            )
        seen.setdefault(stage.name, index)


def _circles(context: Context, section: str, code: str, edges: Mapping[str, Sequence[str]]) -> Iterator[Diagnostic]:
    for name in edges:
        circle = _cycle(edges, name)
        if circle is not None:
            shown = " > ".join(f"`{part}`" for part in circle)
            yield context.finding(code, f"`{name}` contains itself: {shown}", (section, name), at_key=True)

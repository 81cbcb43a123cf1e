"""Names that point at other parts of the spec: opponents, games, stages, and circles among them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.spec.inline import game_types
from gift_dsl.spec.models.composition import AllOfSpec, AnyOfSpec, InTurnSpec, PartSpec
from gift_dsl.spec.models.opponents import OPPONENT_TYPES, PREDEFINED, PoolOpponent, SnapshotOpponent
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node, Path, dotted
from gift_dsl.spec.suggest import did_you_mean, suggest
from gift_dsl.spec.walk import walk

_WORD = {"opponents": "opponent", "games": "game"}


def unknown_names(tree: Node) -> Iterator[Diagnostic]:
    """Every name of an opponent or game that nothing defines, once, at its first use; the others are notes.

    Needs the tree only, so it runs beside other errors.
    """
    uses: dict[tuple[str, str], list[tuple[Span, Path]]] = {}
    for section, name, span, path in _names(tree):
        uses.setdefault((section, name), []).append((span, path))
    for (section, name), places in uses.items():
        holder = tree.child(section)
        defined: Mapping[str, Node] = holder.fields if holder is not None else {}
        known = [*defined, *(PREDEFINED if section == "opponents" else ())]
        if name not in known and not (holder is None and _is_misspelt(tree, section)):
            yield _unknown(tree, section, name, known, sorted(places, key=lambda place: place[0]))


def _is_misspelt(tree: Node, section: str) -> bool:
    """Whether a whole section is missing, or has a typo, so that it is the one mistake."""
    return section == "games" or any(section in suggest(key, Spec.model_fields) for key in tree.fields)


def _unknown(
    tree: Node, section: str, name: str, known: Sequence[str], places: Sequence[tuple[Span, Path]]
) -> Diagnostic:
    word, holder, near = _WORD[section], tree.child(section), suggest(name, known)
    spans: Mapping[str, Span] = holder.key_spans if holder is not None else {}
    notes = [Note(f"`{other}` is defined here", spans[other]) for other in near[:1] if other in spans]
    notes += [Note("it is named here too", span) for span, _ in places[1:]]
    hint = did_you_mean(name, known) if near else _definition(section, name)
    span, path = places[0]
    return Diagnostic(
        f"unknown-{word}", f"{word} `{name}` is not defined", span, "error", hint, dotted(path), tuple(notes)
    )


def _definition(section: str, name: str) -> str:
    """How to define a name that resembles none; often the type was written where the name belongs."""
    types = game_types() if section == "games" else tuple(OPPONENT_TYPES)
    kind = name if name in types else "..."
    return f"define it under `{section}`: {name if kind == name else 'NAME'}: {{type: {kind}}}"


_GAME_KEYS: Final = (("evaluation", "final", "opponents"),)
"""Maps whose keys name games."""


def _names(tree: Node) -> Iterator[tuple[str, str, Span, Path]]:
    """Every name that must be defined: its section, the name, its place and path."""
    for place in walk(Spec, tree):
        if place.ref is not None and place.node.text is not None:
            yield place.ref.section, place.node.text, place.node.span, place.path
    stages = tree.child("stages")
    weights = [("stages", index, "data", "scripted", "weights") for index in range(len(stages.items if stages else ()))]
    for path in (*_GAME_KEYS, *weights):
        node = tree.at(path)
        for name, span in node.key_spans.items() if node is not None else ():
            yield "games", name, span, (*path, name)


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


def circles(edges: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, ...]]:
    """Circles among names, each from a name back to itself, no two with a name in common; in time of the edges."""
    done: set[str] = set()
    told: set[str] = set()
    for start in edges:
        path: dict[str, Iterator[str]] = {} if start in done else {start: iter(edges[start])}
        while path:
            here = next(reversed(path))
            name = next(path[here], None)
            if name is None:
                done.add(here)
                del path[here]
            elif name in path:
                names = list(path)
                circle = (*names[names.index(name) :], name) if name not in told else ()
                if circle and told.isdisjoint(circle):
                    told.update(circle)
                    yield circle
            elif name not in done and name in edges:
                path[name] = iter(edges[name])


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
    """Each circle once, at the first of its names."""
    for circle in circles(edges):
        shown = " > ".join(f"`{part}`" for part in circle)
        notes = [Note(f"`{part}` is defined here", context.tree.key_span_of((section, part))) for part in circle[1:-1]]
        yield context.finding(
            code,
            f"`{circle[0]}` contains itself: {shown}",
            (section, circle[0]),
            at_key=True,
            hint="remove one of these names where it is named",
            notes=notes[:8],
        )

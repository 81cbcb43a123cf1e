"""The `sweep` of a spec, read: its axes, what it excludes and adds, and the combinations that come of it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import field, replace
from typing import Any, Final, get_args

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.models.fields import Strict
from gift_dsl.spec.models.spec import Spec
from gift_dsl.spec.node import Node, mapping
from gift_dsl.spec.paths import Part, PathError, indices, locate, parse_path, patch_at
from gift_dsl.spec.suggest import did_you_mean
from gift_dsl.spec.walk import hints, is_model, members, unwrap

MAX_RUNS: Final = 256
# Values of all runs together: each run is checked whole.
MAX_VALUES: Final = 100_000
# What `exclude` leaves is not worked out beyond this many comparisons of a combination with an exclusion.
_MAX_COMPARISONS: Final = 1_000_000
_MAX_AXES: Final = 32
_KEYS: Final = ("axes", "exclude", "add")
_NAMED: Final = frozenset({"games", "opponents"})
_NOT_SWEPT: Final = frozenset({"vars", "sweep", "extends", "fragment"})


@frozen
class Value:
    """A value of an axis: what it is called, and the merge patch that it is."""

    label: str
    node: Node


@frozen
class Axis:
    """A path and its values. `name` is the path as written."""

    name: str
    path: tuple[Part, ...]
    values: tuple[Value, ...]
    span: Span

    @property
    def over_vars(self) -> bool:
        """Whether the path is `vars.x`: such an axis is applied before the variables are filled in."""
        return over_vars(self.path)

    def find(self, wanted: Node) -> tuple[Value, ...]:
        """The values that an entry of `exclude` means: by name, or by the value itself."""
        label, key = label_of(wanted, 0), _key(wanted)
        return tuple(value for value in self.values if value.label == label or _key(value.node) == key)


Choice = tuple[tuple[Axis, Value], ...]
Exclusion = Mapping[str, tuple[Value, ...]]


def over_vars(path: Sequence[Part]) -> bool:
    """Whether a path is `vars.x`, or lies below it."""
    return len(path) > 1 and path[0].name == "vars" and not path[1].is_item


def with_sections(tree: Node, path: Sequence[Part]) -> Node:
    """The tree with an empty map for each section on the way that it leaves to its defaults.

    `algorithm.group_size` can be swept in a spec without `algorithm`; but what users name themselves must be there:
    a game, an opponent, an item of a list.
    """
    models: tuple[type[Strict], ...] = (Spec,)
    for depth, part in enumerate(path[:-1], 1):
        if part.is_item or (depth == 2 and path[0].name in _NAMED):
            continue
        annotations = [hints(model)[part.name] for model in models if part.name in model.model_fields]
        if not annotations:
            break
        models = tuple(model for annotation in annotations for model in _models(annotation))
        if models and locate(tree, tuple(path[:depth])) is None and locate(tree, tuple(path[: depth - 1])) is not None:
            tree = patch_at(tree, tuple(path[:depth]), mapping({}, part.span, {}), parents_exist=True)
    return tree


def _models(annotation: Any) -> Iterator[type[Strict]]:  # noqa: ANN401
    """The models that a value may consist of, through unions, lists and maps from names."""
    for member in members(unwrap(annotation)[0]):
        bare, _ = unwrap(member)
        if is_model(bare):
            yield bare
        for inner in get_args(bare):
            yield from _models(inner)


def label_of(node: Node, number: int) -> str:
    """The name of a value without one: a scalar's own text, `#1` for the first map or list."""
    if node.kind in ("map", "list"):
        return f"#{number}"
    if node.kind == "null":
        return "null"
    return node.text if node.text is not None else node.raw


def _key(node: Node) -> object:
    """Equal for values that mean the same: 1 and 1.0, but not 1 and true."""
    if node.kind == "map":
        return "map", frozenset((name, _key(child)) for name, child in node.fields.items())
    if node.kind == "list":
        return "list", tuple(_key(item) for item in node.items)
    return "number" if node.kind in ("int", "float") else node.kind, node.value


@frozen
class SweepReader:
    """Reads one `sweep`.

    Attributes:
        sweep: the map under `sweep`.
        tree: the unswept spec, its variables filled in; the paths of axes are tried on it.
        fill: fills the variables of the unswept spec into a value.
        sets: the paths given with `--set`.
        diagnostics: what was found.
    """

    sweep: Node
    tree: Node
    fill: Callable[[Node], Node]
    sets: Sequence[tuple[Part, ...]]
    diagnostics: list[Diagnostic] = field(default_factory=lambda: [])

    def choices(self) -> list[Choice]:
        """The combinations in order: the product without what is excluded, then what is added."""
        for key in self.sweep.fields:
            if key not in _KEYS:
                is_path = key in Spec.model_fields or not {".", "["}.isdisjoint(key)
                hint = "put it under `axes:`" if is_path else did_you_mean(key, _KEYS)
                self._report("unknown-key", f"unknown key `{key}` in `sweep`", self.sweep.key_spans[key], hint)
        axes = self._axes(self.sweep.fields.get("axes"))
        choices = self._product(axes, self._exclusions(axes, self.sweep.fields.get("exclude")))
        choices += self._added(self.sweep.fields.get("add"))
        if len(choices) > MAX_RUNS:
            self._too_many(len(choices))
            return choices[:1]
        if len(choices) * self.tree.size > MAX_VALUES:
            message = f"{len(choices)} runs of a spec of {self.tree.size:,} values are too many to check"
            self._report("sweep-too-large", message, self.sweep.key_span_of(("axes",)), "split it into several specs")
            return choices[:1]
        if not choices and all(found.severity == "warning" for found in self.diagnostics):
            hint = "`exclude` leaves none of them" if axes else "give it `axes`"
            self._report("sweep-empty", "the sweep has no runs", self.sweep.key_span_of(("axes",)), hint)
        return self._distinct(choices)

    def _report(self, code: str, message: str, span: Span, hint: str | None = None, notes: Iterable[Note] = ()) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, hint=hint, path="sweep", notes=tuple(notes)))

    def _is(self, node: Node, kind: str, message: str) -> bool:
        if node.kind != kind:
            self._report("wrong-type", message, node.span)
        return node.kind == kind

    def _too_many(self, count: int) -> None:
        message = f"the sweep has {count:,} runs; {MAX_RUNS} are the most"
        self._report("sweep-too-large", message, self.sweep.key_span_of(("axes",)), "split it into several specs")

    def _distinct(self, choices: list[Choice]) -> list[Choice]:
        """The choices without those whose run would have the name of an earlier one."""
        named: dict[str, Choice] = {}
        for choice in choices:
            name = run_id(choice)
            if name in named:
                self._report("sweep-repeated-value", f"the run `{name}` is there twice", choice[0][0].span)
            named.setdefault(name, choice)
        return list(named.values())

    # ── axes ──

    def _axes(self, node: Node | None) -> list[Axis]:
        if node is None or not self._is(node, "map", "`axes` must be a map of paths to values"):
            return []
        if len(node.fields) > _MAX_AXES:
            self._report("sweep-too-large", f"a sweep has at most {_MAX_AXES} axes", self.sweep.key_spans["axes"])
            return []
        found: dict[tuple[str | int, ...], Axis] = {}
        for name, values in node.fields.items():
            axis = self._axis(name, values, node.key_spans[name])
            if axis is None:
                continue
            first = found.setdefault(self._place(axis.path), axis)
            if first is not axis:
                notes = [Note("the other axis", first.span)]
                message = f"`{name}` and `{first.name}` are one axis"
                self._report("sweep-repeated-value", message, axis.span, notes=notes)
        return list(found.values())

    def _axis(self, name: str, values: Node, span: Span) -> Axis | None:
        if values.kind not in ("map", "list"):
            self._report("wrong-type", f"the axis `{name}` takes a list of values, or a map of names to values", span)
            return None
        nodes = (*values.fields.values(), *values.items)
        if not nodes:
            self._report("sweep-empty", f"the axis `{name}` has no values", span)
            return None
        path = self._path(name, span, nodes[0])
        if path is None:
            return None
        self._check_sets(name, path, nodes, span)
        return Axis(name, path, self._values(name, values), span)

    def _path(self, name: str, span: Span, value: Node) -> tuple[Part, ...] | None:
        """The path of an axis, if it leads somewhere."""
        path: tuple[Part, ...] = ()
        try:
            path = parse_path(name, span)
            if not over_vars(path) and path[0].name not in _NOT_SWEPT:
                patch_at(with_sections(self.tree, path), path, value, parents_exist=True)
        except PathError as error:
            top = (
                did_you_mean(path[0].name, Spec.model_fields)
                if path and error.diagnostic.span == path[0].span
                else None
            )
            self.diagnostics.append(replace(error.diagnostic, hint=top) if top else error.diagnostic)
            return None
        if over_vars(path) or path[0].name not in _NOT_SWEPT:
            return path
        self._report("set-path", f"`{name}` cannot be swept", span, "sweep a value of the spec, or `vars.NAME`")
        return None

    def _values(self, name: str, values: Node) -> tuple[Value, ...]:
        if values.kind == "map":
            return tuple(Value(label, node) for label, node in values.fields.items())
        found: list[Value] = []
        seen: dict[object, Span] = {}
        for number, node in enumerate(values.items, 1):
            filled = self.fill(node)
            first = seen.setdefault(_key(filled), node.span)
            if first is not node.span:
                notes = [Note("first given here", first)]
                self._report("sweep-repeated-value", f"a value of `{name}` is repeated", node.span, notes=notes)
            else:
                found.append(Value(label_of(filled, number), node))
        return tuple(found)

    def _check_sets(self, name: str, path: tuple[Part, ...], nodes: Sequence[Node], span: Span) -> None:
        """An axis would win without a word over a `--set` of the same value."""
        place = self._place(path)
        for other in self.sets:
            given = self._place(other)
            rest = given[len(place) :]
            if given[: len(place)] == place and (not rest or any(node.at(rest) for node in nodes)):
                hint = "drop the `--set`, or choose among the values with `--only`"
                notes = [Note("set here", other[-1].span)]
                self._report("sweep-axis-set", f"`{name}` is an axis and also given by --set", span, hint, notes)

    def _place(self, path: tuple[Part, ...]) -> tuple[str | int, ...]:
        return indices(self.tree, path) or tuple(part.name for part in path)

    # ── combinations ──

    def _exclusions(self, axes: Sequence[Axis], node: Node | None) -> list[tuple[Node, Exclusion]]:
        if node is None or not self._is(node, "list", "`exclude` must be a list of maps from axis to value"):
            return []
        entries = [entry for entry in node.items if self._is(entry, "map", "`exclude` holds maps from axis to value")]
        found = [(entry, self._exclusion(entry, axes)) for entry in entries]
        return [(entry, exclusion) for entry, exclusion in found if exclusion is not None]

    def _exclusion(self, entry: Node, axes: Sequence[Axis]) -> Exclusion | None:
        values: dict[str, tuple[Value, ...]] = {}
        known = True
        for name, wanted in entry.fields.items():
            axis = self._axis_of(name, axes, entry.key_spans[name])
            if axis is None:
                hint = did_you_mean(name, [axis.name for axis in axes])
                message = f"`{name}` is not an axis of this sweep"
                self._report("sweep-unknown-axis", message, entry.key_spans[name], hint)
                known = False
            else:
                values[axis.name] = axis.find(wanted)
        return values if known else None

    def _axis_of(self, name: str, axes: Sequence[Axis], span: Span) -> Axis | None:
        try:
            place = self._place(parse_path(name, span))
        except PathError:
            return None
        return next((axis for axis in axes if self._place(axis.path) == place), None)

    def _product(self, axes: Sequence[Axis], exclusions: Sequence[tuple[Node, Exclusion]]) -> list[Choice]:
        if not axes:
            return []
        size = math.prod(len(axis.values) for axis in axes)
        if size * max(1, len(exclusions)) > _MAX_COMPARISONS:
            self._too_many(size)
            return [tuple((axis, axis.values[0]) for axis in axes)]
        matched: set[int] = set()
        kept: list[Choice] = []
        for values in itertools.product(*(axis.values for axis in axes)):
            choice = tuple(zip(axes, values, strict=True))
            hits = [number for number, (_, exclusion) in enumerate(exclusions) if _excludes(exclusion, choice)]
            matched.update(hits)
            if not hits:
                kept.append(choice)
        self.diagnostics.extend(_useless(entry) for n, (entry, _) in enumerate(exclusions) if n not in matched)
        return kept

    def _added(self, node: Node | None) -> list[Choice]:
        if node is None or not self._is(node, "list", "`add` must be a list of maps from path to value"):
            return []
        if len(node.items) > MAX_RUNS:
            self._too_many(len(node.items))
            return []
        message = "`add` holds maps from path to value"
        return [choice for entry in node.items if self._is(entry, "map", message) and (choice := self._addition(entry))]

    def _addition(self, entry: Node) -> Choice:
        pairs: list[tuple[Axis, Value]] = []
        if not entry.fields:
            self._report("wrong-type", "an entry of `add` needs at least one path", entry.span)
        for name, value in entry.fields.items():
            path = self._path(name, entry.key_spans[name], value)
            if path is not None:
                label = label_of(self.fill(value), 1)
                pairs.append((Axis(name, path, (), entry.key_spans[name]), Value(label, value)))
        return tuple(pairs)


def _useless(entry: Node) -> Diagnostic:
    hint = "no run has these values"
    span = entry.first_line()
    return Diagnostic("sweep-exclude-no-match", "this excludes nothing", span, "warning", hint, "sweep")


def _excludes(exclusion: Exclusion, choice: Choice) -> bool:
    return bool(exclusion) and all(value in exclusion[axis.name] for axis, value in choice if axis.name in exclusion)


def run_id(choice: Choice) -> str:
    """`axis=value,axis=value` in written order."""
    return ",".join(f"{axis.name}={value.label}" for axis, value in choice)

"""Sweeps: one spec that stands for several runs.

    sweep:
      axes:
        seed: [1, 2, 3]                                     # a list of values
        stages[main].play: {nested: {all_of: [a, b]}, mixed: {any_of: [a, b]}}    # a map names its values
      exclude: [{seed: 2, "stages[main].play": mixed}]      # partial maps from axis to value or name
      add: [{seed: 9, algorithm.group_size: 32}]            # runs taken as they are: path to value

The runs are the Cartesian product of the axes in written order, the last axis fastest, without what `exclude`
matches, then those of `add`, which start from the unswept spec. A value is a merge patch at its path. Inside braces
YAML wants quotes round a path with brackets, and round `${vars.x}`.

For each run the axes over `vars.x` are applied to the variables, then the variables are filled into the spec and into
the values of the other axes, and these are applied in written order. So an axis wins over everything else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen
from gift_dsl.spec.axes import Choice, SweepReader, run_id, with_sections
from gift_dsl.spec.compose import Composed
from gift_dsl.spec.merge import drop_nulls
from gift_dsl.spec.node import Node, mapping
from gift_dsl.spec.paths import PathError, patch_at
from gift_dsl.spec.source import too_big
from gift_dsl.spec.suggest import did_you_mean
from gift_dsl.spec.variables import Filling


@frozen
class Run:
    """One run of a spec.

    Attributes:
        id: `axis=value,axis=value` in written order; empty for a spec without a sweep.
        tree: the complete spec of the run: variables filled, axes applied, nulls dropped.
        choices: the name of the value of each axis, by the axis as written.
    """

    id: str
    tree: Node
    choices: dict[str, str]


def expand(composed: Composed, only: Sequence[str] = ()) -> tuple[list[Run], list[Diagnostic]]:
    """The runs of a composed spec, and what is wrong with its variables and its sweep.

    Args:
        composed: a spec whose `tree` is not None.
        only: `axis=value` or `axis=value,value` selections; several for one axis add up, different axes restrict.

    Returns:
        The runs, made of what is right where a part of the sweep is wrong, so that the mistakes in them can be told
        too; and the findings.
    """
    assert composed.tree is not None
    expansion = _Expansion(composed, composed.tree)
    runs = expansion.runs(only)
    return runs, list(dict.fromkeys(expansion.diagnostics))


@frozen
class _Filled:
    """The variables of one run, and the unswept spec filled with them."""

    filling: Filling
    tree: Node


@dataclass(slots=True)
class _Expansion:
    composed: Composed
    tree: Node
    diagnostics: list[Diagnostic] = field(default_factory=lambda: [])
    used: set[str] = field(default_factory=lambda: set())
    filled: dict[str, _Filled] = field(default_factory=lambda: {})

    def runs(self, only: Sequence[str]) -> list[Run]:
        choices = self._choices()
        runs = [run for choice in self._select(choices, only) if (run := self._run(choice)) is not None]
        if len(runs) == len(choices):
            self._report_unused()
        return runs

    def _choices(self) -> list[Choice]:
        sweep = self.composed.sweep
        if sweep is None:
            return [()]
        if sweep.kind != "map":
            message = "`sweep` must be a map with `axes`, `exclude` and `add`"
            self.diagnostics.append(Diagnostic("wrong-type", message, sweep.span, path="sweep"))
            return [()]
        base = self._fill(())
        reader = SweepReader(sweep, base.tree, base.filling.fill, self.composed.sets)
        choices = reader.choices()
        self.diagnostics += reader.diagnostics
        return choices or ([()] if reader.diagnostics else [])

    # ── one run ──

    def _run(self, choice: Choice) -> Run | None:
        filled = self._fill(tuple(pair for pair in choice if pair[0].over_vars))
        tree = filled.tree
        for axis, value in choice:
            if not axis.over_vars:
                try:
                    tree = with_sections(tree, axis.path)
                    tree = patch_at(tree, axis.path, filled.filling.fill(value.node), parents_exist=True)
                except PathError as error:
                    self.diagnostics.append(error.diagnostic)
        self.used |= filled.filling.used
        self.diagnostics += filled.filling.diagnostics
        tree = drop_nulls(tree)
        big = too_big(tree, choice[0][0].span if choice else None)
        self.diagnostics += big
        return None if big else Run(run_id(choice), tree, {axis.name: value.label for axis, value in choice})

    def _fill(self, choice: Choice) -> _Filled:
        """The unswept spec with the variables of one run; made once for all runs that share them."""
        key = run_id(choice)
        if key not in self.filled:
            filling = Filling(self._variables(choice))
            self.filled[key] = _Filled(filling, filling.fill(self.tree))
        return self.filled[key]

    def _variables(self, choice: Choice) -> Node:
        variables = self.composed.vars or mapping({}, self.tree.first_line(), {})
        for axis, value in choice:
            try:
                variables = patch_at(variables, axis.path[1:], value.node, parents_exist=True)
            except PathError as error:
                self.diagnostics.append(error.diagnostic)
        return variables

    def _report_unused(self) -> None:
        """Variables that no run asks for. A base file may define them for the files that extend it."""
        variables = self.composed.vars
        if variables is None or self.composed.fragment:
            return
        for name in variables.fields:
            if name not in self.used:
                message = f"the variable `{name}` is never used"
                hint = f"write ${{vars.{name}}} where it belongs, or delete it"
                span = variables.key_spans[name]
                self.diagnostics.append(Diagnostic("unused-var", message, span, "warning", hint, f"vars.{name}"))

    # ── --only ──

    def _select(self, choices: list[Choice], only: Sequence[str]) -> list[Choice]:
        """The choices that every axis named by `--only` allows, or whose ids it gives; all where one is wrong."""
        labels = _labels(choices)
        wanted: dict[str, set[str]] = {}
        # The id of a choice on one axis is a selection already.
        ids = {run_id(choice) for choice in choices if len(choice) > 1} & set(only)
        files = {f"<--only{f' {n}' if len(only) > 1 else ''}>": argument for n, argument in enumerate(only, 1)}
        self.composed.files.update(files)
        selections = [
            self._selection(file, argument, labels) for file, argument in files.items() if argument not in ids
        ]
        for selected in selections:
            if selected is not None:
                wanted.setdefault(selected[0], set()).update(selected[1])
        if None in selections:
            return choices
        kept = [choice for choice in choices if _allows(wanted, choice) and (not ids or run_id(choice) in ids)]
        if choices and not kept:
            self._refuse(next(iter(files)), f"no run of the sweep has {' and '.join(only)}")
        return kept

    def _selection(self, file: str, argument: str, labels: Mapping[str, list[str]]) -> tuple[str, list[str]] | None:
        """Axis and values that one `--only` names, or None with a diagnostic."""
        axes = [axis for axis in labels if argument.startswith(f"{axis}=")]
        name = max(axes, key=len, default=argument.partition("=")[0])
        if name not in labels:
            what = f"`{name}` is not an axis of the sweep" if labels else "the spec has no sweep"
            self._refuse(file, what, did_you_mean(name, labels))
            return None
        text = argument[len(name) + 1 :]
        values = [text] if text in labels[name] else text.split(",")
        unknown = [value for value in values if value not in labels[name]]
        if unknown:
            self._refuse(file, f"`{name}` has no value `{unknown[0]}`", did_you_mean(unknown[0], labels[name]))
            return None
        return name, values

    def _refuse(self, file: str, message: str, hint: str | None = None) -> None:
        span = Span(file, 1, 1, 1, len(self.composed.files[file]) + 1)
        self.diagnostics.append(Diagnostic("only-unknown", message, span, hint=hint))


def _labels(choices: Sequence[Choice]) -> dict[str, list[str]]:
    """The names of the values that each axis has in some run."""
    labels: dict[str, dict[str, None]] = {}
    for choice in choices:
        for axis, value in choice:
            labels.setdefault(axis.name, {})[value.label] = None
    return {name: list(values) for name, values in labels.items()}


def _allows(wanted: Mapping[str, set[str]], choice: Choice) -> bool:
    chosen = {axis.name: value.label for axis, value in choice}
    return all(chosen.get(name) in values for name, values in wanted.items())

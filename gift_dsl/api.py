"""The verbs behind the commands, and the Python API. Heavy imports live inside the functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gift_dsl.errors import Diagnostic, Span, SpecError, UsageError

if TYPE_CHECKING:
    from gift_dsl.compiler.compile import Compiled
    from gift_dsl.compiler.context import Context
    from gift_dsl.plan import Plan
    from gift_dsl.spec.load import Loaded, LoadedRun


@dataclass(frozen=True, slots=True)
class CheckedRun:
    """One run of a spec that was checked; `compiled` is None where there are errors."""

    id: str
    choices: dict[str, str]
    context: Context | None
    compiled: Compiled | None


@dataclass(frozen=True, slots=True)
class Checked:
    """A spec with everything that was found about it, in order of place."""

    path: str
    runs: tuple[CheckedRun, ...]
    sources: dict[str, str]
    diagnostics: tuple[Diagnostic, ...]
    fragment: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings are not."""
        return all(item.severity != "error" for item in self.diagnostics)

    def plans(self) -> tuple[Plan, ...]:
        """The plan of each run.

        Raises:
            SpecError: the spec has errors.
        """
        if not self.ok:
            raise SpecError(self.diagnostics)
        return tuple(run.compiled.plan for run in self.runs if run.compiled is not None)


def check_spec(
    path: str, text: str | bytes | None = None, *, sets: Sequence[str] = (), only: Sequence[str] = (), plan: bool = True
) -> Checked:
    """Check a spec file and compile each of its runs.

    Args:
        path: the file, or `-` with `text`.
        text: read instead of the file.
        sets: `path=value` overrides, as `--set`.
        only: `axis=value` selections of a sweep, as `--only`.
        plan: False leaves the plans out where nothing is asked but whether the spec is right.

    Returns:
        Every finding at once, and the compiled runs where there is no error.
    """
    from gift_dsl.spec.load import load
    from gift_dsl.spec.render import deduplicate

    loaded = load(path, text, sets=sets, only=only)
    found = list(loaded.diagnostics)
    contexts = [_check_run(loaded, run, found) for run in loaded.runs]
    wrong = any(item.severity == "error" for item in found)
    compiled: list[Compiled | None] = [None] * len(contexts)
    if not wrong and not loaded.fragment and (plan or len(contexts) > 1):
        from gift_dsl.compiler.compile import compile_plan

        compiled = [compile_plan(context) if context is not None else None for context in contexts]
        found += _arms(loaded, compiled)
    runs = [
        CheckedRun(run.id, run.choices, context, made)
        for run, context, made in zip(loaded.runs, contexts, compiled, strict=True)
    ]
    return Checked(path, tuple(runs), loaded.sources, tuple(deduplicate(found)), loaded.fragment)


def _check_run(loaded: Loaded, run: LoadedRun, found: list[Diagnostic]) -> Context | None:
    """References of every run, then the passes of a run whose shape is right."""
    from gift_dsl.compiler.checks import check_meaning
    from gift_dsl.compiler.context import make_context
    from gift_dsl.compiler.references import unknown_names

    if loaded.fragment:
        return None
    unknown = list(unknown_names(run.tree))
    found += unknown
    if run.spec is None or unknown:
        return None
    context = make_context(run.spec, run.tree, loaded.folder, run.id)
    found += check_meaning(context)
    return context


def _arms(loaded: Loaded, compiled: Sequence[Compiled | None]) -> list[Diagnostic]:
    from gift_dsl.compiler.arms import check, make_arm

    arms = [
        make_arm(run.id, run.choices, made.estimates)
        for run, made in zip(loaded.runs, compiled, strict=True)
        if made is not None
    ]
    return list(check(arms, loaded.sweep or Span(loaded.path, 1, 1, 1, 1)))


def compile_spec(
    path: str, text: str | bytes | None = None, *, sets: Sequence[str] = (), only: Sequence[str] = ()
) -> tuple[Plan, ...]:
    """The plan of each run of a spec.

    Raises:
        SpecError: the spec has errors; it carries all of them.
    """
    return check_spec(path, text, sets=sets, only=only).plans()


def plan_document(checked: Checked) -> dict[str, Any]:
    """The document of `gift plan --json`: the first run's numbers at the top, every run below `runs`."""
    from gift_dsl.spec.render import to_json

    runs = [
        {"id": run.id, "choices": run.choices, **run.compiled.to_json()}
        for run in checked.runs
        if run.compiled is not None
    ]
    warnings = to_json(checked.diagnostics)
    first = {key: value for key, value in runs[0].items() if key not in ("id", "choices")} if runs else {}
    name = checked.runs[0].context.spec.name if checked.runs and checked.runs[0].context is not None else None
    return {"schema": "gift-plan/1", "name": name, **first, "runs": runs if len(runs) > 1 else [], "warnings": warnings}


def plan_against(checked: Checked, against: str) -> dict[str, Any]:
    """What differs between a spec's plan and an earlier one.

    Args:
        checked: a spec of one run.
        against: a plan.json, a run directory, or another spec file.

    Raises:
        UsageError: the spec has several runs, or `against` is none of these.
        SpecError: `against` is a spec with errors.
    """
    from gift_dsl.compiler.differences import compare_plans
    from gift_dsl.plan import to_json

    plans = checked.plans()
    if len(plans) != 1:
        raise UsageError(f"{checked.path} has {len(plans)} runs; choose one with --only")
    old, name = _earlier_plan(against)
    changes = compare_plans(old, to_json(plans[0]))
    return {"schema": "gift-plan-diff/1", "against": name, "changes": [change.to_json() for change in changes]}


def _earlier_plan(against: str) -> tuple[dict[str, Any], str]:
    import json
    from pathlib import Path

    from gift_dsl.plan import to_json

    path = Path(against)
    path = path / "plan.json" if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{against} is neither a plan.json, a run directory nor a spec")
    if path.suffix in (".yaml", ".yml"):
        plans = compile_spec(str(path))
        if len(plans) != 1:
            raise UsageError(f"{against} has {len(plans)} runs; compare with the plan.json of one of them")
        return to_json(plans[0]), str(path)
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or not str(document.get("schema", "")).startswith("gift-plan/"):  # pyright: ignore[reportUnknownMemberType, reportUnknownArgumentType]  # JSON
        raise UsageError(f"{path} is not a plan (its `schema` should be gift-plan/1)")
    return document, str(path)  # pyright: ignore[reportUnknownVariableType]  # JSON

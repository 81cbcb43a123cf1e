"""Fields of which exactly one must be given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gift_dsl.compiler.context import Context, Loc
from gift_dsl.errors import Diagnostic
from gift_dsl.spec.models.fields import Strict
from gift_dsl.spec.models.opponents import LocalOpponent
from gift_dsl.spec.models.stages import GrpoStage, UntilSpec

_CONDITIONS = ("steps", "subgame_episodes", "policy_tokens", "success")


def _exactly_one(context: Context, path: Loc, value: Strict, names: Sequence[str], code: str) -> Iterator[Diagnostic]:
    given = [name for name in names if getattr(value, name) is not None]
    if len(given) == 1:
        return
    listed = ", ".join(f"`{name}`" for name in names)
    where = path if not given else (*path, given[1])
    told = "none of them is given" if not given else "given are " + " and ".join(f"`{name}`" for name in given)
    hint = _dropping(context, path, given) if given else None
    yield context.finding(code, f"exactly one of {listed} must be given; {told}", where, at_key=True, hint=hint)


def _dropping(context: Context, path: Loc, given: Sequence[str]) -> str:
    """How to keep one of several: what another file gives is dropped by a null."""
    spans = {name: context.tree.key_span_of((*path, name)) for name in given}
    later = {name: (span.is_argument, span.file == context.tree.span.file) for name, span in spans.items()}
    latest = max(given, key=lambda name: later[name])
    nulls = ", ".join(f"{name}: null" for name in given if later[name] < later[latest])
    return f"to drop what was inherited write `{nulls}` next to `{latest}`" if nulls else "keep one of them"


def check(context: Context) -> Iterator[Diagnostic]:
    """Where a model, supervised data and the end of a stage come from."""
    spec = context.spec
    yield from _exactly_one(context, ("model",), spec.model, ("source", "from_run"), "model-source")
    if spec.model.tiny is not None and spec.model.source != "tiny":
        yield context.finding(
            "tiny-without-source",
            f"`model.tiny` sizes the built-in model, but `model.source` is `{spec.model.source}`",
            ("model", "tiny"),
            at_key=True,
            hint="write `source: tiny`",
        )
    for name, opponent in spec.opponents.items():
        if isinstance(opponent, LocalOpponent):
            yield from _exactly_one(context, ("opponents", name), opponent, ("source", "from_run"), "model-source")
    for index, stage in enumerate(spec.stages):
        if isinstance(stage, GrpoStage):
            yield from _until(context, ("stages", index, "until"), stage.until)
        else:
            path: Loc = ("stages", index, "data")
            yield from _exactly_one(context, path, stage.data, ("runs", "scripted", "files"), "data-source")


def _until(context: Context, path: Loc, until: UntilSpec) -> Iterator[Diagnostic]:
    findings = list(_exactly_one(context, path, until, _CONDITIONS, "until-condition"))
    yield from findings
    if findings:
        return
    if until.steps is None and until.max_steps is None:
        yield context.finding(
            "until-max-steps",
            "`max_steps` is missing: it sizes the plan and the schedule of a stage that does not end after fixed steps",
            path,
            at_key=True,
            hint="add `max_steps: 1000`",
        )
    if until.steps is not None and until.max_steps is not None:
        yield context.finding(
            "until-condition",
            "`max_steps` says nothing beside `steps`",
            (*path, "max_steps"),
            at_key=True,
            hint="remove it",
        )

"""What evaluation names: games that it plays, checkpoints that there will be, a probe that is taken.

All of it would be found out by the run itself, but only when training is over.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from gift_dsl.compiler.composition import stage_steps
from gift_dsl.compiler.context import Context, Loc
from gift_dsl.compiler.unused import games_of
from gift_dsl.errors import Diagnostic, Note
from gift_dsl.spec.models.stages import GrpoStage, SuccessSpec

_FINAL: Final[Loc] = ("evaluation", "final")
_PROBE: Final[Loc] = ("evaluation", "probe")


def check(context: Context) -> Iterator[Diagnostic]:
    """Games, checkpoints and conditions that evaluation is to serve."""
    evaluation = context.spec.evaluation
    for path, block in ((_PROBE, evaluation.probe), (_FINAL, evaluation.final)):
        names = None if block is None else block.games
        yield from _games(context, (*path, "games"), names or [])
        yield from _doubles(context, (*path, "games"), names or [])
    if evaluation.final is not None:
        yield from _doubles(context, (*_FINAL, "checkpoints"), evaluation.final.checkpoints)
        yield from _checkpoints(context, evaluation.final.checkpoints)
        yield from _opponents(context)
    for index, stage in enumerate(context.spec.stages):
        if isinstance(stage, GrpoStage) and stage.until.success is not None:
            yield from _success(context, index, stage, stage.until.success)


def _games(context: Context, path: Loc, names: Sequence[str]) -> Iterator[Diagnostic]:
    """Compositions where games are played alone; a chain is played with its stage."""
    for index, name in enumerate(names):
        if name not in context.games:
            inside = ", ".join(f"`{game}`" for game in games_of(context, name))
            yield context.finding(
                "not-a-game",
                f"`{name}` is a composition, and these games are played alone",
                (*path, index),
                hint=f"name the games in it ({inside}); the final evaluation plays the last stage's composition by "
                "itself, and `probe.chain: true` has a probe play its stage's",
            )


def _doubles(context: Context, path: Loc, values: Sequence[str | int]) -> Iterator[Diagnostic]:
    for index, value in enumerate(values):
        first = values.index(value)
        if first != index:
            note = Note("the first one is here", context.span((*path, first)))
            message = f"`{value}` is listed twice"
            yield context.finding("listed-twice", message, (*path, index), hint="remove one", notes=[note])


def _checkpoints(context: Context, wanted: Sequence[str | int]) -> Iterator[Diagnostic]:
    """Checkpoints of the last stage, to which all numbers and `best` refer."""
    last = context.spec.stages[-1]
    steps = stage_steps(last)
    for index, checkpoint in enumerate(wanted):
        path: Loc = (*_FINAL, "checkpoints", index)
        if isinstance(checkpoint, int) and 0 < steps < checkpoint:
            yield context.finding(
                "checkpoint-missing",
                f"there will be no checkpoint after step {checkpoint}: the last stage, `{last.name}`, has {steps} "
                f"step{'s' * (steps != 1)}",
                path,
                hint=f"name a step up to {steps}, or `final`",
            )
        reason = _never_probed(context, len(context.spec.stages) - 1)
        if checkpoint == "best" and reason is not None:
            yield context.finding(
                "checkpoint-missing",
                f"nothing says which checkpoint is the best: the last stage, `{last.name}`, is never probed, because "
                f"{reason}",
                path,
                hint="add `evaluation: {probe: {every: 20}}` with an `every` that the stage reaches, or name `final`",
            )


def _never_probed(context: Context, index: int) -> str | None:
    """Why no probe is taken in a stage; None where one is."""
    stage, probe = context.spec.stages[index], context.spec.evaluation.probe
    if not isinstance(stage, GrpoStage):
        return f"a stage of type `{stage.type}` has none"
    if probe is None:
        return "`evaluation.probe` is not given"
    steps = stage_steps(stage)
    late = 0 < steps < probe.every
    return f"a probe comes every {probe.every} steps and the stage has {steps}" if late else None


def _success(context: Context, index: int, stage: GrpoStage, success: SuccessSpec) -> Iterator[Diagnostic]:
    """A success rate is that of a game which the probes of its stage play."""
    path, name, probe = ("stages", index, "until", "success"), success.game, context.spec.evaluation.probe
    played = games_of(context, stage.play)
    if name not in context.games:
        inside = ", ".join(f"`{game}`" for game in games_of(context, name))
        message = f"`{name}` is a composition, and success is that of a game"
        yield context.finding("not-a-game", message, (*path, "game"), hint=f"name one of {inside}")
    elif (reason := _never_probed(context, index)) is not None:
        yield context.finding(
            "until-needs-probe",
            f"`success` is measured by the dev probe, and there is none in stage `{stage.name}`: {reason}",
            path,
            at_key=True,
            hint="add `evaluation: {probe: {every: 20}}`, with an `every` of at most `max_steps`",
        )
    elif name not in (played if probe is None or probe.games is None else probe.games):
        what = "`evaluation.probe.games` does not name it" if probe is not None and probe.games else "it is not played"
        known = ", ".join(f"`{game}`" for game in (probe.games if probe is not None and probe.games else played))
        yield context.finding(
            "until-needs-probe",
            f"`success` waits for `{name}`, which no probe of stage `{stage.name}` plays: {what}",
            (*path, "game"),
            hint=f"name a game that is probed ({known}), or add it to `evaluation.probe.games`",
        )


def _opponents(context: Context) -> Iterator[Diagnostic]:
    """Opponents for a game that the final evaluation leaves out."""
    final = context.spec.evaluation.final
    assert final is not None
    for name in final.opponents or {} if final.games is not None else {}:
        if name in context.games and name not in (final.games or []):
            yield context.finding(
                "no-effect",
                f"nobody meets this opponent: `evaluation.final.games` does not name `{name}`",
                (*_FINAL, "opponents", name),
                severity="warning",
                at_key=True,
                hint=f"remove it, or add `{name}` to `games`",
            )

"""The benchmarks of a run, after its final test: for the same checkpoints, and for the subjects that the spec names.

eval/benchmarks.json          `gift-final-benchmarks/1`: by checkpoint, then by subject
eval/benchmarks/CHECKPOINT/   results, samples and answers; what was answered is not asked again after a stop
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from gift_dsl.artifacts.files import json_text, safe_name, write_whole
from gift_dsl.evaluate.benchmarks import BenchmarksRequest, evaluate_benchmarks
from gift_dsl.evaluate.harness import Share
from gift_dsl.plan import Plan
from gift_dsl.run.evaluate import LineProgress, benchmarks_request, find_judges
from gift_dsl.run.progress import StageProgress
from gift_dsl.run.request import BENCHMARKS
from gift_dsl.run.stage import Session
from gift_dsl.run.subjects import Examinee, model_examinee, opponent_of_plan
from gift_dsl.run.tested import SCHEMAS

LoadCheckpoint = Callable[[int | str], tuple[str, Any]]
"""Where the weights of a checkpoint are, and their engine."""


def run_benchmarks(session: Session, load: LoadCheckpoint) -> None:
    """Ask the benchmarks of the plan and write `eval/benchmarks.json`; nothing where there are none.

    Args:
        session: of this process; all processes of the run share the work.
        load: of checkpoints.

    Raises:
        MachineError: a checkpoint was not kept, or rows are missing.
        LimitReached: of dollars or calls; what was answered is kept.
    """
    plan, run = session.plan, session.run
    if not plan.evaluation.benchmarks:
        return
    progress = StageProgress("benchmarks", 0, 0, shown=session.is_main)
    found: dict[str, dict[str, Any]] = {"checkpoints": {}, "subjects": {}}
    for checkpoint in tested_checkpoints(plan):
        progress.note(f"benchmarks: checkpoint {checkpoint}")
        source, engine = load(checkpoint)
        examinee = model_examinee(str(checkpoint), source, plan, engine)
        found["checkpoints"][str(checkpoint)] = _ask(session, examinee, progress)
    sampling = (plan.evaluation.temperature, plan.evaluation.max_tokens)
    for name in plan.evaluation.subjects:
        progress.note(f"benchmarks: subject {name}")
        found["subjects"][name] = _ask(session, opponent_of_plan(plan, name, sampling), progress)
    progress.close()
    if session.is_main:
        run.evaluation.mkdir(exist_ok=True)
        write_whole(run.evaluation / f"{BENCHMARKS}.json", json_text({"schema": SCHEMAS[BENCHMARKS], **found}))


def tested_checkpoints(plan: Plan) -> tuple[int | str, ...]:
    """Those of the final test; the finished model where there is none."""
    return ("final",) if plan.evaluation.final is None else plan.evaluation.final.checkpoints


def _ask(session: Session, examinee: Examinee, progress: StageProgress) -> dict[str, Any]:
    plan, team, services = session.plan, session.team, session.services(recorded=False)
    names = tuple(dict.fromkeys(str(one["judge"]) for one in plan.evaluation.benchmarks if one.get("judge")))
    request: BenchmarksRequest = benchmarks_request(
        plan,
        examinee,
        judges=find_judges(plan, names, services),
        output=session.run.evaluation / BENCHMARKS / safe_name(examinee.name),
        share=Share(team.rank, team.size, team.gather),
    )

    async def ask() -> dict[str, Any]:
        async with services.network:
            subject = examinee.asked(services)
            found = await evaluate_benchmarks(subject, request, LineProgress(progress.note, plain=True))
        return found.to_json()

    return asyncio.run(ask())

# pyright: basic
"""The final evaluation: the only reader of test, once, for the checkpoints that the spec names."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.checkpoints import Checkpoint, check, number_of
from gift_dsl.artifacts.files import json_text, write_whole
from gift_dsl.engines.load import load_policy
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.errors import MachineError
from gift_dsl.play.seats import ModelPlayer, model_player
from gift_dsl.run.examine import Examiner, final_test, rounds_of
from gift_dsl.run.models import BEST, find_start, is_adapter, stage_model
from gift_dsl.run.progress import StageProgress
from gift_dsl.run.request import FINAL
from gift_dsl.run.stage import Session, local_player
from gift_dsl.run.subjects import thinking_of


def run_final(session: Session) -> None:
    """Play the final test and ask the benchmarks, as far as their files are not there yet.

    Raises:
        MachineError: a checkpoint that is to be tested was not kept, or rows of a benchmark are missing.
    """
    if not (session.run.evaluation / f"{FINAL}.json").is_file():
        _play(session)
    if session.plan.evaluation.benchmarks:
        from gift_dsl.run.final_benchmarks import run_benchmarks

        run_benchmarks(session, lambda checkpoint: _loaded(session, checkpoint))


def _loaded(session: Session, checkpoint: int | str) -> tuple[str, TransformersEngine]:
    folder = Path(_folder(session, checkpoint))
    return str(folder), _load(session, folder)


def _play(session: Session) -> None:
    plan, run = session.plan, session.run
    final, request = plan.evaluation.final, final_test(plan)
    if final is None or request is None:
        return
    stage = plan.stages[-1]
    progress = StageProgress("final", 0, 0, shown=session.is_main)
    found: dict[str, Any] = {}

    @cache
    def local(name: str) -> ModelPlayer:
        return local_player(plan, next(one for one in plan.opponents if one.name == name), session.state.device)

    @cache
    def start() -> ModelPlayer:
        """What snapshots stand for: the model that the last stage began with, as in its probes."""
        return model_player("start", _load(session, Path(find_start(run, plan, len(plan.stages) - 1))))

    for checkpoint in final.checkpoints:
        progress.note(f"final: {request.rounds} rounds of each game on {request.split}, checkpoint {checkpoint}")
        policy = model_player("policy", _load(session, Path(_folder(session, checkpoint))))
        examiner = Examiner(
            plan,
            policy,
            session.services(),
            lambda opponent: local(opponent.name),
            start,
        )
        result = examiner.measure(stage, request, session.team)
        found[str(checkpoint)] = {**result.to_json(), "plays": rounds_of(result)}
    progress.close()
    if session.is_main:
        run.evaluation.mkdir(exist_ok=True)
        write_whole(run.evaluation / f"{FINAL}.json", json_text({"schema": "gift-final/1", "checkpoints": found}))


def _load(session: Session, folder: Path) -> TransformersEngine:
    """The engine of a checkpoint; adapters are merged into what their stage began with."""
    plan, device = session.plan, session.state.device
    thinking = thinking_of(plan) != "off"
    if not is_adapter(folder):
        return load_policy(plan.model, str(folder), device=device, thinking=thinking)
    from peft import PeftModel

    engine = load_policy(
        plan.model, find_start(session.run, plan, len(plan.stages) - 1), device=device, thinking=thinking
    )
    return engine.sibling(PeftModel.from_pretrained(engine.model, str(folder)).merge_and_unload())


def _folder(session: Session, checkpoint: int | str) -> Path | str:
    """Where the weights of a checkpoint of the last stage are."""
    plan, run = session.plan, session.run
    last = plan.stages[-1]
    if checkpoint == "final":
        return stage_model(run, last.name)
    if checkpoint == "start":
        return find_start(run, plan, 0)
    if checkpoint == BEST:
        if not stage_model(run, BEST).is_dir():
            raise MachineError(f"no best checkpoint was kept: stage `{last.name}` was never probed")
        return stage_model(run, BEST)
    for folder in sorted((run.checkpoints / last.name).glob("checkpoint-*"), key=number_of):
        sealed = check(folder, verify=False)
        if isinstance(sealed, Checkpoint) and sealed.state.get("step") == checkpoint:
            return folder
    raise MachineError(f"step {checkpoint} of stage `{last.name}` was not kept, so it cannot be tested")

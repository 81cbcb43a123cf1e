# pyright: basic
"""The final evaluation: the only reader of test, once, for the checkpoints and subjects that the spec names.

eval/final.json       `gift-final/1`: by checkpoint, then by subject
eval/final/NAME.json  each as soon as it is finished; it is not played again after a stop
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gift_dsl.artifacts.checkpoints import Checkpoint, check, number_of
from gift_dsl.artifacts.files import json_text, write_whole
from gift_dsl.artifacts.origins import BEST
from gift_dsl.data import fingerprint_model
from gift_dsl.engines.load import load_policy
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.errors import MachineError
from gift_dsl.evaluate.games import GamesRequest
from gift_dsl.evaluate.kept import KeptResults, Task
from gift_dsl.plan import OpponentPlan, digest, plan_hash
from gift_dsl.play.seats import ModelPlayer, model_player
from gift_dsl.run.examine import Examiner, final_test, rounds_of
from gift_dsl.run.models import find_start, is_adapter, model_here, stage_model
from gift_dsl.run.progress import StageProgress
from gift_dsl.run.request import FINAL
from gift_dsl.run.stage import Session, local_player
from gift_dsl.run.subjects import Examinee, opponent_of_plan, thinking_of
from gift_dsl.run.tested import SCHEMAS


def run_final(session: Session) -> None:
    """Play the final test and ask the benchmarks, as far as their results are not there yet.

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
    final, request = session.plan.evaluation.final, final_test(session.plan)
    if final is None or request is None:
        return
    test, sampling = _Test(session, request), (final.temperature, final.max_tokens)
    document = {
        "schema": SCHEMAS[FINAL],
        "checkpoints": {
            str(name): test.play(("checkpoint", str(name)), partial(_checkpoint, session, name))
            for name in final.checkpoints
        },
        "subjects": {
            name: test.play(("subject", name), partial(opponent_of_plan, session.plan, name, sampling))
            for name in session.plan.evaluation.subjects
        },
    }
    test.progress.close()
    if session.is_main:
        write_whole(session.run.evaluation / f"{FINAL}.json", json_text(document))


class _Test:
    """The final test of one after the other."""

    def __init__(self, session: Session, request: GamesRequest) -> None:
        self.session, self.request = session, request
        self.progress = StageProgress("final", 0, 0, shown=session.is_main)
        self.kept = KeptResults(session.run.evaluation / FINAL, partial(_digest, session))
        self.local: dict[str, ModelPlayer] = {}
        self.first: ModelPlayer | None = None

    def play(self, task: Task, find: Callable[[], Examinee]) -> dict[str, Any]:
        """What a checkpoint or a subject can do; taken from the disk where it is kept."""
        asked = self.request
        self.progress.note(f"final: {asked.rounds} rounds of each game on {asked.split}, {' '.join(task)}")
        # as rank 0 finds it: another process may look after it was written, and would not play with the others
        found = self.session.team.gather(self.kept.find(task))[0]
        if found is None:
            found = self._measure(find())
            if self.session.is_main:
                self.kept.keep(task, found)
        return found

    def _measure(self, examinee: Examinee) -> dict[str, Any]:
        plan, services = self.session.plan, self.session.services(recorded=False)
        examiner = Examiner(plan, examinee.seat(services), services, self._load, self._start)
        result = examiner.measure(plan.stages[-1], self.request, self.session.team)
        return {**result.to_json(), "plays": rounds_of(result)}

    def _load(self, opponent: OpponentPlan) -> ModelPlayer:
        """An opponent that is a model; loaded once for all."""
        if opponent.name not in self.local:
            self.local[opponent.name] = local_player(self.session.plan, opponent, self.session.state.device)
        return self.local[opponent.name]

    def _start(self) -> ModelPlayer:
        """What snapshots stand for: the model that the last stage began with, as in its probes."""
        if self.first is None:
            plan = self.session.plan
            source = find_start(self.session.run, plan, len(plan.stages) - 1)
            self.first = model_player("start", _load(self.session, Path(source)))
        return self.first


def _checkpoint(session: Session, name: int | str) -> Examinee:
    source, engine = _loaded(session, name)
    policy = model_player("policy", engine)
    return Examinee(str(name), "model", source, source, thinking_of(session.plan), lambda _: policy, lambda _: engine)


def _digest(session: Session, task: Task) -> str:
    """Of all that the result of a checkpoint or subject depends on."""
    kind, name = task
    weights = None
    if kind == "checkpoint":
        source = str(_folder(session, int(name) if name.isdecimal() else name))
        weights = fingerprint_model(source, None, Path()).sha256 if Path(source).is_dir() else source
    return digest("gift-final-part/1", {"task": list(task), "plan": plan_hash(session.plan), "weights": weights})


def _load(session: Session, folder: Path) -> TransformersEngine:
    """The engine of a checkpoint; adapters are merged into what their stage began with."""
    plan, device = session.plan, session.state.device
    thinking = thinking_of(plan) != "off"
    if not is_adapter(folder):
        return load_policy(model_here(plan), str(folder), device=device, thinking=thinking)
    from peft import PeftModel

    engine = load_policy(
        model_here(plan), find_start(session.run, plan, len(plan.stages) - 1), device=device, thinking=thinking
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

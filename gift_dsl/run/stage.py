# pyright: basic
"""One stage in one process: load the model, measure it, train it, measure it again, hand it on.

Everything that is written is written by rank 0, into the run directory that the process which started this one holds.
"""

from __future__ import annotations

import gc
import logging
import os
import statistics
import time
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from gift_dsl.artifacts.checkpoints import latest, number_of, prune, seal
from gift_dsl.artifacts.directory import RunDirectory
from gift_dsl.artifacts.lines import Lines, read_lines
from gift_dsl.artifacts.origins import BEST
from gift_dsl.artifacts.status import Status
from gift_dsl.artifacts.trajectories import write_shard
from gift_dsl.engines.frozen import frozen_engine
from gift_dsl.engines.load import adapt, adapted, load_model, load_policy, load_tokenizer
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.engines.vllm import VllmEngine, VllmSettings
from gift_dsl.plan import JsonMap, OpponentPlan, Plan, StagePlan, leaves
from gift_dsl.play.seats import ModelPlayer, model_player
from gift_dsl.players.keys import resolve_key
from gift_dsl.players.make import Services, host_limits
from gift_dsl.players.network import Network
from gift_dsl.players.recorder import RecordStore
from gift_dsl.records import Group, StepRecord
from gift_dsl.run.answers import open_answers
from gift_dsl.run.examine import Examiner, due_probe, forget_gaps, has_gaps, read_result, stage_request, write_result
from gift_dsl.run.models import (
    find_start,
    hand_on,
    make_start,
    model_here,
    opponent_folder,
    opponent_model,
    stage_model,
)
from gift_dsl.run.progress import StageProgress
from gift_dsl.run.request import Stop
from gift_dsl.run.seating import bind, rows_of, seated_names, table_games
from gift_dsl.run.spent import Ledger, read_spent
from gift_dsl.run.trackers import Trackers
from gift_dsl.settings import load_key_bindings
from gift_dsl.train.alarms import find_alarms
from gift_dsl.train.job import Hooks, StageJob, kept_steps
from gift_dsl.train.sharding import Spread, needs_copy, sharding_of
from gift_dsl.train.team import Team

_LOG: Final = logging.getLogger(__name__)
_PATIENCE: Final = timedelta(hours=6)
"""For which processes wait for each other."""


@dataclass(slots=True)
class Session:
    """A process of a stage, and what it knows of the run so far.

    Attributes:
        run, plan: the run.
        state: of accelerate: rank, device, number of processes.
        stop: filled by signals.
        ledger: the budget of HTTP players, earlier sessions counted, and its books.
        answers: of HTTP players, earlier sessions included; None where there are none.
        wall_s: of the run until this process began, all sessions together.
        policy_tokens: of earlier stages and sessions.
        started: when this process began, on the monotonic clock.
    """

    run: RunDirectory
    plan: Plan
    state: Any
    stop: Stop
    ledger: Ledger
    answers: RecordStore | None = None
    wall_s: float = 0.0
    policy_tokens: float = 0.0
    started: float = field(default_factory=time.monotonic)

    @property
    def team(self) -> Team:
        """The processes."""
        return Team(self.state.process_index, self.state.num_processes, lambda value: gather_object([value]))

    @property
    def is_main(self) -> bool:
        """Whether this process writes."""
        return bool(self.state.is_main_process)

    @property
    def elapsed_s(self) -> float:
        """Of the whole run, earlier stages and sessions, loading and measuring included."""
        return self.wall_s + time.monotonic() - self.started

    @contextmanager
    def leaving(self) -> Generator[None]:
        """A block in which nothing would be lost: a signal ends it at once, where it reaches all processes.

        Raises:
            Leave: a signal came.
        """
        together = self.state.num_processes == 1 or "GIFT_PARENT_PIPE" in os.environ
        with self.stop.leaving() if together else nullcontext():
            yield

    def note_spent(self) -> None:
        """Write down what this process asked of opponents."""
        self.ledger.write()

    def ask_again(self) -> None:
        """Keep no failure of a server: what went wrong because of it is tried anew by the next session."""
        if self.answers is None:
            return
        self.answers.forget_faults()
        if self.is_main:
            stages = [stage.name for stage in self.plan.stages if not is_done(self.run, stage.name)]
            forget_gaps(self.run.evaluation, stages)

    def close(self) -> None:
        """At the end of what this process does."""
        self.note_spent()
        if self.answers is not None:
            self.answers.close()

    def services(self, *, recorded: bool = True) -> Services:
        """Connections of their own for one event loop; the budget is shared.

        Args:
            recorded: what servers answer is kept; results of the final evaluation are kept themselves.
        """
        runtime = self.plan.runtime
        limits = host_limits((url, runtime.concurrency[name]) for name, url in runtime.base_urls.items())
        bindings = load_key_bindings()
        return Services(
            Network(limits),
            budget=self.ledger.budget,
            base_urls=runtime.base_urls,
            find_key=lambda env, url: resolve_key(env, url, bindings),
            store=self.answers if recorded else None,
        )


def join_ranks() -> PartialState:
    """This process's place among those of the run; the others may wait for slow opponents."""
    return PartialState(cpu=not torch.cuda.is_available(), timeout=_PATIENCE)


def open_session(run: RunDirectory, stop: Stop, began: float | None = None) -> Session:
    """This process's place among those of the run, and what was used before it started.

    Args:
        run: its directory.
        stop: filled by signals.
        began: when this process took up its work, on the monotonic clock; None: now.
    """
    plan, wall_s = run.plan, run.status.wall_s
    began = time.monotonic() if began is None else began
    state = join_ranks()
    # Of the first session: other numbers round differently. After accelerate, which may set a number of its own.
    torch.set_num_threads(int(run.lock["threads"]))
    tokens = sum(record.get("policy_tokens") or 0.0 for record in read_lines(run.metrics))
    ledger = Ledger(run, plan.runtime.limits, state.process_index, state.num_processes)
    answers = open_answers(run, plan, state.process_index)
    return Session(run, plan, state, stop, ledger, answers, wall_s=wall_s, policy_tokens=tokens, started=began)


def run_stage(session: Session, index: int) -> str | None:
    """Train a stage, from its last checkpoint if there is one.

    Args:
        session: of this process.
        index: of the stage in the plan, counted from 0.

    Returns:
        Why it was stopped before its end; None when it is done and its model is handed on.

    Raises:
        MachineError: a file, dataset, model, key or endpoint is missing.
        GiftError: training failed; says why.
    """
    with session.leaving():
        stage = _Stage(session, index)
    return stage.run()


class _Stage:
    def __init__(self, session: Session, index: int) -> None:
        self.session, self.index = session, index
        self.run_directory, self.plan = session.run, session.plan
        self.stage: StagePlan = session.plan.stages[index]
        self.folder = self.run_directory.checkpoints / self.stage.name
        self.probes: list[tuple[int, float]] = []
        self.best = -1.0
        self.reason: str | None = None
        if session.is_main:
            make_start(self.run_directory, self.plan, {game.name: self._rows(game) for game in self.plan.games})
        session.state.wait_for_everyone()
        source = find_start(self.run_directory, self.plan, index)
        self.engine = self._engine(source)
        self.spread = None if sharding_of(self.plan) == "none" else self._spread(source)
        self.tokenizer = load_tokenizer(model_here(self.plan), source)
        self.policy = self.live = model_player("policy", self.engine)
        vllm = VllmSettings.of(self.plan, self.stage, session.state.num_processes)
        self.rollout = None if vllm is None else VllmEngine(vllm, self.engine.codec)
        if self.rollout is not None:
            self.live = model_player("policy", self.rollout)
        self._start: ModelPlayer | None = None
        is_measured = stage_request(self.plan, self.stage) is not None
        if is_measured and any(opponent.type == "snapshot" for opponent in self.plan.opponents):
            self._start = model_player("start", frozen_engine(self.engine))
        self._local: dict[str, ModelPlayer] = {}

    def _engine(self, source: str) -> TransformersEngine:
        """The engine of the model that is trained; or of a whole copy of it, which plays and is not trained."""
        model = model_here(self.plan)
        if needs_copy(self.plan) and model.compute == "bf16":
            model = replace(model, weights="bf16")
        thinking = any(leaf.rollout.thinking != "off" for leaf in leaves(self.stage.play))
        engine = load_policy(model, source, device=self.session.state.device, thinking=thinking)
        return engine if model.lora is None else adapted(engine, model.lora, self.plan.seed, self._revision)

    @property
    def _revision(self) -> str | None:
        """Of the model on the hub that the stage starts from."""
        return None if self.index else self.plan.model.revision

    def _spread(self, source: str) -> Spread:
        """What processes share. Where none has all of it, it is loaded on the CPU: each device takes its part."""
        trained = self.engine.model
        if needs_copy(self.plan):
            trained = load_model(self.plan.model, source)
            if self.plan.model.lora is not None:
                trained = adapt(trained, self.plan.model.lora, self.plan.seed, self._revision)
        return Spread(trained, self.engine, is_first=self.session.is_main)

    def _hand_on(self, name: str) -> None:
        """Save the trained model as it is now; called by all processes together."""
        model = self.engine.model if self.spread is None else self.spread.whole_model()
        if self.session.is_main:
            hand_on(self.run_directory, name, model, self.tokenizer)

    def _rows(self, game: Any) -> Any:
        return rows_of(game, "train", Path(self.plan.runtime.folder))

    def run(self) -> str | None:
        found = latest(self.folder)
        done = 0 if found is None else int(found.state["step"])
        self.progress = StageProgress(self.stage.name, self._total(), done, shown=self.session.is_main)
        try:
            with self.session.leaving():
                self._examine("before")
                self._restore_probes(done)
            self.reason = self._agreed(self._should_stop())  # a limit that was reached already, or a signal
            if self.reason is None:
                self._train(None if found is None else found.path)
                self.reason = self._agreed(self.reason)
            if self.reason is not None:
                return self.reason
            with self.session.leaving():
                self._examine("after")
        finally:
            self.progress.close()
        self._hand_on(self.stage.name)
        self.session.state.wait_for_everyone()
        return None

    def _total(self) -> int:
        return self.stage.until.max_steps

    def _agreed(self, reason: str | None) -> str | None:
        return next((one for one in self.session.team.gather(reason) if one is not None), None)

    # ── training ──

    def _train(self, resume_from: Path | None) -> None:
        names = tuple(dict.fromkeys(leaf.game for leaf in leaves(self.stage.play)))
        services = self.session.services()
        seated = seated_names(self.plan, names)
        job = StageJob(
            plan=self.plan,
            stage=self.stage,
            index=self.index,
            engine=self.engine,
            tokenizer=self.tokenizer,
            rollout=self.rollout,
            spread=self.spread,
            folder=self.folder,
            rank=self.session.state.process_index,
            processes=self.session.state.num_processes,
            resume_from=resume_from,
            carry_from=self._carry_from(),
            hooks=Hooks(
                on_course=self.progress.begin,
                on_groups=self._on_groups,
                on_step=self._on_step,
                should_stop=self._should_stop,
                on_checkpoint=self._on_checkpoint,
                probe=self._probe,
                on_resume=self._make_up_probe,
                is_done=self._is_good_enough,
            ),
            games=table_games(self.plan, names, "train"),
            players=bind(seated, self.plan, services, self.live, self._load_local),
            snapshots=tuple(
                item.name for item in self.plan.opponents if item.type == "snapshot" and item.name in seated
            ),
            lockstep=self._is_in_lockstep(seated),
            closing=(services.network.aclose,),
        )
        self.history = [one for one in read_lines(self.run_directory.metrics) if one.get("stage") == self.stage.name]
        self.alarmed = set(self.history[-1].get("alarms", ())) if self.history else set[str]()
        self.lines = sum(1 for _ in read_lines(self.run_directory.metrics))
        self.trackers = Trackers(self.run_directory, self.plan) if self.session.is_main else None
        try:
            with (
                Lines(self.run_directory.metrics) as self.metrics,
                ThreadPoolExecutor(1, "gift-record") as self.recorder,
                _garbage_of_its_own(),
            ):
                self.progress.begin(self._total())
                _trainer_of(self.stage)(job)
        finally:
            if self.trackers is not None:
                self.trackers.close()

    def _is_in_lockstep(self, seated: Sequence[str]) -> bool:
        """Whether batches must not depend on how fast servers answer.

        A resume is bit by bit the same run in float32 with our own engine; other runs need not wait for that.
        """
        servers = self.plan.runtime.base_urls
        return self.rollout is None and self.plan.model.compute == "fp32" and any(name in servers for name in seated)

    def _carry_from(self) -> Path | None:
        """Where the optimizer of the stage before ended, for a stage that goes on with it."""
        if self.stage.optimizer != "carry" or not self.index:
            return None
        found = latest(self.run_directory.checkpoints / self.plan.stages[self.index - 1].name)
        return None if found is None else found.path

    def _on_groups(self, step: int, groups: Sequence[Group]) -> Future[Path] | None:
        """Write the shard beside the updates, which leave a processor idle: on a GPU, or with one thread."""
        output = self.plan.runtime.output
        if not self.session.is_main or output["trajectories"] == "none":
            return None
        kept = groups if output["trajectories"] == "all" else groups[: output["trajectory_sample"]]
        if not kept:
            return None
        return self.recorder.submit(write_shard, self.run_directory, self.index, self.stage.name, step, kept)

    def _on_step(self, record: StepRecord) -> None:
        self.session.note_spent()
        self.session.policy_tokens += record.metrics.get("policy_tokens", 0.0)
        line = {
            "stage_index": self.index,
            "stage": record.stage,
            "step": record.step,
            "wall_s": round(self.session.elapsed_s, 3),
            **record.metrics,
            "usage": read_spent(self.run_directory),
        }
        alarms = find_alarms(line, self.history, self.stage)
        self.metrics.append({**line, "alarms": {alarm.name: alarm.message for alarm in alarms}} if alarms else line)
        self.history.append(line)
        if self.trackers is not None:
            self.trackers.log(line, self.lines)
        self.lines += 1
        self.progress.step(record)
        for alarm in alarms:
            if alarm.name not in self.alarmed:
                self.progress.note(f"alarm {alarm.name}: {alarm.message}")
        self.alarmed = {alarm.name for alarm in alarms}
        self.run_directory.set_status(Status("running", record.stage, record.step, wall_s=line["wall_s"]))

    def _should_stop(self) -> str | None:
        self.session.note_spent()
        limits = self.plan.runtime.limits
        hours, tokens = limits.get("wall_hours"), limits.get("policy_tokens")
        if self.session.stop:
            self.reason = self.session.stop[0]
        elif hours is not None and self.session.elapsed_s >= hours * 3600:
            self.reason = f"`limits.wall_hours: {hours:g}` is reached"
        elif tokens is not None and self.session.policy_tokens >= tokens:
            self.reason = f"`limits.policy_tokens: {tokens}` is reached"
        return self.reason

    def _on_checkpoint(self, folder: Path, state: JsonMap) -> None:
        self.metrics.sync()  # a checkpoint must not survive a crash of the machine that its steps do not
        seal(folder, state)
        updates = number_of(folder) // int(state["step"])  # of a step: folders count updates
        pinned = {step * updates for step in kept_steps(self.plan, self.stage)}
        prune(self.folder, int(self.plan.runtime.output["keep_checkpoints"]), pinned)

    # ── measuring ──

    def _examiner(self) -> Examiner:
        def start() -> ModelPlayer:
            assert self._start is not None
            return self._start

        # an engine of its own has weights from the trainer, so not before there is one
        policy = self.policy if self.rollout is None or not self.rollout.is_open else self.live
        if self.spread is not None and policy is self.policy:
            self.spread.give()
        return Examiner(self.plan, policy, self.session.services(), self._load_local, start)

    def _examine(self, when: str) -> None:
        """Before or after the stage; what the stage before found with the same weights is not played again."""
        request = stage_request(self.plan, self.stage)
        path = self.run_directory.evaluation / f"{self.stage.name}-{when}.json"
        # as rank 0 found it: another process may look after rank 0 has written, and would not measure with it
        if request is None or self.session.team.gather(path.is_file())[0]:
            return
        if when == "before" and self.index and self._copy_before(request, path):
            return
        self.progress.note(f"{self.stage.name}: {when} the stage, {request.rounds} rounds of each game on dev")
        result = self._examiner().measure(self.stage, request, self.session.team)
        if self.session.is_main:
            write_result(path, result, {"stage": self.stage.name, "when": when})
        self.session.state.wait_for_everyone()

    def _copy_before(self, request: Any, path: Path) -> bool:
        """Where the stage before played the same games under the same prompts, its `after` is this `before`.

        One with gaps is not: a server that failed then may answer now.
        """
        former = self.plan.stages[self.index - 1]
        found = read_result(self.run_directory.evaluation / f"{former.name}-after.json")
        if found is None or (former.play, former.system_prompt) != (self.stage.play, self.stage.system_prompt):
            return False
        if set(found["games"]) != set(request.games) or has_gaps(found):
            return False
        if self.session.is_main:
            from gift_dsl.artifacts.files import json_text, write_whole

            chains = {self.stage.name: found["chains"][former.name]} if former.name in found["chains"] else {}
            plays = [{**one, "chain": one["chain"] and self.stage.name} for one in found["plays"]]
            document = {**found, "stage": self.stage.name, "when": "before", "chains": chains, "plays": plays}
            write_whole(path, json_text(document))
        self.session.state.wait_for_everyone()
        return True

    def _probe(self, done: int) -> None:
        request = due_probe(self.plan, self.stage, done)
        if request is None:
            return
        result = self._examiner().measure(self.stage, request, self.session.team)
        rates = {score.game: score.total.rate for score in result.games if score.total.rate is not None}
        if self._note_probe(done, rates):
            self._hand_on(BEST)
        if self.session.is_main:
            path = self.run_directory.probe(self.stage.name, done)
            write_result(path, result, {"stage": self.stage.name, "when": "probe", "step": done})
            said = "  ".join(f"{game} {rate:.3f}" for game, rate in rates.items())
            self.progress.note(f"{self.stage.name}: probe after step {done}  {said}")

    def _make_up_probe(self, done: int) -> None:
        """The probe of a checkpoint, where the session that saved it had to stop before or in it."""
        here = due_probe(self.plan, self.stage, done) is not None
        if here and not self.session.team.gather(self.run_directory.probe(self.stage.name, done).is_file())[0]:
            self._probe(done)

    def _note_probe(self, done: int, rates: dict[str, float]) -> bool:
        """Remember a probe; whether this model is the best so far and is to be kept as such."""
        until, final = self.stage.until, self.plan.evaluation.final
        if until.success_game is not None and until.success_game in rates:
            self.probes.append((done, rates[until.success_game]))
        mean = statistics.fmean(rates.values()) if rates else -1.0
        is_best, self.best = mean > self.best, max(mean, self.best)
        is_last = self.index == len(self.plan.stages) - 1
        return is_best and is_last and final is not None and BEST in final.checkpoints

    def _restore_probes(self, done: int) -> None:
        """Earlier probes of the stage, so that a resumed run ends where the unbroken one would."""
        for step, path in self.run_directory.probes(self.stage.name).items():
            found = read_result(path)
            if found is None or step > done:
                continue
            rates = {game: score["rate"] for game, score in found["games"].items() if score["rate"] is not None}
            self._note_probe(step, rates)

    def _is_good_enough(self) -> bool:
        until = self.stage.until
        if until.success_at_least is None or until.success_patience is None:
            return False
        last = [rate for _, rate in self.probes[-until.success_patience :]]
        return len(last) == until.success_patience and min(last) >= until.success_at_least

    # ── models ──

    def _load_local(self, opponent: OpponentPlan) -> ModelPlayer:
        """The engine of a frozen opponent, loaded once for training and probes."""
        if opponent.name not in self._local:
            self._local[opponent.name] = local_player(self.plan, opponent, self.session.state.device)
        return self._local[opponent.name]


def local_player(plan: Plan, opponent: OpponentPlan, device: Any) -> ModelPlayer:
    """A `local` opponent in a seat, with its own sampling.

    Raises:
        MachineError: its model is not there.
    """
    params, engine = opponent.params, load_opponent(plan, opponent, device)
    return model_player(opponent.name, engine, temperature=params["temperature"], max_tokens=params["max_tokens"])


def load_opponent(plan: Plan, opponent: OpponentPlan, device: Any) -> TransformersEngine:
    """The engine of a `local` opponent.

    Raises:
        MachineError: its model is not there.
    """
    from gift_dsl.engines.load import find_source

    model, folder = opponent_model(plan, opponent), opponent_folder(plan, opponent)
    source = find_source(model, Path(plan.runtime.folder)) if folder is None else str(folder)
    engine = load_policy(model, source, device=device)
    engine.model.requires_grad_(False)
    return engine


@contextmanager
def _garbage_of_its_own() -> Generator[None]:
    """Spare the collector what was there before: to go through all of it takes 0.25 s, and comes every few steps."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def is_done(run: RunDirectory, stage: str) -> bool:
    """Whether a stage has handed on its model."""
    return stage_model(run, stage).is_dir()


def _trainer_of(stage: StagePlan) -> Callable[[StageJob], None]:
    """Imported here: each trainer takes a while."""
    if stage.type == "grpo":
        from gift_dsl.train.grpo import train_grpo

        return train_grpo
    if stage.type == "sft":
        from gift_dsl.train.sft import train_sft

        return train_sft
    from gift_dsl.train.glow import train_glow

    return train_glow

"""Everybody but the policy as of a step: pools with what they remember, and earlier versions of the policy.

A snapshot is taken between two steps and plays whole groups, so it never changes inside an episode.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gift_dsl.engines.frozen import frozen_engine
from gift_dsl.engines.transformers import TransformersEngine
from gift_dsl.plan import Plan
from gift_dsl.play.seats import Choice, ModelPlayer, Seat, model_player
from gift_dsl.players.pool import PoolChoice
from gift_dsl.train.state import TrainState


@dataclass(frozen=True, slots=True)
class SnapshotRule:
    """When snapshots are taken and which of them plays.

    Attributes:
        every: steps between two.
        keep: how many of the newest are kept.
        pick: which of these plays; drawn once for each group and part.
        first: who plays before there is one; None: the policy as the stage found it.
        temperature: None: the policy's own.
    """

    every: int
    keep: int
    pick: Literal["latest", "uniform"]
    first: str | None
    temperature: float | None


@dataclass(frozen=True, slots=True)
class SnapshotChoice:
    """The kept snapshots of one opponent."""

    name: str
    rule: SnapshotRule
    steps: tuple[int, ...]

    def choose(self, rng: random.Random) -> str:
        """The name of who plays."""
        if not self.steps:
            return self.rule.first or f"{self.name}@0"
        return f"{self.name}@{self.steps[-1] if self.rule.pick == 'latest' else rng.choice(self.steps)}"


class League:
    """The opponents of a stage.

    Args:
        players: those that stay the same, and pools.
        rules: of snapshots, by name of the opponent.
        engine: of the policy.
    """

    def __init__(
        self, players: Mapping[str, Seat | Choice], rules: Mapping[str, SnapshotRule], engine: TransformersEngine
    ) -> None:
        self._players, self._rules, self._engine = players, rules, engine
        self._engines: dict[int, TransformersEngine] = {}
        if any(rule.first is None for rule in rules.values()):
            self._keep(0)

    def players(self, state: TrainState) -> dict[str, Seat | Choice]:
        """Everybody by name, as of the state at a step's start."""
        seated: dict[str, Seat | Choice] = {}
        for name, player in self._players.items():
            if isinstance(player, PoolChoice) and name in state.pools:
                player = PoolChoice(player.pool, state.pools[name])
            seated[name] = player
        for name, rule in self._rules.items():
            steps = state.snapshots.get(name, ())
            seated[name] = SnapshotChoice(name, rule, steps)
            for step in steps or ((0,) if rule.first is None else ()):
                player = model_player(f"{name}@{step}", self._engines[step], temperature=rule.temperature)
                seated[player.name] = player
        return seated

    def engines(self) -> Iterator[Any]:
        """Of every model that plays, the policy's included."""
        yield self._engine
        yield from self._engines.values()
        for player in self._players.values():
            if isinstance(player, ModelPlayer):
                yield player.policy

    def after_step(self, state: TrainState, done: int, folder: Path, *, saves: bool) -> TrainState:
        """Take the snapshots that are due after `done` steps.

        Args:
            state: after the step.
            done: number of steps.
            folder: of the stage's checkpoints; snapshots are kept beside them.
            saves: this process writes files.
        """
        due = {name: rule for name, rule in self._rules.items() if done % rule.every == 0}
        if not due:
            return state
        self._keep(done)
        if saves:
            path = _place(folder, done)
            draft = path.with_name(f".{path.name}")
            shutil.rmtree(draft, ignore_errors=True)
            self._engines[done].model.save_pretrained(draft)
            shutil.rmtree(path, ignore_errors=True)
            draft.rename(path)
        kept = {name: (*state.snapshots.get(name, ()), done)[-rule.keep :] for name, rule in due.items()}
        state = replace(state, snapshots={**state.snapshots, **kept})
        used = {step for steps in state.snapshots.values() for step in steps}
        waiting = any(rule.first is None and not state.snapshots.get(name) for name, rule in self._rules.items())
        self._engines = {step: one for step, one in self._engines.items() if step in used or (step == 0 and waiting)}
        return state

    def restore(self, state: TrainState, folder: Path) -> None:
        """Load the snapshots of a checkpoint."""
        for step in {step for steps in state.snapshots.values() for step in steps}:
            self._engines[step] = frozen_engine(self._engine, _place(folder, step))

    def prune(self, folder: Path, states: Iterable[TrainState]) -> None:
        """Remove the files of snapshots that no state of a kept checkpoint names."""
        named = {step for state in states for steps in state.snapshots.values() for step in steps}
        for path in (folder / "snapshots").glob("step-*"):
            if int(path.name.removeprefix("step-")) not in named:
                shutil.rmtree(path, ignore_errors=True)

    def _keep(self, step: int) -> None:
        self._engines[step] = frozen_engine(self._engine)


def snapshot_rules(plan: Plan, names: Mapping[str, Any] | set[str]) -> dict[str, SnapshotRule]:
    """The rules of those of these opponents that are snapshots."""
    return {
        item.name: SnapshotRule(
            every=item.params["every"],
            keep=item.params["keep"],
            pick=item.params["pick"],
            first=item.params.get("first"),
            temperature=item.params.get("temperature"),
        )
        for item in plan.opponents
        if item.type == "snapshot" and item.name in names
    }


def _place(folder: Path, step: int) -> Path:
    return folder / "snapshots" / f"step-{step}"

"""The loop that keeps many episodes alive: it asks each for the turn it waits on and answers each player's turns.

A model's turns are one generation batch; while it generates, players that wait for the outside (HTTP, a person) are
awaited concurrently, and players that do not wait are answered on the spot. Nothing else knows who is a model.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gift_dsl.play.asks import Answer, Ask, JudgeAsk, ModelAsk, PlayerAsk
from gift_dsl.play.compose import Walk
from gift_dsl.play.episode import Episode, GroupStart
from gift_dsl.play.keys import Keys
from gift_dsl.play.part import Play
from gift_dsl.play.seats import Table
from gift_dsl.play.voids import VoidLimit
from gift_dsl.play.watchdog import Runner, Wait, Watchdog
from gift_dsl.records import Group, Trajectory
from gift_dsl.seat import PlayerFault, TokenPolicy

# After so many turns on the spot the loop lets tasks that wait for the outside go on.
_TURNS_BETWEEN_PAUSES: Final = 64

OnGroups = Callable[[Sequence[Group]], None]


async def play_groups(
    table: Table, keys: Keys, walks: Sequence[Walk], members: int, on_groups: OnGroups | None = None
) -> list[Group]:
    """Play every group to its end.

    Args:
        table: games, players and limits.
        keys: of the step.
        walks: what each group plays.
        members: episodes of each group.
        on_groups: called with the groups of a walk as soon as all its episodes are over.

    Returns:
        In the order of `walks`; where several seats are trained, a walk gives one group for each role.

    Raises:
        TooManyVoids: more episodes of the step than allowed have no result (in training).
    """
    return await _Loop(table, keys, walks, members, on_groups).run()


@dataclass(slots=True, eq=False)
class _Members:
    """The episodes of one walk that are over: for each member its trajectories, each with its role."""

    walk: Walk
    done: dict[int, list[tuple[str, Trajectory]]] = field(default_factory=dict[int, list[tuple[str, Trajectory]]])

    def groups(self, group: str) -> list[Group]:
        """One group, or one for each role where several seats are trained."""
        by_role: dict[str, list[Trajectory]] = {}
        for member in sorted(self.done):
            for role, trajectory in self.done[member]:
                by_role.setdefault(role, []).append(trajectory)
        if len(by_role) == 1 and "" in by_role:
            return [Group(group, self.walk.task, tuple(by_role[""]))]
        return [_role_group(f"{group}/{role}", trajectories) for role, trajectories in sorted(by_role.items())]


@dataclass(slots=True, eq=False)
class _Waiting:
    """A task under way: whose answers it brings, the model that is busy with it, and how the watchdog knows it."""

    runners: Sequence[Runner]
    policy: TokenPolicy | None
    wait: Wait


class _Loop:
    """The state of one call of `play_groups`."""

    def __init__(
        self, table: Table, keys: Keys, walks: Sequence[Walk], members: int, on_groups: OnGroups | None
    ) -> None:
        self.table, self.keys, self.members, self.on_groups = table, keys, members, on_groups
        self.results = {walk.group: _Members(walk) for walk in walks}
        self.limit = table.limit or VoidLimit(keys.place, len(walks) * members)
        self.ready: deque[Runner] = deque()
        self.postponed: list[Episode] = []
        self.blocked: defaultdict[Play, list[Episode]] = defaultdict(list)
        self.batches: dict[int, list[tuple[Runner, ModelAsk]]] = {}
        self.tasks: dict[asyncio.Task[Sequence[Answer]], _Waiting] = {}
        self.busy: set[int] = set()
        self.arrived: deque[asyncio.Task[Sequence[Answer]]] = deque()
        self.arrival = asyncio.Event()
        self.groups: dict[int, list[Group]] = {}
        patience = [part.leaf.rollout.turn_timeout_s for walk in walks for part in walk.parts]
        self.watchdog = Watchdog(keys, min(patience, default=1.0))

    async def run(self) -> list[Group]:
        """Until every episode is over. However this ends, it leaves no task behind."""
        for result in self.results.values():
            start = GroupStart(self.table, self.keys, result.walk)
            # Openings first, so that their players are asked as early as can be.
            self.ready.extend(start.openings)
            self.ready.extend(Episode(start, member) for member in range(self.members))
        with self.watchdog:
            try:
                while self.ready or self.tasks or self.postponed:
                    await self._play_ready()
                    self._start_batches()
                    if not self.tasks:
                        self._resume_postponed()
                        continue
                    await self.arrival.wait()
                    self.arrival.clear()
                    while self.arrived:
                        self._collect(self.arrived.popleft())
            finally:
                await self._cancel()
        return [group for number in self.results for group in self.groups[number]]

    def _resume_postponed(self) -> None:
        """Nothing else is left to do, so some time has passed: ask those again that did not answer."""
        for episode in self.postponed:
            episode.resume()
        self.ready.extend(self.postponed)
        self.postponed.clear()

    async def _play_ready(self) -> None:
        """Go on with everything that does not wait, until everything does.

        In rounds, each of the rules and then of the players: taking the time costs as much as a short turn does, and a
        processor is the faster the longer it stays with the same code.
        """
        num_turns = 0
        while self.ready:
            asked: list[tuple[Runner, PlayerAsk]] = []
            while self.ready and len(asked) < _TURNS_BETWEEN_PAUSES:
                runner = self.ready.popleft()
                self.watchdog.doing = runner, None
                ask = runner.next()
                if isinstance(ask, PlayerAsk) and not ask.player.waits:
                    asked.append((runner, ask))
                else:
                    self._wait(runner, ask)
            if asked:
                self._hand_out(asked, await self._act(asked))
                num_turns += len(asked)
            if num_turns >= _TURNS_BETWEEN_PAUSES:
                num_turns = 0
                await asyncio.sleep(0)
        self.watchdog.doing = None

    async def _act(self, asked: Sequence[tuple[Runner, PlayerAsk]]) -> Sequence[Answer]:
        """Turns of players that answer on the spot."""
        started = time.thread_time()
        answers: list[Answer] = []
        for runner, ask in asked:
            self.watchdog.doing = runner, ask.player
            answers.append(await self._answer(ask))
        self.table.acting.seconds += time.thread_time() - started
        return answers

    def _hand_out(self, asked: Sequence[tuple[Runner, PlayerAsk]], answers: Sequence[Answer]) -> None:
        for (runner, _), answer in zip(asked, answers, strict=True):
            self.watchdog.doing = runner, None
            runner.give(answer)
            self.ready.append(runner)

    def _wait(self, runner: Runner, ask: Ask | Play | None) -> None:
        """See to what somebody waits for."""
        match ask:
            case None:
                self._over(runner)
            case Play():
                assert isinstance(runner, Episode)
                self.blocked[ask].append(runner)
            case ModelAsk():
                self.batches.setdefault(id(ask.player.policy), []).append((runner, ask))
            case JudgeAsk():
                self._start([runner], _judged(ask), "the judge of an answer")
            case PlayerAsk():
                self._start([runner], self._answers(ask), f"player `{ask.player.name}`")

    def _start_batches(self) -> None:
        """One generation for each model that is free; in lockstep only when nobody else is waited for."""
        if self.table.lockstep and self.tasks:
            return
        for number in self.batches.keys() - self.busy:
            # The order of arrival depends on the network; that of the keys does not.
            turns = sorted(self.batches.pop(number), key=lambda turn: turn[1].request.stream_key)
            policy = turns[0][1].player.policy
            names = ", ".join(dict.fromkeys(ask.player.name for _, ask in turns))
            self._start([runner for runner, _ in turns], _generated(policy, turns), f"model `{names}`", policy)

    def _start(
        self,
        runners: Sequence[Runner],
        work: Coroutine[Any, Any, Sequence[Answer]],
        what: str,
        policy: TokenPolicy | None = None,
    ) -> None:
        task = asyncio.create_task(work)
        self.tasks[task] = _Waiting(runners, policy, self.watchdog.watch(what, runners))
        if policy is not None:
            self.busy.add(id(policy))
        task.add_done_callback(self._arrive)

    def _arrive(self, task: asyncio.Task[Sequence[Answer]]) -> None:
        self.arrived.append(task)
        self.arrival.set()

    def _collect(self, task: asyncio.Task[Sequence[Answer]]) -> None:
        """Hand out the answers of a finished task. What went wrong in it, other than a player's fault, is raised."""
        waiting = self.tasks.pop(task)
        self.watchdog.forget(waiting.wait)
        self.busy.discard(id(waiting.policy))
        for runner, answer in zip(waiting.runners, task.result(), strict=True):
            self.watchdog.doing = runner, None
            runner.give(answer)
            self.ready.append(runner)

    async def _answer(self, ask: PlayerAsk) -> Answer:
        try:
            return await ask.player.act(ask.turn, ask.draw())
        except PlayerFault as fault:
            return fault

    async def _answers(self, ask: PlayerAsk) -> Sequence[Answer]:
        return [await self._answer(ask)]

    def _over(self, runner: Runner) -> None:
        """An opening or an episode has come to its end."""
        if isinstance(runner, Play):
            self.ready.extend(self.blocked.pop(runner, ()))
            return
        if runner.void is not None:
            evaluation = self.table.evaluation
            if evaluation is not None and runner.num_resumed < evaluation.max_replays:
                self.postponed.append(runner)
                return
            if evaluation is None:
                self.limit.add(*runner.void)
            runner.give_up()
        members = self.results[runner.start.walk.group]
        roles = [runner.role(index) for index in range(runner.start.num_trajectories)]
        members.done[runner.member] = list(zip(roles, runner.trajectories(), strict=True))
        if len(members.done) == self.members:
            self.groups[runner.start.walk.group] = groups = members.groups(runner.start.id)
            if self.on_groups is not None:
                self.on_groups(groups)

    async def _cancel(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def _generated(policy: TokenPolicy, turns: Sequence[tuple[Runner, ModelAsk]]) -> Sequence[Answer]:
    try:
        return await policy.complete([ask.request for _, ask in turns])
    except PlayerFault as fault:
        return [fault] * len(turns)


async def _judged(ask: JudgeAsk) -> Sequence[Answer]:
    await ask.verdict
    return [None]


def _role_group(name: str, trajectories: Sequence[Trajectory]) -> Group:
    numbered = [replace(one, group=name, member=index) for index, one in enumerate(trajectories)]
    return Group(name, numbered[0].task, tuple(numbered))

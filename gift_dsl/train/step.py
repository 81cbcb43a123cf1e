"""One step of a grpo stage up to the optimizer: play groups, select, credit, and lay out the rows of the updates.

Groups are dealt whole to the processes and exchanged afterwards; what follows is computed alike on every process, so
that the number of processes changes nothing but rounding.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from gift_dsl.plan import AlgorithmPlan, BatchPlan, Plan, StagePlan, leaves
from gift_dsl.play.compose import Walk, plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.reward import SuccessRates, composite_return
from gift_dsl.play.seats import Choice, ModelPlayer, Seat, Table, TableGame
from gift_dsl.play.table import play_groups
from gift_dsl.play.voids import VoidLimit
from gift_dsl.records import Group
from gift_dsl.seat import Codec, Completion, Request, TokenPolicy
from gift_dsl.train.baseline import RoleBaselines
from gift_dsl.train.batch import Update, make_updates
from gift_dsl.train.control import controlled
from gift_dsl.train.credit import Shares, credit_groups
from gift_dsl.train.league import League
from gift_dsl.train.outcomes import part_shares
from gift_dsl.train.overlong import with_soft_penalty
from gift_dsl.train.select import Selection, missing_groups, select
from gift_dsl.train.state import TrainState
from gift_dsl.train.team import Team


@dataclass(frozen=True, slots=True, eq=False)
class Playing:
    """What a grpo stage is played with; the same for all its steps.

    Attributes:
        plan, stage: the stage has an algorithm and a batch.
        games: of the train split, by name.
        policy: in the trained seats.
        league: everybody else.
        runner: of the event loop that all steps share, because connections belong to one.
        most_episodes: alive at once on this process; None: all of a step.
        lockstep: see `Table`.
        filler_id: of rows that only fill up.
        is_in_process: the policy's engine is this process's own, so that it computes as the trainer does.
        limit: of episodes without a result, in the round that is played now.
    """

    plan: Plan
    stage: StagePlan
    games: Mapping[str, TableGame]
    policy: ModelPlayer
    league: League
    runner: asyncio.Runner
    most_episodes: int | None = None
    lockstep: bool = False
    filler_id: int = 0
    is_in_process: bool = True
    limit: VoidLimit | None = None

    @property
    def algorithm(self) -> AlgorithmPlan:
        """Of the stage."""
        assert self.stage.algorithm is not None
        return self.stage.algorithm

    @property
    def batch(self) -> BatchPlan:
        """Of the stage."""
        assert self.stage.batch is not None
        return self.stage.batch


@dataclass(slots=True)
class Clock:
    """Seconds of one step on this process.

    Attributes:
        play: wall time of playing.
        generate: wall time in which the policy's engine was at work.
        environment: CPU time of rules, prompts, parsing and records: the table's own thread, without its players.
        recording: wall time in which the step waited for what was played to be written down.
    """

    play: float = 0.0
    generate: float = 0.0
    environment: float = 0.0
    recording: float = 0.0

    @property
    def opponents(self) -> float:
        """Wall time of neither the policy nor the table: others were at work, or were waited for."""
        return max(0.0, self.play - self.generate - self.environment)


class TimedPolicy:
    """A policy whose time is taken.

    Args:
        policy: that does the work.
    """

    def __init__(self, policy: TokenPolicy) -> None:
        self.policy, self.seconds = policy, 0.0

    @property
    def codec(self) -> Codec:
        """The policy's."""
        return self.policy.codec

    async def complete(self, requests: Sequence[Request]) -> Sequence[Completion]:
        """As the policy does it."""
        start = time.perf_counter()
        try:
            return await self.policy.complete(requests)
        finally:
            self.seconds += time.perf_counter() - start

    async def score(
        self, contexts: Sequence[tuple[int, ...]], continuations: Sequence[tuple[int, ...]]
    ) -> Sequence[tuple[float, bool]]:
        """As the policy does it."""
        return await self.policy.score(contexts, continuations)


@dataclass(frozen=True, slots=True)
class Step:
    """A step before its updates.

    Attributes:
        number: counted from 0 within the stage.
        played: every group, refills included, with the games' own rewards.
        selection: what is trained on, as the stage's `reward` pays it.
        updates: rows of each optimizer update.
        state: after the step.
        refills: further rounds that dynamic sampling asked for.
        clock: of this process.
    """

    number: int
    played: tuple[Group, ...]
    selection: Selection
    updates: tuple[Update, ...]
    state: TrainState
    refills: int
    clock: Clock = field(default_factory=Clock)


def make_step(playing: Playing, state: TrainState, number: int, team: Team) -> Step:
    """Play a step and lay out its updates; all processes call it together and get the same rows.

    Raises:
        TooManyVoids: too many episodes have no result.
        GiftError: another process failed.
    """
    algorithm, clock = playing.algorithm, Clock()
    keys = Keys(playing.plan.seed, "train", playing.stage.name, number)
    rates = SuccessRates(state.rates).rates
    played: list[Group] = []
    rewarded: list[Group] = []
    trees: dict[str, Walk] = {}
    refills, wanted = 0, algorithm.groups_per_step
    while wanted:
        first = len(trees)
        walks = plan_walks(playing.stage.play, keys, range(first, first + wanted))
        trees |= {f"{keys.place}/{walk.group}": walk for walk in walks}
        limit = partial(VoidLimit, keys.place, len(trees) * algorithm.group_size)
        limited = replace(playing, limit=limit(_voids(playing, played)))
        groups = team.together(partial(_play, limited, state, keys, walks[team.rank :: team.size], clock))
        groups.sort(key=lambda group: _number(group, keys))
        played += groups
        if team.size > 1:
            limit(_voids(playing, played))  # no process knew of those of others
        rewarded += [_reward(group, trees, playing, keys, rates) for group in groups]
        wanted = missing_groups(rewarded, algorithm, playing.batch.kept_groups, refills)
        refills += bool(wanted)
    shares = _shares(algorithm, trees.values(), number, rates)
    selection = select(rewarded, algorithm, playing.batch.kept_groups)
    paid = {group.id: _with_penalties(group, playing) for group in rewarded}
    kept = [paid[group.id] for group in selection.kept]
    roles = RoleBaselines(algorithm.baseline_decay, state.baselines) if algorithm.baseline == "role" else None
    updates = make_updates(
        credit_groups(kept, shares, algorithm, roles), playing.batch, algorithm, filler_id=playing.filler_id
    )
    after = state.after(playing.plan, algorithm, played, tuple(paid.values()), shares)
    return Step(number, tuple(played), selection, updates, after, refills, clock)


def _voids(playing: Playing, groups: Iterable[Group]) -> list[tuple[str, float]]:
    """Why episodes have no result, and the share of such episodes that their games allow."""
    shares = {leaf.label: leaf.rollout.max_void_share for leaf in leaves(playing.stage.play)}
    void = {
        one.episode: part
        for group in groups
        for one in group.trajectories
        for part in one.parts
        if part.outcome == "void"
    }
    return [(part.reason or "", shares[part.label]) for part in void.values()]


def _play(playing: Playing, state: TrainState, keys: Keys, walks: Sequence[Walk], clock: Clock) -> list[Group]:
    """The groups of this process, a few at a time where memory asks for it."""
    timed = TimedPolicy(playing.policy.policy)
    table = Table(
        games=playing.games,
        policy=replace(playing.policy, policy=timed),
        players=_players(playing, state, timed),
        system_prompt=playing.stage.system_prompt,
        max_context=playing.stage.max_context,
        rates=SuccessRates(state.rates).rates,
        lockstep=playing.lockstep,
        limit=playing.limit,
    )
    members, most = playing.algorithm.group_size, playing.most_episodes
    at_once = len(walks) if most is None else max(1, most // members)
    start = time.perf_counter()
    groups: list[Group] = []
    for first in range(0, len(walks), max(1, at_once)):
        some, thread = walks[first : first + at_once], time.thread_time()
        playing.runner.run(_add_groups(groups, table, keys, some, members))
        clock.environment += time.thread_time() - thread
        over = time.perf_counter()
        for engine in playing.league.engines():
            engine.forget()
        timed.seconds += time.perf_counter() - over
    clock.play += time.perf_counter() - start
    clock.environment = max(0.0, clock.environment - table.acting.seconds)
    clock.generate += timed.seconds
    return groups


async def _add_groups(groups: list[Group], table: Table, keys: Keys, walks: Sequence[Walk], members: int) -> None:
    """Without a result: `Runner.run` hands its task to `signal`, which writes out the result of one that has ended."""
    groups += await play_groups(table, keys, walks, members)


def _players(playing: Playing, state: TrainState, timed: TimedPolicy) -> Mapping[str, Seat | Choice]:
    """Everybody as of this step, the live policy in one batch with itself."""
    return {
        name: replace(player, policy=timed)
        if isinstance(player, ModelPlayer) and player.policy is playing.policy.policy
        else player
        for name, player in playing.league.players(state).items()
    }


def _number(group: Group, keys: Keys) -> int:
    """Of the start that a group belongs to."""
    return int(group.trajectories[0].episode[len(keys.place) + 1 :].split("/")[0])


def _reward(group: Group, walks: Mapping[str, Walk], playing: Playing, keys: Keys, rates: Mapping[str, float]) -> Group:
    """The group as the stage's `reward` pays it."""
    if playing.stage.reward == "game":
        return group
    walk = walks[f"{keys.place}/{_number(group, keys)}"]
    aggregate = partial(composite_return, walk.tree, step=keys.step, rates=rates)
    return controlled(group, playing.stage.reward, aggregate, keys.stream("control", group.id))


def _shares(algorithm: AlgorithmPlan, walks: Iterable[Walk], step: int, rates: Mapping[str, float]) -> Shares:
    if algorithm.credit == "trajectory":
        return {}
    return {walk.task: part_shares(walk.tree, step=step, rates=rates) for walk in walks}


def _with_penalties(group: Group, playing: Playing) -> Group:
    algorithm = playing.algorithm
    if algorithm.overlong != "penalty":
        return group
    limits = {leaf.label: leaf.max_tokens_per_turn for leaf in leaves(playing.stage.play)}
    paid = [with_soft_penalty(one, limits, algorithm.overlong_cache) for one in group.trajectories]
    return replace(group, trajectories=tuple(paid))

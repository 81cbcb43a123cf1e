"""What a grpo stage carries from step to step besides weights and optimizer: all of it is in every checkpoint.

It is read at a step's start and written at its end, in the order of groups and members, so that nothing depends on who
played what when.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gift_dsl.plan import AlgorithmPlan, Plan
from gift_dsl.play.reward import SuccessRates
from gift_dsl.players.pool import PoolState, make_pool, record
from gift_dsl.records import Group, PartRecord, Trajectory
from gift_dsl.train.baseline import RoleBaselines
from gift_dsl.train.credit import Shares, role_returns


@dataclass(frozen=True, slots=True)
class TrainState:
    """The adaptive state of a stage.

    Attributes:
        baselines: by role key (`baseline: role`).
        rates: latest outcomes by label (`reward: difficulty`).
        pools: by name of the pool.
        snapshots: numbers of steps that were done when a snapshot of the policy was taken, oldest first, by name.
        subgame_episodes: single games that the policy has played in this stage.
        policy_tokens: ids that it has sampled in this stage.
    """

    baselines: Mapping[str, float] = field(default_factory=dict[str, float])
    rates: Mapping[str, str] = field(default_factory=dict[str, str])
    pools: Mapping[str, PoolState] = field(default_factory=dict[str, PoolState])
    snapshots: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    subgame_episodes: int = 0
    policy_tokens: int = 0

    def to_json(self) -> dict[str, Any]:
        """Plain values, for checkpoints."""
        return {
            "baselines": dict(self.baselines),
            "rates": dict(self.rates),
            "pools": {name: pool.to_json() for name, pool in self.pools.items()},
            "snapshots": {name: list(steps) for name, steps in self.snapshots.items()},
            "subgame_episodes": self.subgame_episodes,
            "policy_tokens": self.policy_tokens,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> TrainState:
        """The inverse of `to_json`."""
        return cls(
            baselines=values["baselines"],
            rates=values["rates"],
            pools={name: PoolState.from_json(pool) for name, pool in values["pools"].items()},
            snapshots={name: tuple(steps) for name, steps in values["snapshots"].items()},
            subgame_episodes=values["subgame_episodes"],
            policy_tokens=values["policy_tokens"],
        )

    def after(
        self, plan: Plan, algorithm: AlgorithmPlan, played: Sequence[Group], rewarded: Sequence[Group], shares: Shares
    ) -> TrainState:
        """The state after one more step.

        Args:
            plan: for the opponents and their pools.
            algorithm: its `baseline` and what a token is credited with.
            played: groups with the games' own rewards.
            rewarded: the same groups as the stage's `reward` pays them, penalties included: as advantages see them.
            shares: of every task among them.
        """
        trajectories = [one for group in played for one in group.trajectories]
        baselines = self.baselines
        if algorithm.baseline == "role":
            known = RoleBaselines(algorithm.baseline_decay, baselines)
            baselines = known.updated(role_returns(rewarded, shares, algorithm)).means
        return replace(
            self,
            baselines=baselines,
            rates=SuccessRates(self.rates).updated(trajectories).latest,
            pools=_pools_after(self.pools, plan, trajectories),
            subgame_episodes=self.subgame_episodes
            + sum(_is_played(part) for one in trajectories for part in one.parts),
            policy_tokens=self.policy_tokens + sum(map(num_sampled_ids, trajectories)),
        )


def num_sampled_ids(trajectory: Trajectory) -> int:
    """Ids that the policy sampled, over all sequences."""
    return sum(sum(sequence.mask) for sequence in trajectory.sequences)


def _is_played(part: PartRecord) -> bool:
    return part.outcome not in ("void", "unplayed")


def _pools_after(
    pools: Mapping[str, PoolState], plan: Plan, trajectories: Sequence[Trajectory]
) -> Mapping[str, PoolState]:
    """Scores against the members of each pool; one who had no turn in a game was not met."""
    states = dict(pools)
    for opponent in plan.opponents:
        if opponent.type != "pool":
            continue
        pool = make_pool(opponent.params)
        games = {game.name for game in plan.games if opponent.name in game.opponents.values()}
        state = states.get(opponent.name, PoolState())
        for trajectory in trajectories:
            for part in trajectory.parts:
                if part.game in games and part.reward is not None and _is_played(part):
                    for member in _met(trajectory, part.label) & set(pool.members):
                        state = record(pool, state, member, part.reward)
        states[opponent.name] = state
    return states


def _met(trajectory: Trajectory, label: str) -> set[str]:
    """Names of those who had a turn in a part; a snapshot's, without the step it was taken at."""
    return {turn.player.partition("@")[0] for turn in trajectory.turns if turn.part == label}

"""From the outcomes of the parts to one return (GIFT, equation 2 and appendix B.2, which leave the choice open)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from gift_dsl.plan import AllOf, Leaf, Node, leaves, weight_at
from gift_dsl.play.deal import Dealt
from gift_dsl.records import Trajectory

SMALLEST_FACTOR: Final = 0.1
RATE_WINDOW: Final = 500


@dataclass(frozen=True, slots=True)
class PartResult:
    """What one part came to.

    Attributes:
        reward: in [0, 1], before penalties.
        finished: it ended by the rules of its game, not by a bad format, a cut turn or a used-up budget.
    """

    reward: float
    finished: bool


def composite_return(
    tree: Dealt, results: Mapping[str, PartResult], *, step: int = 0, rates: Mapping[str, float] | None = None
) -> float:
    """The return of an episode before penalties.

    Args:
        tree: what was played, in the order played.
        results: by label, one for each leaf.
        step: of the weights.
        rates: success rate by label as read at the step's start; 0.5 where there is none. For `difficulty` only.

    Returns:
        A number in [0, 1]; under `sum` in [0, number of parts].
    """
    return _result(tree, results, step, rates or {}).reward


def _result(node: Node, results: Mapping[str, PartResult], step: int, rates: Mapping[str, float]) -> PartResult:
    if isinstance(node, Leaf):
        return results[node.label]
    assert isinstance(node, AllOf), "every draw was made"
    parts = [_result(part, results, step, rates) for part in node.parts]
    finished = parts[-1].finished
    if node.gate == "complete" and not finished:
        return PartResult(0.0, finished)
    rewards = [part.reward for part in parts]
    match node.reward:
        case "weighted":
            reward = weighted(rewards, [weight_at(part.weight, step) for part in node.parts])
        case "difficulty":
            reward = by_difficulty(rewards, [_rate(part, rates) for part in node.parts])
        case _:
            reward = AGGREGATORS[node.reward](rewards)
    return PartResult(reward, finished)


def mean(rewards: Sequence[float]) -> float:
    """The paper's: partial success counts."""
    return math.fsum(rewards) / len(rewards)


def weighted(rewards: Sequence[float], weights: Sequence[float]) -> float:
    """Sum of w r over the sum of w; the plain mean where all weights are 0."""
    whole = math.fsum(weights)
    if whole == 0:
        return mean(rewards)
    return math.fsum(weight * reward for weight, reward in zip(weights, rewards, strict=True)) / whole


def geometric(rewards: Sequence[float]) -> float:
    """The K-th root of the product."""
    return math.prod(rewards) ** (1 / len(rewards))


def by_difficulty(rewards: Sequence[float], rates: Sequence[float]) -> float:
    """The mean of rewards scaled by d / max d with d = 1 - success rate, each factor at least 0.1.

    The reference scales wins only, so that a draw in an easy part could be worth more than a win in it; here every
    positive reward is scaled.
    """
    difficulties = [1 - rate for rate in rates]
    hardest = max(difficulties)
    factors = [max(SMALLEST_FACTOR, d / hardest) if hardest > 0 else 1.0 for d in difficulties]
    return mean([factor * reward for factor, reward in zip(factors, rewards, strict=True)])


AGGREGATORS: Final[Mapping[str, Callable[[Sequence[float]], float]]] = MappingProxyType(
    {"mean": mean, "sum": math.fsum, "product": math.prod, "min": min, "geometric": geometric}
)


def _rate(node: Node, rates: Mapping[str, float]) -> float:
    """Of a leaf; of a composition the mean of its leaves'."""
    return mean([rates.get(leaf.label, 0.5) for leaf in leaves(node)])


def success_rate(num_played: int, num_won: int) -> float:
    """With one win and one loss added, so that a part never played counts as 0.5."""
    return (num_won + 1) / (num_played + 2)


@dataclass(frozen=True, slots=True)
class SuccessRates:
    """The latest outcomes of every part, for `reward: difficulty`: read at a step's start, updated at its end.

    `latest` holds by label "1" (success) and "0" for the last 500 plays, oldest first.
    """

    latest: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def rates(self) -> Mapping[str, float]:
        """Success rate by label."""
        return {label: success_rate(len(plays), plays.count("1")) for label, plays in self.latest.items()}

    def updated(self, trajectories: Iterable[Trajectory]) -> SuccessRates:
        """After more plays, given in (group, member) order; void and unplayed parts do not count."""
        latest = dict(self.latest)
        for trajectory in trajectories:
            for part in trajectory.parts:
                if part.outcome not in ("void", "unplayed"):
                    latest[part.label] = latest.get(part.label, "") + str(int(part.outcome == "success"))
        return SuccessRates({label: text[-RATE_WINDOW:] for label, text in latest.items()})

"""How many rounds and seeds a stated difference needs, beside what a spec plans. Standard library only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from gift_dsl.plan import Plan

if TYPE_CHECKING:
    from gift_dsl.api import CheckedRun

DEFAULT_DIFFERENCE: Final = 0.05
DEFAULT_SPREAD: Final = 0.03
_RATE: Final = 0.5
_POWER: Final = 0.8
_LEAST_SEEDS: Final = 3


def sample_sizes(
    runs: Sequence[CheckedRun], difference: float = DEFAULT_DIFFERENCE, spread: float = DEFAULT_SPREAD
) -> dict[str, Any]:
    """What is needed to see a difference in 80 of 100 cases at a two-sided 5 %, and what is planned.

    Args:
        runs: of a spec without errors.
        difference: of two success rates, in (0, 0.5]; the lower one is taken as 50 %, where most rounds are needed.
        spread: standard deviation of a method's score between seeds, at least 0.

    Returns:
        Plain values: `rounds_needed` of each checkpoint (independent ones), `seeds_needed` of each method,
        `rounds_planned` and `seeds_planned` of each arm, and `smallest_difference` that the planned rounds show; None
        where nothing is evaluated.
    """
    from gift_dsl.stats import rounds_needed, seeds_needed

    rounds = min((_rounds(run.compiled.plan) for run in runs if run.compiled is not None), default=0)
    return {
        "difference": difference,
        "spread": spread,
        "rate": _RATE,
        "power": _POWER,
        "rounds_needed": rounds_needed(_RATE, difference, power=_POWER),
        "seeds_needed": seeds_needed(spread, difference, power=_POWER),
        "rounds_planned": rounds,
        "seeds_planned": _seeds(runs),
        "smallest_difference": round(_smallest(rounds), 4) if rounds else None,
    }


def sample_size_lines(sizes: dict[str, Any]) -> Iterator[str]:
    """The same as text of `gift plan`."""
    points, spread = 100 * sizes["difference"], 100 * sizes["spread"]
    yield (
        f"To see {points:g} points (at 50 %, in 80 of 100 cases): {sizes['rounds_needed']:,} rounds a checkpoint; "
        f"between methods {sizes['seeds_needed']} seeds an arm where seeds scatter by {spread:g} points"
    )
    planned = "no evaluation of games"
    if sizes["rounds_planned"]:
        planned = (
            f"{sizes['rounds_planned']:,} rounds, which show {100 * sizes['smallest_difference']:.1f} points or more"
        )
    seeds = sizes["seeds_planned"]
    verdict = "" if seeds >= _LEAST_SEEDS else f" (a verdict on methods needs at least {_LEAST_SEEDS})"
    yield f"  planned: {planned}; {seeds} {'seed' if seeds == 1 else 'seeds'} an arm{verdict}"


def _rounds(plan: Plan) -> int:
    """Of the evaluation that is compared: the final one, else the probe."""
    found = [one.rounds for one in (plan.evaluation.final, plan.evaluation.probe) if one is not None]
    return found[0] if found else 0


def _seeds(runs: Sequence[CheckedRun]) -> int:
    """Fewest seeds of an arm; runs that differ only in their choice of `seed` are one arm."""
    arms: defaultdict[tuple[tuple[str, str], ...], int] = defaultdict(int)
    for run in runs:
        arms[tuple((axis, value) for axis, value in sorted(run.choices.items()) if axis != "seed")] += 1
    return min(arms.values(), default=0)


def _smallest(rounds: int) -> float:
    """The smallest difference that so many rounds show; 0.5 where they show none."""
    from gift_dsl.stats import rounds_needed

    low, high = 0.0, 1 - _RATE
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (low, middle) if rounds_needed(_RATE, middle, power=_POWER) <= rounds else (middle, high)
    return high

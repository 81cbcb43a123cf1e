"""Arms of a comparison: runs of a sweep that differ in more than what they compare."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from gift_dsl.compiler.estimate import StageEstimate
from gift_dsl.errors import Diagnostic, Span
from gift_dsl.plan import frozen

TOLERANCE: Final = 0.01


@frozen
class Arm:
    """One run's totals.

    Attributes:
        run_id: id of the run.
        choices: value of each axis.
        subgame_episodes, updates, policy_tokens: over all stages that learn by play.
    """

    run_id: str
    choices: Mapping[str, str]
    subgame_episodes: float
    updates: int
    policy_tokens: int


def make_arm(run_id: str, choices: Mapping[str, str], stages: Sequence[StageEstimate]) -> Arm:
    """The totals of a run."""
    played = [stage for stage in stages if stage.type == "grpo"]
    return Arm(
        run_id=run_id,
        choices=choices,
        subgame_episodes=sum(stage.subgame_episodes * stage.steps for stage in played),
        updates=sum(stage.updates * stage.steps for stage in played),
        policy_tokens=sum(stage.policy_tokens * stage.steps for stage in played),
    )


def _label(arm: Arm) -> str:
    """The arm's own choices, its seed left out."""
    return ",".join(f"{axis}={value}" for axis, value in arm.choices.items() if axis != "seed") or arm.run_id


def check(arms: Sequence[Arm], place: Span) -> Iterator[Diagnostic]:
    """Differences in what the arms of a sweep may use, each with its numbers.

    The paper's own arms differ: F+I1 mixed plays 64 + 64 sub-games a step, nested 128 + 128 (GIFT, appendix B.3).
    """
    kinds = {_label(arm): arm for arm in arms}
    if len(kinds) < 2:
        return
    for field, word in (
        ("subgame_episodes", "single games"),
        ("updates", "optimizer updates"),
        ("policy_tokens", "sampled tokens (typical)"),
    ):
        values = {label: float(getattr(arm, field)) for label, arm in kinds.items()}
        low, high = min(values.values()), max(values.values())
        if high - low > TOLERANCE * max(high, 1.0):
            shown = "; ".join(f"{label}: {value:,.0f}" for label, value in list(values.items())[:6])
            yield Diagnostic(
                "arms-differ",
                f"the arms of this sweep differ in {word}: {shown}",
                place,
                "warning",
                "a difference between them can come from this; match the budgets with `groups_per_step` and `until`",
                "sweep",
            )

"""What looks wrong in the numbers of a step: one sentence each, with the usual cause.

An alarm never stops a run. Each limit is a constant here, with the reason for its value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from gift_dsl.plan import StagePlan
from gift_dsl.train.importance import LARGEST_KL

Metrics = Mapping[str, Any]
"""A step's flat names and numbers, as in metrics.jsonl; a number that is not finite may be None."""

WINDOW: Final = 5
"""Steps that are looked at together, so that one unlucky step is no alarm; rates are means over them."""
MOST_TIED: Final = 0.8
"""Share of groups whose returns are all equal: they teach nothing, and here four of five are played in vain."""
MOST_BAD_FORMAT: Final = 0.5
"""Share of plays that ended for their format: the answers of half of them were never judged."""
MOST_ILLEGAL: Final = 0.5
"""Share of plays that ended with an action that the rules refuse."""
LEAST_ENTROPY_SHARE: Final = 0.1
"""Entropy beside that of the stage's first steps: exploration has all but ended (Cui et al. 2025, arXiv 2505.22617,
find that a policy has by then spent nearly all the improvement it will have)."""
MOST_CLIPPED: Final = 0.3
"""Share of tokens without gradient because their ratio left the clip range: the steps are too large for it."""
MOST_MISMATCH_KL: Final = LARGEST_KL
"""Mean k3 KL of sampled tokens between the engine that played and the trainer (design, section 6)."""
MOST_VOID: Final = 0.05
"""Share of an opponent's turns without an answer: far below where a run stops, and far above a healthy server."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """Something that looks wrong.

    Attributes:
        name: stable, what it is and of whom: `tied/math`.
        message: one sentence.
    """

    name: str
    message: str


def find_alarms(metrics: Metrics, history: Sequence[Metrics], stage: StagePlan) -> list[Alarm]:
    """What looks wrong after a step.

    Args:
        metrics: of the step.
        history: of the steps of the same stage before it, the oldest first.
        stage: that they belong to.
    """
    steps = (*history, metrics)
    if stage.type != "grpo":  # what learns from given answers plays nothing, and is to lose entropy
        return []
    recent = steps[-WINDOW:]
    return [
        *_tied(recent),
        *_plays(recent),
        *_entropy(steps),
        *_clipped(recent),
        *_mismatch(metrics),
        *_voids(recent),
    ]


def _tied(recent: Sequence[Metrics]) -> Iterator[Alarm]:
    """A whole window only: at the start of training groups of a hard game are often tied."""
    if len(recent) < WINDOW:
        return
    for game in _named(recent, "groups/", "/played"):
        played, tied = (sum(one.get(f"groups/{game}/{what}") or 0 for one in recent) for what in ("played", "tied"))
        if played and tied / played > MOST_TIED:
            yield Alarm(
                f"tied/{game}",
                f"{tied / played:.0%} of the groups of {game} had equal returns in the last {WINDOW} steps and taught "
                "nothing: the game is too hard or too easy for the model, or the groups are too small",
            )


def _plays(recent: Sequence[Metrics]) -> Iterator[Alarm]:
    if len(recent) < WINDOW:
        return
    limits = {
        "bad_format": (MOST_BAD_FORMAT, "for a bad format: show the answer format, or raise max_tokens_per_turn"),
        "illegal_action": (MOST_ILLEGAL, "with an illegal action: list the legal ones, or warm the model up"),
    }
    for game in _named(recent, "game/", "/plays"):
        for outcome, (most, how) in limits.items():
            plays = sum(one.get(f"game/{game}/plays") or 0 for one in recent)
            ended = sum(
                (one.get(f"game/{game}/{outcome}") or 0.0) * (one.get(f"game/{game}/plays") or 0) for one in recent
            )
            if plays and ended / plays > most:
                yield Alarm(
                    f"{outcome}/{game}",
                    f"{ended / plays:.0%} of the plays of {game} in the last {WINDOW} steps ended {how}",
                )


def _entropy(steps: Sequence[Metrics]) -> Iterator[Alarm]:
    """Of what was played, so that steps without an update count; beside the most of the stage's first steps.

    The most, because a collapse within them would be a part of their mean.
    """
    known = [value for one in steps if (value := one.get("entropy")) is not None]
    if len(known) <= WINDOW:
        return
    first, last = max(known[:WINDOW]), sum(known[-WINDOW:]) / WINDOW
    if last < LEAST_ENTROPY_SHARE * first:
        yield Alarm(
            "entropy",
            f"the policy's entropy fell from {first:.3g} to {last:.3g} nats: it explores no more; lower the learning "
            "rate, or raise entropy_coef or clip_high",
        )


def _clipped(recent: Sequence[Metrics]) -> Iterator[Alarm]:
    share = _mean(recent, "update/clip_share")
    if share is not None and share > MOST_CLIPPED:
        yield Alarm(
            "clipped",
            f"{share:.0%} of the tokens were clipped in the last steps: lower the learning rate, or make fewer "
            "updates a step",
        )


def _mismatch(metrics: Metrics) -> Iterator[Alarm]:
    divergence = metrics.get("mismatch/kl")
    if divergence is not None and divergence > MOST_MISMATCH_KL:
        yield Alarm(
            "mismatch",
            f"engine and trainer differ by a mean KL of {divergence:.2g} on sampled tokens, more than "
            f"{MOST_MISMATCH_KL:g}: what plays is not what is trained; compare their precision, attention and weights",
        )


def _voids(recent: Sequence[Metrics]) -> Iterator[Alarm]:
    for name in _named(recent, "opponent/", "/void"):
        share = sum(one.get(f"opponent/{name}/void") or 0.0 for one in recent) / len(recent)
        if share > MOST_VOID:
            yield Alarm(
                f"void/{name}",
                f"{share:.0%} of the turns of opponent {name} had no answer in the last steps: look at its server, "
                "its time-out and its limits",
            )


def _named(steps: Sequence[Metrics], prefix: str, suffix: str) -> list[str]:
    """What stands between a prefix and a suffix in the names of some steps."""
    names = dict.fromkeys(name for one in steps for name in one)
    return [name[len(prefix) : -len(suffix)] for name in names if name.startswith(prefix) and name.endswith(suffix)]


def _mean(steps: Sequence[Metrics], name: str) -> float | None:
    """Over a whole window; None before, or where most of its steps did not measure it: they had no update."""
    values = [value for one in steps if (value := one.get(name)) is not None]
    return sum(values) / len(values) if len(steps) == WINDOW and 2 * len(values) > WINDOW else None

"""Whether the policy is measured as it is sampled in training, or on purpose otherwise."""

from __future__ import annotations

from collections.abc import Iterator

from gift_dsl.compiler.context import Context
from gift_dsl.errors import Diagnostic, Note

_KEYS = (
    ("max_tokens", ("rollout", "max_tokens_per_turn"), "turns of training have at most {} tokens"),
    ("temperature", ("rollout", "sampling", "temperature"), "turns of training are sampled at a temperature of {:g}"),
)


def check(context: Context) -> Iterator[Diagnostic]:
    """`evaluation.sampling` does not follow `rollout`: where that was written and this was not, it may be forgotten.

    Benchmarks are asked under the same sampling; where there are some, the default may be meant for them.
    """
    spec = context.spec
    evaluation = spec.evaluation
    if evaluation.benchmarks or (evaluation.probe is None and evaluation.final is None):
        return
    rollout = {"max_tokens": spec.rollout.max_tokens_per_turn, "temperature": spec.rollout.sampling.temperature}
    for key, path, told in _KEYS:
        value, own = getattr(spec.evaluation.sampling, key), rollout[key]
        is_written = context.tree.at(("evaluation", "sampling", key)) is not None
        if context.tree.at(path) is None or is_written or own == value:
            continue
        yield context.finding(
            "evaluation-sampling",
            f"evaluation does not follow `rollout`: {told.format(own)}, and those of evaluation have {value:g}, the "
            "default",
            ("evaluation",),
            severity="warning",
            at_key=True,
            hint=f"write `sampling: {{{key}: {own:g}}}` below `evaluation`, or {value:g} if it is meant",
            notes=[Note("training is changed here", context.span(path))],
        )

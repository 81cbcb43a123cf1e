"""`rollout`: how the policy plays, and what a game or a stage may override of it."""

from typing import Annotated, Literal

from pydantic import Field

from gift_dsl.spec.models.fields import Count, NonNegative, Positive, Probability, Strict


class SamplingSpec(Strict):
    """How the policy's tokens are drawn. Log-probabilities are those of this distribution.

    Only the temperature may be set: nucleus, top-k, min-p and penalties change the distribution that the policy
    gradient is taken of, so training refuses them.
    """

    temperature: Annotated[float, Field(gt=0, le=5, description="Softmax temperature.")] = 1.0


class OpponentFaultSpec(Strict):
    """What happens when an opponent's action is illegal or cannot be read."""

    retry: Annotated[NonNegative, Field(le=10, description="Further tries it gets.")] = 2
    then: Annotated[
        Literal["random_legal", "forfeit", "void"],
        Field(description="After the last try: a random legal action, a loss for it, or the play counts as void."),
    ] = "random_legal"


class RolloutSpec(Strict):
    """How episodes are played. A stage and a game may override each field."""

    max_tokens_per_turn: Annotated[Count, Field(description="Most tokens of one policy turn.")] = 600
    max_context: Annotated[
        Count | None,
        Field(description="Longest sequence in tokens; none: as long as the composition needs and the model allows."),
    ] = None
    sampling: Annotated[
        SamplingSpec,
        Field(default_factory=SamplingSpec.model_construct, description="How the policy's tokens are drawn."),
    ]
    thinking: Annotated[
        Literal["off", "keep", "strip"],
        Field(
            description="For models with a thinking mode: off; keep thoughts in the context of later turns; or strip "
            "them there, which makes each turn a sequence of its own. Same in training and evaluation."
        ),
    ] = "off"
    on_truncation: Annotated[
        Literal["end", "retry"],
        Field(description="A turn cut at its token limit ends its part as bad format, or is taken again."),
    ] = "end"
    opponent_noise: Annotated[
        Literal["independent", "common"],
        Field(description="Later draws of opponents differ between the members of a group, or are the same."),
    ] = "independent"
    opponent_illegal: Annotated[
        OpponentFaultSpec,
        Field(
            default_factory=OpponentFaultSpec.model_construct,
            description="What happens when an opponent's action is illegal.",
        ),
    ]
    max_void_share: Annotated[
        Probability, Field(description="Share of a step's members without result above which the run stops.")
    ] = 0.2
    max_turn_retries: Annotated[
        NonNegative, Field(le=20, description="Times one turn is asked again after an opponent's failed call.")
    ] = 2
    turn_timeout_s: Annotated[
        Positive, Field(le=86_400, description="Seconds after which a waiting turn is reported by the watchdog.")
    ] = 600.0

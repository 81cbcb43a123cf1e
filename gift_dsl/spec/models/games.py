"""`games`: what every game may say besides the parameters of its family."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from gift_dsl.spec.models.fields import Count, NonNegative, OpponentName, Probability, Strict, Text, optional
from gift_dsl.spec.models.rollout import RolloutSpec

if TYPE_CHECKING:

    class RolloutOverrides(Strict):
        """Fields of `rollout` that are different here."""
else:
    RolloutOverrides = optional(RolloutSpec, "RolloutOverrides", "Fields of `rollout` that are different here.")


class RewardSpec(Strict):
    """What a result is worth. Graded games bring their own number in [0, 1]."""

    win: Annotated[Probability, Field(description="Reward of a win.")] = 1.0
    draw: Annotated[Probability, Field(description="Reward of a draw.")] = 0.5
    loss: Annotated[Probability, Field(description="Reward of a loss.")] = 0.0


class RetrySpec(Strict):
    """An illegal action may be taken again."""

    retry: Annotated[Count, Field(le=10, description="Further tries within one play; after them it is a forfeit.")]


class TraineeSpec(Strict):
    """Where the policy sits."""

    seat: Annotated[
        Literal["any", "all"] | NonNegative,
        Field(
            description="`any`: drawn once a group; a number: always that seat, from 0; `all`: every seat is trained."
        ),
    ] = "any"
    role: Annotated[Text, Field(description="`any`, or only instances in which the trainee has this role.")] = "any"


class PromptSpec(Strict):
    """How observations are worded."""

    wording: Annotated[
        Literal["standard", "compact", "varied"],
        Field(
            description="Shipped wording: full sentences; short words for tiny models; or one of several, per group."
        ),
    ] = "standard"
    template: Annotated[
        Text | None, Field(description="Own Jinja2 template of an observation (the allowed subset only).")
    ] = None
    file: Annotated[Text | None, Field(description="Own template as a file beside the spec.")] = None
    answer: Annotated[
        Text | None, Field(description="Own Jinja2 template of the sentence that asks for the answer format.")
    ] = None


class AnswerSpec(Strict):
    """How an action is read out of a completion."""

    tag: Annotated[Text, Field(pattern=r"^[a-z][a-z_]*$", description="The action stands in <tag>…</tag>.")] = "answer"
    think: Annotated[
        Literal["optional", "required", "forbidden"],
        Field(description="Whether a <think>…</think> part stands before it."),
    ] = "optional"


class GameSpec(Strict):
    """One game: a family or shipped game, who plays it, and how it is worded, read and rewarded."""

    type: Annotated[Text | None, Field(description="A family or a shipped game; `gift list games` names them.")] = None
    file: Annotated[Text | None, Field(description="A game file beside the spec instead of a `type`.")] = None
    opponents: Annotated[
        OpponentName | list[OpponentName] | dict[str, OpponentName] | None,
        Field(description="Who fills the other seats: one name for all, a list in seat order, or a map from role."),
    ] = None
    assign: Annotated[
        Literal["fixed", "shuffle"], Field(description="A list of opponents sits as written, or shuffled once a group.")
    ] = "fixed"
    trainee: Annotated[
        TraineeSpec, Field(default_factory=TraineeSpec.model_construct, description="Where the policy sits.")
    ]
    reward: Annotated[
        RewardSpec, Field(default_factory=RewardSpec.model_construct, description="What win, draw and loss are worth.")
    ]
    max_turns: Annotated[
        Count | None, Field(description="Most policy turns of one play; the game's own horizon unless given.")
    ] = None
    illegal_action: Annotated[
        Literal["forfeit"] | RetrySpec, Field(description="An illegal action loses the game, or may be taken again.")
    ] = "forfeit"
    format_penalty: Annotated[
        float | None,
        Field(ge=-1, le=0, description="Added to the return for each badly formatted turn; -0.1 by default."),
    ] = None
    illegal_penalty: Annotated[
        float | None, Field(ge=-1, le=0, description="Added to the return for each illegal action; 0 by default.")
    ] = None
    show_penalty: Annotated[bool, Field(description="Tell the model of a penalty in its next message.")] = False
    prompt: Annotated[
        PromptSpec, Field(default_factory=PromptSpec.model_construct, description="How observations are worded.")
    ]
    answer: Annotated[
        AnswerSpec,
        Field(default_factory=AnswerSpec.model_construct, description="How an action is read out of a completion."),
    ]
    rollout: Annotated[RolloutOverrides | None, Field(description="Fields of `rollout` that differ in this game.")] = (
        None
    )
    params: Annotated[dict[str, Any], Field(exclude=True, description="The family's parameters.")] = {}

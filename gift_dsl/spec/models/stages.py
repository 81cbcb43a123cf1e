"""`stages`: what is trained, in order. The `type` decides the trainer."""

from typing import Annotated, Final, Literal

from pydantic import Field

from gift_dsl.spec.models.algorithm import AlgorithmSpec
from gift_dsl.spec.models.composition import Play
from gift_dsl.spec.models.fields import (
    NUMBER,
    Count,
    GameName,
    Name,
    NonNegative,
    Positive,
    Probability,
    Strict,
    Text,
    Weight,
)
from gift_dsl.spec.models.games import RolloutOverrides


class SuccessSpec(Strict):
    """A stage ends when the policy is good enough on the dev probe."""

    game: Annotated[GameName, Field(description="The game that is looked at.")]
    at_least: Annotated[Probability, Field(description="Success rate that is to be reached.")]
    patience: Annotated[Count, Field(description="Number of probes in a row that must reach it.")] = 1


class UntilSpec(Strict):
    """When a stage ends: one condition; any but `steps` also needs `max_steps`, which sizes plan and schedule."""

    steps: Annotated[Count | None, Field(le=1_000_000, description="Number of steps.")] = None
    subgame_episodes: Annotated[Count | None, Field(description="Number of single games played by the policy.")] = None
    policy_tokens: Annotated[Count | None, Field(description="Number of tokens the policy has sampled.")] = None
    success: Annotated[SuccessSpec | None, Field(description="A success rate on the dev probe.")] = None
    max_steps: Annotated[Count | None, Field(le=1_000_000, description="The stage ends here at the latest.")] = None


class WhereSpec(Strict):
    """Which recorded episodes are used."""

    game: Annotated[list[GameName] | GameName | None, Field(description="Only these games.")] = None
    outcome: Annotated[
        list[Literal["win", "draw", "loss"]] | Literal["win", "draw", "loss", "any"] | None,
        Field(description="Only these outcomes; losing episodes are used unless this says otherwise."),
    ] = None
    steps: Annotated[
        tuple[NonNegative, NonNegative] | None, Field(description="Only steps from the first to the second, inclusive.")
    ] = None


class ScriptedDataSpec(Strict):
    """Play of scripted players of mixed skill, made on the spot."""

    episodes: Annotated[Count, Field(description="Number of episodes.")]
    skill: Annotated[
        tuple[Probability, Probability],
        Field(description="Each episode draws its share of expert moves from this range; the others are random."),
    ] = (0.0, 1.0)
    illegal: Annotated[Probability, Field(description="Share of moves that are illegal on purpose.")] = 0.02
    pack: Annotated[
        Probability, Field(description="Share of episodes that repeat one game instead of playing the composition.")
    ] = 0.0
    weights: Annotated[
        dict[str, Weight] | None, Field(description="Relative weight of each game among packed episodes.")
    ] = None


class DataSpec(Strict):
    """Where supervised episodes come from: exactly one of `runs`, `scripted` and `files`."""

    runs: Annotated[
        list[Text] | None,
        Field(min_length=1, description="Recorded play of earlier runs, named as `model.from_run.run` names one."),
    ] = None
    scripted: Annotated[ScriptedDataSpec | None, Field(description="Play made by scripted players.")] = None
    files: Annotated[list[Text] | None, Field(min_length=1, description="Files of recorded episodes (JSON lines).")] = (
        None
    )
    where: Annotated[WhereSpec | None, Field(description="Which of them are used.")] = None


class SupervisedSpec(Strict):
    """How a supervised stage updates the policy."""

    batch_size: Annotated[Count, Field(le=65_536, description="Episodes of one optimizer update.")] = 32
    optimizer: Annotated[Literal["adamw", "muon"], Field(description="Optimizer; muon takes the matrices only.")] = (
        "adamw"
    )
    learning_rate: Annotated[float, Field(ge=0, le=1, description="Peak learning rate.")] = 1e-5
    muon_learning_rate: Annotated[
        float, Field(ge=0, le=1, description="Peak learning rate of the matrices under muon.")
    ] = 0.03
    schedule: Annotated[Literal["constant", "linear", "cosine"], Field(description="Learning rate over the stage.")] = (
        "cosine"
    )
    min_learning_rate: Annotated[Probability, Field(description="Where the schedule ends, as a share of the peak.")] = (
        0.0
    )
    warmup: Annotated[Probability, Field(description="Share of the updates over which the learning rate rises.")] = 0.1
    weight_decay: Annotated[float, Field(ge=0, le=1, description="Decoupled weight decay.")] = 0.0
    max_grad_norm: Annotated[Positive, Field(description="Gradients are clipped to this norm.")] = 1.0


class GlowSpec(SupervisedSpec):
    """GLOW (arXiv 2601.04992): samples that still improve weigh less."""

    alpha: Annotated[Positive, Field(description="Scale of the weights.")] = 1.0
    beta: Annotated[Positive, Field(description="Steepness in the loss gained since the last epoch.")] = 20.0
    offset: Annotated[
        Literal[0, 1],
        NUMBER,
        Field(description="0: the released code, weights below alpha; 1: the older variant, 1 + them."),
    ] = 0
    weight_min: Annotated[float, Field(ge=0, description="Smallest weight.")] = 0.5
    weight_max: Annotated[Positive, Field(description="Largest weight.")] = 5.0
    normalise: Annotated[bool, Field(description="Divide the weights of a batch by their mean.")] = False
    missing: Annotated[
        Literal["one", "batch_mean"],
        Field(description="A sample without history weighs one, or is compared with the batch mean (released code)."),
    ] = "one"


class StageCommon(Strict):
    """What every stage may say."""

    name: Annotated[Name, Field(description="Name of the stage; `--set stages[name].…` finds it by this.")]
    play: Annotated[Play, Field(description="A game, or a composition of games.")]
    optimizer: Annotated[
        Literal["carry", "reset"], Field(description="Keep the optimizer's state of the stage before, or start anew.")
    ] = "reset"
    schedule_steps: Annotated[
        Count | None,
        Field(description="Horizon of the learning rate schedule in steps; the stage's length unless given."),
    ] = None
    rollout: Annotated[RolloutOverrides | None, Field(description="Fields of `rollout` that differ in this stage.")] = (
        None
    )


class GrpoStage(StageCommon):
    """Reinforcement learning by play."""

    type: Annotated[Literal["grpo"], Field(description="The trainer.")]
    until: Annotated[UntilSpec, Field(description="When the stage ends.")]
    algorithm: Annotated[
        AlgorithmSpec | None, Field(description="Fields of `algorithm` that differ in this stage.")
    ] = None
    reward: Annotated[
        Literal["game", "format_only", "shuffled", "random"],
        Field(
            description="The game's reward, or a control arm: 1 for a well-formed answer; the group's returns "
            "permuted; or a coin. Ability claims need one beside them."
        ),
    ] = "game"


class SftStage(StageCommon):
    """Supervised fine-tuning on recorded or scripted play; the loss is on the policy's tokens only."""

    type: Annotated[Literal["sft"], Field(description="The trainer.")]
    data: Annotated[DataSpec, Field(description="Where the episodes come from.")]
    epochs: Annotated[Count, Field(le=1000, description="Passes over the data.")] = 1
    sft: Annotated[
        SupervisedSpec, Field(default_factory=SupervisedSpec.model_construct, description="How the policy is updated.")
    ]


class GlowStage(StageCommon):
    """Supervised fine-tuning with GLOW's weights."""

    type: Annotated[Literal["glow"], Field(description="The trainer.")]
    data: Annotated[DataSpec, Field(description="Where the episodes come from.")]
    epochs: Annotated[Count, Field(le=1000, description="Passes over the data.")] = 3
    glow: Annotated[GlowSpec, Field(default_factory=GlowSpec.model_construct, description="How the policy is updated.")]


STAGE_TYPES: Final[dict[str, type[StageCommon]]] = {"grpo": GrpoStage, "sft": SftStage, "glow": GlowStage}


StageSpec = Annotated[GrpoStage | SftStage | GlowStage, Field(discriminator="type")]

"""The root of the language, version 1."""

from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag

from gift_dsl.spec.models.algorithm import AlgorithmSpec
from gift_dsl.spec.models.composition import COMPOSITION_KEYS, AllOfSpec, AnyOfSpec, InTurnSpec
from gift_dsl.spec.models.evaluation import EvaluationSpec
from gift_dsl.spec.models.fields import NUMBER, Int, Name, NotHashed, Strict
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.models.model import ModelSpec
from gift_dsl.spec.models.opponents import OpponentSpec
from gift_dsl.spec.models.resources import LimitsSpec, OutputSpec, ResourcesSpec, Tracker
from gift_dsl.spec.models.rollout import RolloutSpec
from gift_dsl.spec.models.stages import StageSpec


def _game_kind(value: object) -> str:
    """A named composition has a composition key; everything else is checked as a game."""
    keys = cast("dict[str, Any]", value if isinstance(value, dict) else getattr(type(value), "model_fields", {}))
    return next((f"<{key}>" for key in COMPOSITION_KEYS if key in keys), "<game>")


NamedGame = Annotated[
    Annotated[AllOfSpec, Tag("<all_of>")]
    | Annotated[AnyOfSpec, Tag("<any_of>")]
    | Annotated[InTurnSpec, Tag("<in_turn>")]
    | Annotated[GameSpec, Tag("<game>")],
    Discriminator(_game_kind),
]


class Spec(Strict):
    """One experiment."""

    gift: Annotated[Literal[1], NUMBER, Field(description="Version of the language.")]
    name: Annotated[Name, NotHashed(), Field(description="Name of the experiment; its runs stand below it.")]
    description: Annotated[str | None, NotHashed(), Field(description="What the experiment is for.")] = None
    tags: Annotated[list[str], NotHashed(), Field(description="Free labels.")] = []
    seed: Annotated[Int, Field(description="Seed of training: instances, sampling, draws.")] = 10_000
    model: Annotated[ModelSpec, Field(description="The policy.")]
    precision: Annotated[
        Literal["bf16", "fp32"], Field(description="Format of the computation; weights stay as `model.weights` says.")
    ] = "bf16"
    opponents: Annotated[dict[Name, OpponentSpec], Field(description="Players that are not trained, by name.")] = {}
    games: Annotated[dict[Name, NamedGame], Field(min_length=1, description="Games and named compositions, by name.")]
    stages: Annotated[list[StageSpec], Field(min_length=1, max_length=64, description="What is trained, in order.")]
    algorithm: Annotated[
        AlgorithmSpec,
        Field(default_factory=AlgorithmSpec.model_construct, description="The update rule of every grpo stage."),
    ]
    rollout: Annotated[
        RolloutSpec, Field(default_factory=RolloutSpec.model_construct, description="How episodes are played.")
    ]
    evaluation: Annotated[
        EvaluationSpec, Field(default_factory=EvaluationSpec.model_construct, description="How the policy is measured.")
    ]
    compat: Annotated[
        Literal["none", "gift_v1"],
        Field(description="`gift_v1`: the reference's behaviour where it is a choice, for comparison."),
    ] = "none"
    resources: Annotated[
        ResourcesSpec,
        NotHashed(),
        Field(default_factory=ResourcesSpec.model_construct, description="Machines and processes."),
    ]
    limits: Annotated[
        LimitsSpec, NotHashed(), Field(default_factory=LimitsSpec.model_construct, description="Where a run stops.")
    ]
    output: Annotated[
        OutputSpec,
        NotHashed(),
        Field(default_factory=OutputSpec.model_construct, description="Where a run is written."),
    ]
    trackers: Annotated[
        list[Tracker], NotHashed(), Field(description="Mirrors of metrics.jsonl; none unless asked for.")
    ] = []

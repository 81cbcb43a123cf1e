"""The composition algebra: `all_of` (AND), `any_of` (OR) and `in_turn` (CST) over games."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import Discriminator, Field, Tag

from gift_dsl.spec.models.fields import Count, GameName, NonNegative, Strict, Weight

COMPOSITION_KEYS = ("all_of", "any_of", "in_turn")


def _kind(value: object) -> str:
    """Which of the four notations a part uses; unreadable ones are checked as a part with options."""
    if isinstance(value, str):
        return "<name>"
    keys = cast("dict[str, Any]", value if isinstance(value, dict) else getattr(type(value), "model_fields", {}))
    if "play" in keys:
        return "<part>"
    return next((f"<{key}>" for key in COMPOSITION_KEYS if key in keys), "<part>")


class AllOfSpec(Strict):
    """AND: one trajectory plays every part in turn (GIFT, section 3.4)."""

    all_of: Annotated[list[Part], Field(min_length=1, max_length=64, description="The parts, in order.")]
    reward: Annotated[
        Literal["mean", "sum", "weighted", "product", "min", "geometric", "difficulty"],
        Field(description="How the outcomes of the parts become one return; mean is the paper's."),
    ] = "mean"
    order: Annotated[
        Literal["fixed", "shuffled", "rotated"], Field(description="Order of the parts, drawn once a group.")
    ] = "fixed"
    context: Annotated[
        Literal["shared", "fresh"],
        Field(description="Later parts see earlier ones, or each part starts with an empty context."),
    ] = "shared"
    feedback: Annotated[
        Literal["none", "outcome"], Field(description="Whether the outcome of a part is told before the next one.")
    ] = "none"
    gate: Annotated[
        Literal["none", "complete"],
        Field(description="`complete`: no reward at all unless the last part was finished, as the reference does."),
    ] = "none"


class AnyOfSpec(Strict):
    """OR: each group plays one of the parts (GIFT, section 3.3)."""

    any_of: Annotated[list[Part], Field(min_length=1, max_length=64, description="The parts.")]
    draw: Annotated[
        Literal["balanced", "random"],
        Field(description="Groups are shared by weight within each step (largest remainder), or drawn by weight."),
    ] = "balanced"


class InTurnSpec(Strict):
    """CST: whole steps play one part, in blocks; only at the top of a stage (GIFT v2)."""

    in_turn: Annotated[list[Part], Field(min_length=1, max_length=64, description="The parts, in order.")]
    blocks: Annotated[
        list[Annotated[Count, Field(le=10_000)]] | None,
        Field(description="Consecutive steps of each part, the paper's k_list; 1 unless given."),
    ] = None
    order: Annotated[
        Literal["fixed", "random"], Field(description="Order within each cycle: as written, or drawn from the seed.")
    ] = "fixed"


WeightPoint = Annotated[
    tuple[NonNegative, Annotated[float, Field(ge=0, le=1_000_000)]], Field(description="[step, weight]")
]


class PartSpec(Strict):
    """A part with options."""

    play: Annotated[
        Annotated[GameName, Tag("<name>")]
        | Annotated[AllOfSpec, Tag("<all_of>")]
        | Annotated[AnyOfSpec, Tag("<any_of>")]
        | Annotated[InTurnSpec, Tag("<in_turn>")],
        Discriminator(_kind),
        Field(description="Name of a game, or a composition."),
    ]
    weight: Annotated[
        Weight | Annotated[list[WeightPoint], Field(min_length=1)],
        Field(
            description="Share in a draw, or in a weighted reward. In `any_of` also a schedule [[step, weight], …], "
            "linear between its points; steps count within the stage."
        ),
    ] = 1.0
    max_turns: Annotated[Count | None, Field(description="Most policy turns of this part.")] = None
    max_tokens_per_turn: Annotated[Count | None, Field(description="Most tokens of one policy turn here.")] = None


Part = Annotated[
    Annotated[GameName, Tag("<name>")]
    | Annotated[AllOfSpec, Tag("<all_of>")]
    | Annotated[AnyOfSpec, Tag("<any_of>")]
    | Annotated[InTurnSpec, Tag("<in_turn>")]
    | Annotated[PartSpec, Tag("<part>")],
    Discriminator(_kind),
]
Composition = AllOfSpec | AnyOfSpec | InTurnSpec
Play = Annotated[
    Annotated[GameName, Tag("<name>")]
    | Annotated[AllOfSpec, Tag("<all_of>")]
    | Annotated[AnyOfSpec, Tag("<any_of>")]
    | Annotated[InTurnSpec, Tag("<in_turn>")]
    | Annotated[PartSpec, Tag("<part>")],
    Discriminator(_kind),
]

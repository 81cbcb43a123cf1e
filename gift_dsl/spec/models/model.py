"""`model`: the language model that is trained, and the numeric formats it is trained in."""

from typing import Annotated, Literal

from pydantic import Field

from gift_dsl.spec.models.fields import Count, Positive, Probability, Strict, Text


class FromRun(Strict):
    """A checkpoint of an earlier run."""

    run: Annotated[
        Text,
        Field(description="Run directory, from the spec's folder or `output.dir`; or a name: its newest finished run."),
    ]
    step: Annotated[
        Count | Literal["final", "best"],
        Field(description="Which checkpoint: a step, the last one, or the one with the best dev probe."),
    ] = "final"


class LoraSpec(Strict):
    """Low-rank adapters (arXiv 2106.09685) instead of full fine-tuning."""

    rank: Annotated[Count, Field(le=1024, description="Rank of the adapters.")] = 16
    alpha: Annotated[Positive, Field(description="Scale: adapters are multiplied by alpha / rank.")] = 32.0
    dropout: Annotated[Probability, Field(description="Dropout on the adapters' input.")] = 0.0
    target_modules: Annotated[
        Literal["all-linear"] | list[Text], Field(description="Linear layers that get adapters.")
    ] = "all-linear"


class TinySpec(Strict):
    """Size of the built-in `tiny` model (Llama's layout, word-level tokenizer made from the games of the spec)."""

    hidden_size: Annotated[Count, Field(ge=16, le=1024, description="Width.")] = 96
    layers: Annotated[Count, Field(le=24, description="Number of decoder layers.")] = 2
    heads: Annotated[Count, Field(le=16, description="Number of attention heads; divides the width.")] = 4
    intermediate_size: Annotated[Count, Field(ge=16, le=4096, description="Width of the SwiGLU layer.")] = 256
    max_positions: Annotated[Count, Field(ge=64, le=8192, description="Longest sequence, in tokens.")] = 1024


class ModelSpec(Strict):
    """The policy: a hub id, a local folder, the built-in `tiny`, or a checkpoint of an earlier run."""

    source: Annotated[
        Text | None, Field(description="Hub id (`org/name`), a local folder starting with `.` or `/`, or `tiny`.")
    ] = None
    from_run: Annotated[FromRun | None, Field(description="Continue from a checkpoint of another run.")] = None
    revision: Annotated[
        Text | None, Field(description="Commit of a hub model. Without it the run is not pinned and `plan` warns.")
    ] = None
    tokenizer: Annotated[Text | None, Field(description="Tokenizer, when it is not the model's own.")] = None
    chat_template: Annotated[
        Text | None,
        Field(
            description="Chat template that replaces the tokenizer's own: a file, or the template itself (anything "
            "with a brace or a line break)."
        ),
    ] = None
    weights: Annotated[
        Literal["fp32", "bf16"],
        Field(
            description="Format in which trained weights are stored. bf16 has 8 bits of precision: below a learning "
            "rate of 1e-5 most updates round to nothing."
        ),
    ] = "fp32"
    lora: Annotated[LoraSpec | None, Field(description="Train low-rank adapters instead of all weights.")] = None
    gradient_checkpointing: Annotated[
        bool, Field(description="Recompute activations in the backward pass: less memory, about a third more compute.")
    ] = True
    attention: Annotated[
        Literal["sdpa", "eager", "flash_attention_2"], Field(description="Attention implementation.")
    ] = "sdpa"
    tiny: Annotated[TinySpec | None, Field(description="Size of the model, only with `source: tiny`.")] = None

"""`evaluation`: probes during the run, the final test, and the benchmarks."""

from typing import Annotated, Any, Final, Literal, cast

from pydantic import Discriminator, Field, Tag

from gift_dsl.spec.models.fields import Count, GameName, Int, NonNegative, OpponentName, Strict, Text

OWN_BENCHMARKS: Final = ("math500", "mmlu", "mmlu_pro", "social_iqa", "commongen")
_NEED_NOTHING: Final = OWN_BENCHMARKS[:4]


class EvaluationSampling(Strict):
    """How the policy's tokens are drawn in evaluation."""

    temperature: Annotated[float, Field(ge=0, le=5, description="Sampling temperature; 0 is greedy.")] = 0.5
    max_tokens: Annotated[Count, Field(description="Most tokens of one completion.")] = 600


class ProbeSpec(Strict):
    """A small evaluation on dev instances while training goes on."""

    every: Annotated[Count, Field(description="Steps between two probes.")] = 20
    split: Annotated[Literal["dev"], Field(description="Probes never read test.")] = "dev"
    rounds: Annotated[Count, Field(le=100_000, description="Episodes of each game, shared equally among seats.")] = 100
    games: Annotated[
        list[GameName] | None, Field(min_length=1, description="Games to probe; all that are trained unless given.")
    ] = None
    chain: Annotated[bool, Field(description="Also play the stage's whole composition.")] = False


class FinalSpec(Strict):
    """The evaluation of the finished run; the only reader of test."""

    split: Annotated[Literal["test", "dev"], Field(description="Split of the instances.")] = "test"
    rounds: Annotated[Count, Field(le=1_000_000, description="Episodes of each game, shared equally among seats.")] = (
        500
    )
    checkpoints: Annotated[
        list[Count | Literal["start", "best", "final"]],
        Field(min_length=1, description="Which checkpoints are tested: steps, the start model, best on dev, final."),
    ] = ["final"]
    games: Annotated[
        list[GameName] | None, Field(min_length=1, description="Games to test; all that are defined unless given.")
    ] = None
    opponents: Annotated[
        dict[str, OpponentName] | None, Field(description="Other opponents than in training, by game.")
    ] = None
    sampling: Annotated[
        EvaluationSampling | None, Field(description="How tokens are drawn; `evaluation.sampling` unless given.")
    ] = None
    max_replays: Annotated[NonNegative, Field(le=20, description="Times a void play is played again.")] = 3


class OwnBenchmark(Strict):
    """One of ours: the paper's zero-shot <answer> protocol as an lm-eval task."""

    type: Literal["math500", "mmlu", "mmlu_pro", "social_iqa"]
    data_dir: Annotated[Text | None, Field(description="Local folder of the rows instead of the hub.")] = None
    revision: Annotated[Text | None, Field(description="Commit of the hub dataset.")] = None
    limit: Annotated[Count | None, Field(description="Only the first so many items of each task.")] = None


class CommonGenBenchmark(Strict):
    """CommonGen against human references, judged by a model."""

    type: Literal["commongen"]
    judge: Annotated[OpponentName, Field(description="The opponent of type `openai` that judges.")]
    order: Annotated[
        Literal["random", "both"], Field(description="One random order of the two texts (paper), or both orders.")
    ] = "both"
    data_dir: Annotated[Text | None, Field(description="Local folder of the rows instead of the hub.")] = None
    revision: Annotated[Text | None, Field(description="Commit of the hub dataset.")] = None
    limit: Annotated[Count | None, Field(description="Only the first so many items.")] = None


class LmEvalBenchmark(Strict):
    """A task of the lm-evaluation-harness itself, as a second view."""

    type: Literal["lm_eval"]
    task: Annotated[Text, Field(description="Name of the task or group in lm-eval.")]
    num_fewshot: Annotated[
        NonNegative | None, Field(le=64, description="Examples in the prompt; the task's own unless given.")
    ] = None
    limit: Annotated[Count | None, Field(description="Only the first so many items of each task.")] = None
    data_dir: Annotated[Text | None, Field(description="Local folder of the rows instead of the hub.")] = None


def _kind(value: object) -> str | None:
    """The notation of a benchmark: a bare name, or its type; None lets pydantic report an unknown one."""
    if isinstance(value, str):
        return "<name>"
    known = cast("dict[str, Any]", value) if isinstance(value, dict) else {"type": getattr(value, "type", None)}
    found = known.get("type")
    return "<own>" if found in _NEED_NOTHING else f"<{found}>" if found in ("commongen", "lm_eval") else None


BenchmarkName = Literal["math500", "mmlu", "mmlu_pro", "social_iqa"]
BenchmarkSpec = Annotated[
    Annotated[BenchmarkName, Tag("<name>")]
    | Annotated[OwnBenchmark, Tag("<own>")]
    | Annotated[CommonGenBenchmark, Tag("<commongen>")]
    | Annotated[LmEvalBenchmark, Tag("<lm_eval>")],
    Discriminator(_kind),
]


class EvaluationSpec(Strict):
    """How the policy is measured."""

    seed: Annotated[Int, Field(description="Seed of all evaluation; does not follow `seed`.")] = 1
    sampling: Annotated[
        EvaluationSampling,
        Field(default_factory=EvaluationSampling.model_construct, description="How tokens are drawn."),
    ]
    history: Annotated[
        Literal["full", "none"],
        Field(
            description="What a prompt holds of earlier turns: all of them, as in training, or nothing (the paper's "
            "evaluation): only system text, rules and the present state, for every seat."
        ),
    ] = "full"
    probe: Annotated[ProbeSpec | None, Field(description="Small evaluations during the run.")] = None
    final: Annotated[FinalSpec | None, Field(description="The evaluation of the finished run.")] = None
    benchmarks: Annotated[
        list[BenchmarkSpec], Field(description="Benchmarks of the final evaluation; `gift list benchmarks`.")
    ] = []
    subjects: Annotated[
        list[OpponentName], Field(description="Opponents of type `openai` or `local` evaluated beside the policy.")
    ] = []
    system: Annotated[Text | None, Field(description="System prompt of the benchmarks instead of the shipped one.")] = (
        None
    )

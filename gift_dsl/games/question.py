"""Questions with one answer that a program can check: math, numbers, multiple choice, exact text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.game import Family, Game, GameFacts, Rows


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where question rows come from."""

    source: Annotated[
        str,
        MinLen(1),
        Doc("Hub id, or a local folder or file that starts with `.` or `/`."),
    ]
    name: Annotated[str | None, Doc("Configuration of the dataset.")] = None
    revision: Annotated[
        str | None, Doc("Commit of a hub dataset; unpinned ones are warned about.")
    ] = None
    split: Annotated[
        str, MinLen(1), Doc("Split of the dataset that training instances come from.")
    ] = "train"
    test_split: Annotated[
        str | None,
        Doc(
            "Split that test instances come from; without it rows are cut by the hash of their question."
        ),
    ] = None
    question: Annotated[
        str, MinLen(1), Doc("Column that holds the question; dots enter nested values.")
    ] = "question"
    answer: Annotated[
        str,
        MinLen(1),
        Doc("Column that holds the gold answer; dots enter nested values."),
    ] = "answer"
    choices: Annotated[
        str | None, Doc("Column that holds the list of choices, for `kind: choice`.")
    ] = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A generated set of integer problems; needs no download."""

    operators: Annotated[
        tuple[Literal["+", "-", "*"], ...], MinLen(1), Doc("Operators to draw from.")
    ] = ("+",)
    low: Annotated[int, Ge(-10_000), Le(10_000), Doc("Smallest operand.")] = 0
    high: Annotated[int, Ge(-10_000), Le(10_000), Doc("Largest operand.")] = 99
    terms: Annotated[int, Ge(2), Le(6), Doc("Number of operands.")] = 2


@dataclass(frozen=True, slots=True)
class QuestionParams:
    """Parameters of `question`."""

    kind: Annotated[
        Literal["math", "number", "choice", "text"],
        Doc(
            "How answers are compared: math-verify on LaTeX, a number, a choice letter, or exact text."
        ),
    ] = "math"
    dataset: Annotated[Dataset | None, Doc("Rows from the hub or a local folder.")] = (
        None
    )
    generate: Annotated[
        Arithmetic | None, Doc("Generated problems instead of a dataset.")
    ] = None
    tolerance: Annotated[
        float,
        Ge(0),
        Le(1),
        Doc("Largest relative error of a right answer, for `kind: number`."),
    ] = 0.0
    timeout_s: Annotated[
        float,
        Ge(0.1),
        Le(60),
        Doc(
            "Seconds that comparing one answer may take before it counts as unverifiable."
        ),
    ] = 5.0


def check(params: QuestionParams) -> str | None:
    """The first contradiction between parameters, or None."""
    if (params.dataset is None) == (params.generate is None):
        return (
            "exactly one of `dataset` and `generate` says where the questions come from"
        )
    if params.generate is not None and params.generate.low >= params.generate.high:
        return f"`generate.low` is {params.generate.low}, which is not below `generate.high` ({params.generate.high})"
    if params.generate is not None and params.kind not in ("math", "number"):
        return f"generated arithmetic is of kind math or number, not `{params.kind}`"
    if (
        params.kind == "choice"
        and params.dataset is not None
        and params.dataset.choices is None
    ):
        return (
            "`kind: choice` needs `dataset.choices`, the column that holds the choices"
        )
    return None


def facts(params: QuestionParams) -> GameFacts:
    """One seat, one turn, right or wrong."""
    generated = params.generate
    size = None
    if generated is not None:
        size = (
            len(generated.operators)
            * (generated.high - generated.low + 1) ** generated.terms
        )
    return GameFacts(
        seats=1,
        max_turns=(1,),
        graded=False,
        can_draw=False,
        zero_sum=False,
        actions="free_text",
        abilities=("formal reasoning", "mathematics"),
        family_size=size,
        prompt_tokens=(60, 60) if generated is not None else (220, 120),
        dataset=params.dataset is not None,
        players=("scripted", "human"),
    )


def build(params: QuestionParams, rows: Rows) -> Game:
    from gift_dsl.games.question_rules import QuestionGame

    return QuestionGame(params, rows)


FAMILY: Final = Family(
    name="question",
    description="Answer a question whose answer is checked by a program (math, number, choice, text).",
    params=QuestionParams,
    facts=facts,
    build=build,
    check=check,
)

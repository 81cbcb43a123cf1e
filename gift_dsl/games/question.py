"""Questions with one answer that a program can check: math, numbers, multiple choice, exact text."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Final, Literal

from annotated_types import Ge, Le, MinLen
from typing_extensions import Doc

from gift_dsl.games.arithmetic import Operator, count_problems
from gift_dsl.games.game import Family, Game, GameFacts, Rows


@dataclass(frozen=True, slots=True)
class Dataset:
    """Where question rows come from."""

    source: Annotated[str, MinLen(1), Doc("Hub id, or a local folder or file that starts with `.` or `/`.")]
    name: Annotated[str | None, Doc("Configuration of the dataset.")] = None
    revision: Annotated[str | None, Doc("Commit of a hub dataset; unpinned ones are warned about.")] = None
    split: Annotated[str, MinLen(1), Doc("Split of the dataset that training instances come from.")] = "train"
    test_split: Annotated[
        str | None,
        Doc("Split that test instances come from; without it rows are cut by the hash of their question."),
    ] = None
    question: Annotated[str, MinLen(1), Doc("Column that holds the question; dots enter nested values.")] = "question"
    answer: Annotated[
        str,
        MinLen(1),
        Doc(
            "Column that holds the gold answer; dots enter nested values. "
            "A right choice is given by its letter, its text, or as a number by its place from 0."
        ),
    ] = "answer"
    choices: Annotated[
        str | None, Doc("Column that holds the list of choices, for `kind: choice`; dots enter nested values.")
    ] = None


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """A generated set of integer problems; needs no download."""

    operators: Annotated[
        tuple[Operator, ...], MinLen(1), Doc("Operators to draw from; products bind more tightly than sums.")
    ] = ("+",)
    low: Annotated[int, Ge(-10_000), Le(10_000), Doc("Smallest operand.")] = 0
    high: Annotated[int, Ge(-10_000), Le(10_000), Doc("Largest operand.")] = 99
    terms: Annotated[int, Ge(2), Le(6), Doc("Number of operands.")] = 2


@dataclass(frozen=True, slots=True)
class QuestionParams:
    """Parameters of `question`."""

    kind: Annotated[
        Literal["math", "number", "choice", "text"],
        Doc("How answers are compared: math-verify on LaTeX, a number, a choice letter, or exact text."),
    ] = "math"
    dataset: Annotated[Dataset | None, Doc("Rows from the hub or a local folder.")] = None
    generate: Annotated[Arithmetic | None, Doc("Generated problems instead of a dataset.")] = None
    tolerance: Annotated[float, Ge(0), Le(1), Doc("Largest relative error of a right answer, for `kind: number`.")] = (
        0.0
    )
    timeout_s: Annotated[
        float,
        Ge(0.1),
        Le(60),
        Doc("Seconds that comparing one answer may take, for `kind: math`; past them it is wrong, as `unverifiable`."),
    ] = 5.0


def check(params: QuestionParams) -> str | None:
    """The first contradiction between parameters, or None."""
    if (params.dataset is None) == (params.generate is None):
        return "exactly one of `dataset` and `generate` says where the questions come from"
    generate = params.generate
    if generate is not None and generate.low >= generate.high:
        return f"`generate.low` is {generate.low}, which is not below `generate.high` ({generate.high})"
    if generate is not None and params.kind not in ("math", "number"):
        return f"generated arithmetic is of `kind: math` or `kind: number`, not `{params.kind}`"
    if params.kind == "choice" and params.dataset is not None and params.dataset.choices is None:
        return "`kind: choice` needs `dataset.choices`, the column that holds the choices"
    return None


def _count_instances(params: QuestionParams) -> int | None:
    generate = params.generate
    if generate is None:
        return None
    return count_problems(generate.operators, generate.high - generate.low + 1, generate.terms)


def _words(terms: int) -> tuple[float, float]:
    """`NUMBER What is 3 + 4 ? ?`; the second try is asked for as the first."""
    return 4 + 2 * terms, 4 + 2 * terms


def facts(params: QuestionParams) -> GameFacts:
    """One seat, one turn, right or wrong."""
    listed = params.kind == "choice"
    generated = params.generate is not None
    return GameFacts(
        seats=1,
        max_turns=(1,),
        graded=False,
        can_draw=False,
        zero_sum=False,
        actions="listed" if listed else "free_text",
        abilities=("formal reasoning", "mathematics") if params.kind in ("math", "number") else ("knowledge",),
        count_instances=partial(_count_instances, params),
        prompt_tokens=(60, 60) if generated else (220, 120),
        compact_words=None if params.generate is None else _words(params.generate.terms),
        dataset=params.dataset is not None,
        players=("random", "first_legal", "scripted", "human") if listed else ("scripted", "human"),
    )


def build(params: QuestionParams, rows: Rows) -> Game:
    """The game of these parameters and rows; rows are read when they are drawn, the first one now as a check."""
    from gift_dsl.games.question_rules import make_question_game

    return make_question_game(params, facts(params), rows)


FAMILY: Final = Family(
    name="question",
    description="Answer a question whose answer is checked by a program (math, number, choice, text).",
    params=QuestionParams,
    facts=facts,
    build=build,
    check=check,
)

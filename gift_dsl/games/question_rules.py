"""The rules of questions: one turn, one answer, right or wrong."""

from __future__ import annotations

import random
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import assert_never

from gift_dsl.errors import GiftError
from gift_dsl.games.arithmetic import draw_problem
from gift_dsl.games.free_text import reason_against
from gift_dsl.games.game import Action, FreeText, GameFacts, Legal, Outcome, Rows, State
from gift_dsl.games.grading import (
    Kind,
    Verdict,
    grade_choice,
    grade_math,
    grade_math_async,
    grade_number,
    grade_text,
    parse_choice,
)
from gift_dsl.games.question import QuestionParams
from gift_dsl.games.question_rows import Item, item_key, read_item


@dataclass(frozen=True, slots=True)
class QuestionObservation:
    """The question without its gold answer; `choices` are (letter, text) pairs."""

    question: str
    kind: Kind
    choices: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class QuestionState:
    """One question, before or after its answer.

    Attributes:
        item: the question and, hidden, its gold answer.
        kind: how answers are compared.
        tolerance: relative error of a right number.
        timeout_s: seconds for one comparison of mathematics.
        answer: what was answered; of a choice its letter.
    """

    item: Item
    kind: Kind
    tolerance: float = 0.0
    timeout_s: float = 5.0
    answer: Action | None = None

    @property
    def current_player(self) -> int:
        """Seat 0 until it has answered."""
        return -1 if self.is_terminal else 0

    @property
    def is_terminal(self) -> bool:
        """Whether an answer was given."""
        return self.answer is not None

    def observation(self, player: int) -> QuestionObservation:
        """The question and its choices."""
        choices = tuple(zip(self.item.letters, self.item.choices, strict=True))
        return QuestionObservation(self.item.question, self.kind, choices)

    def legal_actions(self) -> Legal:
        """The letters of the choices, or any text; nothing once an answer was given."""
        if self.is_terminal:
            return ()
        return self.item.letters if self.kind == "choice" else FreeText()

    def apply(self, action: Action) -> QuestionState:
        """The question with an answer. A letter may be dressed up (`(B)`, `**B**`, `B.`)."""
        legal = self.legal_actions()
        if isinstance(legal, FreeText):
            reason = reason_against(legal, action)
            if reason is not None:
                raise ValueError(f"illegal answer: {reason}")
            return self._after(action)
        letter = parse_choice(action, legal)
        if letter is None:
            raise ValueError(f"illegal action {action!r}; legal: {legal}")
        return self._after(letter)

    def _after(self, answer: Action) -> QuestionState:
        return QuestionState(self.item, self.kind, self.tolerance, self.timeout_s, answer)

    def verdict(self) -> Verdict:
        """Whether the answer is right: a function of gold and answer, kept for the next time.

        For `kind: math` it waits for a worker process unless the verdict is known: see `QuestionGame.settle`.
        """
        if self.answer is None:
            raise ValueError("the game is not over: no answer was given")
        gold, answer = self.item.gold, self.answer
        match self.kind:
            case "math":
                return grade_math(gold, answer, self.timeout_s)
            case "number":
                return grade_number(gold, answer, self.tolerance)
            case "choice":
                return grade_choice(gold, answer, self.item.letters)
            case "text":
                return grade_text(gold, answer)
            case _:
                assert_never(self.kind)

    def outcome(self) -> tuple[Outcome, ...]:
        """A win for a right answer."""
        return ("win" if self.verdict().correct else "loss",)


@dataclass(frozen=True, slots=True, eq=False)
class QuestionGame:
    """Questions from rows or from a generator."""

    params: QuestionParams
    facts: GameFacts
    rows: Rows

    def start(self, rng: random.Random) -> QuestionState:
        """Draw a row, with replacement, or a problem.

        Raises:
            GiftError: there are no rows, or the drawn one does not hold what its columns should.
        """
        params = self.params
        return QuestionState(self._draw_item(rng), params.kind, params.tolerance, params.timeout_s)

    def role(self, state: State, player: int) -> str:
        """A question has no roles."""
        return ""

    def instance_key(self, state: State) -> str:
        """A digest of the question but for case and white space; of a problem, but for the order of equal operands."""
        assert isinstance(state, QuestionState)
        return state.item.key

    def chance(self, state: QuestionState) -> float:
        """The success rate of a player who draws a legal action uniformly: 0 where actions cannot be listed."""
        return 1 / len(state.item.choices) if state.kind == "choice" else 0.0

    def grade(self, state: QuestionState) -> Verdict:
        """The verdict on the answer of a finished state."""
        return state.verdict()

    def reason(self, state: QuestionState) -> str:
        """Why the answer is wrong (`grading.Verdict.reason`); empty for a right one."""
        return state.verdict().reason

    def settle(self, state: QuestionState) -> Awaitable[Verdict] | None:
        """`grade` without holding up the event loop; afterwards `state.outcome()` answers at once.

        Returns:
            None where it does so already.
        """
        if state.kind == "math" and state.answer is not None:
            return grade_math_async(state.item.gold, state.answer, state.timeout_s)
        return None

    def _draw_item(self, rng: random.Random) -> Item:
        generate = self.params.generate
        if generate is not None:
            problem = draw_problem(generate.operators, generate.low, generate.high, generate.terms, rng)
            return Item(f"What is {problem.text}?", str(problem.value), item_key(f"arithmetic {problem.key}"))
        if not self.rows:
            raise GiftError("there are no questions to draw from: this split of the dataset has no rows")
        return read_item(self.params, self.rows[rng.randrange(len(self.rows))])


def make_question_game(params: QuestionParams, facts: GameFacts, rows: Rows) -> QuestionGame:
    """The game of valid parameters.

    Raises:
        GiftError: the first row lacks a named column, or holds no answer of this kind.
    """
    if params.generate is None and rows:
        read_item(params, rows[0])
    return QuestionGame(params, facts, rows)

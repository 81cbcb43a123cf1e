"""The rules of questions: rows and generated problems, one answer, a key for each question, splits by that key."""

from __future__ import annotations

import asyncio
import re
from dataclasses import fields, replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gift_dsl.errors import GiftError
from gift_dsl.games.arithmetic import Problem, count_problems
from gift_dsl.games.game import FreeText, Game
from gift_dsl.games.grading import Verdict
from gift_dsl.games.params import make_params
from gift_dsl.games.question import Arithmetic, Dataset, QuestionParams, build, check, facts
from gift_dsl.games.question_rows import cut_rows, read_item
from gift_dsl.games.question_rules import QuestionObservation
from gift_dsl.rng import stream
from gift_dsl.settings import shipped

LOCAL = Dataset(source="./rows")
SUMS = QuestionParams(kind="number", generate=Arithmetic())
ANY_SUMS = QuestionParams(kind="number", generate=Arithmetic(operators=("+", "-", "*"), low=-9, high=9, terms=4))
MATH = QuestionParams(dataset=LOCAL)
CHOICE = QuestionParams(kind="choice", dataset=replace(LOCAL, choices="choices"))
TEXT = QuestionParams(kind="text", dataset=LOCAL)
ROWS = {
    "math": [{"question": f"What is half of {k}?", "answer": rf"\frac{{{k}}}{{2}}"} for k in range(1, 30, 2)],
    "choice": [
        {"question": "The capital of France?", "choices": ["Rome", "Paris", "Lima"], "answer": 1},
        {"question": "The capital of Peru?", "choices": ["Rome", "Paris", "Lima"], "answer": "C"},
        {"question": "The capital of Italy?", "choices": ["Rome", "Paris", "Lima"], "answer": "Rome"},
    ],
    "text": [{"question": "Who wrote Emma?", "answer": "Jane Austen"}],
}
GAMES = [
    build(SUMS, ()),
    build(ANY_SUMS, ()),
    build(MATH, ROWS["math"]),
    build(CHOICE, ROWS["choice"]),
    build(TEXT, ROWS["text"]),
]
INSTANCES = st.tuples(st.sampled_from(GAMES), st.integers(0, 300))
PROBLEMS = st.lists(st.integers(-9, 9), min_size=2, max_size=5).flatmap(
    lambda operands: st.builds(
        Problem,
        st.just(tuple(operands)),
        st.lists(st.sampled_from("+-*"), min_size=len(operands) - 1, max_size=len(operands) - 1).map(tuple),
    )
)


def start(game, seed=0):
    return game.start(stream(seed, "instance"))


# --- laws of every game


@given(INSTANCES)
def test_the_same_stream_asks_the_same_question(instance):
    game, seed = instance
    assert isinstance(game, Game)
    assert start(game, seed) == start(game, seed)
    assert hash(start(game, seed)) == hash(start(game, seed))


@given(INSTANCES)
def test_one_answer_ends_the_game_and_no_more_are_taken(instance):
    state = start(*instance)
    assert (state.current_player, state.is_terminal) == (0, False)
    end = state.apply("A")
    assert (end.current_player, end.is_terminal, end.legal_actions()) == (-1, True, ())
    with pytest.raises(ValueError, match="illegal"):
        end.apply("A")


@given(INSTANCES)
def test_there_is_no_outcome_before_the_answer(instance):
    game, seed = instance
    state = start(game, seed)
    with pytest.raises(ValueError, match="not over"):
        state.outcome()


@given(INSTANCES)
def test_an_observation_does_not_depend_on_the_gold_answer(instance):
    game, seed = instance
    state = start(game, seed)
    assert game.instance_key(state) == state.item.key
    other = replace(state, item=replace(state.item, gold="elsewhere", key="other"))
    assert state.observation(0) == other.observation(0)


@given(INSTANCES)
def test_the_gold_answer_wins_and_another_does_not(instance):
    state = start(*instance)
    wrong = next(text for text in ("A", "B", "123456789") if text != state.item.gold)
    assert state.apply(state.item.gold).outcome() == ("win",)
    assert state.apply(wrong).outcome() == ("loss",)


def test_an_observation_has_the_variables_of_its_template():
    assert [field.name for field in fields(QuestionObservation)] == ["question", "kind", "choices"]


def test_a_question_has_no_roles():
    assert GAMES[0].role(start(GAMES[0]), 0) == ""


# --- answers


def test_choices_are_shown_with_their_letters():
    seen = {start(GAMES[3], seed).observation(0) for seed in range(30)}
    expected = (("A", "Rome"), ("B", "Paris"), ("C", "Lima"))
    assert len(seen) == 3
    assert all(observation.choices == expected for observation in seen)


def test_only_letters_of_choices_are_legal():
    state = start(GAMES[3])
    assert state.legal_actions() == ("A", "B", "C")
    assert state.apply("(B)") == state.apply("**b**") == state.apply("B")
    for text in ("D", "Paris", "", "A or B", "A||B"):
        with pytest.raises(ValueError, match="illegal action"):
            state.apply(text)


@pytest.mark.parametrize("game", [GAMES[0], GAMES[2], GAMES[4]])
def test_other_answers_are_any_text_of_some_length(game):
    state = start(game)
    assert state.legal_actions() == FreeText()
    assert state.apply("nothing that is right").outcome() == ("loss",)
    for text in ("", " ", "9" * 2001):
        with pytest.raises(ValueError, match="illegal answer"):
            state.apply(text)


def test_a_uniform_player_attains_the_chance_level_of_choices():
    state = start(GAMES[3])
    wins = [state.apply(letter).outcome() for letter in state.legal_actions()].count(("win",))
    assert GAMES[3].chance(state) == wins / 3
    assert GAMES[4].chance(start(GAMES[4])) == 0


def test_the_reason_of_a_wrong_answer_is_kept():
    game = build(replace(MATH, timeout_s=0.5), [{"question": "?", "answer": "5"}])
    answers = {"5": "", "$6$": "different", "$$": "unreadable", "10^{10^{10}}": "unverifiable"}
    state = start(game)
    assert {text: game.reason(state.apply(text)) for text in answers} == answers
    assert game.grade(state.apply("$6$")) == Verdict(False, "different")


@pytest.mark.parametrize("game", GAMES)
def test_a_verdict_can_be_settled_before_it_is_asked_for(game):
    state = start(game)
    for text in (state.item.gold, "B"):
        end = state.apply(text)
        waiting = game.settle(end)
        assert (waiting is None) == (state.kind != "math")
        assert waiting is None or asyncio.run(waiting) == end.verdict()


def test_a_tolerance_makes_near_numbers_right():
    params = QuestionParams(kind="number", dataset=LOCAL, tolerance=0.01)
    state = start(build(params, [{"question": "pi?", "answer": 3.14159}]))
    assert [state.apply(text).outcome() for text in ("3.14", "3.2")] == [("win",), ("loss",)]


# --- rows


def test_dots_enter_nested_values():
    dataset = replace(LOCAL, question="prompt.0.content", answer="reward.truth")
    row = {"prompt": [{"role": "user", "content": " 1 + 1? "}], "reward": {"truth": "2"}}
    item = read_item(QuestionParams(dataset=dataset), row)
    assert (item.question, item.gold) == ("1 + 1?", "2")


def test_a_column_whose_name_has_a_dot_is_found_first():
    row = {"a.b": "the column", "a": {"b": "nested"}, "answer": 1}
    assert read_item(QuestionParams(dataset=replace(LOCAL, question="a.b")), row).question == "the column"


@pytest.mark.parametrize(
    ("params", "row", "words"),
    [
        (MATH, {"problem": "?", "answer": "1"}, "no column `question`; it has: answer, problem"),
        (MATH, {"question": "?", "answer": None}, "column `answer` holds None"),
        (MATH, {"question": "?", "answer": ["1"]}, "neither a text nor a number"),
        (MATH, {"question": " ", "answer": "1"}, "column `question` holds ' '"),
        (replace(MATH, kind="number"), {"question": "?", "answer": "many"}, "'many', which is not a number"),
        (CHOICE, {"question": "?", "choices": ["a"], "answer": 0}, "not a list of 2 to 26 choices"),
        (CHOICE, {"question": "?", "choices": "ab", "answer": 0}, "not a list of 2 to 26 choices"),
        (CHOICE, {"question": "?", "choices": ["a", "b"], "answer": 2}, "2, which names none of the 2 choices"),
        (CHOICE, {"question": "?", "choices": ["a", "b"], "answer": "c"}, "'c', which names none"),
        (CHOICE, {"question": "?", "choices": ["B", "A"], "answer": "A"}, "or two of them"),
    ],
)
def test_a_row_that_does_not_hold_what_it_should_is_named(params, row, words):
    with pytest.raises(GiftError, match=re.escape(words)):
        build(params, [row])


def test_without_rows_nothing_can_be_drawn():
    with pytest.raises(GiftError, match="no rows"):
        start(build(MATH, ()))


def test_every_row_is_drawn_with_replacement():
    drawn = {start(GAMES[2], seed).item.question for seed in range(200)}
    assert drawn == {row["question"] for row in ROWS["math"]}


# --- keys and splits


def key_of(question, **others):
    return read_item(CHOICE if others else MATH, {"question": question, "answer": "1", **others}).key


def test_the_key_forgets_case_and_white_space_only():
    assert key_of("What  is\n2+2?") == key_of("what is 2+2? ")
    assert key_of("What is 2+2?") != key_of("What is 2+3?")


def test_the_order_of_choices_does_not_make_another_question():
    assert key_of("?", choices=["1", "2"]) == key_of("?", choices=["2", "1"])
    assert key_of("?", choices=["1", "2"]) != key_of("?", choices=["1", "3"])


MANY = [{"question": f"Question {k}?", "answer": str(k)} for k in range(600)]


def test_rows_without_a_test_split_are_cut_into_three():
    cut = cut_rows(MATH, MANY)
    assert sorted(row["question"] for rows in cut.values() for row in rows) == sorted(row["question"] for row in MANY)
    assert 430 < len(cut["train"]) < 530
    assert min(len(cut["dev"]), len(cut["test"])) > 30


def test_rows_with_a_test_split_of_their_own_are_cut_into_two():
    params = replace(MATH, dataset=replace(LOCAL, test_split="test"))
    cut = cut_rows(params, MANY)
    assert len(cut["train"]) + len(cut["dev"]) == len(MANY)
    assert not cut["test"]


def test_one_question_is_never_in_two_splits():
    twice = [*MANY, *({**row, "question": row["question"].upper()} for row in MANY)]
    once, again = cut_rows(MATH, MANY), cut_rows(MATH, twice)
    for split, rows in once.items():
        assert {read_item(MATH, row).key for row in again[split]} == {read_item(MATH, row).key for row in rows}


# --- generated problems


@given(PROBLEMS)
def test_a_problem_has_the_value_that_its_text_has_in_python(problem):
    assert problem.value == eval(problem.text)


@given(st.lists(st.integers(-9, 9), min_size=2, max_size=6), st.randoms(use_true_random=False))
def test_the_operands_of_a_sum_are_unordered(operands, rng):
    shuffled = rng.sample(operands, len(operands))
    for operator in "+*":
        operators = (operator,) * (len(operands) - 1)
        assert Problem(tuple(operands), operators).key == Problem(tuple(shuffled), operators).key


@given(PROBLEMS, PROBLEMS)
def test_problems_of_one_key_have_one_value(first, second):
    assert first.key != second.key or first.value == second.value


def test_the_sides_of_a_difference_are_ordered():
    assert Problem((3, 5), ("-",)).key != Problem((5, 3), ("-",)).key
    assert Problem((3, 5), ("+",)).key != Problem((3, 5), ("-",)).key
    assert Problem((9, 3, 5), ("-", "-")).key == Problem((9, 5, 3), ("-", "-")).key


def test_negative_operands_stand_in_brackets():
    assert Problem((-3, -5, 2), ("-", "*")).text == "-3 - (-5) * 2"


@pytest.mark.parametrize("operators", ["+", "-", "*", "+-", "+*", "-*", "+-*"])
@pytest.mark.parametrize(("values", "terms"), [(2, 2), (3, 2), (3, 3), (2, 4)])
def test_the_family_size_is_the_number_of_keys(operators, values, terms):
    keys = {
        Problem(operands, drawn).key
        for operands in product(range(1, values + 1), repeat=terms)
        for drawn in product(operators, repeat=terms - 1)
    }
    assert count_problems(operators, values, terms) == len(keys)


def test_sums_up_to_99_are_5050():
    assert facts(SUMS).family_size == 100 * 101 // 2
    assert facts(MATH).family_size is None


def test_generated_operands_stay_in_their_range():
    texts = " ".join(start(GAMES[1], seed).item.question for seed in range(200))
    assert {int(number) for number in re.findall(r"-?\d+", texts.replace("- ", ""))} == set(range(-9, 10))


# --- parameters


@pytest.mark.parametrize(
    ("params", "words"),
    [
        (QuestionParams(), "exactly one of `dataset` and `generate`"),
        (QuestionParams(dataset=LOCAL, generate=Arithmetic()), "exactly one of"),
        (QuestionParams(generate=Arithmetic(low=5, high=5)), "`generate.low` is 5"),
        (QuestionParams(kind="text", generate=Arithmetic()), "not `text`"),
        (QuestionParams(kind="choice", dataset=LOCAL), "needs `dataset.choices`"),
    ],
)
def test_contradictions_are_named(params, words):
    assert words in check(params)


@pytest.mark.parametrize("game", GAMES)
def test_parameters_that_can_be_played_are_not_refused(game):
    assert check(game.params) is None
    assert game.facts == facts(game.params)


def test_a_listed_choice_can_be_played_at_random():
    assert (facts(CHOICE).actions, facts(MATH).actions) == ("listed", "free_text")
    assert "random" in facts(CHOICE).players
    assert "random" not in facts(MATH).players


@pytest.mark.parametrize(("name", "kind"), [("math", "math"), ("arithmetic", "number")])
def test_the_shipped_games_have_valid_parameters(name, kind):
    values = YAML(typ="safe").load((shipped("games") / f"{name}.yaml").read_text(encoding="utf-8"))
    assert values.pop("type") == "question"
    params = make_params(QuestionParams, values)
    assert params.kind == kind
    assert (check(params) is None) == (name == "arithmetic")

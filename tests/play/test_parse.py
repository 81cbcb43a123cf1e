from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.game import FreeText
from gift_dsl.play.parse import BadFormat, IllegalAction, Parsed, parse_answer, read_action, without_thoughts

LETTERS = ("A", "B", "C")
CELLS = tuple(str(cell) for cell in range(1, 10))
PLACES = ("1,1", "1,12", "11,2")
answers = st.text(st.characters(exclude_characters="<>", codec="utf-8"), min_size=1).filter(str.strip)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>B</answer>", "B"),
        ("<answer> B </answer>\n", "B"),
        ("<answer>\nB\n</answer>", "B"),
        ("I think it is C, no, B. <answer>B</answer>", "B"),
        ("<think>C?</think> <answer>B</answer>", "B"),
        ("<think>C? <answer>C</answer> no.</think>\n\n<answer>B</answer>", "B"),
        ("the template opened it</think><answer>B</answer>", "B"),
        ("<Answer>B</ANSWER>", "B"),
        ("< answer >B</ answer >", "B"),
        ("**<answer>B</answer>**", "B"),
        ("<answer>B</answer>.", "B"),
        ("<answer>B</answer> or rather <answer>B</answer>", "B"),
        ("<answer>0</answer>", "0"),
        ("<answer>x < 2</answer>", "x < 2"),
    ],
)
def test_an_answer_is_the_content_of_its_element(text, answer):
    assert parse_answer(text) == Parsed(answer)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("B", "no <answer> element"),
        ("", "no <answer> element"),
        ("<answer>B", "no <answer> element is closed"),
        ("B</answer>", "no <answer> element"),
        ("<answer></answer>", "the <answer> element is empty"),
        ("<answer> \n </answer>", "the <answer> element is empty"),
        ("<answer>A</answer><answer>B</answer>", "2 different <answer> elements"),
        ("<answer>A<answer>B</answer>", "a <answer> tag is not paired"),
        ("<answer>A</answer></answer>", "a <answer> tag is not paired"),
        ("I write <answer> and then <answer>B</answer>", "a <answer> tag is not paired"),
        ("<answer>B</answer> because it wins", "text after </answer>: `because it wins`"),
        ("<answer>B</answer>\nuser\nYou won!", "text after </answer>: `user You won!`"),
        ("<think>B <answer>B</answer>", "the <think> part is not closed"),
        ("<think><answer>B</answer></think>", "no <answer> element"),
        ("<think>a</think><answer>B</answer><think>b", "the <think> part is not closed"),
    ],
)
def test_a_completion_without_one_readable_answer_is_data_with_a_reason(text, reason):
    assert parse_answer(text) == BadFormat(reason)


def test_another_tag_is_asked_for():
    assert parse_answer("<answer>1</answer> <move>2</move>", "move") == Parsed("2")
    assert parse_answer("<answer>1</answer>", "move") == BadFormat("no <move> element")


def test_a_think_part_can_be_required_or_forbidden():
    plain, thoughtful = "<answer>B</answer>", "<think>…</think><answer>B</answer>"
    assert parse_answer(plain, think="required") == BadFormat("no <think> part")
    assert parse_answer(thoughtful, think="required") == Parsed("B")
    assert parse_answer(thoughtful, think="forbidden") == BadFormat("a <think> part")
    assert parse_answer(plain, think="forbidden") == Parsed("B")


@given(answer=answers, before=answers)
def test_any_text_can_be_an_answer_after_any_text(answer, before):
    assert parse_answer(f"{before}<answer>{answer}</answer>") == Parsed(answer.strip())


@given(
    text=st.text() | st.lists(st.sampled_from(["<answer>", "</answer>", "<think>", "</think>", "A", " "])).map("".join)
)
def test_every_text_has_an_answer_or_a_reason(text):
    match parse_answer(text):
        case Parsed(answer):
            assert answer == answer.strip() != ""
        case BadFormat(reason):
            assert reason


@pytest.mark.parametrize(
    "answer", ["B", " B ", "b", "(B)", "[b]", "**B**", "B.", "B)", "(B).", "`B`", '"B"', "**(B)**", "B:"]
)
def test_what_is_harmless_around_an_action_is_left_out(answer):
    assert read_action(answer, LETTERS) == "B"


@pytest.mark.parametrize("answer", ["D", "AB", "A B", "A or B", "B: because", "Action B", "(B", "-B", "", "  ", "B\nA"])
def test_everything_else_is_illegal(answer):
    assert isinstance(read_action(answer, LETTERS), IllegalAction)


def test_zero_is_an_action():
    assert read_action("0", ("0", "1")) == "0"
    assert read_action("(0)", ("0", "1")) == "0"


def test_a_number_in_another_notation_is_another_action():
    for answer in ("05", "5.0", "+5", "five", "5 5", "55"):
        assert isinstance(read_action(answer, CELLS), IllegalAction)


def test_spaces_inside_an_action_are_harmless_where_they_join_nothing():
    assert read_action("(1, 12)", PLACES) == "1,12"
    assert read_action("11 , 2", PLACES) == "11,2"
    assert isinstance(read_action("1 1,2", PLACES), IllegalAction)


def test_an_answer_that_could_be_two_actions_is_neither_unless_it_is_exact():
    assert read_action("a", ("a", "A")) == "a"
    assert read_action("(a)", ("a", "A")) == IllegalAction("`(a)` could be a or A")


separators = st.text(st.characters(exclude_categories=("L", "N", "Cs")), max_size=5)


@given(first=st.sampled_from(CELLS), second=st.sampled_from(CELLS), separator=separators)
def test_no_separator_plays_two_actions_in_one_turn(first, second, separator):
    assert isinstance(read_action(f"{first}{separator}{second}", CELLS), IllegalAction)


@given(first=st.sampled_from(PLACES), second=st.sampled_from(PLACES), separator=separators)
def test_no_separator_plays_two_cells_of_a_large_board(first, second, separator):
    assert isinstance(read_action(f"{first}{separator}{second}", PLACES), IllegalAction)


@pytest.mark.parametrize("separator", ["||", " || ", ",", "\n", ";", " then "])
def test_the_separator_of_the_reference_is_not_read(separator):
    text = f"<answer>1{separator}2{separator}3</answer>"
    parsed = parse_answer(text)
    assert isinstance(parsed, Parsed)
    assert isinstance(read_action(parsed.answer, CELLS), IllegalAction)


@given(action=st.sampled_from(LETTERS + CELLS + PLACES))
def test_every_legal_action_names_itself(action):
    assert read_action(action, LETTERS + CELLS + PLACES) == action


def test_free_text_is_itself_unless_the_rules_refuse_it():
    assert read_action(" it is **round** ", FreeText()) == "it is **round**"
    assert read_action("an apple", FreeText(forbidden=("apple",))) == IllegalAction("the text contains `apple`")
    assert isinstance(read_action("x" * 11, FreeText(max_chars=10)), IllegalAction)


def test_a_long_answer_is_cut_in_its_reason():
    found = read_action("x" * 500, LETTERS)
    assert isinstance(found, IllegalAction)
    assert len(found.reason) < 120


def test_thoughts_are_everything_up_to_the_last_closing_tag():
    assert without_thoughts("<think>a</think>\n\nb") == "b"
    assert without_thoughts("a</think>b</think> c") == "c"
    assert without_thoughts("no thoughts") == "no thoughts"

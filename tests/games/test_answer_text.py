"""Answers without LaTeX delimiters: read whole or not at all."""

from __future__ import annotations

import pytest

from gift_dsl.games.answer_text import is_delimited, value_as_latex


@pytest.mark.parametrize("text", ["$5$", "it is $5$", r"\(5\)", r"\[5\]", r"so \boxed{5}", "$5"])
def test_delimiters_come_in_pairs(text):
    assert is_delimited(text) == (text != "$5")


@pytest.mark.parametrize(
    ("text", "latex"),
    [
        ("5", "5"),
        (" 5. ", "5"),
        ("$5", "5"),
        (r"\$5", "5"),
        ("**5**", "5"),
        ("**5.**", "5"),
        ("-5", "-5"),
        ("\N{MINUS SIGN}5", "-5"),
        (r"\frac{1}{2}", r"\frac{1}{2}"),
        (r"10\text{ cm}", r"10\text{ cm}"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix}1\\2\end{pmatrix}"),
        ("y = 2x + 3", "y = 2x + 3"),
        ("\N{SQUARE ROOT}2", r"\sqrt{2}"),
        ("\N{SQUARE ROOT}(x+1)", r"\sqrt{x+1}"),
        ("sqrt(3)/2", r"\sqrt{3}/2"),
        ("2 * 3", r"2 \cdot  3"),
        ("1e-5", r"1\cdot 10^{-5}"),
        ("1 000 000", "1000000"),
        ("sin x", "sin x"),
        ("12 apples", "12"),
        ("12.5 square feet", "12.5"),
        ("The answer is 5.", "5"),
        ("the area is 2 pi", r"2 \pi "),
        ("Final answer: 3/4", "3/4"),
        ("Adding both, we get 12 apples.", "12"),
        ("the answer is: 7", "7"),
        ("Thus x = 5", "5"),
        ("the line is y = 2x + 3", "y = 2x + 3"),
        ("the ratio is 3:4", "3:4"),
    ],
)
def test_a_value_is_read_from_what_people_write(text, latex):
    assert value_as_latex(text) == latex


@pytest.mark.parametrize(
    "text", ["", " ", "$", "the cat", "1 2 3", "3\n2", "2 million", "2 times root three", "about 5"]
)
def test_anything_else_has_no_value(text):
    assert value_as_latex(text) is None


@pytest.mark.parametrize("text", ["5 apples, 6 pears", "12 is the answer", "the answer is not 5", "2 + 3 apples"])
def test_a_number_somewhere_in_a_sentence_is_not_its_value(text):
    assert value_as_latex(text) is None

"""Which texts are refused: a secret word is found under its disguises, and innocent words are let through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.games.free_text import contains_word, fold, reason_against
from gift_dsl.games.game import FreeText

WORDS = st.sampled_from(["coffee", "tea", "ice cream", "x-ray", "cherry", "knife", "dance", "glasses", "jalape\u00f1o"])


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("coffee", "I like coffee."),
        ("coffee", "COFFEE!"),
        ("coffee", "two coffees"),
        ("coffee", "the coffee's smell"),
        ("coffee", "the coffee\u2019s smell"),
        ("coffee", "a coffeehouse"),
        ("coffee", "cof-fee"),
        ("coffee", "cof\u00adfee"),
        ("coffee", "c-o-f-f-e-e"),
        ("coffee", "c o f f e e"),
        ("coffee", "spelled C. O. F. F. E. E."),
        ("coffee", "c_o_f_f_e_e"),
        ("coffee", "co\u200bffee"),
        ("coffee", "cof\u2060fe\u200de"),
        ("coffee", "c\u00f6ff\u00e9e"),
        ("coffee", "co\u0308ffee"),
        ("coffee", "\uff43\uff4f\uff46\uff46\uff45\uff45"),
        ("coffee", "co\ufb00ee"),
        ("coffee", "\u0441\u043effee"),
        ("coffee", "*coffee*"),
        ("tea", "a cup of tea"),
        ("tea", "teas"),
        ("tea", "tea-time"),
        ("tea", "Tea's"),
        ("tea", "t e a"),
        ("bus", "buses"),
        ("ice cream", "ice cream"),
        ("ice cream", "icecream"),
        ("ice cream", "ice-cream"),
        ("ice cream", "ice,  cream"),
        ("ice cream", "Ice_Creams"),
        ("ice cream", "ice\u00a0cream"),
        ("fishing rod", "two fishing rods"),
        ("x-ray", "an X-ray"),
        ("x-ray", "xray"),
        ("x-ray", "x ray"),
        ("cherry", "cherries"),
        ("knife", "knives"),
        ("wolf", "wolves"),
        ("dance", "dancing"),
        ("glasses", "a glass"),
        ("noodles", "one noodle"),
        ("cherries", "a cherry"),
        ("jalape\u00f1o", "jalapeno"),
    ],
)
def test_a_forbidden_word_is_found_under_its_disguises(word, text):
    assert contains_word(text, word)
    assert reason_against(FreeText(forbidden=(word,)), text) == f"the text contains `{word}`"


@pytest.mark.parametrize(
    ("word", "text"),
    [
        ("coffee", "a hot drink in the morning"),
        ("coffee", "c of fee"),
        ("tea", "steam, teams and a steady hand"),
        ("car", "carpets are scarce"),
        ("ice cream", "a nice cream"),
        ("ice cream", "cream over ice"),
        ("news", "something new"),
        ("glass", "glad as can be"),
        ("tennis", "ten is a number"),
        ("bus", "business"),
        ("grape", "a grapple"),
        ("...", "..."),
    ],
)
def test_other_words_are_let_through(word, text):
    assert not contains_word(text, word)
    assert reason_against(FreeText(forbidden=(word,)), text) is None


@pytest.mark.parametrize("text", ["", " ", "\n\t", "\u200b", " \u200d\ufeff "])
def test_empty_text_is_refused_even_where_it_has_invisible_characters(text):
    assert reason_against(FreeText(), text) == "the text is empty"


def test_text_is_refused_above_its_length_and_not_at_it():
    assert reason_against(FreeText(max_chars=4), "four") is None
    assert reason_against(FreeText(max_chars=4), "fives") == "the text has 5 characters, more than 4"


@pytest.mark.parametrize("text", ["a\nb", "a\n", "a\r\nb", "a\u2028b", "a\x0bb", "\na"])
def test_line_breaks_are_refused_only_where_one_line_is_asked_for(text):
    assert reason_against(FreeText(one_line=True), text) == "the text has more than one line"
    assert reason_against(FreeText(), text) is None


def test_the_reason_names_the_word_that_was_found():
    assert reason_against(FreeText(forbidden=("tea", "mug")), "a big mug") == "the text contains `mug`"


@given(word=WORDS, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_word_between_spaces_is_always_found(word, before, after):
    assert contains_word(f"{before} {word} {after}", word)


@given(word=WORDS, hidden=st.sampled_from("\u200b\u200c\u200d\u2060\ufeff\u00ad"), data=st.data())
def test_an_invisible_character_hides_nothing(word, hidden, data):
    place = data.draw(st.integers(0, len(word)))
    assert contains_word(word[:place] + hidden + word[place:], word)


@given(text=st.text(max_size=60))
def test_folding_twice_is_folding_once(text):
    assert fold(fold(text)) == fold(text)


@given(text=st.text(max_size=200), free=st.builds(FreeText, max_chars=st.integers(1, 100), one_line=st.booleans()))
def test_text_that_is_not_refused_keeps_every_rule(text, free):
    if reason_against(free, text) is None:
        assert text.strip()
        assert len(text) <= free.max_chars
        assert not free.one_line or "\n" not in text

"""Did you mean: which names a mistyped word may stand for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.spec.suggest import did_you_mean, distance, suggest

KEYS = ["group_size", "groups_per_step", "learning_rate", "kl_coef", "clip_high", "clip_low", "preset", "temperature"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("group_size", ["group_size"]),
        ("gruop_size", ["group_size"]),
        ("group-size", ["group_size"]),
        ("GroupSize", ["group_size"]),
        ("groupsize", ["group_size"]),
        ("prest", ["preset"]),
        ("klcoef", ["kl_coef"]),
        ("temp", ["temperature"]),
        ("temperature_c", ["temperature"]),
        ("learning_rate_max", ["learning_rate"]),
        ("rate_learning", ["learning_rate"]),
        ("clip_hi", ["clip_high"]),
        ("clip", ["clip_high", "clip_low"]),
        ("nothing_like_it", []),
        ("", []),
        ("x", []),
    ],
)
def test_a_mistyped_word_is_answered_with_what_was_meant(word, meant):
    assert suggest(word, KEYS) == meant


def test_short_words_allow_fewer_edits_than_long_ones():
    assert suggest("abd", ["abc"]) == ["abc"]
    assert suggest("add", ["abc"]) == []
    assert suggest("abcdefx", ["abcdefg"]) == ["abcdefg"]
    assert suggest("axcxefx", ["abcdefg"]) == []
    assert suggest("axcxefxh", ["abcdefgh"]) == ["abcdefgh"]


def test_only_the_nearest_are_named_and_three_at_most():
    assert suggest("qwen14", ["qwen14b", "qwen7b", "gemini"]) == ["qwen14b"]
    assert suggest("run", ["run1", "run2", "run3", "run4"]) == ["run1", "run2", "run3"]


def test_what_is_too_long_for_a_name_is_not_compared():
    assert suggest("a" * 80, ["a" * 79]) == ["a" * 79]
    assert suggest("a" * 81, ["a" * 80]) == []
    assert suggest("a" * 80, ["a" * 81]) == []


def test_a_single_letter_is_not_taken_for_another():
    assert suggest("y", ["x"]) == []
    assert suggest("Y", ["y"]) == ["y"]


def test_the_hint_asks_lists_or_is_silent():
    assert did_you_mean("prest", KEYS) == "did you mean `preset`?"
    assert did_you_mean("clip", KEYS) == "did you mean `clip_high` or `clip_low`?"
    assert did_you_mean("run", ["run1", "run2", "run3"]) == "did you mean `run1`, `run2` or `run3`?"
    assert did_you_mean("zzz", ["dev", "test"]) == "known: `dev`, `test`"
    assert did_you_mean("zzz", [f"name{n}" for n in range(13)]) is None
    assert did_you_mean("zzz", []) is None


@pytest.mark.parametrize(
    ("left", "right", "edits"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("abc", "acb", 1),
        ("abc", "ab", 1),
        ("abc", "abcd", 1),
        ("abc", "axc", 1),
        ("ca", "abc", 3),
        ("kitten", "sitting", 3),
        ("abcd", "badc", 2),
        ("", "abc", 3),
    ],
)
def test_the_distance_counts_insertions_deletions_replacements_and_swaps(left, right, edits):
    assert distance(left, right, 9) == edits
    assert distance(right, left, 9) == edits


WORDS = st.text(alphabet="abc", max_size=7)


@given(WORDS, WORDS, st.integers(0, 4))
def test_a_distance_beyond_the_cap_is_told_as_just_beyond(left, right, cap):
    assert distance(left, right, cap) == min(distance(left, right, 99), cap + 1)


@given(WORDS, st.integers(0, 7), st.sampled_from("abcd"))
def test_one_edit_is_a_distance_of_at_most_one(word, at, letter):
    assert distance(word, word[:at] + letter + word[at:], 5) == 1
    assert distance(word, word[:at] + word[at + 1 :], 5) <= 1
    assert distance(word, word[:at] + letter + word[at + 1 :], 5) <= 1


@given(st.text(), st.lists(st.text(), max_size=5))
def test_only_options_are_suggested(word, options):
    assert set(suggest(word, options)) <= set(options)

"""What `events_plain` answers is what ruamel answers: kinds, values, styles and places; where it cannot, it says so."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import example, given

from gift_dsl.spec.events import YamlSyntaxError, parse_events
from gift_dsl.spec.events_plain import MAX_CHARACTERS, MAX_DEPTH, plain_events
from gift_dsl.spec.events_ruamel import ruamel_events
from gift_dsl.spec.source import _CONTROL
from tests.spec.test_events import SPEC, texts
from tests.test_fuzz import TEXT_DAMAGE, composed, damage_tree

ROOT = Path(__file__).parent.parent.parent
SHIPPED = sorted([*ROOT.glob("specs/**/*.yaml"), *ROOT.glob("games/*.yaml")])
WRONG = sorted(ROOT.glob("tests/**/*.yaml"))
BEYOND = {"own_prompt.yaml", "quickstart.yaml"}


def seen_by_ruamel(text):
    """Every event, or None for a text that is no YAML."""
    try:
        return list(ruamel_events(text))
    except YamlSyntaxError:
        return None


def read(path):
    """A text as `parse_yaml` hands it on; None where it refuses the characters."""
    text = path.read_bytes().decode("utf-8", "replace").removeprefix("\ufeff")
    return None if _CONTROL.search(text) else text


def agree(text):
    """Whether the plain reader answered; it must then have said what ruamel says."""
    found = plain_events(text)
    if found is not None:
        assert found == seen_by_ruamel(text), text
    return found is not None


def test_it_reads_every_shipped_spec_but_those_with_a_block_text_or_an_anchor():
    refused = {path.name for path in SHIPPED if not agree(read(path))}
    assert refused == BEYOND


def test_it_agrees_on_every_text_of_the_tests():
    answers = [agree(text) for path in WRONG if (text := read(path)) is not None]
    assert sum(answers) > 150


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_it_agrees_on_damaged_specs(path):
    rng = random.Random(path.name)
    for _ in range(2):
        for damage in TEXT_DAMAGE:
            text = damage(read(path), rng)
            if not _CONTROL.search(text):
                agree(text)


def test_it_agrees_on_json():
    rng = random.Random(1)
    path = ROOT / "specs" / "nested_all.yaml"
    written = [damage_tree(composed(path), rng) for _ in range(12)]
    assert sum(agree(text) for text in written if not _CONTROL.search(text)) >= 4


@given(texts())
@example(SPEC)
@example("a:\n- b\n-   c: d\n    e:\n- - f\n  - g\nh: {i: [j k, 'l''m', \"n\"], o-p: q}   # r\n")
@example("a:\nb: c # d\n\n  # e\nf:\n  g")
@example("a: b\n  c")
@example("a: b\n# c\n  d")
@example("- a: 1\n b: 2")
@example("a: 1\n- b")
@example("{a: 1,\n# b\nc: [d\n, e]}\n")
@example("[a b\n, -1, -.5, .5, ..]")
@example("a:b: c#d\ne: f:\n")
@example("--- a\n")
@example("a: ...\n...\n")
@example("a: '''b'\n")
@example(" a: 1\n b: 2")
@example(f"{'k' * 1030}: 1")
def test_it_agrees_on_any_text(text):
    agree(text)


@pytest.mark.parametrize(
    "text", ["", "# only a comment\n", "a: &b 1", "a: *b", "!a b", "a: |\n  b", "a:\tb", "? a", "a\n"]
)
def test_it_leaves_to_ruamel_what_it_does_not_know_or_agrees(text):
    agree(text)


def test_deep_and_long_texts_are_left_to_ruamel():
    assert plain_events("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)) is None
    assert plain_events("- " * (MAX_DEPTH + 1) + "a") is None
    assert plain_events(f"a: {'b' * MAX_CHARACTERS}") is None


@pytest.mark.parametrize("text", ["a: {b: 1}", SPEC])
def test_either_reader_stands_behind_the_one_entry(text):
    assert list(parse_events(text)) == seen_by_ruamel(text)

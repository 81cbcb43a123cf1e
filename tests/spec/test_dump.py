from __future__ import annotations

import math
import warnings

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from gift_dsl.spec.dump import dump_yaml, scalar
from gift_dsl.spec.source import parse_yaml

TRAPS = (
    *("no", "On", "y", "~", "null", "True", "1:30", "1e-6", "1_000", "0x1f", "010", ".inf", "2026-01-15", "=", "<<"),
    *(
        "",
        " x",
        "x ",
        "a: b",
        "a #b",
        "a:",
        "- x",
        "? x",
        "#x",
        "@x",
        "%x",
        "&x",
        "*x",
        "!x",
        "|",
        ">",
        "[x",
        "{{ x }}",
    ),
    *("x\ny", "x\n", "\n", "x\n\n", "  x\ny", "a\n  b\n", "---\nx", "a\r\nb", "a\tb\nc", "\x85", "\u2028", "\ufeff"),
    *("it's", 'say "x"', "back\\slash", "é", "日本", "\x07", "e1", "/tmp", "./x", "https://x/v1", "org/name"),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(TRAPS)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
DATA = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)


def read_as_1_1(text):
    """What a reader of YAML 1.1 makes of a text."""
    reader = YAML(typ="safe", pure=True)
    reader.version = (1, 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return reader.load(text)


@settings(max_examples=200)
@given(data=st.dictionaries(TEXTS, DATA, min_size=1, max_size=5), noted=st.booleans())
def test_readers_of_yaml_1_1_and_of_1_2_read_what_was_meant(data, noted):
    text = dump_yaml(data, lambda path: "a note: with { signs" if noted else None)
    tree, found = parse_yaml(text, "dump")
    assert found == []
    assert tree.plain() == data
    assert read_as_1_1(text) == data


@pytest.mark.parametrize("text", TRAPS)
def test_a_text_stays_text(text):
    assert read_as_1_1(f"x: {scalar(text)}") == {"x": text}


@pytest.mark.parametrize(
    ("value", "written"),
    [(1e-6, "1.0e-06"), (1.5e-7, "1.5e-07"), (1e22, "1.0e+22"), (3.0, "3.0"), (3, "3"), (True, "true"), (None, "null")],
)
def test_a_number_is_written_so_that_both_read_a_number(value, written):
    assert scalar(value) == written


def test_what_no_spec_can_hold_is_refused():
    with pytest.raises(ValueError, match="not JSON compliant"):
        scalar(math.inf)
    with pytest.raises(TypeError, match="not plain data"):
        scalar(object())


def test_it_reads_as_a_person_writes_it():
    data = {"name": "x", "list": [1, 2], "maps": [{"a": 1, "b": {}}, "c"], "prompt": "one\n  two\n", "tags": []}
    text = dump_yaml(data, lambda path: "here" if path == ("maps", 0, "a") else None)
    assert text == (
        "name: x\nlist: [1, 2]\nmaps:\n  - a: 1  # here\n    b: {}\n  - c\nprompt: |\n  one\n    two\ntags: []\n"
    )

"""Positioned YAML: every value knows its place, and every trap of YAML is safe or has a name."""

import math
import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gift_dsl.errors import Span
from gift_dsl.spec.events import Mark, YamlSyntaxError
from gift_dsl.spec.scalars import resolve
from gift_dsl.spec.source import MAX_BYTES, MAX_DEPTH, MAX_NODES, decode, parse_yaml
from gift_dsl.spec.syntax import explain, split_lines

SPEC = """\
# a comment
gift: 1
name: nested-all
model: {source: Qwen/Qwen2.5-1.5B-Instruct}   # a comment
opponents:
  qwen14b: {type: openai, temperature: 0.5, usd_per_mtok: {input: 0, output: 1e-3}}
games:
  math: &math {type: math, "quoted": 'it''s'}
  again:
    <<: *math
    type: spy
stages:
- name: warmup
  play: {any_of: [math, again]}
  until:
    steps: 20
- {name: nested, play: [a, "b\\n"], until: {steps: 250}}
prompts:
  system: |
    Answer in <answer> tags.
      Indented: yes
  folded: >-
    one
    two
"""


def read(text):
    tree, found = parse_yaml(text, "spec.yaml")
    assert found == []
    assert tree is not None
    return tree


def value_of(text):
    return read(f"value: {text}\n").plain()["value"]


def findings(text):
    return [(f.code, f.span.line, f.span.column) for f in parse_yaml(text, "spec.yaml")[1]]


def the_finding(text):
    (found,) = parse_yaml(text, "spec.yaml")[1]
    return found


def place(span):
    return span.line, span.column, span.end_line, span.end_column


# ── what a text means ──


def test_a_spec_reads_as_plain_data():
    assert read(SPEC).plain() == {
        "gift": 1,
        "name": "nested-all",
        "model": {"source": "Qwen/Qwen2.5-1.5B-Instruct"},
        "opponents": {"qwen14b": {"type": "openai", "temperature": 0.5, "usd_per_mtok": {"input": 0, "output": 0.001}}},
        "games": {"math": {"type": "math", "quoted": "it's"}, "again": {"type": "spy", "quoted": "it's"}},
        "stages": [
            {"name": "warmup", "play": {"any_of": ["math", "again"]}, "until": {"steps": 20}},
            {"name": "nested", "play": ["a", "b\n"], "until": {"steps": 250}},
        ],
        "prompts": {"system": "Answer in <answer> tags.\n  Indented: yes\n", "folded": "one two"},
    }


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("no", "no"),
        ("on", "on"),
        ("off", "off"),
        ("yes", "yes"),
        ("y", "y"),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("null", None),
        ("~", None),
        ("", None),
        ("Null", None),
        ("nULL", "nULL"),
        ("1e-6", 1e-6),
        ("1e6", 1e6),
        ("1E+2", 100.0),
        (".5", 0.5),
        ("5.", 5.0),
        ("-0.0", -0.0),
        ("1.10", 1.1),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2026-01-15", "2026-01-15"),
        ("2026-01-15T10:00:00Z", "2026-01-15T10:00:00Z"),
        ("+5", 5),
        ("-5", -5),
        ("+", "+"),
        (".", "."),
        ("1e", "1e"),
        ("=", "="),
        ("<<", "<<"),
        ("10^-6", "10^-6"),
        ("\u0661", "\u0661"),
        ('"4"', "4"),
        ("'no'", "no"),
        ('"\\ud83d\\ude00 \\u00e9"', "\U0001f600 é"),
        ('"\\x01"', "\x01"),
        ("http://localhost:1414/v1", "http://localhost:1414/v1"),
        ("a#b", "a#b"),
        ("${vars.x}", "${vars.x}"),
    ],
)
def test_a_plain_scalar_means_what_the_core_schema_of_yaml_1_2_says(written, meant):
    read_back = value_of(written)
    assert read_back == meant
    assert type(read_back) is type(meant)


@given(st.integers())
def test_integers_stay_exact(number):
    assert resolve(str(number)) == ("int", number)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_read_back_as_they_were_written(number):
    kind, value = resolve(repr(number))
    assert kind == "float"
    assert math.copysign(1, value) == math.copysign(1, number)
    assert value == number


@given(st.text(min_size=1))
def test_what_is_not_a_number_a_truth_value_or_null_is_text(text):
    kind, value = resolve(text)
    if kind == "text":
        assert value == text
    else:
        assert text.lower() in {"~", "null", "true", "false"} or set(text.lower()) <= set("+-.0123456789abcdefxoin")


def test_integers_beyond_2_to_the_53_stay_integers():
    assert value_of(str(2**53 + 1)) == 2**53 + 1


def test_an_integer_is_read_up_to_the_largest_double_and_leading_zeros_do_not_count():
    largest = str(int(sys.float_info.max))
    assert value_of(largest) == int(largest)
    assert value_of("-" + "0" * 5000 + "7") == -7


@pytest.mark.parametrize(
    "written", [".nan", ".NaN", ".inf", "-.Inf", "+.INF", "1e999", "-1e999", "9" * 309, "9" * 5000, "0x" + "f" * 300]
)
def test_a_number_that_is_not_finite_is_refused_and_stays_a_number(written):
    tree, found = parse_yaml(f"a: {written}\nb: 1", "spec.yaml")
    assert [(f.code, f.span.line, f.span.column) for f in found] == [("yaml-nan", 1, 4)]
    assert tree.plain() == {"a": 0.0, "b": 1}


def test_keys_are_text_as_written():
    assert read("1: a\ntrue: b\n0x1: c\n1.0: d\n'null': e\n").plain() == {
        "1": "a",
        "true": "b",
        "0x1": "c",
        "1.0": "d",
        "null": "e",
    }


def test_a_byte_order_mark_and_any_line_ends_are_fine():
    assert read("\ufeffa: 1\r\nb: |\r\n  x\r\n  y\r\n").plain() == {"a": 1, "b": "x\ny\n"}
    assert read("a: 1\rb: 2\r").plain() == {"a": 1, "b": 2}


def test_an_anchor_is_the_value_that_it_names_with_its_place():
    tree = read("x-a: &a {b: [1]}\nc: *a\nd: [*a, &e text, *e]\n&key k: *key\n*e : 2\n")
    assert tree.plain() == {"x-a": {"b": [1]}, "c": {"b": [1]}, "d": [{"b": [1]}, "text", "text"], "k": "k", "text": 2}
    assert tree.at(("c",)) is tree.at(("x-a",))
    assert tree.at(("d", 1)).raw == "text"
    assert place(tree.at(("d", 1)).span) == (3, 12, 3, 16)


def test_an_anchor_may_be_given_again_and_the_last_one_counts():
    assert read("a: &x 1\nb: *x\nc: &x 2\nd: *x\n").plain() == {"a": 1, "b": 1, "c": 2, "d": 2}
    assert read("a: &x [&x 1, *x]\nb: *x\n").plain() == {"a": [1, 1], "b": 1}


def test_merge_keys_are_shallow_and_local_keys_win_then_earlier_maps():
    tree = read("a: &a {x: 1, m: {p: 1}}\nb: &b {x: 2, y: 2}\nc:\n  m: {q: 1}\n  <<: [*a, *b]\n")
    assert tree.plain()["c"] == {"m": {"q": 1}, "x": 1, "y": 2}
    assert place(tree.at(("c",)).key_spans["y"]) == (2, 14, 2, 15)


def test_a_quoted_merge_key_is_an_ordinary_key():
    assert read('"<<": {a: 1}').plain() == {"<<": {"a": 1}}


# ── where a value stands ──


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (("gift",), (2, 7, 2, 8)),
        (("model",), (4, 8, 4, 44)),
        (("model", "source"), (4, 17, 4, 43)),
        (("opponents", "qwen14b", "usd_per_mtok", "output"), (6, 78, 6, 82)),
        (("games", "math"), (8, 15, 8, 46)),
        (("games", "math", "quoted"), (8, 38, 8, 45)),
        (("games", "again", "type"), (11, 11, 11, 14)),
        (("games", "again", "quoted"), (8, 38, 8, 45)),
        (("stages",), (13, 1, 17, 56)),
        (("stages", 0), (13, 3, 16, 14)),
        (("stages", 0, "play", "any_of"), (14, 18, 14, 31)),
        (("stages", 0, "until"), (16, 5, 16, 14)),
        (("stages", 1, "play", 1), (17, 28, 17, 33)),
        (("prompts", "system"), (19, 11, 22, 1)),
    ],
)
def test_a_value_knows_its_first_and_last_character(path, expected):
    assert place(read(SPEC).at(path).span) == expected


def test_a_key_knows_its_place():
    tree = read(SPEC)
    assert place(tree.key_spans["stages"]) == (12, 1, 12, 7)
    assert place(tree.at(("games", "math")).key_spans["quoted"]) == (8, 28, 8, 36)


@given(st.integers(0, 3), st.sampled_from(["true", "1.10", "'it''s'", '"x\\ty"', "word", "two words", "é 漢字"]))
def test_the_span_of_a_scalar_holds_exactly_what_raw_says(indent, written):
    text = "a: 1\n" + "".join(f"{'  ' * level}k{level}:\n" for level in range(indent))
    text += f"{'  ' * indent}last: {written}   # note\n"
    node = read(text).at((*[f"k{level}" for level in range(indent)], "last"))
    assert node.raw == written
    assert split_lines(text)[node.span.line - 1][node.span.column - 1 : node.span.end_column - 1] == written


def test_columns_count_characters_and_not_bytes():
    assert place(read("é漢: {x: ö, y: 1}").at(("é漢", "y")).span) == (1, 15, 1, 16)


def test_text_cut_out_of_a_line_keeps_its_columns():
    tree, _ = parse_yaml("{a: 1,\nb: x}", "<--set>", column=8)
    assert place(tree.at(("a",)).span) == (1, 12, 1, 13)
    assert place(tree.at(("b",)).span) == (2, 4, 2, 5)
    _, (found,) = parse_yaml("@x", "<--set>", column=8)
    assert found.span.column == 8


@pytest.mark.parametrize(
    ("loc", "expected"),
    [
        (("gift",), (2, 7, 2, 8)),
        (("stages", 0, "grpo", "until", "steps"), (16, 12, 16, 14)),
        (("stages", 0, "grpo", "until"), (16, 5, 16, 14)),
        (("stages", 0, "grpo", "missing"), (13, 3, 13, 15)),
        (("stages", 0), (13, 3, 13, 15)),
        (("stages", 1, "missing"), (17, 3, 17, 56)),
        (("stages",), (12, 1, 12, 7)),
        (("games", "math", "math", "missing"), (8, 3, 8, 7)),
        (("model", "missing"), (4, 1, 4, 6)),
        (("missing",), (2, 1, 2, 8)),
        ((), (2, 1, 2, 8)),
        (("stages", 7), (12, 1, 12, 7)),
        (("gift", "int"), (2, 7, 2, 8)),
    ],
)
def test_a_pydantic_location_becomes_a_short_place(loc, expected):
    assert place(read(SPEC).span_of(loc)) == expected


def test_an_unknown_key_is_shown_where_the_key_stands():
    tree = read(SPEC)
    assert place(tree.key_span_of(("opponents", "qwen14b", "openai", "temperature"))) == (6, 27, 6, 38)
    assert tree.key_span_of(("stages", 0)) == tree.span_of(("stages", 0))
    assert tree.key_span_of(("model", "missing")) == tree.span_of(("model", "missing"))


def test_the_first_line_of_a_value_ends_where_its_last_entry_on_that_line_ends():
    tree = read("a:\n- {b: 1,\n   c: 2}\n- [\n    1]\n")
    assert place(tree.at(("a", 0)).first_line()) == (2, 3, 2, 8)
    assert place(tree.at(("a", 1)).first_line()) == (4, 3, 4, 4)


def test_a_path_that_is_not_there_is_nothing():
    tree = read(SPEC)
    assert tree.at(("gift", "x")) is None
    assert tree.at(("stages", "0")) is None
    assert tree.at(("stages", -1)) is None
    assert tree.at(("nothing", "at", "all")) is None


def test_size_counts_expanded_nodes_and_long_text():
    assert read("a: &a [1, 2]\nb: *a\n").size == 7
    assert read(f"a: {'x' * 640}\n").size == 12
    assert read("a: [[1]]").height == 3


# ── limits ──


def test_an_alias_bomb_is_stopped_before_anything_walks_it():
    text = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for name, before in zip("bcdefghi", "abcdefgh", strict=True):
        text += f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n"
    assert findings(text) == [("yaml-bomb", 5, 12)]


def test_the_bomb_limit_counts_values_exactly():
    items = MAX_NODES - 3  # the map, its key and the list count too
    assert len(read(f"a: [{', '.join(['1'] * items)}]").at(("a",)).items) == items
    assert the_finding(f"a: [{', '.join(['1'] * (items + 1))}]").code == "yaml-bomb"


def test_long_text_behind_aliases_is_a_bomb_too():
    text = f"a: &a {'x' * 100_000}\nb: [{', '.join(['*a'] * 20)}]\n"
    assert the_finding(text).code == "yaml-bomb"


@pytest.mark.parametrize("pair", ["[]", "{}"])
def test_nesting_is_limited_without_recursion(pair):
    opening, closing = pair if pair == "[]" else ("{a: ", "}")
    assert read(opening * MAX_DEPTH + closing * MAX_DEPTH).height == MAX_DEPTH
    found = the_finding(opening * 2000 + closing * 2000)
    assert (found.code, found.span.column) == ("yaml-depth", MAX_DEPTH * len(opening) + 1)


def test_nesting_through_aliases_counts():
    deep = "[" * 30 + "]" * 30
    assert the_finding(f"a: &a {deep}\nb: {'[' * 20}*a{']' * 20}\n").code == "yaml-depth"


def test_block_nesting_is_limited_too():
    text = "".join(f"{' ' * level}a:\n" for level in range(60))
    assert the_finding(text).code == "yaml-depth"


def test_a_file_of_more_than_a_mebibyte_is_refused():
    assert the_finding("#" * (MAX_BYTES + 1)).code == "file-too-large"
    text, (found,) = decode(b"#" * (MAX_BYTES + 1), "big.yaml")
    assert (text, found.code) == (None, "file-too-large")


def test_bytes_that_are_not_utf_8_are_refused_where_they_stand():
    text, (found,) = decode(b"\xef\xbb\xbfa: 1\nb: \xc3\xa9\xff\n", "spec.yaml")
    assert text is None
    assert (found.code, place(found.span)) == ("yaml-encoding", (2, 5, 2, 6))
    assert "0xff" in found.message
    assert decode("\ufeffa: é".encode(), "spec.yaml") == ("a: é", [])


# ── traps ──


@pytest.mark.parametrize(
    ("text", "code", "line", "column"),
    [
        ("", "yaml-empty", 1, 1),
        ("# only a comment\n", "yaml-empty", 1, 1),
        ("---\n", "yaml-empty", 1, 1),
        ("null: 1\n", "yaml-null-key", 1, 1),
        ("a:\n  ~: 1\n", "yaml-null-key", 2, 3),
        (": 1\n", "yaml-null-key", 1, 1),
        ("? \n: 1\n", "yaml-null-key", 1, 2),
        ("a: !!str 1\n", "yaml-tag", 1, 4),
        ("a: !!python/object:os.system x\n", "yaml-tag", 1, 4),
        ("a: ! 1\n", "yaml-tag", 1, 4),
        ("a: &x !env HOME\n", "yaml-tag", 1, 4),
        ("a: !!set {b: ~}\n", "yaml-tag", 1, 4),
        ("a: !x!y z\n", "yaml-tag", 1, 4),
        ("a: !<x\n", "yaml-tag", 1, 4),
        ("a: *b\n", "yaml-alias", 1, 4),
        ("*b\n", "yaml-alias", 1, 1),
        ("a: &a [1, *a]\n", "yaml-recursive", 1, 11),
        ("a: &a\n  b: *a\n", "yaml-recursive", 2, 6),
        ("a: &a {<<: *a}\n", "yaml-recursive", 1, 12),
        ("a: {<<: 1}\n", "yaml-merge", 1, 9),
        ("a: {<<: [{b: 1}, 2]}\n", "yaml-merge", 1, 18),
        ("%YAML 1.1\n---\na: no\n", "yaml-directive", 1, 1),
        ("%FOO bar\n---\na: 1\n", "yaml-directive", 1, 1),
        ("a: 1\n%TAG ! x\n", "yaml-directive", 2, 1),
        ("a: 1\n---\nb: 2\n", "yaml-documents", 2, 1),
        ("a: 1\n...\nb: 2\n", "yaml-documents", 3, 1),
        ("a: \x00\n", "yaml-control", 1, 4),
        ("a: 1\nb: x\x1b[31m\n", "yaml-control", 2, 5),
        ("a: x\u2028y\n", "yaml-control", 1, 5),
        ("a: x\x85y\n", "yaml-control", 1, 5),
        ("a: x\ufeffy\n", "yaml-control", 1, 5),
        ("a: \udcff\n", "yaml-control", 1, 4),
        ('a: "\\ud83d"\n', "yaml-control", 1, 4),
        ("a:\n\tb: 1\n", "yaml-tab", 2, 1),
        ("a:\n  b: 1\n \tc: 1\n", "yaml-tab", 3, 2),
        ("a:\t1\n", "yaml-tab", 1, 3),
        ("a:\n\u00a0\u00a0b: 1\n", "yaml-nbsp", 2, 1),
        ("a:\n \u00a0b: 1\n c: 1\n", "yaml-nbsp", 2, 2),
        ("a: \u00a0b\n", "yaml-nbsp", 1, 4),
        ("a: b\u3000\n", "yaml-nbsp", 1, 4),
        ("a: 1\nb:\u00a0c\n", "yaml-nbsp", 2, 3),
        ("a:\u00a0b", "yaml-nbsp", 1, 1),
        ("a\u2003b: 1\n", "yaml-nbsp", 1, 2),
        ("a: {{ x }}\n", "yaml-braces", 1, 4),
        ("a: {{ x }} b\n", "yaml-braces", 1, 4),
        ("a: [{{x}}, 1]\n", "yaml-braces", 1, 5),
        ("{{ key }}: 1\n", "yaml-braces", 1, 1),
        ("a: {% if x %}\n", "yaml-braces", 1, 4),
        ("a: {b:1}\n", "yaml-syntax", 1, 5),
        ("a: {b, c: 1}\n", "yaml-syntax", 1, 5),
        ("? [a, b]\n: 1\n", "yaml-syntax", 1, 3),
        ("a: &x {b: 1}\n*x : 2\n", "yaml-syntax", 2, 1),
    ],
)
def test_each_trap_has_a_name_and_a_place(text, code, line, column):
    assert findings(text) == [(code, line, column)]


def test_no_break_spaces_inside_text_are_text():
    assert read("a: b\u00a0c\nd: '\u00a0e'\n").plain() == {"a": "b\u00a0c", "d": "\u00a0e"}


def test_every_duplicate_key_is_told_with_a_note_at_the_first_and_the_first_stays():
    tree, found = parse_yaml('a: 1\nb: {c: 1, c: 2}\n"a": 3\na: 4\n&x d: 1\n? *x\n: 2\n', "spec.yaml")
    assert [(f.code, f.span.line, f.notes[0].span.line) for f in found] == [
        ("duplicate-key", 2, 2),
        ("duplicate-key", 3, 1),
        ("duplicate-key", 4, 1),
        ("duplicate-key", 6, 5),
    ]
    assert tree.plain() == {"a": 1, "b": {"c": 1}, "d": 1}


def test_a_second_merge_key_is_a_duplicate_whose_hint_is_a_list():
    found = the_finding("a: &a {x: 1}\nb: {<<: *a, <<: *a}\n")
    assert (found.code, found.hint) == ("duplicate-key", "write `<<: [*a, *b]`")


def test_true_and_1_are_different_keys():
    assert read("1: a\ntrue: b\n").plain() == {"1": "a", "true": "b"}


def test_all_mistakes_that_are_not_syntax_are_told_at_once():
    text = "a: !x 1\na: 2\nb: *nowhere\nc: .inf\nd: {{ x }}\n"
    codes = [f.code for f in parse_yaml(text, "spec.yaml")[1]]
    assert codes == ["yaml-tag", "duplicate-key", "yaml-alias", "yaml-nan", "yaml-braces"]


def test_each_kind_of_control_character_is_told_once():
    assert findings("a: \x01\x02\nb: \x01\n") == [("yaml-control", 1, 4), ("yaml-control", 1, 5)]


def test_an_unknown_alias_is_answered_with_the_anchor_that_was_meant():
    assert the_finding("a: &opponents 1\nb: *oponents\n").hint == "did you mean `opponents`?"
    assert the_finding("a: *emphasis*\n").hint == "if it is text, put it in quotes"


# ── syntax errors, in plain words ──


@pytest.mark.parametrize(
    ("text", "line", "column", "message", "hint"),
    [
        ("x: 2\na:1\nb: 3\n", 2, 2, "a space must follow the colon", "write: a: 1"),
        ("a:1\nb: 3\n", 1, 2, "a space must follow the colon", "write: a: 1"),
        ("x: 2\na:1", 2, 2, "a space must follow the colon", "write: a: 1"),
        ("x: {a:1}\n", 1, 5, "a space must follow the colon", "write `a: 1`"),
        ("x: {a}\n", 1, 5, "the key `a` has no value", "write `a: ...`"),
        ("a: b: c\n", 1, 5, "second colon", 'a: "b: c"'),
        ("- a: it: is # no\n", 1, 8, "second colon", '- a: "it: is"'),
        ("a: @x # y\n", 1, 4, "cannot start with @", 'a: "@x"'),
        ("a: %x\n", 1, 4, "cannot start with %", 'a: "%x"'),
        ('a: `"x"`\n', 1, 4, "cannot start with `", "a: '`\"x\"`'"),
        ("a: ]\n", 1, 4, "cannot start with ]", 'a: "]"'),
        ("a: , b\n", 1, 4, "cannot start with ,", 'a: ", b"'),
        ("a: *\n", 1, 4, "starts an alias", 'a: "*"'),
        ("a: & b\n", 1, 4, "starts an anchor", 'a: "& b"'),
        ('a: "b\nc: 1\n', 1, 4, "this quote is never closed", 'close the text with "'),
        ("a: 'b\n", 1, 4, "this quote is never closed", "close the text with '"),
        ('a: "b\n---\n"', 1, 4, "this quote is never closed", 'close the text with "'),
        ("a: 'it's'\n", 1, 8, "text after the end of a value", "written twice"),
        ('a: "b" c\n', 1, 8, "text after the end of a value", "one pair of quotes"),
        ('"a" "b"\n', 1, 5, "text after the end of the document", "one pair of quotes"),
        ('a: "\\q"\n', 1, 6, "not an escape", "two backslashes"),
        ('a: "\\xZZ"\n', 1, 7, "not an escape", "two backslashes"),
        ('a: "\\UFFFFFFFF"\n', 1, 7, "not an escape", "two backslashes"),
        ('a: "\\U00110000"\n', 1, 7, "not an escape", "two backslashes"),
        ("a: [1, 2\nb: 3\n", 1, 4, "`[` is never closed", "close it with `]`"),
        ("a: {b: 1", 1, 4, "`{` is never closed", "close it with `}`"),
        ("a: [${vars.x}, 1]\n", 1, 5, "inside brackets a reference needs quotes", 'write "${vars.x}"'),
        ("a: {b: ${vars.x}}\n", 1, 8, "inside brackets a reference needs quotes", 'write "${vars.x}"'),
        ("a: [${vars.x\n", 1, 5, "inside brackets a reference needs quotes", 'write "${vars.x}"'),
        ("a: {stages[main].play: x}\n", 1, 5, "a path with brackets needs quotes", 'write "stages[main].play": ...'),
        ("a: {b: [1, ", 1, 8, "`[` is never closed", "close it with `]`"),
        ("a: {b: 1 c: 2}\n", 1, 11, "expected `,` or `}`", "commas"),
        ('a: ["b" c]\n', 1, 9, "expected `,` or `]`", "commas"),
        ("a: b\n}\n", 2, 1, "`}` closes nothing", "delete it"),
        ("a: {b: 1}}\n", 1, 10, "`}` closes nothing", "delete it"),
        ("a:\n  b: 1\n c: 2\n", 3, 2, "indentation of this line", "align"),
        ("a:\n  - b\n - c\n", 3, 2, "indentation of this line", "align"),
        ("a: 1\n b: 2\n", 2, 2, "indented more", "align"),
        ("a: 1\n# note\n\n b: 2\n", 4, 2, "indentation of this line", "align"),
        ("a\nb: 1\n", 1, 1, "no `key: value`", "a colon and a space"),
        ("x: 1\nsome text\nb: 1\n", 2, 1, "no `key: value`", "a colon and a space"),
        ("a: 1\n- b\n", 2, 1, "a list item among keys", "indent the list"),
        ("- a\nb: 1\n", 2, 1, "a key among list items", "indent the key"),
        ("a: - b\n", 1, 4, "a list cannot start", "own line"),
        ("a: ? b\n", 1, 4, "`? ` starts a key", "quotes"),
        ("a: | b\n", 1, 4, "after `|` the text starts on the next line", "quotes"),
        ("a: >x\n  b\n", 1, 4, "after `>` the text starts on the next line", "quotes"),
        ("a: |0\n  b\n", 1, 4, "after `|` the text starts on the next line", "quotes"),
        ("a: |\n  \n    b\n", 1, 4, "starts with a blank line", "delete these spaces"),
        ("a: |\n  \n \n    b\n", 1, 4, "starts with a blank line", "delete these spaces"),
        ("a: |\n    b\n  c\n", 3, 3, "text after the end of a value", "one pair of quotes"),
        ("a: 1\nb: 2\n*c\n", 3, 1, "no `key: value`", "a colon and a space"),
        ('a: "b"\n  c: 1\n', 2, 3, "indentation of this line", "align"),
        ("a: 'b'c: 1\n", 1, 7, "text after the end of a value", "one pair of quotes"),
    ],
)
def test_a_syntax_error_is_told_in_plain_words(text, line, column, message, hint):
    found = the_finding(text)
    assert (found.code, found.span.line, found.span.column) == ("yaml-syntax", line, column)
    assert message in found.message
    assert hint in found.hint


def test_what_no_rule_knows_is_told_in_the_words_of_the_parser():
    found = explain(YamlSyntaxError("something new", Mark(3, 0, 3)), "a: b", "spec.yaml")
    assert found.message == "this is not YAML: something new"
    assert str(found.span) == "spec.yaml:1:4"


def test_a_problem_at_the_end_of_a_text_is_placed_behind_its_last_word():
    found = explain(YamlSyntaxError("something new", Mark(6, 2, 0)), "a: b\n\n", "spec.yaml")
    assert str(found.span) == "spec.yaml:1:5"


# ── whatever the text ──

FRAGMENTS = [
    "\t",
    "\n",
    "\r\n",
    " ",
    "  ",
    "-",
    "- ",
    ":",
    ": ",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "#",
    "|",
    ">",
    "?",
    "? ",
]
FRAGMENTS += [
    "&a",
    "*a",
    "!",
    "!!str",
    "@",
    "%",
    "%YAML 1.1\n",
    "---\n",
    "...\n",
    "\\",
    ",",
    "<<: ",
    "{{",
    "}}",
    "${vars.x}",
]
FRAGMENTS += ["\u00a0", "\u3000", "\x00", "\x85", "\ufeff", "é", "漢", "1e999", "0o7", "null", "~", "\ud800", '"\\u']


@st.composite
def mutants(draw):
    """A valid spec with a few pieces cut out, doubled, or put in."""
    text = SPEC
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = start + draw(st.integers(0, 12))
        text = text[:start] + draw(st.sampled_from([*FRAGMENTS, "", text[start:end] * 2])) + text[end:]
    return text


def inside(span: Span, text: str) -> bool:
    lines = split_lines(text.removeprefix("\ufeff"))
    return (
        1 <= span.line <= len(lines)
        and 1 <= span.column <= len(lines[span.line - 1]) + 1
        and (span.line, span.column) <= (span.end_line, span.end_column)
    )


@given(mutants())
@example("a: {b: [")
@example("%")
@example("? ")
def test_no_text_crashes_the_reader_and_every_finding_has_a_place_inside_it(text):
    tree, found = parse_yaml(text, "spec.yaml")
    assert tree is not None or found
    for finding in found:
        assert inside(finding.span, text)
        assert finding.message
        assert all(note.span is None or inside(note.span, text) for note in finding.notes)


@given(st.text(alphabet=st.sampled_from(sorted(set("".join(FRAGMENTS) + "ab1 \n"))), max_size=40))
def test_no_soup_of_signs_crashes_the_reader(text):
    tree, found = parse_yaml(text, "spec.yaml")
    assert tree is not None or found
    assert all(inside(finding.span, text) for finding in found)


@given(mutants())
def test_a_tree_without_findings_has_every_span_inside_the_text(text):
    tree, found = parse_yaml(text, "spec.yaml")
    waiting = [tree] if tree is not None and not found else []
    while waiting:
        node = waiting.pop()
        assert inside(node.span, text)
        assert all(inside(span, text) for span in node.key_spans.values())
        assert node.fields.keys() == node.key_spans.keys()
        waiting += [*node.fields.values(), *node.items]

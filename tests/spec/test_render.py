"""Diagnostics as people, programs and GitHub read them; secrets are in none of them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import Diagnostic, Note, Span
from gift_dsl.spec.render import deduplicate, render_text, to_github, to_json
from gift_dsl.spec.secrets import find_secrets, mask
from gift_dsl.spec.source import parse_yaml

SOURCE = """\
gift: 1
opponents:
  qwen14b: {type: openai}




games:


  ttt: {type: tictactoe}
  ttt: {opponent: qwen14}
"""
SOURCES = {"specs/bad.yaml": SOURCE}
UNKNOWN = Diagnostic(
    "unknown-opponent",
    "opponent `qwen14` is not defined",
    Span("specs/bad.yaml", 12, 19, 12, 25),
    hint="did you mean `qwen14b`?",
    path="games.ttt.opponent",
    notes=(Note("`qwen14b` is defined here", Span("specs/base.yaml", 7, 3, 7, 10)),),
)
KEY = "sk-proj-" + "abcDEF0123456789" * 2


def shown(line, column, end, **options):
    """The excerpt alone, for a finding on the only line of a file."""
    found = Diagnostic("x", "m", Span("f", 1, column, 1, end), secret=options.pop("secret", False))
    return render_text([found], {"f": line}, **options).split("\n")[1:]


# ── for people ──


def test_a_diagnostic_has_place_message_excerpt_caret_hint_and_notes():
    assert render_text([UNKNOWN], SOURCES) == (
        "specs/bad.yaml:12:19: error[unknown-opponent]: opponent `qwen14` is not defined\n"
        " 12 │   ttt: {opponent: qwen14}\n"
        "    │                   ^^^^^^\n"
        "   = help: did you mean `qwen14b`?\n"
        "   = note: specs/base.yaml:7:3: `qwen14b` is defined here"
    )


def test_ascii_is_enough():
    text = render_text([UNKNOWN], SOURCES, ascii_only=True)
    assert text.isascii()
    assert " 12 |   ttt: {opponent: qwen14}\n    |" in text


def test_several_follow_one_another_in_the_given_order():
    other = Diagnostic("unused-var", "never used", Span("specs/bad.yaml", 1, 1, 1, 5), severity="warning")
    lines = render_text([UNKNOWN, other], SOURCES).split("\n")
    assert lines[5:] == ["specs/bad.yaml:1:1: warning[unused-var]: never used", " 1 │ gift: 1", "   │ ^^^^"]


def test_without_a_source_there_is_no_excerpt():
    assert render_text([UNKNOWN], {}).split("\n")[1:] == [
        "   = help: did you mean `qwen14b`?",
        "   = note: specs/base.yaml:7:3: `qwen14b` is defined here",
    ]


def test_a_note_needs_no_place():
    found = Diagnostic("x", "m", Span("f", 1, 1, 1, 2), notes=(Note("by the way"),))
    assert render_text([found], {}) == "f:1:1: error[x]: m\n   = note: by the way"


@pytest.mark.parametrize("line", [4, 99])
def test_a_blank_line_or_one_beyond_the_end_is_not_shown(line):
    found = Diagnostic("x", "m", Span("specs/bad.yaml", line, 1, line, 1))
    assert render_text([found], SOURCES) == f"specs/bad.yaml:{line}:1: error[x]: m"


def test_an_empty_place_gets_one_caret_even_behind_the_end_of_the_line():
    assert shown("a:", 3, 3) == [" 1 │ a:", "   │   ^"]


def test_a_place_of_several_lines_is_marked_to_the_end_of_its_first():
    found = Diagnostic("x", "m", Span("f", 1, 4, 3, 2))
    assert render_text([found], {"f": "a: {b: 1,  \n c: 2\n}"}).split("\n")[1:] == [
        " 1 │ a: {b: 1,  ",
        "   │    ^^^^^^",
    ]


def test_wide_characters_take_two_columns_and_combining_ones_none():
    assert shown("漢字: x", 5, 6) == [" 1 │ 漢字: x", "   │       ^"]
    assert shown("漢字: x", 1, 3) == [" 1 │ 漢字: x", "   │ ^^^^"]
    assert shown("e\u0301: x", 5, 6) == [" 1 │ e\u0301: x", "   │    ^"]


def test_lines_are_those_of_the_parser():
    found = Diagnostic("x", "m", Span("f", 2, 1, 2, 2))
    assert " 2 │ b" in render_text([found], {"f": "a\u2028\x0b\r\nb\rc"})


def test_what_moves_the_cursor_or_turns_text_round_is_escaped_everywhere():
    line = "a: \x1b[31m\u202e\t\U000e0001"
    found = Diagnostic("x", f"bad {line}", Span("f\n", 1, 9, 1, 10), hint=f"not {line}", notes=(Note(line),))
    text = render_text([found], {"f\n": line})
    assert not any(character in text for character in "\x1b\u202e\t\U000e0001")
    assert text.count("\\x1b[31m\\u202e\\x09\\U000e0001") == 4
    assert "f\\x0a:1:9" in text
    assert text.split("\n")[2] == "   │ " + " " * 11 + "^" * 6


def test_a_name_that_is_not_unicode_is_shown_escaped():
    found = Diagnostic("x", "m", Span("f\udcff", 1, 1, 1, 1))
    assert render_text([found], {}) == "f\\udcff:1:1: error[x]: m"


def test_a_terminal_without_unicode_gets_escapes_and_the_caret_still_fits():
    assert shown("é: 漢 x", 6, 7, ascii_only=True) == [" 1 | \\xe9: \\u6f22 x", "   | " + " " * 13 + "^"]


def test_a_long_line_is_cut_to_a_window_round_the_caret():
    line = "a" * 100 + "HERE" + "b" * 100
    excerpt, caret = shown(line, 101, 105, width=40)
    assert len(excerpt) <= 40
    assert excerpt.startswith(" 1 │ …a")
    assert excerpt.endswith("b…")
    assert excerpt[caret.index("^") : caret.rindex("^") + 1] == "HERE"


def test_a_window_at_the_start_of_a_line_is_cut_only_behind_and_at_the_end_only_before():
    first = shown("HERE" + "b" * 200, 1, 5, width=40, ascii_only=True)[0]
    last = shown("b" * 200 + "HERE", 201, 205, width=40, ascii_only=True)[0]
    assert first.startswith(" 1 | HEREb")
    assert first.endswith("b...")
    assert last.startswith(" 1 | ...b")
    assert last.endswith("bHERE")


def test_a_line_of_a_megabyte_is_cut_like_any_other():
    line = "x" * 500_000 + "HERE" + "y" * 500_000
    excerpt, caret = shown(line, 500_001, 500_005, width=40)
    assert len(excerpt) <= 40
    assert excerpt[caret.index("^") : caret.rindex("^") + 1] == "HERE"
    assert excerpt.endswith("y…")


def test_a_very_long_message_is_cut():
    found = Diagnostic("x", "m" * 10_000, Span("f", 1, 1, 1, 1))
    assert render_text([found], {}) == "f:1:1: error[x]: " + "m" * 500 + "…"


def test_a_narrow_terminal_still_shows_something():
    assert "HERE" in shown("x" * 90 + "HERE", 91, 95, width=1)[0]


def test_colours_stand_round_the_text_and_change_none_of_it():
    plain = render_text([UNKNOWN], SOURCES)
    coloured = render_text([UNKNOWN], SOURCES, color=True)
    warned = render_text([Diagnostic("x", "m", UNKNOWN.span, "warning")], SOURCES, color=True)
    assert "\x1b[31m" in coloured
    assert "\x1b[33m" in warned
    for code in ("\x1b[31m", "\x1b[34m", "\x1b[1m", "\x1b[0m"):
        coloured = coloured.replace(code, "")
    assert coloured == plain


@given(st.text(max_size=200), st.integers(1, 210), st.integers(1, 210), st.integers(1, 120), st.booleans())
def test_any_place_on_any_line_can_be_shown(line, column, end, width, ascii_only):
    found = Diagnostic("x", line, Span("f", 1, column, 1, end), hint=line)
    text = render_text([found], {"f": line}, width=width, ascii_only=ascii_only)
    assert all(character.isprintable() for character in text.replace("\n", " ").replace("\u0301", ""))
    assert text.isascii() or not ascii_only


# ── for programs ──


def test_json_has_every_part_under_its_name():
    assert to_json([UNKNOWN]) == [
        {
            "code": "unknown-opponent",
            "severity": "error",
            "message": "opponent `qwen14` is not defined",
            "path": "games.ttt.opponent",
            "hint": "did you mean `qwen14b`?",
            "file": "specs/bad.yaml",
            "line": 12,
            "column": 19,
            "end_line": 12,
            "end_column": 25,
            "notes": [
                {
                    "message": "`qwen14b` is defined here",
                    "file": "specs/base.yaml",
                    "line": 7,
                    "column": 3,
                    "end_line": 7,
                    "end_column": 10,
                }
            ],
        }
    ]


def test_what_is_not_there_is_null_or_left_out_in_json():
    (data,) = to_json([Diagnostic("x", "m", Span("f", 1, 1, 1, 1), notes=(Note("n"),))])
    assert data["hint"] is None
    assert data["notes"] == [{"message": "n"}]


def test_github_gets_one_command_a_line_with_its_own_escapes():
    found = Diagnostic("a-code", "50%: a\nb", Span("a,b:c.yaml", 1, 2, 3, 4), "warning", hint="x\r")
    assert to_github([UNKNOWN, found]) == (
        "::error file=specs/bad.yaml,line=12,col=19,endLine=12,endColumn=25,title=unknown-opponent"
        "::opponent `qwen14` is not defined%0Ahelp: did you mean `qwen14b`?\n"
        "::warning file=a%2Cb%3Ac.yaml,line=1,col=2,endLine=3,endColumn=4,title=a-code::50%25: a\\x0ab%0Ahelp: x\\x0d"
    )


def test_the_same_finding_is_told_once_and_all_stand_in_order_of_place():
    early = Diagnostic("b", "m", Span("f", 1, 1, 1, 2))
    twin = Diagnostic("b", "m", Span("f", 1, 1, 1, 2), hint="another hint")
    late = Diagnostic("a", "m", Span("f", 2, 1, 2, 2))
    elsewhere = Diagnostic("b", "m", Span("e", 9, 1, 9, 2))
    assert deduplicate([late, early, twin, elsewhere, late]) == [elsewhere, early, late]


# ── secrets ──


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "sk-ant-api03-abcdefghijklmnop",
        "hf_abcdefghijklmnopqrstuvwxyzABCDEFGH",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "github_pat_11ABCDEFG0123456789_abcdef",
        "glpat-abcdefghij0123456789",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnopqrstuv",
        "xoxb-123456789012-abcdefghij",
        "nvapi-abcdefghijklmnop0123",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.abcdefghijklmnop",
    ],
)
def test_what_looks_like_a_key_is_found_and_never_shown(secret):
    text = f"opponents:\n  a: {{model: x, comment: 'my key is {secret}.'}}  # {secret}\n"
    tree, _ = parse_yaml(text, "spec.yaml")
    (found,) = find_secrets(tree)
    assert (found.code, found.path, found.secret, found.severity) == (
        "secret-in-spec",
        "opponents.a.comment",
        True,
        "error",
    )
    careless = Diagnostic("x", f"bad {secret}", found.span, hint=secret, path=secret, notes=(Note(secret),))
    for shown_text in (
        render_text([found, careless], {"spec.yaml": text}),
        json.dumps(to_json([found, careless])),
        to_github([found, careless]),
    ):
        assert secret not in shown_text
        assert secret[10:] not in shown_text


def test_a_password_in_an_address_is_a_secret_too():
    text = "url: https://me:hunter2@example.org/v1\n"
    tree, _ = parse_yaml(text, "spec.yaml")
    (found,) = find_secrets(tree)
    assert found.span.column == 6
    assert mask(text) == "url: https://me:*******@example.org/v1\n"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("{type: openai, api_key: abcd1234}", "{type: openai, api_key: ********}"),
        ("api_key: 'abcd1234'", "api_key: '********'"),
        ('"OPENAI_API_KEY": "abcd1234"', '"OPENAI_API_KEY": "********"'),
        ("Authorization: Bearer abcd1234", "Authorization: Bearer ********"),
        ("password=abcd1234", "password=********"),
    ],
)
def test_the_value_of_a_key_that_is_named_like_a_secret_is_masked_whatever_it_is(text, masked):
    assert mask(text) == masked
    assert shown(text, 1, 5)[0] == f" 1 │ {masked}"


@pytest.mark.parametrize(
    "text",
    [
        "api_key_env: OPENAI_API_KEY",
        "max_tokens: 200",
        "task-level-aggregation-of-rewards",
        "hf_hub",
        "sk-learn",
        "Qwen/Qwen2.5-1.5B-Instruct",
        "revision: 989aa7980e4cf806f80c7fef2b1adb7bc71aa306",
        "http://localhost:1414/v1",
        "who@example.org",
        "secret_word: apple",
        "unknown key `api_key`; did you mean `api_key_env`?",
    ],
)
def test_ordinary_text_is_not_a_secret(text):
    assert mask(text) == text


def test_all_secrets_are_found_in_order_of_place_with_their_paths():
    tree, _ = parse_yaml(f"a: [x, {KEY}]\nb: {{c: [[{KEY}]]}}\nd: 1\n", "spec.yaml")
    assert [(found.path, found.span.line) for found in find_secrets(tree)] == [("a[1]", 1), ("b.c[0][0]", 2)]


def test_a_finding_about_a_secret_masks_its_whole_place():
    assert shown("key: opensesame # x", 6, 16, secret=True)[0] == " 1 │ key: ********** # x"
    found = Diagnostic("x", "m", Span("f", 1, 6, 2, 9), secret=True)
    assert render_text([found], {"f": "key: open\n  sesame"}).split("\n")[1] == " 1 │ key: ****"


def test_a_secret_at_the_edge_of_the_window_is_masked_before_it_is_cut():
    text = "\n".join(shown("x" * 60 + " " + KEY + " " + "y" * 90, 61, 62, width=50))
    assert "sk-" not in text
    assert "***" in text

"""Rendering: values are text, what is missing is an error, and nothing grows without bound."""

import re
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import GiftError
from gift_dsl.prompts.render import PromptError, PromptTooLong, render_prompt
from gift_dsl.prompts.sandbox import MAX_WORK, environment
from gift_dsl.prompts.subset import check_template


@dataclass(frozen=True, slots=True)
class Observation:
    word: str
    seats: tuple[int, ...] = (1, 2)
    _role: str = "spy"

    @property
    def role(self) -> str:
        return self._role

    def tell(self) -> str:
        return self._role


class Watched(tuple):
    """A tuple that counts how many of its items were taken."""

    taken = 0

    def __iter__(self):
        for item in super().__iter__():
            self.taken += 1
            yield item


# --- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "rendered"),
    [
        ("{{ x }}", {"x": "text"}, "text"),
        ("{{ x }} {{ y }}", {"x": 3, "y": True}, "3 True"),
        ("{{ x }}", {"x": 3.0}, "3"),
        ("{{ x }}", {"x": 0.1 * 3}, "0.3"),
        ("{{ x }}", {"x": -1234567.25}, "-1234567.25"),
        ("{{ x[1] }} {{ x[-1] }} {{ x.0 }}", {"x": (1, 2, 3)}, "2 3 1"),
        ("{{ x|join(', ') }}", {"x": [1, 2.0, "c"]}, "1, 2, c"),
        ("{{ x[1:3]|join }}", {"x": "abcd", "y": ()}, None),
        ("{{ x[1:3] }}", {"x": "abcd"}, "bc"),
        ("{{ x|first }}{{ x|last }}{{ x|length }}{{ x|count }}", {"x": "abc"}, "ac33"),
        ("{{ x|flatten|join }}", {"x": ((1, 2), (3,), ())}, "123"),
        ("{{ x.word }} {{ x.seats|join }}", {"x": Observation("apple")}, "apple 12"),
        ("{{ x.word }} {{ x['word'] }}", {"x": {"word": "apple"}}, "apple apple"),
        ("{% for k in x %}{{ k }}={{ x[k] }} {% endfor %}", {"x": {"a": 1, "b": 2}}, "a=1 b=2"),
        ("{{ x|round }} {{ x|round(1) }} {{ x|int }} {{ x|abs }}", {"x": -2.66}, "-3 -2.7 -2 2.66"),
        ("{{ x|round(2) }}", {"x": float("inf")}, "inf"),
        ("{{ '4'|int + '0.5'|float }}", {}, "4.5"),
        ("{{ x|upper }}{{ x|lower }}{{ x|title }}{{ x|capitalize }}", {"x": "a b"}, "A Ba bA BA b"),
        ("{{ x|trim }}{{ y|trim('.') }}", {"x": " a ", "y": "..b."}, "ab"),
        ("{{ x|default('none', true) }}", {"x": None}, "none"),
        ("{{ y|default('none') }}", {}, "none"),
        ("{{ 1 if x is none else 2 }}", {"x": None}, "1"),
        ("{{ x - 1 }} {{ 7 // 2 }} {{ 7 / 2 }} {{ -x }}", {"x": 3}, "2 3 3.5 -3"),
        ("{{ x ~ y }}", {"x": 3, "y": "rd"}, "3rd"),
        ("{{ x in ('a', 'b') }} {{ 1 < x|length <= 3 }}", {"x": "b"}, "True False"),
        ("a\n{% if x %}\nb\n{% endif %}\n   {% if x %}c{% endif %}\n", {"x": True}, "a\nb\nc"),
        ("\n\n  a  \n\n", {}, "  a"),
        ("{% raw %}{{ x }}{% endraw %}{# gone #}", {}, "{{ x }}"),
    ],
)
def test_values_become_text(text, values, rendered):
    if rendered is None:
        with pytest.raises(PromptError, match="`join` takes a list, not str"):
            render_prompt(text, values)
    else:
        assert render_prompt(text, values) == rendered


@given(st.text())
def test_a_value_is_never_rendered_again(text):
    assert render_prompt("<{{ x }}>{% for y in z %}[{{ y }}]{% endfor %}|", {"x": text, "z": (text,)}) == (
        f"<{text}>[{text}]|"
    )


@pytest.mark.parametrize("text", ["{{ x }}", "{% set x = 1 %}", "{{ 7 * 7 }}", "{{ ''.__class__ }}", "{# x #}", "${x}"])
def test_braces_in_a_value_stay_braces(text):
    assert render_prompt("{{ x }}", {"x": text}) == text


# --- what cannot be rendered ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "values", "message"),
    [
        ("\n{{ missing }}", {}, "line 2: 'missing' is undefined"),
        ("\n\n{% if missing %}{% endif %}", {}, "line 3: 'missing' is undefined"),
        ("{% for x in missing %}{% endfor %}", {}, "line 1: 'missing' is undefined"),
        ("{{ missing|join }}", {}, "'missing' is undefined"),
        ("{% for x in missing|flatten %}{% endfor %}", {}, "'missing' is undefined"),
        ("{{ missing.part.of }}", {}, "'missing' is undefined"),
        ("{{ 1 + missing }}", {}, "'missing' is undefined"),
        ("{{ x[7] }}", {"x": (1,)}, "has no element 7"),
        ("{{ x.y }}", {"x": {"z": 1}}, "has no attribute 'y'"),
        ("{{ x }}", {"x": None}, "only text and numbers can be printed, not none"),
        ("{{ x }}", {"x": (1,)}, "only text and numbers can be printed, not tuple"),
        ("{{ x }}", {"x": Observation("apple")}, "only text and numbers can be printed, not Observation"),
        ("{{ x|join }}", {"x": ((1,),)}, "only text and numbers can be printed"),
        ("{{ x|join }}", {"x": "abc"}, "`join` takes a list, not str"),
        ("{% for y in x %}{% endfor %}", {"x": "abc"}, "a loop goes over a list, not str"),
        ("{% for y in x %}{% endfor %}", {"x": None}, "a loop goes over a list, not none"),
        ("{% for y in x|flatten %}{% endfor %}", {"x": ("ab",)}, "`flatten` takes a list of lists"),
        ("{{ x|round }}", {"x": "ab"}, "`round` takes a number, not str"),
        ("{{ x + y }}", {"x": "a", "y": "b"}, "`+` adds numbers"),
        ("{{ x + y }}", {"x": (1,), "y": (2,)}, "`+` adds numbers"),
        ("{{ x / 0 }}", {"x": 1}, "division by zero"),
        ("{{ x < y }}", {"x": 1, "y": "b"}, "not supported between"),
        ("{% for a, b in x %}{% endfor %}", {"x": ((1, 2, 3),)}, "too many values"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_it(text, values, message):
    with pytest.raises(PromptError, match=r"^prompt template, line \d+: ") as caught:
        render_prompt(text, values)
    assert message in str(caught.value)
    assert isinstance(caught.value, GiftError)


@pytest.mark.parametrize("attribute", ["role", "tell", "seats.count", "word.upper", "word.format"])
def test_only_declared_fields_of_a_dataclass_are_read(attribute):
    with pytest.raises(PromptError, match="has no attribute"):
        render_prompt("{{ x." + attribute + " }}", {"x": Observation("apple")})


def test_a_subscript_reads_no_attribute():
    with pytest.raises(PromptError, match="has no"):
        render_prompt("{{ x[y] }}", {"x": "abc", "y": "upper"})
    with pytest.raises(PromptError, match="has no"):
        render_prompt("{{ x[y] }}", {"x": Observation("apple"), "y": "__class__"})


def test_a_template_outside_the_allow_list_is_not_compiled():
    with pytest.raises(PromptError, match=r"line 2: the call `….upper\(…\)` is not allowed"):
        render_prompt("\n{{ x.upper() }}", {"x": "a"})


@pytest.mark.parametrize("name", ["__class__", "_role", "mro", "format", "gi_frame"])
def test_even_without_the_allow_list_the_sandbox_hands_out_no_attribute(name):
    sandbox = environment()
    for value in ("text", 1, (1,), Observation, Observation("apple"), print, (i for i in ())):
        with pytest.raises(Exception, match=r"has no|undefined"):
            str(sandbox.getattr(value, name))
        with pytest.raises(Exception, match=r"has no|undefined"):
            str(sandbox.getitem(value, name))


def test_even_without_the_allow_list_nothing_can_be_found_to_call():
    assert environment().globals == {}


# --- limits ---------------------------------------------------------------------------------------------------------


def test_text_has_a_largest_length():
    assert render_prompt("{{ x }}", {"x": "a" * 65_536}) == "a" * 65_536
    with pytest.raises(PromptTooLong, match="more than 65536 characters; it begins 'bab"):
        render_prompt("b{{ x }}", {"x": "ab" + "a" * 65_534})


def test_rendering_stops_as_soon_as_the_text_is_too_long():
    rows = Watched(("ab",) * 1000)
    with pytest.raises(PromptTooLong):
        render_prompt("{% for row in rows %}{{ row }}{% endfor %}", {"rows": rows}, max_chars=100)
    assert rows.taken == 51


def test_a_join_counts_as_one_piece_of_text():
    with pytest.raises(PromptTooLong):
        render_prompt("{{ rows|join('----------------') }}", {"rows": ("",) * 100}, max_chars=1000)


def test_loops_that_print_nothing_are_bounded_as_well():
    text = "{% for a in rows %}{% for b in rows %}{% if a == b %}{% endif %}{% endfor %}{% endfor %}done"
    assert render_prompt(text, {"rows": tuple(range(100))}) == "done"
    rows = Watched(range(1000))
    with pytest.raises(PromptError, match=f"the loops take more than {MAX_WORK} evaluations"):
        render_prompt(text, {"rows": rows})
    assert rows.taken < MAX_WORK


def test_a_rendering_starts_with_a_full_allowance():
    text = "{% for a in rows %}{{ '' }}{% endfor %}done"
    rows = tuple(range(MAX_WORK // 10))
    assert [render_prompt(text, {"rows": rows}) for _ in range(20)] == ["done"] * 20


def test_the_largest_board_is_far_within_the_limits():
    cells = (("X", "O", ".") * 6 + (".",),) * 19
    text = "{% for row in cells %}{% for cell in row %}{{ cell|lower }}{{ loop.index }} {% endfor %}{% endfor %}"
    assert len(render_prompt(text, {"cells": cells})) > 1000


# --- any template ---------------------------------------------------------------------------------------------------

FRAGMENTS = re.findall(
    r"\S+",
    """
    {{ }} {% %} {%- -%} {# #} if elif else endif for in endfor raw endraw set not and or is none defined true
    x y rows loop loop.index loop.first rows[0] x.y '__class__' 'a' '\\n' 0 1 -1 2.5 text
    ( ) [ ] , . : | ~ + - / // == < >= = [0:1] |join |join(',') |upper |round(2) |d('a') |flatten |length |first |int
    """,
)


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=24).map(" ".join))
def test_any_template_is_refused_or_rendered_or_fails_by_name(text):
    values = {"x": "word", "y": 2, "rows": ((1, 2), ("a", "b"))}
    problems = check_template(text, values)
    try:
        rendered = render_prompt(text, values, max_chars=1000)
    except PromptError:
        return
    assert not [problem for problem in problems if problem.code != "template-unknown-variable"]
    assert len(rendered) <= 1000


EXPRESSIONS = st.recursive(
    st.sampled_from(["x", "y", "rows", "rows[0]", "rows[0][1]", "x[0]", "1", "2.5", "'a'", "none", "true", "obs.word"]),
    lambda inner: st.one_of(
        st.tuples(
            inner, st.sampled_from([" ~ ", " + ", " - ", " / ", " // ", " == ", " < ", " in ", " and ", " or "]), inner
        )
        .map("".join)
        .map("({})".format),
        st.tuples(
            inner, st.sampled_from(["|upper", "|join('-')", "|round(1)", "|length", "|last", "|int", "|d('z')"])
        ).map("".join),
        st.tuples(st.sampled_from(["not ", "-"]), inner).map("".join).map("({})".format),
        st.tuples(inner, inner, inner).map(lambda three: "({} if {} else {})".format(*three)),
    ),
    max_leaves=6,
)


@given(EXPRESSIONS, EXPRESSIONS)
def test_any_allowed_expression_is_rendered_or_fails_by_name(printed, tested):
    text = "{% for row in rows if " + tested + " %}{{ " + printed + " }}{% endfor %}"
    values = {"x": "word", "y": 2, "rows": ((1, 2), ("a", "b")), "obs": Observation("apple")}
    problems = check_template(text, values)  # what an expression cannot ever be rendered with, at most
    assert all(problem.message.endswith("is for numbers") for problem in problems)
    failure = "" if problems else "prompt template, line 1: "
    try:
        render_prompt(text, values)
    except PromptError as error:
        failure = str(error)
    assert failure.startswith("prompt template, line 1: ")

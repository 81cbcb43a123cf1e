"""What a prompt template may contain: everything else is refused with its line, before anything runs."""

import pytest

from gift_dsl.prompts.subset import (
    MAX_BLOCKS,
    MAX_CONCATENATED,
    MAX_DEPTH,
    MAX_NODES,
    MAX_TEXT_BYTES,
    TemplateProblem,
    check_template,
)

VARIABLES = {"q", "rows", "turn", "obs"}

# --- attacks --------------------------------------------------------------------------------------------------------

ESCAPES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ q.__class__ }}",
    "{{ q['__class__'] }}",
    "{{ q['_private'] }}",
    "{{ q['__cl' ~ 'ass__'] }}",
    "{{ q[('__cl', 'ass__')|join] }}",
    "{{ q['\\x5f\\x5fclass\\x5f\\x5f'] }}",
    "{{ q['\\u005fclass'] }}",
    "{{ q['\\N{LOW LINE}class'] }}",
    "{{ q|attr('__class__') }}",
    "{{ rows|map(attribute='__class__')|join }}",
    "{{ rows|groupby('__class__') }}",
    "{{ rows|selectattr('__class__') }}",
    "{{ rows|join(attribute='__class__') }}",
    "{{ self.__init__.__globals__ }}",
    "{{ self._TemplateReference__context }}",
    "{{ self }}",
    "{{ caller() }}",
    "{{ q[0](1)(2) }}",
    "{{ q is defined(1) }}",
    "{{ super() }}",
    "{{ varargs }}",
    "{{ q.__globals__ }}",
    "{{ config.items() }}",
    "{{ q.\uff3f\uff3fclass\uff3f\uff3f }}",
    "{{ \uff51 }}",
    "{% for \uff58 in rows %}{% endfor %}",
    "{% for _x in rows %}{% endfor %}",
    "{% for loop in rows %}{% endfor %}",
    "{% for x in rows %}{{ loop.__class__ }}{% endfor %}",
    "{% for x in rows %}{{ loop._iterable }}{% endfor %}",
    "{% for x in rows %}{{ loop }}{% endfor %}",
    "{% for x in rows %}{{ loop['index'] }}{% endfor %}",
    "{% for x in rows %}{{ loop.previtem }}{% endfor %}",
    "{% for x in rows %}{{ loop.changed(x) }}{% endfor %}",
    "{{ '{0.__class__}'.format(q) }}",
    "{{ '{0.__class__}'|format(q) }}",
    "{{ q|xmlattr }}",
    "{{ q|safe }}",
]
NO_NUMBERS = [
    "{{ 'a' + 'b' }}",
    "{{ [1, 2] + [3] }}",
    "{{ q + 'b' }}",
    "{{ -'a' }}",
    "{{ 1 - (q ~ 'x') }}",
    "{{ q|upper + 1 }}",
    "{{ none // 2 }}",
]
BOMBS = [
    "{{ 'a' * 10 ** 9 }}",
    "{{ q * 1000000 }}",
    "{{ 9 ** 9 }}",
    "{{ '%1000000000d' % 1 }}",
    "{{ '%999999999d' is odd }}",
    "{{ '%999999999d' is divisibleby(3) }}",
    "{{ q|center(1000000000) }}",
    "{{ q.center(1000000000) }}",
    "{{ q.ljust(1000000000) }}",
    "{{ q.zfill(1000000000) }}",
    "{{ '{:>1000000000}'|format(1) }}",
    "{{ q|indent(1000000000) }}",
    "{{ q|replace('', 'xxxxxxxxxxxxxxxx') }}",
    "{{ q|wordwrap(1) }}",
    "{{ q|round(6, 'ceil') }}",
    "{{ 1.5|round(1000000) }}",
    "{{ q|urlize }}",
    "{{ rows|tojson(indent=99999) }}",
    "{{ rows|pprint }}",
    "{{ rows|batch(1000000, 'x')|list }}",
    "{{ rows|slice(1000000) }}",
    "{{ rows|sum }}",
    "{{ rows|join('-----------------') }}",
    "{{ rows|join(q) }}",
    "{{ [q, q]|join }}",
    "{{ [[q, q], [q, q]] }}",
    "{{ {'a': q} }}",
    "{{ lipsum(n=1000000) }}",
    "{{ cycler('a', 'b').next() }}",
    "{{ joiner() }}",
    "{{ range(999999) }}",
    "{{ dict(a=1) }}",
    "{{ namespace(a=1) }}",
    "{% for i in range(99999) %}{% for j in range(99999) %}x{% endfor %}{% endfor %}",
    "{% for i in 'abc' %}x{% endfor %}",
    "{% for i in [1, 2] %}x{% endfor %}",
    "{% for i in rows|join %}x{% endfor %}",
    "{% for i in q ~ q %}x{% endfor %}",
    "{% for a in rows %}{% for b in rows %}{% for c in rows %}x{% endfor %}{% endfor %}{% endfor %}",
    "{% for a in rows recursive %}{{ loop(rows) }}{% endfor %}",
    "{{ 1000001 }}",
    "{{ -1e300 }}",
    "{{ " + "9" * 5000 + " }}",
    "{{ 0x" + "f" * 5000 + " }}",
    "{{ '" + "a" * 2001 + "' }}",
    "{{ q|default('" + "a" * 2001 + "') }}",
    "{{ q|default(*rows) }}",
    "{{ q|default(**obs) }}",
    "{{ 'abc'[0:2] }}",
    "{{ rows[::2] }}",
]
STATEMENTS = [
    "{% include '/etc/passwd' %}",
    "{% import '/etc/passwd' as secrets %}",
    "{% from 'os' import system %}",
    "{% extends 'base' %}",
    "{% macro again() %}{{ again() }}{% endmacro %}",
    "{% call q() %}{% endcall %}",
    "{% set x = q ~ q %}",
    "{% set x %}{{ q }}{{ q }}{% endset %}",
    "{% set ns = namespace(x=q) %}",
    "{% with x = q ~ q %}{{ x ~ x }}{% endwith %}",
    "{% filter upper %}{{ q }}{% endfilter %}",
    "{% block a %}{% endblock %}",
    "{% autoescape true %}{{ q }}{% endautoescape %}",
    "{% do rows.append(1) %}",
    "{% trans %}{{ q }}{% endtrans %}",
    "{% break %}",
    "{% debug %}",
]


@pytest.mark.parametrize("attack", [*ESCAPES, *BOMBS, *STATEMENTS], ids=lambda attack: attack[:60])
def test_an_attack_is_refused_at_its_line(attack):
    problems = check_template(f"First line.\n{{{{ q }}}}\n{attack}\nlast line", VARIABLES)

    assert problems
    assert {problem.line for problem in problems} == {3}


@pytest.mark.parametrize(
    "text",
    [
        "{{ " + "(" * 8000 + "q" + ")" * 8000 + " }}",
        "{{ " + "[" * 16000 + " }}",
        "{" * 32000,
        "{%" * 16000,
        "{{ " + "not " * 8000 + "q }}",
        "{{ " + "-" * 32000 + "1 }}",
        "{{ " + "q if q else " * 2500 + "q }}",
        "{{ q" + ".a" * 16000 + " }}",
        "{{ q" + "[0]" * 10000 + " }}",
        "{{ q" + "|upper" * 5000 + " }}",
        "{{ " + "q + " * 8000 + "q }}",
        "{{ " + "q and " * 5000 + "q }}",
        "{{ " + "q ~ " * 8000 + "q }}",
        "{{ " + "q < " * 8000 + "q }}",
        "{{ [" + "1, " * 10000 + "] }}",
        "{{ q|default(" + "q|default(" * 3000,
        "{% if q %}" * 3000,
        "{% set x %}" * 2900,
        "{% if q %}" + "{% elif q %}" * 2600 + "{% endif %}",
        "{{q}}" * 6500,
        "{% raw %}" * 3600,
        "{#" * 16000,
        "{{ '" + "\\'" * 16000,
    ],
    ids=lambda text: text[:12],
)
def test_no_depth_or_length_exhausts_the_parser(text):
    assert len(text) <= MAX_TEXT_BYTES
    assert check_template(text, VARIABLES)


def test_a_template_has_a_largest_size_in_bytes():
    assert check_template("ü" * (MAX_TEXT_BYTES // 2), VARIABLES) == []
    assert check_template("ü" * (MAX_TEXT_BYTES // 2) + "u", VARIABLES) == [
        TemplateProblem(1, "the template has 32769 bytes; at most 32768 are allowed", None, "template-forbidden")
    ]


@pytest.mark.parametrize(
    ("build", "most"),
    [
        (lambda n: "{{ " + "not " * n + "q }}", MAX_DEPTH - 2),
        (lambda n: "{{ q" + ".a" * n + " }}", MAX_DEPTH - 2),
        (lambda n: "{% if q %}" * n + "{% endif %}" * n, MAX_BLOCKS),
        (lambda n: "{{ " + " ~ ".join(["q"] * n) + " }}", MAX_CONCATENATED),
        (lambda n: "{{ q }}{{ turn }}" * n, MAX_NODES // 2 - 1),
    ],
)
def test_what_is_within_the_limits_is_allowed(build, most):
    assert check_template(build(most), VARIABLES) == []
    assert check_template(build(most + 1), VARIABLES) != []


# --- what is allowed ------------------------------------------------------------------------------------------------

PROMPT = """\
{# A comment may say {{ anything }}. #}
{% if turn == 1 and not obs.done %}
{{ q|trim|capitalize }}, round {{ turn + 1 }} of {{ rows|length }}{{ "!" if turn > 2 else "." }}
{% elif q is defined and obs is not none or turn in [1, 2] %}
{{ obs.name ~ " (" ~ obs["seat"] ~ ")" }}: {{ rows[0][turn - 1] }} {{ rows[-1] }} {{ rows[1:turn] }}
{% else %}
{% for row in rows if row %}
{{ loop.index }}: {% for label, value in row %}{{ label|upper }}={{ value|round(2) }}{{ "" if loop.last }}{% endfor %}
{% else %}
{{ rows|join("; ") }} {{ q|default("none", true) }}
{% endfor %}
{% for cell in rows|flatten %}{{ cell }}{% endfor %}
{% endif %}
{% raw %}{{ shown.as.it.stands() }}{% endraw %}
"""


def test_a_normal_prompt_passes():
    assert check_template(PROMPT, VARIABLES) == []


def test_plain_text_passes():
    assert check_template("No braces, 100 % text: # { } %", ()) == []


# --- what is said ---------------------------------------------------------------------------------------------------


def test_an_unknown_variable_is_answered_with_the_closest_one():
    assert check_template("{{ q }}\n\n{{ trun }}", {"q", "turn"}) == [
        TemplateProblem(3, "unknown variable `trun`", "did you mean `turn`?", "template-unknown-variable")
    ]


def test_an_unknown_variable_without_a_close_one_is_answered_with_all():
    (problem,) = check_template("{{ opponents }}", {"q", "turn"})
    assert problem.hint == "known: q, turn"


def test_where_no_variable_is_known_there_is_nothing_to_hint_at():
    (problem,) = check_template("{{ q }}", ())
    assert problem.hint is None


def test_a_wrong_filter_or_test_is_answered_with_the_closest_one():
    assert [problem.hint for problem in check_template("{{ q|uper }}{{ q is non }}", {"q"})] == [
        "did you mean `upper`?",
        "did you mean `none`?",
    ]


def test_a_tag_that_does_not_exist_is_answered_with_those_that_do():
    (problem,) = check_template("\n{% fro row in rows %}{% endfor %}", {"rows"})
    assert (problem.line, problem.code) == (2, "template-syntax")
    assert problem.hint == "a prompt may use `if`, `elif`, `else`, `for` and `raw`"


def test_all_problems_are_reported_in_order_of_lines():
    problems = check_template("{{ a }}\n{{ q.upper() }}\n{{ q|attr('x') }} {{ b }}\n{% set c = 1 %}", {"q"})
    assert [(problem.line, problem.code.removeprefix("template-")) for problem in problems] == [
        (1, "unknown-variable"),
        (2, "forbidden"),
        (3, "forbidden"),
        (3, "unknown-variable"),
        (4, "forbidden"),
    ]


def test_a_problem_inside_another_one_is_reported_too():
    assert [problem.message for problem in check_template("{{ (missing * 2).upper(also) }}", ())] == [
        "the call `….upper(…)` is not allowed",
        "the operator `*` is not allowed",
        "unknown variable `missing`",
        "unknown variable `also`",
    ]


def test_of_syntax_errors_the_first_is_reported():
    assert check_template("{{ q }}\n{{ q q }}\n{% if %}", {"q"}) == [
        TemplateProblem(2, "expected token 'end of print statement', got 'q'", None, "template-syntax")
    ]


@pytest.mark.parametrize(
    "text", ["{{ q", "{% if q %}", "{# q", "{{ 'q }}", "{% raw %}{{", "{{ q }", "{% endif %}", "{{ }}"]
)
def test_an_unfinished_template_is_a_syntax_error(text):
    assert [problem.code for problem in check_template(text, {"q"})] == ["template-syntax"]


def test_a_loop_variable_is_known_in_the_loop_only():
    problems = check_template("{% for row in rows %}{{ row }}{% else %}{{ row }}{% endfor %}\n{{ row }}", {"rows"})
    assert [(problem.line, problem.message) for problem in problems] == [
        (1, "unknown variable `row`"),
        (2, "unknown variable `row`"),
    ]


def test_loop_is_known_in_the_body_of_a_loop_only():
    text = "{% for row in rows if loop.first %}{{ loop.index }}{% else %}\n{{ loop.index }}{% endfor %}"
    assert [(problem.line, problem.message) for problem in check_template(text, {"rows"})] == [
        (1, "unknown variable `loop`"),
        (2, "unknown variable `loop`"),
    ]


def test_the_else_of_an_inner_loop_still_sees_the_outer_loop():
    text = "{% for row in rows %}{% for x in row %}{% else %}{{ loop.index }}{{ row }}{% endfor %}{% endfor %}"
    assert check_template(text, {"rows"}) == []


def test_a_name_that_is_spelled_like_a_tag_is_a_variable():
    assert check_template("{{ set }}{{ filter }}" * 20, {"set", "filter"}) == []


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_arithmetic_with_what_is_plainly_no_number_is_refused_before_any_rendering(text):
    (problem,) = check_template(text, VARIABLES)
    assert problem.code == "template-forbidden"
    assert "is for numbers" in problem.message


def test_arithmetic_with_numbers_and_with_what_only_rendering_knows_is_allowed():
    assert check_template("{{ turn + 1 - 2.5 // -3 / +q }} {{ rows|length + 1 }} {{ rows[turn - 1] }}", VARIABLES) == []

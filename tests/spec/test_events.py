"""The faster loops of `events_ruamel` see exactly what ruamel's own parser sees."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError

from gift_dsl.spec.events import YamlSyntaxError
from gift_dsl.spec.events_ruamel import ruamel_events

KINDS = {
    "DocumentStartEvent": "document",
    "MappingStartEvent": "map",
    "MappingEndEvent": "end map",
    "SequenceStartEvent": "list",
    "SequenceEndEvent": "end list",
    "ScalarEvent": "scalar",
    "AliasEvent": "alias",
}
SPEC = """\
a: plain text, with # in it # and a comment
b: several lines
  of plain text

  and a blank one
c: {d: [e f, "g", 'h''s'], i: j:k, l: m?}   # comment
? n
: - o
  - - p
    - q
r: &s |2-
   literal

  text
t: >
  folded
   text

u:
- *s
- v: !w x
  y:
z: "a \\n
  b"
"""


def mark(at):
    return at.index, at.line, at.column


def seen_by_ruamel(text):
    events = []
    try:
        for event in YAML(typ="safe", pure=True).parse(text):
            kind = KINDS.get(type(event).__name__)
            if kind is not None:
                details = [getattr(event, name, None) for name in ("anchor", "tag", "value", "style", "flow_style")]
                events.append((kind, mark(event.start_mark), mark(event.end_mark), *[part or None for part in details]))
    except MarkedYAMLError as error:
        events.append(("error", error.problem or error.context, mark(error.problem_mark or error.context_mark)))
    return events


def seen_by_us(text):
    events = []
    try:
        for event in ruamel_events(text):
            details = [part or None for part in event[3:]]
            events.append((event.kind, mark(event.start), mark(event.end), *details))
    except YamlSyntaxError as error:
        events.append(("error", error.problem, mark(error.mark)))
    return events


@st.composite
def texts(draw):
    """Some lines of the spec, with a few pieces cut out or put in. Directives are left out: we refuse them."""
    lines = SPEC.splitlines(keepends=True)
    start = draw(st.integers(0, len(lines) - 1))
    text = "".join(lines[start : start + draw(st.integers(1, 9))])
    pieces = [
        "\t",
        " ",
        "\n",
        "\r\n",
        "\r",
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
        " #",
        "|",
        ">",
        "?",
    ]
    pieces += ["&a ", "*s", "!t ", ",", ", ", "---\n", "...\n", "\\", "word", "", "\n\n    word", "<<: "]
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(text)))
        text = text[:at] + draw(st.sampled_from(pieces)) + text[at + draw(st.integers(0, 2)) :]
    return text


@given(texts())
@example(SPEC)
@example("a: b\r\nc:\r\n- d\r\n")
@example("? a\n# comment\nb")
def test_the_events_are_those_of_ruamel(text):
    assert seen_by_us(text) == seen_by_ruamel(text)


def test_the_shipped_spec_gives_every_kind_of_event():
    assert {event[0] for event in seen_by_us(SPEC)} == set(KINDS.values())


@pytest.mark.parametrize("text", ["%YAML 1.1\n---\na: no", "%X\n---\na: 1", "a: 1\n...\n%YAML 1.2\n---\nb: 2"])
def test_a_directive_is_refused_where_it_stands(text):
    kind, problem, (index, _, _) = seen_by_us(text)[-1]
    assert (kind, problem) == ("error", "found a directive")
    assert text[index] == "%"

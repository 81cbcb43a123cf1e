"""Variables and sweeps: from one composed spec to the trees of its runs."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.errors import Diagnostic
from gift_dsl.spec.axes import MAX_RUNS
from gift_dsl.spec.compose import compose
from gift_dsl.spec.sweep import expand

BASE = """\
seed: 0
algorithm: {group_size: 16, kl_coef: 0.1}
stages:
- {name: warmup, play: a, until: {steps: 1}}
- {name: main, play: {any_of: [a, b], draw: random}, until: {steps: 2}}
"""


REFERENCE = "'${vars.x}'"


def expanded(text, *sets, only=()):
    composed = compose("-", text, sets)
    assert composed.diagnostics == []
    return expand(composed, only)


def runs_of(text, *sets, only=()):
    runs, found = expanded(text, *sets, only=only)
    assert found == []
    return runs


def run_of(text, *sets):
    (run,) = runs_of(text, *sets)
    return run.tree.plain()


def ids(text, *sets, only=()):
    return [run.id for run in runs_of(text, *sets, only=only)]


def findings(text, *sets, only=()):
    return [(f.code, f.span.line, f.span.column) for f in expanded(text, *sets, only=only)[1]]


def the_finding(text, *sets, only=()) -> Diagnostic:
    (found,) = expanded(text, *sets, only=only)[1]
    return found


def swept(axes, **rest):
    """The base spec with a sweep, written as YAML."""
    lines = ["sweep:", f"  axes: {axes}", *(f"  {key}: {value}" for key, value in rest.items())]
    return BASE + "\n".join(lines) + "\n"


# ── variables ──


def test_a_spec_without_a_sweep_is_one_run_without_a_name():
    (run,) = runs_of("a: 1\nb: {c: null, d: [{e: null}]}\n")
    assert (run.id, run.choices, run.tree.plain()) == ("", {}, {"a": 1, "b": {"d": [{}]}})


@pytest.mark.parametrize("value", ["1", "1e-6", "true", "text", "'4'", "[1, {a: b}]", "{a: [1]}"])
def test_a_reference_that_is_the_whole_text_has_the_type_of_the_variable(value):
    tree = run_of(f"vars: {{x: {value}}}\na: ${{vars.x}}\nb: ['${{vars.x}}']\nc: {value}\n")
    assert tree == {"a": tree["c"], "b": [tree["c"]], "c": tree["c"]}
    assert type(tree["a"]) is type(tree["c"])


def test_a_filled_value_has_the_place_of_its_use_and_remembers_where_it_came_from():
    text = "vars:\n  x: {y: 1.50}\n  n: 1.50\na: ${vars.x}\nb: ${vars.n}\n"
    (run,) = runs_of(text)
    whole, number = run.tree.fields["a"], run.tree.fields["b"]
    assert (whole.span.line, whole.origin.line, whole.fields["y"].span.line) == (4, 2, 2)
    assert (number.span.line, number.raw, str(number.origin)) == (5, "1.50", "<stdin>:3:6")


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${vars.word}-${vars.number}", "w-1.50"),
        ("is ${vars.truth}", "is yes"),
        ("is ${vars.flag}", "is True"),
        ("$$", "$"),
        ("$${vars.word}", "${vars.word}"),
        ("$$$$", "$$"),
        ("$5 and $x$", "$5 and $x$"),
        ("a $ b", "a $ b"),
        ("{{ x }} ${vars.word}", "{{ x }} w"),
        ("${vars.quoted}!", "it's!"),
    ],
)
def test_a_reference_inside_text_is_written_out(text, filled):
    variables = "vars: {word: w, number: 1.50, truth: yes, flag: True, quoted: 'it''s'}\nuse:\n"
    uses = "".join(f"- ${{vars.{name}}}\n" for name in ("word", "number", "truth", "flag", "quoted"))
    assert run_of(f"{variables}{uses}a: '{text}'\n")["a"] == filled


def test_references_are_filled_in_every_style_of_text_but_not_in_keys():
    text = 'vars: {x: 1}\na: ["${vars.x}", \'${vars.x}\', "a ${vars.x}"]\nb: |\n  ${vars.x}\n  $$\n'
    assert run_of(text) == {"a": [1, 1, "a 1"], "b": "1\n$\n"}
    assert findings("vars: {x: 1}\n'${vars.x}': ${vars.x}\n") == [("var-syntax", 2, 1)]


def test_what_a_variable_puts_in_is_not_read_again():
    assert run_of("vars: {x: $$}\na: ${vars.x}\nb: <${vars.x}>\n", "vars.x=$")["b"] == "<$>"


def test_nodes_without_references_are_not_copied():
    composed = compose("-", "vars: {x: 1}\na: {b: [1, 2]}\nc: ${vars.x}\n")
    (run,), _ = expand(composed)
    assert run.tree.fields["a"] is composed.tree.fields["a"]


def test_set_defines_and_changes_variables_and_uses_them():
    assert run_of("vars: {x: 1}\na: ${vars.x}\n", "vars.x=2", "vars.y=3", "b=${vars.y}") == {"a": 2, "b": 3}


@pytest.mark.parametrize(
    ("value", "code", "column", "message", "hint"),
    [
        ("${vars.sede}", "unknown-var", 4, "no variable `sede`", "did you mean `seed`?"),
        ("x ${vars.sede} y", "unknown-var", 6, "no variable `sede`", "did you mean `seed`?"),
        ("'x ${vars.sede}'", "unknown-var", 7, "no variable `sede`", "did you mean `seed`?"),
        ("${vars.nothing}", "unknown-var", 4, "no variable `nothing`", "known: `seed`, `map`"),
        ("${HF_TOKEN}", "env-in-spec", 4, "`${HF_TOKEN}` is not filled", "api_key_env: HF_TOKEN"),
        ("${env.HF_TOKEN}", "env-in-spec", 4, "reads nothing but its own `vars`", "api_key_env: HF_TOKEN"),
        ("a${env:X}", "env-in-spec", 5, "reads nothing but its own `vars`", "api_key_env: X"),
        ("${oc.env:HF_TOKEN}", "env-in-spec", 4, "reads nothing but its own `vars`", "`$${`"),
        ("${vars.seed + 1}", "var-syntax", 4, "no expressions", "`$${`"),
        ("${vars.map.a}", "var-syntax", 4, "no expressions", "`$${`"),
        ("${ vars.seed }", "var-syntax", 4, "no expressions", "`$${`"),
        ("${var.seed}", "var-syntax", 4, "no expressions", "`$${`"),
        ("${}", "var-syntax", 4, "no expressions", "`$${`"),
        ("a ${vars.seed", "var-syntax", 6, "without `}`", "`$${`"),
        ("${${vars.seed}}", "var-syntax", 4, "without `}`", "`$${`"),
        ("x${vars.map}", "var-type", 5, "is a map", None),
    ],
)
def test_a_wrong_reference_is_told_where_it_stands(value, code, column, message, hint):
    runs, found = expanded(
        f"vars: {{seed: 1, map: {{a: 1}}, nothing: ~}}\na: {value}\nb: ['${{vars.seed}}', '${{vars.map}}']\n"
    )
    found = [f for f in found if f.code != "unused-var"]
    assert [(f.code, f.span.line, f.span.column) for f in found] == [(code, 2, column)]
    assert message in found[0].message
    assert hint is None or hint in found[0].hint
    assert len(runs) == 1


def test_a_place_inside_text_with_escapes_or_of_several_lines_is_that_of_the_text():
    assert findings('a: "\\x41 ${vars.x}"\nb: |\n  ${vars.x}\n') == [("unknown-var", 1, 4), ("unknown-var", 2, 4)]


def test_variables_do_not_nest_and_the_mistake_is_told_once_at_the_variable():
    text = "vars:\n  a: 1\n  b: ['x ${vars.a} $$', {c: '${HOME}'}]\nx: ${vars.b}\ny: ${vars.b}\nz: ${vars.a}\n"
    assert findings(text) == [("nested-var", 3, 10), ("nested-var", 3, 30)]


def test_an_unused_variable_is_a_warning_but_not_in_a_base_file():
    found = the_finding("vars: {used: 1, spare: 2}\na: ${vars.used}\n")
    assert (found.code, found.severity, found.path, found.span.column) == ("unused-var", "warning", "vars.spare", 17)
    assert findings("fragment: true\nvars: {spare: 2}\n") == []


def test_variables_cannot_blow_a_spec_up():
    long = "x" * 30_000
    assert [code for code, *_ in findings(f"vars: {{x: {long}}}\na: '{'${vars.x}' * 100}'\n")] == ["yaml-bomb"]
    many = ", ".join(["1"] * 5000)
    assert [code for code, *_ in findings(f"vars: {{x: [{many}]}}\na: [{', '.join([REFERENCE] * 5)}]\n")] == [
        "yaml-bomb"
    ]
    deep = "[" * 30 + "]" * 30
    assert [code for code, *_ in findings(f"vars: {{x: {deep}}}\na: {'[' * 20}'${{vars.x}}'{']' * 20}\n")] == [
        "yaml-depth"
    ]


def test_a_text_of_nothing_but_wrong_references_is_not_told_without_end():
    assert len(findings(f"a: '{'${' * 5000}'\n")) == 1000


def test_a_reference_behind_aliases_is_filled_once():
    text = "vars: {x: 1}\nx-a: &a ['${vars.x}']\nb: [" + ", ".join(["*a"] * 5) + "]\n"
    (run,) = runs_of(text)
    assert len({id(item) for item in run.tree.fields["b"].items}) == 1


@given(st.text(alphabet="${}vars.x $", max_size=20))
def test_no_text_crashes_the_filling(text):
    composed = compose("-", f"vars: {{x: 1}}\na: '{text}'\n")
    runs, found = expand(composed)
    assert len(runs) == 1
    assert all(f.span.line in (1, 2) for f in found)
    if "$" not in text:
        assert runs[0].tree.plain()["a"] == text


# ── axes ──


def test_the_runs_are_the_product_in_written_order_with_the_last_axis_fastest():
    text = swept("{seed: [1, 2], 'stages[main].play': {nested: {all_of: [a, b]}, mixed: {any_of: [a, b]}}}")
    runs = runs_of(text)
    assert [run.id for run in runs] == [
        "seed=1,stages[main].play=nested",
        "seed=1,stages[main].play=mixed",
        "seed=2,stages[main].play=nested",
        "seed=2,stages[main].play=mixed",
    ]
    assert runs[0].choices == {"seed": "1", "stages[main].play": "nested"}
    first = runs[0].tree.plain()
    assert (first["seed"], first["stages"][1]["play"]) == (1, {"all_of": ["a", "b"]})
    assert "sweep" not in first


def test_a_value_is_a_merge_patch_at_its_path():
    text = swept(
        "{'stages[main]': {x: {play: {all_of: [a]}, seed: 5}, y: {until: {steps: 9}, play: {draw: balanced}}}}"
    )
    x, y = (run.tree.plain()["stages"][1] for run in runs_of(text))
    assert x == {"name": "main", "play": {"all_of": ["a"]}, "until": {"steps": 2}, "seed": 5}
    assert y == {"name": "main", "play": {"any_of": ["a", "b"], "draw": "balanced"}, "until": {"steps": 9}}


def test_a_null_value_removes_and_keeps_its_name():
    runs = runs_of(swept("{algorithm.kl_coef: {off: null, on: 0.2}, algorithm.group_size: [~, 8]}"))
    assert [(run.id, run.tree.plain()["algorithm"]) for run in runs] == [
        ("algorithm.kl_coef=off,algorithm.group_size=null", {}),
        ("algorithm.kl_coef=off,algorithm.group_size=8", {"group_size": 8}),
        ("algorithm.kl_coef=on,algorithm.group_size=null", {"kl_coef": 0.2}),
        ("algorithm.kl_coef=on,algorithm.group_size=8", {"kl_coef": 0.2, "group_size": 8}),
    ]


def test_a_value_keeps_the_place_where_the_axis_gives_it():
    (run,) = runs_of(swept("{seed: [7]}"))
    assert (run.tree.fields["seed"].span.line, run.tree.fields["seed"].span.column) == (7, 17)


def test_values_are_named_by_their_text_and_maps_and_lists_by_their_number():
    text = swept("{seed: [1e-3, 'a b', true, [1], {a: 1}]}")
    assert ids(text) == ["seed=1e-3", "seed=a b", "seed=true", "seed=#4", "seed=#5"]


def test_axes_apply_in_written_order():
    text = swept("{'stages[main].play': [c], 'stages[main]': {x: {play: d}}}")
    assert runs_of(text)[0].tree.plain()["stages"][1]["play"] == "d"


def test_a_path_may_quote_its_keys():
    text = "games: {math#1: {a: 1}}\nsweep: {axes: {'games.\"math#1\".a': [2]}}\n"
    assert run_of(text) == {"games": {"math#1": {"a": 2}}}


def test_values_may_use_variables_and_are_named_by_what_they_become():
    text = "vars: {x: 5}\n" + swept("{seed: ['${vars.x}', 6]}")
    assert ids(text) == ["seed=5", "seed=6"]
    assert [run.tree.plain()["seed"] for run in runs_of(text)] == [5, 6]


def test_an_axis_over_a_variable_is_applied_before_the_filling():
    text = "vars: {x: 0}\na: ${vars.x}\nb: 'is ${vars.x}'\n" + swept("{vars.x: [1, 2], seed: ['s${vars.x}']}")
    runs = runs_of(text)
    assert [(run.id, run.tree.plain()["a"], run.tree.plain()["b"], run.tree.plain()["seed"]) for run in runs] == [
        ("vars.x=1,seed=s0", 1, "is 1", "s1"),
        ("vars.x=2,seed=s0", 2, "is 2", "s2"),
    ]


def test_an_axis_may_define_a_variable_or_change_a_part_of_one():
    assert [run.tree.plain()["a"] for run in runs_of("a: ${vars.x}\n" + swept("{vars.x: [1, 2]}"))] == [1, 2]
    text = "vars: {x: {y: 1, z: 2}}\na: ${vars.x}\n" + swept("{vars.x.y: [5]}")
    assert run_of(text)["a"] == {"y": 5, "z": 2}


def test_an_unknown_variable_is_told_once_for_all_runs():
    assert findings("a: ${vars.y}\n" + swept("{vars.x: [1, 2, 3]}")) == [("unknown-var", 1, 4)]


@pytest.mark.parametrize(
    ("axes", "code", "column", "message", "hint"),
    [
        ("{sede.x: [1]}", "set-path", 10, "there is no `sede`", "did you mean `seed`?"),
        ("{algorithm.x.y: [1]}", "set-path", 20, "there is no `algorithm.x`", "known: `group_size`, `kl_coef`"),
        ("{seed.x: [1]}", "set-path", 10, "`seed` has no entries", None),
        ("{'stages[mian].play': [1]}", "set-path", 17, "no item with the name `mian`", "did you mean `main`?"),
        ("{stages.play: [1]}", "set-path", 17, "`stages` is a list", "stages[0]"),
        ("{'a..b': [1]}", "set-path", 12, "is not a path", "a.b"),
        ("{vars: [1]}", "set-path", 10, "cannot be swept", "vars.NAME"),
        ("{'vars[0]': [1]}", "set-path", 10, "cannot be swept", "vars.NAME"),
        ("{sweep.axes: [1]}", "set-path", 10, "cannot be swept", "vars.NAME"),
        ("{extends: [x]}", "set-path", 10, "cannot be swept", "vars.NAME"),
        ("{vars.x.y: [1]}", "set-path", 15, "there is no `x`", None),
        ("{seed: []}", "sweep-empty", 10, "the axis `seed` has no values", None),
        ("{seed: {}}", "sweep-empty", 10, "the axis `seed` has no values", None),
        ("{seed: 3}", "wrong-type", 10, "takes a list of values", None),
        ("{}", "sweep-empty", 3, "the sweep has no runs", "axes"),
        ("[seed]", "wrong-type", 9, "`axes` must be a map", None),
        ("{seed: [1, 2, 1.0]}", "sweep-repeated-value", 23, "a value of `seed` is repeated", None),
        ("{seed: [{a: 1, b: [2]}, {b: [2], a: 1}]}", "sweep-repeated-value", 33, "repeated", None),
        ("{'stages[1].play': [x], 'stages[main].play': [y]}", "sweep-repeated-value", 33, "are one axis", None),
        ("{seed: ['1', 1]}", "sweep-repeated-value", 10, "the run `seed=1` is there twice", None),
    ],
)
def test_a_wrong_axis_is_told_where_it_stands(axes, code, column, message, hint):
    runs, (found,) = expanded(swept(axes))
    assert (found.code, found.span.line, found.span.column) == (code, 7, column)
    assert message in found.message
    assert hint is None or hint in found.hint
    assert runs, "the rest of the spec can still be checked"


def test_a_path_that_an_earlier_axis_took_away_is_told_for_its_runs():
    runs, (found,) = expanded(swept("{stages: [[{name: other}]], 'stages[main].play': [x, y]}"))
    assert (found.code, len(runs)) == ("set-path", 2)
    assert "no item with the name `main`" in found.message


def test_an_axis_that_is_written_with_escapes_is_told_at_its_key():
    assert findings(swept('{"\\x61..b": [1]}')) == [("set-path", 7, 10)]


def test_one_and_true_are_different_values():
    assert ids(swept("{seed: [1, true]}")) == ["seed=1", "seed=true"]


def test_the_other_axes_are_swept_although_one_is_wrong():
    runs, found = expanded(swept("{nowhere.x: [1], seed: [1, 2]}"))
    assert [run.id for run in runs] == ["seed=1", "seed=2"]
    assert [f.code for f in found] == ["set-path"]


def test_a_sweep_has_at_most_256_runs_after_exclusion():
    half = f"[{', '.join(map(str, range(16)))}]"
    assert len(runs_of(swept(f"{{seed: {half}, algorithm.group_size: {half}}}"))) == MAX_RUNS
    many = swept(f"{{seed: {half}, algorithm.group_size: [{', '.join(map(str, range(17)))}]}}")
    runs, (found,) = expanded(many)
    assert (found.code, len(runs)) == ("sweep-too-large", 1)
    assert "272 runs" in found.message
    assert len(runs_of(many + "  exclude: [{algorithm.group_size: 3}]\n")) == 256


def test_a_sweep_of_millions_of_runs_is_refused_without_making_them():
    axes = ", ".join(f"x{n}: [{', '.join(map(str, range(20)))}]" for n in range(20))
    runs, (found,) = expanded(swept(f"{{{axes}}}"))
    assert (found.code, len(runs)) == ("sweep-too-large", 1)


def test_a_sweep_of_very_many_axes_or_additions_is_refused():
    axes = ", ".join(f"x{n}: [1]" for n in range(33))
    assert findings(swept(f"{{{axes}}}")) == [("sweep-too-large", 7, 3)]
    added = ", ".join(f"{{seed: {n}}}" for n in range(257))
    assert findings(swept("{seed: [a]}", add=f"[{added}]")) == [("sweep-too-large", 7, 3)]


def test_a_sweep_is_a_map_of_three_keys():
    assert findings(BASE + "sweep: [1]\n") == [("wrong-type", 6, 8)]
    found = the_finding(swept("{seed: [1]}", exclud="[]"))
    assert (found.code, found.hint) == ("unknown-key", "did you mean `exclude`?")


def test_a_run_that_grows_too_large_is_left_out():
    many = ", ".join(["1"] * 12_000)
    runs, (found,) = expanded(
        f"vars: {{x: [{many}]}}\na: ${{vars.x}}\nb: 0\nsweep: {{axes: {{b: [1, '${{vars.x}}']}}}}\n"
    )
    assert [run.id for run in runs] == ["b=1"]
    assert (found.code, found.span.line) == ("yaml-bomb", 4)


# ── exclude and add ──

ARMS = "{seed: [1, 2], 'stages[main].play': {nested: {all_of: [a, b]}, mixed: {any_of: [a, b]}}}"


@pytest.mark.parametrize(
    ("exclude", "left"),
    [
        ("[{seed: 2, 'stages[main].play': mixed}]", ["1 nested", "1 mixed", "2 nested"]),
        ("[{seed: 1}]", ["2 nested", "2 mixed"]),
        ("[{seed: 1.0}]", ["2 nested", "2 mixed"]),
        ("[{seed: '1'}]", ["2 nested", "2 mixed"]),
        ("[{'stages[1].play': {all_of: [a, b]}}]", ["1 mixed", "2 mixed"]),
        ("[{seed: 1, 'stages[main].play': mixed}, {seed: 2, 'stages[main].play': nested}]", ["1 nested", "2 mixed"]),
        ("[]", ["1 nested", "1 mixed", "2 nested", "2 mixed"]),
    ],
)
def test_exclude_removes_every_run_that_a_partial_map_matches(exclude, left):
    found = [" ".join(run.choices.values()) for run in runs_of(swept(ARMS, exclude=exclude))]
    assert found == left


@pytest.mark.parametrize("exclude", ["[{seed: 3}]", "[{seed: 1, 'stages[main].play': nestd}]", "[{}]", "[{seed: [1]}]"])
def test_an_exclusion_of_nothing_is_a_warning(exclude):
    runs, (found,) = expanded(swept(ARMS, exclude=exclude))
    assert (found.code, found.severity, found.span.line, len(runs)) == ("sweep-exclude-no-match", "warning", 8, 4)


@pytest.mark.parametrize(
    ("exclude", "code", "hint"),
    [
        ("[{sed: 1}]", "sweep-unknown-axis", "did you mean `seed`?"),
        ("[{'a..b': 1}]", "sweep-unknown-axis", "known: `seed`, `stages[main].play`"),
        ("[{algorithm: 1, seed: 1}]", "sweep-unknown-axis", "known: `seed`, `stages[main].play`"),
        ("{seed: 1}", "wrong-type", None),
        ("[seed]", "wrong-type", None),
    ],
)
def test_an_exclusion_of_no_axis_is_an_error_and_excludes_nothing(exclude, code, hint):
    runs, (found,) = expanded(swept(ARMS, exclude=exclude))
    assert (found.code, found.severity, found.hint, len(runs)) == (code, "error", hint, 4)


def test_a_sweep_that_excludes_all_its_runs_is_an_error():
    runs, found = expanded(swept("{seed: [1]}", exclude="[{seed: 1}]"))
    assert ([f.code for f in found], [run.id for run in runs]) == (["sweep-empty"], [""])
    runs, found = expanded(swept("{seed: [1]}", exclude="[{seed: 1}, {seed: 9}]"))
    assert [f.code for f in found] == ["sweep-exclude-no-match", "sweep-empty"]


def test_added_runs_are_taken_as_they_are_on_the_unswept_spec():
    runs = runs_of(swept(ARMS, add="[{seed: 9, algorithm.group_size: 32}, {'stages[warmup].play': {all_of: [b]}}]"))
    assert [run.id for run in runs[4:]] == ["seed=9,algorithm.group_size=32", "stages[warmup].play=#1"]
    tree = runs[4].tree.plain()
    assert (tree["seed"], tree["algorithm"]["group_size"], tree["stages"][1]["play"]["any_of"]) == (9, 32, ["a", "b"])


def test_a_sweep_may_only_add():
    assert ids(BASE + "sweep: {add: [{seed: 1}, {seed: 2}]}\n") == ["seed=1", "seed=2"]


def test_an_added_run_may_change_variables():
    text = "vars: {x: 0}\na: ${vars.x}\n" + BASE + "sweep: {add: [{vars.x: 1}, {seed: '${vars.x}'}]}\n"
    assert [(run.id, run.tree.plain()["a"]) for run in runs_of(text)] == [("vars.x=1", 1), ("seed=0", 0)]


@pytest.mark.parametrize(
    ("add", "code", "column"),
    [
        ("{seed: 1}", "wrong-type", 8),
        ("[seed]", "wrong-type", 9),
        ("[{}]", "wrong-type", 9),
        ("[{nowhere.x: 1}]", "set-path", 10),
        ("[{seed: 1}]", "sweep-repeated-value", 10),
    ],
)
def test_a_wrong_addition_is_told(add, code, column):
    runs, (found,) = expanded(swept("{seed: [1, 2]}", add=add))
    assert (found.code, found.span.line, found.span.column) == (code, 8, column)
    assert [run.id for run in runs] == ["seed=1", "seed=2"]


# ── the command line ──


@pytest.mark.parametrize(
    "argument", ["seed=7", "stages[1].play=x", "stages[main].play.all_of=[c]", "stages[main].play=null"]
)
def test_an_axis_that_is_also_given_by_set_is_an_error(argument):
    runs, (found,) = expanded(swept(ARMS), argument)
    assert (found.code, found.span.line, found.notes[0].span.file) == ("sweep-axis-set", 7, "<--set>")
    assert len(runs) == 4


@pytest.mark.parametrize(
    "argument",
    ["algorithm.kl_coef=1", "stages[main].until.steps=5", "stages[main].play.reward=min", "stages[warmup]=null"],
)
def test_a_set_beside_an_axis_is_none_of_its_business(argument):
    assert len(ids(swept(ARMS), argument)) == 4


@pytest.mark.parametrize(
    ("only", "left"),
    [
        (["seed=1"], ["1 nested", "1 mixed"]),
        (["seed=1,2"], ["1 nested", "1 mixed", "2 nested", "2 mixed"]),
        (["seed=1", "seed=2"], ["1 nested", "1 mixed", "2 nested", "2 mixed"]),
        (["seed=1", "stages[main].play=nested"], ["1 nested"]),
        (["seed=9"], ["9"]),
        (["stages[main].play=nested"], ["1 nested", "2 nested"]),
        ([], ["1 nested", "1 mixed", "2 nested", "2 mixed", "9"]),
    ],
)
def test_only_selects_runs(only, left):
    assert [" ".join(run.choices.values()) for run in runs_of(swept(ARMS, add="[{seed: 9}]"), only=only)] == left


def test_a_value_with_a_comma_or_an_equals_sign_can_be_selected():
    text = swept("{seed: ['a,b', 'c=d', e]}")
    assert ids(text, only=["seed=a,b"]) == ["seed=a,b"]
    assert ids(text, only=["seed=c=d"]) == ["seed=c=d"]
    assert ids("'a=b': 1\nsweep: {axes: {'\"a=b\"': [1, 2]}}\n", only=['"a=b"=2']) == ['"a=b"=2']


@pytest.mark.parametrize(
    ("only", "message", "hint"),
    [
        (["sede=1"], "`sede` is not an axis", "did you mean `seed`?"),
        (["seed"], "`seed` has no value ``", "known: `1`, `2`"),
        (["seed=3"], "`seed` has no value `3`", "known: `1`, `2`"),
        (["seed=1,3"], "`seed` has no value `3`", "known: `1`, `2`"),
        (["stages[main].play=nestd"], "has no value `nestd`", "did you mean `nested`?"),
    ],
)
def test_a_wrong_selection_lists_what_there_is_and_selects_all(only, message, hint):
    runs, (found,) = expanded(swept(ARMS), only=only)
    assert (found.code, found.span.file, len(runs)) == ("only-unknown", "<--only>", 4)
    assert message in found.message
    assert found.hint == hint


def test_a_selection_without_a_sweep_or_without_a_run_is_an_error():
    runs, (found,) = expanded(BASE, only=["seed=1"])
    assert ("no sweep" in found.message, len(runs)) == (True, 1)
    text = swept(ARMS, exclude="[{seed: 1, 'stages[main].play': nested}]")
    runs, (found,) = expanded(text, only=["seed=1", "stages[main].play=nested"])
    assert (found.code, runs) == ("only-unknown", [])
    assert "seed=1 and stages[main].play=nested" in found.message


def test_variables_that_only_other_runs_use_are_not_called_unused():
    text = "vars: {x: 5}\n" + swept("{seed: [1, '${vars.x}']}")
    assert ids(text, only=["seed=1"]) == ["seed=1"]

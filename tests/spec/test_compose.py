"""Composition of files: extends, --set, and which files a spec may read at all."""

import os
from pathlib import Path

import pytest

from gift_dsl.spec.compose import MAX_CHAIN, compose
from gift_dsl.spec.files import Refusal, locate_file, project_root, read_source
from gift_dsl.spec.source import MAX_BYTES


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a mark of its root, in which the working directory is `specs`."""
    (tmp_path / "root" / ".git").mkdir(parents=True)
    specs = tmp_path / "root" / "specs"
    specs.mkdir()
    monkeypatch.chdir(specs)

    def write(**files):
        for name, text in files.items():
            path = specs / name.replace("__", "/")
            path = path.with_name(f"{path.name}.yaml")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    return write


def composed(*sets, file="own.yaml"):
    result = compose(file, sets=sets)
    assert result.diagnostics == []
    return result


def tree(*sets, file="own.yaml"):
    return composed(*sets, file=file).tree.plain()


def codes(result):
    return [(f.code, str(f.span)) for f in result.diagnostics]


def the_finding(*sets, file="own.yaml", text=None):
    (found,) = compose(file, text, sets).diagnostics
    return found


# ── extends ──


def test_a_file_alone_is_itself(project):
    project(own="gift: 1\nname: a\nkl: null\n")
    result = composed()
    assert result.tree.plain() == {"gift": 1, "name": "a"}
    assert (result.vars, result.sweep, result.fragment, result.sets) == (None, None, False, ())
    assert result.files == {"own.yaml": "gift: 1\nname: a\nkl: null\n"}
    assert result.paths["own.yaml"].is_absolute()


def test_bases_fold_from_left_to_right_and_the_file_itself_comes_last(project):
    project(
        a="x: a\ny: a\nz: a\nlist: [1, 2]\nm: {p: 1, q: 1}\n",
        b="y: b\nz: b\nm: {q: 2}\n",
        own="extends: [a.yaml, b.yaml]\nz: own\nlist: [3]\nm: {p: null}\n",
    )
    assert tree() == {"x": "a", "y": "b", "z": "own", "list": [3], "m": {"q": 2}}


def test_a_path_is_relative_to_the_file_that_says_it(project):
    project(own="extends: lib/a.yaml\n", lib__a="extends: ../b.yaml\na: 1\n", b="b: 1\n")
    result = composed()
    assert result.tree.plain() == {"b": 1, "a": 1}
    assert set(result.files) == set(result.paths) == {"own.yaml", "lib/a.yaml", "b.yaml"}


def test_values_keep_the_file_in_which_they_were_written(project):
    project(base="model: {source: x, revision: y}\n", own="extends: base.yaml\nmodel: {revision: z}\n")
    model = composed("model.dtype=fp32").tree.fields["model"]
    assert {key: str(value.span) for key, value in model.fields.items()} == {
        "source": "base.yaml:1:17",
        "revision": "own.yaml:2:19",
        "dtype": "<--set>:1:13",
    }
    assert str(model.key_spans["dtype"]) == "<--set>:1:7"
    assert str(model.span) == "own.yaml:2:8"


def test_a_diamond_is_no_cycle_and_each_file_is_read_once(project):
    project(
        top="v: 1\nw: 1\n",
        left="extends: top.yaml\nw: 2\n",
        right="extends: top.yaml\n",
        own="extends: [left.yaml, right.yaml, ./left.yaml]\n",
    )
    result = composed()
    assert result.tree.plain() == {"v": 1, "w": 2}
    assert sorted(result.files) == ["left.yaml", "own.yaml", "right.yaml", "top.yaml"]


def test_mistakes_in_a_file_that_is_reached_twice_are_told_once(project):
    project(top="v: 1\nv: 2\n", a="extends: top.yaml\n", own="extends: [a.yaml, top.yaml]\n")
    assert codes(compose("own.yaml")) == [("duplicate-key", "top.yaml:2:1")]


def test_a_cycle_is_told_with_its_chain(project):
    project(own="extends: a.yaml\n", a="extends: b.yaml\n", b="extends:\n- a.yaml\n")
    found = the_finding()
    assert (found.code, str(found.span)) == ("extends-cycle", "b.yaml:2:3")
    assert "a.yaml -> b.yaml -> a.yaml" in found.message
    assert [(note.message, str(note.span)) for note in found.notes] == [
        ("`a.yaml` extends `b.yaml` here", "a.yaml:1:10")
    ]


def test_a_file_that_extends_itself_is_a_cycle(project):
    project(own="extends: ../specs/own.yaml\n")
    assert the_finding().code == "extends-cycle"


def chain(project, length):
    """`own` extends f1, which extends f2, and so on: `length` files in all."""
    files = {f"f{n}": f"extends: f{n + 1}.yaml\n" for n in range(1, length - 1)}
    project(own="extends: f1.yaml\n", **files, **{f"f{length - 1}": "a: 1\n"})


def test_a_chain_may_have_sixteen_files_and_no_more(project):
    chain(project, MAX_CHAIN)
    assert tree() == {"a": 1}
    chain(project, MAX_CHAIN + 1)
    assert codes(compose("own.yaml")) == [("extends-depth", "f15.yaml:1:10")]


def test_a_chain_is_too_long_however_its_end_was_reached_first(project):
    chain(project, MAX_CHAIN)
    project(start="extends: [f1.yaml, own.yaml]\n")
    assert codes(compose("start.yaml")) == [("extends-depth", "own.yaml:1:10")]


def test_extends_takes_text_only_and_null_is_nothing(project):
    project(own="extends: [3, {a: b}]\nx: 1\n", none="extends: null\nx: 1\n", empty="extends: []\nx: 1\n")
    assert codes(compose("own.yaml")) == [("wrong-type", "own.yaml:1:11"), ("wrong-type", "own.yaml:1:14")]
    assert tree(file="none.yaml") == tree(file="empty.yaml") == {"x": 1}


def test_a_missing_base_is_answered_with_the_file_that_was_meant(project):
    project(own="extends: lib/bsae.yaml\n", lib__base="a: 1\n")
    found = the_finding()
    assert (found.code, str(found.span), found.path) == ("extends-missing", "own.yaml:1:10", "extends")
    assert found.hint == "did you mean `lib/base.yaml`?"


def test_a_missing_folder_is_told(project):
    project(own="extends: nowhere/base.yaml\n")
    assert the_finding().hint == "the folder does not exist"


@pytest.mark.parametrize("reference", ["''", "' '", '"a\\0b"', '"a\\nb"'])
def test_what_is_no_file_name_is_missing(project, reference):
    project(own=f"extends: {reference}\n")
    assert the_finding().code == "extends-missing"


@pytest.mark.parametrize(
    "reference",
    [
        "https://example.org/base.yaml",
        "file:///etc/passwd",
        "s3:bucket/base.yaml",
        "/etc/passwd",
        "~/base.yaml",
        "C:/base.yaml",
        "..\\base.yaml",
        "../../base.yaml",
        "../../root2/base.yaml",
        "lib/../../../base.yaml",
    ],
)
def test_a_base_outside_the_project_is_refused_whether_it_exists_or_not(project, reference):
    project(own=f"extends: '{reference}'\n")
    found = the_finding()
    assert (found.code, str(found.span)) == ("extends-outside", "own.yaml:1:10")


def test_the_name_of_the_project_folder_may_begin_another_name(project, tmp_path):
    (tmp_path / "root2").mkdir()
    (tmp_path / "root2" / "base.yaml").write_text("a: 1")
    project(own="extends: ../../root2/base.yaml\n")
    assert the_finding().code == "extends-outside"


def test_a_base_is_not_read_through_a_link(project, tmp_path):
    (tmp_path / "secret.yaml").write_text("a: 1")
    project(lib__real="a: 1\n", own="extends: link.yaml\n", other="extends: folder/real.yaml\n")
    Path("link.yaml").symlink_to(tmp_path / "secret.yaml")
    Path("folder").symlink_to("lib")
    assert the_finding().code == "file-symlink"
    assert the_finding(file="other.yaml").code == "file-symlink"


def test_a_base_that_is_a_folder_is_refused(project):
    project(own="extends: ../specs\n")
    assert codes(compose("own.yaml")) == [("file-not-regular", "own.yaml:1:10")]


def test_all_mistakes_of_all_files_are_told_and_nothing_is_said_about_the_whole(project):
    project(
        own="extends: [a.yaml, missing.yaml, b.yaml]\nx: 1\nx: 2\n",
        a="y: @\n",
        b="- 1\n",
    )
    result = compose("own.yaml", sets=["z=[", "w"])
    assert result.tree is None
    assert codes(result) == [
        ("duplicate-key", "own.yaml:3:1"),
        ("yaml-syntax", "a.yaml:1:4"),
        ("extends-missing", "own.yaml:1:19"),
        ("yaml-root", "b.yaml:1:1"),
        ("yaml-syntax", "<--set 1>:1:3"),
        ("set-path", "<--set 2>:1:1"),
    ]


def test_mistakes_that_leave_the_tree_readable_leave_a_tree(project):
    project(own="x: 1\nx: 2\n")
    assert compose("own.yaml").tree.plain() == {"x": 1}


# ── the top level ──


def test_keys_for_anchors_are_dropped(project):
    project(base="x-shared: &s {a: 1}\nb: *s\n", own="extends: base.yaml\nx-more: 1\n")
    assert tree("x-set=1") == {"b": {"a": 1}}


def test_variables_and_sweep_stand_beside_the_tree(project):
    project(base="vars: {a: 1, b: 2}\n", own="extends: base.yaml\nvars: {a: 3}\nsweep: {axes: {seed: [null, 1]}}\n")
    result = composed()
    assert result.vars.plain() == {"a": 3, "b": 2}
    assert result.sweep.plain() == {"axes": {"seed": [None, 1]}}
    assert result.tree.plain() == {}


def test_variables_must_be_a_map(project):
    project(own="vars: [1]\n")
    result = compose("own.yaml")
    assert codes(result) == [("wrong-type", "own.yaml:1:7")]
    assert result.vars is None


def test_being_a_fragment_is_not_inherited(project):
    project(base="fragment: true\na: 1\n", own="extends: base.yaml\n", no="fragment: false\n", none="fragment: null\n")
    assert composed(file="base.yaml").fragment
    assert composed(file="base.yaml").tree.plain() == {"a": 1}
    assert not composed().fragment
    assert not composed(file="no.yaml").fragment
    assert not composed(file="none.yaml").fragment


def test_fragment_is_true_or_false(project):
    project(own="fragment: yes\n")
    assert codes(compose("own.yaml")) == [("wrong-type", "own.yaml:1:11")]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("- a\n", "but this is a list", "gift: 1"),
        ("a:1\n", "but this is text", "a space must follow the colon"),
        ("just text\n", "but this is text", "gift: 1"),
        ("3\n", "but this is a single value", "gift: 1"),
        ("~\n", "but this is a single value", "gift: 1"),
    ],
)
def test_a_spec_is_a_map(project, text, message, hint):
    found = the_finding(text=text)
    assert found.code == "yaml-root"
    assert message in found.message
    assert hint in found.hint


def test_a_spec_that_grows_too_large_when_put_together_is_refused(project):
    half = ", ".join(["1"] * 12_000)
    project(a=f"a: [{half}]\n", own=f"extends: a.yaml\nb: [{half}]\n")
    result = compose("own.yaml")
    assert codes(result) == [("yaml-bomb", "own.yaml:1:1")]
    assert result.tree is None


# ── standard input ──


def test_text_from_standard_input_extends_from_the_working_directory(project):
    project(base="a: 1\n")
    result = compose("-", b"\xef\xbb\xbfextends: base.yaml\nb: 2\n")
    assert result.diagnostics == []
    assert result.tree.plain() == {"a": 1, "b": 2}
    assert set(result.files) == {"<stdin>", "base.yaml"}
    assert set(result.paths) == {"base.yaml"}
    assert str(result.tree.fields["b"].span) == "<stdin>:2:4"


def test_bytes_that_are_not_utf_8_are_refused(project):
    assert codes(compose("-", b"a: \xff")) == [("yaml-encoding", "<stdin>:1:4")]


def test_text_may_stand_in_for_a_file_that_is_not_saved(project):
    project(lib__base="a: 1\n")
    result = compose("lib/new.yaml", "extends: base.yaml\n")
    assert result.tree.plain() == {"a": 1}


# ── --set ──

STAGES = (
    "seed: 1\nstages:\n- {name: warmup, until: {steps: 1}}\n- {name: main, until: {steps: 2}}\nm: {p: 1, q: {r: 1}}\n"
)


@pytest.mark.parametrize(
    ("argument", "path", "value"),
    [
        ("seed=2", ("seed",), 2),
        ("seed='2'", ("seed",), "2"),
        ("new=a=b", ("new",), "a=b"),
        ("seed=", ("seed",), None),
        ("seed=  ", ("seed",), None),
        ("seed=null", ("seed",), None),
        ("m={p: 2}", ("m",), {"p": 2, "q": {"r": 1}}),
        ("m.q=3", ("m", "q"), 3),
        ("m.q={s: 2}", ("m", "q"), {"r": 1, "s": 2}),
        ("m.q={r: null}", ("m", "q"), {}),
        ("a.b.c=[1, 2]", ("a", "b", "c"), [1, 2]),
        ('a."b.c".d=1', ("a", "b.c", "d"), 1),
        ('a."b=c"=1', ("a", "b=c"), 1),
        ('"a b"=1', ("a b",), 1),
        ("m.math#1=x", ("m", "math#1"), "x"),
        ("stages[0].until.steps=9", ("stages", 0, "until", "steps"), 9),
        ("stages[main].until={steps: 9}", ("stages", 1, "until"), {"steps": 9}),
        ('stages["main"].name=other', ("stages", 1, "name"), "other"),
        ("stages[main]={seed: 4}", ("stages", 1), {"name": "main", "until": {"steps": 2}, "seed": 4}),
        ("stages=[]", ("stages",), []),
        ("seed.deep=1", ("seed", "deep"), 1),
        ("m=\n  p: 5\n  z: 6", ("m", "z"), 6),
    ],
)
def test_set_merges_a_value_at_a_path(project, argument, path, value):
    project(own=STAGES)
    node = composed(argument).tree.at(path)
    assert (node.plain() if node else None) == value


def test_a_null_removes_an_item_of_a_list(project):
    project(own=STAGES)
    assert [stage["name"] for stage in tree("stages[warmup]=null")["stages"]] == ["main"]


def test_sets_apply_in_order_and_each_has_its_own_source(project):
    project(own=STAGES)
    result = composed("seed=2", "seed=3", "m.p=4")
    assert result.tree.plain()["seed"] == 3
    assert str(result.tree.fields["seed"].span) == "<--set 2>:1:6"
    assert {file: text for file, text in result.files.items() if file.startswith("<")} == {
        "<--set 1>": "seed=2",
        "<--set 2>": "seed=3",
        "<--set 3>": "m.p=4",
    }
    assert [".".join(part.name for part in path) for path in result.sets] == ["seed", "seed", "m.p"]


def test_a_map_made_on_the_way_stands_in_the_argument_and_one_that_was_there_stays(project):
    project(own=STAGES)
    result = composed("a.b=1", "m.q.s=1").tree
    assert str(result.fields["a"].span) == "<--set 1>:1:3"
    assert str(result.key_spans["a"]) == "<--set 1>:1:1"
    assert str(result.key_spans["m"]) == "own.yaml:5:1"
    assert str(result.at(("m", "q")).span) == "own.yaml:5:14"


def test_set_reaches_variables_and_sweep(project):
    project(own="vars: {a: 1}\nsweep: {axes: {seed: [1, 2]}}\n")
    result = composed("vars.a=2", "vars.b=3", "sweep.axes.seed=[3]", "sweep.axes.kl={off: null}")
    assert result.vars.plain() == {"a": 2, "b": 3}
    assert result.sweep.plain() == {"axes": {"seed": [3], "kl": {"off": None}}}
    assert composed("sweep=null").sweep is None


@pytest.mark.parametrize(
    ("argument", "column", "message", "hint"),
    [
        ("seed", 1, "takes path=value", "--set seed=1"),
        ("", 1, "takes path=value", "--set seed=1"),
        ("=1", 1, "is not a path", "a.b"),
        ("a..b=1", 2, "is not a path", "a.b"),
        ("a.=1", 2, "is not a path", "a.b"),
        (".a=1", 1, "is not a path", "a.b"),
        ("a b=1", 2, "is not a path", "a.b"),
        ("[0]=1", 1, "is not a path", "a.b"),
        ("a[=1", 2, "is not a path", "a.b"),
        ("a[]=1", 2, "is not a path", "a.b"),
        ('a"b"=1', 2, "is not a path", "a.b"),
        ('a."b=1', 1, "takes path=value", "--set seed=1"),
        (".".join(["a"] * 49) + "=1", 96, "is not a path", "a.b"),
        ("extends=b.yaml", 1, "belongs to a file", None),
        ("fragment=true", 1, "belongs to a file", None),
        ("stages[mian].x=1", 7, "no item with the name `mian`", "did you mean `main`?"),
        ("stages[2].x=1", 7, "no item 2", "it has 2 items, from 0"),
        ("stages[9999999999].x=1", 7, "no item 9999999999", "it has 2 items, from 0"),
        ("stages.x=1", 8, "`stages` is a list", "stages[0] or stages[name]"),
        ("m[0]=1", 2, "`m` is not a list", "write m.0"),
        ("new[0]=1", 4, "`new` is not there", None),
        ("stages[0].until[x]=1", 16, "`stages[0].until` is not a list", "stages[0].until.x"),
    ],
)
def test_a_path_that_leads_nowhere_is_told_where_it_ends(project, argument, column, message, hint):
    project(own=STAGES)
    found = the_finding(argument)
    assert (found.code, found.span.file, found.span.column) == ("set-path", "<--set>", column)
    assert message in found.message
    assert hint is None or hint in found.hint


def test_a_wrong_value_of_a_set_is_told_at_its_column(project):
    project(own="a: 1\n")
    assert codes(compose("own.yaml", sets=["b=@x"])) == [("yaml-syntax", "<--set>:1:3")]
    assert codes(compose("own.yaml", sets=["b={c: 1, c: 2}"])) == [("duplicate-key", "<--set>:1:10")]
    assert codes(compose("own.yaml", sets=["b=\udcff"])) == [("yaml-control", "<--set>:1:3")]


# ── reading files ──


def test_a_missing_spec_is_answered_with_the_file_that_was_meant(project):
    project(nested="a: 1\n")
    found = the_finding(file="nestde.yaml")
    assert (found.code, str(found.span), found.hint) == (
        "file-missing",
        "nestde.yaml:1:1",
        "did you mean `nested.yaml`?",
    )


def test_a_spec_is_not_read_through_a_link_but_its_folder_may_be_one(project):
    project(lib__own="extends: base.yaml\n", lib__base="a: 1\n")
    Path("link.yaml").symlink_to("lib/own.yaml")
    Path("folder").symlink_to("lib")
    found = the_finding(file="link.yaml")
    assert found.code == "file-symlink"
    assert "lib/own.yaml" in found.hint
    assert tree(file="folder/own.yaml") == {"a": 1}


def test_a_folder_or_a_pipe_is_not_a_spec(project):
    os.mkfifo("pipe")
    assert the_finding(file="pipe").code == "file-not-regular"
    assert the_finding(file="../specs").code == "file-not-regular"


def test_a_spec_that_is_too_large_is_not_read_to_its_end(project, tmp_path):
    project(own="# " + "x" * MAX_BYTES)
    assert the_finding().code == "file-too-large"


def test_a_file_that_cannot_be_opened_says_why(project):
    project(own="a: 1\n")
    assert the_finding(file="own.yaml/x").code == "file-unreadable"
    text, (found,) = read_source(Path("a\0b"), "bad.yaml")
    assert (text, found.code) == (None, "file-unreadable")


def test_the_root_is_the_nearest_folder_with_a_mark(tmp_path):
    tmp_path = tmp_path.resolve()
    deep = tmp_path / "a" / "b" / "c"
    deep.mkdir(parents=True)
    for mark, folder in (("pyproject.toml", tmp_path / "a"), (".gift", tmp_path / "a" / "b"), ("gift.toml", deep)):
        (folder / mark).touch()
        assert project_root(deep) == folder


def test_without_a_mark_the_root_is_the_folder_above_but_never_that_of_the_disk():
    assert project_root(Path("/no-such-folder/specs")) == Path("/no-such-folder")
    assert project_root(Path("/no-such-folder")) == Path("/no-such-folder")


def test_other_files_that_a_spec_names_obey_the_same_rules(project, tmp_path):
    project(game="type: spy\n")
    root = (tmp_path / "root").resolve()
    assert locate_file("game.yaml", root / "specs", root, "game-file") == root / "specs" / "game.yaml"
    refused = locate_file("../../x", root / "specs", root, "game-file")
    assert isinstance(refused, Refusal)
    assert refused.code == "game-file-outside"

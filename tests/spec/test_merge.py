"""JSON Merge Patch on nodes: the rules of RFC 7396, the places of values, and compositions replaced whole."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.spec.merge import drop_nulls, merge_files, merge_patch, replace_whole, without
from gift_dsl.spec.source import parse_yaml


def node(value, file="spec.yaml"):
    tree, found = parse_yaml(json.dumps(value), file)
    assert found == []
    return tree


def merged(target, patch):
    result = merge_patch(node(target, "base.yaml"), node(patch, "own.yaml"))
    return None if result is None else result.plain()


# RFC 7396, appendix A: all fifteen.
@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"a": "foo"}, "bar", "bar"),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_the_vectors_of_the_rfc_hold(target, patch, result):
    assert merged(target, patch) == result


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.sampled_from("pq"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
MAPS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)
COMPOSITIONS = st.fixed_dictionaries({"any_of": st.just(["a"])}, optional={"all_of": VALUES, "a": VALUES})


@given(st.tuples(MAPS | COMPOSITIONS, MAPS) | st.tuples(COMPOSITIONS, COMPOSITIONS))
def test_a_patch_applied_twice_changes_nothing_more(pair):
    target, patch = pair
    once = merge_patch(node(target), node(patch))
    assert merge_patch(once, node(patch)).plain() == once.plain()


@given(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3), VALUES)
def test_without_compositions_the_result_is_that_of_the_rfc(target, patch):
    def rfc(target, patch):
        if not isinstance(patch, dict):
            return patch
        result = dict(target) if isinstance(target, dict) else {}
        for name, value in patch.items():
            if value is None:
                result.pop(name, None)
            else:
                result[name] = rfc(result.get(name), value)
        return result

    assert merged(target, patch) == rfc(target, patch)


@given(MAPS, MAPS)
def test_merging_changes_neither_side(target, patch):
    left, right = node(target), node(patch)
    merge_patch(left, right)
    assert left.plain() == target
    assert right.plain() == patch


@given(MAPS, MAPS)
def test_size_and_height_are_those_of_the_result(target, patch):
    result = merge_patch(node(target), node(patch))
    again = node(result.plain())
    assert (result.size, result.height) == (again.size, again.height)


# ── compositions ──


def test_a_composition_over_another_replaces_it_whole():
    base = {"play": {"any_of": ["a", "b"], "draw": "random", "weight": 2}}
    assert merged(base, {"play": {"all_of": ["a", "b"]}}) == {"play": {"all_of": ["a", "b"]}}
    assert merged(base, {"play": {"any_of": ["c"]}}) == {"play": {"any_of": ["c"]}}
    assert merged({"in_turn": ["a"], "blocks": [1]}, {"all_of": ["b"]}) == {"all_of": ["b"]}


def test_options_alone_merge_into_a_composition():
    base = {"play": {"all_of": ["a", "b"], "reward": "mean"}}
    assert merged(base, {"play": {"reward": "min"}}) == {"play": {"all_of": ["a", "b"], "reward": "min"}}


def test_a_null_in_place_of_a_composition_only_removes_it():
    assert merged({"all_of": ["a"], "order": "fixed"}, {"all_of": None}) == {"order": "fixed"}
    assert merged({"all_of": ["a"]}, {"all_of": None, "any_of": ["b"]}) == {"any_of": ["b"]}


def test_a_composition_over_what_is_none_merges_as_any_map():
    assert merged({"type": "spy"}, {"all_of": ["a"]}) == {"type": "spy", "all_of": ["a"]}
    assert merged("everything", {"all_of": ["a"]}) == {"all_of": ["a"]}


# ── places ──


def test_every_value_and_key_keeps_the_file_where_it_was_written():
    base = node({"model": {"source": "x", "revision": "y"}, "seed": 1}, "base.yaml")
    own = node({"model": {"revision": "z", "dtype": "fp32"}}, "own.yaml")
    result = merge_patch(base, own)
    model = result.fields["model"]
    assert {key: (value.span.file, model.key_spans[key].file) for key, value in model.fields.items()} == {
        "source": ("base.yaml", "base.yaml"),
        "revision": ("own.yaml", "own.yaml"),
        "dtype": ("own.yaml", "own.yaml"),
    }
    assert model.span.file == "own.yaml"
    assert result.key_spans["seed"].file == "base.yaml"


def test_a_removed_key_leaves_no_place_behind():
    result = merge_patch(node({"a": 1, "b": 2}), node({"a": None}))
    assert result.key_spans.keys() == result.fields.keys() == {"b"}


# ── whole files: sweeps ──


def files(base, own):
    return merge_files(node(base, "base.yaml"), node(own, "own.yaml")).plain()


def test_the_values_of_axes_keep_their_nulls():
    sweep = {"axes": {"kl_coef": {"off": None, "on": 0.1}, "play": {"b": {"x": None}}, "seed": [None, 1]}}
    assert merge_files(None, node({"sweep": sweep})).plain() == {"sweep": sweep}


def test_an_inherited_axis_is_replaced_whole_or_removed():
    base = {"seed": 1, "sweep": {"axes": {"seed": [1, 2], "arm": {"a": 1, "b": 2}}, "exclude": [{"seed": 1}]}}
    own = {"sweep": {"axes": {"arm": {"c": None}, "seed": None}, "add": [{"seed": 3}]}}
    assert files(base, own) == {
        "seed": 1,
        "sweep": {"axes": {"arm": {"c": None}}, "exclude": [{"seed": 1}], "add": [{"seed": 3}]},
    }


def test_a_null_removes_the_sweep_its_axes_or_its_lists():
    base = {"sweep": {"axes": {"seed": [1]}, "exclude": [{"seed": 1}]}}
    assert files(base, {"sweep": None, "a": 1}) == {"a": 1}
    assert files(base, {"sweep": {"exclude": None}}) == {"sweep": {"axes": {"seed": [1]}}}
    assert files(base, {"sweep": {"axes": None}}) == {"sweep": {"exclude": [{"seed": 1}]}}


def test_a_sweep_of_the_wrong_shape_is_left_for_its_reader():
    assert files({"sweep": {"axes": {"a": [1]}}}, {"sweep": [1]}) == {"sweep": [1]}
    assert files({"sweep": [1]}, {"sweep": {"axes": 3}}) == {"sweep": {"axes": 3}}


def test_a_file_without_a_sweep_keeps_the_inherited_one():
    assert files({"sweep": {"axes": {"a": [1]}}}, {"b": 1}) == {"sweep": {"axes": {"a": [1]}}, "b": 1}


# ── the small tools ──


def test_nulls_left_in_a_finished_spec_are_absent_but_for_items_of_lists():
    tree = node({"a": None, "b": {"c": None}, "d": [None, {"e": None, "f": 1}], "g": [1]})
    assert drop_nulls(tree).plain() == {"b": {}, "d": [None, {"f": 1}], "g": [1]}


def test_a_tree_without_nulls_is_not_copied():
    tree = node({"a": [1, {"b": "c"}], "d": {}})
    assert drop_nulls(tree) is tree


def test_a_map_without_some_keys_keeps_the_rest():
    tree = without(node({"a": 1, "b": 2, "c": 3}), "a", "c", "z")
    assert tree.plain() == {"b": 2}
    assert tree.key_spans.keys() == {"b"}


def test_a_value_that_replaces_whole_keeps_its_nulls():
    assert replace_whole(node({"a": 1}), node({"b": None})).plain() == {"b": None}
    assert replace_whole(node({"a": 1}), node(None)) is None


PART, WHOLE = {"play": "t", "max_turns": 9}, {"all_of": ["a", "m"], "reward": "min"}


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        (WHOLE, PART, PART),
        (PART, WHOLE, WHOLE),
        (PART, {"max_turns": 3}, {"play": "t", "max_turns": 3}),
        (WHOLE, {"max_turns": 3}, {**WHOLE, "max_turns": 3}),
        (PART, {"all_of": None}, PART),
        ({"name": "s", "play": "t"}, {"play": WHOLE}, {"name": "s", "play": WHOLE}),
        ({"name": "s", "play": "t"}, {"all_of": ["a"]}, {"name": "s", "play": "t", "all_of": ["a"]}),
    ],
)
def test_a_part_and_a_composition_take_each_others_place_whole(target, patch, result):
    assert merged(target, patch) == result

from __future__ import annotations

import copy
import json
import random
from collections import Counter
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from gift_dsl.errors import Span
from gift_dsl.spec.catalogue import all_game_types
from gift_dsl.spec.check import check_spec
from gift_dsl.spec.forms import fields_of
from gift_dsl.spec.inline import Inliner
from gift_dsl.spec.merge import drop_nulls
from gift_dsl.spec.models.games import GameSpec
from gift_dsl.spec.node import mapping, scalar, sequence
from gift_dsl.spec.schema import authoring_schema, schema_text
from gift_dsl.spec.source import parse_yaml
from tests.shipped import shipped_specs

HERE = Path(__file__).parent
SHIPPED = shipped_specs()
SCHEMA = authoring_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
NOWHERE = Span("mutant", 1, 1, 1, 1)
SMALLEST = {
    "gift": 1,
    "name": "example",
    "model": {"source": "tiny"},
    "games": {"ttt": {"type": "tictactoe"}},
    "stages": [{"name": "play", "type": "grpo", "play": "ttt", "until": {"steps": 10}}],
}


def read(path):
    tree, found = parse_yaml(path.read_text(encoding="utf-8"), path.name)
    assert not found
    return tree.plain()


EVERYTHING = read(HERE / "everything.yaml")


def complaint(data):
    """What the schema finds first in a file, or None."""
    error = best_match(VALIDATOR.iter_errors(data))
    return None if error is None else f"{error.json_path}: {error.message}"


def tree_of(value):
    """Plain data as a tree, as if it had been read from a file."""
    if isinstance(value, dict):
        return mapping({k: tree_of(v) for k, v in value.items()}, NOWHERE, dict.fromkeys(value, NOWHERE))
    if isinstance(value, list):
        return sequence(tuple(map(tree_of, value)), NOWHERE)
    kinds = {bool: "bool", int: "int", float: "float", type(None): "null", str: "text"}
    return scalar(kinds[type(value)], value, NOWHERE, json.dumps(value))


def codes(data):
    """What gift itself finds in the shape of a spec."""
    inliner = Inliner(Path(), {}, {})
    _, found = check_spec(inliner.inline(drop_nulls(tree_of(data))))
    return {item.code for item in (*found, *inliner.diagnostics)}


def places(value, path=()):
    """Every path below a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inner:
        yield (*path, key)
        yield from places(child, (*path, key))


def changed(change):
    """Valid specs with one section of the large one, in which `change` was made at one place; with that place."""
    for section, value in EVERYTHING.items():
        for path in [(section,), *((section, *path) for path in places(value))]:
            data = copy.deepcopy({**SMALLEST, section: value})
            if change(at(data, path[:-1]), path[-1]):
                yield data, path


def at(value, path):
    for part in path:
        value = value[part]
    return value


# ── what it is ──


def test_it_is_a_schema_of_the_draft_that_it_names():
    Draft202012Validator.check_schema(SCHEMA)


def test_the_file_holds_the_schema():
    assert json.loads(schema_text()) == SCHEMA


def test_unions_are_told_apart_by_conditions_only():
    assert '"oneOf"' not in schema_text()
    assert "discriminator" not in schema_text()


def test_every_key_says_what_it_is_for():
    silent = [
        f"{name}.{key}"
        for name, definition in SCHEMA["$defs"].items()
        for key, body in definition.get("properties", {}).items()
        if key != "type" and not body.get("description") and "$ref" not in body
    ]
    assert silent == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_no_shipped_spec_is_complained_about(path):
    assert complaint(read(path)) is None


def test_a_spec_of_every_kind_of_value_is_right_for_both():
    assert complaint(EVERYTHING) is None
    assert codes(EVERYTHING) == set()


def test_no_parameter_of_a_family_has_the_name_of_a_key_that_every_game_has():
    common = fields_of(GameSpec).keys()
    assert {
        name: common & game.params.keys() for name, game in all_game_types().items() if common & game.params.keys()
    } == {}


# ── it agrees with gift ──

VALUES = (
    *(0, 1, 2, -1, 0.5, -0.5, 1.5, 10**6, 1e9, 3.0, 2**60, True, False, None, "", "x", "final", "all", "off", "gift"),
    *("random", "1", "-", [], [1], ["x"], {}, {"x": 1}, {"type": "random"}, {"play": "x"}, {"all_of": ["chain"]}),
    *([[0, 1]], [None]),
)
KEYS = ("type", "name", "weight", "play", "all_of", "seed", "temperature", "file", "max_turns", "zz")


def mutant(rng):
    """A valid spec with one section of the large one, changed in one place."""
    section = rng.choice(sorted(EVERYTHING))
    data = copy.deepcopy({**SMALLEST, section: EVERYTHING[section]})
    path = rng.choice([(section,), *((section, *path) for path in places(data[section]))])
    holder, key = at(data, path[:-1]), path[-1]
    change = rng.choice((delete, rename, replace, replace, near, near, add))
    change(holder, key, rng)
    return data


def delete(holder, key, rng):
    del holder[key]


def rename(holder, key, rng):
    if isinstance(holder, dict):
        holder[rng.choice((f"{key}s", key[1:] or "z", key.upper(), "zz"))] = holder.pop(key)


def replace(holder, key, rng):
    holder[key] = copy.deepcopy(rng.choice(VALUES))


def near(holder, key, rng):
    """A number out of its range, a word that is almost right."""
    value = holder[key]
    if isinstance(value, str):
        holder[key] = value + rng.choice(("x", "_", "1", " "))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        holder[key] = rng.choice((value * 1.0, value + 1, -value, value * 100, value / 2))


def add(holder, key, rng):
    value = holder[key]
    if isinstance(value, dict):
        value[rng.choice(KEYS)] = copy.deepcopy(rng.choice(VALUES))
    elif isinstance(value, list):
        value.append(copy.deepcopy(rng.choice(VALUES)))


def whole(value):
    """The value with every `3.0` written as `3`."""
    if isinstance(value, dict):
        return {key: whole(item) for key, item in value.items()}
    if isinstance(value, list):
        return [whole(item) for item in value]
    return int(value) if isinstance(value, float) and value == int(value) else value


def exact(value):
    """The value without whole numbers that no double holds."""
    if isinstance(value, dict):
        return {key: exact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [exact(item) for item in value]
    return float(value) if isinstance(value, int) and abs(value) > 2**53 - 1 else value


def known_difference(data, found, says):
    """Why gift and the schema judge a file differently, where we know and accept it."""
    if found and says is None:
        if found == {"bad-params"}:
            return "parameters contradict each other"
        if found == {"out-of-range"} and codes(exact(data)) == set():
            return "a whole number beyond 2^53 is one of many for JSON Schema"
        return "3.0 is an integer for JSON Schema" if codes(whole(data)) <= {"bad-params"} else None
    if complaint(drop_nulls(tree_of(data)).plain()) is None:
        return "a key that does not exist is null"
    return None


def compare(seed, count):
    """How gift and the schema judge mutants: counts of both, and of the differences."""
    rng = random.Random(seed)
    counts = Counter()
    for _ in range(count):
        data = mutant(rng)
        found, says = codes(data), complaint(data)
        if bool(found) == (says is not None):
            counts["both wrong" if found else "both right"] += 1
            continue
        why = known_difference(data, found, says)
        assert why, f"gift finds {found or 'nothing'}, the schema {says or 'nothing'}:\n{json.dumps(data)}"
        counts[why] += 1
    return counts


def check_counts(counts, total):
    assert counts["both wrong"] > total / 2
    assert counts["both right"] > total / 8
    assert sum(counts.values()) - counts["both wrong"] - counts["both right"] < total / 20


def test_it_judges_mutants_of_valid_specs_as_gift_does():
    check_counts(compare(seed=1, count=400), 400)


@pytest.mark.slow
def test_it_judges_thousands_of_mutants_as_gift_does():
    check_counts(compare(seed=2, count=4000), 4000)


# ── files as people write them ──


def thinned(value, rng):
    """A part of a spec: keys left out, keys that drop, and variables in the place of values."""
    if isinstance(value, dict):
        kept = {key: thinned(item, rng) for key, item in value.items() if rng.random() < 0.7}
        return {key: None if rng.random() < 0.1 else item for key, item in kept.items()}
    if isinstance(value, list) and value:
        return [thinned(item, rng) for item in value]
    return "${vars.x}" if rng.random() < 0.2 else value


@pytest.mark.parametrize("how", [{"extends": "base.yaml"}, {"fragment": True}, {"sweep": {"axes": {"seed": [1, 2]}}}])
def test_any_part_of_a_spec_is_right_in_a_file_that_is_not_the_whole(how):
    rng = random.Random(3)
    for _ in range(60):
        part = {**thinned(EVERYTHING, rng), **how}
        assert complaint(part) is None, json.dumps(part)


def test_a_file_that_is_the_whole_must_be_complete():
    for key in SMALLEST:
        rest = {name: value for name, value in SMALLEST.items() if name != key}
        assert complaint(rest) is not None, key
        assert complaint({**rest, "extends": ["base.yaml"]}) is None, key


def test_a_variable_may_stand_in_the_place_of_any_value():
    def change(holder, key):
        holder[key] = "${vars.x}"
        return True

    for data, path in changed(change):
        assert complaint(data) is None, path


def test_null_drops_any_key_that_need_not_be_there():
    def change(holder, key):
        if isinstance(holder, dict):
            holder[key] = None
        return isinstance(holder, dict)

    for data, path in changed(change):
        assert (complaint(data) is None) == (codes(data) <= {"bad-params", "too-short"}), path


def test_an_unknown_key_is_found_in_a_part_as_in_a_whole():
    def change(holder, key):
        if isinstance(holder[key], dict):
            holder[key]["zz"] = [{}]
        return isinstance(holder[key], dict)

    for data, path in changed(change):
        wrong = bool(codes(data))
        assert (complaint(data) is not None) == wrong, path
        assert (complaint({**data, "extends": "base.yaml"}) is not None) == wrong, path
    assert complaint({**SMALLEST, "zz": 1}) is not None


def test_null_drops_what_a_base_said_for_another_type():
    data = {
        "extends": "base.yaml",
        "opponents": {"rival": {"type": "minimax", "model": None, "base_url": None}, "old": None},
        "games": {"spy": {"type": "whos_the_spy", "connect": None}, "chain": {"all_of": ["spy"], "type": None}},
    }
    assert complaint(data) is None


def test_the_keys_that_put_files_together_are_known_and_checked():
    good = {"x-anchors": {"a": 1}, "vars": {"n": 4}, "sweep": {"axes": {"seed": [1], "model": {"a": {}}}, "add": [{}]}}
    assert complaint({**SMALLEST, **good}) is None
    for bad in ({"extends": 3}, {"fragment": "yes"}, {"vars": [1]}, {"sweep": {"axis": {}}}, {"sweep": {"axes": [1]}}):
        assert complaint({**SMALLEST, **bad}) is not None, bad


# ── what an editor offers ──


def offered(data, path):
    """The keys that an editor offers in the map at a path: those of every part of the schema that holds there."""
    found, waiting = {}, [(SCHEMA, data, list(path))]
    while waiting:
        schema, value, way = waiting.pop()
        waiting += [(part, value, way) for part in applicable(schema, value)]
        properties = schema.get("properties", {})
        if not way:
            found |= {key: body for key, body in properties.items() if key not in found}
        elif isinstance(way[0], int):
            waiting += [(schema["items"], value[way[0]], way[1:])] if isinstance(schema.get("items"), dict) else []
        else:
            inner = properties.get(way[0], schema.get("additionalProperties"))
            waiting += [(inner, value[way[0]], way[1:])] if isinstance(inner, dict) else []
    return found


def applicable(schema, value):
    """The parts of a schema that hold for a value beside it."""
    if "$ref" in schema:
        yield SCHEMA["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    yield from schema.get("allOf", ())
    yield from (option for option in schema.get("anyOf", ()) if "$ref" in option)
    if "if" in schema:
        holds = Draft202012Validator({**schema["if"], "$defs": SCHEMA["$defs"]}).is_valid(value)
        yield schema.get("then" if holds else "else", {})


def words(body):
    """The values that an editor offers for a key."""
    if "$ref" in body:
        return words(SCHEMA["$defs"][body["$ref"].removeprefix("#/$defs/")])
    return [
        *body.get("enum", ()),
        *body.get("examples", ()),
        *(w for part in body.get("anyOf", ()) for w in words(part)),
    ]


def test_a_stranger_is_offered_all_that_a_spec_for_two_games_and_a_pool_needs():
    root = offered({}, ())
    assert {"gift", "name", "model", "opponents", "games", "stages", "extends", "sweep"} <= root.keys()

    spec = {"opponents": {"rivals": {}}, "games": {"a": {}}, "stages": [{}]}
    assert {"type", "file", "all_of", "any_of", "in_turn"} == offered(spec, ("games", "a")).keys()
    assert {"tictactoe", "whos_the_spy", "matrix_games"} <= {*words(offered(spec, ("games", "a"))["type"])}
    assert {"pool", "openai", "minimax"} <= {*words(offered(spec, ("opponents", "rivals"))["type"])}
    assert {"type", "name", "play"} <= offered(spec, ("stages", 0)).keys()
    assert words(offered(spec, ("stages", 0))["type"]) == ["grpo", "sft", "glow"]

    spec = {
        "opponents": {"rivals": {"type": "pool"}},
        "games": {"a": {"type": "tictactoe"}, "b": {"type": "whos_the_spy"}},
        "stages": [{"type": "grpo", "play": {"all_of": ["a", "b"]}}],
    }
    assert {"members", "by", "power", "window", "type"} == offered(spec, ("opponents", "rivals")).keys()
    assert {"opponents", "trainee", "reward", "height", "openings"} <= offered(spec, ("games", "a")).keys()
    assert {"opponents", "rounds", "pairs"} <= offered(spec, ("games", "b")).keys()
    assert not {"rounds", "all_of"} & offered(spec, ("games", "a")).keys()
    assert {"random", "minimax"} <= {*words(offered(spec, ("games", "a"))["opponents"])}
    assert {"until", "algorithm", "reward"} <= offered(spec, ("stages", 0)).keys()
    assert {"all_of", "reward", "order"} <= offered(spec, ("stages", 0, "play")).keys()


def test_a_shipped_game_offers_its_own_defaults():
    spec = {"games": {"four": {"type": "connect_four"}, "ttt": {"type": "tictactoe"}}}
    assert offered(spec, ("games", "four"))["connect"]["default"] == 4
    assert offered(spec, ("games", "ttt"))["connect"]["default"] == 3


def test_an_editor_sees_the_default_of_a_key_in_its_description():
    assert offered({"algorithm": {}}, ("algorithm",))["clip_high"]["description"].endswith("Default: 0.28.")

from __future__ import annotations

import json

import pytest

from gift_dsl import api
from gift_dsl.compiler.meaning import spec_hash
from gift_dsl.errors import UsageError
from gift_dsl.games.families import FAMILIES
from gift_dsl.spec.catalogue import BENCHMARK_NOTES, OTHER_WORDS, PRESET_NOTES
from gift_dsl.spec.codes import CODES, SMALLEST
from gift_dsl.spec.dump import flow
from gift_dsl.spec.models.algorithm import PRESETS
from gift_dsl.spec.models.opponents import OPPONENT_TYPES
from gift_dsl.spec.models.stages import STAGE_TYPES
from gift_dsl.spec.reference import BENCHMARK_TYPES, COMPOSITIONS, entries
from gift_dsl.spec.resolve import resolved_data


def explained(query, what=None):
    """The entries of an explanation, or those of one kind."""
    return [entry for entry in api.explain(query)["entries"] if what in (None, entry["what"])]


def only(query, what):
    (entry,) = explained(query, what)
    return entry


def context(*sets):
    checked = api.check_spec("-", SMALLEST, sets=sets, plan=False)
    return checked.runs[0].context if checked.ok else None


@pytest.mark.parametrize(
    ("query", "path"),
    [
        ("snapshot.pick", "opponents.NAME.pick"),
        ("pool.members[0].weight", "opponents.NAME.members[].weight"),
        ("grpo.until.steps", "stages[].until.steps"),
        ("sft.learning_rate", "stages[].sft.learning_rate"),
        ("sft.epochs", "stages[].epochs"),
        ("commongen.judge", "evaluation.benchmarks[].judge"),
        ("whos_the_spy.players", "games.NAME.players"),
        ("tictactoe.opponents", "games.NAME.opponents"),
    ],
)
def test_a_path_may_begin_with_a_type(query, path):
    assert [entry["path"] for entry in explained(query, "field")] == [path]


@pytest.mark.parametrize("word", OTHER_WORDS)
def test_common_words_are_taken_for_those_of_the_language(word):
    assert explained(word) == explained(OTHER_WORDS[word])
    assert api.explain(word)["query"] == word


def test_no_common_word_hides_one_of_the_language():
    names = {step.key for entry in entries() for step in entry.steps} | {
        *OPPONENT_TYPES,
        *STAGE_TYPES,
        *CODES,
        *PRESETS,
    }
    assert not names & set(OTHER_WORDS)


# ── everything has an explanation ──


def test_every_key_is_found_by_its_path():
    for entry in entries():
        paths = [found["path"] for found in explained(entry.path, "field")]
        assert entry.path in paths
        assert entry.path in api.explain_text(api.explain(entry.path))


def test_every_key_has_a_description():
    assert [entry.path for entry in entries() if not entry.item.description] == []


@pytest.mark.parametrize(
    ("names", "what"),
    [
        ([*OPPONENT_TYPES, *STAGE_TYPES, *BENCHMARK_TYPES, *COMPOSITIONS], "type"),
        ([*FAMILIES, "tictactoe", "connect_four", "math"], "game"),
        (PRESETS, "preset"),
        (CODES, "code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_name_is_found(names, what):
    for name in names:
        assert only(name, what)["description"]
        assert name in api.explain_text(api.explain(name))


def test_an_explanation_is_one_json_document():
    document = api.explain("algorithm")
    assert document["schema"] == "gift-explain/1"
    assert json.loads(json.dumps(document)) == document


# ── a key ──


def test_a_key_tells_its_kind_range_default_presets_and_purpose():
    entry = only("algorithm.clip_high", "field")
    assert entry["type"] == "a number"
    assert entry["range"] == "above 0, at most 10"
    assert entry["default"] == 0.28
    assert entry["presets"] == {name: values["clip_high"] for name, values in PRESETS.items()}
    assert "clip_high" in entry["description"]
    text = api.explain_text(api.explain("algorithm.clip_high"))
    assert "default  0.28 (preset gift)" in text
    assert "above 0, at most 10" in text


@pytest.mark.parametrize(
    ("query", "paths"),
    [
        ("clip_high", ["algorithm.clip_high"]),
        ("stages[0].until.steps", ["stages[].until.steps"]),
        ("stages[warmup].until.steps", ["stages[].until.steps"]),
        ("stages.until.steps", ["stages[].until.steps"]),
        ("opponents.openai.top_p", ["opponents.NAME.top_p"]),
        ("opponents.my_server.top_p", ["opponents.NAME.top_p"]),
        ("games.tictactoe.width", ["games.NAME.width"]),
        ("games.NAME.trainee.seat", ["games.NAME.trainee.seat"]),
        ("stages[0].play.all_of[1].weight", ["part.weight"]),
        ("games.everything.order", ["all_of.order", "in_turn.order"]),
        ("evaluation.benchmarks[0].judge", ["evaluation.benchmarks[].judge"]),
    ],
)
def test_a_path_may_be_written_as_in_a_message_or_in_a_spec(query, paths):
    assert [entry["path"] for entry in explained(query, "field")] == paths


def test_a_key_of_another_type_is_not_found():
    with pytest.raises(UsageError, match=r"opponents\.minimax\.top_p"):
        api.explain("opponents.minimax.top_p")


def test_a_value_leads_to_the_keys_that_may_have_it():
    assert {"all_of.order", "stages[].reward"} <= {entry["path"] for entry in explained("shuffled")}


def test_a_shipped_game_tells_its_own_defaults():
    assert only("games.connect_four.connect", "field")["default"] == 4
    assert only("games.board.connect", "field")["default"] == 3


def leaves(data, path=()):
    for key, value in data.items():
        yield from leaves(value, (*path, key)) if isinstance(value, dict) and value else [((*path, key), value)]


def test_the_defaults_that_are_told_are_those_that_hold():
    data = resolved_data(context().spec)
    told = 0
    for section in ("algorithm", "rollout", "evaluation", "resources", "output"):
        for path, value in leaves(data[section], (section,)):
            if path not in (("rollout", "max_tokens_per_turn"), ("algorithm", "preset")):
                assert only(".".join(path), "field")["default"] == value, path
                told += 1
    assert told > 40


def other(entry):
    """Another value that a key may have, or None."""
    forms = entry.item.forms
    default = {**PRESETS["gift"], "preset": "gift"}.get(entry.item.name, entry.item.default)
    values = next((form.values for form in forms if form.values), ())
    different = [value for value in values if value != default]
    if different or default is None:
        return different[0] if different else None
    if isinstance(default, bool):
        return not default
    return (default / 2 or 0.5) if isinstance(default, float) else default + 2 if isinstance(default, int) else None


def test_a_key_is_part_of_the_hash_exactly_where_that_is_told():
    before = spec_hash(context())
    seen = {True: 0, False: 0}
    for entry in entries():
        section, value = entry.steps[0].key, other(entry)
        holds = any(step.holds for step in entry.steps)
        if section not in ("seed", "algorithm", "rollout", "evaluation", "resources", "output", "model") or holds:
            continue
        if value is None or "." not in entry.path:
            continue
        made = context(f"{entry.path}={flow(value)}")
        if made is not None:
            assert (spec_hash(made) != before) == entry.hashed, entry.path
            seen[entry.hashed] += 1
    assert seen[True] > 25
    assert seen[False] > 4


# ── the rest ──


def test_a_game_tells_its_facts_and_parameters():
    entry = only("tictactoe", "game")
    assert entry["family"] == "board"
    facts = entry["facts"]
    assert (facts["seats"], facts["can_draw"], facts["max_turns"]) == (2, True, [5, 4])
    assert facts["reward_range"] == [0.0, 1.0]
    assert "strategic reasoning" in facts["abilities"]
    assert {"height", "openings"} <= {field["name"] for field in entry["fields"]}
    assert "opponents" in {field["name"] for field in entry["common_fields"]}
    assert "can draw" in api.explain_text(api.explain("tictactoe"))


def test_a_game_whose_facts_hang_on_a_parameter_says_so():
    assert only("textarena", "game")["facts"]["seats"] is None
    assert "depends on parameters" in api.explain_text(api.explain("textarena"))


def test_a_preset_tells_all_values_and_where_it_differs():
    entry = only("dapo", "preset")
    assert entry["values"] == dict(PRESETS["dapo"])
    assert entry["differences"]["loss"] == {"gift": "trajectory", "dapo": "token"}
    assert set(entry["differences"]) == {key for key, value in PRESETS["gift"].items() if PRESETS["dapo"][key] != value}
    assert "token  (gift: trajectory)" in api.explain_text(api.explain("dapo"))


def test_a_code_tells_cause_example_and_repair():
    entry = only("unknown-key", "code")
    assert entry["severity"] == "error"
    assert entry["example"] in api.explain_text(api.explain("unknown-key"))
    assert entry["repair"]


def test_a_type_tells_all_its_keys():
    entry = only("opponents.openai", "type")
    assert {"base_url", "temperature", "usd_per_mtok"} <= {field["name"] for field in entry["fields"]}
    assert only("random", "type")["predefined"]


@pytest.mark.parametrize(
    ("query", "meant"),
    [("clip_hihg", "clip_high"), ("opnai", "openai"), ("tictacto", "tictactoe"), ("unknwon-key", "unknown-key")],
)
def test_an_unknown_word_is_answered_with_what_was_meant(query, meant):
    with pytest.raises(UsageError, match=f"did you mean `{meant}`"):
        api.explain(query)


@pytest.mark.parametrize("query", ["", ".", "..", "[]", "xyzzyplugh", "a.b.c.d"])
def test_nonsense_is_wrong_usage(query):
    with pytest.raises(UsageError, match="nothing in the language is called"):
        api.explain(query)


def test_lists_name_everything_once():
    for what in ("games", "opponents", "benchmarks", "presets", "starters"):
        rows = api.list_things(what)
        names = [row["name"] for row in rows]
        assert len(names) == len(set(names)) > 3
        assert all(row["description"] for row in rows)
        assert len(api.list_text(rows).splitlines()) == len(rows)


def test_every_preset_and_benchmark_has_a_sentence_of_its_own():
    assert PRESET_NOTES.keys() == PRESETS.keys()
    assert BENCHMARK_NOTES.keys() == BENCHMARK_TYPES.keys()


def test_a_list_that_there_is_not_is_wrong_usage():
    with pytest.raises(UsageError, match="did you mean `games`"):
        api.list_things("game")

"""Recorded episodes: shards of earlier play and chat lines, as rows of the policy's tokens."""

from __future__ import annotations

import gzip
import json

import pytest

from gift_dsl.artifacts.shard import shard_lines
from gift_dsl.errors import MachineError
from gift_dsl.records import Group
from gift_dsl.train.recorded import read_files
from gift_dsl.train.rows_sft import Wanted, make_wanted, taught_rows
from gift_dsl.train.teach import Lessons, scripted_play
from tests.play.scripted import CODEC, WordCodec
from tests.train.lesson_plans import games_of, plan_of, players_of

TURNS = [("user", "2 + 2"), ("assistant", "4"), ("user", "3 + 3"), ("assistant", "6")]


def chat(*said, **more):
    return {"messages": [{"role": role, "content": text} for role, text in said], **more}


def read(tmp_path, *lines, wanted=None, codec=CODEC):
    path = tmp_path / "play.jsonl"
    path.write_text("".join(f"{json.dumps(line) if isinstance(line, dict) else line}\n" for line in lines))
    return list(read_files("play.jsonl", tmp_path, codec, wanted or Wanted()))


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_conversation_is_the_template_with_the_assistants_turns_and_their_ends_learned(tmp_path, system):
    said = [("system", system), *TURNS] if system else TURNS
    ((row,),) = read(tmp_path, chat(*said))
    head = f"system\n{system}\n" if system else ""
    assert CODEC.decode(row.ids) == f"{head}user\n2 + 2\nassistant\n4\nuser\n3 + 3\nassistant\n6"
    learned = [token for token, bit in zip(row.ids, row.mask, strict=True) if bit]
    assert learned == [*CODEC.encode("4"), CODEC.END, *CODEC.encode("6"), CODEC.END]


def test_where_looks_at_what_a_line_says_of_itself(tmp_path):
    lines = [
        chat(*TURNS[:2], game="math", outcome="win", step=3),
        chat(*TURNS[:2], game="spy", outcome="loss", step=9),
        chat(*TURNS[:2]),
    ]
    for where, number in [({"game": "math"}, 1), ({"outcome": ["win", "loss"]}, 2), ({"steps": [0, 5]}, 1), ({}, 3)]:
        assert len(read(tmp_path, *lines, wanted=make_wanted(where))) == number


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"messages": []}', "no list of `messages`"),
        (chat(("assistant", "4")), "must speak in turn, a user first"),
        (chat(("user", "a"), ("user", "b")), "must speak in turn"),
        (chat(("system", "a")), "must speak in turn"),
        (chat(("tool", "a")), "needs a `role`"),
        ("[1]", "no JSON object"),
        ("{", "cannot be read as JSON lines"),
    ],
)
def test_a_line_that_is_no_conversation_is_named(tmp_path, line, message):
    with pytest.raises(MachineError, match=message):
        read(tmp_path, chat(*TURNS), line)


def test_a_file_that_is_not_there_or_is_empty_is_named(tmp_path):
    with pytest.raises(MachineError, match="there is no file"):
        list(read_files("none.jsonl", tmp_path, CODEC, Wanted()))
    with pytest.raises(MachineError, match="is empty"):
        read(tmp_path)


@pytest.fixture
def shard(tmp_path):
    """Play of step 5, and the file that holds it."""
    plan = plan_of(data="{scripted: {episodes: 6}}", max_tokens=40)
    played = [one for _, one in scripted_play(Lessons(1, plan.stages[0], games_of(plan), players_of(plan), CODEC))]
    lines = shard_lines(0, "warmup", 5, [Group("g", "sum", tuple(played))])
    with gzip.open(tmp_path / "step.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return played


def test_a_shard_is_learned_as_it_was_played(tmp_path, shard):
    assert list(read_files("step.jsonl.gz", tmp_path, CODEC, Wanted())) == [taught_rows(one, Wanted()) for one in shard]


def test_steps_of_a_shard_are_chosen_by_where(tmp_path, shard):
    assert len(list(read_files("step.jsonl.gz", tmp_path, CODEC, make_wanted({"steps": [5, 5]})))) == len(shard)
    assert list(read_files("step.jsonl.gz", tmp_path, CODEC, make_wanted({"steps": [0, 4]}))) == []


def test_a_shard_in_the_ids_of_another_tokenizer_is_refused(tmp_path, shard):
    other = WordCodec()
    other.encode("some quite other words come first here and so every id means another thing now")
    with pytest.raises(MachineError, match="another tokenizer"):
        list(read_files("step.jsonl.gz", tmp_path, other, Wanted()))

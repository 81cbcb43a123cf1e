"""Which task files lm-eval would have to read to know a name: those that hold it, and nothing is missed."""

from __future__ import annotations

import random
from time import process_time

import pytest
from lm_eval.tasks import TaskManager

from gift_dsl.evaluate.harness import _members, make_manager
from gift_dsl.evaluate.task_files import TaskFiles


@pytest.fixture
def files(tmp_path):
    """Tasks, a group and a tag, written in the ways that lm-eval's are."""
    for name, text in {
        "one.yaml": 'task: one\ntag: [easy, "quick"]\n',
        "two.yaml": '"task": "two"\n"include": "_default"\n',
        "group.yaml": "group: both\ntask:\n  # all\n  - one\n- two\nmetadata: {version: 1}\n",
        "deep/circle.yaml": "include: circle.yaml\ntask: round\n",
        "_default": "tag:\n  - slow\ndescription: easy\n",
        "broken.yaml": "task: [\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return TaskFiles(tmp_path)


@pytest.mark.parametrize(
    ("name", "holding"),
    [
        ("one", ["group.yaml", "one.yaml"]),
        ("two", ["group.yaml", "two.yaml"]),
        ("both", ["group.yaml"]),
        ("easy", ["one.yaml"]),
        ("quick", ["one.yaml"]),
        ("slow", ["two.yaml"]),
        ("round", ["circle.yaml"]),
        ("version", []),
        ("eas", []),
    ],
)
def test_a_file_holds_a_name_where_tasks_groups_and_tags_are_named_in_it_or_in_what_it_includes(files, name, holding):
    assert [path.name for path in files.holding(name)] == holding


def test_names_that_contain_a_text_are_known(files):
    assert files.like("o") == ["both", "one", "round", "slow", "two"]


def known(index, name, found):
    """All that a name stands for in an index, by name."""
    if name in index and name not in found:
        entry = index[name]
        found[name] = (entry.kind, entry.yaml_path, frozenset(entry.tags), repr(entry.cfg))
        members = {"GROUP": lambda: _members(entry.cfg.get("task")), "TAG": lambda: entry.tags}
        for member in members.get(entry.kind.name, tuple)():
            known(index, member, found)
    return found


@pytest.mark.slow
def test_every_name_means_what_it_means_to_lm_eval_that_has_read_everything():
    everything = TaskManager().task_index
    rng = random.Random(1)
    by_kind = {kind: sorted(n for n, e in everything.items() if e.kind.name == kind) for kind in ("GROUP", "TAG")}
    names = [name for of in by_kind.values() for name in rng.sample(of, 40)] + rng.sample(sorted(everything), 40)
    for name in ("mmlu", "mmlu_pro", "social_iqa", "leaderboard", *names):
        assert known(make_manager([name]).task_index, name, {}) == known(everything, name, {}), name


def test_reading_takes_a_fraction_of_what_parsing_everything_takes():
    start = process_time()
    assert "mmlu_anatomy" in make_manager(["mmlu"]).task_index
    assert process_time() - start < 4  # 0.8 s here, the whole index 6.3

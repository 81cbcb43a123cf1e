"""One meaning, one hash."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from gift_dsl import api
from tests.compiler.conftest import BASE


def spec_hash(text: str = BASE, *sets: str) -> str:
    (plan,) = api.check_spec("-", text, sets=sets).plans()
    return plan.spec_hash


SAME = {
    "a comment": (BASE + "# a comment\n", ()),
    "another name": (BASE.replace("name: base", "name: other"), ()),
    "a default written out": (BASE, ("seed=10000",)),
    "a preset written out": (BASE, ("algorithm.preset=gift",)),
    "a value of the preset written out": (BASE, ("algorithm.clip_high=0.28",)),
    "another notation of a number": (BASE, ("algorithm.learning_rate=0.000001",)),
    "a whole number for a real one": (BASE.replace("keep: 1.0", "keep: 1"), ()),
    "a folder for runs": (BASE, ("output.dir=elsewhere",)),
    "more processes": (BASE, ("resources.processes=2",)),
    "a limit": (BASE, ("limits.wall_hours=3",)),
    "a tracker": (BASE, ("trackers=[tensorboard]",)),
    "a part without options": (BASE.replace("[sums,", "[{play: sums},"), ()),
    "a part with the weight that it has": (BASE.replace("[sums,", "[{play: sums, weight: 1},"), ()),
    "a shipped game written out": (
        BASE.replace(
            "{type: arithmetic,",
            '{type: question, kind: number, generate: {operators: ["+"], low: 0, high: 99, terms: 2},',
        ),
        (),
    ),
}


@pytest.mark.parametrize(("text", "sets"), SAME.values(), ids=SAME)
def test_what_does_not_change_the_meaning_does_not_change_the_hash(text, sets):
    assert spec_hash(text, *sets) == spec_hash()


CHANGES = [
    "seed=1",
    "algorithm.learning_rate=2e-6",
    "algorithm.preset=dapo",
    "games.all.reward=product",
    "games.all={all_of: [matrix, sums, tictactoe, spy]}",
    "games.sums.generate.high=98",
    "games.sums.prompt.wording=standard",
    "stages[main].until.steps=11",
    "model.weights=bf16",
    "precision=bf16",
    "evaluation.seed=2",
    "compat=gift_v1",
    "rollout.sampling.temperature=0.9",
]


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_meaning_changes_the_hash(change):
    rate = "algorithm.learning_rate=1e-4"  # at which bf16 weights are allowed
    assert spec_hash(BASE, rate, change) != spec_hash(BASE, rate)


def test_the_order_of_keys_does_not_matter_but_that_of_parts_does():
    top, games = BASE.split("games:")
    body, rest = games.split("stages:")
    lines = body.strip("\n").split("\n")
    reordered = f"{top}games:\n" + "\n".join(reversed(lines)) + f"\nstages:{rest}"
    assert spec_hash(reordered) == spec_hash()


def test_an_endpoint_s_address_is_not_part_of_the_meaning_but_its_model_is():
    base = "opponents.api={type: openai, base_url: 'http://localhost:1/v1', model: m}"
    use = "games.tictactoe.opponents=api"
    moved = "opponents.api.base_url='http://localhost:2/v1'"
    assert spec_hash(BASE, base, use) == spec_hash(BASE, base, use, moved)
    assert spec_hash(BASE, base, use) != spec_hash(BASE, base, use, "opponents.api.model=n")


@pytest.mark.parametrize("seed", ["0", "1"])
def test_hashes_and_plans_are_byte_equal_across_processes(tmp_path, seed):
    file = tmp_path / "base.yaml"
    file.write_text(BASE)
    command = [sys.executable, "-m", "gift_dsl", "plan", str(file), "--json"]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "PYTHONHASHSEED": seed}, check=True
    )
    document = json.loads(done.stdout)
    (here,) = api.check_spec(str(file)).plans()
    assert document["spec_hash"] == here.spec_hash == spec_hash()
    assert json.loads(done.stdout) == api.plan_document(api.check_spec(str(file)))

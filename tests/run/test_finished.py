"""What a finished run leaves, as docs/run_directory.md promises it."""

from __future__ import annotations

import json
from copy import deepcopy

import pytest

from gift_dsl.artifacts.checkpoints import Checkpoint, check
from gift_dsl.artifacts.lines import read_lines
from gift_dsl.artifacts.manifest import check_manifest
from gift_dsl.artifacts.trajectories import read_index, read_shard
from gift_dsl.evaluate.scores import Round, tally
from gift_dsl.plan import plan_hash
from gift_dsl.run.summary import summary_text
from tests.run.small import evaluations, steps, weights

EVERYTHING = [("warmup", 0), ("warmup", 1), ("nested", 0), ("nested", 1), ("nested", 2), ("nested", 3)]


def test_the_directory_holds_what_its_page_lists(finished):
    names = {path.name for path in finished.run.path.iterdir()}
    assert names >= {
        *("spec", "spec.resolved.json", "plan.json", "lock.json", "status.json"),
        *("metrics.jsonl", "trajectories", "eval", "checkpoints", "stages", ".writer", ".ranks"),
        *("summary.json", "manifest-sha256.txt"),
    }
    assert (finished.run.spec / "spec.yaml").is_file()
    assert finished.run.lock["plan_hash"] == plan_hash(finished.run.plan)


def test_the_status_says_that_it_is_done_and_nobody_holds_it(finished):
    assert finished.run.status.state == "done"
    assert finished.run.holder() is None


def test_metrics_hold_each_step_exactly_once(finished):
    assert steps(finished.run) == EVERYTHING


def test_every_trajectory_of_the_index_can_be_read(finished):
    index = list(read_index(finished.run))
    found = [one for path in sorted(finished.run.trajectories.rglob("*.gz")) for one in read_shard(path)]
    assert [one["id"] for one in index] == [one.episode for one in found]
    assert [one["return"] for one in index] == [one.raw_return for one in found]
    assert len(index) == 4 * 2 * 4, "four steps of two groups of four"


def test_the_manifest_fits(finished):
    assert check_manifest(finished.run) == []


def test_the_summary_has_before_and_after_of_each_game_of_each_stage(finished):
    summary = json.loads(finished.run.summary.read_text(encoding="utf-8"))
    assert summary == json.loads(json.dumps(finished.summary))
    assert summary["schema"] == "gift-summary/1"
    assert [stage["name"] for stage in summary["stages"]] == ["warmup", "nested"]
    for stage in summary["stages"]:
        assert set(stage["games"]) == {"arithmetic", "tictactoe"}
        for score in (*stage["games"].values(), *stage["chain"].values()):
            for when in ("before", "after"):
                low, high = score[when]["interval"]
                assert score[when]["rounds"] == 8
                assert 0 <= low <= score[when]["rate"] <= high <= 1
                assert score[when]["rate"] == score[when]["successes"] / 8
    assert [stage["steps"] for stage in summary["stages"]] == [2, 4]
    assert summary["totals"]["episodes"] == 32
    assert summary["totals"]["policy_tokens"] > 0


def test_the_time_of_the_run_goes_on_after_its_last_step_until_the_end(finished):
    *_, last = read_lines(finished.run.metrics)
    assert finished.summary["wall_s"] == finished.run.status.wall_s > last["wall_s"]


def test_one_stage_ends_where_the_next_begins(finished):
    warmup, nested = finished.summary["stages"]
    assert {game: score["after"] for game, score in warmup["games"].items()} == {
        game: score["before"] for game, score in nested["games"].items()
    }


def test_the_final_evaluation_reads_test_and_all_others_read_dev(finished):
    splits = {name: _splits(document) for name, document in evaluations(finished.run).items()}
    assert splits.pop("final.json") == {"test"}
    assert set(splits) == {
        *(f"{stage}-{when}.json" for stage in ("warmup", "nested") for when in ("before", "after")),
        *("nested-step-000002.json", "nested-step-000004.json"),
    }
    assert all(split == {"dev"} for split in splits.values())


def _splits(document):
    found = document.get("checkpoints", {"here": document})
    return {score["split"] for one in found.values() for score in one["games"].values()}


def test_the_table_names_every_game_and_the_run(finished):
    text = summary_text(finished.summary)
    assert text.count("arithmetic") >= 4
    assert str(finished.run.path) in text
    assert "6 steps, 32 episodes" in text


@pytest.mark.parametrize("stage", ["start", "warmup", "nested"])
def test_what_a_stage_hands_on_loads_with_from_pretrained(finished, stage):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = finished.run.stages / stage
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    ids = tokenizer.apply_chat_template([{"role": "user", "content": "1 + 2"}], return_tensors="pt", return_dict=True)
    assert model(**ids).logits.shape[-1] >= len(tokenizer)


def test_checkpoints_are_sealed_and_load_with_from_pretrained(finished):
    from transformers import AutoModelForCausalLM

    folders = sorted((finished.run.checkpoints / "nested").glob("checkpoint-*"))
    sealed = [check(folder) for folder in folders]
    assert all(isinstance(one, Checkpoint) for one in sealed)
    assert [one.state["step"] for one in sealed] == [1, 3, 4], "two as the spec says, and one that is to be tested"
    for folder in folders:
        AutoModelForCausalLM.from_pretrained(folder)


def test_the_best_model_is_that_of_the_first_probe_that_no_other_beats(finished):
    found = evaluations(finished.run)
    means = {}
    for step in (2, 4):
        games = found[f"nested-step-00000{step}.json"]["games"]
        means[step] = sum(score["rate"] for score in games.values()) / len(games)
    best = 4 if means[4] > means[2] else 2
    assert (weights(finished.run.stages / "best") == weights(finished.run.stages / "nested")) == (best == 4)


def test_the_final_evaluation_tests_the_checkpoints_that_the_spec_names(finished):
    tested = evaluations(finished.run)["final.json"]["checkpoints"]
    assert list(tested) == ["final", "1", "best"]
    rows = summary_text(finished.summary)
    assert all(f"arithmetic ({name})" in rows for name in tested)


def test_nothing_half_written_is_left(finished):
    names = [path.name for path in finished.run.path.rglob(".*")]
    assert sorted(names) == [".ranks", ".writer"]


@pytest.mark.parametrize(
    ("outcomes", "cell"),
    [
        (["success", "loss", "success", "success"], "0.750 ["),
        (["success", "loss", "void", "unplayed"], "], 2 without a result: 0.250 to 0.750"),
        (["void", "void"], "-, 2 without a result: 0.000 to 1.000"),
    ],
)
def test_the_table_tells_rounds_without_a_result_and_both_bounds_of_the_rate(finished, outcomes, cell):
    summary = deepcopy(finished.summary)
    rounds = [Round(k, f"i{k}", 0, "", outcome, None) for k, outcome in enumerate(outcomes)]
    summary["stages"][0]["games"]["tictactoe"]["before"] |= tally(rounds).to_json()
    (line,) = [line for line in summary_text(summary).splitlines() if line.startswith("warmup  tictactoe  ")]
    assert cell in line
    assert ("without a result" in line) is ("void" in outcomes)

"""Which models are on a device, as the run loads them."""

from __future__ import annotations

import json

import pytest

from gift_dsl.compiler.shapes import KNOWN_SHAPES, num_parameters
from gift_dsl.report.plan_text import plan_text

GIB = 2**30
SMALL = num_parameters(KNOWN_SHAPES["Qwen/Qwen2.5-0.5B"]) * 4 / GIB
LARGE = num_parameters(KNOWN_SHAPES["Qwen/Qwen2.5-7B"]) * 4 / GIB
QWEN = (
    "model.source=Qwen/Qwen2.5-0.5B",
    "precision=bf16",
    "stages[main].play=tictactoe",
    "evaluation={}",
)
RIVAL = ("opponents.rival={type: local, source: Qwen/Qwen2.5-7B}", "games.tictactoe.opponents=rival")


@pytest.fixture
def memory(check):
    def found(*sets):
        checked = check(*QWEN, *sets)
        (run,) = checked.runs
        assert run.compiled is not None, [one.message for one in checked.diagnostics]
        return run.compiled.memory

    return found


def close(gib):
    return pytest.approx(gib, abs=1e-3)


def test_a_local_opponent_is_on_the_device_in_rollout_and_update(memory):
    alone, beside = memory(), memory(*RIVAL)
    assert (alone.opponents, alone.opponent_caches) == (0, 0)
    assert beside.opponents == close(LARGE)
    assert beside.training_peak - alone.training_peak == close(LARGE)
    assert beside.opponent_caches > 0


def test_one_that_no_stage_and_no_evaluation_seats_is_not_loaded(memory):
    assert memory(RIVAL[0]).opponents == 0


def test_members_of_a_pool_and_who_plays_before_a_snapshot_are_loaded(memory):
    pool = "opponents.crowd={type: pool, members: [{opponent: rival, weight: 1}, {opponent: random, weight: 3}]}"
    alone, crowd = memory(*RIVAL), memory(*RIVAL, pool, "games.tictactoe.opponents=crowd")
    assert crowd.opponents == alone.opponents
    assert crowd.opponent_caches == pytest.approx(alone.opponent_caches / 4)
    early = memory(*RIVAL, "opponents.early={type: snapshot, first: rival}", "games.tictactoe.opponents=early")
    assert early.opponents == close(LARGE)


def test_a_local_opponent_holds_a_conversation_for_each_seat_and_part(memory):
    spy = ("games.spy.opponents=rival",)
    both = memory(*RIVAL, *spy, "stages[main].play={all_of: [tictactoe, spy]}")
    each = [memory(*RIVAL, *spy, f"stages[main].play={name}") for name in ("tictactoe", "spy")]
    assert both.opponent_caches == pytest.approx(sum(one.opponent_caches for one in each))
    drawn = memory(*RIVAL, *spy, "stages[main].play={any_of: [tictactoe, spy]}")
    assert drawn.opponent_caches == pytest.approx(both.opponent_caches / 2)


def test_one_whose_layout_is_not_known_is_named_and_not_counted(memory, check):
    unknown = ("opponents.rival={type: local, source: somebody/unheard-of}", RIVAL[1])
    found = memory(*unknown)
    assert (found.opponents, found.left_out) == (0, ("rival",))


def test_a_local_opponent_in_a_folder_has_the_layout_of_its_config(memory, tmp_path):
    config = {
        "model_type": "qwen2",
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 160,
        "vocab_size": 512,
        "tie_word_embeddings": True,
        "max_position_embeddings": 2048,
    }
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    found = memory(f"opponents.rival={{type: local, source: {tmp_path}}}", RIVAL[1])
    assert found.left_out == ()
    assert 0 < found.opponents < 0.01


@pytest.mark.parametrize(("pick", "copies"), [("latest", 1), ("uniform", 8)])
def test_snapshots_that_can_be_drawn_visit_the_device_in_a_rollout_alone(memory, pick, copies):
    early = f"opponents.early={{type: snapshot, every: 1, keep: 8, pick: {pick}}}"
    alone, beside = memory(), memory(early, "games.tictactoe.opponents=early")
    assert beside.snapshots == close(copies * SMALL)
    assert beside.training_peak == alone.training_peak


def test_snapshots_that_are_kept_wait_in_the_memory_of_the_cpu(memory, check):
    early = ("opponents.early={type: snapshot, every: 1, keep: 8}", "games.tictactoe.opponents=early")
    assert memory(*early).waiting == close((8 + 1) * SMALL)
    assert memory(*early, "stages[main].until.steps=3").waiting == close((3 + 1) * SMALL)
    assert memory(*early, "evaluation={probe: {every: 5, rounds: 1}}").waiting == close((8 + 1 + 1) * SMALL)
    assert memory(*early, "evaluation={final: {rounds: 500, sampling: {max_tokens: 4000}}}").waiting == close(
        10 * SMALL
    )
    assert memory().waiting == 0
    assert "and 16.56 of the CPU's memory in each process" in plan_text(check(*QWEN, *early), width=200)


def test_no_more_snapshots_play_than_there_are_groups(memory):
    early = "opponents.early={type: snapshot, keep: 8, pick: uniform}"
    seated = (early, "games.tictactoe.opponents=early")
    assert memory(*seated, "resources.rollout_batch_size=12").snapshots == close(3 * SMALL)
    assert memory(*seated, "resources.processes=4").snapshots == close(2 * SMALL)


def test_the_policy_in_every_seat_holds_a_conversation_for_each(memory):
    against, itself = memory(), memory("games.tictactoe.opponents=self")
    assert itself.opponent_caches == pytest.approx(against.kv_cache)
    assert (itself.opponents, itself.snapshots) == (0, 0)
    every_seat = memory(
        "games.both={type: tictactoe, trainee: {seat: all}, prompt: {wording: compact}}", "stages[main].play=both"
    )
    assert every_seat.kv_cache == pytest.approx(2 * against.kv_cache)


def test_parts_that_take_turns_are_not_on_the_device_together(memory):
    spy = ("games.spy.opponents=rival",)
    turns = memory(*RIVAL, *spy, "stages[main].play={in_turn: [tictactoe, spy], blocks: [1, 1]}")
    each = [memory(*RIVAL, *spy, f"stages[main].play={name}").rollout_peak for name in ("tictactoe", "spy")]
    assert turns.rollout_peak == pytest.approx(max(each))
    assert turns.opponents == close(LARGE)


def test_an_opponent_of_the_probes_stays_while_the_stage_is_trained(memory):
    probe = "evaluation={probe: {every: 5, rounds: 8, games: [spy]}}"
    found = memory(RIVAL[0], "games.spy.opponents=rival", probe)
    assert found.opponents == close(LARGE)
    assert found.optimizer == close(2 * SMALL)


def test_the_final_test_seats_its_own_opponents_and_has_no_optimizer(memory):
    final = "evaluation={final: {rounds: 500, opponents: {tictactoe: rival}, sampling: {max_tokens: 900}}}"
    found = memory(RIVAL[0], final)
    assert found.where == "the final evaluation"
    assert found.opponents == close(LARGE)
    assert (found.optimizer, found.gradients, found.training_peak) == (0, 0, close(LARGE + SMALL))


def test_a_subject_takes_the_place_of_the_policy(memory):
    found = memory(RIVAL[0], "evaluation={final: {rounds: 8}, subjects: [rival]}")
    assert found.where == "the final evaluation"
    assert found.weights == close(LARGE)


def test_the_final_test_seats_the_last_stages_first_model_for_snapshots(memory):
    early = ("opponents.early={type: snapshot, every: 1}", "games.tictactoe.opponents=early")
    final = "evaluation={final: {rounds: 512, sampling: {max_tokens: 4000}}}"
    found = memory(*early, final)
    assert found.where == "the final evaluation"
    assert (found.opponents, found.snapshots) == (close(SMALL), 0)


def test_an_evaluation_of_more_and_longer_episodes_is_the_worst_rollout(memory):
    few = memory("evaluation={probe: {every: 5, rounds: 1}, sampling: {max_tokens: 20}}")
    many = memory("evaluation={probe: {every: 5, rounds: 512}, sampling: {max_tokens: 2000}}")
    assert few.where == "stage main"
    assert many.where == "probes of stage main"
    assert many.kv_cache > 10 * few.kv_cache
    assert many.training_peak == few.training_peak


@pytest.mark.parametrize("kind", ["sft", "glow"])
def test_each_stage_has_its_own_optimizer(memory, kind):
    taught = f"{{name: main, type: {kind}, play: tictactoe, data: {{scripted: {{episodes: 64}}}}"
    muon = memory(f"stages=[{taught}, {kind}: {{optimizer: muon}}}}]")
    adamw = memory(f"stages=[{taught}}}]")
    assert muon.optimizer < adamw.optimizer == close(2 * SMALL)
    assert adamw.kv_cache == 0  # nobody plays
    played = "{name: second, type: grpo, play: tictactoe, until: {steps: 10}}"
    assert memory(f"stages=[{taught}, {kind}: {{optimizer: muon}}}}, {played}]").optimizer == adamw.optimizer


def test_one_process_has_nothing_to_spread(memory):
    assert memory("resources.sharding=fsdp").weights == close(SMALL)


# ── on disk ──


@pytest.fixture
def disk(check):
    def found(*sets):
        (run,) = check(*QWEN, "output.trajectories=none", *sets).runs
        return run.compiled.needs.disk_gib

    return found


EARLY = "games.tictactoe.opponents=early"


@pytest.mark.parametrize(
    ("rule", "steps", "files"),
    [
        ("{type: snapshot, every: 20, keep: 8}", 100, 5),
        ("{type: snapshot, every: 20, keep: 8}", 1000, 8 + 2),  # two checkpoints, 20 steps apart, and 20 steps since
        ("{type: snapshot, every: 5, keep: 1}", 1000, 1 + 8),
        ("{type: snapshot, every: 500, keep: 1}", 100, 0),
    ],
)
def test_snapshots_are_kept_as_long_as_a_checkpoint_may_name_them(disk, rule, steps, files):
    until = f"stages[main].until.steps={steps}"
    assert disk(f"opponents.early={rule}", EARLY, until) - disk(until) == close(files * SMALL)


def test_every_stage_keeps_its_checkpoints_and_hands_on_a_model(disk):
    stages = ", ".join(f"{{name: s{n}, type: grpo, play: tictactoe, until: {{steps: 100}}}}" for n in range(3))
    assert disk("stages[main].until.steps=100") == close(3 * SMALL * (2 + 1) + SMALL)
    assert disk(f"stages=[{stages}]") == close(3 * SMALL * (3 * 2 + 1) + 3 * SMALL)
    assert disk("stages[main].until.steps=10") == close(3 * SMALL * (1 + 1) + SMALL)


def test_checkpoints_that_the_final_test_names_stay(disk):
    steps = "stages[main].until.steps=100"
    final = "evaluation={probe: {every: 10, rounds: 8}, final: {rounds: 8, checkpoints: [40, best]}}"
    assert disk(steps, final) - disk(steps) == close(3 * SMALL + SMALL)


# ── as it is told ──


def test_the_text_says_when_it_is_and_what_it_does_not_count(check):
    unknown = "opponents.other={type: local, source: somebody/unheard-of}"
    crowd = "opponents.crowd={type: pool, members: [rival, other]}"
    sets = (*RIVAL, unknown, crowd, "games.tictactoe.opponents=crowd", "resources.device_memory_gib=24")
    text = plan_text(check(*QWEN, *sets), width=200)
    assert "Memory (GiB, one device, stage main): " in text
    assert "opponents 28.37" in text
    assert "does NOT fit into 24 GiB, `other` not counted (estimate" in text
    assert "not counted, for their config.json is not on this machine: other" in text

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.evaluate.games import Arena, GamesRequest, evaluate_games
from gift_dsl.players.make import Services
from gift_dsl.report.plan_text import plan_text
from gift_dsl.run.seating import bind, seated_names, table_games

SPECS = Path(__file__).parent.parent.parent / "specs"

API = (
    "opponents.api={type: openai, base_url: 'http://localhost:1/v1', model: m, max_tokens: 100, "
    "usd_per_mtok: {input: 1, output: 10}}"
)


def stage(checked, index=0):
    (run,) = checked.runs
    return run.compiled.estimates[index]


def test_a_nested_step_plays_every_part_in_every_episode(check):
    made = stage(check())
    assert (made.episodes, made.subgame_episodes, made.turns) == (32, 128, 10)


def test_a_mixed_step_plays_one_part_in_every_episode(check):
    made = stage(check("stages[main].play={any_of: [sums, matrix, tictactoe, spy]}"))
    assert (made.episodes, made.subgame_episodes) == (32, 32)
    assert made.turns == 5


def test_endpoints_are_called_by_the_seats_they_fill(check):
    made = stage(check(API, "games.spy.opponents=api", "stages[main].play=spy"))
    assert made.opponent_calls == 32 * 3 * 3


def test_a_pool_calls_an_endpoint_for_its_share(check):
    pool = "opponents.p={type: pool, members: [{opponent: api, weight: 1}, {opponent: clue, weight: 3}]}"
    made = stage(check(API, pool, "games.spy.opponents=p", "stages[main].play=spy"))
    assert made.opponent_calls == 32 * 3 * 3 / 4


def test_cost_needs_every_price(check):
    priced = stage(check(API, "games.spy.opponents=api", "stages[main].play=spy"))
    assert priced.opponent_usd > 0
    free = API.replace(" usd_per_mtok: {input: 1, output: 10}", "")
    assert stage(check(free, "games.spy.opponents=api", "stages[main].play=spy")).opponent_usd is None


@pytest.mark.parametrize(
    ("schedule", "calls"),
    # sum over the steps of w / (w + 1), times 12 x 32 calls
    [
        ("[[0, 1], [10, 0]]", sum((10 - s) / (20 - s) for s in range(10)) * 384),
        ("[[0, 0], [100, 0], [101, 1], [240, 1], [241, 0]]", 140 / 2 * 384),
    ],
)
def test_the_calls_of_a_stage_are_those_of_all_its_steps(check, schedule, calls):
    draw = f"{{any_of: [{{play: spy, weight: {schedule}}}, sums]}}"
    text = (API, "games.spy.opponents=api", f"stages[main].play={draw}", "stages[main].until.steps=1000")
    spy = stage(check(API, "games.spy.opponents=api", "stages[main].play=spy"))
    total = stage(check(*text)).to_json()["total"]
    assert total["opponent_calls"] == round(calls * spy.opponent_calls / 384)
    assert total["opponent_usd"] == pytest.approx(calls * spy.opponent_usd / 384, abs=1e-3)


def test_the_schedule_of_in_turn_names_the_part_of_each_step(check):
    made = stage(check("stages[main].play={in_turn: [sums, spy], blocks: [2, 1]}"))
    assert made.schedule == ("sums", "sums", "spy")
    assert made.subgame_episodes == pytest.approx(32)


def test_a_usual_play_in_compact_words_is_about_as_long_as_a_real_one():
    """Measured in three steps of a trained quickstart: 103.9 tokens, 143 at most."""
    (run,) = api.check_spec(str(SPECS / "quickstart.yaml")).runs
    nested = run.compiled.estimates[-1]
    assert nested.tokens_typical == pytest.approx(103.9, rel=0.15)
    assert nested.tokens_longest > 143


@pytest.mark.parametrize("name", ["arithmetic", "matrix", "tictactoe", "spy"])
def test_compact_words_are_those_that_a_tiny_model_reads(name):
    """Every prompt of some plays, without history: each is one first or later message and nothing else."""
    (run,) = api.check_spec(str(SPECS / "quickstart.yaml")).runs
    plan, words = run.compiled.plan, run.context.games[name].facts.compact_words
    shown = []

    class Listener:
        name, waits = "listener", False

        async def act(self, turn, rng):
            shown.append(turn.messages[-1].content.split())
            text = rng.choice(turn.legal) if isinstance(turn.legal, tuple) else "like"
            return f"<answer>{text}</answer>"

    arena = Arena(Listener(), table_games(plan, [name], "dev"), bind(seated_names(plan, [name]), plan, Services()))
    asyncio.run(evaluate_games(arena, GamesRequest("dev", 60, (name,))))
    usual = sum(map(len, shown)) / len(shown)
    assert min(words) <= usual * 1.2
    assert usual <= max(words) * 1.1


def test_totals_are_steps_times_what_a_step_has(check):
    made = stage(check())
    total = made.to_json()["total"]
    assert total["episodes"] == 320
    assert total["subgame_episodes"] == 1280
    assert total["updates"] == 10


def test_a_supervised_stage_on_scripted_play_has_as_many_updates_as_its_data(check):
    text = "[{name: w, type: sft, play: all, epochs: 2, data: {scripted: {episodes: 100}}, sft: {batch_size: 32}}]"
    made = stage(check(f"stages={text}"))
    assert (made.steps, made.updates, made.to_json()["total"]["updates"]) == (8, 1, 8)


RECORDED = (
    "stages=[{name: w, type: sft, play: all, data: {runs: [before]}}, {name: main, type: grpo, play: all, STEPS}]"
)


def test_the_steps_of_a_stage_on_recordings_are_not_known_before_these_are_read(check):
    checked = check(RECORDED.replace("STEPS", "until: {steps: 10}"))
    found, played = api.plan_document(checked)["stages"]
    assert (found["steps"], found["total"]["updates"]) == (None, None)
    assert (played["steps"], played["total"]["updates"]) == (10, 10)
    for width in (70, 200):
        text = plan_text(checked, width=width)
        assert "as data" in text
        assert not re.search(r"\b0 steps|steps 0\b", text)


def test_a_sweep_over_a_stage_on_recordings_counts_the_other_steps(check):
    sweep = "sweep={axes: {seed: [1, 2]}}"
    text = plan_text(check(RECORDED.replace("STEPS", "until: {steps: 10}"), sweep))
    assert text.count(": 10 steps and those of recordings, ") == 2
    assert text.count("those of recordings") == 2
    assert "those of recordings" not in plan_text(check(sweep))


def test_weights_that_vanish_in_a_stage_on_recordings_are_told_without_a_number_of_steps(check):
    draw = "{any_of: [{play: sums, weight: [[0, 0], [9, 1]]}, {play: matrix, weight: [[0, 0], [9, 1]]}]}"
    found = check(f"stages=[{{name: w, type: sft, play: {draw}, data: {{runs: [before]}}}}]").diagnostics
    (message,) = [one.message for one in found if one.code == "weight-schedule"]
    assert message == "at step 0 of stage `w`, every part of an `any_of` weighs 0"


def test_the_document_of_a_plan_has_the_promised_keys(check):
    from gift_dsl.api import plan_document

    document = plan_document(check())
    assert document["schema"] == "gift-plan/1"
    assert {"spec_hash", "plan_hash", "stages", "memory_gib", "needs", "warnings"} <= set(document)


def test_a_sweep_whose_arms_differ_is_told_with_the_numbers(check):
    axis = "sweep={axes: {'stages[main].play': {nested: all, mixed: {any_of: [sums, matrix, tictactoe, spy]}}}}"
    (found,) = [d for d in check(axis).diagnostics if d.code == "arms-differ" and "single games" in d.message]
    assert "stages[main].play=nested: 1,280" in found.message
    assert "stages[main].play=mixed: 320" in found.message


def test_seeds_are_not_arms(check):
    assert "arms-differ" not in [d.code for d in check("sweep={axes: {seed: [1, 2, 3]}}").diagnostics]

"""What a plan says of evaluation is what the run will ask for, counted by the code that asks."""

from __future__ import annotations

from collections import Counter
from math import ceil
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.report.plan_text import plan_text
from gift_dsl.run.examine import due_probe, final_test, stage_request

SPECS = Path(__file__).parent.parent.parent / "specs"
API = (
    "opponents.api={type: openai, base_url: 'http://localhost:1/v1', model: m, max_tokens: 100, "
    "usd_per_mtok: {input: 1, output: 10}}"
)


def found_of(checked):
    assert checked.ok, checked.diagnostics
    return checked.runs[0].compiled.evaluation


def asked_by(plan):
    """Games, chains and rounds of every request that a run of a plan makes, with the words of the estimate."""
    former = None
    for stage in plan.stages:
        asked = stage_request(plan, stage)
        if asked and (former is None or (former.play, former.system_prompt) != (stage.play, stage.system_prompt)):
            yield "before", stage.name, asked
        probes = [due_probe(plan, stage, step) for step in range(1, stage.until.max_steps + 1)]
        yield from (("probe", stage.name, probe) for probe in probes if probe)
        if asked:
            yield "after", stage.name, asked
        former = stage
    for _ in (*plan.evaluation.final.checkpoints, *plan.evaluation.subjects) if plan.evaluation.final else ():
        yield "final", None, final_test(plan)


@pytest.mark.parametrize(
    "name",
    [
        "quickstart.yaml",
        "nested_all.yaml",
        "examples/league.yaml",
        "examples/both_seats.yaml",
        "paper/table2_fi3_nested.yaml",
        "ablation/controls.yaml",
    ],
)
def test_what_is_planned_is_what_is_asked(name):
    for run in api.check_spec(str(SPECS / name)).runs:
        plan, context = run.compiled.plan, run.context
        planned, asked = Counter(), Counter()
        for one in run.compiled.evaluation.examinations:
            planned[one.what, one.stage, one.split, one.rounds, one.games, one.chains] += one.times
        for what, stage, request in asked_by(plan):
            chains = tuple(request.chains)
            asked[what, stage, request.split, request.rounds, request.games, chains] += 1
        assert planned == asked
        for one in run.compiled.evaluation.examinations:
            seats = [context.games[game].facts.seats for game in one.games if plan.game(game).trainee_seat == "all"]
            assert one.episodes <= one.rounds * (len(one.games) + len(one.chains))
            assert seats or one.episodes == one.rounds * (len(one.games) + len(one.chains))


def test_without_evaluation_there_is_none(check):
    found = found_of(check())
    assert (found.examinations, found.benchmarks, found.episodes) == ((), (), 0)
    assert "Evaluation: none" in plan_text(check())


def test_probes_are_counted_by_the_steps_of_their_stage(check):
    before, probe, after = found_of(check("evaluation.probe={every: 3, rounds: 8}")).examinations
    assert (before.what, before.times, before.rounds, before.chains) == ("before", 1, 8, ("main",))
    assert (probe.what, probe.every, probe.times, probe.chains) == ("probe", 3, 3, ())
    assert (after.what, after.episodes) == ("after", 8 * 5)
    assert found_of(check("evaluation.probe={every: 11, rounds: 8}")).examinations[1].what == "after"


def test_a_game_whose_seats_are_all_trained_needs_fewer_plays(check):
    seats = ("games.tictactoe.trainee={seat: all}", "games.tictactoe.opponents=null")
    sets = (*seats, "stages[main].play=tictactoe")
    final = found_of(check(*sets, "evaluation.final={rounds: 9}")).examinations[-1]
    assert (final.episodes, final.opponents) == (ceil(9 / 2), {"tictactoe": []})
    other = "evaluation.final={rounds: 9, opponents: {tictactoe: random}}"
    final = found_of(check(*sets, other)).examinations[-1]
    assert (final.episodes, final.opponents) == (9, {"tictactoe": ["random"]})


def test_calls_of_opponents_are_counted_for_whom_the_final_test_names(check):
    final = "evaluation.final={rounds: 10, games: [spy], opponents: {spy: api}, checkpoints: [start, final]}"
    found = found_of(check(API, final))
    before, after, last = found.examinations
    assert (before.opponent_calls, after.opponent_calls) == (0, 0)
    # three others, of three turns each; once alone and once in the chain
    assert last.opponent_calls == 2 * 10 * 3 * 3
    assert last.times == 2
    assert found.opponent_calls == 2 * last.opponent_calls
    assert found.opponent_usd == pytest.approx(2 * last.opponent_usd)
    assert last.opponent_usd > 0


def test_a_cost_without_a_price_is_not_known(check):
    free = API.replace(" usd_per_mtok: {input: 1, output: 10}", "")
    checked = check(free, "evaluation.final={rounds: 10, games: [spy], opponents: {spy: api}}")
    assert found_of(checked).opponent_usd is None
    assert "180 in evaluation; cost not known" in plan_text(checked)


def test_benchmarks_have_their_items_where_they_are_known(check):
    items = "[math500, {type: mmlu, limit: 100}, {type: commongen, judge: api}, {type: lm_eval, task: gsm8k}]"
    found = found_of(check(API, f"evaluation.benchmarks={items}", "evaluation.subjects=[api]"))
    told = [(one.name, one.items, one.times, one.judge, one.verdicts) for one in found.benchmarks]
    assert told == [
        ("math500", 500, 2, None, 0),
        ("mmlu", 100, 2, None, 0),
        ("commongen", None, 2, "api", 2),
        ("lm_eval/gsm8k", None, 2, None, 0),
    ]
    assert found.to_json()["total"]["benchmark_items"] == 2 * 600


def test_the_text_names_games_opponents_and_how_often(check):
    evaluation = "evaluation={probe: {every: 5, rounds: 8}, final: {rounds: 10, opponents: {spy: api}}}"
    text = plan_text(check(API, evaluation), width=1000)
    assert "Evaluation: 214 episodes of games (training: 320)" in text
    games = "sums, matrix, tictactoe (against random), spy (against clue); 8 "
    assert "probe of main every 5 steps on dev: " + games + "rounds of each x 2 probes, 64 episodes" in text
    assert "final on test: sums, matrix, tictactoe (against random), spy (against api), chain main; 10" in text
    assert "Opponents: 0 calls in training, 180 in evaluation; about 0.00 and" in text


def test_the_text_says_of_whom_the_final_test_is(check):
    final = "evaluation.final={rounds: 10, checkpoints: [start, final]}"
    text = plan_text(check(API, final, "evaluation.benchmarks=[mmlu]", "evaluation.subjects=[api]"), width=1000)
    assert "10 rounds of each for 2 checkpoints, api, 150 episodes" in text
    assert "benchmarks for 2 checkpoints, api, items: mmlu 14,042" in text
    assert "10 rounds of each, 50 episodes" in plan_text(check("evaluation.final={rounds: 10}"), width=1000)


def test_what_evaluation_will_do_is_part_of_the_document(check):
    document = api.plan_document(check("evaluation.final={rounds: 10}"))
    assert document["evaluation"]["total"]["episodes"] == 150
    assert document["evaluation"]["history"] == "full"
    assert document["evaluation"]["examinations"][-1]["opponents"]["spy"] == ["clue"]

"""What a stage keeps of what it plays and measures, as `output` and the stages before it decide."""

from __future__ import annotations

import pytest

from gift_dsl.artifacts.lines import read_lines
from gift_dsl.artifacts.trajectories import read_index
from gift_dsl.run import stage
from gift_dsl.run.examine import Examiner
from tests.run.small import SPEC, evaluations, here, shards

BODY, _, EVALUATION = SPEC.partition("output:")
FAST = BODY.replace("steps: 4", "steps: 2").replace("episodes: 64", "episodes: 8")


def test_a_run_records_some_groups_of_a_step_where_a_sample_is_asked_for(tmp_path):
    run = here(tmp_path, f"{FAST}output: {{trajectories: sample, trajectory_sample: 1}}\n").run
    assert [len({one["group"] for one in read_index(run) if one["step"] == step}) for step in (0, 1)] == [1, 1]
    assert [lines[0]["trajectories"] for lines in shards(run).values()] == [4, 4]


def test_a_run_that_records_nothing_has_metrics_and_no_trajectories(tmp_path):
    run = here(tmp_path, f"{FAST}output: {{trajectories: none}}\n").run
    assert [line["stage"] for line in read_lines(run.metrics)][-2:] == ["nested", "nested"]
    assert shards(run) == {}
    assert list(read_index(run)) == []


MEASURED = f"{FAST}evaluation: {{sampling: {{temperature: 1.0, max_tokens: 6}}, probe: {{every: 9, rounds: 8}}}}\n"


@pytest.fixture
def measured(monkeypatch):
    """The stage of each measurement that was played."""
    stages, real = [], Examiner.measure

    def measure(self, of, request, team):
        stages.append(of.name)
        return real(self, of, request, team)

    monkeypatch.setattr(Examiner, "measure", measure)
    return stages


def test_what_a_stage_was_measured_with_at_its_end_is_the_before_of_the_next_one_that_plays_the_same(
    tmp_path, measured
):
    found = evaluations(here(tmp_path, MEASURED).run)
    assert measured == ["warmup", "warmup", "nested"]
    assert found["warmup-after.json"]["plays"]
    assert found["nested-before.json"]["games"] == found["warmup-after.json"]["games"]
    assert set(found["nested-before.json"]["chains"]) == {"nested"}
    assert {one["chain"] for one in found["nested-before.json"]["plays"]} == {None, "nested"}


def test_a_measurement_with_gaps_is_not_taken_for_the_next_stage(tmp_path, measured, monkeypatch):
    monkeypatch.setattr(stage, "has_gaps", lambda found: True)
    here(tmp_path, MEASURED)
    assert measured == ["warmup", "warmup", "nested", "nested"]


def test_a_stage_that_plays_something_else_is_measured_before_it_by_itself(tmp_path, measured):
    alone = MEASURED.replace("{name: nested, type: grpo, play: chain", "{name: nested, type: grpo, play: tictactoe")
    found = evaluations(here(tmp_path, alone).run)
    assert set(found["warmup-after.json"]["games"]) == {"arithmetic", "tictactoe"}
    assert set(found["nested-before.json"]["games"]) == {"tictactoe"}
    assert set(found["nested-before.json"]["chains"]) == set()
    assert measured == ["warmup", "warmup", "nested", "nested"]

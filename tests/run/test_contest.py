"""`gift tournament`: who enters, what is played, and what a solver says of it."""

from __future__ import annotations

import json

import pytest

from gift_dsl import api
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.report.eval_tables import tournament_tables
from gift_dsl.report.tables import to_markdown
from gift_dsl.run.contest import has_solver
from tests.run.evaluated import finished_run, make_run, plan_of, serving, write_spec
from tests.run.small import SPEC, Told


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return finished_run(tmp_path_factory.mktemp("run"))


def hold(*targets, **options):
    given = {"games": ("tictactoe",), "rounds": 6, "samples": 2, "tell": Told(), **options}
    return api.tournament([str(one) for one in targets], api.TournamentOptions(**given))


def test_a_trained_model_meets_scripted_players(run):
    found = hold(run.path, players=("random", "minimax"))
    assert found["schema"] == "gift-tournament/1"
    assert found["contestants"] == {"small": str(run.path), "random": "random", "minimax": "minimax"}
    assert found["overall"][0]["player"] == "minimax"
    pairs = [(one["first"], one["second"], one["rounds"]) for one in found["encounters"]]
    assert pairs == [("small", "random", 6), ("small", "minimax", 6), ("random", "minimax", 6)]
    assert found["protocol"]["split"] == "dev"
    assert json.loads(json.dumps(found)) == found


def test_perfect_play_gives_nothing_away_and_random_play_does(run):
    found = hold(run.path, players=("random", "minimax"))["exploitability"]["tictactoe"]
    assert found["minimax"]["mean"] == 0.0
    assert found["random"]["mean"] > 0.0


def test_without_samples_no_solver_is_asked(run):
    assert hold(run.path, players=("random",), samples=0)["exploitability"] == {}


def test_the_same_tournament_gives_the_same_result(run):
    options = {"players": ("random",), "samples": 0}
    assert hold(run.path, **options) == hold(run.path, **options)


def test_two_runs_of_one_spec_are_told_apart(run, tmp_path):
    other = finished_run(tmp_path, "seed=4")
    found = hold(run.path, other.path, samples=0)
    assert list(found["contestants"]) == [f"small/{run.path.name}", f"small/{other.path.name}"]


def test_the_endpoints_of_a_spec_enter(tmp_path):
    with serving(lambda body: "<answer>1</answer>") as server:
        text = SPEC + f'opponents:\n  server: {{type: openai, base_url: "{server.url}", model: quick}}\n'
        found = hold(write_spec(tmp_path, text), players=("minimax",), samples=0)
    assert found["contestants"] == {"server": "openai", "minimax": "minimax"}
    assert server.asked


def test_tables_hold_ratings_and_what_is_given_away(run):
    everything, tictactoe, encounters = tournament_tables(hold(run.path, players=("random", "minimax")))
    assert everything.rows[0][0] == "minimax"
    assert "given away %" in to_markdown(tictactoe)
    assert len(encounters.rows) == 3


def test_a_solver_knows_small_boards_and_matrix_games(tmp_path):
    games = "games.connect={type: connect_four, opponents: random}"
    matrix = "games.matrix={type: matrix_games}"
    plan = plan_of(tmp_path, games, matrix, "games.chain.all_of=[arithmetic, tictactoe, connect, matrix]")
    known = [game.name for game in plan.games if has_solver(game)]
    assert known == ["tictactoe", "matrix"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"players": ()}, "at least two contestants: there is only `small`; add players with --players"),
        ({"players": ("rondom",)}, "`rondom` cannot enter"),
        ({"players": ("human",)}, "`human` cannot enter"),
        ({"players": ("random",), "games": ("arithmetic",)}, "`random` cannot play arithmetic; these can: scripted"),
        ({"players": ("random",), "games": ("chess",)}, "there is no game `chess`"),
        ({"players": ("random",), "games": ("nested",)}, "not the chain of the stage `nested`"),
    ],
)
def test_what_cannot_be_played_is_said(run, options, said):
    with pytest.raises(UsageError, match=said):
        hold(run.path, **options)


def test_a_run_that_is_not_done_cannot_enter(tmp_path):
    with pytest.raises(MachineError, match="is not done"):
        hold(make_run(tmp_path).path, players=("random",))


def test_a_run_named_twice_is_refused(run):
    with pytest.raises(UsageError, match="named twice"):
        hold(run.path, run.path)


def test_what_is_neither_a_run_nor_a_spec_is_named():
    with pytest.raises(UsageError, match="neither a spec file nor a run directory"):
        hold("nothing")

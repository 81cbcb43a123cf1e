"""`gift tournament`: who enters, what is played, and what a solver says of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gift_dsl import api
from gift_dsl.errors import MachineError, UsageError
from gift_dsl.evaluate.kept import KeptResults
from gift_dsl.report.eval_tables import tournament_tables
from gift_dsl.report.tables import to_markdown
from gift_dsl.run.contest import has_solver
from gift_dsl.run.models import make_start
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


def test_the_same_tournament_gives_the_same_result(run, tmp_path):
    options = {"players": ("random",), "samples": 0}
    first, second = (hold(run.path, out=tmp_path / name, **options) for name in ("a.json", "b.json"))
    assert first == second


@pytest.fixture(scope="module")
def games_for_one_and_two(tmp_path_factory):
    """A spec of two endpoints that can play both of its games, and its tournament without a break."""
    folder = tmp_path_factory.mktemp("both")
    with serving(_reply) as server:
        path = write_spec(folder, SPEC + _endpoints(server))
        options = {"games": ("arithmetic", "tictactoe"), "rounds": 4, "out": folder / "whole.json"}
        yield path, options, hold(path, **options)


def _endpoints(server):
    fields = f'type: openai, base_url: "{server.url}", temperature: 0'
    return f"opponents:\n  one: {{{fields}, model: one}}\n  two: {{{fields}, model: two}}\n"


def _reply(body):
    """A player that knows no more than its name: always the same answer."""
    return {"one": "<answer>1</answer>", "two": "<answer>2</answer>"}[body["model"]]


@pytest.mark.parametrize("last", range(1, 7))
def test_a_tournament_that_was_stopped_goes_on_to_the_same_result(games_for_one_and_two, tmp_path, monkeypatch, last):
    """Stopped after each of its tasks: two plays alone, two of a pair, and what each gives away."""
    path, options, whole = games_for_one_and_two
    options = {**options, "out": tmp_path / "stopped.json"}
    keep, done = KeptResults.keep, []

    def keep_and_stop(self, task, result):
        keep(self, task, result)
        done.append(task)
        if len(done) == last:
            raise KeyboardInterrupt

    monkeypatch.setattr(KeptResults, "keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        hold(path, **options)
    assert not options["out"].exists()
    before = list(done)
    assert hold(path, **options) == whole
    assert len(done) == len(set(done)) == 6
    assert done[:last] == before
    assert json.loads(options["out"].read_text(encoding="utf-8")) == whole


def test_what_is_finished_is_not_played_again(run):
    hold(run.path, players=("random", "minimax"))
    told = Told()
    hold(run.path, players=("random", "minimax"), tell=told)
    assert [line for line in told.lines if ": done before" in line] == [
        f"tictactoe: {first} against {second}: done before"
        for pair in (("small", "random"), ("small", "minimax"), ("random", "minimax"))
        for first, second in (pair, pair[::-1])
    ]


@pytest.mark.parametrize("change", [{"rounds": 8}, {"split": "test"}, {"sets": ("evaluation.history=none",)}])
def test_another_protocol_plays_anew(tmp_path, change):
    text = SPEC + "opponents:\n  strong: {type: minimax, epsilon: 0.2}\n"
    options = {"players": ("random", "strong"), "samples": 0, "out": tmp_path / "one.json"}
    hold(write_spec(tmp_path, text), **options)
    told = Told()
    hold(write_spec(tmp_path, text), tell=told, **{**options, **change})
    assert not [line for line in told.lines if "done before" in line]


def test_another_player_of_the_same_name_plays_anew(tmp_path):
    options = {"players": ("random", "strong"), "samples": 0, "out": tmp_path / "one.json"}
    for epsilon in (0.2, 0.3):
        told, text = Told(), SPEC + f"opponents:\n  strong: {{type: minimax, epsilon: {epsilon}}}\n"
        hold(write_spec(tmp_path, text), tell=told, **options)
        assert not [line for line in told.lines if "done before" in line]


def test_a_damaged_file_of_a_pairing_is_played_again(tmp_path):
    options = {"players": ("random", "minimax"), "samples": 0, "out": tmp_path / "one.json"}
    whole = hold(write_spec(tmp_path), **options)
    kept = sorted((tmp_path / "one").iterdir())
    assert len(kept) == 2
    kept[0].write_text("{")
    assert hold(write_spec(tmp_path), **options) == whole


def test_unless_it_is_said_it_lies_beside_the_runs(run):
    told = Told()
    hold(run.path, players=("random",), tell=told, samples=0)
    path = Path(told.lines[-1].removeprefix("written: "))
    assert path.parent == run.path.parent / "tournament"
    assert json.loads(path.read_text(encoding="utf-8"))["schema"] == "gift-tournament/1"


def test_two_runs_of_one_spec_are_told_apart(run, tmp_path):
    other = finished_run(tmp_path, "seed=4")
    found = hold(run.path, other.path, samples=0)
    assert list(found["contestants"]) == [f"small/{run.path.name}", f"small/{other.path.name}"]


def test_checkpoints_of_one_run_meet(run):
    make_start(run, run.plan, {})
    found = hold(run.path, f"{run.path}@start", samples=0)
    assert found["contestants"] == {"small": str(run.path), "small@start": f"{run.path}@start"}
    with pytest.raises(UsageError, match="a checkpoint is start, best, final or the number of a step, not 'last'"):
        hold(run.path, f"{run.path}@last")
    with pytest.raises(MachineError, match="kept no checkpoint of step 7"):
        hold(run.path, f"{run.path}@7")


def test_the_endpoints_of_a_spec_enter(tmp_path):
    with serving(lambda body: "<answer>1</answer>") as server:
        text = SPEC + f'opponents:\n  server: {{type: openai, base_url: "{server.url}", model: quick}}\n'
        found = hold(write_spec(tmp_path, text), players=("minimax",), samples=0)
    assert found["contestants"] == {"server": "openai", "minimax": "minimax"}
    assert server.asked


def test_an_endpoint_that_refuses_everybody_does_not_enter(tmp_path):
    with serving(_reply) as server:
        server.models = lambda _: (403, {}, "not you")
        with pytest.raises(MachineError, match="refuses requests without a key"):
            hold(write_spec(tmp_path, SPEC + _endpoints(server)), samples=0)
    assert len(server.looked) == 1, "two names of one server are one question"
    assert server.asked == []


def test_an_endpoint_that_says_nothing_loses_and_is_not_void(tmp_path):
    with serving(lambda body: "") as server:
        text = SPEC + f'opponents:\n  server: {{type: openai, base_url: "{server.url}", model: mute}}\n'
        found = hold(write_spec(tmp_path, text), players=("minimax",), samples=0)
    assert [one["player"] for one in found["overall"]] == ["minimax", "server"]
    assert [(one["rounds"], one["void"]) for one in found["encounters"]] == [(6, 0)]


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

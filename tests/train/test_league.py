"""Who plays beside the policy: pools with a memory, and earlier versions of it."""

from __future__ import annotations

import random
from collections import Counter

import pytest
import torch

from gift_dsl.players.pool import Pool, PoolChoice, PoolState
from gift_dsl.train.league import League, SnapshotChoice, SnapshotRule, snapshot_rules
from gift_dsl.train.state import TrainState
from tests.train.staged import Log, engine_of, plan_of, schooled, train

torch.set_num_threads(1)


def rule(every=1, keep=2, pick="latest", first=None, temperature=None):
    return SnapshotRule(every, keep, pick, first, temperature)


def move(engine):
    with torch.no_grad():
        for one in engine.model.parameters():
            one.add_(1.0)


def weight_of(model):
    return float(next(model.parameters()).detach()[0, 0])


def first_weight(player):
    return weight_of(player.policy.model)


def test_rules_are_those_of_the_spec_with_what_it_leaves_out():
    plan = plan_of("opponents.early={type: snapshot}", "games.tictactoe.opponents=early")
    assert snapshot_rules(plan, {"early"}) == {"early": rule(every=20, keep=1)}
    assert snapshot_rules(plan, set()) == {}


def test_before_a_snapshot_is_taken_the_start_model_plays_or_whoever_is_named():
    choice = SnapshotChoice("early", rule(), ())
    assert choice.choose(random.Random(1)) == "early@0"
    choice = SnapshotChoice("early", rule(first="rival"), ())
    assert choice.choose(random.Random(1)) == "rival"


def test_the_latest_snapshot_plays_or_all_alike():
    rng = random.Random(1)
    assert {SnapshotChoice("early", rule(), (2, 4)).choose(rng) for _ in range(50)} == {"early@4"}
    drawn = Counter(SnapshotChoice("early", rule(pick="uniform"), (2, 4)).choose(rng) for _ in range(400))
    assert set(drawn) == {"early@2", "early@4"}
    assert min(drawn.values()) > 150


def test_a_snapshot_keeps_the_weights_it_was_taken_of(tmp_path):
    engine = engine_of()
    league, state = League({}, {"early": rule(every=2, keep=2)}, engine), TrainState()
    start = weight_of(engine.model)
    for done in range(1, 7):
        move(engine)
        state = league.after_step(state, done, tmp_path, saves=True)
    assert state.snapshots == {"early": (4, 6)}
    players = league.players(state)
    assert set(players) == {"early", "early@4", "early@6"}
    assert first_weight(players["early@4"]) == pytest.approx(start + 4)
    assert first_weight(players["early@6"]) == pytest.approx(start + 6)
    assert not any(one.requires_grad for one in players["early@4"].policy.model.parameters())


def test_the_start_model_plays_until_there_is_a_snapshot(tmp_path):
    engine = engine_of()
    start = weight_of(engine.model)
    league, state = League({}, {"early": rule(every=2)}, engine), TrainState()
    move(engine)
    state = league.after_step(state, 1, tmp_path, saves=True)
    players = league.players(state)
    assert first_weight(players["early@0"]) == pytest.approx(start)
    assert len(list(league.engines())) == 2
    state = league.after_step(state, 2, tmp_path, saves=True)
    assert set(league.players(state)) == {"early", "early@2"}
    assert len(list(league.engines())) == 2


def test_snapshots_are_loaded_again_as_they_were(tmp_path):
    engine = engine_of()
    league, state = League({}, {"early": rule(keep=2, temperature=0.5)}, engine), TrainState()
    for done in (1, 2):
        move(engine)
        state = league.after_step(state, done, tmp_path, saves=True)
    again = League({}, {"early": rule(keep=2, temperature=0.5)}, engine_of())
    again.restore(state, tmp_path)
    for name in ("early@1", "early@2"):
        first, second = (one.players(state)[name] for one in (league, again))
        assert second.temperature == 0.5
        weights = first.policy.model.state_dict()
        assert all(torch.equal(weights[key], value) for key, value in second.policy.model.state_dict().items())


def test_files_of_snapshots_go_when_no_checkpoint_names_them(tmp_path):
    league, state = League({}, {"early": rule(keep=1)}, engine_of()), TrainState()
    states = [state := league.after_step(state, done, tmp_path, saves=True) for done in (1, 2, 3)]
    league.prune(tmp_path, states[1:])
    assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == ["step-2", "step-3"]


def test_only_one_process_writes(tmp_path):
    league = League({}, {"early": rule()}, engine_of())
    state = league.after_step(TrainState(), 1, tmp_path, saves=False)
    assert state.snapshots == {"early": (1,)}
    assert list(tmp_path.iterdir()) == []


def test_a_pool_draws_by_what_the_state_remembers():
    pool = Pool(("weak", "strong"), (1.0, 1.0), by="hard")
    league = League({"pool": PoolChoice(pool, PoolState())}, {}, engine_of())
    beaten = PoolState({"weak": (1.0,) * 10, "strong": (0.0,) * 10})
    choice = league.players(TrainState(pools={"pool": beaten}))["pool"]
    assert {choice.choose(random.Random(seed)) for seed in range(50)} == {"strong"}
    fresh = league.players(TrainState())["pool"]
    assert {fresh.choose(random.Random(seed)) for seed in range(50)} == {"weak", "strong"}


def test_no_opponent_is_swapped_inside_a_group(tmp_path):
    plan = plan_of(
        "opponents.early={type: snapshot, every: 1, keep: 2, pick: uniform, first: rival}",
        "opponents.me={type: self}",
        "opponents.crowd={type: pool, members: [me, early]}",
        "games.tictactoe.opponents=crowd",
        "stages[nested].play=tictactoe",
        "stages[nested].until.steps=3",
    )
    log = Log()
    train(plan, tmp_path, engine_of(schooled()), log)
    met = []
    for groups in log.groups:
        for group in groups:
            names = {turn.player for one in group.trajectories for turn in one.turns} - {"policy"}
            assert len(names) <= 1
            met += names
    assert {"rival", "me"} < set(met)
    assert {name for name in met if name.startswith("early@")} <= {"early@1", "early@2"}
    assert any(name.startswith("early@") for name in met)


def test_every_seat_is_trained_and_has_a_baseline_of_its_own(tmp_path):
    plan = plan_of(
        "games.both={type: tictactoe, trainee: {seat: all}, prompt: {wording: compact}}",
        "stages[nested].play=both",
        "stages[nested].until.steps=1",
        "algorithm.baseline=role",
        "algorithm.advantage_scale=none",
        "algorithm.mini_batch_size=all",
    )
    log = Log()
    train(plan, tmp_path, engine_of(schooled()), log)
    (groups,) = log.groups
    assert len(groups) == 8
    seats = {part.seat for group in groups for one in group.trajectories for part in one.parts}
    assert seats == {0, 1}
    ((_, state),) = log.checkpoints
    assert len(state["train_state"]["baselines"]) == 2
    assert log.metrics[0]["update/trajectories"] > 16

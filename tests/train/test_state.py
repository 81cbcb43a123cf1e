from __future__ import annotations

import json
from dataclasses import replace

from gift_dsl.players.pool import PoolState
from gift_dsl.records import TurnRecord
from gift_dsl.train.state import TrainState, num_sampled_ids
from tests.train.made import algorithm, group_of, made, shares_of
from tests.train.staged import plan_of

CROWD = (
    "opponents.crowd={type: pool, members: [rival, other]}",
    "opponents.other={type: random}",
    "games.tictactoe.opponents=crowd",
)


def met(player, reward, *, label="tictactoe", outcome=None):
    """A game of TicTacToe against somebody."""
    one = made([reward])
    (part,) = one.parts
    outcome = outcome or part.outcome
    part = replace(part, label=label, game="tictactoe", outcome=outcome, reward=None if outcome == "void" else reward)
    said = TurnRecord(label, 1, player, "5", "5", "action")
    turns = tuple(replace(turn, part=label) for turn in one.turns)
    return replace(one, parts=(part,), turns=(*turns, said))


def after(state, groups, *sets, rule=None):
    shares = {key: value for group in groups for key, value in shares_of(group).items()}
    return state.after(plan_of(*sets), rule or algorithm(), groups, groups, shares)


def test_a_state_is_the_same_after_it_was_written_and_read():
    pools = {"crowd": PoolState({"rival": (0.5, 1.0)})}
    state = TrainState({"ttt/x": 0.1}, {"a": "success"}, pools, {"early": (3, 4)}, 7, 99)
    again = TrainState.from_json(json.loads(json.dumps(state.to_json())))
    assert again.to_json() == state.to_json()
    assert again.snapshots == state.snapshots
    assert TrainState.from_json(TrainState().to_json()) == TrainState()


def test_games_and_ids_are_counted_but_not_those_that_were_not_played():
    groups = [group_of(made([1.0, 0.0], turns=[[2], [3]]), made([1.0, 0.0], turns=[[2], [1]], is_void=True))]
    state = after(TrainState(subgame_episodes=10, policy_tokens=100), groups)
    assert state.subgame_episodes == 10 + 2 + 1
    assert state.policy_tokens == 100 + 5 + 3 == 100 + sum(map(num_sampled_ids, groups[0].trajectories))


def test_a_pool_remembers_scores_against_whom_it_seated():
    group = group_of(met("rival", 1.0), met("other", 0.0), met("rival", 0.5))
    state = after(TrainState(), [group], *CROWD)
    assert state.pools["crowd"].scores == {"rival": (1.0, 0.5), "other": (0.0,)}
    state = after(state, [group_of(met("other", 1.0))], *CROWD)
    assert state.pools["crowd"].scores == {"rival": (1.0, 0.5), "other": (0.0, 1.0)}


def test_a_pool_forgets_voids_and_those_it_does_not_seat():
    group = group_of(met("rival", 0.0, outcome="void"), met("stranger", 1.0), met("other", 0.5))
    state = after(TrainState(), [group], *CROWD)
    assert state.pools["crowd"].scores == {"other": (0.5,)}


def test_a_snapshots_scores_are_those_of_its_name():
    sets = (
        "opponents.early={type: snapshot}",
        "opponents.crowd={type: pool, members: [rival, early]}",
        "games.tictactoe.opponents=crowd",
    )
    state = after(TrainState(), [group_of(met("early@3", 1.0), met("early@4", 0.0))], *sets)
    assert state.pools["crowd"].scores == {"early": (1.0, 0.0)}


def test_role_baselines_move_only_where_they_are_used():
    group = group_of(made([1.0]), made([0.0]))
    assert after(TrainState(), [group]).baselines == {}
    state = after(TrainState(), [group], rule=algorithm(baseline="role", baseline_decay=0.5))
    assert len(state.baselines) == 1
    assert 0 < next(iter(state.baselines.values())) < 1


def test_rates_are_of_the_latest_outcomes():
    group = group_of(made([1.0, 0.0]), made([1.0, 1.0]))
    rates = after(TrainState(), [group]).rates
    assert set(rates) == {"a", "b"}
    assert rates["a"] != rates["b"]

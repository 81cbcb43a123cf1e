"""The chain of the quickstart, played by the built-in model through the table, token by token."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gift_dsl.api import compile_spec
from gift_dsl.engines.load import load_policy
from gift_dsl.engines.tiny import build_tiny
from gift_dsl.plan import leaves
from gift_dsl.play.compose import plan_walks
from gift_dsl.play.keys import Keys
from gift_dsl.play.seats import Table, model_player
from gift_dsl.play.table import play_groups
from gift_dsl.play.template import NotAppendOnly
from gift_dsl.players.make import Services
from gift_dsl.run import bind, seated_names, table_games
from tests.engines.small import Encoded

QUICKSTART = Path(__file__).parent.parent.parent / "specs" / "quickstart.yaml"


@pytest.fixture(scope="module")
def plan():
    (plan,) = compile_spec(str(QUICKSTART), sets=["model.tiny={hidden_size: 32, layers: 2, heads: 2}"])
    return plan


@pytest.fixture(scope="module")
def folder(plan, tmp_path_factory):
    return build_tiny(plan, tmp_path_factory.mktemp("tiny"))


def play(plan, engine, template=None, groups=3, members=4):
    stage = plan.stages[-1]
    games = tuple(leaf.game for leaf in leaves(stage.play))
    policy = model_player("policy", engine)
    table = Table(
        games=table_games(plan, games, "train"),
        policy=policy if template is None else replace(policy, template=template),
        players=bind(seated_names(plan, games), plan, Services()),
        system_prompt=stage.system_prompt,
        max_context=stage.max_context,
    )
    keys = Keys(plan.seed, "train", stage.name, 0)
    groups = asyncio.run(play_groups(table, keys, plan_walks(stage.play, keys, range(groups)), members))
    return [trajectory for group in groups for trajectory in group.trajectories]


def sequences(trajectories):
    return [sequence for one in trajectories for sequence in one.sequences]


def assert_log_probabilities_are_right(model, sequence):
    """One forward pass over the whole sequence gives those that were recorded."""
    ids = torch.tensor([sequence.prompt_ids + sequence.completion_ids])
    with torch.no_grad():
        logp = model(ids).logits[0].log_softmax(-1)
    start = len(sequence.prompt_ids)
    for place, token in enumerate(sequence.completion_ids):
        if sequence.mask[place]:
            assert abs(float(logp[start + place - 1, token]) - sequence.logprobs[place]) < 1e-4


def test_recorded_log_probabilities_are_those_of_one_forward_pass(plan, folder):
    engine = load_policy(plan.model, str(folder))
    found = play(plan, engine)
    assert len(found) == 12
    assert {len(one.parts) for one in found} == {4}
    assert all(len(one.sequences) == 1 for one in found)
    for sequence in sequences(found):
        assert sum(sequence.mask) > 8
        assert_log_probabilities_are_right(engine.model, sequence)


def test_members_of_a_group_share_their_first_prompt_and_nothing_that_they_sample(plan, folder):
    found = play(plan, load_policy(plan.model, str(folder)), groups=1, members=8)
    assert len({sequence.prompt_ids for sequence in sequences(found)}) == 1
    assert len({sequence.completion_ids for sequence in sequences(found)}) == 8


def test_an_episode_is_the_same_whoever_is_played_beside_it(plan, folder):
    engine = load_policy(plan.model, str(folder))
    many, few = play(plan, engine, groups=3, members=4), play(plan, engine, groups=1, members=2)
    alone = {(one.group, one.member): [s.completion_ids for s in one.sequences] for one in few}
    beside = {(one.group, one.member): [s.completion_ids for s in one.sequences] for one in many}
    assert alone.items() <= beside.items()


def test_a_template_that_is_rendered_anew_each_turn_plays_the_same_way(plan, folder):
    engine = load_policy(plan.model, str(folder))
    found = play(plan, engine, template=NotAppendOnly("to try the other way"), groups=2)
    assert {len(one.sequences) for one in found} == {sum(turn.tokens > 0 for turn in found[0].turns)}
    for sequence in sequences(found):
        assert_log_probabilities_are_right(engine.model, sequence)


def test_most_of_a_chain_is_encoded_once(plan, folder):
    engine = load_policy(plan.model, str(folder))
    with Encoded(engine.model) as encoded:
        found = play(plan, engine, groups=1, members=8)
    played = sum(len(s.prompt_ids) + len(s.completion_ids) for s in sequences(found))
    # What fills rows of different length included; encoding each turn's history again would be several times as much.
    assert encoded.num_ids < 1.3 * played

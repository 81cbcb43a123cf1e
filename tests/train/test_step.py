"""A step before its updates, and how processes tell each other what they have."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from dataclasses import replace

import pytest
import torch

from gift_dsl.errors import GiftError, LimitReached, MachineError
from gift_dsl.play.seats import model_player
from gift_dsl.play.voids import TooManyVoids
from gift_dsl.train import step as step_module
from gift_dsl.train.importance import Mismatch
from gift_dsl.train.league import League
from gift_dsl.train.state import TrainState
from gift_dsl.train.statistics import TokenSums, clipped, token_sums, update_metrics
from gift_dsl.train.step import Playing, make_step
from gift_dsl.train.team import Team
from tests.train.made import algorithm
from tests.train.staged import Recorded, engine_of, job_of, plan_of, recorded_plan, schooled

torch.set_num_threads(1)
NOBODY = Mismatch(0, 0.0, 0.0, 0.0)


@pytest.fixture
def stepping(tmp_path):
    """Makes a step of a plan; the table's event loop is closed at the end."""
    with asyncio.Runner() as runner:

        def make(plan, number=0, state=None, team=None, engine=None, **options):
            job = job_of(plan, tmp_path, engine or engine_of())
            playing = Playing(
                plan=plan,
                stage=plan.stages[-1],
                games=job.games,
                policy=model_player("policy", job.engine),
                league=League(job.players, {}, job.engine),
                runner=runner,
                **options,
            )
            return make_step(playing, state or TrainState(), number, team or Team())

        yield make


def lone(process, parts):
    """A team of two whose other process has what `parts` says; `process` gives its own."""

    def gather(own):
        return [own, (parts, None)] if process == 0 else [(parts, None), own]

    return Team(process, 2, gather)


def ids(groups):
    return [group.id for group in groups]


def test_a_step_is_played_alike_however_many_groups_are_at_once(stepping):
    plan, weights = plan_of(), schooled()
    whole = stepping(plan, engine=engine_of(weights))
    few = stepping(plan, engine=engine_of(weights), most_episodes=4)
    assert ids(whole.played) == [f"nested/0/{number}" for number in range(4)]
    assert [[[s.completion_ids for s in one.sequences] for one in group.trajectories] for group in whole.played] == [
        [[s.completion_ids for s in one.sequences] for one in group.trajectories] for group in few.played
    ]
    assert whole.state.rates == few.state.rates
    assert whole.clock.play >= whole.clock.generate > 0
    assert whole.clock.environment > 0


def test_each_process_plays_every_other_group_and_all_get_all_of_them(monkeypatch, stepping):
    plan = recorded_plan(kept=4, groups_per_step=4)
    recorded = Recorded(plan)
    monkeypatch.setattr(step_module, "_play", recorded)
    alone = stepping(plan)
    for process, other in ((0, (1, 3)), (1, (0, 2))):
        theirs = [group for number, group in enumerate(alone.played) if number in other]
        step = stepping(plan, team=lone(process, theirs))
        assert ids(step.played) == ids(alone.played)
        assert step.updates == alone.updates
        assert step.state == alone.state


def test_a_running_mean_is_of_the_returns_that_advantages_are_taken_of(monkeypatch, stepping):
    changes = {"baseline": "role", "overlong": "penalty", "overlong_cache": 1, "drop_zero": False}
    plan = recorded_plan(kept=1, groups_per_step=1, **changes)
    monkeypatch.setattr(step_module, "_play", Recorded(plan, cut=True))
    step = stepping(plan)
    (group,) = step.played
    # every other member has a turn of its first of two parts cut, which costs 1, shared by the parts
    paid = [one.raw_return - 0.5 * (one.member % 2) for one in group.trajectories]
    mean = 0.0
    for value in paid:
        mean = 0.95 * mean + 0.05 * value
    assert list(step.state.baselines.values()) == pytest.approx([mean])
    rows = [row for update in step.updates for row in update.rows if row.episode]
    told = [row.advantages[row.mask.index(1)] / row.weight for row in rows]
    assert sorted(told) == pytest.approx(sorted(paid)), "beside the mean of 0 that the step began with"


def test_a_reward_that_is_shuffled_moves_returns_within_a_group_and_leaves_what_was_played(monkeypatch, stepping):
    plan = recorded_plan(kept=4, groups_per_step=4)
    stage = replace(plan.stages[-1], reward="shuffled")
    monkeypatch.setattr(step_module, "_play", Recorded(plan))
    game, shuffled = stepping(plan), stepping(replace(plan, stages=(stage,)))
    assert shuffled.played == game.played
    differ = 0
    for one, other in zip(game.selection.kept, shuffled.selection.kept, strict=True):
        own, moved = ([member.raw_return for member in group.trajectories] for group in (one, other))
        assert sorted(own) == pytest.approx(sorted(moved))
        differ += own != moved
    assert differ > 0


def test_every_kind_of_game_has_its_share_of_what_is_kept(monkeypatch, stepping):
    plan = plan_of(
        "stages[nested].play={any_of: [tictactoe, matrix]}", "algorithm.groups_per_step=8", "algorithm.keep=0.5"
    )
    step = stepping(plan, engine=engine_of(schooled()))
    assert step.selection.num_played == {"tictactoe": 4, "matrix": 4}
    assert all(step.selection.num_kept.get(game, 0) <= 2 for game in ("tictactoe", "matrix"))
    assert sum(step.selection.num_kept.values()) == len(step.selection.kept) > 0
    kept = {group.task for group in step.selection.kept}
    assert kept <= {"tictactoe", "matrix"}


# ── team ──


def failing(own, other, process=0):
    """What a process raises whose work raises `own` while that of the other raised `other`; None: nothing."""
    heard = []

    def tell(value):
        heard.append(value)
        return [value]

    def work(error):
        if error is not None:
            raise error
        return []

    with suppress(Exception):
        Team(1 - process, 2, tell).together(lambda: work(other))
    with pytest.raises(Exception) as caught:  # noqa: PT011 - which one is what the test asks for
        Team(process, 2, lambda value: [value, *heard] if process == 0 else [*heard, value]).together(lambda: work(own))
    return caught.value


KINDS = (LimitReached, TooManyVoids, MachineError, GiftError)


@pytest.mark.parametrize("kind", KINDS)
def test_what_one_process_raises_all_raise(kind):
    mine, theirs = failing(kind("enough"), None), failing(None, kind("enough"))
    assert type(mine) is type(theirs) is kind
    assert str(mine) == "enough"
    assert "process 1: " in str(theirs)
    assert "enough" in str(theirs)


@pytest.mark.parametrize(("mild", "bad"), [*itertools.combinations((*KINDS, ValueError), 2)])
def test_of_two_failures_all_processes_raise_the_worse(mild, bad):
    wanted = GiftError if bad is ValueError else bad
    assert type(failing(mild("mild"), bad("bad"))) is wanted
    assert type(failing(bad("bad"), mild("mild"))) is bad


def test_void_episodes_of_all_processes_count_as_those_of_one(monkeypatch, stepping):
    plan = recorded_plan(kept=4, groups_per_step=4)
    recorded = Recorded(plan)

    def void(group):
        ends = [
            replace(part, outcome="void", reward=None, reason="server: down") for part in group.trajectories[0].parts
        ]
        first = replace(group.trajectories[0], parts=tuple(ends), outcome_return=None)
        return replace(group, trajectories=(first, *group.trajectories[1:]))

    seen = {}

    def play(playing, state, keys, walks, clock):
        groups = [void(group) for group in recorded(playing, state, keys, walks, clock)]
        seen.update({walk.group: group for walk, group in zip(walks, groups, strict=True)})
        return groups

    monkeypatch.setattr(step_module, "_play", play)
    members = plan.stages[-1].algorithm.group_size
    stepping(plan)
    told = set()
    for process, others in ((0, (1, 3)), (1, (0, 2))):
        with pytest.raises(TooManyVoids) as together:
            stepping(plan, team=lone(process, [seen[number] for number in others]))
        told.add(str(together.value))
    (message,) = told
    assert f"of the {4 * members} episodes of nested/0" in message


def test_work_of_all_processes_comes_in_their_order():
    assert lone(0, [3, 4]).together(lambda: [1, 2]) == [1, 2, 3, 4]
    assert lone(1, [3, 4]).together(lambda: [1, 2]) == [3, 4, 1, 2]
    assert Team().together(lambda: [1]) == [1]


def test_whoever_fails_tells_the_others_and_fails_with_its_own_error():
    told = []

    def gather(own):
        told.append(own)
        return [own, ([], None)]

    def fail():
        raise KeyError("x")

    with pytest.raises(KeyError, match="x"):
        Team(0, 2, gather).together(fail)
    assert told == [([], (0, "KeyError: 'x'"))]
    with pytest.raises(GiftError, match="another process failed: process 1: KeyError: 'x'"):
        Team(0, 2, lambda own: [own, ([], (0, "KeyError: 'x'"))]).together(lambda: [1])


# ── statistics ──


def test_means_over_tokens_are_the_same_however_a_batch_is_cut():
    generator = torch.Generator().manual_seed(1)
    mask = (torch.rand(6, 5, generator=generator) < 0.5).float()
    terms = [torch.rand(6, 5, generator=generator) for _ in range(4)]
    whole = token_sums(mask, *terms)
    cut = sum(token_sums(mask[rows], *[term[rows] for term in terms]) for rows in ([0], [1, 2, 3], [4, 5]))
    assert torch.allclose(whole, cut)
    sums = TokenSums(*whole.tolist())
    assert sums.tokens == mask.sum()
    assert sums.entropy == pytest.approx(float((terms[0] * mask).sum()))


def test_a_token_is_clipped_where_its_gradient_ends():
    rule = algorithm(clip_low=0.2, clip_high=0.28)
    ratio = torch.tensor([[0.7, 0.7, 1.3, 1.3, 1.25]])
    advantages = torch.tensor([[-1.0, 1.0, 1.0, -1.0, 1.0]])
    low, high = clipped(ratio, advantages, rule)
    assert low.tolist() == [[True, False, False, False, False]]
    assert high.tolist() == [[False, False, True, False, False]]


def test_metrics_of_updates_are_means_and_nothing_is_logged_of_none():
    logged = [
        {"loss": 1.0, "grad_norm": 2.0, "learning_rate": 0.1},
        {"loss": 3.0, "grad_norm": 6.0, "learning_rate": 0.1},
    ]
    found = update_metrics(logged, TokenSums(10, 5, 1, 2, 3), NOBODY)
    assert found == pytest.approx(
        {
            "update/loss": 2.0,
            "update/grad_norm": 4.0,
            "update/grad_norm_max": 6.0,
            "update/learning_rate": 0.1,
            "update/entropy": 0.5,
            "update/kl": 0.1,
            "update/clip_share_low": 0.2,
            "update/clip_share_high": 0.3,
            "update/clip_share": 0.5,
        }
    )
    assert update_metrics([], TokenSums(0, 0, 0, 0, 0), NOBODY) == {}
    assert update_metrics([], TokenSums(0, 0, 0, 0, 0), Mismatch(5, 0.1, 0.01, 0.0)) == {
        "mismatch/abs_difference": 0.1,
        "mismatch/kl": 0.01,
        "mismatch/truncated_share": 0.0,
    }

from __future__ import annotations

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.batch import make_updates, num_sampled, rows_of_rank
from gift_dsl.train.credit import Credited, credit_groups
from gift_dsl.train.select import select
from tests.train.made import GIVEN, algorithm, batch_plan, group_of, made, returning, shares_of
from tests.train.reference import Bigram, advantages_of, as_trl_would, reference_losses

LOSSES = ["trajectory", "token", "constant"]
CONTEXTS = {"shared": 1, "fresh": 2, "turns": 4}
"""Ways to cut a trajectory of two parts and at most four turns, and its most sequences."""


def sampled_by(policy, trajectory, rng):
    """The trajectory as a noisy engine reports it: log-probabilities off by up to a half, so that much is clipped."""
    sequences = []
    for sequence in trajectory.sequences:
        exact = policy.logprobs(sequence.prompt_ids, sequence.completion_ids).tolist()
        noisy = [(value + rng.uniform(-0.5, 0.5)) * bit for value, bit in zip(exact, sequence.mask, strict=True)]
        sequences.append(replace(sequence, logprobs=tuple(noisy)))
    return replace(trajectory, sequences=tuple(sequences))


def played_group(number, rng, *, context="shared", size=4, voids=0, is_tied=False):
    members = []
    for index in range(size):
        turns = [[rng.randrange(1, 4) for _ in range(rng.randrange(1, 3))] for _ in range(2)]
        rewards = [1.0, 1.0] if is_tied else [float(rng.random() < 0.5), rng.random()]
        one = made(rewards, turns=turns, context=context, is_void=index < voids, rng=rng)
        members.append(sampled_by(Bigram(), one, rng))
    return group_of(*members, number=number)


def played(rng, groups=8, *, dead=(), **options):
    """Groups of a step; `dead` ones have equal returns or too few of them."""
    return [played_group(number, rng, is_tied=number in dead, **options) for number in range(groups)]


def losses_of(policy, losses, optimizer):
    """The value of each loss, the optimizer stepping after each."""
    found = []
    for loss in losses:
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(loss.item())
    return found, policy.logits.detach().clone()


def trained_by(losses, seed=0):
    policy = Bigram(seed)
    return losses_of(policy, losses(policy), torch.optim.AdamW([policy.logits], lr=0.05))


def agree(pairs, updates, rule, mini, **options):
    """Whether both ways go through the same losses to the same weights."""
    wanted, weights = trained_by(lambda policy: reference_losses(policy, pairs, rule, mini))
    found, other = trained_by(lambda policy: as_trl_would(policy, updates, rule, **options))
    assert found == pytest.approx(wanted, abs=1e-6)
    assert torch.allclose(weights, other, atol=1e-6)
    assert (weights - Bigram().logits).abs().max() > 1e-2


class TestTheLossIsTheReferences:
    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_over_mini_batches_micro_batches_and_processes(self, loss, context):
        rule = algorithm(loss=loss, epochs=2)
        groups = played(random.Random(1), groups=2, context=context)
        credited = credit_groups(groups, {}, rule)
        plan = batch_plan(kept=2, size=4, rows_per_trajectory=CONTEXTS[context], mini=4, epochs=2)
        pairs = [(one.trajectory, one.advantages) for one in credited]
        updates = make_updates(credited, plan, rule, filler_id=GIVEN)
        assert len(updates) == 4
        for options in ({}, {"micro_batch": 2}, {"processes": 2}, {"processes": 2, "micro_batch": 1}):
            agree(pairs, updates, rule, mini=4, **options)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("context", CONTEXTS)
    def test_with_three_of_eight_groups_alive_and_voided_members(self, loss, context):
        rule = algorithm("starpo_s", keep=1.0, loss=loss)
        groups = played(random.Random(2), dead=(0, 2, 3, 5, 6), context=context, voids=1)
        kept = select(groups, rule, most=8).kept
        assert kept == (groups[1], groups[4], groups[7])
        credited = credit_groups(kept, {}, rule)
        plan = batch_plan(kept=8, size=4, rows_per_trajectory=CONTEXTS[context])
        (update,) = make_updates(credited, plan, rule, filler_id=GIVEN)
        assert (update.num_trajectories, len(update.rows)) == (9, 32 * CONTEXTS[context])
        pairs = [(one.trajectory, one.advantages) for one in credited]
        for options in ({}, {"micro_batch": 4}, {"processes": 4, "micro_batch": 2}):
            agree(pairs, [update], rule, mini=32, **options)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize("credit", ["to_go", "segment", "discount"])
    def test_with_advantages_that_differ_within_a_trajectory(self, loss, credit):
        rule = algorithm(loss=loss, credit=credit)
        groups = played(random.Random(3), groups=2, context="fresh", voids=1)
        credited = credit_groups(groups, shares_of(groups[0]), rule)
        (update,) = make_updates(credited, batch_plan(rows_per_trajectory=2), rule, filler_id=GIVEN)
        agree([(one.trajectory, one.advantages) for one in credited], [update], rule, mini=8)

    @pytest.mark.parametrize("scale", ["group", "batch", "none"])
    def test_with_advantages_of_the_reference(self, scale):
        rule = algorithm(advantage_scale=scale)
        groups = played(random.Random(4), groups=2, voids=1)
        returns = [[None if one.is_void else one.outcome_return for one in group.trajectories] for group in groups]
        batch = [value for own in returns for value in own if value is not None]
        pairs = [
            (one, [[advantage] * len(sequence.mask) for sequence in one.sequences])
            for group, own in zip(groups, returns, strict=True)
            for one, advantage in zip(group.trajectories, advantages_of(own, scale, batch), strict=True)
            if advantage is not None
        ]
        (update,) = make_updates(credit_groups(groups, {}, rule), batch_plan(), rule, filler_id=GIVEN)
        agree(pairs, [update], rule, mini=8)

    @pytest.mark.parametrize("loss", LOSSES)
    def test_over_several_steps(self, loss):
        rule = algorithm(loss=loss, dual_clip="off")
        ours, theirs = Bigram(), Bigram()
        optimizers = [torch.optim.AdamW([policy.logits], lr=0.05) for policy in (ours, theirs)]
        for step in range(4):
            groups = played(random.Random(step), groups=4, dead=(step,), context="fresh")
            credited = credit_groups([group for index, group in enumerate(groups) if index != step], {}, rule)
            updates = make_updates(credited, batch_plan(kept=4, mini=16, rows_per_trajectory=2), rule, filler_id=GIVEN)
            pairs = [(one.trajectory, one.advantages) for one in credited]
            found, _ = losses_of(ours, as_trl_would(ours, updates, rule), optimizers[0])
            wanted, _ = losses_of(theirs, reference_losses(theirs, pairs, rule, 16), optimizers[1])
            assert found == pytest.approx(wanted, abs=1e-6)
        assert torch.allclose(ours.logits, theirs.logits, atol=1e-6)

    @pytest.mark.parametrize("loss", LOSSES)
    @pytest.mark.parametrize(("kept", "sizes"), [(2, [4, 2]), (3, [4, 2, 0])])
    def test_where_the_last_mini_batches_are_smaller_or_empty(self, loss, kept, sizes):
        rule = algorithm(loss=loss)
        groups = played(random.Random(6), groups=2, voids=1)
        credited = credit_groups(groups, {}, rule)
        updates = make_updates(credited, batch_plan(kept=kept, mini=4), rule, filler_id=GIVEN)
        assert [update.num_trajectories for update in updates] == sizes
        agree([(one.trajectory, one.advantages) for one in credited], updates, rule, mini=4)

    def test_where_cut_trajectories_are_masked(self):
        rule = algorithm(overlong="mask")
        group = played(random.Random(7), groups=1)[0]
        cut = replace(
            group.trajectories[0],
            parts=(replace(group.trajectories[0].parts[0], truncated=1), *group.trajectories[0].parts[1:]),
        )
        credited = credit_groups([replace(group, trajectories=(cut, *group.trajectories[1:]))], {}, rule)
        (update,) = make_updates(credited, batch_plan(kept=1), rule, filler_id=GIVEN)
        assert update.num_trajectories == 3
        agree([(one.trajectory, one.advantages) for one in credited], [update], rule, mini=4)


def weighing_one(lengths, context="shared"):
    one = made([1.0] * len(lengths), turns=[[length] for length in lengths], context=context)
    return Credited(one, tuple(tuple(float(bit) for bit in sequence.mask) for sequence in one.sequences))


def test_a_trajectory_of_several_sequences_weighs_as_one_of_a_single_sequence():
    credited = [weighing_one([4]), weighing_one([1, 3], "fresh")]
    (update,) = make_updates(credited, batch_plan(kept=1, rows_per_trajectory=2), algorithm(), filler_id=GIVEN)
    means = {}
    for row in update.rows:
        if row.episode:
            mean = sum(row.advantages) / sum(row.mask) / len(update.rows)
            means.setdefault(sum(row.mask), 0.0)
            means[sum(row.mask)] += mean
    # A token of either has the same weight, 1 / (2 trajectories x 4 tokens).
    assert means[4] == pytest.approx(0.5)
    assert (means[1], means[3]) == pytest.approx((0.5 / 4, 0.5 * 3 / 4))


def test_token_loss_and_constant_loss_weigh_rows_by_what_trl_divides_by():
    credited = [weighing_one([1]), weighing_one([1]), weighing_one([5]), weighing_one([5])]
    plan = batch_plan(kept=1, mini=2, rows_per_trajectory=2)
    weights = {}
    for loss in ("token", "constant"):
        updates = make_updates(credited, plan, algorithm(loss=loss), filler_id=GIVEN)
        weights[loss] = [update.rows[0].weight for update in updates]
    assert weights == {"token": [3.0, 0.6], "constant": [2.0, 2.0]}


def test_rows_that_fill_up_have_one_token_each_way_and_teach_nothing():
    (update,) = make_updates([weighing_one([2])], batch_plan(kept=1), algorithm(), filler_id=5)
    for row in update.rows[1:]:
        assert (row.prompt_ids, row.completion_ids, row.mask, row.advantages) == ((5,), (5,), (0,), (0.0,))
        assert (row.weight, row.episode) == (0.0, "")


def test_a_step_that_kept_nothing_has_its_rows_and_no_trajectories():
    updates = make_updates([], batch_plan(mini=4), algorithm(loss="token"), filler_id=GIVEN)
    assert [(update.num_trajectories, update.num_tokens, len(update.rows)) for update in updates] == [(0, 0, 4)] * 2


def test_a_trajectory_without_a_sampled_token_is_not_trained():
    silent = made([1.0], turns=[[]])
    (update,) = make_updates(
        [Credited(silent, ()), weighing_one([2])], batch_plan(kept=1), algorithm(), filler_id=GIVEN
    )
    assert update.num_trajectories == 1


def test_a_sequence_without_a_sampled_token_takes_no_row():
    one = weighing_one([2, 1], "fresh")
    first, second = one.trajectory.sequences
    silenced = replace(one.trajectory, sequences=(first, replace(second, mask=(0,))))
    plan = batch_plan(kept=1, rows_per_trajectory=2)
    (update,) = make_updates([replace(one, trajectory=silenced)], plan, algorithm(), filler_id=GIVEN)
    assert [row.completion_ids for row in update.rows if row.episode] == [first.completion_ids]


def test_advantages_of_given_tokens_stay_nothing():
    (update,) = make_updates([weighing_one([2, 3])], batch_plan(kept=1), algorithm(), filler_id=GIVEN)
    for row in update.rows:
        assert [value != 0 for value in row.advantages] == [bit == 1 for bit in row.mask]


def test_more_than_the_plan_has_rows_for_is_a_bug():
    with pytest.raises(ValueError, match="9 trajectories do not fit into 2 updates of 4"):
        make_updates([weighing_one([1])] * 9, batch_plan(mini=4), algorithm(), filler_id=GIVEN)
    with pytest.raises(ValueError, match="8 sequences do not fit into the 4 rows"):
        make_updates([weighing_one([1, 1], "fresh")] * 4, batch_plan(kept=1), algorithm(), filler_id=GIVEN)


@given(
    lengths=st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), max_size=8),
    loss=st.sampled_from(LOSSES),
    epochs=st.integers(1, 2),
    mini=st.sampled_from([2, 4, 8]),
)
def test_rows_are_always_as_many_as_the_plan_says_and_hold_every_token_once_an_epoch(lengths, loss, epochs, mini):
    plan = batch_plan(rows_per_trajectory=3, mini=mini, epochs=epochs)
    credited = [weighing_one(own, "fresh") for own in lengths]
    updates = make_updates(credited, plan, algorithm(loss=loss, epochs=epochs), filler_id=GIVEN)
    assert sum(len(update.rows) for update in updates) == plan.rows
    assert {len(update.rows) for update in updates} == {plan.rows_per_update}
    assert sum(update.num_tokens for update in updates) == epochs * sum(map(num_sampled, credited))
    assert sum(sum(row.mask) for update in updates for row in update.rows) == epochs * sum(map(sum, lengths))
    for update in updates:
        assert [row.length for row in update.rows] == sorted((row.length for row in update.rows), reverse=True)


@given(length=st.integers(1, 12), processes=st.sampled_from([1, 2, 4]))
def test_processes_share_the_rows_of_an_update_evenly(length, processes):
    (update,) = make_updates(
        [weighing_one([size + 1]) for size in range(length)], batch_plan(kept=3), algorithm(), filler_id=GIVEN
    )
    shares = [rows_of_rank(update, rank, processes) for rank in range(processes)]
    assert {len(share) for share in shares} == {12 // processes}
    assert sorted(row.length for share in shares for row in share) == sorted(row.length for row in update.rows)
    for rows in zip(*shares, strict=True):
        assert rows[0].length >= rows[-1].length


def test_mini_batches_take_trajectories_in_the_order_given():
    credited = credit_groups([returning(1, 0, number=number) for number in range(2)], {}, algorithm())
    updates = make_updates(credited, batch_plan(size=2, mini=2), algorithm(), filler_id=GIVEN)
    assert [{row.episode for row in update.rows} for update in updates] == [
        {"s/0/0/0", "s/0/0/1"},
        {"s/0/1/0", "s/0/1/1"},
    ]

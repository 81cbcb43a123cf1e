from __future__ import annotations

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.train.glow_weights import GlowHistory, GlowRule, glow_weights, sample_losses

NAN = math.nan


def rule(**changes):
    values = {"alpha": 1.0, "beta": 20.0, "offset": 0, "weight_min": 0.5, "weight_max": 5.0}
    return GlowRule(**{**values, "normalise": False, "missing": "one", **changes})


def weights(losses, previous, epoch=1, **changes):
    found = glow_weights(
        torch.tensor(losses, dtype=torch.float64),
        torch.tensor(previous, dtype=torch.float64),
        rule(**changes),
        epoch=epoch,
    )
    return found.tolist()


CURRENT = [0.8, 0.9, 1.0, 1.1, 1.2]
ONES = [1.0] * 5


class TestVectorsOfTheReference:
    @pytest.mark.parametrize(
        ("alpha", "beta", "raw", "clamped"),
        [
            (1, 20, [0.017986, 0.119203, 0.5, 0.880797, 0.982014], [0.5, 0.5, 0.5, 0.880797, 0.982014]),
            (1, 5, [0.268941, 0.377541, 0.5, 0.622459, 0.731059], [0.5, 0.5, 0.5, 0.622459, 0.731059]),
            (1, 10, [0.119203, 0.268941, 0.5, 0.731059, 0.880797], [0.5, 0.5, 0.5, 0.731059, 0.880797]),
            (2, 15, [0.094852, 0.364851, 1.0, 1.635149, 1.905148], [0.5, 0.5, 1.0, 1.635149, 1.905148]),
        ],
    )
    def test_weights(self, alpha, beta, raw, clamped):
        options = {"alpha": alpha, "beta": beta}
        assert weights(CURRENT, ONES, weight_min=0.0, **options) == pytest.approx(raw, abs=1e-6)
        assert weights(CURRENT, ONES, **options) == pytest.approx(clamped, abs=1e-6)
        assert weights(CURRENT, ONES, offset=1, **options) == pytest.approx([1 + value for value in raw], abs=1e-6)

    @pytest.mark.parametrize(
        ("options", "loss", "normalised"),
        [
            ({"alpha": 1, "beta": 20}, 0.639626, 1.020247),
            ({"alpha": 1, "beta": 20, "offset": 1}, 1.525386, 1.016924),
            ({"alpha": 2, "beta": 15}, 1.082888, 1.036207),
        ],
    )
    def test_the_loss_of_a_batch(self, options, loss, normalised):
        losses = [0.9, 1.0, 1.1]
        for normalise, wanted in ((False, loss), (True, normalised)):
            found = weights(losses, [1.0] * 3, normalise=normalise, **options)
            weighted = statistics.fmean(weight * value for weight, value in zip(found, losses, strict=True))
            assert weighted == pytest.approx(wanted, abs=1e-6)

    @pytest.mark.parametrize(
        ("offset", "wanted"), [(0, [1, 0.5, 0.5, 0.5, 0.731059]), (1, [1, 1.000045, 1.268941, 1.5, 1.731059])]
    )
    def test_the_trace_of_one_sample(self, offset, wanted):
        history, index, found = GlowHistory(1), torch.tensor([0]), []
        for epoch, loss in enumerate([2.0, 1.5, 1.45, 1.45, 1.5]):
            losses = torch.tensor([loss], dtype=torch.float64)
            previous = history.previous(index, epoch)
            found.append(glow_weights(losses, previous, rule(offset=offset), epoch=epoch).item())
            history.record(index, losses, epoch)
        assert found == pytest.approx(wanted, abs=1e-6)


def test_in_the_first_epoch_every_weight_is_one():
    for missing in ("one", "batch_mean"):
        assert weights([0.5, 2.0], [NAN, NAN], epoch=0, missing=missing) == [1.0, 1.0]


def test_a_sample_that_was_never_seen_weighs_one_or_is_compared_with_the_batch():
    seen, mean = weights([1.0, 2.0], [1.0, 1.5])
    assert weights([1.0, 2.0], [1.0, NAN]) == [seen, 1.0]
    assert weights([1.0, 2.0], [1.0, NAN], missing="batch_mean") == [seen, mean]


def test_missing_samples_weigh_one_before_the_batch_is_normalised():
    assert weights([1.0, 1.0], [9.0, NAN], normalise=True) == pytest.approx([0.5 / 0.75, 1 / 0.75])


@given(losses=st.lists(st.floats(0, 5), min_size=1, max_size=6), data=st.data(), offset=st.sampled_from([0, 1]))
def test_weights_stay_within_their_clamp_and_fall_with_what_was_gained(losses, data, offset):
    previous = [data.draw(st.floats(0, 5)) for _ in losses]
    found = weights(losses, previous, offset=offset)
    assert all(0.5 <= weight <= 5.0 for weight in found)
    gains = [before - now for before, now in zip(previous, losses, strict=True)]
    for one, mine in zip(gains, found, strict=True):
        assert all(mine >= yours - 1e-12 for other, yours in zip(gains, found, strict=True) if one <= other)


def test_weights_pass_no_gradient():
    losses = torch.tensor([1.0, 2.0], requires_grad=True)
    assert not glow_weights(losses, torch.tensor([1.0, 1.0]), rule(), epoch=1).requires_grad


def test_the_loss_of_a_sample_is_the_mean_over_its_own_tokens():
    logp = torch.tensor([[-1.0, -3.0, -9.0], [-2.0, -math.inf, -9.0], [-1.0, -1.0, -1.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    assert sample_losses(logp, mask).tolist() == [2.0, 2.0, 0.0]


def seen(history, epoch, *ids):
    return history.previous(torch.tensor(ids), epoch).tolist()


def visit(history, epoch, **losses):
    ids = torch.tensor([int(name[1:]) for name in losses])
    history.record(ids, torch.tensor(list(losses.values()), dtype=torch.float64), epoch)


class TestHistory:
    def test_before_the_first_visit_there_is_nothing(self):
        assert all(map(math.isnan, seen(GlowHistory(2), 0, 0, 1)))

    def test_in_the_epoch_of_its_first_visit_a_sample_still_has_no_past(self):
        history = GlowHistory(1)
        visit(history, 0, s0=2.0)
        assert math.isnan(seen(history, 0, 0)[0])
        assert seen(history, 1, 0) == [2.0]

    def test_a_second_visit_in_an_epoch_is_compared_with_the_same_past(self):
        history = GlowHistory(1)
        visit(history, 0, s0=2.0)
        visit(history, 1, s0=1.5)
        visit(history, 1, s0=1.4)
        assert seen(history, 1, 0) == [2.0]
        assert seen(history, 2, 0) == [1.4]

    def test_one_sample_twice_in_a_batch_is_two_visits(self):
        history = GlowHistory(1)
        history.record(torch.tensor([0, 0]), torch.tensor([2.0, 3.0]), 0)
        assert math.isnan(seen(history, 0, 0)[0])
        assert seen(history, 1, 0) == [3.0]

    def test_an_epoch_without_a_visit_changes_nothing(self):
        history = GlowHistory(2)
        visit(history, 0, s0=2.0)
        visit(history, 1, s1=1.0)
        assert seen(history, 2, 0, 1) == [2.0, 1.0]

    @given(visits=st.lists(st.tuples(st.integers(0, 2), st.floats(0, 3)), max_size=20), cut=st.integers(0, 20))
    def test_one_that_was_saved_and_loaded_goes_on_as_the_unbroken_one(self, visits, cut):
        unbroken, broken = GlowHistory(3), GlowHistory(3)
        for number, (index, loss) in enumerate(visits):
            if number == cut:
                broken = GlowHistory.from_state(broken.state())
            for history in (unbroken, broken):
                visit(history, number // 5, **{f"s{index}": loss})
        for name, kept in unbroken.state().items():
            assert torch.equal(kept.nan_to_num(-1), broken.state()[name].nan_to_num(-1))

    def test_a_saved_state_does_not_change_any_more(self):
        history = GlowHistory(1)
        state = history.state()
        visit(history, 0, s0=2.0)
        assert math.isnan(state["last"][0])

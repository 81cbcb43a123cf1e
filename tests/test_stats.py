"""Statistics of outcomes, against published values and the equations they come from."""

from __future__ import annotations

from math import comb
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gift_dsl.stats import wilson

COUNTS = st.integers(1, 2000).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total)))


class TestWilson:
    @pytest.mark.parametrize(
        ("successes", "total", "published"),
        [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
    )
    def test_it_is_that_of_newcombe_1998_table_1_method_3(self, successes, total, published):
        assert tuple(round(bound, 4) for bound in wilson(successes, total)) == published

    @given(COUNTS, st.floats(0.5, 0.999))
    def test_its_bounds_are_the_rates_that_a_score_test_just_accepts(self, counts, confidence):
        """Wilson's definition: |p - bound| = z * standard error at the bound."""
        successes, total = counts
        z = NormalDist().inv_cdf((1 + confidence) / 2)
        for bound in wilson(successes, total, confidence):
            error = z * (bound * (1 - bound) / total) ** 0.5
            assert abs(successes / total - bound) == pytest.approx(error, abs=1e-6)

    @given(COUNTS)
    def test_it_holds_the_rate_and_stays_a_rate(self, counts):
        low, high = wilson(*counts)
        assert 0 <= low <= counts[0] / counts[1] <= high <= 1
        assert low < high

    @given(COUNTS)
    def test_failures_have_the_interval_of_successes_turned_round(self, counts):
        low, high = wilson(*counts)
        assert wilson(counts[1] - counts[0], counts[1]) == pytest.approx((1 - high, 1 - low))

    @given(COUNTS, st.floats(0.01, 0.98))
    def test_more_confidence_is_wider(self, counts, confidence):
        low, high = wilson(*counts, confidence)
        wider_low, wider_high = wilson(*counts, confidence + 0.01)
        assert wider_low <= low
        assert high <= wider_high
        assert wider_high - wider_low > high - low

    def test_it_covers_the_true_rate_about_as_often_as_it_says(self):
        """Mean coverage over many rates is known to be close to the confidence, even for 20 rounds."""
        total, rates = 20, [step / 200 for step in range(1, 200)]
        intervals = [wilson(successes, total) for successes in range(total + 1)]

        def coverage(rate):
            return sum(
                comb(total, successes) * rate**successes * (1 - rate) ** (total - successes)
                for successes, (low, high) in enumerate(intervals)
                if low <= rate <= high
            )

        assert sum(map(coverage, rates)) / len(rates) == pytest.approx(0.95, abs=0.01)

    def test_without_rounds_the_rate_can_be_everything(self):
        assert wilson(0, 0) == (0.0, 1.0)

    @pytest.mark.parametrize(("successes", "total"), [(-1, 3), (4, 3), (1, 0)])
    def test_a_count_that_cannot_be_is_refused(self, successes, total):
        with pytest.raises(ValueError, match=f"{successes} of {total}"):
            wilson(successes, total)

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0])
    def test_a_confidence_that_cannot_be_is_refused(self, confidence):
        with pytest.raises(ValueError, match="confidence must be between"):
            wilson(1, 3, confidence)

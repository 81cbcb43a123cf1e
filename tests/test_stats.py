"""Statistics of outcomes, against published values and the equations they come from."""

from __future__ import annotations

import random
import subprocess
import sys
from math import comb, inf, log, sqrt
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from gift_dsl.rng import stream
from gift_dsl.stats import (
    clustered_mean,
    holm,
    mcnemar,
    paired_bootstrap,
    paired_score,
    rounds_needed,
    seeds_needed,
    t_quantile,
    t_tail,
    welch,
    wilson,
)

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


class TestStudentsT:
    @pytest.mark.parametrize(
        ("probability", "freedom", "published"),
        [(0.975, 1, 12.706), (0.975, 2, 4.303), (0.975, 4, 2.776), (0.95, 10, 1.812), (0.995, 30, 2.750)],
    )
    def test_its_quantiles_are_those_of_the_tables(self, probability, freedom, published):
        assert round(t_quantile(probability, freedom), 3) == published

    @given(st.floats(0.001, 0.999), st.floats(1, 10_000))
    def test_its_quantiles_are_those_of_scipy(self, probability, freedom):
        assert t_quantile(probability, freedom) == pytest.approx(scipy_stats.t.ppf(probability, freedom), abs=1e-6)

    @given(st.floats(0, 50), st.floats(1, 10_000))
    def test_its_tail_is_that_of_scipy(self, value, freedom):
        assert t_tail(value, freedom) == pytest.approx(scipy_stats.t.sf(value, freedom), rel=1e-6, abs=1e-12)

    @pytest.mark.parametrize("wrong", [(0.0, 3), (1.0, 3), (0.5, 0)])
    def test_what_cannot_be_is_refused(self, wrong):
        with pytest.raises(ValueError, match="a probability is in"):
            t_quantile(*wrong)


PAIRS = st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=1, max_size=3), min_size=2, max_size=60)


class TestClusteredMean:
    @given(st.lists(st.booleans(), min_size=2, max_size=200))
    def test_clusters_of_one_have_wilsons_interval_with_t_in_place_of_z(self, outcomes):
        total, rate, t = len(outcomes), sum(outcomes) / len(outcomes), scipy_stats.t.ppf(0.975, len(outcomes) - 1)
        for bound in clustered_mean([[float(outcome)] for outcome in outcomes]):
            assert abs(rate - bound) == pytest.approx(t * sqrt(bound * (1 - bound) / total), abs=1e-6)

    def test_a_hundred_thousand_free_rounds_have_that_of_wilson(self):
        outcomes = [[float(number % 4 == 0)] for number in range(100_000)]
        assert clustered_mean(outcomes) == pytest.approx(wilson(25_000, 100_000), abs=1e-6)

    def test_a_worked_example(self):
        """Four pairs of 2, 1, 0, 0 successes: p = 3/8, Cochran's v = (4/3) (1.5625 + 0.0625 + 2 (0.5625)) / 64."""
        variance = 4 / 3 * (1.25**2 + 0.25**2 + 2 * 0.75**2) / 64 * 7 / 8
        effective, t = 3 / 8 * 5 / 8 / variance, scipy_stats.t.ppf(0.975, 3)
        assert effective == pytest.approx(4.675, abs=0.001)
        low, high = clustered_mean([[1, 1], [1, 0], [0, 0], [0, 0]])
        for bound in (low, high):
            assert abs(3 / 8 - bound) == pytest.approx(t * sqrt(bound * (1 - bound) / effective))

    def test_rounds_that_are_copies_count_once(self):
        once = [[float(number % 3 == 0)] for number in range(90)]
        assert clustered_mean([value * 4 for value in once]) == pytest.approx(clustered_mean(once), abs=0.003)

    def test_rounds_that_balance_each_other_do_not_count_for_more(self):
        balanced, free = [[1.0, 0.0]] * 50, [[float(number % 2)] for number in range(100)]
        assert clustered_mean(balanced) == pytest.approx(clustered_mean(free), abs=0.002)

    @given(PAIRS)
    def test_it_holds_the_mean_and_stays_in_its_range(self, clusters):
        values = [value for cluster in clusters for value in cluster]
        low, high = clustered_mean(clusters)
        assert 0 <= low <= sum(values) / len(values) + 1e-12
        assert sum(values) / len(values) - 1e-12 <= high <= 1
        assert low < high

    @given(PAIRS)
    def test_failures_have_the_interval_of_successes_turned_round(self, clusters):
        low, high = clustered_mean(clusters)
        turned = [[1 - value for value in cluster] for cluster in clusters]
        assert clustered_mean(turned) == pytest.approx((1 - high, 1 - low))

    def test_where_nothing_differs_a_cluster_is_one_round(self):
        assert clustered_mean([[0.0] * 5] * 20) == pytest.approx(clustered_mean([[0.0]] * 20))

    @pytest.mark.parametrize("clusters", [[], [[]], [[1.0, 0.0]]])
    def test_one_instance_says_nothing_of_others(self, clusters):
        assert clustered_mean(clusters) == (0.0, 1.0)

    def test_a_value_that_is_no_share_is_refused(self):
        with pytest.raises(ValueError, match="in \\[0, 1\\]"):
            clustered_mean([[1.5], [0.0]])

    @pytest.mark.parametrize("rate", [0.02, 0.1, 0.5])
    def test_it_covers_the_true_rate_of_correlated_pairs(self, rate):
        """Pairs that share a rate drawn from a beta distribution of mean `rate` have a correlation of 1/2."""
        rng, hits = np.random.default_rng(1), 0
        for _ in range(300):
            shared = rng.beta(rate, 1 - rate, 100)
            low, high = clustered_mean((rng.random((100, 2)) < shared[:, None]).astype(float).tolist())
            hits += low <= rate <= high
        assert hits / 300 > 0.92


class TestWelch:
    @given(st.integers(0, 1000), st.integers(2, 9), st.integers(2, 9))
    def test_it_is_that_of_scipy(self, seed, first, second):
        rng = np.random.default_rng(seed)
        a, b = rng.normal(0, 1, first), rng.normal(0.5, 3, second)
        ours, theirs = welch(a.tolist(), b.tolist()), scipy_stats.ttest_ind(b, a, equal_var=False)
        assert ours.p_value == pytest.approx(theirs.pvalue, rel=1e-6)
        assert ours.interval == pytest.approx(tuple(theirs.confidence_interval()), rel=1e-6, abs=1e-9)
        assert ours.estimate == pytest.approx(b.mean() - a.mean())

    def test_values_that_do_not_differ_have_no_interval_to_speak_of(self):
        assert welch([1, 1], [2, 2]).interval == (1.0, 1.0)
        assert (welch([1, 1], [1, 1]).p_value, welch([1, 1], [2, 2]).p_value) == (1.0, 0.0)

    def test_one_value_has_no_spread(self):
        with pytest.raises(ValueError, match="at least two values"):
            welch([1.0], [1.0, 2.0])


class TestPairs:
    @given(st.integers(0, 60), st.integers(0, 60))
    def test_mcnemar_is_the_binomial_test_of_scipy(self, first, second):
        expected = scipy_stats.binomtest(first, first + second).pvalue if first + second else 1.0
        assert mcnemar(first, second) == pytest.approx(expected)

    def test_the_bootstrap_of_free_pairs_is_close_to_the_interval_of_t(self):
        values = np.random.default_rng(4).normal(0.2, 1, 400).tolist()
        found, t = (
            paired_bootstrap([[value] for value in values], stream(1, "test")),
            scipy_stats.ttest_1samp(values, 0),
        )
        assert found.estimate == pytest.approx(np.mean(values))
        assert found.interval == pytest.approx(tuple(t.confidence_interval()), abs=0.01)
        assert found.p_value == pytest.approx(t.pvalue, abs=0.005)

    def test_pairs_of_one_instance_are_drawn_together(self):
        rng = random.Random(2)
        values = [rng.choice((-1.0, 0.0, 1.0)) for _ in range(200)]
        low, high = paired_bootstrap([[value] * 4 for value in values], stream(1, "test")).interval
        alone_low, alone_high = paired_bootstrap([[value] for value in values], stream(1, "test")).interval
        assert high - low == pytest.approx(alone_high - alone_low, rel=0.05)

    def test_flipping_signs_is_exact_for_few_instances(self):
        """All of five differences positive: 2 of 32 sign patterns are as extreme."""
        assert paired_bootstrap([[1.0]] * 5, stream(1, "test")).p_value == pytest.approx(2 / 32, abs=0.01)

    def test_the_same_stream_draws_the_same(self):
        rng = random.Random(2)
        values = [[rng.gauss(0.1, 1)] for _ in range(40)]
        first, again, other = (paired_bootstrap(values, stream(seed, "test")) for seed in (1, 1, 2))
        assert first == again
        assert first.interval != other.interval

    def test_one_instance_cannot_be_compared(self):
        with pytest.raises(ValueError, match="at least two instances"):
            paired_bootstrap([[1.0, 0.0]], stream(1, "test"))


class TestHolm:
    def test_a_worked_example(self):
        """4 x 0.005, 3 x 0.01, 2 x 0.03, and 0.04 is not below the one before."""
        assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))

    @given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
    def test_the_least_is_corrected_as_by_bonferroni_and_the_order_stays(self, p_values):
        corrected = holm(p_values)
        assert min(corrected) == min(1.0, len(p_values) * min(p_values))
        assert all(p_value <= found <= 1 for p_value, found in zip(p_values, corrected, strict=True))
        ranked = [found for _, found in sorted(zip(p_values, corrected, strict=True))]
        assert ranked == sorted(ranked)


class TestSampleSizes:
    @pytest.mark.parametrize(
        ("rate", "difference", "published"), [(0.5, 0.1, 388), (0.1, 0.1, 199), (0.6, 0.1, 356), (0.25, 0.15, 152)]
    )
    def test_rounds_are_those_of_fleiss_without_correction(self, rate, difference, published):
        assert abs(rounds_needed(rate, difference) - published) <= 1

    @pytest.mark.parametrize(("rate", "difference"), [(0.5, 0.1), (0.2, -0.1), (0.9, 0.05)])
    def test_so_many_rounds_show_the_difference_as_often_as_promised(self, rate, difference):
        rng, total = np.random.default_rng(3), rounds_needed(rate, difference)
        first = rng.binomial(total, rate, 20_000) / total
        second = rng.binomial(total, rate + difference, 20_000) / total
        middle = (first + second) / 2
        seen = np.abs(second - first) / np.sqrt(2 * middle * (1 - middle) / total) > 1.96
        assert seen.mean() == pytest.approx(0.8, abs=0.02)

    @pytest.mark.parametrize(("spread", "difference"), [(3, 5), (3, 3), (1, 1), (2, -0.7)])
    def test_so_many_seeds_show_the_difference_as_often_as_promised(self, spread, difference):
        def power(seeds):
            freedom, shift = 2 * seeds - 2, abs(difference) / spread * sqrt(seeds / 2)
            return scipy_stats.nct.sf(scipy_stats.t.ppf(0.975, freedom), freedom, shift)

        seeds = seeds_needed(spread, difference)
        assert power(seeds) >= 0.8
        assert power(seeds - 2) < 0.8

    def test_three_seeds_are_the_least(self):
        assert seeds_needed(0.0, 1.0) == seeds_needed(0.1, 10.0) == 3

    @pytest.mark.parametrize("wrong", [(0.5, 0.0), (0.0, 0.1), (0.9, 0.2)])
    def test_rates_that_cannot_be_are_refused(self, wrong):
        with pytest.raises(ValueError, match="rates must be different"):
            rounds_needed(*wrong)

    def test_a_difference_that_no_number_of_seeds_shows_is_refused(self):
        with pytest.raises(ValueError, match="too small"):
            seeds_needed(1.0, 1e-6)
        with pytest.raises(ValueError, match="is not 0"):
            seeds_needed(1.0, 0.0)

    def test_they_need_neither_numpy_nor_scipy(self):
        code = (
            "import sys; from gift_dsl.stats import *; rounds_needed(0.5, 0.1), seeds_needed(3, 5), "
            "clustered_mean([[1.0], [0.0]]); sys.exit(bool({'numpy', 'scipy'} & set(sys.modules)))"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class TestPairedScore:
    @staticmethod
    def pairs(only_first, only_second, total):
        return [[-1.0]] * only_first + [[1.0]] * only_second + [[0.0]] * (total - only_first - only_second)

    @staticmethod
    def score(only_first, only_second, total, difference):
        """The definition, with the estimate found by trying every share."""
        least = max(0.0, -difference)
        best, found = -inf, 0.0
        for step in range(1, 20_000):
            share = least + step * (1 - abs(difference)) / 2 / 20_000
            likelihood = only_first * log(share) + only_second * log(share + difference)
            likelihood += (total - only_first - only_second) * log(1 - 2 * share - difference)
            best, found = max((best, found), (likelihood, share))
        variance = total * (2 * found + difference * (1 - difference))
        return (only_second - only_first - total * difference) / sqrt(variance)

    @pytest.mark.parametrize("counts", [(2, 12, 50), (12, 2, 50), (1, 4, 20)])
    def test_its_bounds_are_where_the_score_test_rejects(self, counts):
        low, high = paired_score(self.pairs(*counts))
        assert self.score(*counts, low) == pytest.approx(1.96, abs=0.01)
        assert self.score(*counts, high) == pytest.approx(-1.96, abs=0.01)

    def test_pairs_that_never_differ_bound_the_difference_by_their_number(self):
        z = 1.959964
        bound = z**2 / (20 + z**2)
        assert paired_score(self.pairs(0, 0, 20)) == pytest.approx((-bound, bound), abs=1e-6)
        assert paired_score(self.pairs(0, 20, 20))[1] == 1.0

    @pytest.mark.parametrize(("total", "first", "second"), [(20, 0.02, 0.05), (10, 0.5, 0.5), (50, 0.9, 0.98)])
    def test_it_holds_the_true_difference_as_often_as_it_says(self, total, first, second):
        """Over every outcome that there is; a percentile bootstrap of 20 pairs at 2 % and 5 % does in 63 %."""
        lower, higher = first * (1 - second), second * (1 - first)
        covered = 0.0
        for b in range(total + 1):
            for c in range(total - b + 1):
                low, high = paired_score(self.pairs(b, c, total))
                ways = comb(total, b) * comb(total - b, c)
                if low <= second - first <= high:
                    covered += ways * lower**b * higher**c * (1 - lower - higher) ** (total - b - c)
        assert covered > 0.945

    def test_pairs_that_share_an_instance_say_less(self):
        alone = paired_score([[1.0]] * 20 + [[0.0]] * 60)
        shared = paired_score([[1.0] * 4] * 5 + [[0.0] * 4] * 15)
        assert shared[0] < alone[0]
        assert shared[1] > alone[1]
        assert paired_score([[0.0] * 4] * 5) == pytest.approx(tuple(sign * 0.606 for sign in (-1, 1)), abs=1e-3)

    def test_one_instance_says_nothing(self):
        assert paired_score([[1.0] * 9]) == (-1.0, 1.0)

    def test_other_differences_are_refused(self):
        with pytest.raises(ValueError, match="-1, 0 or 1"):
            paired_score([[0.5], [0.0]])

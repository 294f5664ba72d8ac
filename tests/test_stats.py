"""Bootstrap, permutation, Wilson, clusters."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats
from hypothesis import example, given, settings
from hypothesis import strategies as st

from homestretch.metrics.stats import (
    bootstrap_mean,
    cluster_means,
    flipped_means,
    p_values,
    paired_bootstrap,
    paired_permutation,
    resampled_means,
    swapped_means,
    wilson,
)

numbers = st.floats(-5, 5, allow_nan=False).map(lambda x: round(x, 3))
paired = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=9)


def test_permutation_of_the_sheet_is_exact():
    a, b = [0.1, 0.2, 0.3, -0.05], [0, 0, 0, 0]
    assert paired_bootstrap(a, b, seed=0).value == pytest.approx(0.1375)
    assert paired_permutation(a, b, seed=0) == 0.25


@settings(max_examples=50)
@given(paired)
@example([(1.812, -1.141), (1.812, 0), (1.266, 0), (-1.25, 0.5), (-1.25, -0.438), (-0.953, 0.469), (0, -1.406),
          (0.812, 0.938), (-3.312, 0)])  # fmt: skip
def test_exact_permutation_equals_scipy_and_does_not_care_about_order_or_direction(pairs):
    a, b = (np.array(x) for x in zip(*pairs, strict=True))
    p = paired_permutation(a, b, seed=0)
    # In whole thousandths, whose sums are exact in any order: ties that differ in the last bits are none to scipy.
    thousandths = np.round(1000 * (a - b))
    reference = scipy.stats.permutation_test((thousandths,), np.mean, permutation_type="samples", n_resamples=np.inf)
    assert p == pytest.approx(reference.pvalue)
    assert p == paired_permutation(b, a, seed=0) == paired_permutation(a[::-1], b[::-1], seed=0)


def test_sampled_permutation_is_near_the_exact_one_and_never_0():
    rng = np.random.default_rng(0)
    d = rng.normal(0.3, 1, 16)  # one more than is enumerated
    signs = 1 - 2 * (np.arange(2**16)[:, None] >> np.arange(16) & 1)
    exact = np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-12)
    assert paired_permutation(d, np.zeros(16), seed=1) == pytest.approx(exact, abs=0.015)
    assert paired_permutation(np.ones(100), np.zeros(100), seed=1) == 1 / 10_001
    assert paired_permutation(np.ones(100), np.ones(100), seed=1) == 1


@pytest.mark.parametrize("n", [3, 40])
def test_rows_that_change_arms_are_those_of_a_negative_sign_and_zeros_stay_zero(n):
    rng = np.random.default_rng(0)
    first, second = rng.random((n, 2)) / 3, np.zeros((n, 2))
    second[:, 1] = 1 / 7
    a, b = swapped_means(first, second, seed=4, resamples=500)
    assert a - b == pytest.approx(flipped_means(first - second, seed=4, resamples=500))
    assert a + b == pytest.approx(np.tile((first + second).mean(0), (len(a), 1)))
    if n == 3:  # all choices: also the one where everything has moved
        assert [list(x) for x in (a[0], b[-1])] == [pytest.approx(second.mean(0))] * 2
        assert (a[0, 0], b[-1, 0]) == (0, 0)


def test_bootstrap_agrees_with_the_normal_approximation_and_with_scipy():
    scores = np.random.default_rng(2).normal(10, 3, 400)
    mean, low, high = bootstrap_mean(scores, seed=0)
    half = 1.96 * scores.std() / 20
    assert mean == pytest.approx(scores.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.02)
    theirs = scipy.stats.bootstrap((scores,), np.mean, n_resamples=5000, method="percentile", rng=0)
    assert (low, high) == pytest.approx(tuple(theirs.confidence_interval), abs=0.03)
    narrower = bootstrap_mean(scores, seed=0, level=0.5)
    assert low < narrower.low < mean < narrower.high < high


def test_bootstrap_of_two_values_has_the_binomial_distribution():
    # n = 2 of the values 0 and 1: means 0, 1/2, 1 with probabilities 1/4, 1/2, 1/4
    means = resampled_means([0.0, 1.0], seed=5)
    assert [np.mean(means == m) for m in (0, 0.5, 1)] == pytest.approx([0.25, 0.5, 0.25], abs=0.02)


def test_same_seed_same_bits_and_columns_share_their_draws():
    block = np.random.default_rng(3).normal(size=(40, 3))
    means = resampled_means(block, seed=7, resamples=500)
    assert np.array_equal(means, resampled_means(block, seed=7, resamples=500))
    assert not np.array_equal(means, resampled_means(block, seed=8, resamples=500))
    assert means[:, 1] == pytest.approx(resampled_means(block[:, 1], seed=7, resamples=500))
    assert flipped_means(block, seed=7, resamples=500).shape == (500, 3)


def test_paired_difference_is_narrower_than_the_arms():
    rng = np.random.default_rng(4)
    base = rng.normal(0, 10, 200)
    better = base + 1 + rng.normal(0, 0.5, 200)
    interval = paired_bootstrap(better, base, seed=0)
    assert 0.9 < interval.low < interval.value < interval.high < 1.1


def test_wilson_by_hand():
    # z = 1.959964, n = 10, 0 successes: upper end z^2 / (n + z^2)
    assert wilson(0, 10) == pytest.approx((0, 0, 3.841459 / 13.841459), abs=1e-6)
    assert wilson(10, 10) == pytest.approx((1, 10 / 13.841459, 1), abs=1e-6)
    rate, low, high = wilson(5, 10)
    assert rate == 0.5 == pytest.approx((low + high) / 2)


def test_clusters_are_averaged_first():
    assert cluster_means([1, 3, 10], ["a", "b", "a"]).tolist() == [5.5, 3]
    assert cluster_means([[1, 2], [3, 4]], [7, 7]).tolist() == [[2, 3]]


def test_scores_that_cannot_be_used():
    with pytest.raises(ValueError, match="no scores"):
        bootstrap_mean([], seed=0)
    with pytest.raises(ValueError, match="finite"):
        bootstrap_mean([1, float("nan")], seed=0)
    with pytest.raises(ValueError, match="3 and 2"):
        paired_permutation([1, 2, 3], [1, 2], seed=0)
    with pytest.raises(ValueError, match="0 outputs"):
        wilson(0, 0)
    with pytest.raises(ValueError, match="finite"):
        p_values(0.5, np.array([0.5, float("nan"), 0.1]), n=40)
    with pytest.raises(ValueError, match="finite"):
        p_values(float("inf"), np.zeros(3), n=40)

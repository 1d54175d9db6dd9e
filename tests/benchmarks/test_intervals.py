import numpy as np
import pytest

from benchmarks.intervals import RESAMPLES, interval, level, resampled_means

RNG = np.random.default_rng(0)


def test_resampling_depends_on_the_seed_only():
    values = RNG.normal(size=30)
    first, again = resampled_means(values), resampled_means(values)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, resampled_means(values, seed=1))


def test_every_resampled_mean_is_one_of_as_many_draws():
    # Means of three draws from 0, 0, 1: k / 3, binomially distributed with p = 1/3.
    means = resampled_means(np.array([0.0, 0.0, 1.0]))
    assert means.shape == (RESAMPLES,)
    shares = [np.isclose(means, k / 3).mean() for k in range(4)]
    np.testing.assert_allclose(shares, [8 / 27, 12 / 27, 6 / 27, 1 / 27], atol=0.04)


def test_columns_are_resampled_alike():
    values = RNG.normal(size=(20, 1))
    means = resampled_means(np.hstack((values, 2 * values + 1)))
    np.testing.assert_allclose(means[:, 1], 2 * means[:, 0] + 1)


def test_the_interval_is_that_of_a_normal_mean():
    values = RNG.normal(5, 2, size=400)
    mean, low, high = interval(values)
    assert mean == values.mean()
    error = values.std() / np.sqrt(400)
    assert low == pytest.approx(mean - 1.96 * error, abs=0.02)
    assert high == pytest.approx(mean + 1.96 * error, abs=0.02)


def test_one_pair_has_an_interval_of_no_width():
    assert interval(np.array([0.25])) == (0.25, 0.25, 0.25)


def test_level_means_that_the_paired_difference_may_be_zero():
    reference = RNG.normal(0, 10, size=50)
    # Far less than the spread of the pairs, but of the same sign on each of them.
    assert not level(reference + 0.1, reference)
    assert not level(reference - 0.1, reference)
    assert level(reference + RNG.normal(0, 0.1, size=50), reference)
    assert level(reference, reference)

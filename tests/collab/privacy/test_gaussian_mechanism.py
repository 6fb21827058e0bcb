"""The analytic Gaussian mechanism: against a reference accountant, and by sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError
from scipy.stats import kstest

from collab.privacy.gaussian_mechanism import PrivacySettings, delta_of, noise_multiplier, standard_normal

KEY = bytes(range(32))


@pytest.mark.parametrize(
    ("epsilon", "delta"), [(0.01, 1e-6), (0.1, 1e-5), (0.5, 1e-8), (1, 1e-5), (3, 1e-5), (8, 1e-6), (50, 1e-9)]
)
def test_the_accountant_agrees_with_dp_accounting(epsilon, delta):
    """The privacy loss of the reference is a distribution on a grid, computed another way."""
    reference = pytest.importorskip("dp_accounting.pld.privacy_loss_distribution")
    sigma = noise_multiplier(epsilon, delta)
    loss = reference.from_gaussian_mechanism(sigma, value_discretization_interval=min(1e-3, epsilon / 100))
    assert loss.get_epsilon_for_delta(delta) == pytest.approx(epsilon, rel=0.01)
    assert loss.get_delta_for_epsilon(epsilon) == pytest.approx(delta_of(epsilon, sigma), rel=0.01)


def test_the_multiplier_is_the_least_that_keeps_the_promise():
    for epsilon, delta in ((0.05, 1e-7), (1, 1e-5), (20, 1e-3), (1000, 1e-5)):
        sigma = noise_multiplier(epsilon, delta)
        assert delta_of(epsilon, sigma) <= delta < delta_of(epsilon, sigma * (1 - 1e-9))


def test_published_values():
    """Equation 6 of the paper at the point where both arguments are known: epsilon sigma^2 = 1/2 gives Phi(0) = 1/2."""
    sigma = 0.7
    epsilon = 0.5 / sigma**2
    tail = 0.5 * math.erfc(1 / sigma / math.sqrt(2))
    assert delta_of(epsilon, sigma) == pytest.approx(0.5 - math.exp(epsilon) * tail, rel=1e-12)
    # the classical bound, sqrt(2 ln(1.25 / delta)) / epsilon, needs 30 % more
    assert noise_multiplier(1, 1e-5) == pytest.approx(3.730632, rel=1e-6)
    assert math.sqrt(2 * math.log(1.25e5)) / noise_multiplier(1, 1e-5) == pytest.approx(1.2986, rel=1e-3)


@pytest.mark.parametrize(("epsilon", "delta"), [(0, 1e-5), (-1, 1e-5), (1, 0), (1, 1), (math.nan, 0.1)])
def test_what_is_no_promise_is_refused(epsilon, delta):
    with pytest.raises(ValueError, match="expected epsilon > 0 and 0 < delta < 1"):
        noise_multiplier(epsilon, delta)


@pytest.mark.parametrize(
    "changes", [{"epsilon": 0}, {"epsilon": float("inf")}, {"delta": 1}, {"clip_norm": 0}, {"count_weight": -1}]
)
def test_settings_are_checked(changes):
    with pytest.raises(ValidationError):
        PrivacySettings(**{"epsilon": 1, "clip_norm": 1, **changes})


def test_noise_is_standard_normal_and_follows_from_its_key():
    draws = standard_normal(KEY, 200_000)
    assert kstest(draws, "norm").pvalue > 0.01
    assert abs(np.corrcoef(draws[1:], draws[:-1])[0, 1]) < 4 / math.sqrt(200_000)
    np.testing.assert_array_equal(draws, standard_normal(KEY, 200_000))
    other = standard_normal(bytes(32), 200_000)
    assert abs(np.corrcoef(draws, other)[0, 1]) < 4 / math.sqrt(200_000)


def test_the_noise_has_the_stated_scale():
    """Over 200 x 3 x 60 entries: a sample deviation has a relative standard error of 1 / sqrt(2 n)."""
    release = PrivacySettings(epsilon=2, delta=1e-6, clip_norm=5, count_weight=0.5).release(200)
    sums, counts = np.full((200, 3, 60), 7.0), np.full(3, 1000)
    noisy, _ = release.noisy(sums, counts, KEY)
    error = 1 / math.sqrt(2 * sums.size)
    expected = noise_multiplier(2, 1e-6) * math.sqrt(1.25) * 5 * math.sqrt(200)
    assert release.sum_deviation == pytest.approx(expected, rel=1e-12)
    assert (noisy - sums).std() == pytest.approx(expected, rel=4 * error)
    assert abs((noisy - sums).mean()) < 4 * expected / math.sqrt(sums.size)
    drawn = [release.noisy(sums[:1, :, :1], counts, index.to_bytes(32, "little"))[1] - 1000 for index in range(4000)]
    assert release.count_deviation == pytest.approx(noise_multiplier(2, 1e-6) * math.sqrt(1.25) / 0.5, rel=1e-12)
    rounded = math.hypot(release.count_deviation, 1 / math.sqrt(12))
    assert np.std(drawn) == pytest.approx(rounded, rel=4 / math.sqrt(2 * 12_000))
    assert release.noisy(sums, counts, KEY)[1].dtype == np.int64


def test_one_sample_moves_what_is_released_by_the_sensitivity_at_most():
    """In units of the noise: the distance of two neighbours is 1 / sigma, whatever the weight of the counts."""
    for weight in (0.1, 1.0, 3.0):
        release = PrivacySettings(epsilon=1, clip_norm=3, count_weight=weight).release(16)
        sample = np.zeros((16, 2, 5))
        sample[:, 1, 2] = 3.0  # as long as it may be under every network
        moved = math.hypot(
            float(np.linalg.norm(sample / release.sum_deviation)),
            float(np.linalg.norm([1.0 / release.count_deviation])),
        )
        assert moved == pytest.approx(1 / release.noise_multiplier, rel=1e-12)


def test_a_class_that_nobody_holds_is_told_from_one_that_is_held():
    release = PrivacySettings(epsilon=1, clip_norm=1).release(1)
    nobody, one = np.zeros((1, 2000, 1)), np.zeros(2000, dtype=np.int64)
    totals = sum(release.noisy(nobody, one, bytes([site]) * 32)[1] for site in range(5))
    above = (totals >= release.least_count(5)).mean()
    assert 0 < above < 0.004  # a normal draw exceeds three deviations once in 740 times

from __future__ import annotations

import numpy as np
import pytest

from simnet.draws import generator
from simnet.jitter import JITTER_DISTRIBUTIONS, Jitter, drawer, still

DRAWS = 40_000


def sample(distribution, *, latency_s=1.0):
    draw_s = drawer([Jitter(0.01, distribution)], latency_s, lambda: generator(1, "test", distribution))
    return np.array([draw_s() for _ in range(DRAWS)])


@pytest.mark.parametrize(
    ("distribution", "mean_s", "deviation_s", "lowest_s"),
    [
        ("uniform", 0.0, 0.01 / np.sqrt(3), -0.01),
        ("normal", 0.0, 0.01, -0.06),
        ("exponential", 0.01, 0.01, 0.0),
        # Lomax with shape 3 and scale 2 m has the mean m and the variance 3 m^2.
        ("pareto", 0.01, 0.01 * np.sqrt(3), 0.0),
    ],
)
def test_each_distribution_has_the_moments_that_its_name_promises(distribution, mean_s, deviation_s, lowest_s):
    drawn = sample(distribution)
    assert drawn.mean() == pytest.approx(mean_s, abs=3e-4)
    assert drawn.std() == pytest.approx(deviation_s, rel=0.1)
    assert drawn.min() >= lowest_s


def test_tails_are_in_the_order_of_their_names():
    furthest = [np.quantile(sample(name), 0.999) for name in ("uniform", "normal", "exponential", "pareto")]
    assert furthest == sorted(furthest)


@pytest.mark.parametrize("distribution", JITTER_DISTRIBUTIONS)
def test_no_message_is_early_by_more_than_the_latency(distribution):
    assert sample(distribution, latency_s=0.005).min() >= -0.005


def test_jitters_of_a_path_add_up():
    draws = [Jitter(0.01), Jitter(0.02, "exponential")]
    total_s = drawer(draws, 1.0, lambda: generator(3, "sum"))()
    apart = generator(3, "sum")
    assert total_s == apart.uniform(-0.01, 0.01) + apart.exponential(0.02)


def test_without_jitter_no_generator_is_made():
    assert drawer([], 1.0, lambda: pytest.fail("nothing is drawn")) is still
    assert still() == 0.0

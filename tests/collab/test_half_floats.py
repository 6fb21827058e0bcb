"""By their bits or by their values: the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from collab.half_floats import extremes, multiples

EVERY = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
FINITE = EVERY[np.isfinite(EVERY)]


def test_extremes_are_those_of_the_values():
    draws = np.random.default_rng(1)
    assert extremes(FINITE) == (-65504.0, 65504.0)
    for size in (1, 2, 1000, 200_000):
        values = draws.standard_normal(size).astype(np.float16)
        assert extremes(values) == (values.min(), values.max())
    assert extremes(np.zeros((3, 4, 5), np.float16)) == (0.0, 0.0)
    for value in FINITE[::7]:
        assert extremes(np.array([value])) == (value, value)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf, -np.nan])
@pytest.mark.parametrize("place", [0, 70_000, 99_999])
def test_one_number_that_is_not_finite_is_found(odd, place):
    values = np.ones(100_000, np.float16)
    values[place] = odd
    assert extremes(values) is None


def test_every_half_is_an_exact_multiple():
    whole = multiples()[FINITE.view(np.uint16)]
    assert np.array_equal(whole * 2.0**-24, FINITE.astype(np.float64))
    assert whole.max() == 65504 * 2**24
    assert (multiples()[EVERY[~np.isfinite(EVERY)].view(np.uint16)] == 0).all()

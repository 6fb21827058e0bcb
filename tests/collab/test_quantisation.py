"""Numbers of 8 and 4 bits: how far off they are, and what comes of vectors that are hard to scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from collab import quantisation, wire
from collab.quantisation import as_section, levels, numbers, quantised, restored, size_bytes

VECTORS = hnp.arrays(
    np.float32, (3, 2, 11), elements=st.floats(-1000, 1000, width=32, allow_subnormal=True)
)  # fmt: skip
QUANTISED = ["int8", "int4"]
SMALLEST = 2.0**-149 * 255  # what rounding a step to the smallest float32 may cost


def over_the_wire(section):
    return wire.unpack(wire.pack(wire.Content({}, {"embeddings": section}))).sections["embeddings"]


@given(VECTORS, st.sampled_from(QUANTISED))
@example(np.full((3, 2, 11), 2.0**-149, np.float32) * (np.arange(11) == 0), "int8")
def test_no_value_is_off_by_more_than_half_a_step(values, dtype):
    section = over_the_wire(as_section("means", values, dtype))
    steps = section["steps"].values().astype(np.float64)
    # Of low and step to float32, which has a smallest number, too.
    rounding = (2.0**-23 * np.abs(values.astype(np.float64)).max(axis=-1) + 2.0**-150) * levels(dtype)
    error = np.abs(numbers(section, "means") - values).max(axis=-1)
    assert (error <= steps / 2 + rounding).all()
    assert section["lows"].shape == section["steps"].shape == (3, 2)


@given(VECTORS, st.sampled_from(QUANTISED))
def test_quantising_again_changes_nothing_more_than_rounding(values, dtype):
    once = restored(*quantised(values, dtype))
    codes, _, _ = quantised(once, dtype)
    # Where a step is lost in the digits of the value, codes may shift; what they stand for may not.
    np.testing.assert_allclose(
        restored(codes, *quantised(once, dtype)[1:]), once, atol=1e-6 * np.abs(values).max() + SMALLEST
    )


@pytest.mark.parametrize("dtype", QUANTISED)
@pytest.mark.parametrize("value", [0.0, 1.5, -2.25, 1e-30])
def test_vectors_of_equal_values_are_exact(dtype, value):
    values = np.full((2, 9), value, np.float32)
    _, _, steps = quantised(values, dtype)
    assert (steps == 0).all()
    np.testing.assert_array_equal(restored(*quantised(values, dtype)), values.astype(np.float64))


@pytest.mark.parametrize(("dtype", "bound"), [("int8", 0.002), ("int4", 0.034)])
@pytest.mark.parametrize("size", [0.02, 1.0, 300.0])
def test_the_error_is_relative_to_the_vector_so_alexnets_are_no_worse(dtype, bound, size):
    """AlexNet's embeddings are about 0.02, twenty times smaller than a ConvNet's."""
    values = size * np.abs(np.random.default_rng(0).normal(size=(4, 500))).astype(np.float32)
    error = np.abs(restored(*quantised(values, dtype)) - values).max()
    assert error <= bound * values.max()


def test_ends_and_middle_by_hand():
    codes, lows, steps = quantised(np.array([[-1.0, 0.0, 2.0]], np.float32), "int4")
    assert (codes.tolist(), lows.tolist(), steps.tolist()) == ([[0, 5, 15]], [-1.0], [pytest.approx(0.2)])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", QUANTISED)
def test_what_is_not_finite_shows_in_the_range(bad, dtype):
    values = np.ones((2, 4), np.float32)
    values[1, 2] = bad
    codes, lows, steps = quantised(values, dtype)
    assert np.isfinite(lows[0]), np.isfinite(steps[0])
    assert not (np.isfinite(lows[1]) and np.isfinite(steps[1]))
    assert codes.max() <= levels(dtype)


@given(hnp.arrays(np.float32, (2, 3, 4, 4), elements=st.floats(-3, 3.5, width=32)))
def test_images_have_one_range_each(images):
    section = as_section("images", images, "uint8", axes=3)
    assert section["lows"].shape == (2,)
    np.testing.assert_allclose(numbers(section, "images"), images, atol=6.5 / 255 / 2 + 1e-5)


@given(st.sampled_from(list(quantisation.BITS)), st.integers(0, 7), st.integers(1, 9))
def test_bytes_by_the_formula(dtype, vectors, length):
    section = as_section("x", np.ones((vectors, length), np.float32), dtype) if vectors else {}
    assert sum(tensor.size_bytes for tensor in section.values()) == size_bytes(dtype, vectors * length, vectors)


def test_nothing_is_quantised_to_nothing():
    section = as_section("images", np.zeros((0, 1, 4, 4), np.float32), "uint8", axes=3)
    assert numbers(section, "images").shape == (0, 1, 4, 4)

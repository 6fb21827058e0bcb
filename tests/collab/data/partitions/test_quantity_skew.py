from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collab.data.partitions import quantity_skew
from collab.errors import PartitionError
from simnet.draws import generator
from tests.collab.data.partitions.counting import ANY_LABELS, LABELS, SEEDS, assert_complete, class_counts, sizes


@settings(deadline=None, max_examples=60)
@given(ANY_LABELS, st.integers(1, 40), st.floats(0.001, 1000), st.integers(0, 5), SEEDS)
def test_everybody_holds_the_minimum(labels, clients, beta, minimum, seed):
    assume(clients * max(minimum, 1) <= len(labels))
    parts = quantity_skew.divide(labels, clients, beta, minimum, generator(seed))
    assert len(parts) == clients
    assert_complete(parts, labels)
    assert sizes(parts).min() >= minimum


@pytest.mark.parametrize("beta", [0.2, 0.5, 5.0])
def test_sizes_are_dirichlet(beta):
    """Shares of the 19,000 samples beyond the minimum: their mean is 1/K, their variance that of Beta(b, (K - 1) b)."""
    labels = np.zeros(20_000, dtype=np.int64)
    drawn = [sizes(quantity_skew.divide(labels, 10, beta, 100, generator(seed))) for seed in range(200)]
    shares = (np.array(drawn) - 100) / 19_000
    np.testing.assert_allclose(shares.mean(), 0.1)
    np.testing.assert_allclose(shares.var(), 0.1 * 0.9 / (10 * beta + 1), rtol=0.15)


def test_the_mixture_of_classes_is_that_of_the_whole():
    labels = np.repeat([0, 1, 2], [2000, 3000, 5000])
    parts = quantity_skew.divide(labels, 4, 0.5, 500, generator(1))
    counts = class_counts(parts, labels)
    expected = counts.sum(axis=1, keepdims=True) * [0.2, 0.3, 0.5]
    chi_square = ((counts - expected) ** 2 / expected).sum()
    assert chi_square < 22.5  # 0.1 % of chi-square with 6 degrees of freedom
    assert sizes(parts).max() > 1.5 * sizes(parts).min()


def test_impossible_divisions_are_named():
    with pytest.raises(PartitionError) as caught:
        quantity_skew.divide(LABELS, 10, 0.5, 101, generator(0))
    assert str(caught.value) == (
        "10 clients with 101 samples at least need 1010, but there are 1000 training samples; "
        "set partition.minimum_samples to 100 or less, or lower partition.clients"
    )
    with pytest.raises(PartitionError, match="1001 clients cannot share 1000 training samples"):
        quantity_skew.divide(LABELS, 1001, 0.5, 0, generator(0))
    with pytest.raises(PartitionError, match="beta is 0"):
        quantity_skew.divide(LABELS, 5, 0, 0, generator(0))

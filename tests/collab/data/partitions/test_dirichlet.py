from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from collab.data.partitions import dirichlet
from collab.errors import PartitionError
from simnet.draws import generator
from tests.collab.data.partitions.counting import ANY_LABELS, LABELS, SEEDS, assert_complete, class_counts


@settings(deadline=None, max_examples=60)
@given(ANY_LABELS, st.integers(1, 30), st.floats(0.001, 1000), SEEDS)
def test_it_loses_nothing(labels, clients, beta, seed):
    assume(clients <= len(labels))
    parts = dirichlet.divide(labels, clients, beta, generator(seed))
    assert len(parts) == clients
    assert_complete(parts, labels)


@pytest.mark.parametrize(("clients", "beta"), [(5, 0.1), (5, 0.5), (20, 0.3), (3, 10.0)])
def test_in_the_large_shares_are_dirichlet(clients, beta):
    """A share of a class is distributed as Beta(beta, (K - 1) beta): its mean and its variance over 600 classes."""
    labels = np.repeat(np.arange(600), 500)
    shares = class_counts(dirichlet.divide(labels, clients, beta, generator(0, "large")), labels) / 500
    np.testing.assert_allclose(shares.sum(axis=0), 1)
    mean, variance = 1 / clients, (1 / clients) * (1 - 1 / clients) / (clients * beta + 1)
    np.testing.assert_allclose(shares.mean(axis=1), mean, atol=4 * np.sqrt(variance / 600))  # four standard errors
    np.testing.assert_allclose(shares.var(), variance, rtol=0.1)
    correlations = np.corrcoef(shares)[np.triu_indices(clients, 1)]
    np.testing.assert_allclose(correlations.mean(), -1 / (clients - 1), atol=1e-2)


def test_a_client_may_lack_a_class():
    assert (class_counts(dirichlet.divide(LABELS, 5, 0.1, generator(1)), LABELS) == 0).any()


def test_a_class_of_no_samples_is_no_class():
    labels = np.array([0, 4, 4, 4])
    assert class_counts(dirichlet.divide(labels, 2, 1.0, generator(0)), labels).sum(axis=0).tolist() == [1, 0, 0, 0, 3]


@pytest.mark.parametrize("beta", [0.0, -1.0, float("nan"), float("inf")])
def test_a_beta_that_is_none(beta):
    with pytest.raises(PartitionError, match=r"beta is .*; expected a positive number"):
        dirichlet.divide(LABELS, 5, beta, generator(0))


def test_a_beta_beyond_what_can_be_drawn():
    with pytest.raises(PartitionError, match=r"beta = 1e\+308 is too extreme for 50 clients: .* add up to 0; expected"):
        dirichlet.divide(LABELS, 50, 1e308, generator(0))


def test_more_clients_than_samples():
    with pytest.raises(PartitionError, match="1001 clients cannot share 1000 training samples"):
        dirichlet.divide(LABELS, 1001, 0.1, generator(0))

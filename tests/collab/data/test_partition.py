from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.data import partition
from collab.errors import PartitionError
from simnet.draws import generator

LABELS = np.repeat(np.arange(10), 100)


def assert_complete(parts, labels):
    """Every sample belongs to exactly one client."""
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(labels)))


def class_counts(parts, labels):
    return np.array([np.bincount(labels[part], minlength=labels.max() + 1) for part in parts])


@given(st.integers(1, 50), st.integers(0, 5))
def test_iid_parts_are_of_equal_size(clients, seed):
    parts = partition.iid(LABELS, clients, generator(seed))
    assert_complete(parts, LABELS)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1


@given(st.integers(1, 30), st.floats(0.01, 100), st.integers(0, 5))
def test_dirichlet_loses_nothing(clients, beta, seed):
    parts = partition.dirichlet(LABELS, clients, beta, generator(seed))
    assert len(parts) == clients
    assert_complete(parts, LABELS)


def test_beta_sets_the_skew():
    def largest_share(beta):
        counts = class_counts(partition.dirichlet(LABELS, 5, beta, generator(1)), LABELS)
        return (counts / counts.sum(axis=0)).max(axis=0).mean()

    assert largest_share(0.1) > 0.75
    assert largest_share(1000.0) < 0.25


def test_a_site_may_lack_a_class():
    assert (class_counts(partition.dirichlet(LABELS, 5, 0.1, generator(1)), LABELS) == 0).any()


@given(st.sampled_from([0.1, 0.3, 0.5]), st.integers(0, 5))
def test_the_published_split_guarantees_every_class(beta, seed):
    parts = partition.dirichlet_guaranteed(LABELS, 5, beta, 6, generator(seed))
    assert_complete(parts, LABELS)
    assert class_counts(parts, LABELS).min() >= 6


def test_the_published_split_caps_the_largest_client():
    # A client that holds an even share (200) of the rest gets nothing more of the next classes.
    parts = partition.dirichlet_guaranteed(LABELS, 5, 0.1, 0, generator(3))
    assert max(map(len, parts)) < 200 + 100


def test_the_same_seed_gives_the_same_split():
    first, second = (partition.dirichlet(LABELS, 7, 0.3, generator(4)) for _ in range(2))
    assert all((a == b).all() for a, b in zip(first, second, strict=True))


def test_impossible_divisions_are_named():
    with pytest.raises(PartitionError, match="1001 clients cannot share 1000 training samples"):
        partition.iid(LABELS, 1001, generator(0))
    with pytest.raises(PartitionError, match="class 0 has 100 samples, but 5 clients with 21 guaranteed"):
        partition.dirichlet_guaranteed(LABELS, 5, 0.1, 21, generator(0))
    with pytest.raises(PartitionError, match=r"no draw of 1000 gave each of 60 clients 10 samples at beta = 0\.01"):
        partition.dirichlet_guaranteed(LABELS, 60, 0.01, 0, generator(0))

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.partitions import pathological
from collab.errors import PartitionError
from simnet.draws import generator
from tests.collab.data.partitions.counting import ANY_LABELS, LABELS, SEEDS, assert_complete, class_counts, sizes


@settings(deadline=None, max_examples=60)
@given(ANY_LABELS, st.data(), SEEDS)
def test_nobody_holds_more_classes_than_it_should(labels, data, seed):
    classes = len(set(labels.tolist()))
    each = data.draw(st.integers(1, classes), label="classes per client")
    clients = data.draw(st.integers(-(-classes // each), len(labels)), label="clients")
    parts = pathological.divide(labels, clients, each, generator(seed))
    assert_complete(parts, labels)
    held = (class_counts(parts, labels) > 0).sum(axis=1)
    assert held.max() <= each
    assert held.min() >= 1
    if np.bincount(labels)[np.unique(labels)].min() >= clients:  # enough of every class for all who should hold it
        assert (held == each).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(10, 60), st.integers(1, 10), SEEDS)
def test_with_classes_of_equal_size_shards_are_of_equal_size(clients, each, seed):
    parts = pathological.divide(LABELS, clients, each, generator(seed))
    counts = class_counts(parts, LABELS)
    shards = (counts > 0).sum(axis=0)
    assert shards.sum() == clients * each
    assert shards.max() - shards.min() <= 1
    for label in range(10):
        of_class = counts[:, label][counts[:, label] > 0]
        assert of_class.max() - of_class.min() <= 1


def test_a_larger_class_is_held_by_more_clients():
    labels = np.repeat([0, 1, 2], [100, 300, 600])
    counts = class_counts(pathological.divide(labels, 10, 1, generator(0)), labels)
    assert (counts > 0).sum(axis=0).tolist() == [1, 3, 6]
    assert sizes(pathological.divide(labels, 10, 1, generator(0))).tolist() == [100] * 10


def test_a_class_of_few_samples_finds_as_many_clients_as_it_has_samples():
    labels = np.repeat([0, 1], [2, 100])
    counts = class_counts(pathological.divide(labels, 10, 2, generator(0)), labels)
    assert (counts > 0).sum(axis=0).tolist() == [2, 10]
    assert counts[:, 0].max() == 1


def test_as_in_the_literature():
    """100 clients with two of ten digits each: every pair of classes occurs, 10 samples of each class a client."""
    labels = np.repeat(np.arange(10), 200)
    counts = class_counts(pathological.divide(labels, 100, 2, generator(2)), labels)
    assert (np.sort(counts, axis=1)[:, -2:] == 10).all()
    pairs = {tuple(np.flatnonzero(row)) for row in counts}
    assert len(pairs) > 30  # of 45; 100 draws of 45 leave 40 of them seen


def test_one_client_holds_everything():
    assert_complete(pathological.divide(LABELS, 1, 10, generator(0)), LABELS)


def test_more_clients_than_are_drawn_for_at_once():
    labels = np.repeat(np.arange(5), 2000)
    counts = class_counts(pathological.divide(labels, 5000, 2, generator(0)), labels)
    assert ((counts > 0).sum(axis=1) == 2).all()
    assert counts.sum() == 10_000


@pytest.mark.parametrize(
    ("clients", "each", "message"),
    [
        (5, 11, "11 classes per client, but the training samples have 10; "
                "set partition.classes_per_client to 1 ... 10"),
        (5, 0, "0 classes per client, but"),
        (3, 2, "3 clients with 2 classes each can hold 6 of 10 classes, and the rest would be lost; "
               "set partition.classes_per_client to 4 or partition.clients to 5 at least"),
        (1001, 2, "1001 clients cannot share 1000 training samples"),
    ],
)  # fmt: skip
def test_impossible_divisions_are_named(clients, each, message):
    with pytest.raises(PartitionError) as caught:
        pathological.divide(LABELS, clients, each, generator(0))
    assert message in str(caught.value)

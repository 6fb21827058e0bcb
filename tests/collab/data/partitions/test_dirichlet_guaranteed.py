from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collab.data.partitions import dirichlet_guaranteed
from collab.errors import PartitionError
from simnet.draws import generator
from tests.collab.data.partitions.counting import LABELS, SEEDS, assert_complete, class_counts, sizes


def transcribed(labels, clients, beta, guaranteed, draws):
    """The rule, sample by sample: what a client holds is a list, and nothing is computed that is not dealt."""
    piles = {label: list(draws.permutation(np.flatnonzero(labels == label))) for label in sorted(set(labels.tolist()))}
    fixed = [[] for _ in range(clients)]
    for pile in piles.values():
        for client in range(clients):
            for _ in range(guaranteed):
                fixed[client].append(pile.pop(0))
    least = min(10, sum(map(len, piles.values())) // clients)
    while True:
        drawn = [[] for _ in range(clients)]
        for pile in piles.values():
            shares = draws.dirichlet(np.full(clients, beta))
            full = [len(own) >= len(labels) / clients for own in drawn]
            shares = np.where(full, 0.0, shares)
            if not shares.any():
                break
            rest, total, dealt = draws.permutation(pile), 0.0, 0
            for client, share in enumerate(shares / shares.sum()):
                total += share
                upto = len(pile) if client == clients - 1 else int(total * len(pile))
                drawn[client] += list(rest[dealt:upto])
                dealt = upto
        else:
            if min(map(len, drawn)) >= least:
                return [sorted(a + b) for a, b in zip(fixed, drawn, strict=True)]


@pytest.mark.parametrize(("clients", "beta", "guaranteed"), [(5, 0.1, 6), (5, 0.5, 0), (4, 0.3, 20), (12, 1.0, 1)])
def test_it_is_the_published_rule(clients, beta, guaranteed):
    for seed in range(3):
        parts = dirichlet_guaranteed.divide(LABELS, clients, beta, guaranteed, generator(seed))
        expected = transcribed(LABELS, clients, beta, guaranteed, generator(seed))
        assert [part.tolist() for part in parts] == expected


@settings(deadline=None, max_examples=40)  # a skewed draw is repeated until nobody is left with little
@given(st.sampled_from([0.1, 0.3, 0.5]), st.integers(0, 10), SEEDS)
def test_everybody_holds_the_guaranteed_samples_of_every_class(beta, guaranteed, seed):
    parts = dirichlet_guaranteed.divide(LABELS, 5, beta, guaranteed, generator(seed))
    assert_complete(parts, LABELS)
    assert class_counts(parts, LABELS).min() >= guaranteed
    assert sizes(parts).min() >= 10 * guaranteed + min(10, (1000 - 50 * guaranteed) // 5)


def test_the_largest_client_is_capped():
    # A client that holds an even share (200) of the rest gets nothing more of the next classes.
    parts = dirichlet_guaranteed.divide(LABELS, 5, 0.1, 0, generator(3))
    assert sizes(parts).max() < 200 + 100


def test_impossible_divisions_are_named():
    with pytest.raises(PartitionError, match="class 0 has 100 samples, but 5 clients with 21 guaranteed each need 105"):
        dirichlet_guaranteed.divide(LABELS, 5, 0.1, 21, generator(0))
    one_class = np.zeros(200, dtype=np.int64)
    with pytest.raises(PartitionError, match=r"no draw of 1000 gave each of 15 clients 10 samples at beta = 0\.01"):
        dirichlet_guaranteed.divide(one_class, 15, 0.01, 0, generator(0))
    with pytest.raises(PartitionError, match="1001 clients cannot share 1000 training samples"):
        dirichlet_guaranteed.divide(LABELS, 1001, 0.1, 0, generator(0))

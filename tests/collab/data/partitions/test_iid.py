from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.data.partitions import iid
from collab.errors import PartitionError
from simnet.draws import generator
from tests.collab.data.partitions.counting import LABELS, SEEDS, assert_complete, sizes


@given(st.integers(1, 50), SEEDS)
def test_parts_are_of_equal_size(clients, seed):
    parts = iid.divide(LABELS, clients, generator(seed))
    assert len(parts) == clients
    assert_complete(parts, LABELS)
    assert sizes(parts).max() - sizes(parts).min() <= 1


def test_more_clients_than_samples():
    assert sizes(iid.divide(LABELS, 1000, generator(0))).tolist() == [1] * 1000
    with pytest.raises(PartitionError, match=r"1001 clients cannot share 1000 training samples; lower partition\.cl"):
        iid.divide(LABELS, 1001, generator(0))

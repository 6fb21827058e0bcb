from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collab.data.partitions import by_column
from collab.errors import PartitionError
from tests.collab.data.partitions.counting import assert_complete


@given(st.lists(st.sampled_from(["north", "south", "ward 2", "ward 10", ""]), min_size=1))
def test_every_site_is_a_client(names):
    sites = np.array(names)
    parts = by_column.divide(sites, len(set(names)))
    assert_complete(parts, sites)
    assert [set(sites[part].tolist()) for part in parts] == [
        {name} for name in ("", "north", "south", "ward 2", "ward 10") if name in names
    ]


def test_the_number_of_clients_must_be_that_of_the_sites():
    sites = np.array(["b", "a", "c", "a"])
    with pytest.raises(PartitionError) as caught:
        by_column.divide(sites, 5)
    assert str(caught.value) == (
        "partition.clients is 5, but the training samples come from 3 sites (a, b, c); set partition.clients to 3"
    )
    with pytest.raises(PartitionError, match=r"from 30 sites \(0, 1, 2, .*, 19, \.\.\.\); set partition.clients to 30"):
        by_column.divide(np.array([str(number) for number in range(30)]), 5)
    with pytest.raises(PartitionError, match=r"from 1 site \(a\)"):
        by_column.divide(np.array(["a"]), 5)


def test_samples_without_sites():
    with pytest.raises(PartitionError, match="needs samples that name their site, and this data set has none"):
        by_column.divide(None, 5)

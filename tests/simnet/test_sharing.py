"""Each test states the equations, then the numbers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.sharing import max_min, share


def solve(capacity, paths, weight=None, limit=None):
    start = np.concatenate(([0], np.cumsum([len(path) for path in paths]))).astype(np.int64)
    links = np.array([link for path in paths for link in path], dtype=np.int64)
    return max_min(
        np.array(capacity, dtype=float),
        start,
        links,
        None if weight is None else np.array(weight, dtype=float),
        None if limit is None else np.array(limit, dtype=float),
    )


def test_one_link_is_shared_evenly():
    # x1 + x2 + x3 = 9, all equal: 3 each.
    assert solve([9], [[0], [0], [0]]).tolist() == [3, 3, 3]


def test_the_line_network_of_bertsekas_and_gallager():
    # Links of capacity 1, 1, 1; flow 0 over all, flows 1 to 3 over one each; link 2 also carries flow 4.
    # Link 2: x0 + x3 + x4 = 1, so x0 = x3 = x4 = 1/3; then x1 = x2 = 1 - 1/3.
    rates = solve([1, 1, 1], [[0, 1, 2], [0], [1], [2], [2]])
    assert rates == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1 / 3, 1 / 3])


def test_what_a_narrow_flow_leaves_goes_to_the_others():
    # Flow 0 is held to 2 by link 1. Link 0: 2 + x1 + x2 = 10, x1 = x2 = 4.
    assert solve([10, 2], [[0, 1], [0], [0]]).tolist() == [2, 4, 4]


def test_weights_share_in_proportion():
    # x1 / 1 = x2 / 3, x1 + x2 = 8.
    assert solve([8], [[0], [0]], weight=[1, 3]).tolist() == [2, 6]


def test_a_limit_holds_a_flow_back():
    # x1 <= 1; the rest of 10 is for x2.
    assert solve([10], [[0], [0]], limit=[1, np.inf]).tolist() == [1, 9]


def test_a_flow_within_a_host_is_unlimited():
    assert solve([10], [[], [0]]).tolist() == [np.inf, 10]


def test_a_row_may_stand_for_many():
    # 3 x0 + x1 = 8, both equal: 2 each.
    start, links = np.array([0, 1, 2]), np.array([0, 0])
    assert max_min(np.array([8.0]), start, links, count=np.array([3.0, 1.0])).tolist() == [2, 2]


def test_no_flows():
    assert solve([10], []).tolist() == []


@st.composite
def networks(draw):
    links = draw(st.integers(1, 6))
    capacity = draw(st.lists(st.floats(0.5, 100), min_size=links, max_size=links))
    path = st.lists(st.integers(0, links - 1), min_size=1, max_size=links, unique=True)
    paths = draw(st.lists(path, min_size=1, max_size=8))
    weight = draw(st.lists(st.floats(0.1, 10), min_size=len(paths), max_size=len(paths)))
    return capacity, paths, weight


@given(networks())
def test_every_flow_has_a_bottleneck(network):
    """The definition of max-min fairness: a full link on which no flow has a higher level than this one."""
    capacity, paths, weight = network
    rates = solve(capacity, paths, weight)
    load = np.zeros(len(capacity))
    for rate, path in zip(rates, paths, strict=True):
        load[path] += rate
    assert (load <= np.array(capacity) * (1 + 1e-9)).all()
    level = rates / np.array(weight)
    for flow, path in enumerate(paths):
        assert any(
            load[link] >= capacity[link] * (1 - 1e-6)
            and level[flow] >= max(level[other] for other, way in enumerate(paths) if link in way) * (1 - 1e-6)
            for link in path
        )


@given(networks(), st.floats(0.01, 100))
def test_scaling_all_capacities_scales_all_rates(network, factor):
    capacity, paths, weight = network
    scaled = solve([factor * value for value in capacity], paths, weight)
    assert scaled == pytest.approx(factor * solve(capacity, paths, weight), rel=1e-6)


@dataclass
class Row:
    """A competitor in the simplest form."""

    links: tuple[int, ...]
    weight: float
    limit: float
    count: int

    @property
    def level(self):
        return self.limit / self.weight


rows = st.lists(
    st.builds(
        Row,
        st.lists(st.integers(0, 3), max_size=3, unique=True).map(tuple),
        st.sampled_from([0.5, 1.0, 1.7]),
        st.sampled_from([0.3, 1.0, 4.0, 50.0]),
        st.integers(1, 5),
    ),
    min_size=1,
    max_size=8,
)


@given(rows, st.booleans())
def test_the_short_ways_lead_to_the_same_shares(competitors, one_link_each):
    if one_link_each:
        competitors = [Row(row.links[:1], row.weight, row.limit, row.count) for row in competitors]
    capacity = {0: 10.0, 1: 3.0, 2: 7.5, 3: 1.0}
    paths = [row.links for row in competitors]
    start = np.concatenate(([0], np.cumsum([len(path) for path in paths]))).astype(np.int64)
    expected = max_min(
        np.array(list(capacity.values())),
        start,
        np.array([link for path in paths for link in path], dtype=np.int64),
        np.array([row.weight for row in competitors]),
        np.array([row.limit for row in competitors]),
        np.array([row.count for row in competitors], dtype=float),
    )
    assert share(capacity, competitors) == pytest.approx(expected.tolist())

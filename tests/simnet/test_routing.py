from __future__ import annotations

import heapq
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.errors import TopologyError
from simnet.routing import Routes


@dataclass(frozen=True)
class Edge:
    a: str
    b: str
    latency_s: float


@st.composite
def networks(draw):
    """Nodes of which some are hosts, and links between them whose latencies often tie; perhaps in pieces."""
    nodes = [f"n{index}" for index in range(draw(st.integers(2, 9)))]
    pairs = st.tuples(st.sampled_from(nodes), st.sampled_from(nodes)).filter(lambda pair: pair[0] != pair[1])
    latencies = st.sampled_from([0.0, 0.1, 0.2, 0.3, 0.7])
    links = draw(st.lists(st.builds(lambda ends, latency_s: Edge(*ends, latency_s), pairs, latencies), max_size=16))
    hosts = [node for node in nodes if draw(st.booleans())]
    return nodes, hosts, links


def best(links, source):
    """Latency in tenths and number of links of the best way to every node, by a search that knows no short cuts."""
    reached, frontier = {}, [(0, 0, source)]
    while frontier:
        tenths, hops, node = heapq.heappop(frontier)
        if node in reached:
            continue
        reached[node] = (tenths, hops)
        for link in links:
            for near, far in ((link.a, link.b), (link.b, link.a)):
                if near == node:
                    heapq.heappush(frontier, (tenths + round(10 * link.latency_s), hops + 1, far))
    return reached


def ends(link, directed):
    return (link.b, link.a) if directed % 2 else (link.a, link.b)


@given(networks())
def test_every_route_is_a_best_one_and_the_same_both_ways(network):
    nodes, hosts, links = network
    routes = Routes(hosts, links)
    for source in nodes:
        reached = best(links, source)
        for target in nodes:
            if target not in reached:
                with pytest.raises(TopologyError, match=f"no route from {source} to {target}"):
                    routes.between(source, target)
                continue
            way = routes.between(source, target)
            node, tenths = source, 0
            for directed in way:
                near, far = ends(links[directed // 2], directed)
                assert near == node
                node, tenths = far, tenths + round(10 * links[directed // 2].latency_s)
            assert node == target
            assert (tenths, len(way)) == reached[target]
            assert routes.between(target, source) == tuple(directed ^ 1 for directed in reversed(way))


def test_sums_that_floats_get_wrong_still_tie():
    """0.1 + 0.2 is more than 0.3 in floats; a link of 0.3 s ties with two of them and wins by being one."""
    links = [Edge("a", "x", 0.1), Edge("x", "b", 0.2), Edge("a", "y", 0.15), Edge("y", "b", 0.15), Edge("a", "b", 0.3)]
    assert Routes(["a", "b"], links).between("a", "b") == (8,)


def test_what_was_asked_before_changes_no_route():
    square = [Edge("a", "x", 1), Edge("a", "y", 1), Edge("x", "b", 1), Edge("y", "b", 1), Edge("x", "c", 1)]
    fresh, used = Routes(["a", "b", "c"], square), Routes(["a", "b", "c"], square)
    for source in "abcxy":
        for target in "abcxy":
            used.between(source, target)
    assert fresh.between("a", "b") == used.between("a", "b")


def test_the_nearer_of_two_parallel_links_is_taken():
    assert Routes(["a", "b"], [Edge("a", "b", 0.2), Edge("b", "a", 0.1)]).between("a", "b") == (3,)


def test_a_star_is_searched_in_a_core_of_one_node():
    clients = [f"client-{index}" for index in range(1000)]
    routes = Routes(
        [*clients, "server"], [Edge(client, "hub", 0.01) for client in clients] + [Edge("hub", "server", 0)]
    )
    assert routes.between("client-7", "server") == (14, 2000)
    assert routes.between("server", "client-7") == (2001, 15)
    assert list(routes._core) == ["hub"]
    assert not routes._trees

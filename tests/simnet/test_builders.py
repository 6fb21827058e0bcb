from __future__ import annotations

from collections import Counter
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet.builders import explicit, geometric, ring, star, tree, two_tier
from simnet.errors import TopologyError
from simnet.schedule import CapacitySchedule, CapacityStep
from simnet.topology import Link, LinkSpec

ACCESS, TRUNK, SERVER = LinkSpec(20e6, 0.010), LinkSpec(50e6, 0.002), LinkSpec(100e6, 0.005)


def clients(count):
    return [f"client-{index}" for index in range(count)]


def way(topology, source, target="server"):
    return [topology.link_name(link) for link in topology.path(source, target).links]


def test_a_link_spec_passes_all_its_settings_on():
    schedule = CapacitySchedule((CapacityStep(1.0, 2e6),))
    spec = LinkSpec(1e6, 0.1, 0.05, 2e6, 0.1, 0.2, "fq_codel", 7, "pareto", schedule, schedule)
    link = spec.between("a", "b")
    assert (link.a, link.b) == ("a", "b")
    for setting in fields(LinkSpec):
        assert getattr(link, setting.name) == getattr(spec, setting.name) != setting.default


def test_two_tiers_grow_to_sites_and_several_aggregations():
    topology = two_tier(
        clients(8), sites=4, stations=4, aggregations=2,
        access=ACCESS, site=TRUNK, station=TRUNK, aggregation=TRUNK, server=SERVER,
    )  # fmt: skip
    assert way(topology, "client-7") == [
        "client-7 > site-3",
        "site-3 > station-3",
        "station-3 > aggregation-1",
        "aggregation-1 > cloud",
        "cloud > server",
    ]
    assert len(topology.path("client-0", "client-1").links) == 2
    assert topology.relays == (
        *(f"site-{index}" for index in range(4)),
        *(f"station-{index}" for index in range(4)),
        "aggregation-0",
        "aggregation-1",
        "cloud",
    )


def test_a_ring_goes_the_shorter_way_round():
    topology = ring(clients(6), access=ACCESS, trunk=TRUNK, server=SERVER)
    assert way(topology, "client-2") == ["client-2 > node-2", "node-2 > node-1", "node-1 > node-0", "node-0 > server"]
    assert way(topology, "client-5") == ["client-5 > node-5", "node-5 > node-0", "node-0 > server"]
    back = topology.path("server", "client-3").links
    assert back == tuple(link ^ 1 for link in reversed(topology.path("client-3", "server").links))


def test_a_ring_may_have_fewer_nodes_than_clients():
    topology = ring(clients(6), nodes=3, access=ACCESS, trunk=TRUNK, server=SERVER)
    nodes = [way(topology, name)[0].removeprefix(f"{name} > ") for name in clients(6)]
    assert nodes == ["node-0", "node-0", "node-1", "node-1", "node-2", "node-2"]
    assert ring(clients(1), access=ACCESS, trunk=TRUNK, server=SERVER).relays == ("node-0", "node-1", "node-2")


def test_a_tree_narrows_to_one_root():
    topology = tree(clients(5), branching=2, access=ACCESS, trunk=TRUNK, server=SERVER)
    assert topology.relays == tuple(f"node-{index}" for index in range(1 + 2 + 3))
    assert way(topology, "client-4") == ["client-4 > node-5", "node-5 > node-2", "node-2 > node-0", "node-0 > server"]
    assert len(topology.path("client-0", "client-1").links) == 2


@given(st.integers(1, 40), st.integers(2, 7))
def test_no_node_of_a_tree_has_more_than_its_branches(count, branching):
    topology = tree(clients(count), branching=branching, access=ACCESS, trunk=TRUNK, server=SERVER)
    below = Counter(link.b for link in topology.links if link.b != "server")
    assert max(below.values()) <= branching
    assert len({len(topology.path(name, "server").links) for name in clients(count)}) == 1


def edge(**settings):
    return geometric(
        clients(20),
        **{"stations": 12, "radius_km": 3.0, "access": ACCESS, "trunk": TRUNK, "server": SERVER, "seed": 4, **settings},
    )


def test_a_geometric_edge_is_its_seed():
    assert edge() == edge()
    assert edge() != edge(seed=5)
    assert edge().links[0].a == "client-0"


@given(st.integers(0, 2**32), st.integers(1, 25), st.floats(0.01, 15.0))
def test_a_geometric_edge_holds_together_and_its_latencies_grow_with_distance(seed, stations, radius_km):
    topology = edge(seed=seed, stations=stations, radius_km=radius_km)
    for name in clients(20):
        assert topology.path(name, "server").links
    for link in topology.links[:-1]:
        spec = ACCESS if link.a.startswith("client") else TRUNK
        km = (link.latency_s - spec.latency_s) / 5e-6
        assert 0 <= km <= 15
    # A spanning tree at least, and without reach no more than one.
    trunks = sum(link.a.startswith("station") for link in topology.links[:-1])
    assert trunks >= stations - 1


def test_stations_within_reach_are_joined():
    assert sum(link.a.startswith("station") for link in edge(radius_km=100.0).links[:-1]) == 12 * 11 / 2
    assert sum(link.a.startswith("station") for link in edge(radius_km=1e-6).links[:-1]) == 11


def test_an_explicit_list_makes_relays_of_what_is_no_host():
    topology = explicit(
        [Link("client-0", "router", 1e6, 0.1), Link("router", "server", 1e6, 0.1)], hosts=["client-0", "server"]
    )
    assert topology.relays == ("router",)
    assert way(topology, "client-0") == ["client-0 > router", "router > server"]


TIERS = {"access": ACCESS, "station": TRUNK, "server": SERVER}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: two_tier(clients(1), stations=2, **TIERS), "2 base stations for 1 clients: expected 1 to 1"),
        (lambda: two_tier(clients(4), stations=3, sites=2, site=TRUNK, **TIERS), "3 base stations for 2 sites"),
        (
            lambda: two_tier(clients(4), stations=2, aggregations=3, aggregation=TRUNK, **TIERS),
            "3 aggregation nodes for 2 base stations",
        ),
        (lambda: two_tier(clients(4), stations=2, sites=2, **TIERS), "sites and the link of a site"),
        (lambda: two_tier(clients(4), stations=2, site=TRUNK, **TIERS), "give both or neither"),
        (lambda: two_tier(clients(4), stations=2, aggregations=2, **TIERS), "2 aggregation nodes need a link"),
        (lambda: ring(clients(4), nodes=2, access=ACCESS, trunk=TRUNK, server=SERVER), "ring of 2 nodes is none"),
        (lambda: tree(clients(4), branching=1, access=ACCESS, trunk=TRUNK, server=SERVER), "branching of 1 never"),
        (lambda: tree([], branching=2, access=ACCESS, trunk=TRUNK, server=SERVER), "at least one client"),
        (lambda: edge(stations=0), "0 stations: expected 1 or more"),
        (lambda: edge(radius_km=0.0), "radius_km is 0.0, expected a positive"),
        (lambda: edge(side_km=float("inf")), "side_km is inf"),
        (lambda: edge(us_per_km=-1.0), "us_per_km is -1.0, expected 0 or more"),
        (lambda: explicit([Link("a", "b", 1, 0)], hosts=["a", "b", "c"]), "host on no link: c"),
        (lambda: star(["server"], access=ACCESS, server=SERVER), "name used twice: server"),
        (lambda: explicit([Link("a", "b", 1, 0)], hosts=["a", "b", "a"]), "name used twice: a"),
    ],
)
def test_contradictions_are_named(make, message):
    with pytest.raises(TopologyError, match=message):
        make()

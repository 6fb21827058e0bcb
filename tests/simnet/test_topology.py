from __future__ import annotations

import pytest

from simnet.builders import star, two_tier
from simnet.errors import TopologyError
from simnet.jitter import Jitter
from simnet.schedule import CapacitySchedule, CapacityStep
from simnet.topology import Host, Link, LinkSpec, Topology

ACCESS, SERVER = LinkSpec(20e6, 0.010, 0.002), LinkSpec(100e6, 0.005)


def test_a_star_routes_over_its_hub():
    topology = star(["client-0", "client-1"], access=ACCESS, server=SERVER)
    path = topology.path("client-1", "server")
    assert [topology.link_name(link) for link in path.links] == ["client-1 > hub", "hub > server"]
    assert path.latency_s == pytest.approx(0.015)
    assert path.jitters == (Jitter(0.002),)
    back = topology.path("server", "client-1")
    assert [topology.link_name(link) for link in back.links] == ["server > hub", "hub > client-1"]


def test_two_tiers_put_clients_on_stations_in_blocks():
    topology = two_tier(
        [f"client-{i}" for i in range(5)], stations=2, access=ACCESS, station=LinkSpec(50e6, 0.002), server=SERVER
    )
    ways = {
        client: [topology.link_name(link) for link in topology.path(client, "server").links]
        for client in ("client-2", "client-3")
    }
    assert ways["client-2"] == ["client-2 > station-0", "station-0 > aggregation", "aggregation > server"]
    assert ways["client-3"] == ["client-3 > station-1", "station-1 > aggregation", "aggregation > server"]
    # Neighbours on one station do not cross the aggregation.
    assert len(topology.path("client-0", "client-1").links) == 2


def test_the_route_of_lowest_latency_wins_and_then_the_shortest():
    hosts = (Host("a"), Host("b"))
    direct, half = Link("a", "b", 1e6, 0.010), LinkSpec(1e6, 0.005)
    detour = (half.between("a", "x"), half.between("x", "b"))
    equal = Topology(hosts, (*detour, direct), ("x",))
    assert len(equal.path("a", "b").links) == 1
    faster = Topology(hosts, (*detour, Link("a", "b", 1e6, 0.011)), ("x",))
    assert len(faster.path("a", "b").links) == 2


def test_a_host_is_at_no_distance_from_itself():
    assert star(["client-0"], access=ACCESS, server=SERVER).path("server", "server").links == ()


def test_each_direction_has_its_capacity():
    topology = Topology((Host("a"), Host("b")), (Link("a", "b", 1e6, 0.0, reverse_bandwidth_bps=8e6),))
    assert topology.capacities_bps() == [1e6, 8e6]


def test_a_path_knows_its_loss_in_its_own_direction():
    links = (Link("a", "x", 1e6, 0.1, loss=0.1, reverse_loss=0.0), Link("x", "b", 1e6, 0.1, loss=0.2))
    topology = Topology((Host("a"), Host("b")), links, ("x",))
    assert topology.path("a", "b").loss == pytest.approx(1 - 0.9 * 0.8)
    assert topology.path("b", "a").loss == pytest.approx(0.2)
    assert star(["c"], access=ACCESS, server=SERVER).path("c", "server").loss == 0


def test_a_path_has_the_jitter_of_every_link():
    links = (Link("a", "x", 1e6, 0.1, 0.2, jitter_distribution="pareto"), Link("x", "b", 1e6, 0.1, 0.05))
    topology = Topology((Host("a"), Host("b")), links, ("x",))
    assert topology.path("b", "a").jitters == (Jitter(0.05), Jitter(0.2, "pareto"))


def test_capacities_of_hosts_stand_behind_those_of_links_and_on_their_paths():
    hosts = (Host("a", uplink_bps=3e6), Host("b"), Host("c", uplink_bps=5e6, downlink_bps=7e6))
    links = tuple(Link(name, "x", 1e6, 0.1) for name in "abc")
    topology = Topology(hosts, links, ("x",))
    assert topology.capacities_bps() == [1e6] * 6 + [3e6, 5e6, 7e6]
    assert topology.link_names()[5:] == ["x > c", "a (sending)", "c (sending)", "c (receiving)"]
    assert topology.path("a", "c").links == (6, 0, 5, 8)
    assert topology.path("c", "a").links == (7, 4, 1)
    assert topology.path("a", "b").links == (6, 0, 3)
    assert topology.path("c", "c").links == ()
    assert topology.link_of(5) is links[2]
    assert topology.link_of(6) is None


def test_each_direction_has_its_schedule():
    down, up = (CapacitySchedule((CapacityStep(at_s, 1e6),)) for at_s in (1.0, 2.0))
    links = (
        Link("a", "x", 1e6, 0.1),
        Link("x", "b", 1e6, 0.1, schedule=down),
        Link("b", "c", 1e6, 0.1, schedule=down, reverse_schedule=up),
    )
    topology = Topology((Host("a"), Host("b"), Host("c")), links, ("x",))
    assert list(topology.schedules()) == [(2, down), (3, down), (4, down), (5, up)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Host("a", congestion="vegas"), "congestion is 'vegas', expected one of cubic, reno, bbr"),
        (lambda: Host("a", uplink_bps=0), "uplink_bps is 0, expected a positive number"),
        (lambda: Host("a", downlink_bps=float("inf")), "downlink_bps is inf, expected a positive number"),
        (lambda: Link("a", "b", 1, 0.1, jitter_distribution="gauss"), "jitter_distribution is 'gauss'"),
        (lambda: Link("a", "b", 1, 0.1, -0.1, jitter_distribution="pareto"), "jitter_s is -0.1, expected 0 or more"),
        (lambda: Link("a", "b", 1, 0.1, 0.2, jitter_distribution="normal"), "no message arrives before it was sent"),
        (lambda: Link("a", "b", 0, 0.1), "bandwidth_bps is 0, expected a positive number"),
        (lambda: Link("a", "b", 1, -0.1), "latency_s is -0.1, expected 0 or more"),
        (lambda: Link("a", "b", 1, 0.1, 0.2), "no message arrives before it was sent"),
        (lambda: Link("a", "a", 1, 0.1), "two different nodes"),
        (lambda: Topology((), ()), "at least one host"),
        (lambda: Topology((Host("a"), Host("a")), ()), "name used twice: a"),
        (lambda: Topology((Host("a"), Host("b")), ()), "host on no link: a, b"),
        (lambda: Topology((Host("a"),), (Link("a", "z", 1, 0.1),)), 'no host or relay "z"'),
        (
            lambda: two_tier(["c"], stations=2, access=ACCESS, station=ACCESS, server=SERVER),
            "2 base stations for 1 clients",
        ),
    ],
)
def test_contradictions_are_named(make, message):
    with pytest.raises(TopologyError, match=message):
        make()


def test_unknown_hosts_and_missing_routes_are_named():
    islands = Topology((Host("a"), Host("b"), Host("c"), Host("d")), (Link("a", "b", 1, 0.1), Link("c", "d", 1, 0.1)))
    with pytest.raises(TopologyError, match="no route from a to c"):
        islands.path("a", "c")
    with pytest.raises(TopologyError, match='no host "z"'):
        islands.path("a", "z")

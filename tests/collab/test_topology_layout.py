from __future__ import annotations

import math
from itertools import pairwise

import pytest

from collab.topology_layout import layout
from simnet import Link, LinkSpec, explicit, geometric, ring, star, tree, two_tier

LINK = LinkSpec(1e6, 0.001)


def clients(count):
    return [f"client-{index}" for index in range(count)]


TOPOLOGIES = {
    "star": lambda k: star(clients(k), access=LINK, server=LINK),
    "two-tier": lambda k: two_tier(clients(k), stations=3, access=LINK, station=LINK, server=LINK),
    "ring": lambda k: ring(clients(k), nodes=4, access=LINK, trunk=LINK, server=LINK),
    "tree": lambda k: tree(clients(k), branching=3, access=LINK, trunk=LINK, server=LINK),
    "geometric": lambda k: geometric(clients(k), stations=4, radius_km=3, access=LINK, trunk=LINK, server=LINK, seed=1),
    "mesh": lambda k: explicit(
        [*(LINK.between(a, b) for a in "xyz" for b in "xyz" if a < b), Link("z", "w", 1e6, 0), Link("w", "x", 1e6, 0)]
        + [LINK.between(name, "xyz"[index % 3]) for index, name in enumerate([*clients(k), "server"])],
        hosts=[*clients(k), "server"],
    ),
    "two hosts": lambda k: explicit([LINK.between("client-0", "server")], hosts=["client-0", "server"]),
    "chain of hosts": lambda k: explicit(
        [LINK.between(a, b) for a, b in zip(clients(k), [*clients(k)[1:], "server"], strict=True)],
        hosts=[*clients(k), "server"],
    ),
}


@pytest.mark.parametrize("kind", TOPOLOGIES)
@pytest.mark.parametrize("count", [5, 20, 100])
def test_every_node_has_a_place_of_its_own(kind, count):
    topology = TOPOLOGIES[kind](count)
    placed = layout(topology, "server")
    nodes = {host.name for host in topology.hosts} | set(topology.relays)
    assert placed.places.keys() == nodes
    assert all(math.isfinite(x) and math.isfinite(y) for x, y in placed.places.values())
    assert len({(round(x, 6), round(y, 6)) for x, y in placed.places.values()}) == len(nodes)


@pytest.mark.parametrize("kind", ["star", "two-tier", "tree"])
def test_leaves_of_a_tree_are_evenly_far_from_each_other(kind):
    placed = layout(TOPOLOGIES[kind](20), "server")
    around = sorted(math.atan2(*placed.places[name]) for name in clients(20))
    gaps = [later - earlier for earlier, later in pairwise(around)]
    assert max(gaps) < 2.3 * min(gaps)  # the server, on top, takes the place of one or two
    assert placed.places["server"][1] > 0


def test_the_layout_is_the_same_every_time():
    for make in TOPOLOGIES.values():
        assert layout(make(9), "server") == layout(make(9), "server")

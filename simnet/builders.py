"""Builders of common networks: star, two-tier, ring, tree, a random geometric edge, an explicit list of links.

Each names its relays, puts the server where it belongs and gives a `Topology`. The direction "forth" of a link (its
`bandwidth_bps`, as against `reverse_bandwidth_bps`) is toward the server in a star, two tiers and a tree; around a
ring it is from each node to the next, and elsewhere from the first end to the second. `tenant_of` gives hosts their
tenants ("lab" if not given); their capacities and congestion control can be put in with `dataclasses.replace`. Not
modelled: radio interference, mobility.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from simnet.draws import generator
from simnet.errors import TopologyError
from simnet.topology import Host, Link, LinkSpec, Topology


def star(
    clients: Sequence[str],
    *,
    access: LinkSpec,
    server: LinkSpec,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Every client on an access link of its own to a hub; the server behind one shared link."""
    hub = "hub"
    links = [access.between(client, hub) for client in clients]
    links.append(server.between(hub, server_name))
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), (hub,))


def two_tier(
    clients: Sequence[str],
    *,
    stations: int,
    access: LinkSpec,
    station: LinkSpec,
    server: LinkSpec,
    sites: int | None = None,
    site: LinkSpec | None = None,
    aggregations: int = 1,
    aggregation: LinkSpec | None = None,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Sites - base stations - aggregation - cloud, each tier hanging on the next in equal blocks.

    Client i of K hangs on station floor(i * stations / K) by `access`; with `sites` it hangs on a site's switch, and
    the site on a station by `site`. Stations hang on `aggregations` aggregation nodes by `station`. With an
    `aggregation` link these hang on a cloud node by it, and the cloud has the `server` link; without, the only one has
    it. Raises `TopologyError` unless there are 1 <= aggregations <= stations <= sites <= K of them, and for sites
    without their link, a link without its sites, and several aggregation nodes without one.
    """
    _check_tiers(len(clients), sites, stations, aggregations)
    if (sites is None) != (site is None):
        raise TopologyError("sites and the link of a site to its station go together: give both or neither")
    if aggregations > 1 and aggregation is None:
        raise TopologyError(f"{aggregations} aggregation nodes need a link 'aggregation' that joins each to the cloud")
    links: list[Link] = []
    relays: list[str] = []
    below, spec_below = list(clients), access
    if sites is not None and site is not None:
        below, spec_below = _tier(below, "site", sites, spec_below, links, relays), site
    below = _tier(below, "station", stations, spec_below, links, relays)
    if aggregation is None:
        relays.append("aggregation")
        links += [station.between(name, "aggregation") for name in below]
        links.append(server.between("aggregation", server_name))
    else:
        below = _tier(below, "aggregation", aggregations, station, links, relays)
        relays.append("cloud")
        links += [aggregation.between(name, "cloud") for name in below]
        links.append(server.between("cloud", server_name))
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), tuple(relays))


def _check_tiers(clients: int, sites: int | None, stations: int, aggregations: int) -> None:
    below, below_them = clients, "clients"
    for count, them in ((sites, "sites"), (stations, "base stations"), (aggregations, "aggregation nodes")):
        if count is None:
            continue
        if not 1 <= count <= below:
            raise TopologyError(f"{count} {them} for {below} {below_them}: expected 1 to {below}")
        below, below_them = count, them


def _tier(
    below: Sequence[str], kind: str, count: int, spec: LinkSpec, links: list[Link], relays: list[str]
) -> list[str]:
    names = [f"{kind}-{index}" for index in range(count)]
    relays += names
    links += [spec.between(name, names[index * count // len(below)]) for index, name in enumerate(below)]
    return names


def ring(
    clients: Sequence[str],
    *,
    access: LinkSpec,
    trunk: LinkSpec,
    server: LinkSpec,
    nodes: int | None = None,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Nodes in a circle joined by `trunk` links; clients on them in equal blocks by `access`, the server on node 0.

    There are `nodes` of them, one a client (but at least 3) if not given. Raises `TopologyError` for fewer than 3.
    """
    count = max(3, len(clients)) if nodes is None else nodes
    if count < 3:
        raise TopologyError(f"a ring of {count} nodes is none: expected 3 or more")
    names = tuple(f"node-{index}" for index in range(count))
    links = [
        access.between(client, names[index * count // max(len(clients), 1)]) for index, client in enumerate(clients)
    ]
    links += [trunk.between(name, names[(index + 1) % count]) for index, name in enumerate(names)]
    links.append(server.between(names[0], server_name))
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), names)


def tree(
    clients: Sequence[str],
    *,
    branching: int,
    access: LinkSpec,
    trunk: LinkSpec,
    server: LinkSpec,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Clients in groups of `branching` on nodes by `access`, those in groups on nodes above by `trunk`, up to one root.

    The server hangs on the root. Nodes are numbered from the root down. Raises `TopologyError` for a branching below 2
    and for no clients.
    """
    if branching < 2:
        raise TopologyError(f"a tree with a branching of {branching} never narrows: expected 2 or more")
    if not clients:
        raise TopologyError("a tree needs at least one client")
    widths = [math.ceil(len(clients) / branching)]
    while widths[-1] > 1:
        widths.append(math.ceil(widths[-1] / branching))
    widths.reverse()
    firsts = np.concatenate(([0], np.cumsum(widths))).tolist()
    levels = [[f"node-{first + index}" for index in range(width)] for first, width in zip(firsts, widths, strict=False)]
    links = [access.between(client, levels[-1][index // branching]) for index, client in enumerate(clients)]
    for upper, lower in reversed(list(pairwise(levels))):
        links += [trunk.between(name, upper[index // branching]) for index, name in enumerate(lower)]
    links.append(server.between(levels[0][0], server_name))
    relays = tuple(name for level in levels for name in level)
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), relays)


def geometric(
    clients: Sequence[str],
    *,
    stations: int,
    radius_km: float,
    access: LinkSpec,
    trunk: LinkSpec,
    server: LinkSpec,
    seed: int,
    side_km: float = 10.0,
    us_per_km: float = 5.0,
    server_name: str = "server",
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """A random geometric edge: stations and clients at random places in a square of `side_km`.

    Stations at most `radius_km` apart are joined by `trunk` links, and what is still in pieces by the shortest links
    that join the pieces; each client hangs on its nearest station by `access`, the server on the station nearest to the
    centre. To the latency of a link that spans a distance, `us_per_km` microseconds per kilometre are added (5 is light
    in glass). Raises `TopologyError` for less than one station or a length that is not positive.
    """
    if stations < 1:
        raise TopologyError(f"{stations} stations: expected 1 or more")
    for name, value in (("radius_km", radius_km), ("side_km", side_km)):
        if not (math.isfinite(value) and value > 0):
            raise TopologyError(f"{name} is {value}, expected a positive number of kilometres")
    if not (math.isfinite(us_per_km) and us_per_km >= 0):
        raise TopologyError(f"us_per_km is {us_per_km}, expected 0 or more")
    places = generator(seed, "topology", "stations").uniform(0, side_km, (stations, 2))
    homes = generator(seed, "topology", "clients").uniform(0, side_km, (len(clients), 2))
    names = tuple(f"station-{index}" for index in range(stations))

    def spanning(spec: LinkSpec, km: float) -> LinkSpec:
        return replace(spec, latency_s=spec.latency_s + km * us_per_km * 1e-6)

    links = []
    for client, home in zip(clients, homes, strict=True):
        distances = np.hypot(*(places - home).T)
        nearest = int(distances.argmin())
        links.append(spanning(access, float(distances[nearest])).between(client, names[nearest]))
    links += [spanning(trunk, km).between(names[a], names[b]) for a, b, km in _neighbours(places, radius_km)]
    centre = int(np.hypot(*(places - side_km / 2).T).argmin())
    links.append(server.between(names[centre], server_name))
    standing = dict(zip((*clients, *names), (*homes, *places), strict=True))
    standing[server_name] = places[centre]
    where = {name: (float(east_km), float(north_km)) for name, (east_km, north_km) in standing.items()}
    return Topology(_hosts([*clients, server_name], tenant_of), tuple(links), names, where)


def _neighbours(places: np.ndarray, radius_km: float) -> list[tuple[int, int, float]]:
    """Pairs of places within the radius, and the shortest pairs that join what is left apart; with distances."""
    from networkx.utils import UnionFind  # here: it takes 20 MB, and most networks need none of it

    first, second = np.triu_indices(len(places), 1)
    distances = np.hypot(*(places[first] - places[second]).T)
    order = np.argsort(distances, kind="stable")
    pieces = UnionFind(range(len(places)))
    chosen = []
    for index in order.tolist():
        a, b, km = int(first[index]), int(second[index]), float(distances[index])
        if km <= radius_km or pieces[a] != pieces[b]:
            chosen.append((a, b, km))
            pieces.union(a, b)
    return sorted(chosen)


def explicit(
    links: Iterable[Link],
    *,
    hosts: Sequence[str],
    tenant_of: Mapping[str, str] | None = None,
) -> Topology:
    """Exactly these links; the ends that are no `hosts` are relays. Raises `TopologyError` for a host on no link."""
    links = tuple(links)
    known = set(hosts)
    relays = dict.fromkeys(end for link in links for end in (link.a, link.b) if end not in known)
    return Topology(_hosts(hosts, tenant_of), links, tuple(relays))


def _hosts(names: Iterable[str], tenant_of: Mapping[str, str] | None) -> tuple[Host, ...]:
    tenants = tenant_of or {}
    return tuple(Host(name, tenants.get(name, "lab")) for name in names)

"""Where the nodes of a network stand in a picture.

A tree is laid out in circles around the node that the server hangs on; a ring as a ring; a network that knows where its
nodes stand as a map; any other by springs, with the hosts fanned out around their gateways.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from simnet.topology import Topology

Point = tuple[float, float]
MOST_HOSTS = 400
"""More cannot be told apart in a picture."""
_MOST_SPRINGS = 400  # nodes; beyond, networkx wants SciPy, and nobody could read the picture
_FAN = 0.32  # of the distance between neighbours in the core


@dataclass(frozen=True)
class Layout:
    """Places of the nodes, and for each host the direction (in radians) in which it faces away from its gateway."""

    places: Mapping[str, Point]
    facing: Mapping[str, float]


def thinned(topology: Topology, server: str) -> tuple[Topology, int]:
    """A topology of no more than about `MOST_HOSTS` hosts, every n-th of the others left, and that n."""
    others = [host for host in topology.hosts if host.name != server]
    step = math.ceil(len(others) / MOST_HOSTS)
    if step <= 1:
        return topology, 1
    ends: dict[str, int] = {}
    for link in topology.links:
        for end in (link.a, link.b):
            ends[end] = ends.get(end, 0) + 1
    # Hosts that others hang on, or that forward, stay.
    dropped = {host.name for index, host in enumerate(others) if index % step and ends[host.name] == 1}
    links = tuple(link for link in topology.links if link.a not in dropped and link.b not in dropped)
    hosts = tuple(host for host in topology.hosts if host.name not in dropped)
    return Topology(hosts, links, topology.relays, {k: v for k, v in topology.places.items() if k not in dropped}), step


def layout(topology: Topology, server: str) -> Layout:
    """Places for every node of a topology."""
    graph = nx.Graph()
    graph.add_nodes_from([*topology.relays, *(host.name for host in topology.hosts)])
    graph.add_edges_from((link.a, link.b) for link in topology.links)
    hosts = [host.name for host in topology.hosts]
    gateways = {name: next(iter(graph[name])) for name in hosts if graph.degree(name) == 1}
    # Two hosts that face each other: one of them is the other's gateway.
    gateways = {name: gateway for name, gateway in gateways.items() if gateway not in gateways or name > gateway}
    if topology.places:
        return _map(topology, gateways, server)
    root = gateways.get(server, server)
    if nx.is_tree(graph):
        return _circles(graph, root, server)
    core = graph.subgraph(node for node in graph if node not in gateways)
    if all(degree == 2 for _, degree in core.degree) and nx.is_connected(core):
        return _ring(core, gateways, root, server)
    return _springs(core, gateways)


def _circles(graph: nx.Graph, root: str, server: str) -> Layout:
    """Each node on the circle of its depth, in the middle of the leaves below it; the server on top."""
    children = {node: list(below) for node, below in nx.bfs_successors(graph, root)}
    if server in children.get(root, []):
        children[root] = [server, *(child for child in children[root] if child != server)]
    order = [root, *(child for below in children.values() for child in below)]
    leaves: dict[str, float] = {}
    for node in reversed(order):
        below = children.get(node, [])
        leaves[node] = sum(leaves[child] for child in below) if below else 1.0
    if server != root:
        leaves[root] += max(1.0, 0.06 * leaves[root]) - leaves[server]
        leaves[server] = max(1.0, 0.06 * leaves[root])
    places: dict[str, Point] = {root: (0.0, 0.0)}
    facing: dict[str, float] = {root: math.pi / 2}
    wedge = 2 * math.pi / leaves[root]
    waiting = [(root, 1, math.pi / 2 + wedge * leaves[server] / 2 if server != root else math.pi / 2)]
    while waiting:
        node, depth, angle = waiting.pop()
        for child in children.get(node, []):
            middle = angle - wedge * leaves[child] / 2
            places[child], facing[child] = _polar(depth, middle), middle
            waiting.append((child, depth + 1, angle))
            angle -= wedge * leaves[child]
    return Layout(places, facing)


def _ring(core: nx.Graph, gateways: Mapping[str, str], root: str, server: str) -> Layout:
    """The core as a circle that begins on top with the server's node; the server inside, hosts fanned out outside."""
    around = [edge[0] for edge in nx.find_cycle(core, root)]
    hanging = _by_gateway({host: gateway for host, gateway in gateways.items() if host != server})
    weights = [max(1, len(hanging.get(node, []))) for node in around]
    wedge = 2 * math.pi / sum(weights)
    places: dict[str, Point] = {}
    facing: dict[str, float] = {}
    if server in gateways:
        places[server], facing[server] = (0.0, 0.45), -math.pi / 2
    angle = math.pi / 2 + wedge * weights[0] / 2
    for node, weight in zip(around, weights, strict=True):
        middle = angle - wedge * weight / 2
        places[node], facing[node] = _polar(1, middle), middle
        below = hanging.get(node, [])
        for index, host in enumerate(below):
            out = middle + (len(below) / 2 - index - 0.5) * wedge
            places[host], facing[host] = _polar(1.45, out), out
        angle -= wedge * weight
    return Layout(places, facing)


def _map(topology: Topology, gateways: Mapping[str, str], server: str) -> Layout:
    """Where the nodes are; the server a little above its station, for it stands in the same place."""
    places = dict(topology.places)
    extent = max((abs(a - b) for axis in zip(*places.values(), strict=True) for a, b in [(max(axis), min(axis))]))
    east, north = places[server]
    places[server] = (east, north + 0.07 * extent)
    facing = {host: _direction(places[gateway], places[host]) for host, gateway in gateways.items()}
    return Layout(places, facing)


def _springs(core: nx.Graph, gateways: Mapping[str, str]) -> Layout:
    found = nx.spring_layout(core, seed=1, iterations=300) if len(core) <= _MOST_SPRINGS else nx.circular_layout(core)
    places: dict[str, Point] = {node: (float(x), float(y)) for node, (x, y) in found.items()}
    near = min((math.dist(places[a], places[b]) for a, b in core.edges), default=1.0) or 1.0
    middle = tuple(sum(axis) / len(places) for axis in zip(*places.values(), strict=True))
    facing: dict[str, float] = {node: _direction((middle[0], middle[1]), place) for node, place in places.items()}
    for gateway, hosts in _by_gateway(gateways).items():
        spread = min(math.pi * 1.2, 0.5 * len(hosts))
        for index, host in enumerate(hosts):
            out = facing[gateway] + spread * ((index + 0.5) / len(hosts) - 0.5)
            east, north = _polar(max(near, 0.2) * (_FAN + 0.5), out)
            places[host], facing[host] = (places[gateway][0] + east, places[gateway][1] + north), out
    return Layout(places, facing)


def _by_gateway(gateways: Mapping[str, str]) -> dict[str, Sequence[str]]:
    hanging: dict[str, list[str]] = {}
    for host, gateway in gateways.items():
        hanging.setdefault(gateway, []).append(host)
    return dict(hanging)


def _polar(radius: float, angle: float) -> Point:
    return radius * math.cos(angle), radius * math.sin(angle)


def _direction(start: Point, end: Point) -> float:
    return math.atan2(end[1] - start[1], end[0] - start[0])

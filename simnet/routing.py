"""Routes: of lowest latency, fewest links among equals.

Latencies are compared as whole picoseconds, so that two ways of equal length are equal whatever the order in which
their latencies are added. What ties remain are broken by a number that belongs to each link, so that there is exactly
one best way between two nodes: it is the same whichever end it is looked for from, there and back.

Hosts with a single link hang on their gateway and take no part in the search; the rest, the core, is searched with
networkx' Dijkstra, once for each gateway that somebody asks for. A star of 100,000 clients has a core of one node.
Not modelled: routes that change while a run goes on, several routes at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from simnet.draws import key
from simnet.errors import TopologyError

if TYPE_CHECKING:  # at run time only where there is something to search: it takes 20 MB
    import networkx as nx

_PS_PER_S = 10**12
_TREES = 256  # best ways from so many gateways are remembered


class Edge(Protocol):
    """What routing needs to know of a link."""

    @property
    def a(self) -> str:
        """One end."""

    @property
    def b(self) -> str:
        """The other end."""

    @property
    def latency_s(self) -> float:
        """One-way delay in either direction."""


class Routes:
    """The best way between any two nodes, as directed links: 2i for link i from a to b, 2i + 1 from b to a."""

    def __init__(self, hosts: Iterable[str], links: Sequence[Edge]) -> None:
        self._links = links
        self._stubs = _stubs(hosts, links)
        self._trees: OrderedDict[str, dict[str, list[str]]] = OrderedDict()

    @cached_property
    def _core(self) -> nx.Graph:
        return _core(self._links, self._stubs)

    def between(self, source: str, target: str) -> tuple[int, ...]:
        """The directed links from one node to another. Raises `TopologyError` if there is no way."""
        if source == target:
            return ()
        away, start = self._to_core(source)
        back, end = self._to_core(target)
        last = () if back is None else (back ^ 1,)
        first = () if away is None else (away,)
        through = () if start == end else self._through_core(start, end)
        if through is None:
            raise TopologyError(f"no route from {source} to {target}")
        return first + through + last

    def _to_core(self, node: str) -> tuple[int | None, str]:
        directed = self._stubs.get(node)
        if directed is None:
            return None, node
        link = self._links[directed // 2]
        return directed, link.a if directed % 2 else link.b

    def _through_core(self, start: str, end: str) -> tuple[int, ...] | None:
        if start not in self._core or end not in self._core:
            return None
        root, leaf = (start, end) if start in self._trees and end not in self._trees else (end, start)
        came_from = self._tree(root)
        if not came_from.get(leaf):
            return None
        inward: list[int] = []
        node = leaf
        while node != root:
            nearer = came_from[node][0]
            index = self._core.edges[node, nearer]["link"]
            inward.append(2 * index if self._links[index].a == node else 2 * index + 1)
            node = nearer
        return tuple(inward) if root == end else tuple(directed ^ 1 for directed in reversed(inward))

    def _tree(self, root: str) -> dict[str, list[str]]:
        """For each core node its neighbour on the best way to `root`."""
        if root not in self._trees:
            import networkx as nx

            self._trees[root], _ = nx.dijkstra_predecessor_and_distance(self._core, root, weight="length")
            if len(self._trees) > _TREES:
                self._trees.popitem(last=False)
        self._trees.move_to_end(root)
        return self._trees[root]


def _stubs(hosts: Iterable[str], links: Sequence[Edge]) -> dict[str, int]:
    """Each host with a single link, and that link away from it; of two such that face each other only the first."""
    only: dict[str, int | None] = {}
    for index, link in enumerate(links):
        only[link.a] = None if link.a in only else 2 * index
        only[link.b] = None if link.b in only else 2 * index + 1
    stubs: dict[str, int] = {}
    for host in hosts:
        directed = only.get(host)
        if directed is None:
            continue
        link = links[directed // 2]
        if (link.a if directed % 2 else link.b) not in stubs:
            stubs[host] = directed
    return stubs


def _core(links: Sequence[Edge], stubs: dict[str, int]) -> nx.Graph:
    import networkx as nx

    core: nx.Graph = nx.Graph()
    for index, link in enumerate(links):
        for end, directed in ((link.a, 2 * index), (link.b, 2 * index + 1)):
            if stubs.get(end) == directed:
                core.add_node(link.b if end == link.a else link.a)
                break
        else:
            length = _length(index, link.latency_s)
            known = core.get_edge_data(link.a, link.b)
            if known is None or length < known["length"]:
                core.add_edge(link.a, link.b, length=length, link=index)
    return core


def _length(index: int, latency_s: float) -> int:
    """Latency, then the number of links, then what breaks ties, as one whole number that may be added up."""
    return (round(latency_s * _PS_PER_S) << 104) + (1 << 80) + (key(0, "route", index) >> 8)

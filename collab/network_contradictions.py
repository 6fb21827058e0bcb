"""What in the network of a scenario contradicts its hosts: found when it is loaded, never during the run."""

from __future__ import annotations

import re
from collections.abc import Iterator

from collab.document import Key, Where, nearest
from collab.errors import ScenarioError
from collab.network_settings import LinksSettings, TwoTierSettings
from collab.settings import SERVER, Scenario
from simnet.errors import TopologyError

_NAMED_LIKE_A_HOST = re.compile(r"client-?\d*|server-?\d*", re.IGNORECASE)
_MOST_NAMES = 8


def network_contradictions(scenario: Scenario) -> Iterator[tuple[Where, str, type[ScenarioError]]]:
    """Where each mistake stands, a sentence, and the error that it is."""
    roles = ["client", *scenario.hosts]
    for host in scenario.network.hosts:
        if host not in roles:
            message = f'"{host}" is no host{nearest(host, ["client", SERVER, *scenario.clients][:_MOST_NAMES])}'
            yield ("network", "hosts", Key(host)), message, ScenarioError
    match scenario.network:
        case TwoTierSettings() as network:
            yield from _tiers(scenario, network)
        case LinksSettings() as network:
            yield from _listed_links(scenario, network)


def _tiers(scenario: Scenario, network: TwoTierSettings) -> Iterator[tuple[Where, str, type[ScenarioError]]]:
    below, below_them = scenario.partition.clients, "clients"
    for name, count, them in (
        ("sites", network.sites, "sites"),
        ("stations", network.stations, "base stations"),
        ("aggregations", network.aggregations, "aggregation nodes"),
    ):
        if count is None:
            continue
        if count > below:
            yield ("network", name), f"{count} {them} for {below} {below_them}; expected no more", ScenarioError
        below, below_them = count, them


def _listed_links(scenario: Scenario, network: LinksSettings) -> Iterator[tuple[Where, str, type[ScenarioError]]]:
    hosts = set(scenario.hosts)
    for index, link in enumerate(network.links):
        for end in link.between:
            if end not in hosts and _NAMED_LIKE_A_HOST.fullmatch(end):
                known = nearest(end, scenario.hosts[-1:] + scenario.hosts[: _MOST_NAMES - 1])
                message = f'"{end}" is no host{known}; a node that only forwards needs another kind of name'
                yield ("network", "links", index, "between"), message, ScenarioError
    first: dict[frozenset[str], int] = {}
    for index, link in enumerate(network.links):
        earlier = first.setdefault(frozenset(link.between), index)
        if earlier != index:
            a, b = link.between
            message = f"{a} and {b} are joined already, by links.{earlier}; there is one route, so keep one link"
            yield ("network", "links", index, "between"), message, ScenarioError
    linked = {end for link in network.links for end in link.between}
    lone = [host for host in scenario.hosts if host not in linked]
    if lone:
        more = f" and {len(lone) - _MOST_NAMES} more" if len(lone) > _MOST_NAMES else ""
        message = f"host on no link: {', '.join(lone[:_MOST_NAMES])}{more}; every client and the server needs one"
        yield ("network", "links"), message, ScenarioError
        return
    topology = scenario.topology()
    for client in scenario.clients:
        try:
            topology.path(client, SERVER)
        except TopologyError as error:
            yield ("network", "links"), f"{error}: the links fall into pieces", ScenarioError

"""The network of a run as a file of its directory: for those who read the run and have no simnet network to ask.

::

    {"server": "server",
     "one_in": 1,
     "nodes": [{"name": "client-0", "tenant": "sites", "place": [0.809, 0.588], "facing": 0.628},
               {"name": "hub", "tenant": null, "place": [0.0, 0.0], "facing": 1.571}, ...],
     "links": [{"name": "client-0 > hub", "from": "client-0", "to": "hub", "capacity_bps": 2e6, "latency_s": 0.02,
                "schedule": null}, ...],
     "schedules": [{"period_s": 5.0, "steps": [[1.0, 4e5], [4.0, 4e6]]}, ...],
     "routes": {"client-0": [0, 10], ...}}

Nodes without a tenant only forward. `place` is where `collab topology` draws a node (kilometres, on a map; else of no
unit), `facing` the direction of its label in radians. Links are directed; `capacity_bps` is what one carries before the
first step of its schedule, if it has one: `schedule` is a position in `schedules`, `period_s` as in
`simnet.schedule.CapacitySchedule`. A route is the way to the server: positions in `links`; the way back takes the
opposite links. A node that cannot reach the server has none. Of more clients than can be told apart in a picture, one
in `one_in` is there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from collab.topology_layout import layout, thinned
from simnet import CapacitySchedule, Topology
from simnet.errors import TopologyError


def described(whole: Topology, server: str) -> dict[str, Any]:
    """The content of the file, of the network `whole` whose uploads go to `server`."""
    topology, step = thinned(whole, server)
    placed = layout(topology, server)
    tenants: Mapping[str, str | None] = {host.name: host.tenant for host in topology.hosts}
    nodes = [
        {
            "name": name,
            "tenant": tenants.get(name),
            "place": [round(axis, 4) for axis in placed.places[name]],
            "facing": round(placed.facing.get(name, 1.5708), 3),
        }
        for name in [*tenants, *topology.relays]
    ]
    links, schedules = _directed(topology)
    return {
        "server": server,
        "one_in": step,
        "nodes": nodes,
        "links": links,
        "schedules": [
            {"period_s": schedule.period_s, "steps": [[step.at_s, step.bandwidth_bps] for step in schedule.steps]}
            for schedule in schedules
        ],
        "routes": dict(_routes(topology, server)),
    }


def _directed(topology: Topology) -> tuple[list[dict[str, Any]], list[CapacitySchedule]]:
    """All directed links in the order of `simnet.topology.Path.links`, and the schedules that they follow."""
    position: dict[int, int] = {}  # by identity: many links share a long one
    schedules: list[CapacitySchedule] = []
    links = []
    for index, link in enumerate(topology.links):
        for direction, (source, target) in enumerate(((link.a, link.b), (link.b, link.a))):
            schedule = link.schedule_of(direction)
            if schedule is not None and id(schedule) not in position:
                position[id(schedule)] = len(schedules)
                schedules.append(schedule)
            links.append(
                {
                    "name": topology.link_name(2 * index + direction),
                    "from": source,
                    "to": target,
                    "capacity_bps": link.bandwidth_bps if direction == 0 else link.reverse_bps,
                    "latency_s": link.latency_s,
                    "schedule": None if schedule is None else position[id(schedule)],
                }
            )
    return links, schedules


def _routes(topology: Topology, server: str) -> Iterator[tuple[str, list[int]]]:
    for host in topology.hosts:
        if host.name != server:
            try:
                ways = topology.path(host.name, server).links
            except TopologyError:
                continue
            # Beyond the links stand the capacities of the two hosts themselves.
            yield host.name, [directed for directed in ways if directed < 2 * len(topology.links)]


def text_of(described: Mapping[str, Any]) -> str:
    """The file's text: JSON, a line for each node, link and route, so that two of them can be compared."""
    parts = [f'"{name}": {_line(described[name])}' for name in ("server", "one_in")]
    parts += [f'"{name}": [\n {_lines(described[name])}\n]' for name in ("nodes", "links", "schedules")]
    routes = (f"{_line(host)}: {_line(route)}" for host, route in described["routes"].items())
    parts.append('"routes": {\n ' + ",\n ".join(routes) + "\n}")
    return "{" + ",\n".join(parts) + "}\n"


def _lines(values: list[Any]) -> str:
    return ",\n ".join(map(_line, values))


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

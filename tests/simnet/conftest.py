from __future__ import annotations

import pytest

from simnet import Boundaries, LinkSpec, Rule, SimulatedNetwork, SocketNetwork, Tcp, star

FAST = LinkSpec(1e9, 0.010)


@pytest.fixture
def make_network():
    """Builds a star of `clients` and a server, in either world; "sized" is the simulated one without the bytes."""

    def make(
        *, world="simulated", clients=2, access=FAST, server=FAST, tenants=None, rules=(), inspector=None, **options
    ):
        names = [f"client-{index}" for index in range(clients)]
        topology = star(names, access=access, server=server, tenant_of=tenants)
        extra = {"budgets": options.pop("budgets", {})}
        extra |= {} if inspector is None else {"inspector": inspector}
        boundaries = Boundaries({host.name: host.tenant for host in topology.hosts}, rules, **extra)
        if world == "real":
            return SocketNetwork(topology, boundaries=boundaries, **options)
        options.setdefault("tcp", Tcp.plain())
        options.setdefault("carriage", "sized" if world == "sized" else "http")
        return SimulatedNetwork(topology, boundaries=boundaries, **options)

    return make


@pytest.fixture
def two_tenants():
    """Arguments of `make_network` for sites and a cloud joined by one rule."""

    def make(*, allow=("synthetic",), **rule):
        return {
            "tenants": {"client-0": "sites", "client-1": "sites", "server": "cloud"},
            "rules": [Rule("cloud", frozenset(allow), **rule)],
        }

    return make

"""What in a scenario contradicts what: found when it is loaded, never during the run.

Each check yields where the mistake stands, a sentence, and the error that it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from collab.document import nearest
from collab.errors import ScenarioError
from collab.network_settings import TwoTierSettings
from collab.settings import SERVER, Scenario
from collab.tenancy_contradictions import Contradiction, tenancy_contradictions
from simnet import DEVICES


def contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Every contradiction in a scenario, root causes first."""
    yield from tenancy_contradictions(scenario)
    yield from _device_contradictions(scenario)
    network = scenario.network
    if isinstance(network, TwoTierSettings) and network.stations > scenario.partition.clients:
        message = f"{network.stations} base stations for {scenario.partition.clients} clients; expected no more"
        yield ("network", "stations"), message, ScenarioError
    for name in ("access", "station", "server"):
        link = getattr(network, name, None)
        if link is not None and link.jitter > link.latency:
            message = (
                f"jitter of {link.jitter:g} s exceeds the latency of {link.latency:g} s: "
                "nothing arrives before it is sent"
            )
            yield ("network", name, "jitter"), message, ScenarioError
    side = getattr(scenario.dataset, "side", 28)
    if side % scenario.method.expand:
        message = f"images of {side} pixels cannot be cut into {scenario.method.expand} tiles a side"
        yield ("method", "expand"), message, ScenarioError
    names = [settings.name for settings in (scenario.method, *scenario.baselines)]
    for index, name in enumerate(names[1:]):
        if name in names[: index + 1]:
            yield ("baselines", index), f"{name} is listed twice", ScenarioError


def _device_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    roles = ["client", SERVER, *scenario.clients]
    for host, device in scenario.devices.items():
        if host not in roles:
            yield ("devices", host), f'"{host}" is no host{nearest(host, roles[:8])}', ScenarioError
        if isinstance(device, str) and device not in DEVICES:
            message = f'there is no device "{device}"{nearest(device, list(DEVICES))}'
            yield ("devices", host), message, ScenarioError

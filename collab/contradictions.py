"""What in a scenario contradicts what: found when it is loaded, never during the run.

Each check yields where the mistake stands, a sentence, and the error that it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collab.device_settings import CustomDevice
from collab.document import nearest
from collab.errors import ScenarioError
from collab.network_contradictions import network_contradictions
from collab.settings import SERVER, Scenario
from collab.tenancy_contradictions import Contradiction, tenancy_contradictions
from simnet import DEVICES, RADIOS
from simnet.errors import FaultError, SimnetError


def contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Every contradiction in a scenario, root causes first."""
    yield from tenancy_contradictions(scenario)
    yield from _device_contradictions(scenario)
    yield from network_contradictions(scenario)
    yield from _fault_contradictions(scenario)
    side = getattr(scenario.dataset, "side", 28)
    if side % scenario.method.expand:
        message = f"images of {side} pixels cannot be cut into {scenario.method.expand} tiles a side"
        yield ("method", "expand"), message, ScenarioError
    names = [settings.name for settings in (scenario.method, *scenario.baselines)]
    for index, name in enumerate(names[1:]):
        if name in names[: index + 1]:
            yield ("baselines", index), f"{name} is listed twice", ScenarioError


def _fault_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Faults that name what is not there. Nothing else can be wrong with one that is valid by itself."""
    if not scenario.faults:
        return
    try:
        topology = scenario.topology()
    except SimnetError:
        return  # a contradiction that is told elsewhere
    for index, settings in enumerate(scenario.faults):
        try:
            settings.named().check(topology)
        except FaultError as error:
            yield ("faults", index), str(error), ScenarioError


def _device_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    roles = ["client", SERVER, *scenario.clients]
    maps: tuple[tuple[str, str, Mapping[str, Any], Sequence[str]], ...] = (
        ("devices", "device", scenario.devices, list(DEVICES)),
        ("radios", "radio", scenario.radios, list(RADIOS)),
    )
    for key, noun, chosen, known in maps:
        for host, choice in chosen.items():
            if host not in roles:
                yield (key, host), f'"{host}" is no host{nearest(host, roles[:8])}', ScenarioError
            if isinstance(choice, str) and choice not in known:
                yield (key, host), f'there is no {noun} "{choice}"{nearest(choice, known)}', ScenarioError
    for host, device in scenario.devices.items():
        if isinstance(device, CustomDevice) and device.idle_power is not None:
            if device.power is None:
                message = "there is an idle_power, but no power; give both, or neither to count no energy"
                yield ("devices", host, "idle_power"), message, ScenarioError
            elif device.idle_power > device.power:
                message = f"idle it draws {device.idle_power:g} W, busy {device.power:g} W; expected less when idle"
                yield ("devices", host, "idle_power"), message, ScenarioError

"""What in a scenario contradicts what: found when it is loaded, never during the run.

Each check yields where the mistake stands, a sentence, and the error that it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collab.device_settings import CustomDevice
from collab.document import Key, Where, nearest
from collab.errors import ScenarioError
from collab.fault_settings import FaultSettings, PartitionSettings
from collab.methods import MethodSettings
from collab.nets import ArchitectureName, NetworkSpec
from collab.network_contradictions import network_contradictions
from collab.privacy.secure_sums import FEWEST_SITES
from collab.settings import SERVER, Scenario
from collab.tenancy_contradictions import Contradiction, tenancy_contradictions
from simnet import DEVICES, RADIOS, Topology
from simnet.errors import FaultError, SimnetError
from simnet.faults import ANYONE

_MOST_NAMES = 8


def contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Every contradiction in a scenario, root causes first."""
    yield from tenancy_contradictions(scenario)
    yield from _device_contradictions(scenario)
    yield from network_contradictions(scenario)
    yield from _fault_contradictions(scenario)
    yield from _waiting_contradictions(scenario)
    yield from _limits_contradictions(scenario)
    yield from _threshold_contradictions(scenario)
    yield from _group_contradictions(scenario)
    yield from _tile_contradictions(scenario)
    yield from _architecture_contradictions(scenario)
    names = [settings.name for settings in (scenario.method, *scenario.baselines)]
    for index, name in enumerate(names[1:]):
        if name in names[: index + 1]:
            yield ("baselines", index), f"{name} is listed twice; take one out", ScenarioError


def _placed_methods(scenario: Scenario) -> Iterator[tuple[Where, Any]]:
    """The settings of the method and of each baseline, and where they stand."""
    yield ("method",), scenario.method
    for index, settings in enumerate(scenario.baselines):
        yield ("baselines", index), settings


def _waiting_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """More uploads waited for than there are clients."""
    clients = len(scenario.clients)
    for name in () if scenario.wait_for is None else ("quorum", "at_least"):
        number = getattr(scenario.wait_for, name) or 0
        if number > clients:
            message = f"found {number} uploads, but there are {clients} clients, who send one each; at most {clients}"
            yield ("wait_for", name), message, ScenarioError


def _limits_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Limits of requests where there are none."""
    if scenario.limits is not None and scenario.network.carriage == "sized":
        message = "they bound requests and connections, and messages that go by size make none; use carriage: http"
        yield ("limits",), message, ScenarioError


def _threshold_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """A threshold of secure aggregation that so many clients cannot meet, or that half of them can."""
    clients = len(scenario.clients)
    settings: Any = scenario.method
    if getattr(settings, "aggregation", "plain") != "secure":
        return
    if clients < FEWEST_SITES:
        message = f"secure sums need at least {FEWEST_SITES} clients, found {clients}"
        yield ("method", "aggregation"), message, ScenarioError
    elif settings.threshold is not None and not clients < 2 * settings.threshold <= 2 * clients:
        least = clients // 2 + 1
        message = f"found {settings.threshold}, expected {least} to {clients}: more than half of {clients} clients"
        yield ("method", "threshold"), message, ScenarioError


def _group_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """More groups of sites than sites. What a baseline has from the method is told there."""
    clients = len(scenario.clients)
    for where, settings in _placed_methods(scenario):
        groups = getattr(getattr(settings, "robust", None), "groups", None) or 0
        if groups > clients:
            message = f"found {groups} groups, but there are {clients} clients to divide into them; at most {clients}"
            yield (*where, "robust", "groups"), message, ScenarioError
            return


def _tile_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Images that cannot be cut into whole tiles. What a baseline has from the method is told there."""
    side = scenario.dataset.side
    possible = [factor for factor in range(1, side + 1) if side % factor == 0]
    told: set[int] = set()
    for where, settings in _placed_methods(scenario):
        if settings.expand not in possible and settings.expand not in told:
            told.add(settings.expand)
            message = (
                f"images of {side} pixels cannot be cut into {settings.expand} tiles a side; "
                f"possible are {', '.join(map(str, possible))}"
            )
            yield (*where, "expand"), message, ScenarioError


def _architecture_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Networks that leave nothing of images as small as these."""
    shape = scenario.dataset.channels, scenario.dataset.side
    for where, settings in _placed_methods(scenario):
        named = "depth" if settings.architecture == "convnet" else "architecture"
        if message := _too_small(settings, settings.architecture, *shape):
            yield (*where, named), message, ScenarioError
    for index, architecture in enumerate(scenario.evaluation.networks):
        for settings in scenario.all_methods():
            if message := _too_small(settings, architecture, *shape):
                yield ("evaluation", "networks", index), message, ScenarioError


def _too_small(settings: MethodSettings, architecture: ArchitectureName, channels: int, side: int) -> str:
    """Why such images are too small for a network of that architecture, of the method's depth; nothing if not."""
    try:
        NetworkSpec(settings.width, settings.depth, channels, side, classes=1, architecture=architecture)
    except ScenarioError as error:
        return str(error)
    return ""


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
            where, name, known = _unknown_name(settings, topology)
            hint = nearest(name, known[:_MOST_NAMES]) if name else ""
            yield ("faults", index, *where), f"{error}{hint}", ScenarioError


def _unknown_name(settings: FaultSettings, topology: Topology) -> tuple[Where, str, list[str]]:
    """Where in a fault a name stands that means nothing, the name, and what it could mean; empty if all mean something.

    The names that come to the mind first come first: a long list is cut.
    """
    hosts = [SERVER, *(host.name for host in topology.hosts if host.name != SERVER)]
    tenants = list(dict.fromkeys(host.tenant for host in topology.hosts))
    groups = [*tenants, *hosts]
    named: list[tuple[Where, str, list[str]]] = []
    if isinstance(settings, PartitionSettings):
        for number, side in enumerate(settings.sides):
            named += [(("sides", number, place), name, groups) for place, name in enumerate(side)]
    for field, where, known in (
        ("host", "host", hosts), ("source", "from", groups), ("to", "to", groups),
    ):  # fmt: skip
        if hasattr(settings, field):
            named.append(((where,), getattr(settings, field), known))
    for place, name, known in named:
        if name not in known and name != ANYONE:
            return place, name, known
    link = getattr(settings, "link", None)
    if link is not None:
        links = [*(f"{link.a} -- {link.b}" for link in topology.links), *topology.relays, *hosts]
        return ("link",), link, sorted(links, key=lambda known: -_likeness(link, known))
    return (), "", []


def _likeness(word: str, known: str) -> float:
    return difflib.SequenceMatcher(None, word, known).ratio()


def _device_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    roles = ["client", SERVER, *scenario.clients]
    maps: tuple[tuple[str, str, Mapping[str, Any], Sequence[str]], ...] = (
        ("devices", "device", scenario.devices, list(DEVICES)),
        ("radios", "radio", scenario.radios, list(RADIOS)),
    )
    for key, noun, chosen, known in maps:
        for host, choice in chosen.items():
            if host not in roles:
                yield (key, Key(host)), f'"{host}" is no host{nearest(host, roles[:8])}', ScenarioError
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

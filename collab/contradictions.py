"""What in a scenario contradicts what: found when it is loaded, never during the run.

Each check yields where the mistake stands, a sentence, and the error that it is.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator

from collab import methods
from collab.document import Where, nearest
from collab.errors import BoundaryMissingError, ScenarioError
from collab.network_settings import TwoTierSettings
from collab.settings import SERVER, Scenario
from simnet import DEVICES

Contradiction = tuple[Where, str, type[ScenarioError]]


def contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Every contradiction in a scenario, root causes first."""
    yield from _tenant_contradictions(scenario)
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


def _tenant_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    tenants = scenario.tenants
    if tenants is None:
        for index, _ in enumerate(scenario.boundaries):
            yield ("boundaries", index), "there are boundaries, but no tenants between which they lie", ScenarioError
        return
    for tenant, patterns in tenants.items():
        for index, pattern in enumerate(patterns):
            if not fnmatch.filter(scenario.hosts, pattern):
                message = f'"{pattern}" is no host{nearest(pattern, scenario.hosts[:8])}'
                yield ("tenants", tenant, index), message, ScenarioError
    for host in scenario.hosts:
        claims = scenario.tenants_claiming(host)
        if len(claims) != 1:
            whom = f"belongs to {' and '.join(claims)}" if claims else "belongs to no tenant"
            yield ("tenants",), f"{host} {whom}; expected exactly one", ScenarioError
    for index, boundary in enumerate(scenario.boundaries):
        for field, tenant in (("to", boundary.to), ("from", boundary.source)):
            if tenant not in tenants and tenant != "*":
                message = f'there is no tenant "{tenant}"{nearest(tenant, list(tenants))}'
                yield ("boundaries", index, field), message, ScenarioError
    yield from _missing_boundaries(scenario)


def _missing_boundaries(scenario: Scenario) -> Iterator[Contradiction]:
    tenant_of, rules = scenario.tenant_of(), scenario.rules()
    for settings in scenario.all_methods():
        name: str = settings.name  # type: ignore[attr-defined]
        method = methods.get(name)
        for client in scenario.clients:
            asking, asked = tenant_of[client], tenant_of[SERVER]
            joining = [rule for rule in rules if rule.joins(asking, asked)]
            if asking == asked or any(
                rule.allow >= method.UPLOADS and rule.answers >= method.TASKS for rule in joining
            ):
                continue
            allow, answers = ", ".join(sorted(method.UPLOADS)), ", ".join(sorted(method.TASKS))
            needed = f"{{to: {asked}, allow: [{allow}]" + (f", answers: [{answers}]}}" if answers else "}")
            yield (
                ("boundaries",) if scenario.boundaries else ("tenants",),
                f"{name} cannot run: no boundary rule lets {asking} ({client}) send its uploads to {asked} "
                f"({SERVER}) and get its task back; add {needed}",
                BoundaryMissingError,
            )
            return


def _device_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    roles = ["client", SERVER, *scenario.clients]
    for host, device in scenario.devices.items():
        if host not in roles:
            yield ("devices", host), f'"{host}" is no host{nearest(host, roles[:8])}', ScenarioError
        if isinstance(device, str) and device not in DEVICES:
            message = f'there is no device "{device}"{nearest(device, list(DEVICES))}'
            yield ("devices", host), message, ScenarioError

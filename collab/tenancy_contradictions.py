"""What in the tenants, boundaries and budgets of a scenario contradicts what, and what they forbid that a method needs.

Only what is certain before the run is told: how many uploads there will be at least, and how large they are at least.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from collab import methods
from collab.boundary_settings import claims
from collab.document import Key, Where, nearest
from collab.errors import BoundaryMissingError, ScenarioError
from collab.settings import SERVER, Scenario
from simnet import Rule
from simnet.rules import Rulebook, impossible

Contradiction = tuple[Where, str, type[ScenarioError]]
_MOST_SUGGESTIONS = 12
_NO_TENANTS = "there are boundaries, but no tenants between which they lie; add tenants, or leave the boundaries out"
_SMALLEST_BODY_BYTES = 32  # the checksum alone (collab.wire)


def tenancy_contradictions(scenario: Scenario) -> Iterator[Contradiction]:
    """Every contradiction among tenants, boundaries and budgets, root causes first."""
    if scenario.tenants is None:
        for index, _ in enumerate(scenario.boundaries):
            yield ("boundaries", index), _NO_TENANTS, ScenarioError
        for tenant in scenario.budgets:
            message = "there is a budget, but there are no tenants that could have one; add tenants, or leave it out"
            yield ("budgets", Key(tenant)), message, ScenarioError
        return
    yield from _misplaced_hosts(scenario, scenario.tenants)
    yield from _unknown_tenants(scenario, scenario.tenants)
    yield from _impossible_rules(scenario)
    yield from _unmet_needs(scenario)


def _misplaced_hosts(scenario: Scenario, tenants: Mapping[str, Sequence[str]]) -> Iterator[Contradiction]:
    hosts = scenario.hosts
    known = set(hosts)
    for tenant, patterns in tenants.items():
        for index, pattern in enumerate(patterns):
            if pattern not in known and not fnmatch.filter(hosts, pattern):
                problem = "matches no host" if set("*?[") & set(pattern) else "is no host"
                message = f'"{pattern}" {problem}{nearest(pattern, hosts[:8])}'
                yield ("tenants", tenant, index), message, ScenarioError
    for host, claimed in claims(scenario.tenants or {}, hosts).items():
        if len(claimed) != 1:
            if claimed:
                message = f"{host} belongs to {' and '.join(claimed)}; expected exactly one, take it out of the others"
            else:
                message = f"{host} belongs to no tenant; expected exactly one, add it to one"
            yield ("tenants",), message, ScenarioError


def _unknown_tenants(scenario: Scenario, known: Mapping[str, Sequence[str]]) -> Iterator[Contradiction]:
    named: list[tuple[Where, str]] = []
    for index, boundary in enumerate(scenario.boundaries):
        named += [(("boundaries", index, "to"), boundary.to), (("boundaries", index, "from"), boundary.source)]
    named += [(("budgets", Key(tenant)), tenant) for tenant in scenario.budgets]
    for where, tenant in named:
        if tenant not in known and not (tenant == "*" and where[0] == "boundaries"):
            message = f'there is no tenant "{tenant}"{nearest(tenant, list(known)[:_MOST_SUGGESTIONS])}'
            yield where, message, ScenarioError


def _impossible_rules(scenario: Scenario) -> Iterator[Contradiction]:
    budgets = scenario.budget_bytes()
    for index, rule in enumerate(scenario.rules()):
        problem = impossible(rule, budgets)
        if problem is not None:
            yield ("boundaries", index), f"the boundary {problem}", ScenarioError


# -- what a method needs -------------------------------------------------------------------------


def _unmet_needs(scenario: Scenario) -> Iterator[Contradiction]:
    """The first need of a method that the boundaries or budgets forbid."""
    tenant_of, book = scenario.tenant_of(), Rulebook(scenario.rules())
    server = tenant_of[SERVER]
    members: dict[str, list[str]] = {}
    for client in scenario.clients:
        if tenant_of[client] != server:
            members.setdefault(tenant_of[client], []).append(client)
    for settings in scenario.all_methods():
        unmet = _unmet_need(scenario, settings, members, server, book)
        if unmet is not None:
            yield (*unmet, BoundaryMissingError)
            return


def _unmet_need(
    scenario: Scenario, settings: Any, members: Mapping[str, Sequence[str]], server: str, book: Rulebook
) -> tuple[Where, str] | None:
    method, budgets = methods.get(settings.name), scenario.budget_bytes()
    smallest_bytes = _smallest_upload_bytes(scenario, settings)
    uploaded, tasked = methods.kinds(settings)
    for tenant, clients in members.items():
        fitting = [rule for rule in book.joining(tenant, server) if rule.allow >= uploaded and rule.answers >= tasked]
        if not fitting:
            return _missing_boundary(scenario, settings, clients[0], tenant, server)
        uploads = _certain_uploads(scenario, method, clients)
        unmet = _too_tight(scenario, settings.name, tenant, fitting, uploads, smallest_bytes)
        if unmet is not None:
            return unmet
        needed_bytes = uploads * smallest_bytes
        if budgets.get(tenant, needed_bytes) < needed_bytes:
            return ("budgets", tenant), (
                f"{settings.name} cannot run: {tenant} has at least {needed_bytes} B to send (uploads: {uploads}, of "
                f"at least {smallest_bytes} B each), but a budget of {budgets[tenant]} B; give it more"
            )
    tasks_bytes = sum(map(len, members.values())) * _SMALLEST_BODY_BYTES
    if not methods.needs_one_site(method) and budgets.get(server, tasks_bytes) < tasks_bytes:
        return ("budgets", server), (
            f"{settings.name} cannot run: {server} has at least {tasks_bytes} B of tasks to hand out, but a budget of "
            f"{budgets[server]} B; give it more"
        )
    return None


def _missing_boundary(scenario: Scenario, settings: Any, client: str, asking: str, asked: str) -> tuple[Where, str]:
    allow, answers = (", ".join(sorted(kinds)) for kinds in methods.kinds(settings))
    needed = f"{{to: {asked}, allow: [{allow}]" + (f", answers: [{answers}]}}" if answers else "}")
    return ("boundaries",) if scenario.boundaries else ("tenants",), (
        f"{settings.name} cannot run: no boundary rule lets {asking} ({client}) send its uploads to {asked} "
        f"({SERVER}) and get its task back; add {needed}"
    )


def _too_tight(
    scenario: Scenario, name: str, tenant: str, fitting: Sequence[Rule], uploads: int, smallest_bytes: int
) -> tuple[Where, str] | None:
    """Why rules that let a kind of upload pass do not let enough, or large enough ones."""
    wide = [rule for rule in fitting if _largest_bytes(rule) >= smallest_bytes]
    counts = [rule.at_most_count for rule in wide]
    known = [count for count in counts if count is not None]
    if uploads and not wide:
        limit, field = max((_largest_bytes(rule), _size_field(rule)) for rule in fitting)
        return _place(scenario, fitting, field), (
            f"{name} cannot run: an upload of {tenant} has at least {smallest_bytes} B, but the boundary lets at most "
            f"{limit} B pass at once; allow more"
        )
    if len(known) == len(counts) and sum(known) < uploads:
        return _place(scenario, wide, "at_most_count"), (
            f"{name} cannot run: {tenant} has at least {uploads} uploads to send, but the boundary lets "
            f"{sum(known)} messages pass; allow more"
        )
    return None


def _largest_bytes(rule: Rule) -> int:
    rate = rule.at_most_rate
    limits = [rule.at_most_bytes, rate.largest if rate is not None and rate.of == "bytes" else None]
    return min((limit for limit in limits if limit is not None), default=2**63)


def _size_field(rule: Rule) -> str:
    return "at_most" if rule.at_most_bytes == _largest_bytes(rule) else "at_most_rate"


def _place(scenario: Scenario, rules: Sequence[Rule], field: str) -> Where:
    """Where a limit stands, if a single boundary sets it."""
    indices = [index for index, rule in enumerate(scenario.rules()) if rule in rules]
    return ("boundaries", indices[0], field) if len(indices) == 1 else ("boundaries",)


def _certain_uploads(scenario: Scenario, method: methods.Method, clients: Sequence[str]) -> int:
    """How many uploads with content a tenant's clients will send at least, in a method that asks once or more.

    A client without data has nothing to send; only some partitions make sure that all have some.
    """
    if methods.needs_one_site(method):
        return int(scenario.clients[0] in clients)
    if scenario.partition.everyone_holds_something:
        return len(clients)
    return int(len(clients) == len(scenario.clients))


def _smallest_upload_bytes(scenario: Scenario, settings: Any) -> int:
    """A lower bound for an upload with content: of one class, without embeddings and envelope."""
    sites = 1 if methods.needs_one_site(methods.get(settings.name)) else len(scenario.clients)
    side = scenario.dataset.side
    known = settings.smallest_upload_bytes(settings.images_per_site(sites), side)
    return max(int(known), _SMALLEST_BODY_BYTES)

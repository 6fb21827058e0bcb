"""`collab topology`: a picture and a table of the network that a scenario describes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from collab.options import Overrides, ScenarioPath, check_picture

if TYPE_CHECKING:
    from collab.settings import Scenario
    from collab.topology_figure import LinkClass
    from simnet import Topology

_MOST_ROWS = 24


def command(
    scenario: ScenarioPath,
    overrides: Overrides = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Picture to write, .svg or .png; NAME-topology.svg if not given."),
    ] = None,
) -> None:
    """Draw the network of a scenario: hosts by tenant, links, what may cross; and list its links."""
    check_picture(output)
    from collab import scenario as scenarios
    from collab.settings import SERVER
    from collab.topology_figure import classes_of, draw

    chosen = scenarios.load(scenario, overrides or [])
    topology = chosen.topology()
    path = output or Path(f"{chosen.name}-topology.svg")
    crossings = list(_crossings(chosen))
    title = f"{chosen.name}: {chosen.network.topology}, {chosen.partition.clients:,} clients"
    draw(topology, path, title=title, server=SERVER, crossings=crossings)
    _print_links(topology, classes_of(topology.links))
    print(f"topology: {path}")


def _crossings(scenario: Scenario) -> Iterator[str]:
    if scenario.tenants is None or len(set(scenario.tenant_of().values())) < 2:
        yield "one tenant: there is nothing to cross"
        return
    for boundary in scenario.boundaries:
        source = "any" if boundary.source == "*" else boundary.source
        limit = "" if boundary.at_most is None else f", at most {_size(boundary.at_most)} each"
        yield f"{source} → {boundary.to}: {', '.join(boundary.allow) or 'nothing'}{limit}"
    if not scenario.boundaries:
        yield "nothing"


def _size(size_bytes: float) -> str:
    from simnet.units import format_size

    return format_size(size_bytes)


def _print_links(topology: Topology, classes: list[LinkClass]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("links", "number", "each of them", box=None)
    table.columns[1].justify = "right"
    table.columns[0].no_wrap = table.columns[1].no_wrap = True
    for alike in classes[:_MOST_ROWS]:
        table.add_row(alike.kind, f"{len(alike.links):,}", ", ".join(_facts(alike)))
    console = Console(highlight=False)
    console.print(table)
    if len(classes) > _MOST_ROWS:
        console.print(f"and {len(classes) - _MOST_ROWS} more kinds of links")
    limited = [host for host in topology.hosts if host.uplink_bps is not None or host.downlink_bps is not None]
    if limited:
        own = "has a capacity of its own" if len(limited) == 1 else "have a capacity of their own"
        console.print(f"{len(limited)} of {len(topology.hosts)} hosts {own}")


def _facts(alike: LinkClass) -> Iterator[str]:
    from simnet.units import format_duration

    link = alike.first
    yield alike.bandwidth()
    yield alike.latency()
    if link.jitter_s:
        yield f"{link.jitter_distribution} jitter of {format_duration(link.jitter_s)}"
    if link.loss or link.loss_of(1):
        up, down = (f"{100 * link.loss_of(direction):g} %" for direction in (0, 1))
        yield f"loss {up}" if up == down else f"loss {up} up, {down} down"
    yield link.queue if link.queue_packets is None else f"{link.queue} of {link.queue_packets} packets"
    schedules = [schedule for schedule in (link.schedule_of(0), link.schedule_of(1)) if schedule is not None]
    yield from dict.fromkeys(_steps(len(schedule.steps), schedule.period_s) for schedule in schedules)


def _steps(number: int, period_s: float | None) -> str:
    from simnet.units import format_duration

    steps = "1 step" if number == 1 else f"{number} steps"
    return f"schedule of {steps}" + ("" if period_s is None else f" every {format_duration(period_s)}")

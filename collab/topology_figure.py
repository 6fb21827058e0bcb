"""The picture of a network: hosts coloured by tenant, relays, links with what they carry, and what may cross.

Legible for a handful of hosts and for a hundred: links that are alike are labelled once and counted, hosts named as far
as there is room. Of more hosts than can be told apart, every so manyth is drawn.
"""

from __future__ import annotations

import dataclasses
import math
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from collab.picture_style import COLOURS, FAINT, GREY, INK, STYLE, save
from collab.topology_layout import Layout, layout, thinned
from simnet import CapacitySchedule, Link, Topology
from simnet.units import format_bandwidth, format_duration

# Of tenants beyond the colours, the same colours again with other markers.
MARKERS = ("o", "^", "s", "P", "X", "v")
RELAY = GREY
_MOST_LABELLED_LINKS = 16
_MOST_NAMES_ON_A_MAP = 25
_SHORT = 0.09  # of the picture: a link too short for a label of its own
_LEGEND_CHARACTERS = 52


@dataclasses.dataclass(frozen=True)
class LinkClass:
    """Links that are alike but for their ends and what distance adds to their latency."""

    kind: str
    links: tuple[Link, ...]

    @property
    def first(self) -> Link:
        """The one that stands for all."""
        return self.links[0]

    def bandwidth(self) -> str:
        """Capacity in words, in both directions if they differ; "~" before one that a schedule changes."""
        first = self.first
        up, down = format_bandwidth(first.bandwidth_bps), format_bandwidth(first.reverse_bps)
        changing = "~" if first.schedule or first.reverse_schedule else ""
        return changing + (up if up == down else f"{up} up, {down} down")

    def latency(self) -> str:
        """Latency in words, a range if they differ."""
        low, high = (format_duration(f(link.latency_s for link in self.links)) for f in (min, max))
        return low if low == high else f"{low} to {high}"


def classes_of(links: Sequence[Link]) -> list[LinkClass]:
    """Links that are alike, in the order in which they first occur."""
    found: dict[Any, list[Link]] = {}
    for link in links:
        ends = tuple(re.sub(r"\d+", "*", end) for end in (link.a, link.b))
        found.setdefault((ends, *(getattr(link, name) for name in _ALIKE), *map(id, _schedules(link))), []).append(link)
    return [
        LinkClass(" -- ".join(key[0]) if len(alike) > 1 else f"{alike[0].a} -- {alike[0].b}", tuple(alike))
        for key, alike in found.items()
    ]


def _schedules(link: Link) -> tuple[CapacitySchedule | None, CapacitySchedule | None]:
    """Told apart by identity: a long trace is not to be compared for every link."""
    return link.schedule, link.reverse_schedule


_APART = ("a", "b", "latency_s", "schedule", "reverse_schedule")
_ALIKE = tuple(setting.name for setting in dataclasses.fields(Link) if setting.name not in _APART)


def draw(topology: Topology, path: Path, *, title: str, server: str, crossings: Sequence[str]) -> None:
    """Draw a topology into an SVG or PNG file; `crossings` say what may cross between tenants."""
    classes = classes_of(topology.links)
    shown, step = thinned(topology, server)
    tenants = list(dict.fromkeys(host.tenant for host in topology.hosts))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(11.5, 8.2))
        axes = figure.add_axes((0.02, 0.03, 0.66, 0.89))
        _draw_network(axes, shown, tenants, server, counted=step == 1)
        figure.text(0.03, 0.955, title, fontsize=14, fontweight="bold", va="center")
        if step > 1:
            note = f"one in {step} of {len(topology.hosts) - 1:,} clients is drawn"
            figure.text(0.03, 0.925, note, fontsize=9, color=RELAY, va="center")
        _draw_legend(figure, topology, classes, tenants, server, crossings)
        save(figure, path)


def _draw_network(axes: Axes, topology: Topology, tenants: Sequence[str], server: str, *, counted: bool) -> None:
    placed = layout(topology, server)
    axes.set_axis_off()
    _frame(axes, placed, margin=0.17 if topology.places or len(topology.hosts) <= 24 else 0.1)
    narrowest = min(link.bandwidth_bps for link in topology.links) if topology.links else 1.0
    for link in topology.links:
        (x0, y0), (x1, y1) = placed.places[link.a], placed.places[link.b]
        width = 0.7 + 0.8 * math.log10(max(1.0, link.bandwidth_bps / narrowest))
        style = (0, (4, 2)) if link.schedule or link.reverse_schedule else "-"
        axes.plot([x0, x1], [y0, y1], color=FAINT, linewidth=min(width, 4.0), linestyle=style, zorder=1)
    many = len(topology.hosts) > 40
    if topology.relays:
        size = 14 if len(topology.relays) > 40 else 34
        xs, ys = zip(*(placed.places[relay] for relay in topology.relays), strict=True)
        axes.scatter(xs, ys, s=size, marker="s", color="white", edgecolor=RELAY, linewidth=1.2, zorder=3)
    for host in topology.hosts:
        colour, marker = look_of(tenants.index(host.tenant))
        size = 190 if host.name == server else 26 if many else 80
        marker = "D" if host.name == server else marker
        axes.scatter(
            *placed.places[host.name], s=size, marker=marker, color=colour, edgecolor=INK, linewidth=0.6, zorder=4
        )
    _name_hosts(axes, topology, placed, server)
    _name_relays(axes, topology, placed)
    _label_links(axes, topology, placed, counted=counted)


def _frame(axes: Axes, placed: Layout, margin: float) -> None:
    """Show all nodes on one scale in both directions, in the middle, with a margin for their names."""
    xs, ys = zip(*placed.places.values(), strict=True)
    box = axes.get_window_extent()
    half = (
        max((max(xs) - min(xs)) / box.width, (max(ys) - min(ys)) / box.height) / 2 * (1 + 2 * margin) or 1 / box.width
    )
    for low, high, pixels, limit in (
        (min(xs), max(xs), box.width, axes.set_xlim),
        (min(ys), max(ys), box.height, axes.set_ylim),
    ):
        limit((low + high) / 2 - half * pixels, (low + high) / 2 + half * pixels)


def look_of(index: int) -> tuple[str, str]:
    """Colour and marker of the tenant with this number."""
    return COLOURS[index % len(COLOURS)], MARKERS[index // len(COLOURS) % len(MARKERS)]


def _name_hosts(axes: Axes, topology: Topology, placed: Layout, server: str) -> None:
    others = [host.name for host in topology.hosts if host.name != server]
    most = _MOST_NAMES_ON_A_MAP if topology.places else 130
    step = math.ceil(len(others) / most)
    upright = len(others) <= 24
    for index, name in enumerate([*others, server]):
        if index % step and name != server:
            continue
        angle = placed.facing.get(name, math.pi / 2)
        east, north = math.cos(angle), math.sin(angle)
        turned = 0.0 if upright or name == server or topology.places else math.degrees(angle)
        flipped = abs(angle) % (2 * math.pi) > math.pi / 2 and east < 0
        distance = 12 if name == server else 9 if upright else 6
        axes.annotate(
            name,
            placed.places[name],
            xytext=(distance * east, distance * north),
            textcoords="offset points",
            fontsize=10 if name == server else 8.5 if upright else 6.5,
            fontweight="bold" if name == server else "normal",
            rotation=turned + 180 if turned and flipped else turned,
            rotation_mode="anchor",
            ha=_aligned(east, "left", "right") if not turned else "right" if flipped else "left",
            va=_aligned(north, "bottom", "top") if not turned else "center",
            zorder=6,
        )


def _aligned(component: float, forward: str, backward: str) -> Any:
    return "center" if abs(component) < 0.4 else forward if component > 0 else backward


def _name_relays(axes: Axes, topology: Topology, placed: Layout) -> None:
    if len(topology.relays) > (12 if topology.places else 24):
        return
    for relay in topology.relays:
        axes.annotate(
            relay,
            placed.places[relay],
            xytext=(0, -8),
            textcoords="offset points",
            fontsize=7.5,
            color=RELAY,
            ha="center",
            va="top",
            zorder=5,
            bbox={"boxstyle": "round,pad=0.1", "facecolor": "white", "edgecolor": "none", "alpha": 0.8},
        )


def _label_links(axes: Axes, topology: Topology, placed: Layout, *, counted: bool) -> None:
    """Every link if they are few; else one of each kind, with their number; on a map of many none."""
    classes = classes_of(topology.links)
    few = len(topology.links) <= _MOST_LABELLED_LINKS
    if topology.places and not few:
        return
    low, high = axes.get_xlim()
    room = _SHORT * (high - low)
    written: list[tuple[float, float]] = []
    hosts = {host.name for host in topology.hosts}
    for index, alike in enumerate(classes):
        # One from another side for each kind, so that they do not lie on each other.
        middle = len(alike.links) * (index + 1) // (len(classes) + 1)
        for link in alike.links if few else alike.links[middle : middle + 1]:
            (x0, y0), (x1, y1) = start, end = placed.places[link.a], placed.places[link.b]
            if few and math.dist(start, end) < room:
                continue  # the legend has it
            label = LinkClass(alike.kind, (link,) if few else alike.links)
            alone = few or len(alike.links) == 1 or not counted
            along = 0.5 + 0.12 * ((link.b in hosts) - (link.a in hosts))  # nearer hosts there is more room
            at = (x0 + along * (x1 - x0), y0 + along * (y1 - y0))
            nodes = (place for name, place in placed.places.items() if name not in (link.a, link.b))
            if topology.places and any(math.dist(at, other) < room for other in (*nodes, *written)):
                continue  # on a map, where it would lie on a node or on another label; the legend has it
            written.append(at)
            axes.annotate(
                f"{label.bandwidth()}\n{label.latency()}" + ("" if alone else f"\n{len(alike.links)} alike"),
                at,
                fontsize=7,
                color=INK,
                ha="center",
                va="center",
                zorder=5,
                bbox={"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.85},
            )


def _draw_legend(
    figure: Figure,
    topology: Topology,
    classes: Sequence[LinkClass],
    tenants: Sequence[str],
    server: str,
    crossings: Sequence[str],
) -> None:
    """Beside the picture, from the top: tenants, kinds of links, what may cross."""
    axes = figure.add_axes((0.69, 0.03, 0.30, 0.89))
    axes.set_axis_off()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    y = 0.985

    def line(text: str, *, bold: bool = False, indent: float = 0.0, colour: str = INK) -> None:
        nonlocal y
        size, weight = (10.0, "bold") if bold else (8.5, "normal")
        axes.text(indent, y, text, fontsize=size, fontweight=weight, color=colour, va="center")
        y -= 0.034 if bold else 0.028

    def mark(marker: str, colour: str, edge: str) -> None:
        axes.add_line(Line2D([0.03], [y], marker=marker, color=colour, markeredgecolor=edge, markersize=7))

    line("tenants", bold=True)
    counts = {tenant: [host.name for host in topology.hosts if host.tenant == tenant] for tenant in tenants}
    for index, tenant in enumerate(tenants[:14]):
        colour, marker = look_of(index)
        marker = "D" if counts[tenant] == [server] else marker
        mark(marker, colour, INK)
        number = len(counts[tenant])
        line(f"{tenant}   {counts[tenant][0] if number == 1 else f'{number} hosts'}", indent=0.08)
    if len(tenants) > 14:
        line(f"and {len(tenants) - 14} more", indent=0.08, colour=RELAY)
    if topology.relays:
        mark("s", "white", RELAY)
        line(f"relay   {len(topology.relays)}", indent=0.08)
    y -= 0.02
    line("links", bold=True)
    for alike in classes[:10]:
        times = f"{len(alike.links)} x " if len(alike.links) > 1 else ""
        line(f"{times}{alike.kind}")
        line(f"{alike.bandwidth()}, {alike.latency()}", indent=0.04, colour=RELAY)
    if len(classes) > 10:
        line(f"and {len(classes) - 10} kinds more", colour=RELAY)
    if any(link.schedule or link.reverse_schedule for link in topology.links):
        line("dashed, ~: follows a schedule", colour=RELAY)
    y -= 0.02
    line("may cross between tenants", bold=True)
    for crossing in crossings[:8]:
        for index, part in enumerate(textwrap.wrap(crossing, _LEGEND_CHARACTERS)):
            line(part, indent=0.04 if index else 0.0)
    if len(crossings) > 8:
        line(f"and {len(crossings) - 8} rules more", colour=RELAY)


__all__ = ["LinkClass", "classes_of", "draw"]

"""From a trace to what the figures show: who did what when, the slowest path, and the use of links over time.

Reads events only; the words in them (`compute`, `request`, `reply`, `upload`, `result`, `link`) are those that simnet
and collab's agents write.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from simnet.trace import Event

Doing = Literal["computing", "sending", "waiting"]
SERVER = "server"


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, in seconds, that a host spent with one thing."""

    start_s: float
    end_s: float
    doing: Doing
    label: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """All spans of each host, the site that was last to upload, and the moments that matter."""

    spans: Mapping[str, Sequence[Span]]
    slowest: str
    last_upload_s: float
    result_s: float
    end_s: float


def timeline(trace: Iterable[Event]) -> Timeline:
    """The timeline of one method's run."""
    uploads: list[Event] = []
    result_s = 0.0
    busy: dict[str, list[Span]] = {}
    asked: dict[tuple[str, str], Event] = {}
    for event in trace:
        if event.kind == "upload":
            uploads.append(event)
        elif event.kind == "result":
            result_s = max(result_s, event.at_s)
        elif event.kind == "compute":
            start_s = int(str(event.values["start_us"])) / 1e6
            busy.setdefault(event.host, []).append(Span(start_s, event.at_s, "computing", str(event.values["job"])))
        elif event.kind == "request" and event.values["method"] == "PUT":
            asked[event.host, str(event.values["path"])] = event
        elif event.kind == "reply" and (event.host, str(event.values["path"])) in asked:
            began = asked.pop((event.host, str(event.values["path"])))
            label = f"{int(str(began.values['bytes'])):,} B"
            busy.setdefault(event.host, []).append(Span(began.at_s, event.at_s, "sending", label))
    last = max(uploads, key=lambda event: event.at_us)
    end_s = max([result_s, *(span.end_s for spans in busy.values() for span in spans)])
    hosts = sorted({str(event.values["site"]) for event in uploads}, key=_natural)
    spans = {host: _with_waiting(busy.get(host, []), end_s) for host in [*hosts, SERVER]}
    return Timeline(spans, str(last.values["site"]), last.at_s, result_s, end_s)


def _with_waiting(spans: Sequence[Span], end_s: float) -> list[Span]:
    filled: list[Span] = []
    now_s = 0.0
    for span in sorted(spans, key=lambda span: span.start_s):
        if span.start_s > now_s:
            filled.append(Span(now_s, span.start_s, "waiting", ""))
        filled.append(span)
        now_s = max(now_s, span.end_s)
    if now_s < end_s:
        filled.append(Span(now_s, end_s, "waiting", ""))
    return filled


def _natural(name: str) -> tuple[str, int]:
    stem, _, number = name.rpartition("-")
    return (stem, int(number)) if number.isdigit() else (name, 0)


@dataclass(frozen=True, slots=True)
class LinkUse:
    """How much of a directed link was in use: steps that begin at `times_s`, as a share of its capacity."""

    name: str
    times_s: Sequence[float]
    share: Sequence[float]
    carried_bytes: float


def link_use(trace: Iterable[Event], capacity_bps: Mapping[str, float], end_s: float) -> list[LinkUse]:
    """The use of every link that carried anything, the one that carried most first."""
    steps: dict[str, list[tuple[float, float]]] = {}
    for event in trace:
        if event.kind == "link":
            wire_bps = float(str(event.values["wire_bps"]))
            changes = steps.setdefault(event.host, [])
            if "since_us" in event.values:  # the mean of a time that ends now, not a step that begins
                changes += [(int(str(event.values["since_us"])) / 1e6, wire_bps), (event.at_s, 0.0)]
            else:
                changes.append((event.at_s, wire_bps))
    uses = []
    for name, changes in steps.items():
        changes.sort(key=lambda change: change[0])
        times_s = [0.0, *(at_s for at_s, _ in changes), max(end_s, changes[-1][0])]
        rates = [0.0, *(bps for _, bps in changes)]
        carried = sum(bps / 8 * (end - start) for bps, (start, end) in zip(rates, pairwise(times_s), strict=True))
        share = [bps / capacity_bps[name] for bps in [*rates, rates[-1]]]
        uses.append(LinkUse(name, times_s, share, carried))
    return sorted(uses, key=lambda use: -use.carried_bytes)

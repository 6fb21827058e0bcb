"""What a server counts and measures, as Prometheus reads it.

Labels are few and known beforehand: names of operations, statuses, codes of refusals, states. No site is named, and
nothing is told of what is in a body but its length.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from collab.deploy.health import Health, State
from simnet.door import Door, Exchange

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
BUCKETS_S = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0, 300.0, 1800.0)
"""From an answer out of memory over a request that waits a minute to an upload over a slow link."""
_SITES = (
    "Sites: expected in the run; seen since the process began; of the latest round: asked, finished (upload accepted), "
    "missing, lost (of the missing: for good)."
)
NO_STATUS = "none"
"""The status of a request that was broken off before it was answered."""


class Metrics:
    """The metrics of one server whose sites are `sites`. `heard` is to be called with every request."""

    def __init__(self, sites: Collection[str], health: Health, store: Path | None = None) -> None:
        # When a counter began doubles the output, and nobody asks for it.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._sites = frozenset(sites)
        self._seen: set[str] = set()
        self.registry = registry = CollectorRegistry(auto_describe=True)
        by = ["operation"]
        self._requests = Counter("collab_requests", "Requests.", [*by, "status"], registry=registry)
        self._refusals = Counter(
            "collab_refusals", "Refusals, by the code of the reason.", [*by, "code"], registry=registry
        )
        self._request_bytes = Counter("collab_request_bytes", "Bytes of bodies that came.", by, registry=registry)
        self._answer_bytes = Counter("collab_answer_bytes", "Bytes of bodies that were sent.", by, registry=registry)
        self._duration = Histogram(
            "collab_request_duration_seconds", "From the head of a request to its answer, bodies and waiting included.",
            by, buckets=BUCKETS_S, registry=registry,
        )  # fmt: skip
        self._inside = Gauge("collab_requests_in_progress", "Requests that are being served.", registry=registry)
        self._connections = Gauge("collab_open_connections", "Connections that are open.", registry=registry)
        if store is not None:
            free = Gauge("collab_store_free_bytes", "Bytes that are free where the store is.", registry=registry)
            free.set_function(lambda: _free_bytes(store))
        registry.register(_Run(health, len(self._sites), lambda: len(self._seen)))
        for kind in (ProcessCollector, PlatformCollector, GCCollector):
            kind(registry=registry)

    def watch(self, door: Door) -> None:
        """Say how many are at a door, too."""
        self._inside.set_function(lambda: door.inside)
        self._connections.set_function(lambda: float(door.connections()))
        self.registry.register(_Refused(door))

    def heard(self, exchange: Exchange) -> None:
        """Count a request."""
        operation = exchange.operation
        status = NO_STATUS if exchange.status is None else str(exchange.status)
        self._requests.labels(operation, status).inc()
        if exchange.code:
            self._refusals.labels(operation, exchange.code).inc()
        self._request_bytes.labels(operation).inc(exchange.request_bytes)
        self._answer_bytes.labels(operation).inc(exchange.answer_bytes)
        self._duration.labels(operation).observe(exchange.duration_s)
        if exchange.peer in self._sites and exchange.status != 403:
            self._seen.add(exchange.peer)

    def text(self) -> bytes:
        """All of it in Prometheus' text format, as `CONTENT_TYPE`."""
        return generate_latest(self.registry)


class _Run(Collector):
    """How the run stands, looked up when somebody asks."""

    def __init__(self, health: Health, expected: int, seen: Callable[[], int]) -> None:
        self._health = health
        self._expected = expected
        self._seen = seen

    def collect(self) -> Iterable[Metric]:
        """The metrics of the run."""
        health, state = self._health, self._health.state
        yield _states("collab_state", "1 for what the server does now, 0 for all else.", "state", {
            each.value: float(each is state) for each in State
        })  # fmt: skip
        yield GaugeMetricFamily("collab_ready", "1 if a site that comes now is served.", float(not health.unready()))
        sites = health.sites()
        counts = {"expected": self._expected, "seen": self._seen(), **asdict(sites)}
        yield _states("collab_sites", _SITES, "state", counts)
        yield GaugeMetricFamily("collab_round", "Number of the latest round, from 1.", health.round_number)
        yield CounterMetricFamily("collab_uploads_accepted", "Uploads that count.", health.uploads())
        yield _states("collab_build_info", "The version.", "version", {metadata.version("collab-edge"): 1})


class _Refused(Collector):
    """The connections of which no request was heard."""

    def __init__(self, door: Door) -> None:
        self._door = door

    def collect(self) -> Iterable[Metric]:
        """One counter."""
        says = "Connections that were ended before a request was heard, by reason."
        family = CounterMetricFamily("collab_connections_refused", says, labels=["reason"])
        for reason, number in dict(self._door.turned_away()).items():
            family.add_metric([reason], number)
        yield family


def _states(name: str, says: str, label: str, values: Mapping[str, float]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, says, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _free_bytes(folder: Path) -> float:
    try:
        return float(shutil.disk_usage(folder).free)
    except OSError:
        return float("nan")  # there is none any more: as Prometheus says it

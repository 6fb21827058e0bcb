"""Everything that can go wrong: the faults that `simnet.faults.Faults` installs or carries out on schedule.

What each does to programs is written down with what it acts on: links, paths and hosts that are off in
`simnet.outages` and `simnet.power`, lost and delayed messages in `simnet.judged`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from simnet.draws import generator
from simnet.errors import FaultError, TopologyError
from simnet.faults import Fault, Undo, World, hosts_named, in_force, links_named
from simnet.topology import Topology
from simnet.trace import Value
from simnet.verdicts import DROP, PASS, RESET, Attempt, FaultRule, Hold, Transfer, Verdict


@dataclass(frozen=True, slots=True)
class LinkDown(Fault):
    """A link carries nothing; see `links_named` for `link`."""

    kind: ClassVar[str] = "link-down"
    link: str

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Take the link down."""
        return _scaled(world, self.link, 0.0)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a link."""
        links_named(topology, self.link)

    def where(self) -> str:
        """The link."""
        return self.link


@dataclass(frozen=True, slots=True)
class BandwidthCollapse(Fault):
    """A link keeps `factor` of its capacity, between 0 and 1; see `links_named` for `link`."""

    kind: ClassVar[str] = "bandwidth"
    link: str
    factor: float

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Narrow the link."""
        return _scaled(world, self.link, self.factor)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a link and the factor is above 0 and at most 1."""
        links_named(topology, self.link)
        if not 0 < self.factor <= 1:
            raise FaultError(f"a factor of {self.factor} of the bandwidth: expected above 0, at most 1")

    def where(self) -> str:
        """The link."""
        return self.link

    def facts(self) -> dict[str, Value]:
        """The factor."""
        return {"factor": self.factor}


@dataclass(frozen=True, slots=True)
class Partition(Fault):
    """Hosts of different `sides` do not reach each other; a side names hosts or tenants. Who is on none is not cut."""

    kind: ClassVar[str] = "partition"
    sides: tuple[tuple[str, ...], ...]

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Cut the sides off from each other."""
        pairs = self._pairs(world.topology)
        world.streams.outages.cut_off(pairs)
        return lambda: world.streams.outages.join_again(pairs)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there are two sides or more, of known hosts, none of them on two sides."""
        self._pairs(topology)

    def facts(self) -> dict[str, Value]:
        """The sides."""
        return {"sides": ["+".join(side) for side in self.sides]}

    def _pairs(self, topology: Topology) -> list[tuple[str, str]]:
        sides = [[host for name in side for host in hosts_named(topology, name)] for side in self.sides]
        if len(sides) < 2 or not all(sides):
            raise FaultError("a partition has two sides or more, and nobody is missing on any")
        everybody = [host for side in sides for host in dict.fromkeys(side)]
        if twice := sorted({host for host in everybody if everybody.count(host) > 1}):
            raise FaultError(f"{', '.join(twice)} cannot be on two sides of a partition")
        return [(a, b) for one in sides for other in sides if one is not other for a in one for b in other]


@dataclass(frozen=True, slots=True)
class BurstLoss(Fault):
    """Packets that cross a link are lost at random with this probability, beside those that it loses anyway.

    TCP repeats them and slows down (`simnet.pacing`); a handshake that is lost is repeated after a second or more.
    """

    kind: ClassVar[str] = "loss"
    link: str
    probability: float

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Let the link lose packets."""
        outages = world.streams.outages
        links = links_named(world.topology, self.link)
        for directed in links:
            outages.lose(directed, self.probability)

        def undo() -> None:
            for directed in links:
                outages.lose_no_more(directed, self.probability)

        return undo

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a link and some packets, but not all, may be lost."""
        links_named(topology, self.link)
        if not 0 <= self.probability < 1:
            raise FaultError(
                f"packets are lost with a probability of {self.probability}: expected at least 0 and below 1; "
                "a link that carries nothing is down (link-down)"
            )

    def where(self) -> str:
        """The link."""
        return self.link

    def facts(self) -> dict[str, Value]:
        """The probability."""
        return {"probability": self.probability}


@dataclass(frozen=True, slots=True)
class HostCrash(Fault):
    """A host is switched off: its tasks, its memory and its connections are gone, its disk is kept.

    When it ends the host restarts, and so do the programs that were started with `Host.boot`.
    """

    kind: ClassVar[str] = "crash"
    host: str

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Switch the host off."""
        world.crash(self.host, for_good=for_good)
        return lambda: world.restart(self.host)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a host."""
        _check_host(topology, self.host)

    def where(self) -> str:
        """The host."""
        return self.host


@dataclass(frozen=True, slots=True)
class SlowHost(Fault):
    """A host's jobs take `factor` times as long, from now on, also what is left of the one in hand."""

    kind: ClassVar[str] = "slow"
    host: str
    factor: float

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Slow the host down."""
        return world.slow_down(self.host, self.factor)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a host and the factor is positive."""
        _check_host(topology, self.host)
        if not (math.isfinite(self.factor) and self.factor > 0):
            raise FaultError(f"{self.host} is slower by a factor of {self.factor}: expected a positive number")

    def where(self) -> str:
        """The host."""
        return self.host

    def facts(self) -> dict[str, Value]:
        """The factor."""
        return {"factor": self.factor}


@dataclass(frozen=True, slots=True)
class ClockSkew(Fault):
    """A host's clock shows `offset_s` more than it should, and gains `drift` seconds in each.

    That is what `Host.now` says, and `clock_us` in the events that the host's programs record. The trace itself, the
    ledger, `asyncio.sleep` and timeouts keep to the network's time.
    """

    kind: ClassVar[str] = "clock"
    host: str
    offset_s: float = 0.0
    drift: float = 0.0

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Put the clock wrong."""
        return world.skew_clock(self.host, self.offset_s, self.drift)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless there is such a host and its clock goes forward."""
        _check_host(topology, self.host)
        if not (math.isfinite(self.offset_s) and math.isfinite(self.drift) and self.drift > -1):
            raise FaultError(f"a clock off by {self.offset_s} s and {self.drift} s a second cannot go forward")

    def where(self) -> str:
        """The host."""
        return self.host

    def facts(self) -> dict[str, Value]:
        """By how much."""
        return {"offset_us": round(self.offset_s * 1e6), "drift": self.drift}


@dataclass(frozen=True, slots=True)
class HoldMessages(Fault):
    """Every message from `source` to `target` (hosts, tenants or `*`) arrives `delay_s` later."""

    kind: ClassVar[str] = "hold"
    source: str
    target: str
    delay_s: float

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Hold messages from now on."""
        return in_force(world, _Between(world, self, Hold(self.delay_s)))

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless the names are known and the delay is none that goes back in time."""
        _check_ends(topology, self.source, self.target)
        if not (math.isfinite(self.delay_s) and self.delay_s >= 0):
            raise FaultError(f"held for {self.delay_s} s: expected 0 or more")

    def facts(self) -> dict[str, Value]:
        """Between whom, and how long."""
        return {"from": self.source, "to": self.target, "delay_us": round(self.delay_s * 1e6)}


@dataclass(frozen=True, slots=True)
class DropMessages(Fault):
    """A message, or an attempt to connect, from `source` to `target` (hosts, tenants or `*`) is lost."""

    kind: ClassVar[str] = "drop"
    source: str
    target: str
    probability: float = 1.0

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Drop messages from now on."""
        return in_force(world, _Between(world, self, DROP, self.probability))

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless the names are known and the probability is one."""
        _check_ends(topology, self.source, self.target)
        _check_probability(self.probability)

    def facts(self) -> dict[str, Value]:
        """Between whom, and how often."""
        return {"from": self.source, "to": self.target, "probability": self.probability}


@dataclass(frozen=True, slots=True)
class ResetConnections(Fault):
    """Connections between `source` and `target` (hosts, tenants or `*`) are reset: those that are open, then new ones
    as soon as `source` sends something.
    """

    kind: ClassVar[str] = "reset"
    source: str
    target: str

    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Reset what is open, and what comes."""
        rule = _Between(world, self, RESET)
        world.streams.reset(rule.concerns)
        return in_force(world, rule)

    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless the names are known."""
        _check_ends(topology, self.source, self.target)

    def facts(self) -> dict[str, Value]:
        """Between whom."""
        return {"from": self.source, "to": self.target}


class _Between(FaultRule):
    """The same verdict on everything between two (groups of) hosts, or on some of it."""

    def __init__(
        self,
        world: World,
        fault: HoldMessages | DropMessages | ResetConnections,
        verdict: Verdict,
        probability: float = 1.0,
    ) -> None:
        self._sources = frozenset(hosts_named(world.topology, fault.source))
        self._targets = frozenset(hosts_named(world.topology, fault.target))
        self._verdict = verdict
        self._probability = probability
        self._draws = generator(world.seed, fault.kind, fault.source, fault.target, int(world.clock.now))

    def concerns(self, source: str, target: str) -> bool:
        """Whether it is about this direction."""
        return source in self._sources and target in self._targets

    def message(self, transfer: Transfer) -> Verdict:
        """The verdict."""
        return self._chance() if self.concerns(transfer.source, transfer.target) else PASS

    def connection(self, attempt: Attempt) -> Verdict:
        """The verdict; an attempt that is held or reset would be so anyway once it says something."""
        if self._verdict is not DROP:
            return PASS
        ways = ((attempt.source, attempt.target), (attempt.target, attempt.source))  # its own, and its answer's
        return DROP if any(self.concerns(*way) and self._chance() is DROP for way in ways) else PASS

    def _chance(self) -> Verdict:
        return self._verdict if self._probability >= 1 or self._draws.random() < self._probability else PASS


def _scaled(world: World, link: str, factor: float) -> Undo:
    outages = world.streams.outages
    links = links_named(world.topology, link)
    for directed in links:
        outages.scale(directed, factor)

    def undo() -> None:
        for directed in links:
            outages.unscale(directed, factor)

    return undo


def _check_host(topology: Topology, name: str) -> None:
    try:
        topology.host(name)
    except TopologyError as error:
        raise FaultError(str(error)) from None


def _check_ends(topology: Topology, source: str, target: str) -> None:
    hosts_named(topology, source), hosts_named(topology, target)


def _check_probability(probability: float) -> None:
    if not 0 < probability <= 1:
        raise FaultError(f"lost with a probability of {probability}: expected above 0, at most 1")

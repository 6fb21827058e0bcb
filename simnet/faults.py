"""What goes wrong: links that go down, partitions, hosts that crash, clocks that are off; by scope or on a schedule.

A `Fault` (`simnet.fault_kinds`) changes the network while it lasts; a `simnet.verdicts.FaultRule` sees every message,
connection attempt and job while it is in force. Either is installed with `Faults.install`, whose guard takes it back,
or planned for a moment of virtual time with `Faults.schedule`. Faults of one kind may overlap: each takes back only
what it did itself. Their beginning, their end and every verdict is in the trace, as kind "fault".

Modelled: what `simnet.outages`, `simnet.judged` and `simnet.power` say that the network does about it. Not modelled:
routes around what is down, half-broken hosts, bytes that are altered on their way, faults of real sockets.
"""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import ClassVar, Protocol

from simnet.clock import Clock
from simnet.errors import FaultError
from simnet.streams import StreamNetwork
from simnet.topology import Topology
from simnet.trace import Trace, Value
from simnet.verdicts import FaultRule

ANYONE = "*"
Undo = Callable[[], None]


class World(Protocol):
    """What faults act on: a simulated network."""

    topology: Topology
    clock: Clock
    trace: Trace
    streams: StreamNetwork

    @property
    def seed(self) -> int:
        """The seed of the network's draws."""

    def crash(self, host: str, *, for_good: bool = False) -> None:
        """Switch a host off."""

    def restart(self, host: str) -> None:
        """Switch a host on again."""

    def slow_down(self, host: str, factor: float) -> Undo:
        """Let a host's jobs take `factor` times as long until it is undone."""

    def skew_clock(self, host: str, offset_s: float, drift: float) -> Undo:
        """Let a host's clock be wrong until it is undone."""


def links_named(topology: Topology, name: str) -> list[int]:
    """The directed links that a name stands for.

    "client-3" is every link of that host or relay, both ways; "client-3 -- hub" the link between the two, both ways;
    "client-3 > hub" one way of it. Raises `FaultError` for a name that stands for none.
    """
    ways = [set(directed.split(" > ")) for directed in topology.link_names()]
    if " > " in name:
        found = [index for index, directed in enumerate(topology.link_names()) if directed == name]
    elif " -- " in name:
        found = [index for index, ends in enumerate(ways) if ends == set(name.split(" -- "))]
    else:
        found = [index for index, ends in enumerate(ways) if name in ends]
    if not found:
        raise FaultError(f'there is no link "{name}": expected a host, a relay, "a -- b" or "a > b"')
    return found


def hosts_named(topology: Topology, name: str) -> list[str]:
    """The hosts that a name stands for: a host, all hosts of a tenant, or * for all. Raises `FaultError` for none."""
    hosts = [host.name for host in topology.hosts if name in (host.name, ANYONE)]
    hosts = hosts or [host.name for host in topology.hosts if host.tenant == name]
    if not hosts:
        raise FaultError(f'there is no host or tenant "{name}"')
    return hosts


class Fault(abc.ABC):
    """Something that goes wrong for a while."""

    kind: ClassVar[str]

    @abc.abstractmethod
    def begin(self, world: World, *, for_good: bool) -> Undo:
        """Let it go wrong; returns what puts it right. `for_good`: nobody will. Raises `FaultError`."""

    @abc.abstractmethod
    def check(self, topology: Topology) -> None:
        """Raise `FaultError` unless everything that it names is in this topology."""

    def where(self) -> str:
        """The host or link that it befalls, as the trace has it."""
        return "network"

    def facts(self) -> dict[str, Value]:
        """What the trace says of it beside its kind."""
        return {}


@dataclass(frozen=True, slots=True)
class Planned:
    """A fault that begins at `at_s` seconds and ends `for_s` later; never, if that is not given.

    Raises `FaultError` for a moment before the start of the run, or a duration that is none.
    """

    at_s: float
    fault: Fault
    for_s: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.at_s) and self.at_s >= 0):
            raise FaultError(f"{self.fault.kind} at {self.at_s} s: expected 0 or more")
        if self.for_s is not None and not (math.isfinite(self.for_s) and self.for_s > 0):
            raise FaultError(f"{self.fault.kind} for {self.for_s} s: expected more than 0")


class Guard:
    """Takes a fault or a rule back: by `remove`, or at the end of the `with` that it stands in."""

    def __init__(self, undo: Undo) -> None:
        self._undo: Undo | None = undo

    def remove(self) -> None:
        """Take it back; does nothing the second time."""
        undo, self._undo = self._undo, None
        if undo is not None:
            undo()

    def __enter__(self) -> Guard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.remove()


class Faults:
    """What goes wrong in a simulated network. Its `faults`."""

    def __init__(self, world: World) -> None:
        self._world = world

    def install(self, fault: Fault | FaultRule) -> Guard:
        """Let something go wrong, or put a rule in force, until the guard takes it back. Raises `FaultError`."""
        if isinstance(fault, FaultRule):
            return Guard(in_force(self._world, fault))
        fault.check(self._world.topology)
        return self._begin(fault, for_good=False)

    def schedule(self, plan: Iterable[Planned]) -> None:
        """Plan faults on the virtual clock; those of the same moment begin in this order. Raises `FaultError`."""
        plan = list(plan)
        check_plan(plan, self._world.topology)
        for planned in plan:
            self._world.clock.call_at(planned.at_s, lambda planned=planned: self._carry_out(planned))  # type: ignore[misc]

    def _carry_out(self, planned: Planned) -> None:
        guard = self._begin(planned.fault, for_good=planned.for_s is None)
        if planned.for_s is not None:
            self._world.clock.call_in(planned.for_s, guard.remove)

    def _begin(self, fault: Fault, *, for_good: bool) -> Guard:
        self._record(fault, "begins")
        undo = fault.begin(self._world, for_good=for_good)

        def end() -> None:
            self._record(fault, "ends")
            undo()

        return Guard(end)

    def _record(self, fault: Fault, phase: str) -> None:
        world = self._world
        world.trace.record(world.clock.now_s, fault.where(), "fault", fault=fault.kind, phase=phase, **fault.facts())


def check_plan(plan: Sequence[Planned], topology: Topology) -> None:
    """Raise `FaultError` unless everything that the faults name is in the topology."""
    for planned in plan:
        planned.fault.check(topology)


def in_force(world: World, rule: FaultRule) -> Undo:
    """Put a rule in force; returns what takes it back."""
    rules = world.streams.rules
    rules.add(rule)
    return lambda: rules.remove(rule)

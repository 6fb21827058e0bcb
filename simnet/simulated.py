"""A network in virtual time: `SimulatedNetwork` puts clock, flows, streams, hosts and faults together."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from simnet.capacities import ScheduledCapacities
from simnet.carriage import Carriage
from simnet.clock import Clock
from simnet.devices import Job
from simnet.disk import Disk
from simnet.draws import generator, key
from simnet.errors import SimnetError
from simnet.executors import Executor, InlineExecutor, ThreadExecutor
from simnet.faults import Faults
from simnet.flows import Flows
from simnet.guards import Limits
from simnet.http import HttpCarriage
from simnet.ingress import Ingress
from simnet.loop import VirtualLoop
from simnet.network import SERVICE_PORT, Host, Network, ProgramFactory
from simnet.power import Power
from simnet.processor import Processor
from simnet.sessions import aiohttp_in_virtual_time
from simnet.sized import Service, SizedCarriage, patient_collector
from simnet.streams import StreamNetwork
from simnet.tcp import Tcp
from simnet.topology import Topology
from simnet.verdicts import Drop, Hold, Reset, Work

T = TypeVar("T")
CarriageName = Literal["http", "sized"]
_UNFAIRNESS = (0.05, 0.5)  # bounds of the standard deviation of the logarithm of a flow's share


@dataclass(eq=False, frozen=True, slots=True)
class _Skew:
    """By how much a clock is wrong, from some moment on."""

    since_s: float
    offset_s: float
    drift: float

    def error_s(self, now_s: float) -> float:
        return self.offset_s + self.drift * (now_s - self.since_s)


class SimulatedNetwork(Network):
    """A network in virtual time.

    `carriage` is how messages get to services: "http" sends real bytes through aiohttp; "sized" hands messages over in
    the time that their bytes would take, for thousands of clients with megabytes each (`simnet.sized`). `limits` bound
    what senders may ask of a service (`simnet.guards`), with "http"; without them, anything.

    Example:
        >>> import asyncio
        >>> from simnet import LinkSpec, star
        >>> network = SimulatedNetwork(star(["client"], access=LinkSpec(1e6, 0.05), server=LinkSpec(1e9, 0.0)))
        >>> async def nap(host):
        ...     await asyncio.sleep(60)
        ...     return f"{host.name} wakes at {host.now():g} s"
        >>> async def main():
        ...     return await network.host("client").start(nap(network.host("client")))
        >>> network.run(main)
        'client wakes at 60 s'
    """

    def __init__(
        self,
        topology: Topology,
        *,
        seed: int = 0,
        tcp: Tcp | None = None,
        carriage: CarriageName = "http",
        limits: Limits | None = None,
        **options: Any,
    ) -> None:
        super().__init__(topology, **options)
        if carriage not in get_args(CarriageName):
            raise SimnetError(f"carriage is {carriage!r}, expected {' or '.join(get_args(CarriageName))}")
        if limits is not None and carriage != "http":
            raise SimnetError("limits are of requests and connections, which messages that go by size do without")
        self.seed = seed
        self._carriage_name = carriage
        self._ingress = Ingress(limits=limits)
        self._services: dict[str, Service] = {}
        if isinstance(self._executor, ThreadExecutor):
            raise SimnetError("threads race the virtual clock: take an executor that works inline")
        self.clock = Clock()
        self._loop = VirtualLoop(self.clock)
        names = topology.link_names()
        tcp = tcp or Tcp()
        # How unfair droptail queues are differs from run to run; between these bounds lie the reference times of Linux.
        unfairness = float(generator(seed, "unfairness").uniform(*_UNFAIRNESS)) if tcp.unfair else 0.0
        capacities_bps, traits = topology.capacities_bps(), topology.traits()
        self.flows = Flows(self.clock, capacities_bps, tcp, self.trace, names, traits, unfairness)
        self.streams = StreamNetwork(self._loop, topology, self.flows, self.boundaries, self.trace, seed)
        self._loop.fabric = self.streams
        ScheduledCapacities(self.clock, topology, self.flows, self.streams.outages.follow)
        self.power = Power(self._loop, self.streams, self.trace, self.host)
        self.faults = Faults(self)
        self._processors: defaultdict[str, Processor] = defaultdict(lambda: Processor(self._loop))
        self._skews: defaultdict[str, list[_Skew]] = defaultdict(list)
        self._names: Counter[tuple[str, str]] = Counter()

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main()` in virtual time. Raises `simnet.errors.DeadlockError` if everybody waits for ever."""
        if self._loop.is_closed():
            raise SimnetError("a network runs once; make a new one")

        async def whole() -> T:
            try:
                return await main()
            finally:
                self._main_is_over()
                await self._close_hosts()

        patience = patient_collector() if self._carriage_name == "sized" else contextlib.nullcontext()
        with aiohttp_in_virtual_time(), patience:
            try:
                return self._loop.run_until_complete(whole())
            finally:
                self._stop_everything()

    def carriage_of(self, host: Host) -> Carriage:
        """What is to carry a host's messages: real bytes, or their sizes."""
        if self._carriage_name == "http":
            return HttpCarriage(host, self.boundaries, self.trace, ingress=self._ingress)
        return SizedCarriage(host, self.boundaries, self.trace, self.streams, self._services)

    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.now_s

    def now_at(self, host: str) -> float:
        """What the host's clock shows: the virtual time, but for faults."""
        return self.now() + sum(skew.error_s(self.now()) for skew in self._skews.get(host, ()))

    def unix_s(self) -> float:
        """Virtual seconds since the start."""
        return self.now()

    def unguessable(self, host: str, purpose: str) -> str:
        """A name drawn from the seed, of 32 hexadecimal digits; each time another."""
        self._names[host, purpose] += 1
        name = (host, purpose, self._names[host, purpose])
        return f"{key(self.seed, 'name', *name, 'a'):016x}{key(self.seed, 'name', *name, 'b'):016x}"

    # -- machines --------------------------------------------------------------------------------

    def boot(self, host: Host, factory: ProgramFactory[T], name: str | None) -> asyncio.Future[T]:
        """Start a program now and after each restart: see `simnet.power.Power.boot`."""
        return self.power.boot(host, factory, name)

    def disk_of(self, host: str) -> Disk:
        """The host's disk: in memory, kept over crashes, gone when the run ends."""
        return self.power.disks[host]

    async def compute(self, host: str, job: Job[T]) -> T:
        """Run the job and charge the virtual clock by the host's device."""
        processor = self._processors[host]
        async with processor.free:
            start_s = self.now()
            computed, wall_s = await self._executor.run(job)
            charge_s = self._timing.charge_s(self.device_of(host), computed.operations, wall_s)
            if not self.streams.rules.silent:
                charge_s += self._sentenced(host, job, charge_s)
            try:
                await processor.spend(charge_s)
            finally:  # a job that is broken off has cost what it took until then
                self._time_sheet.computed(host, self.now() - start_s)
            self._record_compute(host, job, start_s, computed.operations)
            return computed.value

    def _sentenced(self, host: str, job: Job[Any], charge_s: float) -> float:
        """What the rules of faults add to a job, in seconds; they may crash the host."""
        verdict = self.streams.rules.computation(Work(host, job.name, charge_s))
        if isinstance(verdict, (Drop, Reset)):
            self.crash(host)
            if isinstance(verdict, Reset):
                self.restart(host)
        return verdict.seconds if isinstance(verdict, Hold) else 0.0

    def crash(self, host: str, *, for_good: bool = False) -> None:
        """Switch a host off, `for_good` or until `restart`: see `simnet.power`. Raises `TopologyError` if unknown."""
        self.topology.host(host)
        self.power.crash(host, for_good=for_good)

    def restart(self, host: str) -> None:
        """Switch a host on again; what was started with `Host.boot` starts anew. Raises `FaultError` if it is on."""
        self.power.restart(host)

    def slow_down(self, host: str, factor: float) -> Callable[[], None]:
        """Let the jobs of a host, also the one in hand, take `factor` times as long, until it is undone."""
        return self._processors[host].slow_down(factor)

    def skew_clock(self, host: str, offset_s: float, drift: float) -> Callable[[], None]:
        """Let a host's clock be wrong until it is undone: by an offset, and `drift` seconds more each second."""
        skew = _Skew(self.now(), offset_s, drift)
        self._skews[host].append(skew)
        return lambda: self._skews[host].remove(skew)

    # -- what is known of the network ------------------------------------------------------------

    def wire_bytes(self) -> dict[str, tuple[float, float]]:
        """Bytes that crossed the links of each host, from it and to it, headers included.

        What a host passes on for others counts as received and sent. Not counted: handshakes and acknowledgements.
        """
        carried = (self.flows.carried_bytes * self.flows.tcp.header_factor).tolist()
        sent: dict[str, float] = dict.fromkeys(self._hosts, 0.0)
        received = dict(sent)
        for index, link in enumerate(self.topology.links):
            for source, target, size in (
                (link.a, link.b, carried[2 * index]),
                (link.b, link.a, carried[2 * index + 1]),
            ):
                if source in sent:
                    sent[source] += size
                if target in received:
                    received[target] += size
        return {name: (sent[name], received[name]) for name in sent}

    def url_of(self, peer: str) -> str:
        """http://name:8080."""
        return f"http://{peer}:{SERVICE_PORT}"

    def name_of(self, address: str | None) -> str | None:
        """The host that has this address: in virtual time the network knows."""
        return None if address is None else self.streams.name_of(address)

    def listening_address(self, host: str) -> tuple[str | None, int]:
        """The host's own address, port 8080."""
        return self.streams.resolve(host), SERVICE_PORT

    def listening_at(self, host: str, port: int) -> None:
        """Nothing to note: the port is always 8080."""

    def site_at(self, host: str, port: int) -> None:
        """Nothing to note: the streams know who listens where."""

    def _default_executor(self) -> Executor:
        return InlineExecutor()

    def _stop_everything(self) -> None:
        """Cancel what still runs, let it clean up, and close the loop."""
        loop = self._loop
        tasks = loop.tasks_in_order()

        async def end() -> None:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self.streams.close()
            await loop.shutdown_asyncgens()

        with contextlib.suppress(SimnetError):  # a task that refuses to end must not hide the first error
            loop.run_until_complete(end())
        loop.close()
        self._executor.close()

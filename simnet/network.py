"""Host and Network: the one interface that agents see, and its simulated form.

An agent is plain async code that holds a `Host`: it asks peers (`request`), offers services (`serve`), computes
(`compute`), reads the clock (`now`) and sleeps with `asyncio.sleep`. Whether the network is simulated
(`SimulatedNetwork`) or the machine's own (`simnet.sockets.SocketNetwork`) it cannot tell. Below that seam,
`session()` and `site(app)` give any aiohttp program a place on the network.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import contextvars
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import aiohttp
from aiohttp import web

from simnet.capacities import ScheduledCapacities
from simnet.carriage import BODY_LIMIT_BYTES, Carriage
from simnet.clock import Clock
from simnet.devices import UNLIMITED, Device, Job, Modelled, Radio, Timing
from simnet.energy import HostEnergy, TimeSheet, host_energy
from simnet.errors import SimnetError
from simnet.executors import Executor, InlineExecutor, ThreadExecutor
from simnet.flows import Flows
from simnet.http import HttpCarriage
from simnet.loop import VirtualLoop, current_host
from simnet.services import Reply, Route
from simnet.sessions import aiohttp_in_virtual_time, new_session
from simnet.sized import Service, SizedCarriage
from simnet.streams import StreamNetwork
from simnet.tcp import Tcp
from simnet.tenancy import Boundaries, Message
from simnet.topology import Topology
from simnet.trace import Trace, Value

T = TypeVar("T")
CarriageName = Literal["http", "sized"]
SERVICE_PORT = 8080


class Host:
    """A place where agents run: everything an agent can do to the world."""

    def __init__(self, name: str, network: Network) -> None:
        self.name = name
        self._network = network
        self._carriage = network.carriage_of(self)

    @property
    def tenant(self) -> str:
        """The trust domain of this host."""
        return self._network.topology.host(self.name).tenant

    def now(self) -> float:
        """Seconds since the start of the run."""
        return self._network.now()

    async def request(
        self,
        peer: str,
        method: str,
        path: str,
        message: Message | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """Send a message to a service of `peer` and wait for its answer.

        Raises `simnet.errors.BoundaryError` or `InspectionError` if a boundary refuses the message or its answer, and
        `UnreachableError` if there is no connection or it breaks; `TopologyError` if there is no such host.
        """
        self._network.topology.host(peer)
        return await self._carriage.request(peer, method, path, message or Message(), headers or {})

    async def serve(self, routes: Sequence[Route], *, body_limit_bytes: int = BODY_LIMIT_BYTES) -> None:
        """Offer services to peers until the run ends. Raises `simnet.errors.PortInUseError`."""
        address, port = self._network.listening_address(self.name)
        port = await self._carriage.serve(routes, address, port, body_limit_bytes)
        self._network.listening_at(self.name, port)

    async def compute(self, job: Job[T]) -> T:
        """Run a job and let the time pass that it takes on this host's device."""
        return await self._network.compute(self.name, job)

    def start(self, program: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task of this host."""
        context = contextvars.copy_context()
        context.run(current_host.set, self.name)
        title = f"{self.name}: {name or getattr(program, '__qualname__', 'task')}"
        task = asyncio.get_running_loop().create_task(program, name=title, context=context)
        self._network.program_started(self.name, task)
        return task

    def session(self, **options: Any) -> aiohttp.ClientSession:
        """An ordinary aiohttp client session, with timeouts set on purpose; used from this host's tasks.

        Its messages are not inspected, so between tenants it needs a boundary that allows "stream".
        """
        return new_session(**self._network.session_options(self.name), **options)

    async def site(self, app: web.Application, port: int = 80) -> int:
        """Run any aiohttp application at this host until the run ends; returns the port."""
        address, _ = self._network.listening_address(self.name)
        port = await self._carriage.run_application(app, address, port)
        self._network.site_at(self.name, port)
        return port

    def record(self, kind: str, **values: Value) -> None:
        """Write an event of this host into the trace."""
        self._network.trace.record(self.now(), self.name, kind, **values)

    def url_of(self, peer: str) -> str:
        """Where a peer's services are."""
        return self._network.url_of(peer)

    def name_of(self, address: str | None) -> str | None:
        """The host at a network address, if the network can tell."""
        return self._network.name_of(address)

    async def close(self) -> None:
        """Close connections and services; done by the network when the run ends."""
        await self._carriage.close()


class Network(abc.ABC):
    """Hosts, the boundaries between them and the trace of what they do."""

    def __init__(
        self,
        topology: Topology,
        *,
        boundaries: Boundaries | None = None,
        devices: Mapping[str, Device] | None = None,
        radios: Mapping[str, Radio] | None = None,
        timing: Timing | None = None,
        executor: Executor | None = None,
    ) -> None:
        self.topology = topology
        self.boundaries = boundaries or Boundaries({host.name: host.tenant for host in topology.hosts})
        self.trace = Trace()
        self._devices = devices or {}
        self._radios = radios or {}
        self._time_sheet = TimeSheet()
        self._over_s: float | None = None
        self._timing: Timing = timing or Modelled()
        self._executor: Executor = executor or self._default_executor()
        self._hosts: dict[str, Host] = {}

    def host(self, name: str) -> Host:
        """The host called `name`. Raises `simnet.errors.TopologyError` if there is none."""
        if name not in self._hosts:
            self.topology.host(name)
            self._hosts[name] = Host(name, self)
        return self._hosts[name]

    def carriage_of(self, host: Host) -> Carriage:
        """What is to carry a host's messages."""
        return HttpCarriage(host, self.boundaries, self.trace)

    @abc.abstractmethod
    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main()` to its end on this network; then everything that still runs is stopped. Once only."""

    @abc.abstractmethod
    def now(self) -> float:
        """Seconds since the start of the run."""

    @abc.abstractmethod
    async def compute(self, host: str, job: Job[T]) -> T:
        """Run a job for a host."""

    @abc.abstractmethod
    def url_of(self, peer: str) -> str:
        """Where a peer's services are."""

    @abc.abstractmethod
    def name_of(self, address: str | None) -> str | None:
        """The host at a network address, if the network can tell."""

    @abc.abstractmethod
    def listening_address(self, host: str) -> tuple[str | None, int]:
        """Address and port on which a host's services are to listen."""

    @abc.abstractmethod
    def listening_at(self, host: str, port: int) -> None:
        """Take note of the port on which a host's services do listen."""

    def session_options(self, host: str) -> dict[str, Any]:
        """What the aiohttp sessions of a host need so that they keep to the boundaries."""
        return {}

    @abc.abstractmethod
    def site_at(self, host: str, port: int) -> None:
        """Take note of the port of an application that a host runs beside its services."""

    def device_of(self, host: str) -> Device:
        """The device assigned to a host."""
        return self._devices.get(host, UNLIMITED)

    def program_started(self, host: str, task: asyncio.Task[Any]) -> None:
        """Take note of a program of a host, so that it is known when the host's part is over."""
        self._time_sheet.started(host)
        task.add_done_callback(lambda _: self._time_sheet.ended(host, self.now()))

    @abc.abstractmethod
    def wire_bytes(self) -> dict[str, tuple[float, float]]:
        """Bytes on the wire that each host has sent and received, headers included."""

    def energy(self) -> dict[str, HostEnergy]:
        """The energy of every host that took part, until now or the end of the run: see `simnet.energy`.

        In virtual time all of it is modelled. On sockets the seconds are measured on this machine and only priced by
        the host's device, and only hosts of this process are known.
        """
        now_s = self.now() if self._over_s is None else self._over_s
        moved_bytes = self.wire_bytes()
        energies = {}
        for name in self._hosts:
            span_s = self._time_sheet.span_s(name, now_s)
            sent, received = moved_bytes[name]
            energies[name] = host_energy(
                self.device_of(name),
                self._radios.get(name),
                busy_s=min(self._time_sheet.busy_s(name), span_s),
                span_s=span_s,
                sent_bytes=sent,
                received_bytes=received,
            )
        return energies

    def _main_is_over(self) -> None:
        self._over_s = self.now()

    @abc.abstractmethod
    def _default_executor(self) -> Executor:
        """Where jobs run unless the caller says otherwise."""

    def _record_compute(self, host: str, job: Job[Any], start_s: float, operations: float) -> None:
        self.trace.record(
            self.now(),
            host,
            "compute",
            job=job.name,
            start_us=round(start_s * 1e6),
            operations=int(operations),
        )

    async def _close_hosts(self) -> None:
        # Askers first: a service waits for the connections that its askers keep open.
        for host in reversed(list(self._hosts.values())):
            await host.close()


class SimulatedNetwork(Network):
    """A network in virtual time.

    `carriage` is how messages get to services: "http" sends real bytes through aiohttp; "sized" hands messages over in
    the time that their bytes would take, for thousands of clients with megabytes each (`simnet.sized`).

    Example:
        >>> network = SimulatedNetwork(star(["client"], access=..., server=...))
        >>> async def main():
        ...     await network.host("server").serve([Route("GET", "/", hello)])
        ...     return await network.host("client").start(ask(network.host("client")))
        >>> network.run(main)
    """

    def __init__(
        self,
        topology: Topology,
        *,
        seed: int = 0,
        tcp: Tcp | None = None,
        carriage: CarriageName = "http",
        **options: Any,
    ) -> None:
        super().__init__(topology, **options)
        if carriage not in get_args(CarriageName):
            raise SimnetError(f"carriage is {carriage!r}, expected {' or '.join(get_args(CarriageName))}")
        self._carriage_name = carriage
        self._services: dict[str, Service] = {}
        if isinstance(self._executor, ThreadExecutor):
            raise SimnetError("threads race the virtual clock: take an executor that works inline")
        self.clock = Clock()
        self._loop = VirtualLoop(self.clock)
        names = topology.link_names()
        self.flows = Flows(self.clock, topology.capacities_bps(), tcp or Tcp(), self.trace, names)
        self.streams = StreamNetwork(self._loop, topology, self.flows, self.boundaries, self.trace, seed)
        self._loop.fabric = self.streams
        ScheduledCapacities(self.clock, topology, self.flows, self.streams.outages.follow)
        self._processors: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

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

        with aiohttp_in_virtual_time():
            try:
                return self._loop.run_until_complete(whole())
            finally:
                self._stop_everything()

    def carriage_of(self, host: Host) -> Carriage:
        """What is to carry a host's messages: real bytes, or their sizes."""
        if self._carriage_name == "http":
            return super().carriage_of(host)
        return SizedCarriage(host, self.boundaries, self.trace, self.streams, self._services)

    def now(self) -> float:
        """Virtual seconds since the start."""
        return self.clock.now_s

    async def compute(self, host: str, job: Job[T]) -> T:
        """Run the job and charge the virtual clock by the host's device."""
        async with self._processors[host]:
            start_s = self.now()
            computed, wall_s = await self._executor.run(job)
            charge_s = self._timing.charge_s(self.device_of(host), computed.operations, wall_s)
            try:
                await asyncio.sleep(charge_s)
            finally:  # a job that is broken off has cost what it took until then
                self._time_sheet.computed(host, self.now() - start_s)
            self._record_compute(host, job, start_s, computed.operations)
            return computed.value

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

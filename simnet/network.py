"""Host and Network: the one interface that agents see.

An agent is plain async code that holds a `Host`: it asks peers (`request`), offers services (`serve`), computes
(`compute`), reads the clock (`now`), keeps things on `disk` and sleeps with `asyncio.sleep`. Whether the network is
simulated (`simnet.simulated`) or the machine's own (`simnet.sockets`) it cannot tell. Below that seam, `session()` and
`site(app)` give any aiohttp program a place on the network.
"""

from __future__ import annotations

import abc
import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

from simnet.carriage import BODY_LIMIT_BYTES, Carriage
from simnet.devices import UNLIMITED, Device, Job, Modelled, Radio, Timing
from simnet.disk import Disk
from simnet.energy import HostEnergy, TimeSheet, host_energy
from simnet.errors import SimnetError
from simnet.executors import Executor
from simnet.loop import current_host
from simnet.services import Reply, Route
from simnet.sessions import new_session
from simnet.tenancy import Boundaries, Message
from simnet.topology import Topology
from simnet.trace import Trace, Value

T = TypeVar("T")
ProgramFactory = Callable[[], Coroutine[Any, Any, T]]
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

    @property
    def disk(self) -> Disk:
        """What the host keeps when it crashes."""
        return self._network.disk_of(self.name)

    def now(self) -> float:
        """Seconds since the start of the run, by this host's clock."""
        return self._network.now_at(self.name)

    def elapsed_s(self) -> float:
        """Seconds since the start of the run, by the network's clock, which no fault puts wrong."""
        return self._network.now()

    async def request(
        self,
        peer: str,
        method: str,
        path: str,
        message: Message | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        resumable: bool = False,
    ) -> Reply:
        """Send a message to a service of `peer` and wait for its answer.

        A `resumable` one, which must be a PUT, goes in parts (`simnet.resumable`): if the connection breaks, call again
        with the same message, and only what has not got there is sent.

        Raises `simnet.errors.BoundaryError` or `InspectionError` if a boundary refuses the message or its answer, and
        `UnreachableError` if there is no connection or it breaks; `TopologyError` if there is no such host.
        """
        self._network.topology.host(peer)
        if resumable and method != "PUT":
            raise SimnetError(f"the {method} of {path} cannot be resumed: only what is put can")
        return await self._carriage.request(
            peer, method, path, message or Message(), headers or {}, resumable=resumable
        )

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

    def boot(self, factory: ProgramFactory[T], name: str | None = None) -> asyncio.Future[T]:
        """Start the program that `factory()` makes, now and again whenever the host has restarted after a crash.

        The result is that of its first run to come to an end. Raises, where it is awaited, what the program raises, and
        `simnet.errors.HostLostError` if the host crashes for good before.
        """
        return self._network.boot(self, factory, name)

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
        """Write an event of this host into the trace, at the network's time; a host whose clock is wrong says so."""
        now_s, shown_s = self.elapsed_s(), self.now()
        if shown_s != now_s:
            values["clock_us"] = round(shown_s * 1e6)
        self._network.trace.record(now_s, self.name, kind, **values)

    def url_of(self, peer: str) -> str:
        """Where a peer's services are."""
        return self._network.url_of(peer)

    def name_of(self, address: str | None) -> str | None:
        """The host at a network address, if the network can tell."""
        return self._network.name_of(address)

    def unix_s(self) -> float:
        """Seconds since 1970; in virtual time, since the start of the run."""
        return self._network.unix_s()

    def unguessable(self, purpose: str) -> str:
        """A name that nobody can guess, of 32 hexadecimal digits; in virtual time, the same in each repetition."""
        return self._network.unguessable(self.name, purpose)

    def renew_carriage(self) -> Carriage:
        """Forget everything that carries messages, as a crash does; returns it."""
        old, self._carriage = self._carriage, self._network.carriage_of(self)
        return old

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

    @abc.abstractmethod
    def carriage_of(self, host: Host) -> Carriage:
        """What is to carry a host's messages."""

    @abc.abstractmethod
    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main()` to its end on this network; then everything that still runs is stopped. Once only."""

    @abc.abstractmethod
    def now(self) -> float:
        """Seconds since the start of the run."""

    def now_at(self, host: str) -> float:
        """Seconds since the start of the run, by the clock of a host."""
        return self.now()

    @abc.abstractmethod
    def unix_s(self) -> float:
        """Seconds since 1970; in virtual time, since the start of the run."""

    @abc.abstractmethod
    def unguessable(self, host: str, purpose: str) -> str:
        """A name that nobody can guess, of 32 hexadecimal digits; in virtual time, the same in each repetition."""

    @abc.abstractmethod
    def boot(self, host: Host, factory: ProgramFactory[T], name: str | None) -> asyncio.Future[T]:
        """Start a program of a host, now and after each restart."""

    @abc.abstractmethod
    def disk_of(self, host: str) -> Disk:
        """What a host keeps when it crashes."""

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

"""The same interface on the machine's own sockets: agents run for real, in real time.

All hosts of a run may live in one process (every one that this process starts agents on), or each in its own.
Boundaries are enforced as in virtual time, by each process for its own hosts. A sender's name is believed, unless the
network has an `Ingress` that makes it prove who it is.
"""

from __future__ import annotations

import asyncio
import errno
import secrets
import time
from asyncio import selector_events
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from yarl import URL

from simnet.carriage import Carriage
from simnet.devices import Job
from simnet.disk import Disk, FolderDisk, MemoryDisk
from simnet.errors import BoundaryError, SimnetError, UnreachableError
from simnet.executors import Executor, ThreadExecutor
from simnet.guards import Limits, affordable_connections
from simnet.http import HttpCarriage
from simnet.ingress import OPEN_EGRESS, OPEN_INGRESS, Egress, Ingress
from simnet.network import Host, Network, ProgramFactory
from simnet.tcp import Tcp
from simnet.topology import Topology

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
_READ_BYTES = 128 * 1024
_SENDS, _RECEIVES = ("request", "answer"), ("arrival", "reply")  # events of the carriage that count bytes


class SocketNetwork(Network):
    """A network of real sockets.

    `urls` says where hosts of other processes are ("http://10.0.0.7:8080"); `listen` is the address and port on
    which services of this process listen, port 0 for any free one; `disk_folder` where hosts keep what is to outlast
    this process; `begun_s_ago` when the run began, of which an earlier process has done a part; `ingress` and `egress`
    what this process asks of senders, and what it brings itself.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        urls: Mapping[str, str] | None = None,
        listen: tuple[str, int] = (LOOPBACK, 0),
        carriage: str = "http",
        disk_folder: Path | None = None,
        begun_s_ago: float = 0.0,
        ingress: Ingress = OPEN_INGRESS,
        egress: Egress = OPEN_EGRESS,
        **options: Any,
    ) -> None:
        super().__init__(topology, **options)
        if carriage != "http":
            raise SimnetError(f"carriage is {carriage!r}: what crosses real sockets are bytes, so it must be http")
        self.boundaries.is_here = self._hosts.__contains__
        self._ingress = ingress if ingress.limits is None else _affordable(ingress, ingress.limits)
        self._egress = egress
        self._disk_folder = disk_folder
        self._disks: dict[str, Disk] = {}
        self._urls = dict(urls or {})
        self._sites: dict[tuple[str, int], str] = {}
        self._ran = False
        self._listen = listen
        self._begun_s_ago = begun_s_ago
        self._started_s = time.monotonic() - begun_s_ago

    def carriage_of(self, host: Host) -> Carriage:
        """HTTP, with what this process asks of those who come, and brings where it goes."""
        return HttpCarriage(
            host, self.boundaries, self.trace, ingress=self._ingress, egress=self._egress, tells_digests=True
        )

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main()` on an ordinary event loop."""
        if self._ran:
            raise SimnetError("a network runs once; make a new one")
        self._ran = True

        # How much asyncio takes from a socket at a time, by itself 256 KiB: from hundreds at once, a lot of memory.
        selector_events._SelectorTransport.max_size = _READ_BYTES  # type: ignore[attr-defined]

        async def whole() -> T:
            self._started_s = time.monotonic() - self._begun_s_ago
            try:
                return await main()
            finally:
                self._main_is_over()
                await self._close_hosts()

        try:
            return asyncio.run(whole())
        finally:
            self._executor.close()

    def now(self) -> float:
        """Wall seconds since the start of the run."""
        return time.monotonic() - self._started_s

    def unix_s(self) -> float:
        """The date."""
        return time.time()

    def unguessable(self, host: str, purpose: str) -> str:
        """Chance of the operating system's, as 32 hexadecimal digits."""
        return secrets.token_hex(16)

    def boot(self, host: Host, factory: ProgramFactory[T], name: str | None) -> asyncio.Future[T]:
        """Start the program once: whoever restarts the machine starts the process anew."""
        return host.start(factory(), name)

    def disk_of(self, host: str) -> Disk:
        """A folder of the host's own in `disk_folder`, if the network has one; else in memory."""
        if host not in self._disks:
            self._disks[host] = MemoryDisk() if self._disk_folder is None else _swept(self._disk_folder / host)
        return self._disks[host]

    async def compute(self, host: str, job: Job[T]) -> T:
        """Run the job; it takes the time that it takes."""
        start_s = self.now()
        computed, wall_s = await self._executor.run(job)
        self._time_sheet.computed(host, wall_s)
        self._record_compute(host, job, start_s, computed.operations)
        return computed.value

    def url_of(self, peer: str) -> str:
        """Where the peer's services are. Raises `UnreachableError` if nobody said so."""
        try:
            return self._urls[peer]
        except KeyError:
            raise UnreachableError(f"no address is known for {peer}") from None

    def wire_bytes(self) -> dict[str, tuple[float, float]]:
        """Bytes that each host here has sent and received: bodies of messages, and the headers that TCP would add.

        What the kernel really sent is not known here; heads of HTTP are not counted.
        """
        sent: Counter[str] = Counter()
        received: Counter[str] = Counter()
        for event in self.trace:
            if event.kind in _SENDS:
                sent[event.host] += int(str(event.values["bytes"]))
            elif event.kind in _RECEIVES:
                received[event.host] += int(str(event.values["bytes"]))
        factor = Tcp().header_factor
        return {name: (sent[name] * factor, received[name] * factor) for name in self._hosts}

    def name_of(self, address: str | None) -> str | None:
        """None: an address does not tell who is behind it."""
        return None

    def listening_address(self, host: str) -> tuple[str | None, int]:
        """As given when the network was made."""
        return self._listen

    def listening_at(self, host: str, port: int) -> None:
        """Remember the port, so that hosts in this process find the service."""
        scheme = "http" if self._ingress.tls is None else "https"
        self._urls[host] = f"{scheme}://{self._listen[0]}:{port}"

    def site_at(self, host: str, port: int) -> None:
        """Remember whose the port is: sessions of other tenants are held to the boundary."""
        self._sites[self._listen[0], port] = host

    def session_options(self, host: str) -> dict[str, Any]:
        """A connector that asks the boundaries before it connects."""
        return {"connector": _BoundaryConnector(self, host)}

    def host_at(self, address: str, port: int) -> str | None:
        """The host whose services or applications are at an address, None if nobody said so."""
        for name, url in self._urls.items():
            known = URL(url)
            if (known.host, known.port) == (address, port):
                return name
        return self._sites.get((address, port))

    def _default_executor(self) -> Executor:
        return ThreadExecutor()


def _swept(folder: Path) -> FolderDisk:
    disk = FolderDisk(folder)
    disk.sweep()
    return disk


class _BoundaryConnector(aiohttp.TCPConnector):
    """Connects the sessions of one host, as far as its boundaries allow; in virtual time, the streams do so."""

    def __init__(self, network: SocketNetwork, host: str) -> None:
        super().__init__(resolver=aiohttp.ThreadedResolver(), limit=0)
        self._network = network
        self._host = host

    async def connect(self, req: aiohttp.ClientRequest, traces: list[Any], timeout: aiohttp.ClientTimeout) -> Any:
        """Refuse or connect. The ledger gets an entry for each connection of a session, without its bytes."""
        boundaries, url = self._network.boundaries, req.url
        peer = self._network.host_at(url.host or "", url.port or 80)
        target = peer or f"{url.host}:{url.port}"
        reason = boundaries.may_connect(self._host, target, inspected=False)
        boundaries.note_connection(self._host, target, self._network.now(), sent_bytes=0, refusal=reason)
        if reason is not None:
            raise aiohttp.ClientConnectorError(req.connection_key, BoundaryError(errno.EACCES, reason))
        return await super().connect(req, traces, timeout)


def _affordable(ingress: Ingress, limits: Limits) -> Ingress:
    """With no more connections than this process may have open."""
    return replace(ingress, limits=replace(limits, connections=affordable_connections(limits.connections)))

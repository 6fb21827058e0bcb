"""The same interface on the machine's own sockets: agents run for real, in real time.

All hosts of a run may live in one process (every one that this process starts agents on), or each in its own.
Boundaries are enforced as in virtual time, by each process for its own hosts. Not here yet: TLS, identities (a
sender's name is believed) and durable state.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from simnet.devices import Executor, Job, ThreadExecutor
from simnet.errors import UnreachableError
from simnet.network import Network
from simnet.topology import Topology

T = TypeVar("T")
LOOPBACK = "127.0.0.1"


class SocketNetwork(Network):
    """A network of real sockets.

    `urls` says where hosts of other processes are ("http://10.0.0.7:8080"); `listen` is the address and port on
    which services of this process listen, port 0 for any free one.
    """

    def __init__(
        self,
        topology: Topology,
        *,
        urls: Mapping[str, str] | None = None,
        listen: tuple[str, int] = (LOOPBACK, 0),
        **options: Any,
    ) -> None:
        super().__init__(topology, **options)
        self._urls = dict(urls or {})
        self._listen = listen
        self._started_s = time.monotonic()

    def run(self, main: Callable[[], Awaitable[T]]) -> T:
        """Run `main()` on an ordinary event loop."""

        async def whole() -> T:
            self._started_s = time.monotonic()
            try:
                return await main()
            finally:
                await self._close_hosts()

        try:
            return asyncio.run(whole())
        finally:
            self._executor.close()

    def now(self) -> float:
        """Wall seconds since the start."""
        return time.monotonic() - self._started_s

    async def compute(self, host: str, job: Job[T]) -> T:
        """Run the job; it takes the time that it takes."""
        start_s = self.now()
        computed, _ = await self._executor.run(job)
        self._record_compute(host, job, start_s, computed.operations)
        return computed.value

    def url_of(self, peer: str) -> str:
        """Where the peer's services are. Raises `UnreachableError` if nobody said so."""
        try:
            return self._urls[peer]
        except KeyError:
            raise UnreachableError(f"no address is known for {peer}") from None

    def name_of(self, address: str | None) -> str | None:
        """None: an address does not tell who is behind it."""
        return None

    def listening_address(self, host: str) -> tuple[str | None, int]:
        """As given when the network was made."""
        return self._listen

    def listening_at(self, host: str, port: int) -> None:
        """Remember the port, so that hosts in this process find the service."""
        self._urls[host] = f"http://{self._listen[0]}:{port}"

    def _default_executor(self) -> Executor:
        return ThreadExecutor()

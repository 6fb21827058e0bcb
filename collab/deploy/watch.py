"""What whoever operates a server has of it while it runs: probes, metrics, a log, and that it stops in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TypeVar

from collab.data.progress import Unit
from collab.deploy import logs
from collab.deploy.chronicle import Chronicle
from collab.deploy.configuration import Address
from collab.deploy.health import Health, Served
from collab.deploy.metrics import Metrics
from collab.deploy.probes import Probes
from collab.deploy.shutdown import GRACE_S, SERVER_STOPPED, Shutdown
from collab.results import MethodResult
from collab.run_listener import Listener
from simnet import Network
from simnet.door import Door, Exchange
from simnet.ingress import OPEN_INGRESS, Ingress

T = TypeVar("T")
_BACK_S = 5.0


class Stoppable(Served, Protocol):
    """What is watched: the agent of a server."""

    def send_away(self) -> None:
        """Answer all who wait for a task."""


class Watch:
    """The watch over one server; its `door` belongs into the `Ingress` of the network. To be used by `with`.

    `probes` says where to answer to /healthz, /readyz and /metrics, None for nowhere. Without a `store` folder that can
    be written, on a disk with `reserve_bytes` free, the server is not ready, nor if by its `ingress` nobody can be let
    in. Raises `AddressInUseError` where the block is entered.
    """

    def __init__(
        self,
        sites: Collection[str],
        *,
        probes: Address | None = None,
        store: Path | None = None,
        reserve_bytes: int = 0,
        ingress: Ingress = OPEN_INGRESS,
        grace_s: float = GRACE_S,
    ) -> None:
        self.health = Health(store, reserve_bytes, ingress.lets_nobody_in)
        self._chronicle = Chronicle(self.health)
        self.metrics = Metrics(sites, self.health, store)
        self.door = Door(self._heard if probes is not None or logs.is_written() else None)
        self.door.on_failed_handshake = logs.note_handshake
        self.metrics.watch(self.door)
        self.probes_url = ""
        """Where probes are answered."""
        self._probes = probes
        self._shutdown = Shutdown(grace_s, self._told_to_stop)
        self._opened = contextlib.ExitStack()

    def __enter__(self) -> Self:
        """Answer to probes; write down what is in the way."""
        if self._probes is not None:
            where = Probes(self._probes.host, self._probes.port, self.health, self.metrics)
            self.probes_url = self._opened.enter_context(where).url
        self._chronicle.look()
        self._chronicle.look_for_trouble()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more."""
        self._opened.close()

    async def until_over(self, agent: Stoppable, running: asyncio.Future[T], earlier_tasks: Collection[str] = ()) -> T:
        """The result of `running`, which is the agent's run; `earlier_tasks` are those of servers before a crash.

        Raises `StoppedError` once SIGTERM has come: then nobody more is let in, whoever waits is sent away, and those
        who send an upload have the grace time to end. Sites that are being told how it ended are told so first.
        """

        async def leave() -> None:
            if agent.is_over:
                await asyncio.wait({running})
                return
            self.door.shut(_BACK_S)
            agent.send_away()
            await self.door.wait_until_empty()

        self.health.serves(agent, earlier_tasks)
        self._chronicle.look()
        looking = asyncio.create_task(self._chronicle.go_on_looking()) if logs.is_written() else None
        try:
            result = await self._shutdown.end_or_stop(running, SERVER_STOPPED, leave)
        finally:
            if looking is not None:
                looking.cancel()
            self._chronicle.look()
            self.health.is_over()
        self._chronicle.look()
        return result

    def listener(self, listener: Listener) -> Listener:
        """A listener that writes into the log what it hears, and passes it on."""
        return _Noting(listener)

    def _heard(self, exchange: Exchange) -> None:
        self.metrics.heard(exchange)
        logs.note_request(exchange)
        self._chronicle.look()

    def _told_to_stop(self) -> None:
        self.health.stops()
        logs.note("stopping", "told to stop (SIGTERM)", requests_in_progress=self.door.inside)


class _Noting:
    """Writes down what a listener hears: the beginning of everything that goes on for long."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._noted: set[str] = set()

    def preparing(self, what: str, done: int, total: int, unit: Unit) -> None:
        """Data is being downloaded or read."""
        if what not in self._noted:
            self._noted.add(what)
            logs.note("preparing", what)
        self._listener.preparing(what, done, total, unit)

    def method_began(self, name: str, sites: int, network: Network) -> None:
        """A method starts on a network of its own."""
        logs.note("began", method=name, sites=sites)
        self._listener.method_began(name, sites, network)

    def progress(self, what: str, done: int, total: int) -> None:
        """A computation got on."""
        level: logs.Level = "debug" if what in self._noted else "info"
        self._noted.add(what)
        logs.note("progress", what, level=level, done=done, total=total)
        self._listener.progress(what, done, total)

    def uploaded(self, site: str, round_number: int, number: int, asked: int) -> None:
        """An upload was accepted."""
        logs.note("upload", site=site, round=round_number, number=number, asked=asked)
        self._listener.uploaded(site, round_number, number, asked)

    def method_ended(self, result: MethodResult) -> None:
        """A method was run and judged."""
        logs.note("judged", method=result.name, missing=list(result.missing))
        self._listener.method_ended(result)

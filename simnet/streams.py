"""Connections and listeners over flows: what aiohttp, or any asyncio program, sees of the network.

A connection is two flows, one per direction, and an asyncio transport at each end (`simnet.transport`). Modelled: the
handshake of one round trip, refusal when nobody listens or a boundary lies between; hosts that are off and paths that
are cut, with the retries of Linux (`simnet.outages`). Not modelled: the bytes of the handshake; a limited backlog of
connections; TCP keep-alive probes.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import math
import socket
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from simnet.draws import LazyUniform, generator, standard_normal
from simnet.errors import BoundaryError, NoAnswerError, NoHostError, PortInUseError, UnreachableError
from simnet.flows import Flows
from simnet.jitter import drawer
from simnet.judged import JudgedFlow, Traffic
from simnet.loop import Address, ProtocolFactory, VirtualLoop, current_host
from simnet.outages import CONNECT_ATTEMPTS_S, CONNECT_TIMEOUT_S, Outages
from simnet.parcels import ParcelTransport
from simnet.tenancy import Boundaries
from simnet.topology import Path, Topology
from simnet.trace import Trace
from simnet.transport import StreamTransport
from simnet.verdicts import PASS, Attempt, Drop, Hold, Reset, Rules

_FIRST_EPHEMERAL_PORT = 49152

inspected: contextvars.ContextVar[str | None] = contextvars.ContextVar("simnet_inspected", default=None)
"""Set by a carriage, around its connections, to the peer for which it checks every message at the boundary."""
_LOOPBACK = ("127.0.0.1", "localhost")


class StreamServer(asyncio.AbstractServer):
    """A listener at one address."""

    def __init__(
        self, network: StreamNetwork, address: Address, protocol_factory: ProtocolFactory, *, loopback_only: bool
    ) -> None:
        self._network = network
        self._address = address
        self.loopback_only = loopback_only
        self.protocol_factory = protocol_factory
        self.parcel_protocol_factory: ProtocolFactory | None = None
        """Set by a listener that takes parcels, too (`simnet.parcels`)."""
        self.context = contextvars.copy_context()
        self._serving_forever: asyncio.Future[None] | None = None

    @property
    def sockets(self) -> tuple[ListeningSocket, ...]:
        """What programs ask for the address that they listen on."""
        return (ListeningSocket(self._address),) if self.is_serving() else ()

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The virtual loop."""
        return self._network.loop

    def is_serving(self) -> bool:
        """Whether new connections are accepted."""
        return self._network.listeners.get(self._address) is self

    async def start_serving(self) -> None:
        """Does nothing: the server listens from the start."""

    async def serve_forever(self) -> None:
        """Wait until cancelled, then close."""
        self._serving_forever = self._network.loop.create_future()
        try:
            await self._serving_forever
        finally:
            self.close()

    def close(self) -> None:
        """Stop listening; connections that are open stay open."""
        if self.is_serving():
            del self._network.listeners[self._address]
        if self._serving_forever is not None and not self._serving_forever.done():
            self._serving_forever.cancel()

    async def wait_closed(self) -> None:
        """Does nothing: closing takes no time."""


@dataclass(frozen=True)
class ListeningSocket:
    """The little that programs ask of a listening socket."""

    address: Address
    family: int = socket.AF_INET

    def getsockname(self) -> Address:
        """(address, port)."""
        return self.address


class StreamNetwork:
    """Connects the hosts of a topology: the fabric behind a `VirtualLoop`."""

    def __init__(
        self,
        loop: VirtualLoop,
        topology: Topology,
        flows: Flows,
        boundaries: Boundaries,
        trace: Trace,
        seed: int,
    ) -> None:
        self.loop = loop
        self.listeners: dict[Address, StreamServer] = {}
        self.outages = Outages(topology, flows, self._after_outage)
        self.rules = Rules(loop.clock, trace)
        self.traffic: defaultdict[tuple[str, str], Traffic] = defaultdict(Traffic)
        """Bytes by source and target."""
        self._topology = topology
        self._flows = flows
        self._boundaries = boundaries
        self._trace = trace
        self._seed = seed
        self._connections: Counter[tuple[str, str]] = Counter()
        self._address_of = {host.name: _address(index) for index, host in enumerate(topology.hosts)}
        self._name_of = {address: name for name, address in self._address_of.items()}
        self._next_port: dict[str, int] = {}
        self._open: dict[StreamTransport, tuple[str, str]] = {}

    # -- names -----------------------------------------------------------------------------------

    def resolve(self, name: str) -> str:
        """The address of a host. Raises `socket.gaierror` for an unknown name."""
        if name in ("localhost", ""):
            return self._address_of[_here()]
        try:
            return self._address_of[name]
        except KeyError:
            raise socket.gaierror(socket.EAI_NONAME, f'there is no host "{name}" in this network') from None

    def name_of(self, address: str) -> str | None:
        """The host that has this address."""
        return self._name_of.get(address)

    # -- connections -----------------------------------------------------------------------------

    def listen(self, address: tuple[str | None, int], protocol_factory: ProtocolFactory) -> StreamServer:
        """Listen on the current host. Raises `PortInUseError`, or `OSError` for an address of another host."""
        name, port = address
        here = self._address_of[_here()]
        if name not in (None, "0.0.0.0", "::", *_LOOPBACK, here, _here()):
            raise OSError(errno.EADDRNOTAVAIL, f"{name} is not an address of {_here()}")
        port = port or self._ephemeral_port(here)
        if (here, port) in self.listeners:
            raise PortInUseError(errno.EADDRINUSE, f"port {port} of {_here()} is in use already")
        server = StreamServer(self, (here, port), protocol_factory, loopback_only=name in _LOOPBACK)
        self.listeners[here, port] = server
        return server

    async def connect(
        self,
        address: Address,
        protocol_factory: ProtocolFactory,
        *,
        parcels: bool = False,
        until_s: float = math.inf,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection from the current host, for bytes or for parcels; takes one round trip.

        Raises `BoundaryError` at once if a boundary lies between, `UnreachableError` if nobody listens, and if the
        other host is off or the path to it is cut `NoAnswerError` after `simnet.outages.CONNECT_TIMEOUT_S`, or
        `TimeoutError` at `until_s` if that is earlier.
        """
        source = _here()
        ip, port = address
        target = source if ip == "127.0.0.1" else self._name_of.get(ip)
        if target is None:
            raise UnreachableError(errno.EHOSTUNREACH, f"no host has the address {ip}")
        checked = inspected.get() == target
        reason = self._boundaries.may_connect(source, target, inspected=checked)
        if reason is not None:
            if not checked:  # else the carriage writes down the message
                self._note(source, target, 0, reason)
            self._record(source, "connect-refused", peer=target, port=port, reason=reason)
            raise BoundaryError(errno.EACCES, reason)
        out, home = self._topology.path(source, target), self._topology.path(target, source)
        rtt_s = out.latency_s + home.latency_s
        there, back = self._flow(source, target, out, rtt_s), self._flow(target, source, home, rtt_s)
        server = await self._shake_hands(source, target, port, there, back, until_s)
        if server is None or (server.loopback_only and source != target):
            self._record(source, "connect-refused", peer=target, port=port, reason="nobody listens")
            raise UnreachableError(errno.ECONNREFUSED, f"nobody listens on port {port} of {target}")
        self._record(source, "connect", peer=target, port=port)
        local = (self._address_of[source], self._ephemeral_port(self._address_of[source]))
        remote = (self._address_of[target], port)
        transport = ParcelTransport if parcels else StreamTransport
        near = transport(self.loop, there, local, remote, self._when_lost(source, target, there, checked))
        far = transport(self.loop, back, remote, local, self._when_lost(target, source, back, checked))
        near.join(far)
        there.on_broken, back.on_broken = _breaking(near, far), _breaking(far, near)
        self._open[near], self._open[far] = (source, target), (target, source)
        near.attach(protocol_factory, contextvars.copy_context())
        # The other end has the connection once the third part of the handshake is there, before any data.
        there.send(0, lambda: None, lambda: self._accept(far, server))
        return near, near.get_protocol()

    async def _shake_hands(
        self, source: str, target: str, port: int, there: JudgedFlow, back: JudgedFlow, until_s: float
    ) -> StreamServer | None:
        """Who listens there, asked as often as Linux does until there is an answer. Raises what `connect` does."""
        outages, began_s = self.outages, self.loop.time()
        lossy = LazyUniform(self._seed, "handshake", source, target, self._connections[source, target])
        for attempt_s in CONNECT_ATTEMPTS_S:
            if began_s + attempt_s >= until_s:
                break
            await self._until(began_s + attempt_s)
            verdict = PASS if self.rules.silent else self.rules.connection(Attempt(source, target, port))
            if outages.passes(source, target) and not isinstance(verdict, Drop) and self._crosses(there, lossy):
                await self._one_way(there, verdict.seconds if isinstance(verdict, Hold) else 0.0)
                server = self.listeners.get((self._address_of[target], port))
                if isinstance(verdict, Reset):
                    server = None
                if outages.passes(target, source) and self._crosses(back, lossy):
                    await self._one_way(back)
                    if outages.passes(source, target):  # else the other end never hears that it is open
                        return server
        await self._until(min(began_s + CONNECT_TIMEOUT_S, until_s))
        if until_s < began_s + CONNECT_TIMEOUT_S:
            raise TimeoutError(f"no answer from {target} until {until_s:g} s")
        self._record(source, "connect-timeout", peer=target, port=port)
        raise NoAnswerError(errno.ETIMEDOUT, f"no answer from {target} for {CONNECT_TIMEOUT_S:g} s")

    def _crosses(self, flow: JudgedFlow, lossy: Callable[[], float]) -> bool:
        """Whether a packet of a handshake is not one of those that links lose at random."""
        loss = self._flows.loss(flow.path)
        return loss == 0 or lossy() >= loss

    async def _until(self, when_s: float) -> None:
        now_s = self.loop.time()
        if when_s > now_s:
            await asyncio.sleep(when_s - now_s)

    def power_off(self, host: str) -> None:
        """Switch a host off: its listeners and connections vanish without a sign to their other ends.

        Cancel the host's tasks first; they see their connections break.
        """
        self.outages.hosts_down.add(host)
        here = self._address_of[host]
        for address in [address for address in self.listeners if address[0] == here]:
            self.listeners[address].close()
        for transport in [transport for transport, (end, _) in self._open.items() if end == host]:
            transport.vanish()
        self._after_outage()

    def power_on(self, host: str) -> None:
        """Switch a host on again: it knows nothing of its connections and answers what arrives for them by a reset."""
        self.outages.hosts_down.discard(host)
        self._after_outage()

    def reset(self, concerned: Callable[[str, str], bool]) -> None:
        """Reset every open connection whose direction, from host to host, is concerned."""
        for transport, (source, target) in tuple(self._open.items()):
            if concerned(source, target) and not transport.is_lost():
                self._record(source, "fault", verdict="reset", what="connection", peer=target)
                transport.break_off(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def imbalances(self) -> list[str]:
        """What contradicts that bytes are conserved, in words; nothing if they are. For after the run.

        What was given arrived, was taken back, was torn or is under way; and every link carried what its flows say.
        """
        found = []
        carried = self._flows.carried_bytes.tolist()
        expected = [0] * len(carried)
        for (source, target), traffic in self.traffic.items():
            if traffic.given != traffic.left + traffic.torn + traffic.unsent or not traffic.under_way >= 0:
                found.append(f"from {source} to {target}: {traffic} does not add up")
            for link in self._topology.path(source, target).links:
                expected[link] += traffic.left + traffic.torn
        connections = sum(self._connections.values())
        for link, (fluid, whole) in enumerate(zip(carried, expected, strict=True)):
            if abs(fluid - whole) > connections + 1e-6 * whole:  # broken-off messages are counted in whole bytes
                name = self._topology.link_name(link)
                found.append(f"link {name} carried {fluid:.1f} B, its flows say {whole}")
        return found

    def _after_outage(self) -> None:
        """Cut and mend connections, now that a host, a link or a path has gone or has come back."""
        for transport, (source, target) in tuple(self._open.items()):
            if self.outages.passes(source, target) and self.outages.passes(target, source):
                transport.mend()
                if transport.is_lost() and not transport.lingers:
                    del self._open[transport]
            else:
                transport.cut()

    def close(self) -> None:
        """Stop listening and reset every connection: the run is over and all machines are switched off."""
        self.listeners.clear()
        for transport in list(self._open):
            transport.abort()

    def _accept(self, far: StreamTransport, server: StreamServer) -> None:
        if far.is_closing():  # reset before it was open
            return
        factory = server.parcel_protocol_factory if isinstance(far, ParcelTransport) else server.protocol_factory
        if factory is None or not server.is_serving():
            far.abort()
            return
        try:
            far.attach(factory, server.context.copy())
        except Exception as error:  # a listener's failure ends its connection, as in asyncio, not the run
            self.loop.call_exception_handler({"message": "Error on accepting a connection", "exception": error})
            far.abort()

    def _when_lost(
        self, source: str, target: str, flow: JudgedFlow, checked: bool
    ) -> Callable[[StreamTransport], None]:
        def forget(transport: StreamTransport) -> None:
            if not transport.lingers:
                self._open.pop(transport, None)
            if not checked:
                self._note(source, target, flow.queued_bytes, None)

        return forget

    def _note(self, source: str, target: str, sent_bytes: int, refusal: str | None) -> None:
        at_s = self.loop.time()
        self._boundaries.note_connection(source, target, at_s, sent_bytes=sent_bytes, refusal=refusal)

    def _flow(self, source: str, target: str, path: Path, rtt_s: float) -> JudgedFlow:
        """A flow over the links of `path`; `rtt_s` is their latency, there and back."""
        if path.links:  # within a host nothing is on the way
            path = replace(path, latency_s=path.latency_s + self._flows.tcp.host_delay_s)
            rtt_s += 2 * self._flows.tcp.host_delay_s
        self._connections[source, target] += 1
        name = (source, target, self._connections[source, target])
        flow = self._flows.open(
            path,
            rtt_s,
            drawer(path.jitters, path.latency_s, lambda: generator(self._seed, "jitter", *name)),
            congestion=self._topology.host(source).congestion,
            luck=standard_normal(self._seed, "luck", *name),
            uniform=LazyUniform(self._seed, "packets", *name),
        )
        return JudgedFlow(flow, source, target, self.rules, self.outages, self.traffic[source, target])

    async def _one_way(self, flow: JudgedFlow, hold_s: float = 0.0) -> None:
        await asyncio.sleep(max(flow.path.latency_s + flow.draw_jitter_s(), 0.0) + hold_s)

    def _ephemeral_port(self, address: str) -> int:
        port = self._next_port.get(address, _FIRST_EPHEMERAL_PORT)
        while (address, port) in self.listeners:
            port += 1
        self._next_port[address] = port + 1 if port < 65535 else _FIRST_EPHEMERAL_PORT
        return port

    def _record(self, host: str, kind: str, **values: str | int) -> None:
        self._trace.record(self.loop.time(), host, kind, **values)


def _breaking(end: StreamTransport, other: StreamTransport) -> Callable[[Exception], None]:
    """Breaks a connection off, from one end; if the program there has let go of it already, from the other."""

    def break_off(error: Exception) -> None:
        (other if end.is_lost() else end).break_off(error)

    return break_off


def _address(index: int) -> str:
    number = index + 1
    return f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"


def _here() -> str:
    try:
        return current_host.get()
    except LookupError:
        raise NoHostError(
            "this task belongs to no host, so the network cannot tell where it is; start it with Host.start"
        ) from None

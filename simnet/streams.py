"""Connections and listeners over flows: what aiohttp, or any asyncio program, sees of the network.

A connection is two flows, one per direction, and an asyncio transport at each end. Modelled: the handshake of one
round trip, refusal when nobody listens, ordered delivery in pieces of at most 256 KiB, back-pressure on the writer
(high-water mark) and from a reader that has paused (receive window), half-close, close and reset. Not
modelled: the bytes of the handshake, of resets and of acknowledgements; a limited backlog of connections.
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from simnet.draws import generator
from simnet.errors import BoundaryError, NoHostError, PortInUseError, UnreachableError
from simnet.flows import Flow, Flows, jitter_drawer
from simnet.loop import Address, ProtocolFactory, VirtualLoop, current_host
from simnet.tenancy import Boundaries
from simnet.topology import Topology
from simnet.trace import Trace

PIECE_BYTES = 256 * 1024
RECEIVE_WINDOW_BYTES = 16 * 1024 * 1024
HIGH_WATER_BYTES = 64 * 1024
_FIRST_EPHEMERAL_PORT = 49152

inspected: contextvars.ContextVar[bool] = contextvars.ContextVar("simnet_inspected", default=False)
"""Set by a carriage around connections on which it checks every message at the boundary."""


class StreamTransport(asyncio.Transport):
    """One end of a simulated connection."""

    def __init__(self, network: StreamNetwork, flow: Flow, local: Address, remote: Address) -> None:
        super().__init__(extra={"peername": remote, "sockname": local})
        self._network = network
        self._loop = network.loop
        self._flow = flow
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._context = contextvars.copy_context()
        self._peer: StreamTransport | None = None
        self._waiting: deque[bytes | memoryview] = deque()  # written, not yet given to the flow
        self._unsent_bytes = 0
        self._in_flight_bytes = 0  # given to the flow, not yet read at the other end
        self._inbox: deque[bytes | memoryview | None] = deque()  # arrived while reading is paused; None is the end
        self._reading = True
        self._writer_paused = False
        self._high_water, self._low_water = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        self._eof_written = False
        self._end_sent = False
        self._closing = False
        self._lost = False

    # -- asyncio.BaseTransport -------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol, e.g. after an upgrade to WebSocket."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether the transport is closed or about to be."""
        return self._closing

    def close(self) -> None:
        """Send what is buffered, then close; the other end sees the end of the stream one latency later."""
        if self._closing:
            return
        self._closing = True
        self._inbox.clear()
        if self._unsent_bytes == 0:
            self._finish()

    def abort(self) -> None:
        """Drop everything and reset the connection."""
        peer = self._peer
        if peer is not None and not self._lost:
            self._network.after_latency(self._flow, peer._reset_by_peer)
        self._drop_unsent()
        self._lose(None)

    # -- asyncio.WriteTransport ------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; the protocol is told to pause above the high-water mark."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._closing or not data:
            return
        # Bytes cannot change under us; anything else is copied, as a real transport would.
        self._waiting.extend(_cut(data if isinstance(data, bytes) else bytes(data)))
        self._unsent_bytes += len(data)
        self._feed()
        self._maybe_pause_writer()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queue several pieces without joining them."""
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        """Half-close is supported."""
        return True

    def write_eof(self) -> None:
        """Tell the other end that nothing more will come; reading goes on."""
        if not self._eof_written and not self._closing:
            self._eof_written = True
            if self._unsent_bytes == 0:
                self._send_end()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol is told to pause and to resume, in bytes."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_water, self._low_water = high, low
        self._maybe_pause_writer()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left this host yet."""
        return self._unsent_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high) water marks in bytes."""
        return self._low_water, self._high_water

    # -- asyncio.ReadTransport -------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether arriving data is handed to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Keep arriving data back; once the receive window is full, the sender stalls."""
        if not self._closing:
            self._reading = False

    def resume_reading(self) -> None:
        """Hand over what was kept back, and go on."""
        if not self._closing and not self._reading:
            self._reading = True
            self._call(self._drain_inbox)

    # -- sending ---------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Give the flow as much as the other end has room for."""
        while self._waiting and self._in_flight_bytes < RECEIVE_WINDOW_BYTES:
            piece = self._waiting.popleft()
            self._in_flight_bytes += len(piece)
            self._flow.send(len(piece), *self._notices(piece))

    def _notices(self, piece: bytes | memoryview) -> tuple[Callable[[], None], Callable[[], None]]:
        return lambda: self._piece_sent(len(piece)), lambda: self._piece_arrived(piece)

    def _piece_sent(self, size_bytes: int) -> None:
        self._unsent_bytes -= size_bytes
        if self._writer_paused and self._unsent_bytes <= self._low_water:
            self._writer_paused = False
            self._call(self._protocol.resume_writing)
        if self._unsent_bytes == 0:
            if self._closing:
                self._finish()
            elif self._eof_written:
                self._send_end()

    def _piece_arrived(self, piece: bytes | memoryview) -> None:
        peer = self._peer
        if peer is None or peer._closing:
            self._network.after_latency(self._flow, self._reset_by_peer)
        else:
            peer._receive(piece)

    def _send_end(self) -> None:
        peer = self._peer
        if peer is not None and not self._end_sent:
            self._end_sent = True
            self._flow.send(0, lambda: None, lambda: peer._receive(None))

    def _maybe_pause_writer(self) -> None:
        if not self._writer_paused and self._unsent_bytes > self._high_water:
            self._writer_paused = True
            self._protocol.pause_writing()

    # -- receiving -------------------------------------------------------------------------------

    def _receive(self, piece: bytes | memoryview | None) -> None:
        self._inbox.append(piece)
        if self._reading:
            self._call(self._drain_inbox)

    def _drain_inbox(self) -> None:
        while self._inbox and self._reading and not self._closing:
            piece = self._inbox.popleft()
            if piece is None:
                if not self._eof_received():
                    self.close()
            else:
                self._data_received(piece)
                if self._peer is not None:
                    self._peer._in_flight_bytes -= len(piece)
                    self._peer._feed()

    def _eof_received(self) -> bool:
        protocol = self._protocol
        if isinstance(protocol, (asyncio.Protocol, asyncio.BufferedProtocol)):
            return bool(protocol.eof_received())
        return False

    def _data_received(self, piece: bytes | memoryview) -> None:
        protocol = self._protocol
        if isinstance(protocol, asyncio.BufferedProtocol):
            rest = memoryview(piece)
            while rest:
                buffer = memoryview(protocol.get_buffer(len(rest)))
                size = min(len(buffer), len(rest))
                buffer[:size] = rest[:size]
                protocol.buffer_updated(size)
                rest = rest[size:]
        else:
            protocol.data_received(bytes(piece))  # type: ignore[attr-defined]

    # -- ending ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Everything is sent: end the stream and let go of the connection."""
        if not self._lost:
            self._send_end()
            self._lose(None)

    def _reset_by_peer(self) -> None:
        self._drop_unsent()
        self._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def _drop_unsent(self) -> None:
        self._waiting.clear()
        self._unsent_bytes = 0
        self._flow.drop()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            self._call(self._protocol.connection_lost, error)
            self._network.forget(self)

    def _call(self, callback: Callable[..., Any], *args: Any) -> None:
        if not self._loop.is_closed():  # a program may drop its connections long after the run
            self._loop.call_soon(callback, *args, context=self._context)


class StreamServer(asyncio.AbstractServer):
    """A listener at one address."""

    def __init__(self, network: StreamNetwork, address: Address, protocol_factory: ProtocolFactory) -> None:
        self._network = network
        self._address = address
        self.protocol_factory = protocol_factory
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
        self._topology = topology
        self._flows = flows
        self._boundaries = boundaries
        self._trace = trace
        self._seed = seed
        self._connections = 0
        self._address_of = {host.name: _address(index) for index, host in enumerate(topology.hosts)}
        self._name_of = {address: name for name, address in self._address_of.items()}
        self._next_port: dict[str, int] = {}
        self._open: dict[StreamTransport, None] = {}

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
        if name not in (None, "0.0.0.0", "::", "127.0.0.1", "localhost", here, _here()):
            raise OSError(errno.EADDRNOTAVAIL, f"{name} is not an address of {_here()}")
        port = port or self._ephemeral_port(here)
        if (here, port) in self.listeners:
            raise PortInUseError(errno.EADDRINUSE, f"port {port} of {_here()} is in use already")
        server = StreamServer(self, (here, port), protocol_factory)
        self.listeners[here, port] = server
        return server

    async def connect(
        self, address: Address, protocol_factory: ProtocolFactory
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection from the current host; takes one round trip.

        Raises `BoundaryError` at once if a boundary lies between, `UnreachableError` if nobody listens.
        """
        source = _here()
        ip, port = address
        target = source if ip == "127.0.0.1" else self._name_of.get(ip)
        if target is None:
            raise UnreachableError(errno.EHOSTUNREACH, f"no host has the address {ip}")
        reason = self._boundaries.may_connect(source, target, inspected=inspected.get())
        if reason is not None:
            self._record(source, "connect-refused", peer=target, port=port, reason=reason)
            raise BoundaryError(errno.EACCES, reason)
        there, back = self._flow(source, target), self._flow(target, source)
        await self._one_way(there)
        server = self.listeners.get((self._address_of[target], port))
        await self._one_way(back)
        if server is None:
            self._record(source, "connect-refused", peer=target, port=port, reason="nobody listens")
            raise UnreachableError(errno.ECONNREFUSED, f"nobody listens on port {port} of {target}")
        self._record(source, "connect", peer=target, port=port)
        local = (self._address_of[source], self._ephemeral_port(self._address_of[source]))
        remote = (self._address_of[target], port)
        near = StreamTransport(self, there, local, remote)
        far = StreamTransport(self, back, remote, local)
        near._peer, far._peer = far, near
        self._open[near] = self._open[far] = None
        self._attach(near, protocol_factory, contextvars.copy_context())
        # The other end has the connection once the third part of the handshake is there, before any data.
        there.send(0, lambda: None, lambda: self._accept(far, server))
        return near, near.get_protocol()

    def after_latency(self, flow: Flow, action: Callable[[], None]) -> None:
        """Run `action` when a sign sent along `flow`'s path, past everything queued, has arrived."""
        self.loop.clock.call_in(flow.path.latency_s, action)

    def forget(self, transport: StreamTransport) -> None:
        """Strike out a transport that has lost its connection."""
        self._open.pop(transport, None)

    def close(self) -> None:
        """Stop listening and reset every connection: the run is over and all machines are switched off."""
        self.listeners.clear()
        for transport in list(self._open):
            transport.abort()

    def _accept(self, far: StreamTransport, server: StreamServer) -> None:
        if server.is_serving():
            self._attach(far, server.protocol_factory, server.context.copy())
        else:
            far.abort()

    def _attach(
        self, transport: StreamTransport, protocol_factory: ProtocolFactory, context: contextvars.Context
    ) -> None:
        protocol = context.run(protocol_factory)
        transport.set_protocol(protocol)
        transport._context = context
        context.run(protocol.connection_made, transport)

    def _flow(self, source: str, target: str) -> Flow:
        path = self._topology.path(source, target)
        rtt_s = path.latency_s + self._topology.path(target, source).latency_s
        self._connections += 1
        draws = generator(self._seed, "jitter", self._connections)
        return self._flows.open(path, rtt_s, jitter_drawer(path, draws.uniform))

    async def _one_way(self, flow: Flow) -> None:
        await asyncio.sleep(max(flow.path.latency_s + flow.draw_jitter_s(), 0.0))

    def _ephemeral_port(self, address: str) -> int:
        port = self._next_port.get(address, _FIRST_EPHEMERAL_PORT)
        while (address, port) in self.listeners:
            port += 1
        self._next_port[address] = port + 1 if port < 65535 else _FIRST_EPHEMERAL_PORT
        return port

    def _record(self, host: str, kind: str, **values: str | int) -> None:
        self._trace.record(self.loop.time(), host, kind, **values)


def _cut(data: bytes) -> Iterator[bytes | memoryview]:
    if len(data) <= PIECE_BYTES:
        yield data
    else:
        whole = memoryview(data)  # not copied before it is delivered
        for start in range(0, len(data), PIECE_BYTES):
            yield whole[start : start + PIECE_BYTES]


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

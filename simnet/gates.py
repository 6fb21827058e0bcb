"""What stands between where a service listens and aiohttp: a gate for each connection, which a `Guard` counts.

A gate ends connections that are too many, that do not get through the TLS handshake in time, on which the head of a
request does not come, or on which an answer is not taken. It knows from the handlers (`answering`) when a head is
there.

Seen only by aiohttp's own keep-alive (`KEEP_ALIVE_S` seconds): the beginning of a head that came together with the end
of an earlier request.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import ssl
import sys
import termios
from collections.abc import Iterator

from aiohttp import web

from simnet.guards import Guard, Standing, network_of, too_many_connections
from simnet.services import RETRY_AFTER, Reply, problem
from simnet.transport import StreamTransport

_BACKLOG = 1024
_FAREWELL_S = 1.0
"""How long whoever is turned away may take to read why."""


class GatedSite(web.BaseSite):
    """Listens for an application, with a gate in front of each connection."""

    __slots__ = ("_address", "_before", "_port", "guard", "tls")

    def __init__(
        self, runner: web.BaseRunner, guard: Guard, address: str | None, port: int, tls: ssl.SSLContext | None
    ) -> None:
        super().__init__(runner, ssl_context=tls)
        self.guard = guard
        self.tls = tls
        self._address = address
        self._port = port
        self._before: set[Gate] = set()  # connections that aiohttp does not know of

    @property
    def name(self) -> str:
        """Where it listens, as a URL."""
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://{self._address or '0.0.0.0'}:{self._port}"

    async def start(self) -> None:
        """Listen. Raises `OSError`."""
        await super().start()
        application = self._runner.server
        if application is None:
            raise AssertionError("a runner is set up before its sites start")
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Gate(self, application()), self._address, self._port, backlog=_BACKLOG
        )

    async def stop(self) -> None:
        """Listen no more, and let go of whoever has not got through."""
        for gate in list(self._before):
            gate.drop()
        await super().stop()

    def holds(self, gate: Gate) -> None:
        """Remember a connection until aiohttp knows of it."""
        self._before.add(gate)

    def lets_go(self, gate: Gate) -> None:
        """Forget a connection that aiohttp knows of, or that has ended."""
        self._before.discard(gate)


class Gate(asyncio.Protocol):
    """One connection on its way to aiohttp."""

    def __init__(self, site: GatedSite, inner: asyncio.Protocol) -> None:
        self._site = site
        self._limits = site.guard.limits
        self._inner = inner
        self._standing: Standing = "dropped"
        self._counted = False
        self._place = ""
        self._raw: asyncio.Transport | None = None
        self._transport: asyncio.Transport | None = None  # within TLS, if there is any
        self._securing: asyncio.Task[None] | None = None
        self._early: list[bytes] = []  # what came with the end of the handshake
        self._entered = False  # aiohttp knows of it
        self._over = False  # nothing that comes is heard any more
        self._serving = False
        self._silent = True  # not a byte has come
        self._timer: asyncio.TimerHandle | None = None
        self._answer_timer: asyncio.TimerHandle | None = None

    # -- what the transport says -----------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Count the connection; begin TLS, or let it through, or turn it away."""
        if not isinstance(transport, asyncio.Transport):
            raise AssertionError("a listening socket makes transports that read and write")
        self._raw = self._transport = transport
        self._place = network_of((transport.get_extra_info("peername") or (None,))[0])
        self._standing = self._site.guard.admits(self._place)
        if self._standing == "dropped":
            transport.abort()
            return
        self._counted = True
        self._site.holds(self)
        if self._site.tls is None:
            self._watch_every_byte(transport)
            self._enter(transport)
        else:
            self._securing = asyncio.get_running_loop().create_task(self._secure(transport, self._site.tls))

    def data_received(self, data: bytes) -> None:
        """Pass it on. Between requests the first byte of the next begins its time."""
        if self._over:
            return
        self._silent = False
        if not self._entered:
            self._early.append(data)
            return
        if not self._serving and self._timer is None:
            self._expect_a_head()
        self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._inner.eof_received() if self._entered else None

    def pause_writing(self) -> None:
        """Pass it on, and see to it that the answer is taken."""
        if self._entered:
            self._inner.pause_writing()
            self._watch_answer(self._on_the_way_bytes())

    def resume_writing(self) -> None:
        """Pass it on."""
        if self._entered:
            if self._answer_timer is not None:
                self._answer_timer.cancel()
            self._inner.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass it on, and count."""
        self._over = True
        for timer in (self._timer, self._answer_timer):
            if timer is not None:
                timer.cancel()
        if self._entered:
            self._inner.connection_lost(exc)
        self._left()

    # -- what the handlers say -------------------------------------------------------------------

    def began(self) -> None:
        """The head of a request is there."""
        self._serving = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def ended(self) -> None:
        """The request is answered, and none of its body is left to come."""
        self._serving = False

    def drop(self) -> None:
        """End the connection at once."""
        if self._securing is not None:
            self._securing.cancel()
        if self._raw is not None:
            self._raw.abort()

    # -- inside ----------------------------------------------------------------------------------

    def _watch_every_byte(self, transport: asyncio.Transport) -> None:
        """Any byte that is not taken is to pause writing, and so to be watched: else an answer of less than a buffer,
        that nobody reads, would hold the connection for ever, also after aiohttp has closed it. TLS closes in time.

        A simulated connection's buffer stands for the system's, too, where an answer waits for its link unwatched.
        """
        if not isinstance(transport, StreamTransport):
            transport.set_write_buffer_limits(high=0)

    async def _secure(self, transport: asyncio.Transport, tls: ssl.SSLContext) -> None:
        limit_s = self._limits.head_s
        try:
            secured = await asyncio.get_running_loop().start_tls(
                transport, self, tls, server_side=True, ssl_handshake_timeout=limit_s, ssl_shutdown_timeout=limit_s
            )
        except OSError as error:  # whoever it was speaks no TLS, none that will do, or is too slow
            secured = None
            peer = transport.get_extra_info("peername")
            self._site.guard.on_failed_handshake(peer and str(peer[0]), _reason_of(error))
        finally:
            self._securing = None
        if secured is None or self._over:
            self._site.guard.turned_away["no-tls"] += secured is None
            transport.abort()
            self._left()
        else:
            self._transport = secured
            self._enter(secured)

    def _enter(self, transport: asyncio.Transport) -> None:
        if self._standing == "told":
            self._end_with(too_many_connections())
            return
        self._site.lets_go(self)
        self._entered = True
        self._inner.connection_made(transport)
        self._expect_a_head()
        for data in self._early:
            self._inner.data_received(data)
        self._early.clear()

    def _left(self) -> None:
        if self._counted:
            self._counted = False
            self._site.guard.left(self._place)
            self._site.lets_go(self)

    def _expect_a_head(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._limits.head_s, self._no_head)

    def _no_head(self) -> None:
        self._timer = None
        if self._unsent_bytes() or self._is_under_way():  # an earlier answer is on its way, or the head
            self._expect_a_head()
            return
        self._site.guard.turned_away["slow-head"] += 1
        self._end_with(
            problem(408, "slow", f"the head of a request must come within {self._limits.head_s:g} s; send it again")
        )

    def _end_with(self, reply: Reply) -> None:
        """Say why, and end the connection: at once for whoever hears, soon for everybody else."""
        transport, body = self._transport, reply.message.body
        if transport is None or transport.is_closing():
            return
        again = reply.headers.get(RETRY_AFTER)
        lines = [
            f"HTTP/1.1 {reply.status} Refused",
            f"Content-Type: {reply.message.content_type}",
            f"Content-Length: {len(body)}",
            *([] if again is None else [f"{RETRY_AFTER}: {again}"]),
            "Connection: close",
        ]
        transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        if transport.can_write_eof():
            transport.write_eof()
        self._over = True
        self._timer = asyncio.get_running_loop().call_later(_FAREWELL_S, self._close)

    def _close(self) -> None:
        if self._transport is not None and not self._unsent_bytes():
            self._transport.close()
        elif self._raw is not None:
            self._raw.abort()

    def _watch_answer(self, on_the_way_bytes: int) -> None:
        loop, limits = asyncio.get_running_loop(), self._limits
        self._answer_timer = loop.call_later(limits.window_s, self._look_at_answer, on_the_way_bytes)

    def _look_at_answer(self, before_bytes: int) -> None:
        on_the_way_bytes = self._on_the_way_bytes()
        moving = isinstance(self._raw, StreamTransport) and self._raw.is_moving(here=False)
        if before_bytes - on_the_way_bytes < self._limits.least_bytes and not moving and self._raw is not None:
            self._raw.abort()
        else:
            self._watch_answer(on_the_way_bytes)

    def _unsent_bytes(self) -> int:
        """What this process holds; with TLS there are two buffers, its own and the socket's."""
        transports = {id(transport): transport for transport in (self._raw, self._transport) if transport is not None}
        return sum(transport.get_write_buffer_size() for transport in transports.values())

    def _is_under_way(self) -> bool:
        """Whether the first piece is, with the head in it, and all of a body that is not long (`simnet.pieces`)."""
        if not isinstance(self._raw, StreamTransport):
            return False
        return self._silent and (self._raw.is_moving(here=True) or self._raw.held_bytes > 0)

    def _on_the_way_bytes(self) -> int:
        """What has yet to be taken of an answer."""
        if isinstance(self._raw, StreamTransport):
            return self._unsent_bytes() - self._raw.torn_bytes
        return self._unsent_bytes() + self._unacknowledged_bytes()

    def _unacknowledged_bytes(self) -> int:
        """What the system holds: it takes more only when much of that has gone, a while on a slow link."""
        connection = None if self._raw is None else self._raw.get_extra_info("socket")
        if connection is None or connection.fileno() < 0:
            return 0
        counted = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(4))
        return int.from_bytes(counted, sys.byteorder)


def _reason_of(error: OSError) -> str:
    """Why a handshake failed, in the words of the TLS library, for example "unknown ca"."""
    reason = error.reason if isinstance(error, ssl.SSLError) else ""
    detail = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else ""
    found = (reason or "").lower().replace("_", " ") or str(error)
    return f"{found}: {detail}" if detail else found


@contextlib.contextmanager
def answering(http: web.Request) -> Iterator[None]:
    """Tell the gate through which a request came, if there is one, that its head is there, and when it is answered.

    A body that is still to come then is aiohttp's affair: it reads on for some seconds and closes.
    """
    protocol = None if http.transport is None else http.transport.get_protocol()
    if not isinstance(protocol, Gate):
        yield
        return
    protocol.began()
    try:
        yield
    finally:
        if http.content.is_eof():
            protocol.ended()

"""The carriage by size: the message itself is handed over, and the time passes that its bytes would take.

For thousands of clients with megabytes each: no byte is copied, and a request costs a fraction of what building and
parsing HTTP does. Connections are those of `simnet.streams` (handshake, slow start, cut paths and resets included);
what crosses them has the size that HTTP would have given it (`simnet.wire_size`), in the same order and at the same
moments. So agents cannot tell the carriages apart, and the same scenario gives the same times and the same ledger.

Modelled beside that, as aiohttp does it: one connection serves one request at a time and is kept for 15 s; a broken
connection is tried once more for requests that may be repeated; a body above the limit is refused (413) while it
still comes in; of a request that is cancelled, what was handed over is sent all the same, and its answer is dropped.

Not modelled: back-pressure (a service takes messages in as they arrive); a refusal at the head of a message that is
still coming in (it comes when all of it is there); the closing of idle connections before they would be used again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, cast

from aiohttp import web

from simnet.carriage import SHUTDOWN_S, Place
from simnet.errors import UnreachableError
from simnet.http import Handler, HttpCarriage, add_routes, with_nowhere
from simnet.loop import Address, current_host
from simnet.parcels import ParcelProtocol, ParcelTransport
from simnet.pieces import PIECE_BYTES
from simnet.services import Reply, Request, Route, too_large
from simnet.sessions import CONNECT_TIMEOUT_S, HEADS_GO_FIRST, is_sent_apart
from simnet.streams import StreamNetwork, inspected
from simnet.tenancy import Boundaries, Message
from simnet.trace import Trace
from simnet.wire_size import AnswerHead, RequestHead, as_received, authority_of

_KEPT_S = 15.0  # aiohttp's pool
_LINGER_S = 10.0  # aiohttp's server, for the rest of a body that it has refused
_REPEATABLE = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PUT", "TRACE"})  # aiohttp's IDEMPOTENT_METHODS
_REST = "the rest of a body that is too large"


@contextlib.contextmanager
def patient_collector() -> Iterator[None]:
    """Let the garbage collector look less often, for a while.

    With 100,000 clients under way it would spend half the time on looking through what lives, again and again; what is
    handed over here is freed without it.
    """
    before = gc.get_threshold()
    if before[0] > 0:
        gc.set_threshold(max(before[0], 50_000), *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


class SizedCarriage(HttpCarriage):
    """Carries the messages of one host by their size.

    `services` are those of the whole network, by host. What a host offers is there for aiohttp's sessions, too; and
    where a peer has an application of its own in place of services, requests go to it by HTTP.
    """

    def __init__(
        self,
        place: Place,
        boundaries: Boundaries,
        trace: Trace,
        streams: StreamNetwork,
        services: dict[str, Service],
    ) -> None:
        super().__init__(place, boundaries, trace)
        self._streams = streams
        self._services = services
        self._kept: dict[str, list[tuple[_AskersEnd, float]]] = {}  # by peer, with the time since when

    # -- asking ----------------------------------------------------------------------------------

    async def _exchange(self, peer: str, method: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        service = self._services.get(peer)
        if service is None:
            return await super()._exchange(peer, method, path, message, headers)
        here = self._place.name
        head = RequestHead(method, service.url, service.authority, path, here, message, headers)
        attempts = 2 if method in _REPEATABLE else 1
        while True:
            end = self._kept_end(peer) or await self._connect(peer, service)
            attempts -= 1
            try:
                reply = await end.ask(head, service.body_limit_bytes)
            except OSError as error:
                if attempts == 0:
                    raise UnreachableError(f"{here} lost its connection to {peer}: {error}") from error
            else:
                if not end.transport.is_closing():
                    self._kept.setdefault(peer, []).append((end, self._place.elapsed_s()))
                return reply

    def _kept_end(self, peer: str) -> _AskersEnd | None:
        kept = self._kept.get(peer)
        while kept:
            end, since_s = kept.pop(0)
            if not end.transport.is_closing():
                if self._place.elapsed_s() - since_s <= _KEPT_S:
                    return end
                end.transport.close()
        return None

    async def _connect(self, peer: str, service: Service) -> _AskersEnd:
        here = self._place.name
        # aiohttp rounds long time limits up to whole seconds of the loop's time.
        until_s = math.ceil(self._place.elapsed_s() + CONNECT_TIMEOUT_S)
        at_host, inspecting = current_host.set(here), inspected.set(peer)
        try:
            _, end = await self._streams.connect(service.address, _AskersEnd, parcels=True, until_s=until_s)
        except TimeoutError as error:
            raise UnreachableError(f"{here} cannot reach {peer}: no answer for {CONNECT_TIMEOUT_S:g} s") from error
        except UnreachableError as error:
            raise UnreachableError(f"{here} cannot reach {peer}: {error.strerror or error}") from error
        finally:
            inspected.reset(inspecting)
            current_host.reset(at_host)
        return cast("_AskersEnd", end)

    # -- serving ---------------------------------------------------------------------------------

    async def serve(self, routes: Sequence[Route], address: str | None, port: int, body_limit_bytes: int) -> int:
        """Answer requests until `close`; returns the port. Raises `PortInUseError` if it is taken."""
        port = await super().serve(routes, address, port, body_limit_bytes)
        here = self._place.name
        listener = self._streams.listeners[self._streams.resolve(here), port]
        service = Service(self, self._place.url_of(here), listener.sockets[0].getsockname(), routes, body_limit_bytes)
        listener.parcel_protocol_factory = partial(_ServicesEnd, service)
        self._services[here] = service
        return port

    async def reply_to(self, service: Service, source: str | None, head: RequestHead) -> Reply:
        """What a service of this host answers to a request."""
        match = await service.router.resolve(cast("web.Request", head))
        route = service.routes[match.handler]
        message = as_received(head.message)
        reply = self._turned_away(route, source, head, has_body=bool(message.body))
        if reply is None and service.refuses(len(message.body)):
            reply = too_large(service.body_limit_bytes)
        if reply is None:
            request = Request(source, head.method, head.path, dict(match), head.headers, message)
            reply = await self._served(route, request)
        return self._told(reply, source, head)

    def host_at(self, address: str) -> str | None:
        """The host at a network address."""
        return self._place.name_of(address)

    def now(self) -> float:
        """Seconds since the start of the run."""
        return self._place.elapsed_s()

    @property
    def host(self) -> str:
        """The name of the host whose messages these are."""
        return self._place.name

    # -- both ------------------------------------------------------------------------------------

    async def abandon(self) -> None:
        """Forget the connections and the services, which are gone already; peers do not know that yet."""
        self._kept.clear()
        await super().abandon()

    async def close(self) -> None:
        """Close connections and stop serving."""
        for kept in self._kept.values():
            for end, _ in kept:
                end.transport.close()
        self._kept.clear()
        service = self._services.get(self._place.name)
        if self._session is not None or self._runners:
            await super().close()
        if service is not None and service.carriage is self:
            await service.close()


class Service:
    """What a host offers: its routes, the connections to it and the answers that it owes."""

    def __init__(
        self, carriage: SizedCarriage, url: str, address: Address, routes: Sequence[Route], body_limit_bytes: int
    ) -> None:
        self.url = url
        self.address = address
        self.body_limit_bytes = body_limit_bytes
        self.authority = authority_of(url)
        self.router = web.UrlDispatcher()
        self.routes: dict[Any, Route] = {_handler_of(route): route for route in with_nowhere(routes)}
        add_routes(self.router, self.routes)
        self.carriage = carriage
        self._ends: dict[_ServicesEnd, None] = {}
        self._answering: dict[asyncio.Task[None], _ServicesEnd] = {}
        self._closing = False

    def refuses(self, body_bytes: int) -> bool:
        """Whether a body is too large; with a limit of 0 none is, as in aiohttp."""
        return 0 < self.body_limit_bytes < body_bytes

    def came(self, end: _ServicesEnd) -> None:
        """Somebody has connected."""
        self._ends[end] = None

    def left(self, end: _ServicesEnd) -> None:
        """A connection has ended."""
        self._ends.pop(end, None)

    def asked(self, end: _ServicesEnd, head: RequestHead) -> None:
        """A request has arrived."""
        if not self._closing:
            name = f"{self.carriage.host}: {head.method} {head.path}"
            task = asyncio.get_running_loop().create_task(self._answer(end, head), name=name)
            self._answering[task] = end
            task.add_done_callback(self._answering.pop)

    async def _answer(self, end: _ServicesEnd, head: RequestHead) -> None:
        try:
            reply = await self.carriage.reply_to(self, end.source, head)
            answer = AnswerHead(head.method, reply, self.carriage.now())
        except BaseException:  # there will be no answer: the asker must not wait for one
            end.transport.close()
            raise
        body_bytes = len(answer.reply.message.body)
        apart_bytes = answer.size_bytes if HEADS_GO_FIRST and body_bytes else 0
        end.transport.hand_over(answer.reply, answer.size_bytes + body_bytes, apart_bytes)

    async def close(self) -> None:
        """Give the answers that are owed a moment, then close all connections."""
        self._closing = True
        if owed := [task for task, end in self._answering.items() if not end.transport.is_closing()]:
            await asyncio.wait(owed, timeout=2 * SHUTDOWN_S)  # aiohttp waits twice, before and after a warning
            for task in owed:
                task.cancel()
            await asyncio.gather(*owed, return_exceptions=True)
        for end in list(self._ends):
            end.transport.close()


class _AskersEnd(ParcelProtocol):
    """The end of a connection from which requests go out, one at a time."""

    __slots__ = ("_answer", "transport")
    transport: ParcelTransport

    def __init__(self) -> None:
        self._answer: asyncio.Future[Reply] | None = None

    async def ask(self, head: RequestHead, body_limit_bytes: int) -> Reply:
        """Send a request and wait for its answer. Raises `OSError` if the connection breaks."""
        self._answer = asyncio.get_running_loop().create_future()
        head_bytes, body_bytes = head.size_bytes, len(head.message.body)
        first_bytes = _read_bytes(head_bytes, body_bytes, body_limit_bytes)
        self.transport.hand_over(head, first_bytes, head_bytes if is_sent_apart(body_bytes) else 0)
        if rest_bytes := head_bytes + body_bytes - first_bytes:
            self.transport.hand_over(_REST, rest_bytes)
        try:
            return await self._answer
        except asyncio.CancelledError:
            self.transport.close()
            raise
        finally:
            self._answer = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is over."""
        self.transport = cast("ParcelTransport", transport)

    def parcel_received(self, content: Any) -> None:
        """The answer is here."""
        if self.transport.get_write_buffer_size() > 0:
            # It came before all was sent: aiohttp writes on what it has buffered, but lets go of the connection.
            self.transport.close()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(content)

    def connection_lost(self, exc: Exception | None) -> None:
        """There will be no answer any more, if there was none before."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc if isinstance(exc, OSError) else ConnectionResetError("Server disconnected"))


class _ServicesEnd(ParcelProtocol):
    """The end of a connection at which requests arrive."""

    __slots__ = ("_patience", "_service", "source", "transport")
    transport: ParcelTransport
    source: str | None

    def __init__(self, service: Service) -> None:
        self._service = service
        self._patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has connected."""
        self.transport = cast("ParcelTransport", transport)
        self.source = self._service.carriage.host_at(transport.get_extra_info("peername")[0])
        self._service.came(self)

    def parcel_received(self, content: Any) -> None:
        """A request has arrived, as far as it is read, or the rest of one."""
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        if content is _REST:
            return
        head_bytes, body_bytes = content.size_bytes, len(content.message.body)
        if _read_bytes(head_bytes, body_bytes, self._service.body_limit_bytes) < head_bytes + body_bytes:
            self._patience = asyncio.get_running_loop().call_later(_LINGER_S, self.transport.close)
        self._service.asked(self, content)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more; a service that is at it goes on, as with aiohttp."""
        if self._patience is not None:
            self._patience.cancel()
        self._service.left(self)


def _read_bytes(head_bytes: int, body_bytes: int, body_limit_bytes: int) -> int:
    """How much of a request is read: all, or as many pieces as show that its body is too large."""
    whole_bytes = head_bytes + body_bytes
    if not 0 < body_limit_bytes < body_bytes:
        return whole_bytes
    if is_sent_apart(body_bytes):
        return head_bytes + min((body_limit_bytes // PIECE_BYTES + 1) * PIECE_BYTES, body_bytes)
    return min(((head_bytes + body_limit_bytes) // PIECE_BYTES + 1) * PIECE_BYTES, whole_bytes)


def _handler_of(route: Route) -> Handler:
    """What a router finds in place of the route; it is never called."""

    async def stands_for_route(_http: web.Request) -> web.Response:
        raise NotImplementedError(route.path)

    return stands_for_route

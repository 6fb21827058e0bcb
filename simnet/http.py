"""The carriage by real bytes: unmodified aiohttp, in both worlds, over simulated streams or over sockets.

The sender declares itself and what it sends in two headers, `Boundary-From` and `Boundary-Kind`. On sockets an
`Ingress` makes it prove the former.

Not modelled: TLS in virtual time, proxies, HTTP/2.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TypeVar

import aiohttp
from aiohttp import web

from simnet.carriage import (
    FROM_HEADER,
    KEEP_ALIVE_S,
    KIND_HEADER,
    SHUTDOWN_S,
    Carriage,
    Place,
    declared_kinds,
    kinds_in_words,
    nowhere,
)
from simnet.door import Door, Visit, observed
from simnet.errors import BoundaryError, IdentityError, PortInUseError, UnreachableError, UntrustedError
from simnet.gates import GatedSite, answering
from simnet.guards import Guard
from simnet.ingress import OPEN_EGRESS, OPEN_INGRESS, Credentials, Egress, Ingress
from simnet.loop import current_host
from simnet.services import Reply, Request, Route, no_room, problem, too_large
from simnet.sessions import CONNECT_TIMEOUT_S, Body, new_session
from simnet.spool import SMALLEST_SPOOLED_BYTES, SpooledMessage, SpoolError, SpoolFile
from simnet.streams import inspected
from simnet.tenancy import Boundaries, Message
from simnet.trace import Trace
from simnet.transport import StreamTransport

T = TypeVar("T")
_TIMED_OUT = 408
Handler = Callable[[web.Request], Awaitable[web.Response]]


class HttpCarriage(Carriage):
    """Carries the messages of one host by HTTP."""

    def __init__(
        self,
        place: Place,
        boundaries: Boundaries,
        trace: Trace,
        *,
        ingress: Ingress = OPEN_INGRESS,
        egress: Egress = OPEN_EGRESS,
    ) -> None:
        super().__init__(place, boundaries, trace)
        self._ingress = ingress
        self._egress = egress
        self._guard = None if ingress.limits is None else Guard(ingress.limits, boundaries.tenant_of)
        self._session: aiohttp.ClientSession | None = None
        self._runners: list[web.AppRunner] = []

    async def _exchange(self, peer: str, method: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        visit = Visit(f"{method} {path}", peer=peer, request_bytes=len(message.body))
        with observed(visit, self._egress.observer):
            visit.reply = reply = await self._sent(peer, method, path, message, headers)
        return reply

    async def _sent(self, peer: str, method: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        place = self._place
        url = place.url_of(peer)
        sent_headers = {
            **headers,
            **self._egress.headers(url),
            FROM_HEADER: place.name,
            KIND_HEADER: kinds_in_words(message.kinds),
            "Content-Type": message.content_type,
        }
        try:
            # A redirect would carry the message, or fetch the answer, past the boundary that was just checked.
            with self._at_home(), setting(inspected, peer):
                async with self._client().request(
                    method, url + path, data=_payload(message), headers=sent_headers,
                    allow_redirects=False,
                ) as response:  # fmt: skip
                    answer = Message(await response.read(), declared_kinds(response.headers), response.content_type)
                    return Reply(response.status, answer, dict(response.headers))
        except aiohttp.ClientConnectorCertificateError as error:
            raise UntrustedError(f"{place.name} does not trust {peer} at {url}: {error.certificate_error}") from error
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, BoundaryError):
                raise error.os_error from error
            raise UnreachableError(f"{place.name} cannot reach {peer}: {error.strerror or error}") from error
        except aiohttp.ConnectionTimeoutError as error:
            raise UnreachableError(
                f"{place.name} cannot reach {peer}: no answer for {CONNECT_TIMEOUT_S:g} s"
            ) from error
        except aiohttp.ClientError as error:
            raise UnreachableError(f"{place.name} lost its connection to {peer}: {error}") from error

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            # A jar would bring back, with later messages, what nobody has inspected.
            self._session = new_session(tls=self._egress.tls, cookie_jar=aiohttp.DummyCookieJar())
        return self._session

    async def serve(self, routes: Sequence[Route], address: str | None, port: int, body_limit_bytes: int) -> int:
        """Answer requests until `close`; returns the port. Raises `PortInUseError` if it is taken."""
        app = web.Application(client_max_size=body_limit_bytes)
        handlers = {self._handler(route, body_limit_bytes): route for route in with_nowhere(routes)}
        add_routes(app.router, handlers)
        return await self._run(app, address, port, self._guard)

    async def run_application(self, app: web.Application, address: str | None, port: int) -> int:
        """Run any aiohttp application at this host until `close`; returns the port."""
        return await self._run(app, address, port, None)

    async def _run(self, app: web.Application, address: str | None, port: int, guard: Guard | None) -> int:
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=KEEP_ALIVE_S,
            shutdown_timeout=SHUTDOWN_S,
        )
        await runner.setup()
        self._runners.append(runner)
        if self._ingress.door is not None and (server := runner.server) is not None:
            self._ingress.door.connections = lambda: len(server.connections)
        site: web.BaseSite = (
            web.TCPSite(runner, address, port, ssl_context=self._ingress.tls)
            if guard is None
            else GatedSite(runner, guard, address, port, self._ingress.tls)
        )
        try:
            with self._at_home():
                await site.start()
        except OSError as error:
            raise PortInUseError(
                f"cannot listen on {address or 'any address'}, port {port}: {error.strerror or error}"
            ) from error
        return int(runner.addresses[-1][1])

    def _handler(self, route: Route, body_limit_bytes: int) -> Handler:
        door = self._ingress.door

        async def handle(http: web.Request) -> web.Response:
            with answering(http):
                if door is not None:
                    return _respond(await self._through(door, route, http, body_limit_bytes))
                _, reply = await self._let_in(route, http, body_limit_bytes)
                return _respond(reply)

        return handle

    async def _through(self, door: Door, route: Route, http: web.Request, body_limit_bytes: int) -> Reply:
        """The answer to a request at a door that counts it, and may be shut."""
        with door.entered(route, http.remote) as visit:
            try:
                reply = door.refusal()
                if reply is None:
                    visit.peer, reply = await self._let_in(route, http, body_limit_bytes)
                visit.reply = reply
            finally:
                visit.request_bytes = http.content.total_bytes
        return reply

    async def _let_in(self, route: Route, http: web.Request, body_limit_bytes: int) -> tuple[str | None, Reply]:
        """Who sends a request, as far as that is known, and what it is told."""
        if route.fixed:
            request = Request(None, http.method, http.path, http.match_info, http.headers, Message())
            return None, await self._held(http, None, partial(route.handler, request))
        try:
            source = self._sender(route, http)
        except IdentityError as error:
            # Not in the trace: whoever knocks without a name must not fill the memory of a server.
            refusal = self._ingress.refusal(error)
            return None, refusal if self._guard is None else self._guard.stranger(http, refusal)
        return source, await self._held(http, source, partial(self._heard, route, source, http, body_limit_bytes))

    async def _held(self, http: web.Request, source: str | None, serve: Callable[[], Awaitable[Reply]]) -> Reply:
        return await (serve() if self._guard is None else self._guard.held(http, source, serve))

    async def _heard(self, route: Route, source: str | None, http: web.Request, body_limit_bytes: int) -> Reply:
        reply = self._turned_away(route, source, http, has_body=_has_body(http))
        if reply is None:
            reply = await self._read_and_served(route, source, http, body_limit_bytes)
        return self._told(reply, source, http)

    def _sender(self, route: Route, http: web.Request) -> str | None:
        """Who sends a request. Raises `IdentityError` if that is not proved though it must be."""
        known = self._place.name_of(http.remote)
        if known is not None:
            return known
        tls = http.get_extra_info("ssl_object")
        brought = Credentials(
            certificate=None if tls is None else tls.getpeercert(binary_form=True),
            authorization=http.headers.get("Authorization"),
        )
        source = self._ingress.sender(brought, http.headers.get(FROM_HEADER), self._boundaries.tenant_of)
        if source is None and self._ingress.authenticator is not None and not route.open_to_all:
            raise IdentityError("no-identity", "prove who you are, by a certificate or a token of this deployment")
        return source

    async def _read_and_served(
        self, route: Route, source: str | None, http: web.Request, body_limit_bytes: int
    ) -> Reply:
        try:
            return await self._taken_in(route, source, http, body_limit_bytes)
        except web.RequestPayloadError as error:  # as aiohttp says it, this would be an error of the service
            return problem(400, "unreadable", f"the body is not framed or compressed as its headers say: {error}")

    async def _taken_in(self, route: Route, source: str | None, http: web.Request, body_limit_bytes: int) -> Reply:
        kinds = declared_kinds(http.headers)
        if route.spool is None or not _is_long(http, body_limit_bytes):
            body = await _body_of(http, body_limit_bytes)
            message = None if body is None else Message(body, kinds, http.content_type)
            return await self._whole(route, source, http, message, body_limit_bytes)
        try:
            file = route.spool.open()
        except OSError as error:
            return no_room(error.strerror or str(error))
        try:
            whole = await _spooled(http, file, body_limit_bytes)
            message = SpooledMessage(file, kinds, http.content_type) if whole else None
            return await self._whole(route, source, http, message, body_limit_bytes)
        except SpoolError as error:
            return no_room(str(error))
        finally:
            file.discard()

    async def _whole(
        self, route: Route, source: str | None, http: web.Request, message: Message | None, body_limit_bytes: int
    ) -> Reply:
        if message is None:
            return too_large(body_limit_bytes)
        return await self._served(
            route, Request(source, http.method, http.path, http.match_info, http.headers, message)
        )

    async def abandon(self) -> None:
        """Forget the session and the services; their connections are gone already."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._runners.clear()

    async def close(self) -> None:
        """Close the session and stop serving."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()

    def _at_home(self) -> contextlib.AbstractContextManager[None]:
        """Whatever task calls: connections are made from, and accepted at, the host that this carriage serves."""
        return setting(current_host, self._place.name)


async def _body_of(http: web.Request, limit_bytes: int) -> bytes | None:
    """The whole body; None if it is longer than the limit.

    As `web.Request.read` does, but the request keeps none of it: aiohttp keeps the last request of a connection for as
    long as that is idle.
    """
    _await_body(http, limit_bytes)
    chunks, size_bytes = [], 0
    while chunk := await http.content.readany():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if 0 < limit_bytes < size_bytes:
            return None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def _spooled(http: web.Request, file: SpoolFile, limit_bytes: int) -> bool:
    """Let the body go to a file as it comes; False if it is longer than the limit. Raises `SpoolError`."""
    _await_body(http, limit_bytes)
    while chunk := await http.content.readany():
        file.write(chunk)
        if 0 < limit_bytes < file.size_bytes:
            return False
    return True


def _is_long(http: web.Request, limit_bytes: int) -> bool:
    """Whether a body may have more bytes than are kept in memory; one that is refused anyway has not."""
    announced_bytes = http.content_length
    if announced_bytes is None:
        return http.can_read_body
    return announced_bytes >= SMALLEST_SPOOLED_BYTES and not 0 < limit_bytes < announced_bytes


def _await_body(http: web.Request, limit_bytes: int) -> None:
    """Do not wake up for parts of a body that is read whole: in virtual time, it stays where its sender has it.

    aiohttp collects what arrives. A hundred clients that send 9 MB at the same time would fill 900 MB; so they are read
    one after another, at the same moment of virtual time. A body that is too large is not waited for: its sender is
    told as soon as the limit is passed.
    """
    announced_bytes, transport = http.content_length, http.transport
    if "Content-Encoding" in http.headers or not announced_bytes or 0 < limit_bytes < announced_bytes:
        return  # of what is compressed, nobody can tell how much has come already
    if isinstance(transport, StreamTransport):
        transport.hold_back(announced_bytes - http.content.total_bytes)


def with_nowhere(routes: Sequence[Route]) -> list[Route]:
    """The routes of a service, and after them the one that answers whatever none of them does."""
    return [*routes, Route("*", "/{rest:.*}", nowhere, open_to_all=True)]


def add_routes(router: web.UrlDispatcher, routes: Mapping[Handler, Route]) -> None:
    """Let a router find the handlers of routes."""
    for handler, route in routes.items():
        router.add_route(route.method, route.path, handler, expect_handler=_expectation_met)


async def _expectation_met(http: web.Request) -> web.Response | None:
    """Tell who waits for it to go on with the body; aiohttp repeats any other expectation, also one that is no text."""
    if http.version < aiohttp.HttpVersion11:
        return None
    if http.headers["Expect"].lower() != "100-continue":
        return _respond(problem(417, "unmet-expectation", "of all that can be expected only 100-continue is met"))
    await http.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    http.writer.output_size = 0  # the answer itself has not begun
    return None


def _has_body(http: web.Request) -> bool:
    announced = http.content_length
    return http.can_read_body if announced is None else announced > 0


def _payload(message: Message) -> Body | None:
    return Body(message.body, message.content_type) if message.body else None


@contextlib.contextmanager
def setting(variable: contextvars.ContextVar[T], value: T) -> Iterator[None]:
    """Give a context variable a value for a while."""
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _respond(reply: Reply) -> web.Response:
    message = reply.message
    headers = {**reply.headers, KIND_HEADER: kinds_in_words(message.kinds)}
    body = None
    if message.body:
        headers["Content-Type"] = message.content_type
        body = message.body if isinstance(message.body, bytes) else bytes(message.body)  # a view, of zeros
    response = web.Response(status=reply.status, body=body, headers=headers)
    if reply.status == _TIMED_OUT:
        response.force_close()
    return response

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

from simnet.bodies import answer_of, body_of, has_body, is_long, spooled, unreadable
from simnet.carriage import (
    BODY_LIMIT_BYTES,
    DIGEST_HEADER,
    FROM_HEADER,
    KEEP_ALIVE_S,
    KIND_HEADER,
    SHUTDOWN_S,
    Carriage,
    Place,
    content_digest,
    declared_kinds,
    kinds_in_words,
    no_service,
    nowhere,
)
from simnet.door import Door, Visit, observed, operation_of
from simnet.errors import BoundaryError, IdentityError, PortInUseError, UnreachableError, UntrustedError
from simnet.gates import GatedSite, answering
from simnet.guards import Guard, is_idle
from simnet.ingress import OPEN_EGRESS, OPEN_INGRESS, Credentials, Egress, Ingress
from simnet.loop import current_host
from simnet.resumable import Uploads, routes_of_parts
from simnet.resuming import Part, Resuming
from simnet.services import Reply, Request, Route, no_room, problem, too_large
from simnet.sessions import CONNECT_TIMEOUT_S, Body, PiecewiseBody, new_session
from simnet.spool import SpooledMessage, SpoolError
from simnet.streams import inspected
from simnet.tenancy import Boundaries, Message
from simnet.trace import Trace
from simnet.tus import bare_if_asked, part_of, spoken

T = TypeVar("T")
_TIMED_OUT = 408
Handler = Callable[[web.Request], Awaitable[web.Response]]
Heard = Callable[[str | None, web.Request], Awaitable[Reply]]


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
        tells_digests: bool = False,
    ) -> None:
        super().__init__(place, boundaries, trace)
        self._tells_digests = tells_digests
        self._ingress = ingress
        self._egress = egress
        self._guard = None if ingress.limits is None else Guard(ingress.limits, boundaries.tenant_of)
        self._lists_idle = self._guard is None
        self._session: aiohttp.ClientSession | None = None
        self._runners: list[web.AppRunner] = []
        self._uploads: list[Uploads] = []

    async def _exchange_in_parts(self, peer: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        def admit(refusal: Reply) -> None:
            if self._boundaries.crosses(self._place.name, peer):
                self._admitted(refusal, peer)

        send = partial(HttpCarriage._exchange, self, peer)  # also if others go by their size
        reply = await Resuming(peer, self._place.disk, send, admit).exchange(path, message, headers)
        return await self._exchange(peer, "PUT", path, message, headers) if reply is None else reply

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
        if self._tells_digests and message.body and not isinstance(message, Part):  # the whole's digest is told before
            sent_headers[DIGEST_HEADER] = content_digest(message.digest)
        try:
            # A redirect would carry the message, or fetch the answer, past the boundary that was just checked.
            with self._at_home(), setting(inspected, peer):
                async with self._client().request(
                    method, url + path, data=_payload(message), headers=sent_headers,
                    allow_redirects=False,
                ) as response:  # fmt: skip
                    body = await answer_of(response, BODY_LIMIT_BYTES)
                    answer = Message(body, declared_kinds(response.headers), response.content_type)
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
        handlers: dict[Handler, Route] = {}
        for route in with_nowhere(routes):
            if route.resumable:
                handlers |= self._part_handlers(route, body_limit_bytes)
            handlers[self._handler(route, partial(self._heard, route, body_limit_bytes))] = route
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
        if self._ingress.door is not None and guard is not None:
            self._ingress.door.connections = lambda: guard.connections
            self._ingress.door.turned_away = lambda: guard.turned_away
            guard.on_failed_handshake = self._ingress.door.on_failed_handshake
        elif self._ingress.door is not None and (server := runner.server) is not None:
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

    def _part_handlers(self, route: Route, body_limit_bytes: int) -> dict[Handler, Route]:
        """What answers where messages to a route may come in parts."""
        record = partial(self._record, self._place.name, "part")
        uploads = Uploads(
            route, self._place, serve=self._served, ask=self._answer, record=record, limit_bytes=body_limit_bytes
        )
        self._uploads.append(uploads)
        heard = partial(self._part_heard, route, uploads)
        return {self._handler(part, heard, spoken): part for part in routes_of_parts(route)}

    def _handler(self, route: Route, heard: Heard, finished: Callable[[Reply], Reply] = lambda reply: reply) -> Handler:
        door = self._ingress.door

        async def handle(http: web.Request) -> web.Response:
            with contextlib.nullcontext() if self._guard is None else answering(http):
                try:
                    if door is not None:
                        return _respond(finished(await self._through(door, route, http, heard)))
                    return _respond(finished(await self._let_in(Visit(operation_of(route)), route, http, heard)))
                except ConnectionError:  # a body that broke off is ordinary here, and nobody hears the answer
                    return _respond(Reply(400))

        return handle

    async def _through(self, door: Door, route: Route, http: web.Request, heard: Heard) -> Reply:
        """The answer to a request at a door that counts it, and may be shut."""
        with door.entered(route, http.remote) as visit:
            try:
                reply = door.refusal()
                if reply is None:
                    reply = await self._let_in(visit, route, http, heard)
                visit.reply = reply
            finally:
                visit.request_bytes = http.content.total_bytes
        return reply

    async def _let_in(self, visit: Visit, route: Route, http: web.Request, heard: Heard) -> Reply:
        """What a sender is told; the visit says who it is, as far as that is known, also if it is broken off."""
        if route.fixed:
            request = Request(None, http.method, http.path, http.match_info, http.headers, Message())
            return await self._held(http, None, partial(route.handler, request), listed=False)
        try:
            visit.peer = source = self._sender(route, http)
        except IdentityError as error:
            # Not in the trace: whoever knocks without a name must not fill the memory of a server.
            refusal = self._ingress.refusal(error)
            visit.proved, visit.claimed = error.proved, http.headers.get(FROM_HEADER)
            return refusal if self._guard is None else self._guard.stranger(http, refusal)
        if source is None and route.handler is nowhere:
            return await self._held(http, None, partial(self._nothing_here, route, http), listed=False)
        return await self._held(http, source, partial(heard, source, http))

    async def _nothing_here(self, route: Route, http: web.Request) -> Reply:
        """What a stranger hears of what there is not. It is written down nowhere: there is no end of it."""
        return self._turned_away(route, None, http, has_body=has_body(http)) or no_service()

    async def _held(
        self, http: web.Request, source: str | None, serve: Callable[[], Awaitable[Reply]], *, listed: bool = True
    ) -> Reply:
        return await (serve() if self._guard is None else self._guard.held(http, source, serve, listed=listed))

    async def _heard(self, route: Route, body_limit_bytes: int, source: str | None, http: web.Request) -> Reply:
        reply = self._turned_away(route, source, http, has_body=has_body(http))
        if reply is None:
            try:
                reply = await self._taken_in(route, source, http, body_limit_bytes)
            except web.RequestPayloadError as error:
                reply = unreadable(error)
        if not self._lists_idle and source is not None and is_idle(http.method, http.content.total_bytes, reply):
            return reply
        return self._told(reply, source, http)

    async def _part_heard(self, route: Route, uploads: Uploads, source: str | None, http: web.Request) -> Reply:
        reply = self._turned_away(route, source, http, has_body=True)
        if reply is None and source is not None:
            try:
                reply = await uploads.answer(part_of(source, http, declared_kinds(http.headers)))
            except web.RequestPayloadError as error:
                reply = unreadable(error)
            except ConnectionError:  # ordinary here, and nobody hears the answer
                return Reply(400)
        return self._told(bare_if_asked(reply or Reply(403), http), source, http)

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

    async def _taken_in(self, route: Route, source: str | None, http: web.Request, body_limit_bytes: int) -> Reply:
        kinds = declared_kinds(http.headers)
        if route.spool is None or not is_long(http, body_limit_bytes):
            body = await body_of(http, body_limit_bytes)
            message = None if body is None else Message(body, kinds, http.content_type)
            return await self._whole(route, source, http, message, body_limit_bytes)
        try:
            file = route.spool.open(http.content_length or 0)
        except OSError as error:
            return no_room(error.strerror or str(error))
        try:
            whole = await spooled(http, file, body_limit_bytes)
            told = DIGEST_HEADER in http.headers
            message = SpooledMessage(file, kinds, http.content_type, intact=told) if whole else None
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
        told = http.headers.get(DIGEST_HEADER)
        if told is not None and told != content_digest(message.digest):
            return problem(
                400, "altered", f"the body is not the one that {DIGEST_HEADER} tells of, by its SHA-256; send it again"
            )
        return await self._served(
            route, Request(source, http.method, http.path, http.match_info, http.headers, message)
        )

    async def abandon(self) -> None:
        """Forget the session and the services; their connections are gone already."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._end_uploads()
        self._runners.clear()

    def _end_uploads(self) -> None:
        for uploads in self._uploads:
            uploads.close()
        self._uploads.clear()

    async def close(self) -> None:
        """Close the session and stop serving."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        self._end_uploads()
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()
        self._tell_idle()

    def _tell_idle(self) -> None:
        """Write down in one event each what was not worth one every time."""
        if self._guard is not None:
            for peer, times in self._guard.take_idle():
                self._record(self._place.name, "idle", peer=peer, times=times)

    def _at_home(self) -> contextlib.AbstractContextManager[None]:
        """Whatever task calls: connections are made from, and accepted at, the host that this carriage serves."""
        return setting(current_host, self._place.name)


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


def _payload(message: Message) -> Body | None:
    if not message.body and not isinstance(message, Part):
        return None
    return (PiecewiseBody if isinstance(message, Part) else Body)(message.body, message.content_type)


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

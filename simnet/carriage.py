"""Requests and services: how a message gets to a service, and its answer back.

`HttpCarriage` sends the real bytes through unmodified aiohttp, in both worlds: over simulated streams or over
sockets. Every message that crosses a boundary between tenants is checked here, where it leaves and again where it
arrives. The sender declares itself and what it sends in two headers, `Boundary-From` and `Boundary-Kind`.

Paths and headers are not inspected: across a boundary they are bounded (`HEAD_LIMIT_BYTES` a message). Not modelled:
TLS, proxies, HTTP/2. Handing messages over without their bytes (`sized`) comes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import aiohttp
from aiohttp import web

from simnet.errors import BoundaryError, InspectionError, PortInUseError, SimnetError, UnreachableError
from simnet.loop import current_host
from simnet.services import Reply, Request, Route, as_refusal, problem
from simnet.sessions import Body, new_session
from simnet.streams import inspected
from simnet.tenancy import CONTROL, Boundaries, Crossing, Message
from simnet.trace import Trace, Value

T = TypeVar("T")
FROM_HEADER = "Boundary-From"
KIND_HEADER = "Boundary-Kind"
BODY_LIMIT_BYTES = 256 * 1024 * 1024
HEAD_LIMIT_BYTES = 2048
"""Bytes of the path, the query and an agent's own headers that may cross a boundary with one message."""
_KEEP_ALIVE_S = 75.0
_SHUTDOWN_S = 0.5
# What frames a message is the carriage's business; an agent that set these could smuggle one inside another.
_OWN_HEADERS = frozenset(
    {
        "boundary-from",
        "boundary-kind",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
    }
)
# What HTTP software adds by itself; everything else counts as the agents' own.
_USUAL_HEADERS = _OWN_HEADERS | {"accept", "accept-encoding", "date", "server", "user-agent"}


class Place(Protocol):
    """What a carriage needs to know of the host that it serves."""

    @property
    def name(self) -> str:
        """The host's name."""

    def now(self) -> float:
        """Seconds since the start of the run."""

    def url_of(self, peer: str) -> str:
        """Where a peer's services are, e.g. "http://server:8080"."""

    def name_of(self, address: str | None) -> str | None:
        """The host at a network address, if the network can tell."""


class HttpCarriage:
    """Carries the messages of one host by HTTP."""

    def __init__(self, place: Place, boundaries: Boundaries, trace: Trace) -> None:
        self._place = place
        self._boundaries = boundaries
        self._trace = trace
        self._session: aiohttp.ClientSession | None = None
        self._runners: list[web.AppRunner] = []

    # -- asking ----------------------------------------------------------------------------------

    async def request(self, peer: str, method: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        """Send a message to a service of `peer` and wait for its answer.

        Raises `BoundaryError` or `InspectionError` if the boundary refuses the message or its answer, and
        `UnreachableError` if no connection can be made or it breaks.
        """
        place = self._place
        self._check_head(place.name, peer, path, headers)
        self._check(Crossing(place.name, peer, message), leaving=True)
        self._record(place.name, "request", peer=peer, method=method, path=path, **_facts(message))
        sent_headers = {
            **headers,
            FROM_HEADER: place.name,
            KIND_HEADER: ", ".join(sorted(message.kinds)),
            "Content-Type": message.content_type,
        }
        try:
            # A redirect would carry the message, or fetch the answer, past the boundary that was just checked.
            with self._at_home(), _set(inspected, peer):
                async with self._client().request(
                    method, place.url_of(peer) + path, data=_payload(message), headers=sent_headers,
                    allow_redirects=False,
                ) as response:  # fmt: skip
                    answer = Message(await response.read(), _kinds(response.headers), response.content_type)
                    reply = Reply(response.status, answer, dict(response.headers))
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, BoundaryError):
                raise error.os_error from error
            raise UnreachableError(f"{place.name} cannot reach {peer}: {error.strerror or error}") from error
        except aiohttp.ClientError as error:
            raise UnreachableError(f"{place.name} lost its connection to {peer}: {error}") from error
        reply = self._admitted(reply, peer)
        self._record(
            place.name, "reply", peer=peer, method=method, path=path, status=reply.status, **_facts(reply.message)
        )
        return reply

    def _check_head(self, source: str, target: str, path: str, headers: Mapping[str, str]) -> None:
        if not path.startswith("/"):
            raise SimnetError(f'the path "{path}" must begin with "/"')
        if own := {name.lower() for name in headers} & _OWN_HEADERS:
            raise SimnetError(f"the header {min(own)} is set by the carriage, not by agents")
        if self._boundaries.crosses(source, target) and (size := _head_bytes(path, headers)) > HEAD_LIMIT_BYTES:
            raise BoundaryError(
                f"path and headers have {size} B; across a boundary at most {HEAD_LIMIT_BYTES} may go uninspected"
            )

    def _admitted(self, reply: Reply, peer: str) -> Reply:
        """The reply of a peer once the boundary has let it in. Raises what `Boundaries.check` raises."""
        if not self._boundaries.crosses(peer, self._place.name):
            return reply
        refusal = as_refusal(reply)
        if refusal is not None:
            crossing = Crossing(peer, self._place.name, refusal.message, answer=True)
            self._boundaries.pass_refusal(crossing, "arriving", self._place.now())
            return refusal
        self._check(Crossing(peer, self._place.name, reply.message, answer=True), leaving=False)
        return reply

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = new_session()
        return self._session

    # -- serving ---------------------------------------------------------------------------------

    async def serve(self, routes: Sequence[Route], address: str | None, port: int, body_limit_bytes: int) -> int:
        """Answer requests until `close`; returns the port. Raises `PortInUseError` if it is taken."""
        app = web.Application(client_max_size=body_limit_bytes)
        for route in routes:
            app.router.add_route(route.method, route.path, self._handler(route))
        app.router.add_route("*", "/{rest:.*}", self._handler(Route("*", "", _nowhere, open_to_all=True)))
        return await self.run_application(app, address, port)

    async def run_application(self, app: web.Application, address: str | None, port: int) -> int:
        """Run any aiohttp application at this host until `close`; returns the port."""
        runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            keepalive_timeout=_KEEP_ALIVE_S,
            shutdown_timeout=_SHUTDOWN_S,
        )
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, address, port)
        try:
            with self._at_home():
                await site.start()
        except OSError as error:
            raise PortInUseError(
                f"cannot listen on {address or 'any address'}, port {port}: {error.strerror or error}"
            ) from error
        return int(runner.addresses[-1][1])

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(http: web.Request) -> web.Response:
            source = self._place.name_of(http.remote) or http.headers.get(FROM_HEADER)
            reply = self._turned_away(route, source, http) or await self._served(route, source, http)
            reply = self._told(reply, source)
            self._record(
                self._place.name,
                "answer",
                peer=source,
                method=http.method,
                path=http.path,
                status=reply.status,
                **_facts(reply.message),
            )
            return _respond(reply)

        return handle

    async def _served(self, route: Route, source: str | None, http: web.Request) -> Reply:
        """Read the message and let the service answer it, as far as the boundary permits either."""
        try:
            body = await http.read()
        except web.HTTPRequestEntityTooLarge as error:
            return problem(413, "too-large", error.text or "the body is too large")
        message = Message(body, _kinds(http.headers), http.content_type)
        refusal = self._refusal(source, message)
        if refusal is not None:
            return refusal
        self._record(self._place.name, "arrival", peer=source, method=http.method, path=http.path, **_facts(message))
        request = Request(source, http.method, http.path, http.match_info, http.headers, message)
        return self._permitted(await self._answer(route, request), source)

    def _turned_away(self, route: Route, source: str | None, http: web.Request) -> Reply | None:
        """The refusal of a request whose body need not even be read, or None."""
        here = self._place.name
        if source is None:
            announced = http.content_length
            if route.open_to_all and not (http.can_read_body if announced is None else announced):
                return None
            return problem(403, "unknown-sender", f"say who you are in the header {FROM_HEADER}")
        try:
            if self._boundaries.may_connect(source, here, inspected=True) is not None:
                self._check(Crossing(source, here, Message(kinds=_kinds(http.headers))), leaving=False)
            if self._boundaries.crosses(source, here):
                size = _head_bytes(http.path_qs, http.headers)
                if size > HEAD_LIMIT_BYTES:
                    return problem(431, "boundary", f"path and headers have {size} B, at most {HEAD_LIMIT_BYTES} may")
        except BoundaryError as error:
            return problem(403, "boundary", str(error))
        return None

    def _refusal(self, source: str | None, message: Message) -> Reply | None:
        """The refusal of a message that may not arrive here, or None."""
        if source is None:
            return None
        try:
            self._check(Crossing(source, self._place.name, message), leaving=False)
        except BoundaryError as error:
            return problem(403, "boundary", str(error))
        except InspectionError as error:
            return problem(400, "unreadable", str(error))
        return None

    async def _answer(self, route: Route, request: Request) -> Reply:
        """What the service says; its failure is reported to the loop, and the asker learns only that it failed."""
        try:
            return await route.handler(request)
        except Exception as error:  # whatever the service raises, its host must go on serving
            text = f"{self._place.name} failed to answer {request.method} {request.path}"
            asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
            return problem(500, "internal", "the service failed")

    def _permitted(self, reply: Reply, source: str | None) -> Reply:
        """The reply, or a refusal in its place if the boundary does not let it back."""
        here = self._place.name
        if as_refusal(reply) is not None:
            return reply
        try:
            if source is None:
                self._boundaries.check_answer_to_anyone(here, reply.message, self._place.now())
            else:
                self._check(Crossing(here, source, reply.message, answer=True), leaving=True)
                if self._boundaries.crosses(here, source) and _head_bytes("", reply.headers) > HEAD_LIMIT_BYTES:
                    return problem(403, "boundary", f"the answer's headers exceed {HEAD_LIMIT_BYTES} B")
        except (BoundaryError, InspectionError) as error:
            return problem(403, "boundary", f"the answer may not leave: {error}")
        return reply

    def _told(self, reply: Reply, source: str | None) -> Reply:
        """A refusal cut down to what may be told across a boundary, and written down; any other reply as it is."""
        here = self._place.name
        refusal = as_refusal(reply)
        if refusal is None or (source is not None and not self._boundaries.crosses(here, source)):
            return reply
        if source is not None:
            crossing = Crossing(here, source, refusal.message, answer=True)
            self._boundaries.pass_refusal(crossing, "leaving", self._place.now())
        return refusal

    # -- both ------------------------------------------------------------------------------------

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
        return _set(current_host, self._place.name)

    def _check(self, crossing: Crossing, *, leaving: bool) -> None:
        self._boundaries.check(crossing, "leaving" if leaving else "arriving", self._place.now())

    def _record(self, host: str, kind: str, **values: Value) -> None:
        self._trace.record(self._place.now(), host, kind, **values)


def _payload(message: Message) -> Body | None:
    return Body(message.body, message.content_type) if message.body else None


@contextlib.contextmanager
def _set(variable: contextvars.ContextVar[T], value: T) -> Iterator[None]:
    token = variable.set(value)
    try:
        yield
    finally:
        variable.reset(token)


def _kinds(headers: Mapping[str, str]) -> frozenset[str]:
    declared = frozenset(kind.strip() for kind in headers.get(KIND_HEADER, CONTROL).split(","))
    return declared - {""} or frozenset({CONTROL})


def _head_bytes(path: str, headers: Mapping[str, str]) -> int:
    """What a message carries beside its body, as far as agents decide about it."""
    own = ((name, value) for name, value in headers.items() if name.lower() not in _USUAL_HEADERS)
    return len(path) + sum(len(name) + len(value) for name, value in own)


async def _nowhere(_request: Request) -> Reply:
    return problem(404, "not-found", "there is no such service here")


def _facts(message: Message) -> dict[str, Value]:
    if not message.body:
        return {"bytes": 0}
    return {
        "bytes": len(message.body),
        "carries": "+".join(sorted(message.kinds)),
        "digest": message.digest[:16],
    }


def _respond(reply: Reply) -> web.Response:
    headers = {**reply.headers, KIND_HEADER: ", ".join(sorted(reply.message.kinds))}
    if not reply.message.body:
        return web.Response(status=reply.status, headers=headers)
    return web.Response(
        status=reply.status,
        body=reply.message.body,
        headers=headers,
        content_type=reply.message.content_type,
    )

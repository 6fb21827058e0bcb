"""Requests and services: how a message gets to a service, and its answer back.

`HttpCarriage` sends the real bytes through unmodified aiohttp, in both worlds: over simulated streams or over
sockets. Every message that crosses a boundary between tenants is checked here, where it leaves and again where it
arrives. The sender declares itself and what it sends in two headers, `Boundary-From` and `Boundary-Kind`.

Not modelled: TLS, proxies, HTTP/2. Handing messages over without their bytes (`sized`) comes later.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import aiohttp
import aiohttp.connector
from aiohttp import web
from aiohttp.abc import AbstractStreamWriter

from simnet.errors import BoundaryError, InspectionError, PortInUseError, UnreachableError
from simnet.loop import current_host
from simnet.streams import inspected
from simnet.tenancy import CONTROL, Boundaries, Crossing, Message
from simnet.trace import Trace, Value

T = TypeVar("T")
FROM_HEADER = "Boundary-From"
KIND_HEADER = "Boundary-Kind"
PROBLEM_TYPE = "application/problem+json"
_PROBLEM_URN = "urn:problem:"
PROBLEM_LIMIT_BYTES = 4096  # refusals are not inspected, so they must be too small to carry anything else
BODY_LIMIT_BYTES = 256 * 1024 * 1024
_CONNECT_TIMEOUT_S = 60.0
_KEEP_ALIVE_S = 75.0
_SHUTDOWN_S = 5.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a service sees of a request. `source` is the asking host, None if it did not say."""

    source: str | None
    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    message: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """A status as in HTTP, a message, and headers such as Retry-After."""

    status: int = 200
    message: Message = field(default_factory=Message)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why a request failed, in the words of the service; empty if it did not say."""
        return self._problem_member("detail")

    @property
    def code(self) -> str:
        """Why a request failed, for programs; empty if the service did not say."""
        return self._problem_member("type").removeprefix(_PROBLEM_URN)

    def _problem_member(self, name: str) -> str:
        if self.message.content_type != PROBLEM_TYPE:
            return ""
        try:
            return str(json.loads(self.message.body).get(name, ""))
        except (ValueError, AttributeError):
            return ""


def problem(status: int, code: str, detail: str) -> Reply:
    """A reply that refuses a request and says why (RFC 9457): `code` for programs, `detail` for people."""
    body = json.dumps({"type": _PROBLEM_URN + code, "status": status, "detail": detail}).encode()
    return Reply(status, Message(body, content_type=PROBLEM_TYPE))


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of a service: `path` may have parameters, as in "/tasks/{task}".

    An `open_to_all` route takes control messages from callers that do not say who they are.
    """

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Reply]]
    open_to_all: bool = False


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
        self._check(Crossing(place.name, peer, message), leaving=True)
        self._record(place.name, "request", peer=peer, method=method, path=path, **_facts(message))
        sent_headers = {
            **headers,
            FROM_HEADER: place.name,
            KIND_HEADER: ", ".join(sorted(message.kinds)),
            "Content-Type": message.content_type,
        }
        try:
            with self._at_home(), _set(inspected, True):
                async with self._client().request(
                    method, place.url_of(peer) + path, data=_payload(message), headers=sent_headers
                ) as response:
                    answer = Message(await response.read(), _kinds(response.headers), response.content_type)
                    status, answer_headers = response.status, dict(response.headers)
        except aiohttp.ClientConnectorError as error:
            if isinstance(error.os_error, BoundaryError):
                raise error.os_error from error
            raise UnreachableError(f"{place.name} cannot reach {peer}: {error.strerror or error}") from error
        except aiohttp.ClientError as error:
            raise UnreachableError(f"{place.name} lost its connection to {peer}: {error}") from error
        if not _is_refusal(answer):
            self._check(Crossing(peer, place.name, answer, answer=True), leaving=False)
        self._record(place.name, "reply", peer=peer, method=method, path=path, status=status, **_facts(answer))
        return Reply(status, answer, answer_headers)

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
            raise PortInUseError(f"cannot listen on port {port}: {error.strerror or error}") from error
        return int(site.port)

    def _handler(self, route: Route) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(http: web.Request) -> web.Response:
            source = self._place.name_of(http.remote) or http.headers.get(FROM_HEADER)
            try:
                body = await http.read()
            except web.HTTPRequestEntityTooLarge as error:
                return _respond(problem(413, "too-large", error.text or "the body is too large"))
            message = Message(body, _kinds(http.headers), http.content_type)
            reply = self._refusal(route, source, message)
            if reply is None:
                self._record(
                    self._place.name,
                    "arrival",
                    peer=source,
                    method=http.method,
                    path=http.path,
                    **_facts(message),
                )
                request = Request(source, http.method, http.path, http.match_info, http.headers, message)
                reply = await route.handler(request)
                reply = self._permitted(reply, source)
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

    def _refusal(self, route: Route, source: str | None, message: Message) -> Reply | None:
        """The refusal of a message that may not arrive here, or None."""
        if source is None:
            if route.open_to_all and not message.body:
                return None
            return problem(403, "unknown-sender", f"say who you are in the header {FROM_HEADER}")
        try:
            self._check(Crossing(source, self._place.name, message), leaving=False)
        except BoundaryError as error:
            return problem(403, "boundary", str(error))
        except InspectionError as error:
            return problem(400, "unreadable", str(error))
        return None

    def _permitted(self, reply: Reply, source: str | None) -> Reply:
        """The reply, or a refusal in its place if the boundary does not let it back."""
        if source is None or _is_refusal(reply.message):
            return reply
        try:
            self._check(Crossing(self._place.name, source, reply.message, answer=True), leaving=True)
        except (BoundaryError, InspectionError) as error:
            return problem(403, "boundary", f"the answer may not leave: {error}")
        return reply

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


def new_session(**options: Any) -> aiohttp.ClientSession:
    """A client session whose timeouts were set on purpose: none but for connecting (60 s).

    aiohttp would give up any exchange after 300 s, which a slow link needs for one upload, allow 100 connections at a
    time, and resolve names with aiodns where that is installed, past the event loop.
    """
    options.setdefault("timeout", aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S))
    options.setdefault("connector", aiohttp.TCPConnector(resolver=aiohttp.ThreadedResolver(), limit=0))
    return aiohttp.ClientSession(**options)


@contextlib.contextmanager
def aiohttp_in_virtual_time() -> Iterator[None]:
    """Let aiohttp's connection pool read the running loop's clock, and resolve names through the loop.

    The pool stamps idle connections with `time.monotonic` but sets its clean-up timer on the loop: in virtual time the
    two would never agree, and the timer would ring for ever. Threads that run another loop are not affected.
    """
    connector: Any = aiohttp.connector
    wall_monotonic, resolver = connector.monotonic, connector.DefaultResolver

    def monotonic() -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return float(wall_monotonic())

    connector.monotonic, connector.DefaultResolver = monotonic, aiohttp.ThreadedResolver
    try:
        yield
    finally:
        connector.monotonic, connector.DefaultResolver = wall_monotonic, resolver


class _Body(aiohttp.Payload):
    """A body that is written in one piece, without a copy.

    aiohttp warns when more than 1 MiB of bytes is handed to it directly, because joining and writing them could hold up
    its loop; the streams below take pieces of any size.
    """

    def __init__(self, body: bytes, content_type: str) -> None:
        super().__init__(body, content_type=content_type)
        self._size = len(body)

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """The body as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body over."""
        await writer.write(self._value)


def _payload(message: Message) -> _Body | None:
    return _Body(message.body, message.content_type) if message.body else None


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


def _is_refusal(message: Message) -> bool:
    return message.content_type == PROBLEM_TYPE and len(message.body) <= PROBLEM_LIMIT_BYTES


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

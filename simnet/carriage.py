"""Requests and services: what every way to carry a message has in common.

Every message that crosses a boundary between tenants is checked here, where it leaves and again where it arrives, and
written into the trace. How it gets there is the business of a carriage: `simnet.http` sends the real bytes through
unmodified aiohttp, `simnet.sized` hands the message itself over and lets the time pass that its bytes would take.

Paths and headers are not inspected: across a boundary they are bounded (`HEAD_LIMIT_BYTES` a message), and what is
written down of them is cut.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Protocol

from aiohttp import web

from simnet.disk import Disk
from simnet.errors import BoundaryError, InspectionError, SimnetError
from simnet.guards import is_idle
from simnet.ledger import recorded
from simnet.services import Reply, Request, Route, as_refusal, boundary_problem, problem
from simnet.tenancy import CONTROL, Boundaries, Crossing, Message
from simnet.trace import Trace, Value

FROM_HEADER = "Boundary-From"
KIND_HEADER = "Boundary-Kind"
DIGEST_HEADER = "Content-Digest"
"""RFC 9530: what the bytes of a body must be, said apart from them."""
BODY_LIMIT_BYTES = 256 * 1024 * 1024
HEAD_LIMIT_BYTES = 2048
"""Bytes of the path, the query, the kinds and an agent's own headers that may cross a boundary with one message."""
KEEP_ALIVE_S = 75.0
"""How long a service keeps a connection open that asks nothing; the asker gives it up after 15 s, as aiohttp does."""
SHUTDOWN_S = 0.5
"""How long a service that closes waits for the answers that it owes."""
# What frames a message is the carriage's business; an agent that set these could smuggle one inside another.
_OWN_HEADERS = frozenset(
    {
        "authorization",
        "boundary-from",
        "boundary-kind",
        "connection",
        "content-digest",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "www-authenticate",
    }
)
# What HTTP software adds by itself; everything else counts as the agents' own. So do a token and the kinds, which
# nothing else bounds.
_USUAL_HEADERS = frozenset({"accept", "accept-encoding", "date", "server", "user-agent"}) | (
    _OWN_HEADERS - {"authorization", "boundary-kind"}
)
_CONTROL_CHARACTER = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


class Place(Protocol):
    """What a carriage needs to know of the host that it serves."""

    @property
    def name(self) -> str:
        """The host's name."""

    def elapsed_s(self) -> float:
        """Seconds since the start of the run, by the network's clock."""

    def url_of(self, peer: str) -> str:
        """Where a peer's services are, e.g. "http://server:8080"."""

    def name_of(self, address: str | None) -> str | None:
        """The host at a network address, if the network can tell."""

    @property
    def disk(self) -> Disk:
        """What the host keeps when it crashes."""

    def unix_s(self) -> float:
        """Seconds since 1970; in virtual time, since the start of the run."""

    def unguessable(self, purpose: str) -> str:
        """A name that nobody can guess, of 32 hexadecimal digits; in virtual time, the same in each repetition."""


class Head(Protocol):
    """A request without its body, as a service gets to see it first."""

    @property
    def method(self) -> str:
        """The method, in capitals."""

    @property
    def path(self) -> str:
        """The path, decoded, without the query."""

    @property
    def path_qs(self) -> str:
        """Path and query as they were sent."""

    @property
    def headers(self) -> Mapping[str, str]:
        """All headers."""


class Carriage(abc.ABC):
    """Carries the messages of one host."""

    _lists_idle = True
    """Whether it is written down that somebody asked for news when there was none (`simnet.guards.is_idle`)."""

    def __init__(self, place: Place, boundaries: Boundaries, trace: Trace) -> None:
        self._place = place
        self._boundaries = boundaries
        self._trace = trace
        self._under_way: set[tuple[str, str, str]] = set()  # messages in parts: peer, path and digest

    @abc.abstractmethod
    async def serve(self, routes: Sequence[Route], address: str | None, port: int, body_limit_bytes: int) -> int:
        """Answer requests until `close`; returns the port. Raises `PortInUseError` if it is taken."""

    @abc.abstractmethod
    async def run_application(self, app: web.Application, address: str | None, port: int) -> int:
        """Run any aiohttp application at this host until `close`; returns the port."""

    @abc.abstractmethod
    async def close(self) -> None:
        """Close connections and stop serving."""

    @abc.abstractmethod
    async def abandon(self) -> None:
        """Forget all that is open, for good: its host has crashed, and says goodbye to nobody."""

    @abc.abstractmethod
    async def _exchange(self, peer: str, method: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        """Get a message that may leave to `peer`, and its answer back. Raises `UnreachableError`."""

    @abc.abstractmethod
    async def _exchange_in_parts(self, peer: str, path: str, message: Message, headers: Mapping[str, str]) -> Reply:
        """As `_exchange`, for what is put; of what has been sent already, no more than need be is sent again."""

    # -- asking ----------------------------------------------------------------------------------

    async def request(
        self,
        peer: str,
        method: str,
        path: str,
        message: Message,
        headers: Mapping[str, str],
        *,
        resumable: bool = False,
    ) -> Reply:
        """Send a message to a service of `peer` and wait for its answer.

        A `resumable` one is checked, and written down, once, however many calls it takes: if the connection breaks, the
        next call with it goes on where that one has got to.

        Raises `BoundaryError` or `InspectionError` if the boundary refuses the message or its answer, and
        `UnreachableError` if no connection can be made or it breaks.
        """
        here = self._place.name
        crosses = self._boundaries.crosses(here, peer)
        _check_head(path, headers, message.kinds, bounded=crosses)
        mark = (peer, path, message.digest) if resumable and message.body else None
        if mark not in self._under_way:
            if crosses:
                self._check(Crossing(here, peer, message), leaving=True)
            self._record(here, "request", peer=peer, method=method, path=path, **_facts(message))
        if mark is None:
            reply = await self._exchange(peer, method, path, message, headers)
        else:
            self._under_way.add(mark)
            reply = await self._exchange_in_parts(peer, path, message, headers)
            if not reply.may_come_again:
                self._under_way.discard(mark)
        if crosses:
            reply = self._admitted(reply, peer)
        self._record(here, "reply", peer=peer, method=method, path=path, status=reply.status, **_facts(reply.message))
        return reply

    def _admitted(self, reply: Reply, peer: str) -> Reply:
        """The reply of another tenant's host once the boundary has let it in. Raises what `Boundaries.check` does."""
        refusal = as_refusal(reply)
        if refusal is not None:
            crossing = Crossing(peer, self._place.name, refusal.message, answer=True)
            may_be_told = self._boundaries.pass_refusal(crossing, "arriving", self._place.elapsed_s())
            return refusal if may_be_told else Reply(reply.status)
        self._check(Crossing(peer, self._place.name, reply.message, answer=True), leaving=False)
        return reply

    # -- serving ---------------------------------------------------------------------------------

    def _turned_away(self, route: Route, source: str | None, head: Head, *, has_body: bool) -> Reply | None:
        """The refusal of a request whose body need not even be read, or None."""
        here = self._place.name
        if source is None:
            if route.open_to_all and not has_body:
                return _too_long(head)
            return problem(403, "unknown-sender", f"say who you are in the header {FROM_HEADER}")
        if not self._boundaries.crosses(source, here):
            return None
        stranger = self._boundaries.may_connect(source, here, inspected=True)
        try:
            if stranger is not None:
                self._check(Crossing(source, here, Message(kinds=declared_kinds(head.headers))), leaving=False)
        except BoundaryError as error:
            return problem(403, "boundary", str(error))
        except InspectionError:  # of the body nothing was read, so that it holds no kind that was declared
            return problem(403, "boundary", str(stranger))
        return _too_long(head)

    async def _served(self, route: Route, request: Request) -> Reply:
        """What the service answers to a request that has arrived, as far as the boundary permits either."""
        source, message, method = request.source, request.message, request.method
        idle = not self._lists_idle and source is not None and method == "GET" and not message.body
        refusal = self._refusal(source, message, listed=not idle)
        if refusal is not None:
            return refusal
        if not idle:
            self._arrived(request)
        reply = await self._answer(route, request)
        if idle and not is_idle(method, 0, reply):
            idle = False
            self._refusal(source, message)  # it passes again, and is written down
            self._arrived(request)
        return self._permitted(reply, source, listed=not idle)

    def _arrived(self, request: Request) -> None:
        facts = _facts(request.message)
        self._record(
            self._place.name, "arrival", peer=request.source, method=request.method, path=request.path, **facts
        )

    def _refusal(self, source: str | None, message: Message, *, listed: bool = True) -> Reply | None:
        """The refusal of a message that may not arrive here, or None."""
        if source is None or not self._boundaries.crosses(source, self._place.name):
            return None
        try:
            self._check(Crossing(source, self._place.name, message), leaving=False, listed=listed)
        except BoundaryError as error:
            return boundary_problem(error)
        except InspectionError as error:
            return problem(400, "unreadable", str(error))
        return None

    async def _answer(self, route: Route, request: Request) -> Reply:
        """What the service says; its failure is reported to the loop, and the asker learns only that it failed."""
        try:
            reply = await route.handler(request)
            _check_own(reply.headers)
        except Exception as error:  # whatever the service raises, its host must go on serving
            text = f"{self._place.name} failed to answer {request.method} {request.path}"
            asyncio.get_running_loop().call_exception_handler({"message": text, "exception": error})
            return problem(500, "internal", "the service failed")
        return reply

    def _permitted(self, reply: Reply, source: str | None, *, listed: bool = True) -> Reply:
        """The reply, or a refusal in its place if the boundary does not let it back."""
        here = self._place.name
        if as_refusal(reply) is not None:
            return reply
        try:
            if source is None:
                self._boundaries.check_answer_to_anyone(here, reply.message, self._place.elapsed_s())
            elif self._boundaries.crosses(here, source):
                if _head_bytes("", reply.headers) > HEAD_LIMIT_BYTES:
                    return problem(403, "boundary", f"the answer's headers exceed {HEAD_LIMIT_BYTES} B")
                self._check(Crossing(here, source, reply.message, answer=True), leaving=True, listed=listed)
        except (BoundaryError, InspectionError) as error:
            return problem(403, "boundary", f"the answer may not leave: {error}")
        return reply

    def _told(self, reply: Reply, source: str | None, head: Head) -> Reply:
        """The reply as it goes out, written down: a refusal is cut down to what may be told across a boundary."""
        here = self._place.name
        refusal = as_refusal(reply)
        if refusal is not None and (source is None or self._boundaries.crosses(here, source)):
            if source is not None:
                crossing = Crossing(here, source, refusal.message, answer=True)
                if not self._boundaries.pass_refusal(crossing, "leaving", self._place.elapsed_s()):
                    refusal = Reply(refusal.status)
            reply = refusal
        facts = _facts(reply.message)
        self._record(here, "answer", peer=source, method=head.method, path=head.path, status=reply.status, **facts)
        return reply

    # -- both ------------------------------------------------------------------------------------

    def _check(self, crossing: Crossing, *, leaving: bool, listed: bool = True) -> None:
        self._boundaries.check(crossing, "leaving" if leaving else "arriving", self._place.elapsed_s(), listed=listed)

    def _record(self, host: str, kind: str, **values: Value) -> None:
        cut = {name: recorded(value) if isinstance(value, str) else value for name, value in values.items()}
        self._trace.record(self._place.elapsed_s(), host, kind, **cut)


async def nowhere(_request: Request) -> Reply:
    """The answer of paths at which there is no service."""
    return no_service()


def no_service() -> Reply:
    """The answer where there is no service."""
    return problem(404, "not-found", "there is no such service here")


def declared_kinds(headers: Mapping[str, str]) -> frozenset[str]:
    """The kinds that a message is said to carry: control if nothing is said."""
    declared = frozenset(kind.strip() for kind in headers.get(KIND_HEADER, CONTROL).split(","))
    return declared - {""} or frozenset({CONTROL})


def content_digest(digest: str) -> str:
    """The value of `DIGEST_HEADER` for a SHA-256 of 64 hexadecimal digits."""
    return f"sha-256=:{base64.b64encode(bytes.fromhex(digest)).decode()}:"


@lru_cache
def kinds_in_words(kinds: frozenset[str], separator: str = ", ") -> str:
    """The kinds as the value of `KIND_HEADER`."""
    return separator.join(sorted(kinds))


def _check_head(path: str, headers: Mapping[str, str], kinds: frozenset[str], *, bounded: bool) -> None:
    """Raises `SimnetError` for what agents may not ask, `BoundaryError` for more than may go uninspected."""
    if not path.startswith("/"):
        raise SimnetError(f'the path "{path}" must begin with "/"')
    _check_own(headers)
    size = _head_bytes(path, {**headers, KIND_HEADER: kinds_in_words(kinds)}) if bounded else 0
    if size > HEAD_LIMIT_BYTES:
        raise BoundaryError(
            f"path and headers have {size} B; across a boundary at most {HEAD_LIMIT_BYTES} may go uninspected"
        )


def _too_long(head: Head) -> Reply | None:
    """The refusal of a request with more beside its body than may come uninspected, or None."""
    size = _head_bytes(head.path_qs, head.headers)
    if size <= HEAD_LIMIT_BYTES:
        return None
    return problem(431, "boundary", f"path and headers have {size} B, at most {HEAD_LIMIT_BYTES} may")


def _check_own(headers: Mapping[str, str]) -> None:
    """Raises `SimnetError` for headers that agents may not set."""
    if not headers:
        return
    if own := {name.lower() for name in headers} & _OWN_HEADERS:
        raise SimnetError(f"the header {min(own)} is set by the carriage, not by agents")
    for name, value in headers.items():
        if _CONTROL_CHARACTER.search(name) or _CONTROL_CHARACTER.search(value):
            raise SimnetError(f"the header {name!r} has a control character in it, or in its value {value!r}")


def _head_bytes(path: str, headers: Mapping[str, str]) -> int:
    """What a message carries beside its body, as far as agents decide about it."""
    own = ((name, value) for name, value in headers.items() if name.lower() not in _USUAL_HEADERS)
    return len(path) + sum(len(name) + len(value) for name, value in own)


def _facts(message: Message) -> dict[str, Value]:
    if not message.body:
        return {"bytes": 0}
    return {
        "bytes": len(message.body),
        "carries": kinds_in_words(message.kinds, "+"),
        "digest": message.digest[:16],
    }

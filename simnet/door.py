"""The door of the services of a process: how many are inside, nobody more once it is shut, and who hears how each left.

Whoever operates a server wants to count requests, to write them down, and to end the server without cutting off who is
being served. Counters and logs are of the program that does so: it hands in an `Observer`.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from simnet.identity import Identity
from simnet.services import RETRY_AFTER, Reply, Route, problem

NO_OPERATION = "none"
"""The name of what is asked of no service."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answer, without what was in them.

    Where it was served `operation` is the name that the service gives it, or `NO_OPERATION`, `peer` the sender (proved,
    or believed where nothing is to be proved; None if it is not known) and `address` the sender's in the network. Where
    it was sent from, `operation` is method and path, and `peer` whom it went to. `status` is None if there was no
    answer. Bytes are those of bodies. Of a sender who was not let in, `proved` is whom the credentials name beyond
    doubt, and `claimed` the name that was only said.
    """

    operation: str
    peer: str | None
    address: str | None
    status: int | None
    code: str
    request_bytes: int
    answer_bytes: int
    duration_s: float
    proved: Identity | None = None
    claimed: str | None = None


Observer = Callable[[Exchange], None]


@dataclass(slots=True)
class Visit:
    """One request while it is under way; whoever sees to it says here how it went."""

    operation: str
    address: str | None = None
    peer: str | None = None
    reply: Reply | None = None
    request_bytes: int = 0
    proved: Identity | None = None
    claimed: str | None = None

    def over(self, duration_s: float) -> Exchange:
        """What is told of it in the end."""
        status, code, answer_bytes = None, "", 0
        if self.reply is not None:
            status, code, answer_bytes = self.reply.status, self.reply.code, len(self.reply.message.body)
        return Exchange(
            self.operation, self.peer, self.address, status, code, self.request_bytes, answer_bytes, duration_s,
            self.proved, self.claimed,
        )  # fmt: skip


@contextmanager
def observed(visit: Visit, observer: Observer | None) -> Iterator[Visit]:
    """A request from here to the end of the block, of which an observer hears then."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    try:
        yield visit
    finally:
        if observer is not None:
            observer(visit.over(loop.time() - began_s))


class Door:
    """What requests pass on their way to the services of a process. `observer` hears of each when it leaves."""

    def __init__(self, observer: Observer | None = None) -> None:
        self.inside = 0
        """Requests that are being served."""
        self.connections: Callable[[], int] = lambda: 0
        """How many connections are open."""
        self.turned_away: Callable[[], Mapping[str, int]] = dict
        """Connections that were ended before a request was heard: why -> how many."""
        self.on_failed_handshake: Callable[[str | None, str], None] = lambda _address, _reason: None
        """Hears of a connection that was ended for want of TLS: the address, and why. To be set before it opens."""
        self._observer = observer
        self._refusal: Reply | None = None
        self._nobody_inside = asyncio.Event()
        self._nobody_inside.set()

    @contextmanager
    def entered(self, route: Route, address: str | None) -> Iterator[Visit]:
        """Be inside, from here to the end of the block."""
        self.inside += 1
        self._nobody_inside.clear()
        try:
            with observed(Visit(operation_of(route), address), self._observer) as visit:
                yield visit
        finally:
            self.inside -= 1
            if self.inside == 0:
                self._nobody_inside.set()

    def shut(self, retry_after_s: float) -> None:
        """Let nobody more in: 503, to be repeated after so many seconds. Who is inside stays."""
        detail = "the server is being stopped; repeat the request when it is back"
        self._refusal = problem(503, "shutting-down", detail, {RETRY_AFTER: str(math.ceil(retry_after_s))})

    def refusal(self) -> Reply | None:
        """The answer to who comes to a door that is shut; None while it is open."""
        return self._refusal

    async def wait_until_empty(self) -> None:
        """Return when nobody is inside any more."""
        await self._nobody_inside.wait()


def operation_of(route: Route) -> str:
    """What a route is called where requests are counted: few names, whatever is asked."""
    if route.about is not None:
        return route.about.name
    return NO_OPERATION if route.method == "*" else f"{route.method} {route.path}"

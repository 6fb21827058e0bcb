"""What a service does not put up with, in both worlds: too many requests, too many connections, what never ends.

A `Guard` counts for one process. Requests are counted, and bodies timed, where they are served; connections are
counted, and heads timed, in front of that (`simnet.gates`). A refusal is problem details (RFC 9457), says what to do,
and is written down nowhere: it must not fill the memory of a server.

Not modelled in virtual time: that a link itself is too slow. While a piece (`simnet.pieces`) is on its way, it moves.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import resource
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Container, Iterator
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

from simnet.limits import US_PER_S, Rate, TokenBucket
from simnet.services import RETRY_AFTER, Reply, problem
from simnet.transport import StreamTransport

Standing = Literal["in", "told", "dropped"]
"""Of a new connection: let in; let in to be told that there are too many; or not worth a word."""
TOLD_AT_ONCE = 64
"""Connections beyond the limit that are told so before they are closed; more are closed at once."""
ANYBODY = "anybody"
"""All who are not known by name: there is no end of names and addresses."""
_REMEMBERED_SENDERS = 10_000
_OTHER_FILES = 128
"""Files that a server has open beside its connections, with room to spare."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of what senders may ask of a service.

    `requests_per_s` of one sender, with `request_burst` at once after a rest; `requests_at_once` that wait for their
    answers; `requests_in_all`, but for those that ask whether there is news and are told that there is none: every
    other is written down, in memory. A sender is a host of the network or, of those that do not say who they are,
    an address.

    `connections` in all, and `connections_per_address`. `head_s`: seconds for the TLS handshake, and for the head of a
    request from its first byte, or from the connection on. Bodies and answers must move with `least_bps`, looked at
    every `window_s` seconds, however long they take in all; time in which this end is too busy to read does not count.
    """

    requests_per_s: int = 50
    request_burst: int = 200
    requests_at_once: int = 32
    requests_in_all: int = 50_000
    connections: int = 4096
    connections_per_address: int = 1024
    head_s: float = 10.0
    least_bps: float = 2_000.0
    window_s: float = 30.0

    @property
    def least_bytes(self) -> float:
        """What must move in a window."""
        return self.least_bps * self.window_s / 8


class SlowBodyError(TimeoutError):
    """The body of a request does not come."""


class Guard:
    """Holds those who come to one process to its limits. `hosts` are the senders that are known by name."""

    def __init__(self, limits: Limits, hosts: Container[str]) -> None:
        self.limits = limits
        self._hosts = hosts
        self._rate = Rate(limits.requests_per_s, of="messages", burst=limits.request_burst)
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()
        self._at_work: Counter[str] = Counter()
        self._in_all: Counter[str] = Counter()
        self._idle: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self.turned_away: Counter[str] = Counter()
        """Connections that were ended before a request was heard: why -> how many."""
        self.on_failed_handshake: Callable[[str | None, str], None] = lambda _address, _reason: None
        """Hears of a connection without TLS that will do: the address, and why."""
        self._open = 0

    # -- requests --------------------------------------------------------------------------------

    async def held(
        self, http: web.Request, source: str | None, serve: Callable[[], Awaitable[Reply]], *, listed: bool = True
    ) -> Reply:
        """What `serve` answers to a request of `source`, or a refusal: before its body is read, or if that does not
        come. `listed` says whether it is written down.
        """
        sender = self._sender(source, http.remote)
        counted = source if source is not None and source in self._hosts else ANYBODY
        refusal = self._refusal(sender, counted, http)
        if refusal is not None:
            return refusal
        self._at_work[sender] += 1
        try:
            with self._watched(http):
                reply = await serve()
        except SlowBodyError as error:
            return problem(408, "slow", str(error))
        finally:
            self._at_work[sender] -= 1
            if not self._at_work[sender]:
                del self._at_work[sender]
        if source is not None and is_idle(http.method, http.content.total_bytes, reply):
            self._idle[counted] += 1
        elif listed:
            self._in_all[counted] += 1
        return reply

    def take_idle(self) -> list[tuple[str, int]]:
        """How often each sender asked for news when there was none, since this was last asked."""
        idle, self._idle = sorted(self._idle.items()), Counter()
        return idle

    def stranger(self, http: web.Request, refusal: Reply) -> Reply:
        """The answer to a request whose sender was not proved: `refusal`, or 429 if there are many from there."""
        return self._too_fast(self._sender(None, http.remote)) or refusal

    def _refusal(self, sender: str, counted: str, http: web.Request) -> Reply | None:
        limits = self.limits
        if refused := self._too_fast(sender):
            return refused
        if self._at_work[sender] >= limits.requests_at_once:
            return _later(
                429, "busy", f"{limits.requests_at_once} requests of this sender wait for their answers already", 1
            )
        if self._in_all[counted] >= limits.requests_in_all:
            return problem(
                403, "used-up", f"this sender has made {limits.requests_in_all} requests, as many as one may in a run"
            )
        if http.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
            detail = "compressed bodies are not taken in; send the body as it is"
            return problem(415, "encoded", detail, {"Accept-Encoding": "identity"})
        return None

    def _too_fast(self, sender: str) -> Reply | None:
        at_us = round(asyncio.get_running_loop().time() * US_PER_S)
        bucket = self._bucket(sender)
        wait_us = bucket.wait_us(1, at_us)
        if wait_us:
            return _later(429, "rate", f"a sender may make {self._rate.name}", -(-wait_us // US_PER_S))
        bucket.take(1, at_us)
        return None

    def _bucket(self, sender: str) -> TokenBucket:
        """Whoever has asked for nothing the longest is forgotten first: its bucket is full again, or nearly."""
        if sender not in self._buckets:
            self._buckets[sender] = TokenBucket(self._rate)
            if len(self._buckets) > _REMEMBERED_SENDERS:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(sender)
        return self._buckets[sender]

    def _sender(self, source: str | None, address: str | None) -> str:
        """Whom a request counts for. Names that nobody has are not counted: there is no end of them."""
        return f"host {source}" if source in self._hosts else f"at {network_of(address)}"

    @contextlib.contextmanager
    def _watched(self, http: web.Request) -> Iterator[None]:
        """Let whoever reads the body meanwhile get `SlowBodyError` once that comes too slowly.

        So only reading ends; what is done with a body that is whole is never interrupted.
        """
        content, limits, loop = http.content, self.limits, asyncio.get_running_loop()
        had_bytes = _come_bytes(http)
        timer: asyncio.TimerHandle | None = None

        def look() -> None:
            nonlocal had_bytes, timer
            if content.is_eof():
                return
            now_bytes = _come_bytes(http)
            came_bytes, had_bytes = now_bytes - had_bytes, now_bytes
            if came_bytes < limits.least_bytes and _waits(http.transport):
                content.set_exception(
                    SlowBodyError(
                        f"a body must come with {limits.least_bps:g} bit/s at the least; in {limits.window_s:g} s "
                        f"{came_bytes} B have come. Send it again"
                    )
                )
            else:
                timer = loop.call_later(limits.window_s, look)

        if not content.is_eof():
            timer = loop.call_later(limits.window_s, look)
        try:
            yield
        finally:
            if timer is not None:
                timer.cancel()

    # -- connections -----------------------------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many are open."""
        return self._open

    def admits(self, place: str) -> Standing:
        """How a new connection from a place (`network_of`) is treated; unless it is dropped it counts until `left`."""
        if self._open >= self.limits.connections + TOLD_AT_ONCE:
            self.turned_away["too-many"] += 1
            return "dropped"
        of_one = self._connections[place]
        self._connections[place] += 1
        self._open += 1
        fits = self._open <= self.limits.connections and of_one < self.limits.connections_per_address
        self.turned_away["too-many"] += not fits
        if not fits and of_one >= self.limits.connections_per_address + TOLD_AT_ONCE:
            self.left(place)
            return "dropped"
        return "in" if fits else "told"

    def left(self, place: str) -> None:
        """A connection that counted has ended."""
        self._open -= 1
        self._connections[place] -= 1
        if not self._connections[place]:
            del self._connections[place]


def _come_bytes(http: web.Request) -> int:
    """How much of a body is here; in virtual time, part of it may be held back from the program."""
    held_bytes = http.transport.held_bytes if isinstance(http.transport, StreamTransport) else 0
    return http.content.total_bytes + held_bytes


def _waits(transport: asyncio.Transport | None) -> bool:
    """Whether it is the other end that nothing comes from."""
    if isinstance(transport, StreamTransport) and transport.is_moving(here=True):
        return False
    return transport is not None and transport.is_reading()


def is_idle(method: str, body_bytes: int, reply: Reply) -> bool:
    """Whether a request asked for news and there was none: nothing has crossed."""
    return method == "GET" and body_bytes == 0 and reply.status == 204 and not reply.message.body


def network_of(address: str | None) -> str:
    """Who shares an address: itself in IPv4; in IPv6 its /64, which is the least that anybody is given."""
    try:
        known = ipaddress.ip_address((address or "").partition("%")[0])
    except ValueError:
        return address or "unknown"
    if isinstance(known, ipaddress.IPv4Address):
        return str(known)
    return str(known.ipv4_mapped or ipaddress.ip_network((known, 64), strict=False))


def affordable_connections(wanted: int) -> int:
    """How many connections this process may have open, at most `wanted`; lifts its limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + TOLD_AT_ONCE + _OTHER_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(1, min(wanted, soft - TOLD_AT_ONCE - _OTHER_FILES))


def _later(status: int, code: str, detail: str, wait_s: int) -> Reply:
    return problem(status, code, f"{detail}; come again in {wait_s} s", {RETRY_AFTER: str(wait_s)})


def too_many_connections() -> Reply:
    """The refusal of a connection that is one too many."""
    return _later(503, "busy", "too many connections are open", 60)

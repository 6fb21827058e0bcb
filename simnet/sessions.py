"""aiohttp's client sessions, set up on purpose and made repeatable in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import Iterator, MutableSet
from typing import Any

import aiohttp
import aiohttp.connector
from aiohttp.abc import AbstractStreamWriter

from simnet.pieces import PIECE_BYTES

CONNECT_TIMEOUT_S = 60.0
_SMALL_PIECE_BYTES = 64 * 1024


def new_session(*, tls: ssl.SSLContext | None = None, **options: Any) -> aiohttp.ClientSession:
    """A client session whose timeouts were set on purpose: none but for connecting (60 s).

    `tls` says whom to trust behind https URLs, and with which certificate to answer for oneself.

    aiohttp would give up any exchange after 300 s, which a slow link needs for one upload, allow 100 connections at a
    time, and resolve names with aiodns where that is installed, past the event loop.
    """
    options.setdefault("timeout", aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S))
    if "connector" not in options:
        options["connector"] = aiohttp.TCPConnector(
            resolver=aiohttp.ThreadedResolver(), limit=0, ssl=True if tls is None else tls
        )
    return aiohttp.ClientSession(**options)


@contextlib.contextmanager
def aiohttp_in_virtual_time() -> Iterator[None]:
    """Let aiohttp's connection pool read the running loop's clock, resolve names through the loop, and keep order.

    The pool stamps idle connections with `time.monotonic` but sets its clean-up timer on the loop: in virtual time the
    two would never agree, and the timer would ring for ever. It closes connections, and wakes those that wait for a
    name, in the order of a set, which is that of memory addresses: no run would be like another. Other loops, in
    other threads, are not affected but for the latter.
    """
    connector: Any = aiohttp.connector
    wall_monotonic, resolver = connector.monotonic, connector.DefaultResolver
    make_connector = connector.TCPConnector.__init__

    @functools.wraps(make_connector)
    def make_orderly(self: Any, *args: Any, **options: Any) -> None:
        options.setdefault("use_dns_cache", False)  # names resolve at no cost here, so nobody need wait for another
        make_connector(self, *args, **options)
        self._acquired = _OrderedSet()

    def monotonic() -> float:
        try:
            return asyncio.get_running_loop().time()
        except RuntimeError:
            return float(wall_monotonic())

    connector.monotonic, connector.DefaultResolver = monotonic, aiohttp.ThreadedResolver
    connector.TCPConnector.__init__ = make_orderly
    try:
        yield
    finally:
        connector.monotonic, connector.DefaultResolver = wall_monotonic, resolver
        connector.TCPConnector.__init__ = make_connector


class _OrderedSet(MutableSet[Any]):
    """A set that remembers the order in which things came in."""

    def __init__(self) -> None:
        self._members: dict[Any, None] = {}

    def __contains__(self, thing: object) -> bool:
        return thing in self._members

    def __iter__(self) -> Iterator[Any]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)

    def add(self, value: Any) -> None:
        """Add to the end, unless it is in already."""
        self._members[value] = None

    def discard(self, value: Any) -> None:
        """Take out, if it is in."""
        self._members.pop(value, None)


HEADS_GO_FIRST = not hasattr(AbstractStreamWriter, "send_headers")
"""aiohttp before 3.12 writes every head at once, later ones with the beginning of what follows."""


def is_sent_apart(body_bytes: int) -> bool:
    """Whether a body of this length is written apart from the head of its request, by the aiohttp that is installed."""
    return body_bytes > PIECE_BYTES or (HEADS_GO_FIRST and body_bytes > 0)


class Body(aiohttp.Payload):
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
        """Hand the body over. A long one goes after its head, which aiohttp would else copy both to put together."""
        if is_sent_apart(len(self._value)) and not HEADS_GO_FIRST:
            writer.send_headers()
        await writer.write(self._value)


class PiecewiseBody(Body):
    """A body that is written in pieces of 64 KiB: of one whose connection breaks, what was written before arrives."""

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Hand the body over."""
        for start in range(0, len(self._value), _SMALL_PIECE_BYTES):
            await writer.write(bytes(self._value[start : start + _SMALL_PIECE_BYTES]))

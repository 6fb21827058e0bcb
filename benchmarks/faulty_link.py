"""A TCP proxy that breaks connections, and follows the HTTP/1.1 that goes through it.

`FaultyLink` passes bytes on between whoever connects and a server whose port may change. Each connection has a pace
and, until the link has had its number of faults, maybe a fault: after so many bytes in one direction it is reset, or
cut off as if the sender had ended, or stands still for a while. What a connection is in for is drawn when it is made.

What is told of the traffic (`Sight`) is what has been passed on to the server, and what the server has said, also if a
fault keeps that from the other end.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType

import numpy as np

_PIECE_BYTES = 16 * 1024
_LOOPBACK = "127.0.0.1"
_LENGTH = re.compile(rb"(?im)^content-length:[ \t]*(\d+)")
_HEAD_BYTES = 2000  # about what goes up before an upload, and comes down in all


@dataclass(frozen=True)
class Sight:
    """A request: that its head has `begun` to pass, that it is `whole`, or that it is `answered` with a status."""

    what: str
    method: str
    path: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    """Of the request that has begun, or of the answer; names in small letters."""


Witness = Callable[[Sight], None]


class Messages:
    """Finds the messages in one direction of a connection; bodies are as long as their heads say."""

    def __init__(self, begun: Callable[[bytes], bool], whole: Callable[[], None]) -> None:
        self._begun = begun
        self._whole = whole
        self._buffer = bytearray()
        self._rest_bytes = 0

    def feed(self, piece: bytes) -> None:
        """Look at what comes next."""
        self._buffer += piece
        while True:
            if self._rest_bytes:
                taken = min(self._rest_bytes, len(self._buffer))
                del self._buffer[:taken]
                self._rest_bytes -= taken
                if self._rest_bytes:
                    return
                self._whole()
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                return
            head = bytes(self._buffer[:end])
            del self._buffer[: end + 4]
            has_body = self._begun(head)
            length = _LENGTH.search(head)
            self._rest_bytes = int(length[1]) if length and has_body else 0
            if not self._rest_bytes:
                self._whole()


class Exchanges:
    """The requests and answers of one connection, told to a witness."""

    def __init__(self, witness: Witness) -> None:
        self._witness = witness
        self._asked: deque[tuple[str, str]] = deque()
        self._last = ("", "")
        self.upwards = Messages(self._request, self._request_whole)
        """What goes to the server."""
        self.downwards = Messages(self._answer, lambda: None)
        """What comes from it."""

    def _request(self, head: bytes) -> bool:
        method, path = head.split(b" ", 2)[:2]
        self._last = method.decode(), path.decode()
        self._asked.append(self._last)
        self._witness(Sight("begun", *self._last, headers=_headers_in(head)))
        return True

    def _request_whole(self) -> None:
        self._witness(Sight("whole", *self._last))

    def _answer(self, head: bytes) -> bool:
        status = int(head.split(b" ", 2)[1])
        if status < 200:
            return False
        method, path = self._asked.popleft()
        self._witness(Sight("answered", method, path, status, _headers_in(head)))
        return method != "HEAD" and status not in (204, 304)


def _headers_in(head: bytes) -> Mapping[str, str]:
    lines = (line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}


@dataclass(frozen=True)
class Fault:
    """What befalls a connection after so many bytes in one direction: a `reset`, a `cut`, or a `stall` of so long."""

    kind: str
    upwards: bool
    after_bytes: int
    stall_s: float


class FaultyLink:
    """The proxy; to be used by `async with`. `target` is the port of the server on this machine, None while it is down.

    `most_bytes` is about what one connection carries upwards: faults are spread over it.
    """

    def __init__(self, draws: np.random.Generator, faults: int, most_bytes: int, witness: Witness) -> None:
        self.target: int | None = None
        self.met: Counter[str] = Counter()
        """How often each kind of fault has happened, and how many connections there were."""
        self._draws = draws
        self._faults_left = faults
        self._most_bytes = most_bytes
        self._witness = witness
        self._server: asyncio.Server | None = None
        self._running: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it is."""
        assert self._server is not None
        return f"http://{_LOOPBACK}:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> FaultyLink:
        self._server = await asyncio.start_server(self._accepted, _LOOPBACK, 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _fault(self) -> Fault | None:
        if self._faults_left <= 0 or self._draws.random() < 0.3:
            return None
        upwards = bool(self._draws.random() < 0.6)
        most = self._most_bytes if upwards and self._draws.random() < 0.7 else _HEAD_BYTES
        kind = ("reset", "cut", "stall")[int(self._draws.integers(3))]
        return Fault(kind, upwards, int(self._draws.integers(most)), float(self._draws.uniform(0.05, 1.0)))

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._running.add(task)
        try:
            with contextlib.suppress(asyncio.CancelledError):  # the link is taken away
                await self._connected(reader, writer)
        finally:
            self._running.discard(task)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.met["connections"] += 1
        fault, bytes_per_s = self._fault(), float(np.exp(self._draws.uniform(np.log(1e6), np.log(5e7))))
        if self.target is None:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection(_LOOPBACK, self.target)
        except OSError:
            _reset(writer)
            return
        exchanges = Exchanges(self._witness)
        ways = [
            self._pass_on(reader, server_writer, exchanges, fault, bytes_per_s, upwards=True),
            self._pass_on(server_reader, writer, exchanges, fault, bytes_per_s, upwards=False),
        ]
        tasks = [asyncio.create_task(way) for way in ways]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            broken = any(task.result() for task in done)
            if not broken:  # one end has ended: what the other has said already still gets through
                await asyncio.wait(tasks, timeout=0.05)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (writer, server_writer):
                _reset(end) if broken_of(tasks) else end.close()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        exchanges: Exchanges,
        fault: Fault | None,
        bytes_per_s: float,
        *,
        upwards: bool,
    ) -> bool:
        """One direction, to its end; whether the connection is to be reset."""
        left = fault.after_bytes if fault is not None and fault.upwards is upwards else None
        follow = (exchanges.upwards if upwards else exchanges.downwards).feed
        try:
            while piece := await reader.read(_PIECE_BYTES):
                if not upwards:
                    follow(piece)
                if fault is not None and left is not None and left <= len(piece):
                    self.met[fault.kind] += 1
                    self._faults_left -= 1
                    if fault.kind != "stall":
                        await self._write(writer, piece[:left], follow if upwards else None)
                        return fault.kind == "reset"
                    left = None
                    await asyncio.sleep(fault.stall_s)
                elif left is not None:
                    left -= len(piece)
                await self._write(writer, piece, follow if upwards else None)
                await asyncio.sleep(len(piece) / bytes_per_s)
        except ConnectionError:
            return True
        return False

    @staticmethod
    async def _write(writer: asyncio.StreamWriter, piece: bytes, follow: Callable[[bytes], None] | None) -> None:
        writer.write(piece)
        await writer.drain()
        if follow is not None:
            follow(piece)


def broken_of(tasks: list[asyncio.Task[bool]]) -> bool:
    """Whether one of the directions has ended by a reset."""
    return any(task.done() and not task.cancelled() and task.exception() is None and task.result() for task in tasks)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close a connection so that the other end is told that it broke, at once."""
    connection = writer.get_extra_info("socket")
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()

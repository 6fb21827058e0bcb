"""What a stream moves at a time: pieces of what was written, copied as late and as seldom as can be.

A long write is cut into parts of 256 KiB, of which the program gets one at a time as they arrive, as asyncio receives
from a socket. A part is not copied before that, and not even then if all that was written together has arrived (the
reader had paused, or had use for nothing less): then it gets the very bytes that were written. `copied_bytes` counts
the rest.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sized
from typing import Any

PIECE_BYTES = 256 * 1024

Piece = Sized | None  # None is the end of the stream

_copied_bytes = 0


class Part:
    """Bytes from `start` to `stop` of what was written together."""

    __slots__ = ("start", "stop", "whole")

    def __init__(self, whole: bytes, start: int, stop: int) -> None:
        self.whole = whole
        self.start = start
        self.stop = stop

    def __len__(self) -> int:
        return self.stop - self.start


def copied_bytes() -> int:
    """Bytes that streams have copied in this process until now, between what was written and what was received."""
    return _copied_bytes


def cut(data: bytes) -> Iterator[bytes | Part]:
    """The pieces of one write."""
    if len(data) <= PIECE_BYTES:
        yield data
    else:
        for start in range(0, len(data), PIECE_BYTES):
            yield Part(data, start, min(start + PIECE_BYTES, len(data)))


def size_of(piece: Piece) -> int:
    """Bytes of a piece."""
    return 0 if piece is None else len(piece)


class Inbox:
    """What has arrived at one end of a connection and was not handed over yet."""

    __slots__ = ("held_back_bytes", "pieces", "size_bytes", "window_bytes")

    def __init__(self, window_bytes: int) -> None:
        self.window_bytes = window_bytes
        self.pieces: list[Piece] = []
        self.size_bytes = 0
        self.held_back_bytes = 0
        """How much has to be there before the program has use for any of it."""

    def put(self, piece: Piece) -> None:
        """Something has arrived."""
        self.pieces.append(piece)
        self.size_bytes += size_of(piece)

    def is_due(self) -> bool:
        """Whether there is as much as the program has use for; if so much does not fit, or no more will come, less."""
        if not self.pieces:
            return False
        return self.size_bytes >= min(self.held_back_bytes, self.window_bytes) or self.pieces[-1] is None

    def take(self) -> Piece:
        """The next piece, taken out: all that was written together, if all of it is there."""
        piece = self._take_whole() or self.pieces.pop(0)
        size_bytes = size_of(piece)
        self.size_bytes -= size_bytes
        self.held_back_bytes = max(self.held_back_bytes - size_bytes, 0)
        return piece

    def clear(self) -> None:
        """Forget everything."""
        self.pieces.clear()
        self.size_bytes = 0

    def _take_whole(self) -> bytes | None:
        first = self.pieces[0]
        if not isinstance(first, Part) or first.start > 0:
            return None
        stop = 0
        for count, part in enumerate(self.pieces, start=1):
            if not isinstance(part, Part) or part.whole is not first.whole or part.start != stop:
                return None
            stop = part.stop
            if stop == len(first.whole):
                del self.pieces[:count]
                return first.whole
        return None


def frozen(data: bytes | bytearray | memoryview) -> bytes:
    """What was written: bytes cannot change under us; anything else is copied, as a real transport would."""
    return data if isinstance(data, bytes) else bytes(data)


def as_bytes(piece: Any) -> bytes:
    """What a program gets of a piece."""
    global _copied_bytes  # noqa: PLW0603  (a count of the process, like its memory)
    if isinstance(piece, Part):
        _copied_bytes += len(piece)
        return piece.whole[piece.start : piece.stop]
    return bytes(piece)


def hand_over(protocol: Any, piece: Piece) -> None:
    """Give a protocol what has arrived for it."""
    if not isinstance(protocol, asyncio.BufferedProtocol):
        protocol.data_received(as_bytes(piece))
        return
    rest = memoryview(as_bytes(piece))
    while rest:
        buffer = memoryview(protocol.get_buffer(len(rest)))
        size = min(len(buffer), len(rest))
        buffer[:size] = rest[:size]
        protocol.buffer_updated(size)
        rest = rest[size:]

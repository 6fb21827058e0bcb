"""Connections that hand objects over instead of bytes: what `simnet.sized` sends its messages through.

A parcel is an object and a number of bytes. It crosses the network as so many bytes would and comes out at the other
end as the very object. All else is as with any connection: handshake, slow start, order, closing,
resets, cut paths. Not modelled: back-pressure from a reader (parcels are taken in as they arrive); the pieces in which
bytes would go, but for the last two where there is jitter. So rules of faults see a parcel whole, a machine that was
off resets a connection when all of a parcel is there, and where 256 KiB pass in less than twice the jitter, a parcel
may be early by so much.
"""

from __future__ import annotations

import asyncio
from typing import Any

from simnet.pieces import PIECE_BYTES
from simnet.transport import StreamTransport

_NOTHING_YET = object()


class Parcel:
    """An object on its way, and the bytes that it would have on the wire."""

    __slots__ = ("_size_bytes", "content")

    def __init__(self, content: object, size_bytes: int) -> None:
        self.content = content
        self._size_bytes = size_bytes

    def __len__(self) -> int:
        return self._size_bytes


class ParcelProtocol(asyncio.BaseProtocol):
    """What stands at an end of such a connection; the other callbacks are those of `asyncio.Protocol`."""

    __slots__ = ()

    def parcel_received(self, content: Any) -> None:
        """The last byte of a parcel has arrived."""
        raise NotImplementedError

    def eof_received(self) -> bool:
        """The other end is closed: so is this one."""
        return False


class ParcelTransport(StreamTransport):
    """One end of a connection that takes parcels."""

    def hand_over(self, content: object, size_bytes: int, apart_bytes: int = 0) -> None:
        """Queue a parcel, the first `apart_bytes` of which stand for something that would be written by itself.

        The protocol is never told to pause: what is handed over takes no memory here.
        """
        if self._closing or self._eof_written:
            return
        full_pieces = (size_bytes - apart_bytes - 1) // PIECE_BYTES
        before_bytes = apart_bytes + full_pieces * PIECE_BYTES if self._flow.path.jitters else 0
        if before_bytes > 0:
            # As bytes it would go in several pieces, each with a delay of its own, and in order: the last one's is the
            # parcel's, unless the one before was delayed by much more. Of earlier ones only the draws are made.
            for _ in range(full_pieces + (apart_bytes > 0) - 1):
                self._flow.draw_jitter_s()
            self._waiting.append(Parcel(_NOTHING_YET, before_bytes))
        self._waiting.append(Parcel(content, size_bytes - before_bytes))
        self._unsent_bytes += size_bytes
        self._feed()

    def _eof_received(self) -> bool:
        protocol = self._protocol
        return isinstance(protocol, ParcelProtocol) and protocol.eof_received()

    def _data_received(self, piece: Any) -> None:
        protocol = self._protocol
        if isinstance(protocol, ParcelProtocol) and isinstance(piece, Parcel):
            if piece.content is not _NOTHING_YET:
                protocol.parcel_received(piece.content)
        else:
            super()._data_received(piece)

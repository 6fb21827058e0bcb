"""One end of a simulated connection: an asyncio transport over a flow.

Modelled: ordered delivery in pieces (`simnet.pieces`), back-pressure on the writer (high-water mark) and from
a reader that has paused (receive window), half-close, close and reset; a path that is cut, behind which everything
waits until it is mended or the kernel would give up. Not modelled: the bytes of resets and of acknowledgements; the
wait for the next retransmission after a path was mended (what waits goes on at once).
"""

from __future__ import annotations

import asyncio
import contextvars
import errno
from collections.abc import Callable, Iterable
from typing import Any

from simnet.clock import Alarm
from simnet.judged import JudgedFlow, no_answer
from simnet.loop import Address, ProtocolFactory, VirtualLoop
from simnet.outages import RETRANSMISSION_TIMEOUT_S
from simnet.pieces import Inbox, Piece, cut, frozen, hand_over, size_of

RECEIVE_WINDOW_BYTES = 16 * 1024 * 1024
HIGH_WATER_BYTES = 64 * 1024
Lost = Callable[["StreamTransport"], None]


class StreamTransport(asyncio.Transport):
    """One end of a simulated connection."""

    def __init__(self, loop: VirtualLoop, flow: JudgedFlow, local: Address, remote: Address, on_lost: Lost) -> None:
        super().__init__(extra={"peername": remote, "sockname": local})
        self._loop = loop
        self._flow = flow
        self._on_lost = on_lost
        self._protocol: asyncio.BaseProtocol = asyncio.Protocol()
        self._context = contextvars.copy_context()
        self._peer: StreamTransport | None = None
        # Lists, although they are taken from at the front: they are short, and a deque is 600 bytes even when empty.
        self._waiting: list[Piece] = []  # written, not yet given to the flow
        self._sending: list[Piece] = []  # given to the flow, not yet sent to the end
        self._on_wire: list[Piece] = []  # sent, not yet arrived
        self._sent_bytes = 0  # of pieces that were sent to the end
        self._unsent_bytes = 0
        self._in_flight_bytes = 0  # given to the flow, not yet read at the other end
        self._inbox = Inbox(RECEIVE_WINDOW_BYTES)  # arrived, not yet handed over
        self._reading = True
        self._writer_paused = False
        self._high_water, self._low_water = HIGH_WATER_BYTES, HIGH_WATER_BYTES // 4
        self._eof_written = False
        self._end_sent = False
        self._closing = False
        self._lost = False
        self._cut = False
        self._unheard = False  # something arrived where nobody could answer
        self._giving_up: Alarm | None = None

    def join(self, peer: StreamTransport) -> None:
        """Make `peer` the other end."""
        self._peer, peer._peer = peer, self

    def attach(self, protocol_factory: ProtocolFactory, context: contextvars.Context) -> None:
        """Make the protocol, in the context in which all its callbacks will run."""
        self._context = context
        self._protocol = context.run(protocol_factory)
        context.run(self._protocol.connection_made, self)

    # -- asyncio.BaseTransport -------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Replace the protocol, e.g. after an upgrade to WebSocket."""
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        """The current protocol."""
        return self._protocol

    def is_closing(self) -> bool:
        """Whether the transport is closed or about to be."""
        return self._closing

    def close(self) -> None:
        """Send what is buffered, then close; the other end sees the end of the stream one latency later."""
        if self._closing:
            return
        self._closing = True
        self._inbox.clear()
        if self._unsent_bytes == 0:
            self._finish()

    def abort(self) -> None:
        """Drop everything and reset the connection."""
        self.break_off(None)

    # -- asyncio.WriteTransport ------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Queue bytes; the protocol is told to pause above the high-water mark."""
        if self._eof_written:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise TypeError(f"data must be bytes-like, not {type(data).__name__}")
        data = frozen(data)
        if self._closing or not data:
            return
        self._waiting.extend(cut(data))
        self._unsent_bytes += len(data)
        self._feed()
        self._maybe_pause_writer()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview]) -> None:
        """Queue several pieces without joining them."""
        for data in list_of_data:
            self.write(data)

    def can_write_eof(self) -> bool:
        """Half-close is supported."""
        return True

    def write_eof(self) -> None:
        """Tell the other end that nothing more will come; reading goes on."""
        if not self._eof_written and not self._closing:
            self._eof_written = True
            if self._unsent_bytes == 0:
                self._send_end()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks at which the protocol is told to pause and to resume, in bytes."""
        if high is None:
            high = HIGH_WATER_BYTES if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high_water, self._low_water = high, low
        self._maybe_pause_writer()

    def get_write_buffer_size(self) -> int:
        """Bytes that have not left this host yet."""
        return self._unsent_bytes

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """(low, high) water marks in bytes."""
        return self._low_water, self._high_water

    def outstanding_bytes(self) -> tuple[int, int]:
        """Bytes written at this end that the other has not read yet, and those on their way here."""
        going, coming = (
            0 if end is None else end._in_flight_bytes + sum(map(size_of, end._waiting)) for end in (self, self._peer)
        )
        return going, coming

    @property
    def torn_bytes(self) -> int:
        """What had left of the piece that waits for a cut path to be mended."""
        return self._flow.queued_bytes - self._sent_bytes if self._cut else 0

    @property
    def held_bytes(self) -> int:
        """What has come here and was not handed to the program yet, with what is torn."""
        return self._inbox.size_bytes + (0 if self._peer is None else self._peer.torn_bytes)

    def is_moving(self, *, here: bool) -> bool:
        """Whether something is on its way from this end, or `here` to it, on a path that is not cut."""
        sender = self._peer if here else self
        return sender is not None and not sender._cut and bool(sender._sending or sender._on_wire)

    # -- asyncio.ReadTransport -------------------------------------------------------------------

    def is_reading(self) -> bool:
        """Whether arriving data is handed to the protocol."""
        return self._reading and not self._closing

    def pause_reading(self) -> None:
        """Keep arriving data back; once the receive window is full, the sender stalls."""
        if not self._closing:
            self._reading = False

    def resume_reading(self) -> None:
        """Hand over what was kept back, and go on."""
        if not self._closing and not self._reading:
            self._reading = True
            self._call(self._drain_inbox)

    # -- a path that is cut ----------------------------------------------------------------------

    @property
    def lingers(self) -> bool:
        """Whether something, at least the end of the stream, has yet to be sent."""
        return bool(self._waiting or self._sending)

    def is_lost(self) -> bool:
        """Whether the program has let go of the connection."""
        return self._lost

    def cut(self) -> None:
        """Nothing gets through, in either direction, until `mend`; what is on the wire still arrives.

        The connection breaks with `NoAnswerError` once something has been waiting for an acknowledgement for
        `RETRANSMISSION_TIMEOUT_S`; one that has nothing to send never notices.
        """
        if self._cut:
            return
        self._cut = True
        self._flow.drop()  # what is not acknowledged will be sent again
        on_its_way = self._flow.last_arrival_s + self._flow.rtt_s - self._flow.path.latency_s > self._loop.clock.now_s
        if self.lingers or on_its_way:
            self._await_acknowledgement()

    def mend(self) -> None:
        """Go on where `cut` has stopped."""
        if not self._cut:
            return
        self._cut = False
        if self._giving_up is not None:
            self._giving_up.cancel()
            self._giving_up = None
        if self._unheard:
            self._unheard = False
            self._after_latency(self._flow, self._answer_with_reset)
        done_bytes = self._flow.queued_bytes - self._sent_bytes  # of the first piece
        for piece in tuple(self._sending):
            self._flow.send(size_of(piece) - done_bytes, self._piece_sent, self._piece_arrived)
            done_bytes = 0
        self._feed()

    def vanish(self) -> None:
        """The machine at this end is switched off: no sign of it reaches the other end; what is on the wire arrives."""
        self._drop_unsent()
        self._flow.forget()
        self._lose(ConnectionAbortedError(errno.ECONNABORTED, "the machine was switched off"))

    def _await_acknowledgement(self) -> None:
        if self._giving_up is None and not self._lost:
            clock = self._loop.clock
            self._giving_up = clock.call_at(clock.now_s + RETRANSMISSION_TIMEOUT_S, self._give_up)

    def _give_up(self) -> None:
        self._giving_up = None
        self.break_off(no_answer())

    def hold_back(self, size_bytes: int) -> None:
        """Hand nothing over until so many more bytes, or the end, have arrived; 0 takes it back.

        As SO_RCVLOWAT does: a program that can do nothing with a part of a message need not wake up for it, and what
        waits in the kernel costs the program no memory. A full receive window is handed over in any case.
        """
        self._inbox.held_back_bytes = size_bytes
        if self._reading and self._inbox.is_due():
            self._call(self._drain_inbox)

    # -- sending ---------------------------------------------------------------------------------

    def _feed(self) -> None:
        """Give the flow as much as the other end has room for."""
        if self._cut:
            if self._waiting:
                self._await_acknowledgement()
            return
        waiting, sending = self._waiting, self._sending
        while waiting and (self._in_flight_bytes < RECEIVE_WINDOW_BYTES or waiting[0] is None):
            piece = waiting.pop(0)
            size_bytes = size_of(piece)
            self._in_flight_bytes += size_bytes
            sending.append(piece)
            self._flow.send(size_bytes, self._piece_sent, self._piece_arrived)

    def _piece_sent(self) -> None:
        piece = self._sending.pop(0)
        self._on_wire.append(piece)
        if piece is None:
            return
        self._sent_bytes += len(piece)
        self._unsent_bytes -= len(piece)
        if self._writer_paused and self._unsent_bytes <= self._low_water:
            self._writer_paused = False
            self._call(self._protocol.resume_writing)
        if self._unsent_bytes == 0:
            if self._closing:
                self._finish()
            elif self._eof_written:
                self._send_end()

    def _piece_arrived(self) -> None:
        piece = self._on_wire.pop(0)
        peer = self._peer
        if peer is None or peer._lost:
            if piece is not None:
                self._answer_with_reset()
        elif piece is None:
            peer._receive(None)
        elif peer._closing:  # it is still sending what it has buffered, and reads no more
            self._read_by_peer(len(piece))
        else:
            peer._receive(piece)

    def _answer_with_reset(self) -> None:
        if self._cut:
            self._unheard = True
            self._await_acknowledgement()
        else:
            self._after_latency(self._flow if self._peer is None else self._peer._flow, self._reset_by_peer)

    def _read_by_peer(self, size_bytes: int) -> None:
        self._in_flight_bytes -= size_bytes
        if self._waiting:
            self._feed()

    def _send_end(self) -> None:
        if self._peer is not None and not self._end_sent:
            self._end_sent = True
            self._waiting.append(None)
            self._feed()

    def _maybe_pause_writer(self) -> None:
        if not self._writer_paused and self._unsent_bytes > self._high_water:
            self._writer_paused = True
            self._protocol.pause_writing()

    # -- receiving -------------------------------------------------------------------------------

    def _receive(self, piece: Piece) -> None:
        self._inbox.put(piece)
        if self._reading and self._inbox.is_due():
            self._call(self._drain_inbox)

    def _drain_inbox(self) -> None:
        inbox = self._inbox
        if not inbox.is_due():
            return
        while inbox.pieces and self._reading and not self._closing:
            piece = inbox.take()
            size_bytes = size_of(piece)
            try:
                if piece is None:
                    if not self._eof_received():
                        self.close()
                else:
                    self._data_received(piece)
            except Exception as error:  # a protocol's failure ends its connection, as in asyncio
                self._fail(error)
                return
            if piece is not None and self._peer is not None:
                self._peer._read_by_peer(size_bytes)

    def _eof_received(self) -> bool:
        protocol = self._protocol
        return isinstance(protocol, (asyncio.Protocol, asyncio.BufferedProtocol)) and bool(protocol.eof_received())

    def _data_received(self, piece: Any) -> None:
        hand_over(self._protocol, piece)

    # -- ending ----------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Everything is sent: end the stream and let go of the connection."""
        if not self._lost:
            self._send_end()
            self._lose(None)

    def _fail(self, error: Exception) -> None:
        told = {"message": "Fatal error: a protocol failed", "exception": error, "transport": self}
        self._loop.call_exception_handler(told)
        self.break_off(error)

    def break_off(self, error: Exception | None) -> None:
        """Reset the connection; the program at this end is told `error`."""
        if self._peer is not None and not self._lost and not self._cut:
            self._after_latency(self._flow, self._peer._reset_by_peer)
        self._drop_unsent()
        self._lose(error)

    def _reset_by_peer(self) -> None:
        self._drop_unsent()
        self._lose(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))

    def _drop_unsent(self) -> None:
        self._waiting.clear()
        self._sending.clear()
        self._unsent_bytes = 0
        self._flow.drop()

    def _lose(self, error: Exception | None) -> None:
        if not self._lost:
            self._lost = self._closing = True
            if self._giving_up is not None:
                self._giving_up.cancel()
                self._giving_up = None
            self._call(self._protocol.connection_lost, error)
            self._on_lost(self)

    def _after_latency(self, flow: JudgedFlow, action: Callable[[], None]) -> None:
        """Do something once a sign has reached the other end: it overtakes what is queued, not what is under way."""
        clock = self._loop.clock
        clock.call_at(max(clock.now_s + flow.path.latency_s, flow.last_arrival_s), action)

    def _call(self, callback: Callable[..., Any], *args: Any) -> None:
        if not self._loop.is_closed():  # a program may drop its connections long after the run
            self._loop.call_soon(callback, *args, context=self._context)

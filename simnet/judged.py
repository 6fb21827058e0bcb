"""A flow whose messages the rules of faults see: what a connection sends through.

Without rules it is the flow itself. The rules are asked when a message has crossed the network. What is held is handed
over late, and what follows it waits for it. What is dropped is sent again after the retransmission timeout (0.2 s,
doubled each time, at most 120 s: Linux, ip-sysctl.rst, tcp_retries2), when the rules are asked again; after
`simnet.outages.RETRANSMISSION_TIMEOUT_S` the connection breaks. Not modelled: the capacity that repetitions use; fast
retransmission; that a sender whose messages get lost slows down.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from simnet.clock import Alarm
from simnet.errors import NoAnswerError
from simnet.flow import Flow, Notice
from simnet.outages import RETRANSMISSION_TIMEOUT_S, Outages
from simnet.topology import Path
from simnet.verdicts import Drop, Hold, Reset, Rules, Transfer

FIRST_TIMEOUT_S = 0.2
_LONGEST_TIMEOUT_S = 120.0


def no_answer() -> NoAnswerError:
    """The error of a connection on which nothing was acknowledged for as long as Linux repeats it."""
    return NoAnswerError(errno.ETIMEDOUT, f"Connection timed out: no answer for {RETRANSMISSION_TIMEOUT_S:g} s")


@dataclass(slots=True)
class Traffic:
    """Bytes from one host to another, over all connections, handshakes and headers apart."""

    given: int = 0
    """Handed to the network; sent once more after an outage counts again."""
    left: int = 0
    """Of messages that left as a whole."""
    torn: int = 0
    """Of messages that were broken off while they left."""
    unsent: int = 0
    """Taken back before they left."""
    arrived: int = 0

    @property
    def under_way(self) -> int:
        """Left, and not arrived yet."""
        return self.left - self.arrived


class _Arrival:
    """A message that has crossed the network; `pending` until it may be handed over."""

    __slots__ = ("hand_over", "pending", "size_bytes")

    def __init__(self, size_bytes: int, hand_over: Notice) -> None:
        self.size_bytes = size_bytes
        self.hand_over = hand_over
        self.pending: Alarm | None = None


class JudgedFlow:
    """A `simnet.flows.Flow` from `source` to `target` under rules; `on_broken` ends the connection, with a reason."""

    __slots__ = (
        "_arrivals",
        "_broken",
        "_flow",
        "_outages",
        "_rules",
        "_source",
        "_target",
        "_traffic",
        "_waiting",
        "on_broken",
    )

    def __init__(self, flow: Flow, source: str, target: str, rules: Rules, outages: Outages, traffic: Traffic) -> None:
        self.on_broken: Callable[[Exception], None] = lambda _error: None
        self._flow = flow
        self._source = source
        self._target = target
        self._rules = rules
        self._outages = outages
        self._arrivals: list[_Arrival] = []  # short; in order; the first one is pending
        self._broken = False
        self._traffic = traffic
        self._waiting = 0  # bytes given, and not left

    @property
    def path(self) -> Path:
        """The way that it takes."""
        return self._flow.path

    @property
    def rtt_s(self) -> float:
        """Seconds there and back, without load."""
        return self._flow.rtt_s

    @property
    def queued_bytes(self) -> int:
        """Bytes given to the flow, but for those that were forgotten before they left."""
        return self._flow.queued_bytes

    @property
    def last_arrival_s(self) -> float:
        """When the last of what has left arrives, or has arrived."""
        return self._flow.last_arrival_s

    def draw_jitter_s(self) -> float:
        """The next message's deviation from the latency of the path."""
        return self._flow.draw_jitter_s()

    def send(self, size_bytes: int, on_sent: Notice, on_arrived: Notice) -> None:
        """As `Flow.send`; `on_arrived` is called when the rules let it through."""
        self._traffic.given += size_bytes
        self._waiting += size_bytes
        self._flow.send(
            size_bytes, partial(self._left, size_bytes, on_sent), partial(self._arrived, size_bytes, on_arrived)
        )

    def drop(self) -> None:
        """As `Flow.drop`."""
        queued_bytes = self._flow.queued_bytes
        self._flow.drop()
        unsent = queued_bytes - self._flow.queued_bytes
        self._traffic.unsent += unsent
        self._traffic.torn += self._waiting - unsent
        self._waiting = 0

    def forget(self) -> None:
        """The sender is gone: what was lost is never sent again, so nothing behind it is handed over either."""
        self.drop()
        for arrival in self._arrivals:
            if arrival.pending is not None:
                arrival.pending.cancel()
        self._arrivals.clear()

    def _left(self, size_bytes: int, on_sent: Notice) -> None:
        self._traffic.left += size_bytes
        self._waiting -= size_bytes
        on_sent()

    def _arrived(self, size_bytes: int, hand_over: Notice) -> None:
        self._traffic.arrived += size_bytes
        if self._rules.silent and not self._arrivals:
            if not self._broken:
                hand_over()
            return
        arrival = _Arrival(size_bytes, hand_over)
        self._arrivals.append(arrival)
        left_s = self._rules.clock.now_s - self._flow.path.latency_s
        self._judge(arrival, left_s, left_s, FIRST_TIMEOUT_S)
        self._hand_over()

    def _judge(self, arrival: _Arrival, first_s: float, left_s: float, timeout_s: float) -> None:
        """Ask the rules about a message that left at `left_s`, and at `first_s` for the first time."""
        if arrival.size_bytes == 0 or self._rules.silent:
            return
        verdict = self._rules.message(Transfer(self._source, self._target, arrival.size_bytes))
        if isinstance(verdict, Reset):
            self._break(ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"))
        elif isinstance(verdict, Hold):
            arrival.pending = self._rules.clock.call_in(verdict.seconds, partial(self._release, arrival))
        elif isinstance(verdict, Drop):
            self._send_again(arrival, first_s, left_s + timeout_s, timeout_s)

    def _send_again(self, arrival: _Arrival, first_s: float, when_s: float, timeout_s: float) -> None:
        clock = self._rules.clock
        next_timeout_s = min(2 * timeout_s, _LONGEST_TIMEOUT_S)

        def send() -> None:
            if clock.now_s - first_s >= RETRANSMISSION_TIMEOUT_S:
                self._break(no_answer())
            elif self._outages.passes(self._source, self._target):
                arrival.pending = clock.call_in(self._flow.path.latency_s, partial(arrive, clock.now_s))
            else:
                self._send_again(arrival, first_s, clock.now_s + next_timeout_s, next_timeout_s)

        def arrive(left_s: float) -> None:
            arrival.pending = None
            self._judge(arrival, first_s, left_s, next_timeout_s)
            self._hand_over()

        due_s = min(when_s, first_s + RETRANSMISSION_TIMEOUT_S)
        arrival.pending = clock.call_at(max(due_s, clock.now_s), send)

    def _release(self, arrival: _Arrival) -> None:
        arrival.pending = None
        self._hand_over()

    def _break(self, error: Exception) -> None:
        self._broken = True
        self.forget()
        self.on_broken(error)

    def _hand_over(self) -> None:
        while not self._broken and self._arrivals and self._arrivals[0].pending is None:
            self._arrivals.pop(0).hand_over()

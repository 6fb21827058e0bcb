"""One TCP sender, packet by packet, on a bottleneck of its own: the part of TCP that no formula gives.

Used by `simnet.flows` where the window decides how fast a flow is: random loss, a queue that drops early (CoDel), and
the recovery of a flow that others had starved. Modelled: the windows of CUBIC (RFC 9438, with Linux's HyStart) and of
Reno (RFC 5681), selective acknowledgements with detection of loss by three later ones, proportional rate reduction
(RFC 6937), the retransmission timeout, a droptail queue and CoDel (RFC 8289). Not modelled: delayed acknowledgements
(Linux acknowledges at once while a flow is young), loss of acknowledgements, pacing, ECN.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from simnet.topology import CongestionControl

_CUBIC_SCALE = 0.4
_CUBIC_BETA = 0.7
_RENO_BETA = 0.5
_FRIENDLY = 3 * (1 - _CUBIC_BETA) / (1 + _CUBIC_BETA)  # segments per round of a Reno-like CUBIC, RFC 9438 section 4.3
_HYSTART_LOW_SEGMENTS = 16
_HYSTART_SAMPLES = 8
_HYSTART_DELAY_S = (0.004, 0.016)
_HYSTART_TRAIN_GAP_S = 0.002
_REORDERING = 3
CODEL_TARGET_S = 0.005
_RETRANSMISSION_TIMEOUT_S = 0.2
_LONGEST_TIMEOUT_S = 120.0


@dataclass(slots=True)
class CoDel:
    """The control law of CoDel (RFC 8289): which packets a queue drops so that nobody waits for long."""

    target_s: float = CODEL_TARGET_S
    interval_s: float = 0.1
    _above_until_s: float = math.inf  # the delay has exceeded the target; from this time on that is too long
    _dropping: bool = False
    _count: int = 0
    _count_before: int = 0
    _next_drop_s: float = 0.0

    def drops(self, now_s: float, sojourn_s: float, service_s: float) -> bool:
        """Whether the packet that leaves the queue at `now_s` after `sojourn_s` is dropped.

        `service_s` is what the link needs for it: a queue of one packet is never too long.
        """
        too_long = False
        if sojourn_s < self.target_s or sojourn_s <= service_s:
            self._above_until_s = math.inf
        elif self._above_until_s == math.inf:
            self._above_until_s = now_s + self.interval_s
        else:
            too_long = now_s >= self._above_until_s
        if not too_long:
            self._dropping = False
            return False
        if self._dropping:
            if now_s < self._next_drop_s:
                return False
            self._count += 1
            self._next_drop_s += self.interval_s / math.sqrt(self._count)
            return True
        self._dropping = True
        since_then = self._count - self._count_before
        recently = now_s - self._next_drop_s < 16 * self.interval_s
        self._count = self._count_before = since_then if since_then > 1 and recently else 1
        self._next_drop_s = now_s + self.interval_s / math.sqrt(self._count)
        return True


@dataclass(slots=True)
class CongestionWindow:
    """The window of one sender, in segments, and how acknowledgements and losses change it."""

    congestion: CongestionControl
    segments: float
    threshold: float = math.inf
    shortest_rtt_s: float = math.inf
    train_share: float = 0.5
    """Share of the shortest round trip that a train of acknowledgements must last to end slow start."""
    _peak: float = 0.0  # window at the last loss
    _epoch_s: float | None = None  # start of the present growth; None after a loss
    _origin: float = 0.0
    _inflection_s: float = 0.0
    _friendly: float = 0.0
    _round_began_s: float = 0.0
    _round_end: int = 0
    _round_samples: int = 0
    _round_shortest_s: float = math.inf
    _last_ack_s: float = 0.0

    @property
    def slow_start(self) -> bool:
        """Whether the window still grows by a segment with each acknowledgement."""
        return self.segments < self.threshold

    def acknowledged(self, now_s: float, rtt_s: float, order: int, newest: int) -> None:
        """A segment was acknowledged; `order` counts transmissions, `newest` is the latest of them."""
        self.shortest_rtt_s = min(self.shortest_rtt_s, rtt_s)
        if self.slow_start:
            if self.congestion == "cubic":
                self._look_for_the_end_of_slow_start(now_s, rtt_s, order, newest)
            self.segments += 1.0
        elif self.congestion == "cubic":
            self.segments += 1.0 / self._acknowledgements_per_segment(now_s)
        else:
            self.segments += 1.0 / self.segments

    def lost(self) -> None:
        """A loss was noticed: the window shrinks, once for all losses of one round."""
        if self.congestion == "cubic":
            # Fast convergence: a flow whose peak sinks leaves room for others.
            self._peak = self.segments * (1 + _CUBIC_BETA) / 2 if self.segments < self._peak else self.segments
            self.threshold = max(2.0, self.segments * _CUBIC_BETA)
        else:
            self.threshold = max(2.0, self.segments * _RENO_BETA)
        self._epoch_s = None

    def remember_loss(self) -> None:
        """Behave as after a loss at the present window: it grows slowly at first."""
        self._peak = self.threshold = self.segments

    def timed_out(self) -> None:
        """Nothing came back: start over."""
        self.lost()
        self.segments = 1.0

    def _look_for_the_end_of_slow_start(self, now_s: float, rtt_s: float, order: int, newest: int) -> None:
        """HyStart as in Linux: leave slow start once a train of acknowledgements, or the delay, shows a full pipe."""
        if order > self._round_end:
            self._round_end, self._round_began_s, self._last_ack_s = newest, now_s, now_s
            self._round_samples, self._round_shortest_s = 0, math.inf
        self._round_samples += 1
        self._round_shortest_s = min(self._round_shortest_s, rtt_s)
        if self.segments < _HYSTART_LOW_SEGMENTS:
            return
        if now_s - self._last_ack_s <= _HYSTART_TRAIN_GAP_S:
            self._last_ack_s = now_s
            if now_s - self._round_began_s > self.shortest_rtt_s * self.train_share:
                self.threshold = self.segments
        low_s, high_s = _HYSTART_DELAY_S
        allowed_s = self.shortest_rtt_s + max(low_s, min(high_s, self.shortest_rtt_s / 8))
        if self._round_samples >= _HYSTART_SAMPLES and self._round_shortest_s >= allowed_s:
            self.threshold = self.segments

    def _acknowledgements_per_segment(self, now_s: float) -> float:
        """Acknowledgements after which the window grows by one segment (RFC 9438, sections 4.2 to 4.5)."""
        window = self.segments
        if self._epoch_s is None:
            self._epoch_s = now_s
            self._friendly = window
            self._origin = max(self._peak, window)
            self._inflection_s = math.cbrt((self._origin - window) / _CUBIC_SCALE)
        since_s = now_s - self._epoch_s + self.shortest_rtt_s - self._inflection_s
        target = self._origin + _CUBIC_SCALE * since_s**3
        needed = window / (target - window) if target > window else 100 * window
        if self._peak == 0.0:
            needed = min(needed, 20.0)  # no loss yet: grow by 5 % a round
        self._friendly += _FRIENDLY / window
        if self._friendly > window:
            needed = min(needed, window / (self._friendly - window))
        return max(needed, 2.0)


@dataclass(slots=True)
class _Recovery:
    """Proportional rate reduction (RFC 6937): how the window shrinks while losses are repaired."""

    until: int  # the newest transmission when the loss was noticed: later losses are another matter
    window_before: float
    delivered: int = 0
    sent: int = 0

    def may_send(self, in_flight: int, threshold: float) -> int:
        """Segments that may leave now."""
        self.delivered += 1
        if in_flight > threshold:
            allowed = math.ceil(self.delivered * threshold / self.window_before) - self.sent
        else:
            allowed = min(int(threshold) - in_flight, max(self.delivered - self.sent, 1) + 1)
        allowed = max(allowed, 0)
        self.sent += allowed
        return allowed


@dataclass(slots=True)
class Bottleneck:
    """The queue in front of the narrowest link: droptail with room for `queue_segments`, or CoDel if given."""

    queue_segments: float
    codel: CoDel | None = None
    loss: float = 0.0
    uniform: Callable[[], float] = field(default=lambda: 1.0)
    """Draws from [0, 1) that decide about random losses."""


class PacketFlow:
    """A sender and its bottleneck, advanced in time by whoever knows how fast the bottleneck is at present.

    Times are seconds, the same clock throughout; amounts are payload bytes from the start of this flow.
    """

    def __init__(
        self, window: CongestionWindow, bottleneck: Bottleneck, rtt_s: float, segment_bytes: int, now_s: float
    ) -> None:
        self.window = window
        self.delivered_bytes = 0.0
        self.now_s = now_s
        self._bottleneck = bottleneck
        self._rtt_s = rtt_s
        self._segment_bytes = segment_bytes
        self._rate = 1.0
        self._available_bytes = 0.0
        self._sent_bytes = 0.0
        self._in_flight = 0
        self._order = 0
        self._free_s = now_s  # when the link has served all that it has accepted
        self._queue: deque[float] = deque()  # when each accepted segment has been served
        self._served: deque[tuple[float, float]] = deque()  # the same, with its bytes, until it counts as delivered
        self._acks: deque[tuple[float, float, int]] = deque()  # arrival, time of sending, order
        self._lost: deque[tuple[int, float]] = deque()  # order, bytes; not noticed yet
        self._again: deque[float] = deque()  # bytes to send again
        self._recovery: _Recovery | None = None
        self.receive_window_segments = math.inf
        self._heard_s = now_s  # the last acknowledgement or timeout
        self._timeouts = 0  # since the last acknowledgement

    def under_way(self, segments: int, spacing_s: float) -> None:
        """Begin with segments that were sent, and got through, before: they are acknowledged one after another."""
        for index in range(1, segments + 1):
            self._order += 1
            self._in_flight += 1
            acknowledged_s = self.now_s + index * spacing_s
            self._acks.append((acknowledged_s, acknowledged_s - self._rtt_s, self._order))

    def set_loss(self, probability: float, uniform: Callable[[], float]) -> None:
        """Lose packets with this probability from now on."""
        self._bottleneck.loss, self._bottleneck.uniform = probability, uniform

    def advance(self, until_s: float, rate: float, available_bytes: float) -> float:
        """Go on until `until_s`, or until all of `available_bytes` is through; returns the time reached.

        `rate` is what the bottleneck carries, in payload bytes per second; `delivered_bytes` is what got through.
        """
        self._rate, self._available_bytes = rate, available_bytes
        self._send(self.now_s)
        while not self._is_through_by(until_s):
            arrival_s = self.next_event_s()
            if not -math.inf < arrival_s <= until_s:
                break
            self.now_s = self._heard_s = max(self.now_s, arrival_s)
            if self._acks:
                self._acknowledge()
            else:
                self._time_out()
            self._send(self.now_s)
        return self._settle(until_s)

    def next_event_s(self) -> float:
        """When the next acknowledgement arrives or, if none is on its way, the sender's patience ends; -inf for never.

        The timeout doubles each time that it runs out without an acknowledgement in between (RFC 6298, section 5.5).
        """
        if self._acks:
            return self._acks[0][0]
        if not (self._lost or self._again):
            return -math.inf
        timeout_s = (_RETRANSMISSION_TIMEOUT_S + self._rtt_s) * 2.0 ** min(self._timeouts, 20)
        return self._heard_s + min(timeout_s, _LONGEST_TIMEOUT_S)

    def _is_through_by(self, until_s: float) -> bool:
        """Whether all that there is to send will be through at `until_s`, whatever acknowledgements still come."""
        if self._lost or self._again or self._sent_bytes < self._available_bytes:
            return False
        return not self._served or self._served[-1][0] <= until_s

    def _settle(self, until_s: float) -> float:
        last_s = self.now_s
        while self._served and self._served[0][0] <= until_s:
            last_s, size = self._served.popleft()
            self.delivered_bytes += size
        through = self.delivered_bytes >= self._available_bytes - 0.5
        self.now_s = max(self.now_s, last_s if through else until_s)
        return last_s if through else until_s

    def _send(self, now_s: float) -> None:
        """Send what the window has room for: first what was lost, then what is new."""
        room = int(min(self.window.segments, self.receive_window_segments))
        while self._in_flight < room:
            if self._again:
                self._transmit(now_s, self._again.popleft())
            elif self._sent_bytes < self._available_bytes:
                size = min(self._segment_bytes, self._available_bytes - self._sent_bytes)
                self._sent_bytes += size
                self._transmit(now_s, size)
            else:
                break

    def _transmit(self, now_s: float, size: float) -> None:
        bottleneck, queue = self._bottleneck, self._queue
        self._in_flight += 1
        self._order += 1
        while queue and queue[0] <= now_s:
            queue.popleft()
        served_from_s = max(now_s, self._free_s)
        service_s = size / self._rate
        if bottleneck.codel is not None:
            dropped = bottleneck.codel.drops(served_from_s, served_from_s - now_s, service_s)
        else:
            dropped = len(queue) > bottleneck.queue_segments
        if not dropped:
            self._free_s = served_from_s + service_s
            queue.append(self._free_s)
            dropped = bottleneck.loss > 0 and bottleneck.uniform() < bottleneck.loss  # it was carried in vain
        if dropped:
            self._lost.append((self._order, size))
        else:
            self._accept(self._free_s, size, now_s)

    def _accept(self, served_s: float, size: float, sent_s: float) -> None:
        self._served.append((served_s, size))
        self._acks.append((served_s + self._rtt_s, sent_s, self._order))

    def _acknowledge(self) -> None:
        now_s, sent_s, order = self._acks.popleft()
        self._in_flight -= 1
        self._timeouts = 0
        newly_lost = False
        while self._lost and self._lost[0][0] <= order - _REORDERING:
            lost_order, size = self._lost.popleft()
            self._in_flight -= 1
            self._again.append(size)
            newly_lost = newly_lost or self._recovery is None or lost_order > self._recovery.until
        window = self.window
        if newly_lost:
            before = window.segments
            window.lost()
            self._recovery = _Recovery(self._order, before)
        recovery = self._recovery
        if recovery is not None:
            if order <= recovery.until or (self._lost and self._lost[0][0] <= recovery.until):
                window.segments = self._in_flight + recovery.may_send(self._in_flight, window.threshold)
                return
            self._recovery = None
            window.segments = window.threshold
        window.acknowledged(now_s, now_s - sent_s, order, self._order)

    def _time_out(self) -> None:
        """Everything under way is lost: begin with one segment."""
        while self._lost:
            self._again.append(self._lost.popleft()[1])
            self._in_flight -= 1
        self._recovery = None
        self._timeouts += 1
        self.window.timed_out()

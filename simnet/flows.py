"""Bytes in motion: active flows on the SimPy clock.

A flow is one direction of one connection. While it has bytes to send it gets its max-min share of every link on
its path; the shares are computed anew whenever a flow starts, stops or waits for an acknowledgement. What is
sent arrives one propagation delay (and jitter) after its last byte left. Modelled beside that: what
`simnet.tcp` lists. Not modelled: loss, queues, the load that acknowledgements put on the way back.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from simnet.clock import TICKS_PER_SECOND, Alarm, Clock
from simnet.sharing import max_min
from simnet.tcp import Tcp, window_covers_path
from simnet.topology import Path
from simnet.trace import Trace

_SAME_MOMENT_S = 2e-9  # what is due within this time is due now: the clock rounds to microseconds
Notice = Callable[[], None]


@dataclass(slots=True)
class _Piece:
    """Bytes that were handed over together: `end` is the flow's offset of their last byte."""

    end: int
    on_sent: Notice
    on_arrived: Notice


@dataclass(eq=False)
class Flow:
    """One direction of one connection. Made by `Flows.open`."""

    flows: Flows = field(repr=False)
    path: Path
    rtt_s: float
    draw_jitter_s: Callable[[], float]
    pieces: deque[_Piece] = field(default_factory=deque)
    queued_bytes: int = 0
    sent_bytes: float = 0.0
    rate: float = 0.0  # payload bytes per second, now
    window_bytes: float = math.inf
    round_start_s: float = -math.inf
    round_end: float = math.inf  # offset at which the window of this round is used up
    last_sent_s: float = -math.inf
    last_arrival_s: float = 0.0
    waking: Alarm | None = None

    def send(self, size_bytes: int, on_sent: Notice, on_arrived: Notice) -> None:
        """Queue `size_bytes` of payload (0 keeps its place in the order, too).

        `on_sent` is called when the last byte has left the sender, `on_arrived` when it reached the receiver.
        """
        self.queued_bytes += size_bytes
        piece = _Piece(self.queued_bytes, on_sent, on_arrived)
        if size_bytes == 0 and not self.pieces:
            self.flows._hand_over(self, piece)
            return
        self.pieces.append(piece)
        self.flows._pushed(self)

    def drop(self) -> None:
        """Forget everything that has not left yet; its notices are never called."""
        self.pieces.clear()
        self.flows._stop(self)
        self.queued_bytes = math.floor(self.sent_bytes)
        self.sent_bytes = float(self.queued_bytes)

    def due(self) -> float:
        """The offset of the next thing that happens: a piece is sent, or the window is used up."""
        return min(float(self.pieces[0].end), self.round_end) if self.pieces else math.inf


class Flows:
    """All flows of a network, and the solver that shares the links among them."""

    def __init__(
        self,
        clock: Clock,
        capacities_bps: Sequence[float],
        tcp: Tcp,
        trace: Trace | None = None,
        link_names: Sequence[str] = (),
    ) -> None:
        self._clock = clock
        self._tcp = tcp
        self._capacity = np.asarray(capacities_bps, dtype=np.float64) / 8 / tcp.header_factor
        self._active: dict[Flow, None] = {}
        self._settled_tick = 0
        self._solving: Alarm | None = None
        self._next: Alarm | None = None
        self._trace = trace
        self._link_names = link_names
        self._link_load = np.zeros(len(capacities_bps))
        self.carried_bytes = np.zeros(len(capacities_bps))

    def open(self, path: Path, rtt_s: float, draw_jitter_s: Callable[[], float]) -> Flow:
        """A new, empty flow along `path`; `draw_jitter_s` gives each message's deviation from the path's latency."""
        return Flow(self, path, rtt_s, draw_jitter_s, window_bytes=self._tcp.initial_window_bytes)

    # -- a flow's life ---------------------------------------------------------------------------

    def _pushed(self, flow: Flow) -> None:
        if flow in self._active or flow.waking is not None:
            return
        self._settle()
        now_s = self._clock.now_s
        if now_s - flow.last_sent_s > flow.rtt_s + self._tcp.idle_reset_s:
            flow.window_bytes = self._tcp.initial_window_bytes
            self._begin_round(flow)
        elif now_s - flow.round_start_s >= flow.rtt_s:
            self._begin_round(flow)
        elif now_s > flow.last_sent_s:
            # It paused within a round: what was sent before still counts, but the pipe must be filled anew.
            flow.round_start_s = now_s
        self._start(flow)

    def _begin_round(self, flow: Flow) -> None:
        flow.round_start_s = self._clock.now_s
        flow.round_end = flow.sent_bytes + flow.window_bytes

    def _start(self, flow: Flow) -> None:
        self._active[flow] = None
        self._solve_soon()

    def _stop(self, flow: Flow) -> None:
        if flow.waking is not None:
            flow.waking.cancel()
            flow.waking = None
        if flow in self._active:
            self._settle()
            del self._active[flow]
            flow.rate = 0.0
            self._solve_soon()

    def _wait_for_acknowledgement(self, flow: Flow) -> None:
        del self._active[flow]
        flow.rate = 0.0

        def acknowledged() -> None:
            flow.waking = None
            flow.window_bytes *= 2
            self._settle()
            self._begin_round(flow)
            self._start(flow)

        flow.waking = self._clock.call_at(flow.round_start_s + flow.rtt_s, acknowledged)

    # -- time ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring every flow's count of sent bytes up to now."""
        tick = int(self._clock.now)
        elapsed_s = (tick - self._settled_tick) / TICKS_PER_SECOND
        self._settled_tick = tick
        if elapsed_s == 0:
            return
        for flow in self._active:
            before = flow.sent_bytes
            flow.sent_bytes = min(before + flow.rate * elapsed_s, float(flow.queued_bytes), flow.round_end)
            self._count(flow, flow.sent_bytes - before)

    def _count(self, flow: Flow, sent_bytes: float) -> None:
        for link in flow.path.links:
            self.carried_bytes[link] += sent_bytes

    def _solve_soon(self) -> None:
        """Share the links anew, once, after all changes of this moment."""
        if self._solving is None:
            self._solving = self._clock.call_at_tick(int(self._clock.now), self._solve, late=True)

    def _solve(self) -> None:
        self._solving = None
        self._settle()
        flows = list(self._active)
        hops = [len(flow.path.links) for flow in flows]
        path_start = np.concatenate(([0], np.cumsum(hops, dtype=np.int64))).astype(np.int64)
        path_links = np.fromiter((link for flow in flows for link in flow.path.links), np.int64)
        rates = max_min(self._capacity, path_start, path_links)
        for flow, rate in zip(flows, rates, strict=True):
            flow.rate = float(rate)
        if self._trace is not None:
            self._record_load(np.bincount(path_links, np.repeat(rates, hops), len(self._capacity)), self._trace)
        self._plan()

    def _record_load(self, load: np.ndarray, trace: Trace) -> None:
        for link in np.flatnonzero(load != self._link_load).tolist():
            wire_bps = round(float(load[link]) * 8 * self._tcp.header_factor, 3)
            trace.record(self._clock.now_s, self._link_names[link], "link", wire_bps=wire_bps)
        self._link_load = load

    def _plan(self) -> None:
        """Set the alarm for the next moment at which a piece is sent or a window used up."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        wait_s = min(
            ((flow.due() - flow.sent_bytes) / flow.rate for flow in self._active if flow.rate > 0),
            default=math.inf,
        )
        if math.isfinite(wait_s):
            self._next = self._clock.call_in(max(wait_s, 0.0), self._milestone)

    def _milestone(self) -> None:
        self._next = None
        self._settle()
        reached = [flow for flow in self._active if flow.due() - flow.sent_bytes <= flow.rate * _SAME_MOMENT_S]
        changed = False
        for flow in reached:
            if flow in self._active:  # else the notice of a flow before it has dropped it
                changed = self._pass_milestone(flow) or changed
        if changed:
            self._solve_soon()
        elif self._solving is None:
            self._plan()

    def _pass_milestone(self, flow: Flow) -> bool:
        """Hand over the pieces that are sent; say whether the flow has stopped sending."""
        now_s = self._clock.now_s
        flow.last_sent_s = now_s
        if flow.due() > flow.sent_bytes:
            self._count(flow, flow.due() - flow.sent_bytes)
            flow.sent_bytes = flow.due()
        while flow.pieces and flow.pieces[0].end <= flow.sent_bytes:
            self._hand_over(flow, flow.pieces.popleft())
        if not flow.pieces:
            # A notice may have dropped or refilled the flow already.
            if flow in self._active:
                del self._active[flow]
                flow.rate = 0.0
            return True
        if flow.sent_bytes >= flow.round_end:
            if window_covers_path(now_s - flow.round_start_s, flow.rtt_s):
                flow.window_bytes = flow.round_end = math.inf
            else:
                self._wait_for_acknowledgement(flow)
                return True
        return False

    def _hand_over(self, flow: Flow, piece: _Piece) -> None:
        arrival_s = max(flow.last_arrival_s, self._clock.now_s + flow.path.latency_s + flow.draw_jitter_s())
        flow.last_arrival_s = arrival_s
        self._clock.call_at(arrival_s, piece.on_arrived)
        piece.on_sent()


def jitter_drawer(path: Path, uniform: Callable[[float, float], float]) -> Callable[[], float]:
    """Draws of a message's total deviation along `path`; `uniform(low, high)` supplies the randomness."""
    if not path.jitters_s:
        return lambda: 0.0
    return lambda: sum(uniform(-jitter_s, jitter_s) for jitter_s in path.jitters_s)

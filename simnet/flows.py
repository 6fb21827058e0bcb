"""Bytes in motion: active flows on the SimPy clock.

A flow is one direction of one connection. While it has bytes to send it gets its max-min share of every link on
its path; the shares are computed anew whenever a flow starts, stops or waits for an acknowledgement. What is
sent arrives one propagation delay (and jitter) after its last byte left. Modelled beside that: what
`simnet.tcp` lists. Not modelled: loss, queues, the load that acknowledgements put on the way back.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from simnet.clock import TICKS_PER_SECOND, Alarm, Clock
from simnet.meter import LinkMeter
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
class _Group:
    """Active flows that get the same rate: they cross the same shared links and have the same limit of their own."""

    links: tuple[int, ...]
    limit: float
    rate: float = 0.0  # payload bytes per second, of each member
    served: float = 0.0  # bytes that a member would have sent since the group came to be
    members: int = 0
    due: list[tuple[float, int, int, Flow]] = field(default_factory=list)
    """A heap of what happens next: the value of `served` at which it does, the flow's turn and epoch, the flow."""


@dataclass(eq=False)
class Flow:
    """One direction of one connection. Made by `Flows.open`."""

    flows: Flows = field(repr=False)
    path: Path
    rtt_s: float
    draw_jitter_s: Callable[[], float]
    pieces: deque[_Piece] = field(default_factory=deque)
    queued_bytes: int = 0
    window_bytes: float = math.inf
    round_start_s: float = -math.inf
    round_end: float = math.inf  # offset at which the window of this round is used up
    last_sent_s: float = -math.inf
    last_arrival_s: float = 0.0
    waking: Alarm | None = None
    group: _Group | None = None  # while it sends
    turn: int = 0  # the order in which flows that are due at once have their turn
    epoch: int = 0  # what the flow has in heaps from before is void
    joined_s: float = 0.0
    joined_bytes: float = 0.0
    counted_bytes: float = 0.0
    _sent_bytes: float = 0.0
    _base: float = 0.0  # of `group.served`, at which this flow had sent nothing

    @property
    def sent_bytes(self) -> float:
        """Bytes that have left the sender, as of the last time that all flows were brought up to date."""
        if self.group is None:
            return self._sent_bytes
        return min(self.group.served - self._base, float(self.queued_bytes), self.round_end)

    @sent_bytes.setter
    def sent_bytes(self, value: float) -> None:
        self._sent_bytes = value
        if self.group is not None:
            self._base = self.group.served - value

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
    """All flows of a network, and the solver that shares the links among them.

    A link that one flow alone uses is merely that flow's limit. So flows fall into few groups (often one: all clients
    with equal access links behind one server), a solution costs as much as there are groups, and what happens next
    within a group is found in a heap: K transfers cost K log K, exactly as if each were solved by itself.
    """

    def __init__(
        self,
        clock: Clock,
        capacities_bps: Sequence[float],
        tcp: Tcp,
        trace: Trace | None = None,
        link_names: Sequence[str] = (),
    ) -> None:
        self._clock = clock
        self.tcp = tcp
        self._capacity = np.asarray(capacities_bps, dtype=np.float64) / 8 / tcp.header_factor
        self._users: list[dict[Flow, None]] = [{} for _ in capacities_bps]
        self._groups: dict[tuple[tuple[int, ...], float], _Group] = {}
        self._turns = 0
        self._settled_tick = 0
        self._solving: Alarm | None = None
        self._next: Alarm | None = None
        self._meter = None if trace is None else LinkMeter(clock, trace, link_names, tcp.header_factor)
        self._carried_bytes = np.zeros(len(capacities_bps))

    @property
    def carried_bytes(self) -> np.ndarray:
        """Payload that each link has carried until now."""
        self._settle()
        for flow in {flow: None for users in self._users for flow in users}:
            self._count(flow)
        return self._carried_bytes

    def set_capacity(self, link: int, bandwidth_bps: float) -> None:
        """Change the capacity of a directed link, from now on; at 0 it is down and what crosses it waits."""
        self._settle()
        self._capacity[link] = bandwidth_bps / 8 / self.tcp.header_factor
        if len(self._users[link]) == 1:  # the link is its user's own limit
            for flow in tuple(self._users[link]):
                self._leave_group(flow)
                self._join_group(flow)
        self._solve_soon()

    def capacity(self, link: int) -> float:
        """Capacity of a directed link, payload bytes per second."""
        return float(self._capacity[link])

    def active_on(self, link: int) -> tuple[Flow, ...]:
        """The flows that have something to send over a directed link and may."""
        return tuple(self._users[link])

    def open(self, path: Path, rtt_s: float, draw_jitter_s: Callable[[], float]) -> Flow:
        """A new, empty flow along `path`; `draw_jitter_s` gives each message's deviation from the path's latency."""
        return Flow(self, path, rtt_s, draw_jitter_s, window_bytes=self.tcp.initial_window_bytes)

    # -- a flow's life ---------------------------------------------------------------------------

    def _pushed(self, flow: Flow) -> None:
        if flow.group is not None or flow.waking is not None:
            return
        self._settle()
        now_s = self._clock.now_s
        if now_s - flow.last_sent_s > flow.rtt_s + self.tcp.idle_reset_s:
            flow.window_bytes = self.tcp.initial_window_bytes
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
        self._turns += 1
        flow.turn = self._turns
        crowded: dict[Flow, None] = {}
        for link in flow.path.links:
            users = self._users[link]
            if len(users) == 1:
                crowded.update(users)
            users[flow] = None
        for other in crowded:
            self._leave_group(other)
            self._join_group(other)
        self._join_group(flow)
        self._solve_soon()

    def _halt(self, flow: Flow) -> None:
        """Take the flow off its links."""
        self._leave_group(flow)
        alone: dict[Flow, None] = {}
        for link in flow.path.links:
            users = self._users[link]
            del users[flow]
            if len(users) == 1:
                alone.update(users)
        for other in alone:
            self._leave_group(other)
            self._join_group(other)

    def _stop(self, flow: Flow) -> None:
        if flow.waking is not None:
            flow.waking.cancel()
            flow.waking = None
        if flow.group is not None:
            self._settle()
            self._halt(flow)
            self._solve_soon()

    def _wait_for_acknowledgement(self, flow: Flow) -> None:
        self._halt(flow)

        def acknowledged() -> None:
            flow.waking = None
            flow.window_bytes *= 2
            self._settle()
            self._begin_round(flow)
            self._start(flow)

        flow.waking = self._clock.call_at(flow.round_start_s + flow.rtt_s, acknowledged)

    # -- groups ----------------------------------------------------------------------------------

    def _join_group(self, flow: Flow) -> None:
        shared = tuple(link for link in flow.path.links if len(self._users[link]) > 1)
        own = (float(self._capacity[link]) for link in flow.path.links if len(self._users[link]) == 1)
        key = (shared, min(own, default=math.inf))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = _Group(*key)
        sent_bytes = flow.sent_bytes
        flow.group = group
        flow.sent_bytes = flow.joined_bytes = sent_bytes
        flow.joined_s = self._clock.now_s
        group.members += 1
        self._await_due(flow, group)

    def _leave_group(self, flow: Flow) -> None:
        """The flow, brought up to date, belongs to no group; the use that it made of links of its own is recorded."""
        group = flow.group
        if group is None:
            return
        self._count(flow)
        sent_bytes = flow.sent_bytes
        flow.group = None
        flow.sent_bytes = sent_bytes
        flow.epoch += 1
        group.members -= 1
        if group.members == 0:
            del self._groups[group.links, group.limit]
        if self._meter is not None:
            own = (link for link in flow.path.links if link not in group.links)
            self._meter.alone(own, flow.joined_s, sent_bytes - flow.joined_bytes)

    def _await_due(self, flow: Flow, group: _Group) -> None:
        flow.epoch += 1
        heapq.heappush(group.due, (flow._base + flow.due(), flow.turn, flow.epoch, flow))

    # -- time ------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Bring every group's count of served bytes up to now."""
        tick = int(self._clock.now)
        elapsed_s = (tick - self._settled_tick) / TICKS_PER_SECOND
        self._settled_tick = tick
        if elapsed_s > 0:
            for group in self._groups.values():
                group.served += group.rate * elapsed_s

    def _count(self, flow: Flow) -> None:
        sent_bytes = flow.sent_bytes
        for link in flow.path.links:
            self._carried_bytes[link] += sent_bytes - flow.counted_bytes
        flow.counted_bytes = sent_bytes

    def _solve_soon(self) -> None:
        """Share the links anew, once, after all changes of this moment."""
        if self._solving is None:
            self._solving = self._clock.call_at_tick(int(self._clock.now), self._solve, late=True)

    def _solve(self) -> None:
        self._solving = None
        self._settle()
        groups = list(self._groups.values())
        hops = [len(group.links) for group in groups]
        rates = max_min(
            self._capacity,
            np.concatenate(([0], np.cumsum(hops, dtype=np.int64))).astype(np.int64),
            np.fromiter((link for group in groups for link in group.links), np.int64),
            limit=np.array([group.limit for group in groups]),
            count=np.array([group.members for group in groups], dtype=np.float64),
        )
        for group, rate in zip(groups, rates.tolist(), strict=True):
            group.rate = rate
        if self._meter is not None:
            load: dict[int, float] = {}
            for group in groups:
                for link in group.links:
                    load[link] = load.get(link, 0.0) + group.members * group.rate
            self._meter.shared(load)
        self._plan()

    def _plan(self) -> None:
        """Set the alarm for the next moment at which a piece is sent or a window used up."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        wait_s = math.inf
        for group in self._groups.values():
            _forget_void(group)
            if group.due and group.rate > 0:
                wait_s = min(wait_s, (group.due[0][0] - group.served) / group.rate)
        if math.isfinite(wait_s):
            self._next = self._clock.call_in(max(wait_s, 0.0), self._milestone)

    def _milestone(self) -> None:
        self._next = None
        self._settle()
        reached = []
        for group in self._groups.values():
            _forget_void(group)
            while group.due and group.due[0][0] - group.served <= group.rate * _SAME_MOMENT_S:
                reached.append(heapq.heappop(group.due)[1:])
                _forget_void(group)
        changed = False
        for _, epoch, flow in sorted(reached, key=lambda entry: entry[0]):
            if flow.group is None:
                continue  # a notice of another has dropped it
            # Another's end may have put it into another group, where the heap will not tell of it before this is over.
            slack = flow.group.rate * _SAME_MOMENT_S
            if flow.epoch == epoch or flow.due() - flow.sent_bytes <= slack:
                changed = self._pass_milestone(flow) or changed
        if changed:
            self._solve_soon()
        elif self._solving is None:
            self._plan()

    def _pass_milestone(self, flow: Flow) -> bool:
        """Hand over the pieces that are sent; say whether the flow has stopped sending."""
        now_s = self._clock.now_s
        flow.last_sent_s = now_s
        flow.sent_bytes = max(flow.sent_bytes, flow.due())
        sent_bytes = flow.sent_bytes
        self._count(flow)
        while flow.pieces and flow.pieces[0].end <= sent_bytes:
            self._hand_over(flow, flow.pieces.popleft())
        if flow.group is None:  # a notice has dropped it
            return True
        if not flow.pieces:
            self._halt(flow)
            return True
        if flow.sent_bytes >= flow.round_end:
            if window_covers_path(now_s - flow.round_start_s, flow.rtt_s):
                flow.window_bytes = flow.round_end = math.inf
            else:
                self._wait_for_acknowledgement(flow)
                return True
        self._await_due(flow, flow.group)
        return False

    def _hand_over(self, flow: Flow, piece: _Piece) -> None:
        arrival_s = max(flow.last_arrival_s, self._clock.now_s + flow.path.latency_s + flow.draw_jitter_s())
        flow.last_arrival_s = arrival_s
        self._clock.call_at(arrival_s, piece.on_arrived)
        piece.on_sent()


def _forget_void(group: _Group) -> None:
    """Drop entries of flows that have left the group, or have come back to it since, from the top of its heap."""
    due = group.due
    while due and (due[0][3].group is not group or due[0][3].epoch != due[0][2]):
        heapq.heappop(due)

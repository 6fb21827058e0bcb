"""Bytes in motion: active flows on the SimPy clock.

While a flow has bytes to send it gets its weighted max-min share of every link on its path; the shares are computed
anew whenever a flow starts, stops, waits for an acknowledgement or changes what its window allows. What is sent arrives
one propagation delay (and jitter) after its last byte left. A flow is in one of three states: it opens its window round
by round (slow start); its window holds it back no more, and the fluid model alone says how fast it is; or its window
decides, and `simnet.pacing` follows it packet by packet. Not modelled: the load that acknowledgements put on the way
back, and the queueing delay that flows cause one another.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np

from simnet.clock import TICKS_PER_SECOND, Alarm, Clock
from simnet.flow import Flow, Group, Piece, always_one
from simnet.meter import LinkMeter
from simnet.pacing import Pacing
from simnet.sharing import share
from simnet.tcp import Tcp, window_covers_path
from simnet.topology import CongestionControl, LinkTraits, Path
from simnet.trace import Trace

_AT_LIMIT = 1 - 1e-9
_SAME_MOMENT_S = 2e-9  # what is due within this time is due now: the clock rounds to microseconds


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
        traits: Sequence[LinkTraits] = (),
        unfairness: float = 0.0,
    ) -> None:
        self._clock = clock
        self.tcp = tcp
        self._capacity = [bps / 8 / tcp.header_factor for bps in capacities_bps]
        self._pacing = Pacing(self, tcp, traits, unfairness)
        self.users: list[dict[Flow, None]] = [{} for _ in capacities_bps]
        self._groups: dict[tuple[tuple[int, ...], float, float], Group] = {}
        self._load: dict[int, float] = {}  # of links that several flows share, payload bytes per second
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
        for flow in {flow: None for users in self.users for flow in users}:
            self._count(flow)
        return self._carried_bytes

    @property
    def now_s(self) -> float:
        """The moment in seconds."""
        return self._clock.now_s

    def set_capacity(self, link: int, bandwidth_bps: float) -> None:
        """Change the capacity of a directed link, from now on; at 0 it is down and what crosses it waits."""
        self._settle()
        self._capacity[link] = bandwidth_bps / 8 / self.tcp.header_factor
        if len(self.users[link]) == 1:  # the link is its user's own limit
            for flow in tuple(self.users[link]):
                self.regroup(flow)
        self._solve_soon()

    def set_loss(self, link: int, probability: float) -> None:
        """Lose packets on a directed link with this probability, from now on."""
        self._settle()
        self._pacing.set_loss(link, probability)
        for flow in tuple(self.users[link]):
            self._pacing.path_changed(flow)

    def active_on(self, link: int) -> tuple[Flow, ...]:
        """The flows that have something to send over a directed link and may."""
        return tuple(self.users[link])

    def open(
        self,
        path: Path,
        rtt_s: float,
        draw_jitter_s: Callable[[], float],
        *,
        congestion: CongestionControl = "cubic",
        luck: float = 0.0,
        uniform: Callable[[], float] = always_one,
    ) -> Flow:
        """A new, empty flow along `path`.

        `draw_jitter_s` gives each message's deviation from the path's latency; `luck`, a draw from the standard normal
        distribution, says how it fares where a queue shares by chance; `uniform` draws from [0, 1) which packets are
        lost.
        """
        window = self.tcp.initial_window_bytes
        return Flow(self, path, rtt_s, draw_jitter_s, window, congestion, self._pacing.factor(luck), uniform)

    # -- what the links offer --------------------------------------------------------------------

    def capacity(self, link: int) -> float:
        """Capacity of a directed link, payload bytes per second."""
        return self._capacity[link]

    def own_capacity(self, flow: Flow) -> float:
        """The narrowest of the links that the flow has for itself, payload bytes per second."""
        users, capacity = self.users, self._capacity
        return min((capacity[link] for link in flow.path.links if not _shared(users[link], flow)), default=math.inf)

    def offered(self, flow: Flow) -> float:
        """What the flow would get if it had no window, given how the others fare; payload bytes per second."""
        offered = math.inf
        own_rate = 0.0 if flow.group is None else flow.group.rate
        for link in flow.path.links:
            capacity = self._capacity[link]
            if _shared(self.users[link], flow):
                capacity *= self.tcp.crowd_efficiency
                spare = capacity - self._load.get(link, 0.0)
                if spare > 1e-6 * capacity:
                    capacity = min(capacity, own_rate + spare)
                else:
                    rivals = (group.rate / group.weight for group in self._groups.values() if link in group.links)
                    weight = self._pacing.weight(flow, (link,)) if flow.group is None else flow.group.weight
                    capacity = min(capacity, max(own_rate, weight * max(rivals, default=0.0)))
            offered = min(offered, capacity)
        return offered

    # -- a flow's life ---------------------------------------------------------------------------

    def pushed(self, flow: Flow) -> None:
        """Something was queued on a flow: it starts, unless it is on its way already."""
        if flow.group is not None or flow.waking is not None:
            return
        self._settle()
        now_s = self._clock.now_s
        if now_s - flow.last_sent_s > flow.rtt_s + self.tcp.idle_reset_s:
            flow.window_bytes = self.tcp.initial_window_bytes
            flow.limit, flow.packets = math.inf, None
            self._begin_round(flow)
            self._pacing.began(flow)
        elif flow.packets is not None:
            self._pacing.next_round(flow)
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
            users = self.users[link]
            if len(users) == 1:
                crowded.update(users)
            users[flow] = None
        for other in crowded:
            self.regroup(other)
        self._join_group(flow)
        self._solve_soon()

    def _halt(self, flow: Flow) -> None:
        """Take the flow off its links."""
        self._leave_group(flow)
        alone: dict[Flow, None] = {}
        for link in flow.path.links:
            users = self.users[link]
            del users[flow]
            if len(users) == 1:
                alone.update(users)
        for other in alone:
            self.regroup(other)

    def stop(self, flow: Flow) -> None:
        """Take a flow out, wherever it is."""
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
            flow.window_bytes = min(2 * flow.window_bytes, self.tcp.receive_window_bytes)
            self._settle()
            self._begin_round(flow)
            self._pacing.acknowledged(flow)
            self._start(flow)

        flow.waking = self._clock.call_at(flow.round_start_s + flow.rtt_s, acknowledged)

    # -- groups ----------------------------------------------------------------------------------

    def regroup(self, flow: Flow) -> None:
        """Put a flow that sends into the group where it belongs now, and share anew."""
        self._leave_group(flow)
        self._join_group(flow)
        self._solve_soon()

    def _join_group(self, flow: Flow) -> None:
        users, capacity, limit = self.users, self._capacity, flow.limit
        shared = []
        for link in flow.path.links:
            if len(users[link]) > 1:
                shared.append(link)
            elif capacity[link] < limit:
                limit = capacity[link]
        links = tuple(shared)
        key = (links, limit, self._pacing.weight(flow, links))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key, marked_s=self._clock.now_s)
        sent_bytes = flow.sent_bytes
        flow.group = group
        flow.sent_bytes = flow.joined_bytes = sent_bytes
        flow.joined_s = self._clock.now_s
        group.count += 1
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
        if self._clock.now_s - flow.joined_s >= flow.rtt_s:  # else it is too short a time to adapt to
            flow.recent_rate = group.recent_rate(self._clock.now_s)
        flow.epoch += 1
        group.count -= 1
        if group.count == 0:
            del self._groups[group.links, group.limit, group.weight]
        if self._meter is not None:
            own = (link for link in flow.path.links if link not in group.links)
            self._meter.alone(own, flow.joined_s, sent_bytes - flow.joined_bytes)

    def _await_due(self, flow: Flow, group: Group) -> None:
        flow.epoch += 1
        heapq.heappush(group.due, (flow.base + flow.due(), flow.turn, flow.epoch, flow))

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
        efficiency, now_s = self.tcp.crowd_efficiency, self._clock.now_s
        capacity = {link: self._capacity[link] * efficiency for group in groups for link in group.links}
        load = dict.fromkeys(capacity, 0.0)
        freed = []
        for group, rate in zip(groups, share(capacity, groups), strict=True):
            group.mark(now_s)
            group.rate = rate
            for link in group.links:
                load[link] += group.count * rate
            lone = rate >= group.limit * _AT_LIMIT
            if lone is not group.lone:
                group.lone = lone
                if lone:
                    freed.append(group)
        self._load = load
        if self._meter is not None:
            self._meter.shared(load)
        for group in freed:
            self._pacing.on_their_own(group)
        if self._solving is None:
            self._plan()

    def _plan(self) -> None:
        """Set the alarm for the next moment at which a piece is sent or a window used up."""
        if self._next is not None:
            self._next.cancel()
            self._next = None
        wait_s = math.inf
        for group in self._groups.values():
            due = group.next_due()
            if group.rate > 0 and (due - group.served) < wait_s * group.rate:
                wait_s = (due - group.served) / group.rate
        if wait_s < math.inf:
            self._next = self._clock.call_in(max(wait_s, 0.0), self._milestone)

    def _milestone(self) -> None:
        self._next = None
        self._settle()
        reached = []
        for group in self._groups.values():
            now_due = group.served + group.rate * _SAME_MOMENT_S
            while group.next_due() <= now_due and group.due:
                reached.append(heapq.heappop(group.due)[1:])
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
        sent_bytes = max(flow.sent_bytes, flow.due())  # not read back: adding and subtracting may lose the last bit
        flow.sent_bytes = sent_bytes
        self._count(flow)
        while flow.pieces and flow.pieces[0].end <= sent_bytes:
            self.hand_over(flow, flow.pieces.pop(0))
        if flow.group is None:  # a notice has dropped it
            return True
        if not flow.pieces:
            self._halt(flow)
            return True
        if sent_bytes >= flow.round_end:
            if flow.packets is not None or flow.limit < math.inf:  # followed, or paced
                self._pacing.next_round(flow)
                self.regroup(flow)
                return True
            if not window_covers_path(now_s - flow.round_start_s, flow.rtt_s):
                self._wait_for_acknowledgement(flow)
                return True
            flow.window_bytes = flow.round_end = math.inf
            if self._pacing.opened(flow):
                self.regroup(flow)
                return True
        self._await_due(flow, flow.group)
        return False

    def hand_over(self, flow: Flow, piece: Piece) -> None:
        """A piece has left: it arrives later, and whoever sent it is told now."""
        arrival_s = max(flow.last_arrival_s, self._clock.now_s + flow.path.latency_s + flow.draw_jitter_s())
        flow.last_arrival_s = arrival_s
        self._clock.call_at(arrival_s, piece.on_arrived)
        piece.on_sent()


def _shared(users: dict[Flow, None], flow: Flow) -> bool:
    """Whether a link with these users is, or would be, shared by the flow with others."""
    return len(users) - (flow in users) > 0

"""Who gets how much: the groups of flows that send, the links that they share, and what happens next.

A link that one flow alone uses is merely that flow's limit. So flows fall into few groups (often one: all clients with
equal access links behind one server), a solution costs as much as there are groups, and what happens next within a
group is found in a heap: K transfers cost K log K, exactly as if each were solved by itself. And where every flow gets
all that it can use, one more or less changes nothing for the others, and nothing is solved.

Rates are payload bytes per second. What a flow does when it is due, and when it has become free of others, is up to
`simnet.flows`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence

import numpy as np

from simnet.clock import TICKS_PER_SECOND, Alarm, Clock
from simnet.flow import MARK_S, Flow, Group
from simnet.meter import LinkMeter
from simnet.sharing import share

_AT_LIMIT = 1 - 1e-9
_SAME_MOMENT_S = 2e-9  # what is due within this time is due now: the clock rounds to microseconds


class Rates:
    """Gives every flow that sends its weighted max-min share of the links on its path.

    Of a link that several flows share, they use at most the share `efficiency`. `weight(flow, links)` is a flow's
    weight on links that it shares; `on_due` is called for each flow at which something happens, `on_free` for groups
    that what they share holds back no more.
    """

    def __init__(
        self,
        clock: Clock,
        capacity: Sequence[float],
        efficiency: float,
        meter: LinkMeter | None,
        *,
        weight: Callable[[Flow, tuple[int, ...]], float],
        on_due: Callable[[Flow], None],
        on_free: Callable[[Group], None],
    ) -> None:
        self.users: list[dict[Flow, None]] = [{} for _ in capacity]
        self._clock = clock
        self._capacity = list(capacity)
        self._efficiency = efficiency
        self._weight = weight
        self._on_due = on_due
        self._on_free = on_free
        self._meter = meter
        self._groups: dict[tuple[tuple[int, ...], float, float], Group] = {}
        self._load: dict[int, float] = {}  # of links that several flows share
        self._roomy = True  # whether every flow gets all that it can use
        self._turns = 0
        self._settled_tick = 0
        self._solving: Alarm | None = None
        self._next: Alarm | None = None
        self._next_s = math.inf
        self._carried_bytes = np.zeros(len(capacity))

    @property
    def carried_bytes(self) -> np.ndarray:
        """Payload that each link has carried until now."""
        self.settle()
        for flow in {flow: None for users in self.users for flow in users}:
            self.count(flow)
        return self._carried_bytes

    @property
    def now_s(self) -> float:
        """The moment in seconds."""
        return self._clock.now_s

    # -- what the links offer --------------------------------------------------------------------

    def set_capacity(self, link: int, capacity: float) -> None:
        """Change the capacity of a directed link, from now on."""
        self.settle()
        self._capacity[link] = capacity
        if len(self.users[link]) == 1:  # the link is its user's own limit
            for flow in tuple(self.users[link]):
                self.regroup(flow)
        self._solve_soon()

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
                capacity *= self._efficiency
                spare = capacity - self._load.get(link, 0.0)
                if spare > 1e-6 * capacity:
                    capacity = min(capacity, own_rate + spare)
                else:
                    rivals = (group.rate / group.weight for group in self._groups.values() if link in group.links)
                    weight = self._weight(flow, (link,)) if flow.group is None else flow.group.weight
                    capacity = min(capacity, max(own_rate, weight * max(rivals, default=0.0)))
            offered = min(offered, capacity)
        return offered

    # -- coming and going ------------------------------------------------------------------------

    def enter(self, flow: Flow) -> None:
        """Put a flow on its links: it begins to send."""
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
        self._settle_in(flow)

    def leave(self, flow: Flow) -> None:
        """Take the flow off its links."""
        self._leave_group(flow)
        self._move_out(flow)
        alone: dict[Flow, None] = {}
        for link in flow.path.links:
            users = self.users[link]
            del users[flow]
            if len(users) == 1:
                alone.update(users)
        for other in alone:
            self.regroup(other)

    def regroup(self, flow: Flow) -> None:
        """Put a flow that sends into the group where it belongs now, and share anew."""
        self._leave_group(flow)
        self._move_out(flow)
        self._join_group(flow)
        self._settle_in(flow)

    def _join_group(self, flow: Flow) -> None:
        users, capacity, limit = self.users, self._capacity, flow.limit
        shared = []
        for link in flow.path.links:
            if len(users[link]) > 1:
                shared.append(link)
            elif capacity[link] < limit:
                limit = capacity[link]
        links = tuple(shared)
        key = (links, limit, self._weight(flow, links))
        group = self._groups.get(key)
        if group is None:
            group = self._groups[key] = Group(*key, marked_s=self._clock.now_s)
        sent_bytes = flow.sent_bytes
        flow.group = group
        flow.sent_bytes = flow.joined_bytes = sent_bytes
        flow.joined_s = self._clock.now_s
        group.count += 1
        self.await_due(flow, group)

    def _leave_group(self, flow: Flow) -> None:
        """The flow, brought up to date, belongs to no group; the use that it made of links of its own is recorded."""
        group = flow.group
        if group is None:
            return
        self.count(flow)
        sent_bytes = flow.sent_bytes
        flow.group, flow.left = None, group
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

    def await_due(self, flow: Flow, group: Group) -> None:
        """Be told when the next thing happens at a member of a group."""
        flow.epoch += 1
        heapq.heappush(group.due, (flow.base + flow.due(), flow.turn, flow.epoch, flow))

    # Where every flow gets all that it can use, one more or less changes nothing for the others.

    def _settle_in(self, flow: Flow) -> None:
        """Give a flow that has joined its group its rate: at once if there is room for it, else by sharing anew."""
        group = flow.group
        if group is None or self._solving is not None or not self._roomy or group.limit == math.inf:
            self._solve_soon()
            return
        load, efficiency = self._load, self._efficiency
        for link in group.links:
            if load.get(link, 0.0) + group.limit > self._capacity[link] * efficiency:
                self._solve_soon()
                return
        for link in group.links:
            load[link] = load.get(link, 0.0) + group.limit
        if self._meter is not None:
            self._meter.changed(group.links, load)
        if not group.lone:
            group.rate, group.lone = group.limit, True
            self._on_free(group)
        if flow.group is group and group.rate > 0:
            wait_s = (flow.base + flow.due() - group.served) / group.rate
            if self._next is None or self._clock.now_s + wait_s < self._next_s:
                self._wake_in(wait_s)

    def _move_out(self, flow: Flow) -> None:
        """Take what a flow that has left its group, `flow.left`, had; share anew if others may want it."""
        left = flow.left
        flow.left = None
        if left is None:
            return
        if self._solving is not None or not self._roomy:
            self._solve_soon()
            return
        for link in left.links:
            self._load[link] = max(self._load.get(link, 0.0) - left.rate, 0.0)
        if self._meter is not None:
            self._meter.changed(left.links, self._load)

    # -- time ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Bring every group's count of served bytes up to now."""
        tick = int(self._clock.now)
        elapsed_s = (tick - self._settled_tick) / TICKS_PER_SECOND
        self._settled_tick = tick
        if elapsed_s > 0:
            for group in self._groups.values():
                group.served += group.rate * elapsed_s

    def count(self, flow: Flow) -> None:
        """Add what the flow has sent since the last time to what its links have carried."""
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
        self.settle()
        groups = list(self._groups.values())
        efficiency, now_s = self._efficiency, self._clock.now_s
        shared = {link for group in groups for link in group.links}
        capacity = {link: self._capacity[link] * efficiency for link in sorted(shared)}
        load = dict.fromkeys(capacity, 0.0)
        freed = []
        roomy = True
        for group, rate in zip(groups, share(capacity, groups), strict=True):
            if now_s - group.marked_s >= MARK_S:
                group.mark(now_s)
            group.rate = rate
            for link in group.links:
                load[link] += group.count * rate
            lone = rate >= group.limit * _AT_LIMIT
            roomy = roomy and lone
            if lone is not group.lone:
                group.lone = lone
                if lone:
                    freed.append(group)
        self._load, self._roomy = load, roomy
        if self._meter is not None:
            self._meter.shared(load)
        for group in freed:
            self._on_free(group)
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
            self._wake_in(wait_s)

    def _wake_in(self, wait_s: float) -> None:
        if self._next is not None:
            self._next.cancel()
        self._next_s = self._clock.now_s + max(wait_s, 0.0)
        self._next = self._clock.call_at(self._next_s, self._milestone)

    def _milestone(self) -> None:
        self._next = None
        self.settle()
        reached = []
        for group in self._groups.values():
            now_due = group.served + group.rate * _SAME_MOMENT_S
            while group.next_due() <= now_due and group.due:
                reached.append(heapq.heappop(group.due)[1:])
        for _, epoch, flow in sorted(reached, key=lambda entry: entry[0]):
            if flow.group is None:
                continue  # a notice of another has dropped it
            # Another's end may have put it into another group, where the heap will not tell of it before this is over.
            slack = flow.group.rate * _SAME_MOMENT_S
            if flow.epoch == epoch or flow.due() - flow.sent_bytes <= slack:
                self._on_due(flow)
        if self._solving is None:
            self._plan()


def _shared(users: dict[Flow, None], flow: Flow) -> bool:
    """Whether a link with these users is, or would be, shared by the flow with others."""
    return len(users) - (flow in users) > 0

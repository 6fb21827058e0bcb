"""Capacities that change by themselves: links that follow a schedule, on the virtual clock.

Modelled: at each step of a schedule the capacity of the link changes at once. At 0 the link carries nothing and what is
sent waits for it, as in a queue; losing packets is what faults do (`simnet.outages`). Not modelled: the packet that is
on the wire when the capacity changes keeps the rate at which it began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from simnet.clock import Clock
from simnet.flow import Flow
from simnet.flows import Flows
from simnet.schedule import CapacitySchedule, CapacityStep
from simnet.topology import Topology

PATIENCE = 1_000_000
"""Steps of schedules, a day of tenths of a second and more, that a stalled transfer is given to go on."""


@dataclass
class _Following:
    """Directed links that follow one schedule, and how far they have come."""

    schedule: CapacitySchedule
    upcoming: Iterator[CapacityStep]
    links: list[int] = field(default_factory=list)
    done: int = 0

    def will_open(self) -> bool:
        """Whether a step to come gives the links capacity."""
        if self.schedule.period_s is not None:
            return True
        return any(step.bandwidth_bps > 0 for step in self.schedule.steps[self.done :])


class ScheduledCapacities:
    """Makes the links of a topology follow their schedules from the start of the run.

    Its alarms are of the clock's background: a schedule that repeats for ever does not keep a run going whose tasks
    wait for what will never be. But what a transfer waits for may be a step that gives its link capacity again, and
    then the run goes on: `awaited` tells the clock. (Links in a row that are never open at once let nothing through for
    ever; after `PATIENCE` steps in which nothing moved, that is what is taken to be the case.)
    """

    def __init__(
        self, clock: Clock, topology: Topology, flows: Flows, set_capacity: Callable[[int, float], None]
    ) -> None:
        self._clock = clock
        self._flows = flows
        self._set_capacity = set_capacity
        self._following: dict[int, _Following] = {}  # by directed link
        self._moved_bytes = -1.0
        self._in_vain = 0  # steps awaited since something moved
        by_schedule: dict[int, _Following] = {}  # by identity: a long trace is not compared for every link
        for link, schedule in topology.schedules():
            following = by_schedule.setdefault(id(schedule), _Following(schedule, schedule.changes()))
            following.links.append(link)
            self._following[link] = following
        for following in by_schedule.values():
            self._await_next(following)
        clock.background_awaited = self.awaited

    def awaited(self) -> bool:
        """Whether a transfer is held up by nothing but links that a step to come will open."""
        closed = [link for link in self._following if self._flows.capacity(link) == 0]
        stalled = [flow for link in closed for flow in self._flows.active_on(link)]
        moved_bytes = sum(flow.sent_bytes for flow in stalled)
        self._in_vain = self._in_vain + 1 if moved_bytes == self._moved_bytes else 0
        self._moved_bytes = moved_bytes
        return self._in_vain < PATIENCE and any(self._will_go_on(flow) for flow in stalled)

    def _will_go_on(self, flow: Flow) -> bool:
        closed = [link for link in flow.path.links if self._flows.capacity(link) == 0]
        return all(link in self._following and self._following[link].will_open() for link in closed)

    def _await_next(self, following: _Following) -> None:
        for step in following.upcoming:
            if self._clock.tick_at(step.at_s) > self._clock.now:
                self._clock.call_at(step.at_s, partial(self._take, following, step), background=True)
                return
            self._apply(following, step)

    def _take(self, following: _Following, step: CapacityStep) -> None:
        self._apply(following, step)
        self._await_next(following)

    def _apply(self, following: _Following, step: CapacityStep) -> None:
        following.done += 1
        for link in following.links:
            self._set_capacity(link, step.bandwidth_bps)

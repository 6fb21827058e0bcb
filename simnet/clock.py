"""Virtual time: a SimPy environment that counts whole microseconds from 0.

Whole ticks make equality of times exact and runs repeatable: no sum of floats drifts, and a clock that starts
at 0 (not at a Unix epoch) keeps its resolution for centuries. Seconds are what everybody else sees.
Nothing here looks at the wall clock.
"""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Callable
from typing import Any

import simpy
from simpy.core import EmptySchedule
from simpy.events import NORMAL, Event, EventPriority

TICKS_PER_SECOND = 1_000_000
TOLERANCE_TICKS = 1e-3  # float noise below a nanosecond never costs a whole tick
_LATE = EventPriority(NORMAL + 1)  # after everything else of the same tick
_PURGE_ABOVE = 100  # cancelled alarms that may lie in the queue before they are swept out


class Alarm:
    """An action at a point in virtual time; unlike a SimPy event, beside which it lies, it can be cancelled."""

    __slots__ = ("_action", "_background", "_clock", "cancelled")

    def __init__(self, clock: Clock, action: Callable[[], None], background: bool) -> None:
        self._clock = clock
        self._action: Callable[[], None] | None = action
        self._background = background
        self.cancelled = False
        """Whether the alarm was cancelled before it went off."""

    def cancel(self) -> None:
        """Make the alarm never go off; does nothing if it already has."""
        if self._action is not None:
            self._action = None
            self.cancelled = True
            self._clock._background -= self._background
            self._clock._forget_one()

    def ring(self) -> None:
        """Go off; done by the clock."""
        action, self._action = self._action, None
        self._clock._background -= self._background
        if action is not None:
            action()


class Clock(simpy.Environment):
    """A SimPy environment in microseconds, with alarms that can be cancelled.

    Plain SimPy processes may run beside asyncio programs on the same clock; their delays are in ticks.
    An asyncio future may lie in the queue as it is: it is given the result None when its time has come, unless it was
    cancelled before. That is what makes `asyncio.sleep` cheap.
    `background_awaited` says whether something waits for an alarm of the background (see `call_at`).
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self._cancelled = 0  # alarms that lie in the queue
        self._cancelled_sleeps = 0  # such futures, or more: whoever cancels one cannot tell whether it lies there
        self._background = 0  # such alarms that are still to go off
        self.background_awaited: Callable[[], bool] = lambda: False

    @property
    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return self._now / TICKS_PER_SECOND

    @property
    def events(self) -> int:
        """How many events have been put on the clock until now."""
        return int(repr(self._eid).removeprefix("count(").removesuffix(")"))  # `itertools.count` has no other way

    def tick_at(self, when_s: float) -> int:
        """The first tick that is not before `when_s`; a moment in the future is at least one tick away."""
        now = int(self._now)
        ticks = math.ceil(when_s * TICKS_PER_SECOND - TOLERANCE_TICKS)
        if ticks <= now:
            return now + 1 if when_s > self.now_s else now
        return ticks

    def call_at(
        self, when_s: float, action: Callable[[], None], *, late: bool = False, background: bool = False
    ) -> Alarm:
        """Run `action` at `when_s` seconds; `late` puts it behind everything else of that tick.

        An alarm of the `background` is one that nobody may be waiting for, such as the next step of a schedule that
        goes on for ever: it goes off in its time, but does not keep the clock from being idle.
        """
        return self.call_at_tick(self.tick_at(when_s), action, late=late, background=background)

    def call_in(self, delay_s: float, action: Callable[[], None], *, late: bool = False) -> Alarm:
        """Run `action` after `delay_s` seconds, see `call_at`."""
        return self.call_at(self.now_s + delay_s, action, late=late)

    def call_at_tick(
        self, tick: int, action: Callable[[], None], *, late: bool = False, background: bool = False
    ) -> Alarm:
        """Run `action` at the whole microsecond `tick`, which must not lie in the past; see `call_at`."""
        alarm = Alarm(self, action, background)
        self._background += background
        heapq.heappush(self._queue, (tick, _LATE if late else NORMAL, next(self._eid), alarm))  # type: ignore[misc]
        return alarm

    def sleep_cancelled(self) -> None:
        """Take note that a future was cancelled that may lie in the queue."""
        self._cancelled_sleeps += 1
        self._sweep_sometimes()

    def step(self) -> None:
        """Process the next event that was not cancelled. Raises `simpy.core.EmptySchedule` if there is none."""
        self._drop_cancelled_head()
        if not self._queue:
            raise EmptySchedule
        event: Any = self._queue[0][3]
        if isinstance(event, Event):
            super().step()
            return
        self._now = heapq.heappop(self._queue)[0]
        if isinstance(event, Alarm):
            event.ring()
        else:
            event.set_result(None)

    def idle(self) -> bool:
        """Whether nothing is going to happen any more that somebody may be waiting for."""
        self._drop_cancelled_head()
        lying = len(self._queue) - self._cancelled
        if lying - self._cancelled_sleeps > self._background:
            return False
        if self._cancelled_sleeps and self._background:
            self._sweep()
            lying = len(self._queue)
        return lying <= self._background and not self._background_matters()

    def _background_matters(self) -> bool:
        return self._background > 0 and self.background_awaited()

    def _drop_cancelled_head(self) -> None:
        # Otherwise the clock would run on to the deadline of every timeout that never fired.
        queue = self._queue
        while queue and _is_cancelled(queue[0][3]):
            event: Any = heapq.heappop(queue)[3]
            if isinstance(event, Alarm):
                self._cancelled -= 1
            elif self._cancelled_sleeps:
                self._cancelled_sleeps -= 1

    def _forget_one(self) -> None:
        self._cancelled += 1
        self._sweep_sometimes()

    def _sweep_sometimes(self) -> None:
        cancelled = self._cancelled + self._cancelled_sleeps
        if cancelled > _PURGE_ABOVE and cancelled > len(self._queue) // 2:
            self._sweep()

    def _sweep(self) -> None:
        self._queue[:] = [entry for entry in self._queue if not _is_cancelled(entry[3])]
        heapq.heapify(self._queue)
        self._cancelled = self._cancelled_sleeps = 0


def _is_cancelled(event: Any) -> bool:
    if isinstance(event, Alarm):
        return event.cancelled
    return isinstance(event, asyncio.Future) and event.done()

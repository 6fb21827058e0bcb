"""Virtual time: a SimPy environment that counts whole microseconds from 0.

Whole ticks make equality of times exact and runs repeatable: no sum of floats drifts, and a clock that starts
at 0 (not at a Unix epoch) keeps its resolution for centuries. Seconds are what everybody else sees.
Nothing here looks at the wall clock.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from typing import Any

import simpy
from simpy.events import NORMAL, Event, EventPriority

TICKS_PER_SECOND = 1_000_000
_TOLERANCE_TICKS = 1e-3  # float noise below a nanosecond never costs a whole tick
_LATE = EventPriority(NORMAL + 1)  # after everything else of the same tick
_PURGE_ABOVE = 100  # cancelled alarms that may lie in the queue before they are swept out


class Alarm(Event):
    """An action at a point in virtual time; unlike a SimPy event it can be cancelled."""

    def __init__(self, clock: Clock, action: Callable[[], None], *, background: bool = False) -> None:
        self.env = clock
        self._clock = clock
        self._action: Callable[[], None] | None = action
        self._background = background
        self._ok = True
        self._value = None
        self.callbacks: list[Callable[[Any], None]] = [self._fire]

    @property
    def cancelled(self) -> bool:
        """Whether the alarm was cancelled before it went off."""
        return self._action is None and self.callbacks is not None

    def cancel(self) -> None:
        """Make the alarm never go off; does nothing if it already has."""
        if self._action is not None:
            self._action = None
            self._clock._background -= self._background
            self._clock._forget_one()

    def _fire(self, _event: Event) -> None:
        action, self._action = self._action, None
        self._clock._background -= self._background and action is not None
        if action is not None:
            action()


class Clock(simpy.Environment):
    """A SimPy environment in microseconds, with alarms that can be cancelled.

    Plain SimPy processes may run beside asyncio programs on the same clock; their delays are in ticks.
    `background_awaited` says whether something waits for an alarm of the background (see `call_at`).
    """

    def __init__(self) -> None:
        super().__init__(initial_time=0)
        self._cancelled = 0
        self._background = 0  # such alarms that are still to go off
        self.background_awaited: Callable[[], bool] = lambda: False

    @property
    def now_s(self) -> float:
        """Seconds since the start of the run."""
        return self._now / TICKS_PER_SECOND

    def tick_at(self, when_s: float) -> int:
        """The first tick that is not before `when_s`; a moment in the future is at least one tick away."""
        now = int(self._now)
        ticks = math.ceil(when_s * TICKS_PER_SECOND - _TOLERANCE_TICKS)
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
        alarm = Alarm(self, action, background=background)
        self._background += background
        self.schedule(alarm, _LATE if late else NORMAL, tick - int(self._now))
        return alarm

    def step(self) -> None:
        """Process the next event that was not cancelled. Raises `simpy.core.EmptySchedule` if there is none."""
        self._drop_cancelled_head()
        super().step()

    def idle(self) -> bool:
        """Whether nothing is going to happen any more that somebody may be waiting for."""
        self._drop_cancelled_head()
        return len(self._queue) - self._cancelled <= self._background and not self._background_matters()

    def _background_matters(self) -> bool:
        return self._background > 0 and self.background_awaited()

    def _drop_cancelled_head(self) -> None:
        # Otherwise the clock would run on to the deadline of every timeout that never fired.
        queue = self._queue
        while queue and isinstance(queue[0][3], Alarm) and queue[0][3].cancelled:
            heapq.heappop(queue)
            self._cancelled -= 1

    def _forget_one(self) -> None:
        self._cancelled += 1
        if self._cancelled > _PURGE_ABOVE and self._cancelled > len(self._queue) // 2:
            self._queue[:] = [
                entry for entry in self._queue if not (isinstance(entry[3], Alarm) and entry[3].cancelled)
            ]
            heapq.heapify(self._queue)
            self._cancelled = 0

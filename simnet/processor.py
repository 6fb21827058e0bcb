"""A host's processor: its jobs run one after another, and faults may slow it down while it works.

Not modelled: several jobs at a time, throttling by heat.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable


class Processor:
    """Spends the virtual time that jobs take. Whoever has a job waits until it is `free`."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.free = asyncio.Lock()
        self._loop = loop
        self._slowness: list[float] = []
        self._changed: asyncio.Future[None] | None = None

    async def spend(self, duration_s: float) -> None:
        """Wait until a job of `duration_s` at full speed is done."""
        left_s = duration_s
        while left_s > 0:
            factor, began_s = math.prod(self._slowness), self._loop.time()
            self._changed = self._loop.create_future()
            timer = self._loop.call_later(left_s * factor, _wake, self._changed)
            try:
                await self._changed
            finally:
                timer.cancel()
            left_s = 0.0 if timer.when() <= self._loop.time() else left_s - (self._loop.time() - began_s) / factor
        if duration_s <= 0:
            await asyncio.sleep(0)

    def slow_down(self, factor: float) -> Callable[[], None]:
        """Make it slower by `factor`, until that is undone."""
        self._slowness.append(factor)
        self._interrupt()

        def undo() -> None:
            self._slowness.remove(factor)
            self._interrupt()

        return undo

    def _interrupt(self) -> None:
        if self._changed is not None:
            _wake(self._changed)


def _wake(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)

"""The computations of one run's clients on an engine, begun before they are asked for.

In virtual time one host computes at a time, in a fixed order: real work overlaps only if it is begun ahead of that
order. So the executor is told at the beginning of a round which jobs are going to come; it has the engine do them, and
hands an outcome out when the job with the same key is run. What comes out and when in virtual time is the same as if
each were computed then and there.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from typing import Any, TypeVar

from collab.engines.engine import Done, Engine
from simnet import Computed, Job
from simnet.executors import InlineExecutor, ThreadExecutor

T = TypeVar("T")
MOST_HELD_BYTES = 256 * 1024 * 1024
"""Of results that nobody has asked for yet: beyond it nothing more is begun early."""
_QUEUED_PER_WORKER = 2  # so that no worker waits for its next job
CountListener = Callable[[int, int], None]
Outcome = Future[Done[Computed[Any]]]


class Foresight:
    """Jobs that are going to be run, and those that were begun and not yet asked for.

    `on_count` hears, from any thread, how many of the jobs foreseen are computed.
    """

    def __init__(self, engine: Engine, on_count: CountListener | None = None) -> None:
        self._engine = engine
        self._on_count = on_count
        # Entered again by the callback of a future that is done already.
        self._lock = threading.RLock()
        self._expected: dict[str, Job[Any]] = {}
        self._begun: dict[str, Outcome] = {}
        self._held_bytes: dict[str, int] = {}  # of those that are done
        self._computed = self._foreseen = 0

    def foresee(self, jobs: Iterable[Job[Any]]) -> None:
        """Begin these, in this order; forget what was foreseen before."""
        with self._lock:
            self.forget()
            self._expected = {job.key: job for job in jobs if job.key is not None and job.portable}
            self._foreseen = len(self._expected)
            self._begin_more()

    def forget(self) -> None:
        """Nothing of what was foreseen is going to be run; what has not started yet never will."""
        with self._lock:
            for future in self._begun.values():
                future.cancel()
            self._expected, self._begun, self._held_bytes = {}, {}, {}
            self._computed = self._foreseen = 0

    def outcome(self, job: Job[T]) -> Outcome:
        """The outcome of a job: one that was begun early, or else it is begun now."""
        with self._lock:
            key = job.key
            if key in self._expected:
                self._begin(self._expected.pop(key))
            self._held_bytes.pop(key or "", None)
            begun = self._begun.pop(key or "", None)
            future = begun or self._engine.submit(job.run)
            self._begin_more()
            return future

    def _begin_more(self) -> None:
        room = _QUEUED_PER_WORKER * self._engine.workers - (len(self._begun) - len(self._held_bytes))
        while room > 0 and self._expected and sum(self._held_bytes.values()) < MOST_HELD_BYTES:
            self._begin(self._expected.pop(next(iter(self._expected))))
            room -= 1

    def _begin(self, job: Job[Any]) -> None:
        key = str(job.key)
        future = self._begun[key] = self._engine.submit(job.run)
        future.add_done_callback(lambda done: self._is_done(key, done))

    def _is_done(self, key: str, future: Outcome) -> None:
        """Called from a thread of the engine, or at once."""
        if future.cancelled() or future.exception() is not None:  # whoever asks for it learns of it
            return
        with self._lock:
            self._computed += 1
            computed, foreseen = self._computed, self._foreseen
            if self._begun.get(key) is future:
                self._held_bytes[key] = future.result().size_bytes
                self._begin_more()
        if self._on_count is not None and foreseen:
            self._on_count(computed, foreseen)


class ForesightfulExecutor(InlineExecutor):
    """For virtual time: portable jobs run on an engine, all others here. The clock waits until an outcome is there."""

    def __init__(self, foresight: Foresight) -> None:
        self._foresight = foresight

    async def run(self, job: Job[T]) -> tuple[Computed[T], float]:
        """The job's outcome; blocks the thread until it is there."""
        if not job.portable:
            return await super().run(job)
        done = self._foresight.outcome(job).result()
        return done.value, done.wall_s

    def close(self) -> None:
        """Nothing more is going to be run; the engine stays open."""
        self._foresight.forget()


class ForesightfulThreadExecutor(ThreadExecutor):
    """For real time: portable jobs run on an engine, all others one at a time in a thread."""

    def __init__(self, foresight: Foresight) -> None:
        super().__init__()
        self._foresight = foresight

    async def run(self, job: Job[T]) -> tuple[Computed[T], float]:
        """The job's outcome; others go on meanwhile."""
        if not job.portable:
            return await super().run(job)
        done = await asyncio.wrap_future(self._foresight.outcome(job))
        return done.value, done.wall_s

    def close(self) -> None:
        """Nothing more is going to be run; the engine stays open."""
        super().close()
        self._foresight.forget()

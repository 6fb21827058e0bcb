"""Where jobs really run: at once in the calling thread, or one at a time in a thread beside a real event loop.

How long a job takes in virtual time is `simnet.devices`' business; an executor only says how long it took here.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol, TypeVar

from simnet.devices import Computed, Job
from simnet.errors import SimnetError

T = TypeVar("T")


class Executor(Protocol):
    """Where jobs really run."""

    async def run(self, job: Job[T]) -> tuple[Computed[T], float]:
        """The job's outcome and the wall seconds it took."""

    def close(self) -> None:
        """Let go of threads or processes."""


class InlineExecutor:
    """Runs jobs at once in the calling thread: nothing races the virtual clock."""

    async def run(self, job: Job[T]) -> tuple[Computed[T], float]:
        """Run the job here and now."""
        started = time.perf_counter()
        computed = job.run()
        return computed, time.perf_counter() - started

    def close(self) -> None:
        """Nothing to let go of."""


class ThreadExecutor:
    """Runs jobs one at a time in a thread, so that a real event loop stays responsive.

    The thread is a daemon: an interrupted program does not wait for the job in hand. (It should then leave by
    `os._exit`: a thread that is inside C++ when the interpreter ends makes the process abort.)
    """

    def __init__(self) -> None:
        self._worker: _Worker | None = None
        self._closed = False

    async def run(self, job: Job[T]) -> tuple[Computed[T], float]:
        """Queue the job and wait for it. Raises `SimnetError` if the executor was closed."""
        if self._closed:
            raise SimnetError(f"job {job.name} came after the executor was closed")
        if self._worker is None:
            self._worker = _parked.pop() if _parked else _Worker()
        loop = asyncio.get_running_loop()
        done: asyncio.Future[tuple[Computed[T], float]] = loop.create_future()
        context = contextvars.copy_context()

        def finish(outcome: tuple[Computed[T], float] | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if outcome is not None:
                done.set_result(outcome)
            else:
                done.set_exception(error or SimnetError(f"job {job.name} ended without a result"))

        def work() -> Callable[[], object]:
            started = time.perf_counter()
            outcome: tuple[Computed[T], float] | None = None
            problem: BaseException | None = None
            try:
                outcome = (context.run(job.run), time.perf_counter() - started)
            except BaseException as error:  # raised again where the job is awaited
                problem = error
            return functools.partial(loop.call_soon_threadsafe, finish, outcome, problem)

        self._worker.submit(work)
        return await done

    def close(self) -> None:
        """Give the thread back if it is idle; a job that nobody waits for any more is its last."""
        self._closed = True
        if self._worker is None:
            return
        if self._worker.idle():
            _parked.append(self._worker)
        else:
            self._worker.stop()
        self._worker = None


class _Worker:
    """A daemon thread that works through a queue."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], Callable[[], object]] | None] = queue.SimpleQueue()
        self._submitted = self._ended = 0
        threading.Thread(target=self._serve, name="simnet-jobs", daemon=True).start()

    def submit(self, work: Callable[[], Callable[[], object]]) -> None:
        """Add work; what it returns is called, after the work counts as ended, to tell of the result."""
        self._submitted += 1
        self._jobs.put(work)

    def idle(self) -> bool:
        """Whether all submitted work has ended."""
        return self._submitted == self._ended

    def stop(self) -> None:
        """End the thread after the work that was submitted."""
        self._jobs.put(None)

    def _serve(self) -> None:
        while (work := self._jobs.get()) is not None:
            tell = work()
            self._ended += 1
            with contextlib.suppress(RuntimeError):  # the program was interrupted: its loop is closed
                tell()


# Idle threads wait here for the next executor and are never ended: torch tears a thread's locals down after Python
# has forgotten the thread, and a process that exits in that moment aborts.
_parked: list[_Worker] = []

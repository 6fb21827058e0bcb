"""How long computation takes in virtual time, and where it really runs.

A job runs for real; the virtual clock is then charged by the host's device: `modelled` (operations counted /
rate of the device; the default, and the only deterministic one beside `fixed`), `measured` (wall time x a
factor) or `fixed`. Modelled rates are sustained single-precision rates for small convolutions, not peaks. Not
modelled: memory, start-up, throttling, and jobs of one host that compete for its processor: they run one after
another.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from simnet.errors import SimnetError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Computed(Generic[T]):
    """What a job hands back: its result, and the floating-point operations that it took."""

    value: T
    operations: float


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A piece of computation: `run` does it, `name` is what the trace calls it."""

    name: str
    run: Callable[[], Computed[T]]


@dataclass(frozen=True, slots=True)
class Device:
    """A machine's speed at this kind of work.

    `operations_per_s` is sustained, in floating-point operations (a multiply-add counts two); `source` says
    where it comes from.
    """

    name: str
    operations_per_s: float
    source: str


# Peaks are the makers' single-precision figures. What small convolutions on batches of tens sustain of them was
# taken as 4 to 10 % on processors and embedded GPUs and 20 % on data-centre GPUs.
DEVICES: Mapping[str, Device] = {
    device.name: device
    for device in (
        Device("raspberry-pi-5", 6.1e9, "4 x Cortex-A76, 2.4 GHz, 2 x 128-bit FMA: 154 GFLOP/s peak, 4 %"),
        Device("laptop", 40e9, "measured: 2 server cores, ConvNet forward, width 128, torch 2.13"),
        Device("jetson-orin-nano", 128e9, "NVIDIA Jetson Orin Nano 8 GB: 1.28 TFLOP/s peak, 10 %"),
        Device("jetson-agx-orin", 533e9, "NVIDIA Jetson AGX Orin 64 GB: 5.33 TFLOP/s peak, 10 %"),
        Device("rtx-4090", 16.5e12, "NVIDIA RTX 4090: 82.6 TFLOP/s peak, 20 %"),
        Device("h200", 13.4e12, "NVIDIA H200 SXM: 67 TFLOP/s peak, 20 %"),
    )
}


class Timing(Protocol):
    """Says how many virtual seconds a finished job is charged."""

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """Virtual seconds for a job of `operations` that took `wall_s` here."""


@dataclass(frozen=True, slots=True)
class Modelled:
    """Operations divided by the device's rate; deterministic."""

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """operations / rate."""
        return operations / device.operations_per_s


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall time on this machine times `factor`; differs from run to run."""

    factor: float = 1.0

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """wall time x factor."""
        return wall_s * self.factor


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same time for every job, for tests and lessons."""

    seconds: float

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """The fixed time."""
        return self.seconds


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


def job(name: str, function: Callable[..., T], *args: Any, operations: float = 0.0) -> Job[T]:
    """A job from a plain function whose number of operations is known beforehand."""
    return Job(name, lambda: Computed(function(*args), operations))

"""The engine for a cluster, or for GPUs that several workers share: Ray's tasks. Imported only when it is chosen.

On this machine Ray is started for the engine and ended with it; a cluster that is there already is left as it was, and
has to have this package installed on its nodes. Large arrays are put into Ray's object store once and read from there
without a copy. Ray runs a task again when its worker is lost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from types import FrameType
from typing import Any

import ray
import ray.exceptions

from collab.engines.dispatch import MOST_RETRIES, Dispatcher, Task
from collab.engines.shipping import Bytes, Store
from collab.engines.shortage import REMEDY, shortage
from collab.engines.work import perform, precision_of_products, prepare
from collab.errors import OutOfMemoryError, ScenarioError, WorkerLostError

# Read when Ray starts: no reports to its makers, and GPUs that torch sees even in tasks that reserve none.
_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
_PATIENCE_S = 0.25  # how long an engine that is closed may wait for each of its threads


class RayEngine(Dispatcher):
    """Runs functions as tasks of Ray, each with `threads` cores and `gpus` GPUs; at most `workers` at a time.

    In a process that uses Ray already it is that Ray, whatever the address, and it is left running. Raises
    `ScenarioError` if there is no such Ray, or none of its nodes can ever have such a task.
    """

    def __init__(self, workers: int, *, threads: int, address: str | None = None, gpus: float = 0.0) -> None:
        for name, value in _SETTINGS.items():
            os.environ.setdefault(name, value)
        self._started = not ray.is_initialized()
        if self._started:
            _connect(address, workers * threads)
        try:
            _check_room(threads, gpus)
        except BaseException:
            if self._started:
                ray.shutdown()
            raise
        self._perform = ray.remote(num_cpus=threads, num_gpus=gpus, max_retries=MOST_RETRIES)(_perform)
        self._threads_of_torch = threads
        super().__init__(workers, Store(_Held, _Held.let_go))

    def close(self) -> None:
        """End what runs now; if it was started for this engine, Ray itself."""
        super().close()
        if self._started:
            ray.shutdown()

    def _new_worker(self) -> _RayWorker:
        return _RayWorker(self._perform, self._threads_of_torch, self.workers, stays=not self._started)


def _connect(address: str | None, cores: int) -> None:
    """Start Ray on this machine, or join the cluster at `address`. Raises `ScenarioError` if neither can be done."""
    quiet: dict[str, Any] = {"include_dashboard": False} if address is None else {}
    if address is None:  # without the limit Ray repeats for ever what needs too much memory
        quiet |= {"num_cpus": cores, "_system_config": {"task_oom_retries": MOST_RETRIES}}
    try:
        with warnings.catch_warnings(), _interrupts_deferred():
            warnings.simplefilter("ignore")  # of what Ray's next versions will do
            ray.init(address or "local", log_to_driver=False, logging_level=logging.ERROR, **quiet)
    except (ConnectionError, ValueError, RuntimeError) as error:
        where = "on this machine" if address is None else f"at compute.address: {address}"
        raise ScenarioError(f"Ray cannot be used {where}: {error}") from error


def _check_room(threads: int, gpus: float) -> None:
    """Raise `ScenarioError` if no node is large enough for a task: Ray would wait for one, and not say so."""
    listed: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    resources = [node["Resources"] for node in listed if node["Alive"]]
    nodes = [(each.get("CPU", 0.0), each.get("GPU", 0.0)) for each in resources]
    if any(threads <= cores and gpus <= there for cores, there in nodes):
        return
    most_cores = max((cores for cores, _ in nodes), default=0)
    most_gpus = max((there for _, there in nodes), default=0)
    if threads > most_cores:
        remedy = f"lower compute.threads to {most_cores:g}, or add a larger node"
    elif not most_gpus:
        remedy = "leave out compute.gpus_per_client, with compute.device: auto or cpu, or add a node with a GPU"
    elif gpus > most_gpus:
        remedy = f"lower compute.gpus_per_client to {most_gpus:g}"
    else:
        remedy = "lower compute.threads or compute.gpus_per_client until one node has both"
    found = ", ".join(
        f"{number} node{'' if number == 1 else 's'} with {_amount(*each)}"
        for each, number in sorted(Counter(nodes).items())
    )
    raise ScenarioError(
        f"Ray would wait for ever: each computation reserves {_amount(threads, gpus)} on one node (compute.threads and "
        f"compute.gpus_per_client), but there are only: {found}; {remedy}"
    )


def _amount(cores: float, gpus: float) -> str:
    return f"{cores:g} core{'' if cores == 1 else 's'} and {f'{gpus:g} GPU' if gpus else 'no GPU'}"


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Ctrl-C and the like come after Ray has started: half started it leaves processes behind."""
    came: list[tuple[int, FrameType | None]] = []
    handlers: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if callable(signal.getsignal(number)):
                handlers[number] = signal.signal(number, lambda *signalled: came.append(signalled))
    try:
        yield
    finally:
        for each, handler in handlers.items():
            signal.signal(each, handler)
        if came:
            ray.shutdown()
            handlers[came[0][0]](*came[0])


class _RayWorker:
    """One of the tasks that Ray has at a time. `stays`: Ray does when the engine is closed."""

    def __init__(self, perform_there: Any, threads: int, workers: int, *, stays: bool) -> None:
        self._perform_there = perform_there
        self._settings = threads, precision_of_products()
        self._workers = workers
        self._underway: ray.ObjectRef[bytes] | None = None
        self._stays = stays
        self._stopped = False
        self._lock = threading.Lock()

    def perform(self, task: Task) -> bytes:
        """Hand it to Ray and wait for what comes back."""
        parcel = task.parcel
        objects = [held.object for held in parcel.references]
        try:
            with self._lock:
                if self._stopped:  # a task would start Ray again
                    raise CancelledError
                underway = self._perform_there.remote(parcel.body, self._settings, self._workers, *objects)
                self._underway = underway
            while not ray.wait([underway], timeout=_PATIENCE_S)[0]:
                if self._stopped:  # whoever waits while Ray is shut down may wait for ever
                    raise CancelledError
            outcome: bytes = ray.get(underway)
        except ray.exceptions.OutOfMemoryError as error:
            short = "memory on its machine, so that Ray ended the worker"
            raise OutOfMemoryError(shortage(task.title, short, self._workers)) from error
        except ray.exceptions.ObjectStoreFullError as error:
            short = "room in Ray's object store"
            raise OutOfMemoryError(shortage(task.title, short, self._workers)) from error
        except (ray.exceptions.RayError, ConnectionError) as error:
            reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise WorkerLostError(
                f"{task.title}: Ray lost the worker, also when it ran it again: {reason}; if the machine ran out of "
                f"memory, {REMEDY}"
            ) from error
        finally:
            self._underway = None
        return outcome

    def stop(self) -> None:
        """Break off what it does; Ray that ends anyway says less about it than when it is to kill a worker."""
        with self._lock:
            self._stopped = True
            if self._stays and self._underway is not None:
                ray.cancel(self._underway, force=True)

    def close(self) -> None:
        """Nothing is left: Ray's processes are Ray's."""


class _Held:
    """An array in the object store; it stays there as long as this is held."""

    def __init__(self, data: Bytes) -> None:
        self.object = ray.put(data)

    def let_go(self) -> None:
        """Nothing to do: Ray counts who holds the object."""


def _perform(body: bytes, settings: tuple[int, str], workers: int, *arrays: Bytes) -> bytes:
    prepare(*settings)
    return perform(body, arrays, workers)

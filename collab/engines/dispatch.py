"""What engines with workers have in common: a queue of tasks, and for each worker a thread that hands it one by one."""

from __future__ import annotations

import abc
import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from collab.engines.engine import Done, title_of
from collab.engines.shipping import Parcel, Store, packed
from collab.engines.work import outcome_of

T = TypeVar("T")
MOST_RETRIES = 2
"""How often a task is run again whose worker was lost."""


@dataclass(eq=False, slots=True)
class Task:
    """A function to run, packed. `inputs` keeps the arrays alive to which the parcel refers."""

    title: str
    parcel: Parcel
    inputs: Any
    future: Future[Done[Any]]


class Worker(Protocol):
    """Does one task after another."""

    def perform(self, task: Task) -> bytes:
        """Do a task; returns what `collab.engines.work.perform` returned. Raises `WorkerLostError`."""

    def stop(self) -> None:
        """End what it does at once; called from another thread, so that `perform` raises."""

    def close(self) -> None:
        """Clear up after it; `perform` is not called any more."""


class Dispatcher(abc.ABC):
    """An engine whose workers are somewhere else. Its threads are daemons: they never keep a process from ending."""

    def __init__(self, workers: int, store: Store) -> None:
        self.workers = workers
        self._store = store
        self._queue: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []
        self._hands: list[Worker] = []
        self._waiting = 0  # tasks in the queue or at work
        self._closed = False

    @abc.abstractmethod
    def _new_worker(self) -> Worker:
        """One more worker; it may start when its first task comes."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[Done[T]]:
        """Queue it. Raises `RuntimeError` if the engine is closed, and what pickle raises for what cannot be sent."""
        self._check_open(function)  # or what is packed would be stored
        parcel = packed((function, args), self._store)
        task = Task(title_of(function), parcel, (function, args), Future())
        with self._lock:
            self._check_open(function)
            self._waiting += 1
            if self._waiting > len(self._threads) < self.workers:
                worker = self._new_worker()
                thread = threading.Thread(target=self._serve, args=(worker,), name="collab-engine", daemon=True)
                self._hands.append(worker)
                self._threads.append(thread)
                thread.start()
            self._queue.put(task)  # within the lock: `close` finds and cancels it, or it is not taken at all
        return task.future

    def _check_open(self, function: Callable[..., object]) -> None:
        if self._closed:
            raise RuntimeError(f"{title_of(function)} came after the engine was closed")

    def close(self) -> None:
        """End all workers now."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with contextlib.suppress(queue.Empty):
            while (task := self._queue.get_nowait()) is not None:  # the workers take from it, too
                task.future.cancel()
        for _ in self._threads:
            self._queue.put(None)
        for worker in self._hands:
            worker.stop()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join()
        self._store.clear()

    def __enter__(self) -> Self:
        """The engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _serve(self, worker: Worker) -> None:
        while (task := self._queue.get()) is not None:
            if task.future.set_running_or_notify_cancel():
                self._work_on(task, worker)
            with self._lock:
                self._waiting -= 1
            del task  # or its arrays would live until the next one comes
        worker.close()

    def _work_on(self, task: Task, worker: Worker) -> None:
        try:
            done = outcome_of(worker.perform(task))
        except BaseException as error:  # raised again by the future
            task.future.set_exception(CancelledError() if self._closed else error)
        else:
            task.future.set_result(done)

"""The engine for one machine: a process for each worker, started anew and given its task again when it is lost.

Each worker has a pipe of its own, so that it is known which task a lost one had (the pools of the standard library
only know that one is lost, and fail everything that was under way). Processes are spawned: torch's threads do not
survive a fork. Large arrays lie in files in memory that all workers map.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import IO, Any

import numpy as np

from collab.engines.dispatch import MOST_RETRIES, Dispatcher, Task
from collab.engines.shipping import Bytes, Parcel, Store
from collab.engines.shortage import REMEDY
from collab.engines.work import perform, precision_of_products, prepare
from collab.errors import WorkerLostError

_SHARED_MEMORY = Path("/dev/shm")
_PREFIX = "collab-engine-"
_LOCK = "lock"
_LAST_WORDS_S = 5.0  # a process that has closed its pipe ends by itself
_spawning = multiprocessing.get_context("spawn")
# Two threads that wait for their children at once may take each other's news.
_children = threading.Lock()


class ProcessEngine(Dispatcher):
    """Runs functions in `workers` processes, each with so many threads of torch."""

    def __init__(self, workers: int, *, threads: int) -> None:
        self._shelf = _Shelf()
        self._threads_of_torch = threads
        super().__init__(workers, Store(self._shelf.put, self._shelf.drop))

    def close(self) -> None:
        """End all workers now, and remove the files."""
        super().close()
        self._shelf.close()

    def _new_worker(self) -> _Process:
        return _Process(self.workers, self._threads_of_torch)


class _Process:
    """A worker: a process, which starts with its first task, and again with the next after it was lost."""

    def __init__(self, workers: int, threads: int) -> None:
        self._workers = workers
        self._threads = threads
        self._lock = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection[Any, Any] | None = None
        self._closed = False

    def perform(self, task: Task) -> bytes:
        """Send the task and wait for what comes back; again if the process ends before."""
        codes: list[int | None] = []
        while len(codes) <= MOST_RETRIES and not self._closed:
            pipe = self._started()
            try:
                pipe.send(task.parcel)
                outcome: bytes = pipe.recv_bytes()
                return outcome
            except (EOFError, OSError):  # the process is gone, or going
                codes.append(self._ended())
        raise WorkerLostError(_lost(task.title, codes))

    def stop(self) -> None:
        """Kill it."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()

    def close(self) -> None:
        """Wait for its end."""
        self.stop()
        self._ended()

    def _started(self) -> Connection[Any, Any]:
        with self._lock:
            if self._pipe is None:
                ours, theirs = _spawning.Pipe()
                arguments = (theirs, self._threads, precision_of_products(), self._workers)
                process = _spawning.Process(target=_serve, args=arguments, name="collab-worker", daemon=True)
                with _children, _interrupts_blocked():
                    process.start()
                theirs.close()
                self._process, self._pipe = process, ours
                if self._closed:
                    process.kill()
            return self._pipe

    def _ended(self) -> int | None:
        """Clear up after a process that is gone or going; returns its exit code, minus the signal that killed it."""
        with self._lock:
            process, pipe = self._process, self._pipe
            self._process = self._pipe = None
        if process is None or pipe is None:
            return None
        pipe.close()
        if not wait([process.sentinel], _LAST_WORDS_S):
            process.kill()
            wait([process.sentinel])
        with _children:
            process.join()
        return process.exitcode


def _lost(title: str, codes: list[int | None]) -> str:
    code = codes[-1] if codes else None
    if code == -signal.SIGKILL:
        how = f"was killed (SIGKILL), most likely by the kernel because the machine ran out of memory; {REMEDY}"
    elif code is not None and code < 0:
        how = (
            f"ended by {signal.Signals(-code).name}; a fault in a library, or somebody's kill: see its last words above"
        )
    else:
        how = f"ended with the exit code {code}, and no answer: see its last words above"
    return f"{title}: the process that worked on it {how}. It was tried {len(codes)} times"


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Ctrl-C is for the parent: a worker that is still importing must not hear of it either, and inherits this."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# -- arrays that all workers see -----------------------------------------------------------------


class _Shelf:
    """Arrays as files that workers map: in memory if there is room, else on the disk.

    A file that is dropped stays with those that have mapped it. Folders of engines that were killed are removed when
    the next one starts: as long as an engine lives it holds a lock on a file in each of its own.
    """

    def __init__(self) -> None:
        places = [_SHARED_MEMORY] if os.access(_SHARED_MEMORY, os.W_OK) else []
        self._places = [*places, Path(tempfile.gettempdir())]
        self.folders: list[str] = []
        self._locks: list[IO[bytes]] = []
        self._count = 0
        for place in self._places:
            _remove_forsaken(place)

    def put(self, data: Bytes) -> str:
        """Write an array into a file of its own; returns its path. Raises `OSError` if there is room nowhere."""
        if not self.folders:
            self._open_folder()
        self._count += 1
        while True:
            path = Path(self.folders[-1], f"{self._count}")
            try:
                path.write_bytes(data.data)
            except OSError as error:
                path.unlink(missing_ok=True)
                if error.errno != errno.ENOSPC or not self._places:
                    raise
                self._open_folder()
            else:
                return str(path)

    def drop(self, path: str) -> None:
        """Remove a file."""
        Path(path).unlink(missing_ok=True)

    def close(self) -> None:
        """Remove all."""
        for folder in self.folders:
            shutil.rmtree(folder, ignore_errors=True)
        for lock in self._locks:
            lock.close()

    def _open_folder(self) -> None:
        folder = tempfile.mkdtemp(prefix=_PREFIX, dir=self._places.pop(0))
        lock = Path(folder, _LOCK).open("wb")  # noqa: SIM115 (open for as long as the engine lives)
        fcntl.flock(lock, fcntl.LOCK_EX)
        self.folders.append(folder)
        self._locks.append(lock)


def _remove_forsaken(place: Path) -> None:
    """Remove the folders of engines that were killed before they could."""
    for folder in place.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / _LOCK).open("rb") as lock:  # another user's, or locked: it lives
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _mapped(path: str) -> Bytes:
    """The bytes of a file, shared with all that read them; what is written to them stays in this process."""
    with Path(path).open("rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY), np.uint8)


# -- in the worker -------------------------------------------------------------------------------


def _serve(pipe: Connection[Any, Any], threads: int, precision: str, workers: int) -> None:
    """The life of a worker: task after task, until its parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    threading.Thread(target=_end_with_parent, daemon=True).start()
    prepare(threads, precision)
    with contextlib.suppress(EOFError, BrokenPipeError):  # the parent is gone
        while True:
            parcel: Parcel = pipe.recv()
            pipe.send_bytes(perform(parcel.body, [_mapped(path) for path in parcel.references], workers))


def _end_with_parent() -> None:
    """End this process with its parent, also in the middle of a task: nobody waits for it any more."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

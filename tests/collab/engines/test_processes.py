"""Worker processes and the files that they map."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from collab.engines import processes
from collab.engines.processes import ProcessEngine
from tests.collab.engines import tasks

ROOT = Path(__file__).parents[3]


@pytest.fixture
def shared_memory(tmp_path, monkeypatch):
    folder = tmp_path / "shm"
    folder.mkdir()
    monkeypatch.setattr(processes, "_SHARED_MEMORY", folder)
    return folder


def files(folder):
    return sorted(path.stat().st_size for path in folder.glob("*/*") if path.name != "lock")


def test_an_array_is_stored_once_and_as_long_as_somebody_holds_it(shared_memory):
    with ProcessEngine(1, threads=1) as engine:
        numbers, few = np.ones(100_000), np.ones(100)
        futures = [engine.submit(tasks.total, array) for array in (numbers, few, numbers)]
        assert files(shared_memory) == [800_000]
        assert [future.result().value for future in futures] == [100_000, 100, 100_000]
        del numbers, futures
        deadline_s = time.monotonic() + 30
        while files(shared_memory) and time.monotonic() < deadline_s:  # the engine lets go of it a moment later
            gc.collect()
        assert files(shared_memory) == []
    assert list(shared_memory.iterdir()) == []


def test_where_memory_has_no_room_the_disk_has(shared_memory, tmp_path, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.setattr(processes.tempfile, "gettempdir", lambda: str(disk))
    write = Path.write_bytes

    def limited(path, data):
        if path.is_relative_to(shared_memory):
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", limited)
    numbers = np.ones(100_000)
    with ProcessEngine(1, threads=1) as engine:
        assert engine.submit(tasks.total, numbers).result().value == 100_000
        assert (files(shared_memory), files(disk)) == ([], [800_000])


def test_what_a_killed_engine_left_is_removed_and_a_living_one_is_left_alone(shared_memory):
    left, living = (shared_memory / f"collab-engine-{name}" for name in ("left", "living"))
    for folder in (left, living):
        folder.mkdir()
        (folder / "1").write_bytes(b"array")
        (folder / "lock").touch()
    with (living / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ProcessEngine(1, threads=1).close()
    assert [path.name for path in shared_memory.iterdir()] == ["collab-engine-living"]


KILLED = """
import os, signal, sys, time
from pathlib import Path

import numpy as np

from collab.engines import processes
from tests.collab.engines import tasks

if __name__ == "__main__":
    processes._SHARED_MEMORY, marks = Path(sys.argv[1]), [Path(mark) for mark in sys.argv[2:]]
    engine = processes.ProcessEngine(3, threads=1)
    numbers = np.ones(100_000)
    engine.submit(tasks.sleeps_with, numbers, str(marks[0]))
    engine.submit(tasks.computes_with, numbers, str(marks[1]))
    engine.submit(tasks.says_where, str(marks[2])).result()
    while not all(mark.exists() and mark.read_text() for mark in marks):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def alive(process):
    """Whether there is such a process, and it has not ended as a zombie that nobody has asked for yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed_and_the_next_engine_removes_its_files(shared_memory, tmp_path):
    script, marks = tmp_path / "killed.py", [tmp_path / name for name in ("sleeps", "computes", "idle")]
    script.write_text(KILLED)
    ended = subprocess.run(
        [sys.executable, script, shared_memory, *marks], timeout=120, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    assert ended.returncode == -signal.SIGKILL
    workers, deadline_s = [int(mark.read_text()) for mark in marks], time.monotonic() + 60
    assert len(set(workers)) == 3
    while any(map(alive, workers)) and time.monotonic() < deadline_s:
        time.sleep(0.01)
    assert [alive(worker) for worker in workers] == [False] * 3
    assert files(shared_memory) == [800_000]
    ProcessEngine(1, threads=1).close()
    assert list(shared_memory.iterdir()) == []

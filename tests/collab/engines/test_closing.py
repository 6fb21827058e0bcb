"""An engine that is closed leaves nothing behind: no task, no process."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

from tests.collab.engines import tasks
from tests.collab.engines.test_engines import make


@pytest.mark.parametrize("name", ["processes", pytest.param("ray", marks=pytest.mark.slow)])
def test_closing_ends_what_runs_and_cancels_what_waits(name, tmp_path):
    mark = tmp_path / "mark"
    with make(name) as engine:
        running = [engine.submit(tasks.for_ever, str(mark)) for _ in range(2)]
        waiting = engine.submit(tasks.process_and, 1)
        while not (mark.exists() and mark.read_text()):
            time.sleep(0.01)
    worker = Path(f"/proc/{mark.read_text()}")
    assert waiting.cancelled()
    for future in running:
        with pytest.raises(CancelledError):
            future.result(timeout=60)
    deadline_s = time.monotonic() + 60
    while worker.exists() and time.monotonic() < deadline_s:  # Ray's end by themselves, a moment later
        time.sleep(0.01)
    assert not worker.exists()
    engine.close()
    with pytest.raises(RuntimeError, match="process_and came after the engine was closed"):
        engine.submit(tasks.process_and, 1)


def test_an_interrupt_comes_when_ray_has_started():
    from collab.engines.ray import _interrupts_deferred

    before, reached = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt), _interrupts_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append("the end")
    assert reached == ["the end"]
    assert signal.getsignal(signal.SIGINT) is before

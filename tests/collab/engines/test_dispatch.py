"""An engine that is closed while tasks come and go."""

from __future__ import annotations

import queue
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from collab.engines.dispatch import Dispatcher
from collab.engines.shipping import Store
from collab.engines.work import perform


class Worker:
    def perform(self, task):
        return perform(task.parcel.body, [], 1)

    def stop(self):
        pass

    def close(self):
        pass


class Threads(Dispatcher):
    def __init__(self, workers):
        super().__init__(workers, Store(lambda data: data, lambda data: None))

    def _new_worker(self):
        return Worker()


@pytest.fixture
def _hasty():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty")
def test_closing_ends_whatever_the_workers_take_meanwhile():
    for _ in range(300):
        engine = Threads(4)
        futures = [engine.submit(divmod, 7, 2) for _ in range(12)]
        closing = threading.Thread(target=engine.close, daemon=True)
        closing.start()
        closing.join(30)
        assert not closing.is_alive()
        assert all(future.done() for future in futures)


class Late(queue.SimpleQueue):
    """Lets somebody close the engine just before a task is put."""

    def __init__(self, engine):
        super().__init__()
        self.closing = threading.Thread(target=engine.close, daemon=True)

    def put(self, task, *args):
        if task is not None:
            self.closing.start()
            self.closing.join(0.1)
        super().put(task, *args)


def test_a_task_that_comes_while_the_engine_is_closed_does_not_wait_for_ever():
    engine = Threads(1)
    engine._queue = late = Late(engine)
    future = engine.submit(divmod, 7, 2)
    late.closing.join(30)
    assert not late.closing.is_alive()
    try:
        assert future.result(timeout=30).value == (3, 1)  # a worker was faster
    except CancelledError:
        assert engine._closed

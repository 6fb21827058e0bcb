"""Where jobs run: threads beside a real event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest

from simnet import Computed, Job
from simnet.errors import SimnetError
from simnet.executors import ThreadExecutor


def test_threads_keep_the_loop_responsive_and_pass_errors_on():
    async def main():
        executor = ThreadExecutor()
        gate = threading.Event()

        def wait():
            assert threading.current_thread() is not threading.main_thread()
            assert gate.wait(30)
            return Computed("done", 7.0)

        waiting = asyncio.create_task(executor.run(Job("wait", wait)))
        await asyncio.sleep(0.01)
        gate.set()
        computed, wall_s = await waiting
        assert (computed.value, computed.operations) == ("done", 7.0)
        assert wall_s > 0
        with pytest.raises(ZeroDivisionError):
            await executor.run(Job("fail", lambda: Computed(1 / 0, 0)))
        executor.close()
        with pytest.raises(SimnetError, match="closed"):
            await executor.run(Job("late", lambda: Computed(None, 0)))

    asyncio.run(main())


def test_an_idle_thread_is_used_again_and_a_busy_one_is_left_behind():
    def here():
        return Computed(threading.get_ident(), 0)

    async def thread_of_a_new_executor(also_wait_for=None):
        executor = ThreadExecutor()
        computed, _ = await executor.run(Job("here", here))
        if also_wait_for is not None:
            abandoned = asyncio.create_task(executor.run(Job("wait", lambda: Computed(also_wait_for.wait(30), 0))))
            await asyncio.sleep(0.01)
            abandoned.cancel()
        executor.close()
        return computed.value

    async def main():
        gate = threading.Event()
        first, second = await thread_of_a_new_executor(), await thread_of_a_new_executor(gate)
        third = await thread_of_a_new_executor()
        gate.set()
        return first, second, third

    first, second, third = asyncio.run(main())
    assert first == second != third

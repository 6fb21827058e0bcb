from __future__ import annotations

import asyncio
import threading

import pytest

from simnet import DEVICES, Computed, Device, Fixed, Job, Measured, Modelled, job
from simnet.devices import ThreadExecutor
from simnet.errors import SimnetError

SLOW = Device("slow", 1e6, "a test")


def test_timing_rules():
    assert Modelled().charge_s(SLOW, 5e6, 99.0) == 5.0
    assert Measured(2.0).charge_s(SLOW, 5e6, 1.5) == 3.0
    assert Fixed(0.25).charge_s(SLOW, 5e6, 1.5) == 0.25


def test_profiles_say_where_their_rates_come_from():
    assert {"raspberry-pi-5", "jetson-orin-nano", "h200"} <= set(DEVICES)
    assert all(device.source and device.operations_per_s > 1e9 for device in DEVICES.values())


def test_computation_costs_virtual_time(make_network):
    network = make_network(devices={"client-0": SLOW})

    async def main():
        async def work():
            return await network.host("client-0").compute(job("add", sum, (1, 2), operations=3e6))

        return await network.host("client-0").start(work())

    assert network.run(main) == 3
    assert network.now() == 3.0
    (event,) = network.trace.of_kind("compute")
    assert (event.values["job"], event.values["start_us"], event.values["operations"]) == ("add", 0, 3_000_000)


def test_hosts_compute_side_by_side(make_network):
    network = make_network(devices={"client-0": SLOW, "client-1": SLOW})

    async def main():
        async def work(name):
            await network.host(name).compute(Job("idle", lambda: Computed(None, 2e6)))
            return network.now()

        return await asyncio.gather(*(network.host(name).start(work(name)) for name in ("client-0", "client-1")))

    assert network.run(main) == [2.0, 2.0]


def test_one_host_computes_one_job_after_another(make_network):
    network = make_network(devices={"client-0": SLOW})

    async def main():
        host = network.host("client-0")

        async def work():
            await host.compute(Job("idle", lambda: Computed(None, 2e6)))
            return network.now()

        return await asyncio.gather(host.start(work()), host.start(work()))

    assert network.run(main) == [2.0, 4.0]


def test_a_host_without_a_device_computes_in_no_time(make_network):
    network = make_network()

    async def main():
        await network.host("client-0").compute(Job("idle", lambda: Computed(None, 1e30)))

    network.run(main)
    assert network.now() == 0.0


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

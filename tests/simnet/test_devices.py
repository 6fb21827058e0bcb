from __future__ import annotations

import asyncio

from simnet import Computed, Device, Fixed, Job, Measured, Modelled, job

SLOW = Device("slow", 1e6, "a test")


def test_timing_rules():
    assert Modelled().charge_s(SLOW, 5e6, 99.0) == 5.0
    assert Measured(2.0).charge_s(SLOW, 5e6, 1.5) == 3.0
    assert Fixed(0.25).charge_s(SLOW, 5e6, 1.5) == 0.25


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

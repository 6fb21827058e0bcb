from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from simnet import LinkSpec, Message, Reply, Route, SimulatedNetwork, Tcp, star
from simnet.errors import DeadlockError, PortInUseError, SimnetError, TopologyError

both_worlds = pytest.mark.parametrize("world", ["simulated", "real"])


async def answer(request):
    return Reply(200, Message(b"yes"))


@both_worlds
def test_a_network_runs_once_and_returns_the_result(make_network, world):
    network = make_network(world=world)

    async def main():
        return 42

    assert network.run(main) == 42


def test_a_second_run_is_refused(make_network):
    network = make_network()

    async def main():
        return None

    network.run(main)
    with pytest.raises(SimnetError, match="a network runs once"):
        network.run(main)


@both_worlds
def test_errors_of_agents_come_out(make_network, world):
    network = make_network(world=world)

    async def main():
        async def agent():
            raise ValueError("agent trouble")

        await network.host("client-0").start(agent())

    with pytest.raises(ValueError, match="agent trouble"):
        network.run(main)


@both_worlds
def test_what_still_runs_is_cancelled_and_may_clean_up(make_network, world):
    network = make_network(world=world)
    cleaned = []

    async def main():
        async def agent():
            try:
                await asyncio.sleep(1e6)
            finally:
                cleaned.append(True)

        network.host("client-0").start(agent())
        await asyncio.sleep(0)

    network.run(main)
    assert cleaned == [True]


def test_a_deadlock_names_hosts_and_tasks(make_network):
    network = make_network()

    async def main():
        async def agent():
            await asyncio.Event().wait()

        await network.host("client-1").start(agent(), "wait for a sign")

    with pytest.raises(DeadlockError, match=r"client-1: wait for a sign \(on client-1\) .*Event\.wait"):
        network.run(main)


def test_unknown_hosts_are_refused(make_network):
    with pytest.raises(TopologyError, match='no host "clint-0"'):
        make_network().host("clint-0")


@both_worlds
def test_a_port_in_use_is_named(make_network, world):
    network = make_network(world=world)
    if world == "real":
        import socket

        blocker = socket.create_server(("127.0.0.1", 0))
        network._listen = blocker.getsockname()

    async def main():
        server = network.host("server")
        if world == "simulated":
            await server.start(server.serve([]))
        with pytest.raises(PortInUseError, match=r"cannot listen on .*, port"):
            await server.start(server.serve([]))

    network.run(main)
    if world == "real":
        blocker.close()


def test_hosts_know_their_tenant_and_time(make_network):
    network = make_network(tenants={"client-0": "a", "client-1": "b", "server": "c"})

    async def main():
        host = network.host("client-1")
        await asyncio.sleep(1.25)
        host.record("note", number=1)
        return host.tenant, host.now()

    assert network.run(main) == ("b", 1.25)
    assert network.trace.of_kind("note")[0].at_us == 1_250_000


def test_jitter_is_drawn_from_the_seed():
    def finish(seed):
        network = SimulatedNetwork(
            star(["c"], access=LinkSpec(1e6, 0.05, 0.05), server=LinkSpec(1e9, 0.01)), seed=seed, tcp=Tcp.plain()
        )

        async def main():
            server, client = network.host("server"), network.host("c")
            await server.start(server.serve([Route("GET", "/", answer)]))
            await client.start(client.request("server", "GET", "/"))
            return network.now()

        return network.run(main)

    assert finish(1) == finish(1)
    assert finish(1) != finish(2)
    assert 0.04 < finish(1) < 0.5


PROGRAM = """
import asyncio
from simnet import LinkSpec, Message, Reply, Route, SimulatedNetwork, star

async def answer(request):
    await asyncio.sleep(0.01 * len(request.message.body) % 0.07)
    return Reply(200, Message(b"x" * 5000))

names = [f"c{i}" for i in range(20)]
network = SimulatedNetwork(star(names, access=LinkSpec(5e6, 0.02, 0.01), server=LinkSpec(2e7, 0.01)), seed=3)

async def main():
    server = network.host("server")
    await server.start(server.serve([Route("PUT", "/", answer)]))
    async def ask(host, size):
        for _ in range(3):
            await host.request("server", "PUT", "/", Message(b"y" * size))
    await asyncio.gather(*(network.host(f"c{i}").start(ask(network.host(f"c{i}"), 1000 + 3777 * i)) for i in range(20)))

network.run(main)
print(network.trace.digest(), len(network.trace))
"""


def test_the_digest_does_not_depend_on_the_process():
    digests = {
        subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(digests) == 1
    assert int(digests.pop().split()[1]) > 100

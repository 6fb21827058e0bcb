"""Hosts that crash and restart. One way takes 20 ms."""

from __future__ import annotations

import asyncio

import pytest

from simnet import Message, Reply, Route, job
from simnet.devices import Fixed
from simnet.errors import FaultError, HostLostError, UnreachableError
from simnet.fault_kinds import HostCrash
from simnet.faults import Planned
from tests.simnet.test_streams import run

CARRIAGES = pytest.mark.parametrize("carriage", ["http", "sized"])


def crash(at_s, for_s, host="client-1"):
    return Planned(at_s, HostCrash(host), for_s)


def power_of(network):
    return [(event.at_s, event.host, event.values["what"]) for event in network.trace.of_kind("power")]


def test_a_program_that_is_booted_starts_anew_and_finds_its_disk(make_network):
    lives = []

    async def program(network):
        host = network.host("client-1")
        memory = []
        lives.append((network.now(), host.disk.keys(), memory))
        host.disk.write(f"life {len(lives)}", b"")
        memory.append("something")
        await asyncio.sleep(10)
        return network.now()

    async def client(network):
        network.faults.schedule([crash(4.0, 2.0), crash(7.0, 1.0)])
        return await network.host("client-1").boot(lambda: program(network))

    network = make_network()
    assert run(network, client) == 18.0
    assert [(when_s, keys) for when_s, keys, _ in lives] == [
        (0.0, []),
        (6.0, ["life 1"]),
        (8.0, ["life 1", "life 2"]),
    ]
    assert power_of(network) == [
        (4.0, "client-1", "crash"),
        (6.0, "client-1", "restart"),
        (7.0, "client-1", "crash"),
        (8.0, "client-1", "restart"),
    ]


def test_a_crash_ends_every_task_of_the_host_and_no_other(make_network):
    ended = []

    async def stubborn(name):
        try:
            await asyncio.sleep(100)
        finally:
            ended.append(name)
            await asyncio.sleep(1)  # there is no more time
            ended.append(f"{name} cleaned up")

    async def parent(network):
        async with asyncio.TaskGroup() as group:
            group.create_task(stubborn("child"))
            await asyncio.shield(asyncio.create_task(stubborn("shielded")))

    async def client(network):
        mine = network.host("client-1").start(parent(network))
        other = network.host("client-0").start(stubborn("other"))
        await asyncio.sleep(1)
        network.crash("client-1")
        await asyncio.sleep(0.5)
        assert mine.done()
        assert not other.done()
        assert sorted(ended) == ["child", "shielded"]
        other.cancel()

    run(make_network(), client)


def test_a_dying_task_reaches_neither_disk_nor_network(make_network):
    seen = []

    async def program(network):
        host = network.host("client-1")
        try:
            await asyncio.sleep(100)
        finally:
            with pytest.raises(OSError, match="switched off"):
                host.disk.write("last words", b"")
            await host.request("server", "GET", "/")
            seen.append("an answer")

    async def hello(request):
        seen.append(request.source)
        return Reply(200, Message(b"hello"))

    async def client(network):
        await network.host("server").serve([Route("GET", "/", hello)])
        network.faults.schedule([crash(1.0, 5.0)])
        network.host("client-1").start(program(network))
        await asyncio.sleep(300)
        assert network.host("client-1").disk.keys() == []

    run(make_network(), client)
    assert seen == []


def test_a_crash_ends_a_job(make_network):
    """3 s of 10 are lost; the job starts anew at 5 s."""

    async def program(network):
        await network.host("client-1").compute(job("think", int))
        return network.now()

    async def client(network):
        network.faults.schedule([crash(3.0, 2.0)])
        return await network.host("client-1").boot(lambda: program(network))

    network = make_network(timing=Fixed(10.0))
    assert run(network, client) == 15.0
    assert len(network.trace.of_kind("compute")) == 1


@CARRIAGES
def test_a_service_is_there_again_after_a_restart(make_network, carriage):
    """Off from 1 to 5 s. Asked at 2 s, its kernel answers the third attempt to connect, at 5 s: by then it serves."""

    async def hello(request):
        return Reply(200, Message(b"hello"))

    async def server(network):
        await network.host("server").serve([Route("GET", "/", hello)])
        await asyncio.Event().wait()

    async def client(network):
        network.host("server").boot(lambda: server(network))
        network.faults.schedule([crash(1.0, 4.0, "server")])
        host = network.host("client-1")
        await asyncio.sleep(0.1)
        before = await host.request("server", "GET", "/")
        await asyncio.sleep(2.0 - network.now())
        after = await host.request("server", "GET", "/")
        return before.message.body, after.message.body, network.now()

    before, after, when_s = run(make_network(carriage=carriage), client)
    assert (before, after) == (b"hello", b"hello")
    # The kept connection is dead: what is asked on it is answered by a reset once the server is up, or never.
    assert when_s > 5.0


@CARRIAGES
def test_an_asker_that_crashes_while_it_waits(make_network, carriage):
    """The service goes on and its answer is for nobody; after the restart it answers again."""
    answered = []

    async def slow(request):
        await asyncio.sleep(2)
        answered.append(request.source)
        return Reply(200, Message(b"hello"))

    async def program(network):
        reply = await network.host("client-1").request("server", "GET", "/")
        return reply.message.body, network.now()

    async def client(network):
        await network.host("server").serve([Route("GET", "/", slow)])
        network.faults.schedule([crash(1.0, 0.5)])
        return await network.host("client-1").boot(lambda: program(network))

    body, when_s = run(make_network(carriage=carriage), client)
    assert body == b"hello"
    assert when_s == pytest.approx(1.5 + 0.08 + 2.0, abs=1e-4)
    assert answered[-1] == "client-1"


def test_a_host_that_is_lost_for_good(make_network):
    async def program(network):
        await asyncio.sleep(100)

    async def client(network):
        network.faults.schedule([crash(3.0, None)])
        with pytest.raises(HostLostError, match="client-1 has crashed for good"):
            await network.host("client-1").boot(lambda: program(network))
        assert network.now() == 3.0
        with pytest.raises(HostLostError):
            await network.host("client-1").boot(lambda: program(network))
        with pytest.raises(UnreachableError, match="cannot reach client-1"):
            await network.host("server").request("client-1", "GET", "/")

    run(make_network(), client)


def test_what_a_booted_program_raises_and_returns_is_its_end(make_network):
    async def fail():
        raise RuntimeError("out of paper")

    async def succeed():
        return 7

    async def for_ever():
        await asyncio.Event().wait()

    async def client(network):
        host = network.host("client-1")
        assert await host.boot(succeed) == 7
        with pytest.raises(RuntimeError, match="out of paper"):
            await host.boot(fail)
        waiting = host.boot(for_ever)
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return [task.get_name() for task in asyncio.all_tasks() if "for_ever" in task.get_name()]

    assert run(make_network(), client) == []


def test_crashes_may_overlap(make_network):
    """Off from 1 to 4 by one fault, from 2 to 3 by another."""
    network = make_network()

    async def client(network):
        network.faults.schedule([crash(1.0, 3.0), crash(2.0, 1.0)])
        await asyncio.sleep(10)

    run(network, client)
    assert power_of(network) == [(1.0, "client-1", "crash"), (4.0, "client-1", "restart")]


def test_a_restart_at_the_very_moment_of_the_crash(make_network):
    lives = []

    async def program(network):
        lives.append(network.now())
        await asyncio.sleep(5)
        return network.now()

    async def client(network):
        booted = network.host("client-1").boot(lambda: program(network))
        await asyncio.sleep(1)
        network.crash("client-1")
        network.restart("client-1")
        return await booted

    assert run(make_network(), client) == 6.0
    assert lives == [0.0, 1.0]


def test_who_is_on_cannot_restart(make_network):
    with pytest.raises(FaultError, match="client-1 cannot restart: it is on"):
        make_network().restart("client-1")

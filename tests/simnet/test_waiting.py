from __future__ import annotations

import asyncio
import math
import re

import pytest
from aiohttp import ClientTimeout, web

from simnet import Reply, Route, waiting
from simnet.errors import DeadlockError
from simnet.loop import VirtualLoop


def stuck(run) -> list[str]:
    """The lines of the error that `run` ends with, without the numbers of source lines."""
    with pytest.raises(DeadlockError) as caught:
        run()
    return [re.sub(r"\(/\S*/(\w+\.py):\d+\)", r"(\1)", line.strip()) for line in str(caught.value).splitlines()]


@pytest.fixture
def alone():
    """Runs a coroutine on a loop without a network; gives the lines of the deadlock."""
    loop = VirtualLoop()

    def run(main):
        async def named():
            asyncio.current_task().set_name("main")
            await main()

        lines = stuck(lambda: loop.run_until_complete(named()))
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        return lines

    yield run
    loop.close()


async def fill(queue):
    for item in range(3):
        await queue.put(item)


async def join(queue):
    await queue.put(None)
    await queue.join()


async def lock_twice(lock):
    await lock.acquire()
    await lock.acquire()


async def condition(it):
    async with it:
        await it.wait()


async def within(awaitable):
    async with asyncio.timeout(math.inf):
        await awaitable


async def bare():
    await asyncio.get_running_loop().create_future()


async def gathered():
    await asyncio.gather(asyncio.sleep(1), within(asyncio.Event().wait()), bare())


async def grouped():
    async with asyncio.TaskGroup() as group:
        for number in range(7):
            group.create_task(bare(), name=f"member-{number}")


async def other():
    await asyncio.create_task(bare(), name="estragon")


async def first_of_two():
    tasks = [asyncio.create_task(asyncio.sleep(math.inf), name=name) for name in ("pozzo", "lucky")]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (lambda: within(asyncio.Event().wait()), "an Event to be set, at within (test_waiting.py) in Event.wait"),
        (lambda: lock_twice(asyncio.Lock()), "a Lock to be released, at lock_twice (test_waiting.py) in Lock.acquire"),
        (
            lambda: lock_twice(asyncio.BoundedSemaphore()),
            "a BoundedSemaphore to be released, at lock_twice (test_waiting.py) in Semaphore.acquire",
        ),
        (
            lambda: condition(asyncio.Condition()),
            "a Condition to be notified, at condition (test_waiting.py) in Condition.wait",
        ),
        (
            lambda: within(asyncio.Barrier(3).wait()),
            "a Barrier: 1 of 3 are there, at within (test_waiting.py) in Condition.wait",
        ),
        (
            lambda: within(asyncio.PriorityQueue().get()),
            "an item of an empty PriorityQueue, at within (test_waiting.py) in Queue.get",
        ),
        (lambda: fill(asyncio.Queue(2)), "room in a Queue full with 2, at fill (test_waiting.py) in Queue.put"),
        (
            lambda: join(asyncio.Queue()),
            "the end of 1 unfinished item(s) of a Queue, at join (test_waiting.py) in Event.wait",
        ),
        (lambda: within(asyncio.sleep(math.inf)), "a sleep without end, at within (test_waiting.py) in sleep"),
        (bare, "a future that nobody completes, at bare (test_waiting.py)"),
    ],
)
def test_one_task_says_what_it_awaits(alone, program, line):
    head, task = alone(program)
    assert head == "nothing will ever happen again after 0.000000 s, but 1 task(s) wait:"
    assert task == f"main (its host unknown) awaits {line}"


@pytest.mark.parametrize(
    ("program", "line"),
    [
        (other, "the task estragon, at other (test_waiting.py)"),
        (gathered, "the tasks task-3, task-4, at gathered (test_waiting.py)"),
        (first_of_two, "the tasks lucky, pozzo, at first_of_two (test_waiting.py) in _wait"),
        (
            grouped,
            "the tasks member-0, member-1, member-2, member-3, member-4 and 2 more, at grouped (test_waiting.py) "
            "in TaskGroup.__aexit__",
        ),
    ],
)
def test_tasks_are_awaited_by_name(alone, program, line):
    assert f"main (its host unknown) awaits {line}" in alone(program)


def test_pollers_say_what_they_do(alone):
    async def poll():
        while True:
            await asyncio.sleep(0)

    lines = alone(poll)
    assert lines[0].startswith("tasks poll with sleep(0) for what cannot happen any more; nothing will ever happen")
    assert lines[1] == (
        "main (its host unknown) awaits a sleep of no time, at "
        "test_pollers_say_what_they_do.<locals>.poll (test_waiting.py) in __sleep0"
    )


def test_connections_name_both_ends_direction_and_bytes(make_network):
    """The reader waits for an answer that never comes; the writer for a reader that reads nothing more."""
    network = make_network()
    held = []

    async def deaf(reader, writer):
        writer.transport.pause_reading()
        held.append(writer)

    async def listen():
        held.append(await asyncio.start_server(deaf, port=99))

    async def ask():
        reader, writer = await asyncio.open_connection("server", 99)
        writer.write(b"x" * 1000)
        await reader.read(1)

    async def tell():
        _, writer = await asyncio.open_connection("server", 99)
        writer.write(b"x" * 20_000_000)
        await writer.drain()

    async def main():
        await network.host("server").start(listen())
        await asyncio.gather(
            network.host("client-0").start(ask(), "ask"), network.host("client-1").start(tell(), "tell")
        )

    ours = [line for line in stuck(lambda: network.run(main)) if line.startswith("client")]
    assert ours == [
        "client-0: ask (on client-0) awaits data from server:99 on its connection client-0:49152 < server:99 "
        "(0 B on the way, 1000 B unread there), at "
        "test_connections_name_both_ends_direction_and_bytes.<locals>.ask (test_waiting.py) "
        "in StreamReader._wait_for_data",
        "client-1: tell (on client-1) awaits its connection client-1:49152 > server:99 to take what was written "
        "(3222784 B unsent, 20000000 B unread there), at "
        "test_connections_name_both_ends_direction_and_bytes.<locals>.tell (test_waiting.py) "
        "in FlowControlMixin._drain_helper",
    ]


def test_what_aiohttp_waits_for_is_a_connection(make_network):
    network = make_network(clients=1)

    async def never(request):
        await asyncio.Event().wait()

    async def serve():
        app = web.Application()
        app.router.add_get("/", never)
        await network.host("server").site(app)

    async def ask():
        async with network.host("client-0").session(timeout=ClientTimeout()) as session, session.get("http://server/"):
            pass

    async def main():
        await network.host("server").start(serve())
        await network.host("client-0").start(ask(), "ask")

    lines = stuck(lambda: network.run(main))
    (ours,) = [line for line in lines if line.startswith("client")]
    assert ours.startswith(
        "client-0: ask (on client-0) awaits data from server:80 on its connection client-0:49152 < server:80 "
        "(0 B on the way, 0 B unread there), at "
    )
    assert any("(on server) awaits an Event to be set, at " in line for line in lines)


@pytest.mark.parametrize("carriage", ["http", "sized"])
def test_a_request_waits_for_its_answer_at_the_place_of_the_agent(make_network, carriage):
    """Of the way through simnet only the end is told."""
    network = make_network(clients=1, carriage=carriage)

    async def never(request):
        await asyncio.Event().wait()

    async def ask():
        await network.host("client-0").request("server", "GET", "/")

    async def main():
        await network.host("server").serve([Route("GET", "/", never)])
        await network.host("client-0").start(ask(), "ask")

    lines = stuck(lambda: network.run(main))
    (ours,) = [line for line in lines if line.startswith("client")]
    inner = {"http": "DataQueue.read", "sized": "_AskersEnd.ask"}[carriage]
    assert ours == (
        "client-0: ask (on client-0) awaits data from server:8080 on its connection client-0:49152 < server:8080 "
        "(0 B on the way, 0 B unread there), at "
        "test_a_request_waits_for_its_answer_at_the_place_of_the_agent.<locals>.ask (test_waiting.py) "
        f"in {inner}"
    )
    assert any(
        "awaits an Event to be set, at " in line and "<locals>.never (test_waiting.py)" in line for line in lines
    )


def test_a_server_waits_for_a_body_that_never_comes(make_network):
    network = make_network(clients=1)

    held = []

    async def hello(request):
        return Reply(200)

    async def main():
        await network.host("server").serve([Route("POST", "/", hello)])
        await network.host("client-0").start(ask())

    async def ask():
        held.append(await asyncio.open_connection("server", 8080))
        held[0][1].write(b"POST / HTTP/1.1\r\nHost: server\r\nContent-Length: 3\r\n\r\n")
        await asyncio.sleep(math.inf)

    lines = stuck(lambda: network.run(main))
    assert any(
        line.endswith(
            "(on server) awaits data from client-0:49152 on its connection server:8080 < client-0:49152 "
            "(0 B on the way, 0 B unread there), at StreamReader._wait (streams.py)"
        )
        for line in lines
    ), lines


def test_a_failure_that_nobody_noticed_is_told(alone):
    failed = []

    async def fail():
        raise ZeroDivisionError("a bug")

    async def main():
        failed.append(asyncio.create_task(fail(), name="agent"))
        await bare()

    assert alone(main)[-1] == "agent (its host unknown) failed, unnoticed: ZeroDivisionError: a bug"
    failed[0].exception()


def test_a_crowd_is_cut_short(alone):
    async def main():
        await asyncio.gather(*(bare() for _ in range(2000)))

    lines = alone(main)
    assert len(lines) == 1002
    assert lines[0].endswith("but 2001 task(s) wait:")
    assert lines[-1] == "and 1001 more"


def test_a_sleep_that_will_end_says_how_long_it_is():
    loop = VirtualLoop()

    async def main():
        plain = asyncio.create_task(asyncio.sleep(2.5))
        giving = asyncio.create_task(asyncio.sleep(2.5, "result"))
        await asyncio.sleep(1)
        return [waiting.awaited(task, lambda _address: None) for task in (plain, giving)]

    assert loop.run_until_complete(main()) == ["a sleep of 2.5 s", "a sleep until 2.500000 s"]
    for task in loop.tasks_in_order():
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()

from __future__ import annotations

import asyncio
import math
import signal
import socket
import threading
import time

import pytest

from simnet.errors import DeadlockError, NotSimulatedError
from simnet.loop import VirtualLoop


@pytest.fixture
def loop():
    loop = VirtualLoop()
    yield loop
    loop.close()


def test_an_hour_takes_no_time(loop):
    started = time.perf_counter()
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() == 3600.0
    assert time.perf_counter() - started < 60


def test_the_clock_starts_at_zero_and_counts_microseconds(loop):
    async def main():
        moments = [loop.time()]
        for delay in (0.1, 0.2, 1e-7, 0):
            await asyncio.sleep(delay)
            moments.append(loop.time())
        return moments

    assert loop.run_until_complete(main()) == [0.0, 0.1, 0.3, 0.300001, 0.300001]


def test_sleepers_wake_in_order(loop):
    async def sleeper(name, delay, woke):
        await asyncio.sleep(delay)
        woke.append((name, loop.time()))

    async def main():
        woke = []
        await asyncio.gather(sleeper("b", 0.2, woke), sleeper("a", 0.1, woke), sleeper("c", 0.2, woke))
        return woke

    assert loop.run_until_complete(main()) == [("a", 0.1), ("b", 0.2), ("c", 0.2)]


def test_timeouts_fire_in_virtual_time(loop):
    async def main():
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(7.5):
                await asyncio.Event().wait()
        return loop.time()

    assert loop.run_until_complete(main()) == 7.5


def test_a_timeout_that_does_not_fire_leaves_no_trace(loop):
    async def main():
        async with asyncio.timeout(1e6):
            await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert loop.clock.idle()
    assert loop.time() == 1.0


def test_wait_for_queues_and_conditions_work(loop):
    async def main():
        queue: asyncio.Queue[int] = asyncio.Queue(maxsize=1)

        async def produce():
            for number in range(3):
                await asyncio.sleep(1)
                await queue.put(number)

        producer = asyncio.create_task(produce())
        got = [await asyncio.wait_for(queue.get(), 5) for _ in range(3)]
        await producer
        return got, loop.time()

    assert loop.run_until_complete(main()) == ([0, 1, 2], 3.0)


def test_simpy_and_asyncio_share_one_queue(loop):
    seen = []

    def process(clock):
        yield clock.timeout(1_500_000)
        seen.append(("simpy", clock.now_s))

    async def main():
        loop.clock.process(process(loop.clock))
        for _ in range(2):
            await asyncio.sleep(1)
            seen.append(("asyncio", loop.time()))

    loop.run_until_complete(main())
    assert seen == [("asyncio", 1.0), ("simpy", 1.5), ("asyncio", 2.0)]


def test_executor_work_runs_inline_and_takes_no_time(loop):
    async def main():
        results = [await asyncio.to_thread(sum, (1, 2)), await loop.run_in_executor(None, max, 1, 2)]
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return results, loop.time()

    assert loop.run_until_complete(main()) == ([3, 2], 0.0)


def test_a_deadlock_names_who_waits_for_what(loop):
    async def wait_for_godot(event):
        await event.wait()

    async def main():
        asyncio.current_task().set_name("vladimir")
        await asyncio.sleep(2)
        await wait_for_godot(asyncio.Event())

    with pytest.raises(DeadlockError, match=r"after 2\.000000 s.*\n.*vladimir.*Event\.wait") as caught:
        loop.run_until_complete(main())
    assert "1 task(s) wait" in str(caught.value)
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.run_until_complete(asyncio.sleep(0))


@pytest.mark.parametrize(
    "call",
    [
        lambda loop: loop.add_reader(0, print),
        lambda loop: loop.add_signal_handler(signal.SIGTERM, print),
        lambda loop: loop.create_datagram_endpoint(asyncio.DatagramProtocol),
        lambda loop: loop.create_unix_server(asyncio.Protocol, "/tmp/x"),
        lambda loop: loop.subprocess_exec(asyncio.SubprocessProtocol, "true"),
        lambda loop: loop.sendfile(None, None),
        lambda loop: loop.sock_recv(None, 1),
    ],
)
def test_what_cannot_be_simulated_says_so(loop, call):
    with pytest.raises(NotSimulatedError, match="has no meaning in virtual time"):
        call(loop)


def test_a_loop_without_a_network_says_so(loop):
    with pytest.raises(NotSimulatedError, match="no network behind it"):
        loop.run_until_complete(asyncio.open_connection("server", 80))


def test_tls_is_refused(loop):
    with pytest.raises(NotSimulatedError, match="TLS is not simulated"):
        loop.run_until_complete(loop.create_connection(asyncio.Protocol, "server", 443, ssl=True))


def test_numeric_addresses_need_no_network(loop):
    infos = loop.run_until_complete(loop.getaddrinfo("10.0.0.1", 80))
    assert infos == [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", ("10.0.0.1", 80))]
    with pytest.raises(socket.gaierror):
        loop.run_until_complete(loop.getaddrinfo("::1", 80, family=socket.AF_INET6))


def test_an_interrupt_passes_through(loop):
    async def main():
        await asyncio.sleep(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop.run_until_complete(main())


def test_sleeping_for_ever_is_allowed(loop):
    async def main():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(math.inf), 5)
        async with asyncio.timeout(math.inf):
            await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert loop.time() == 6


def test_polling_lets_time_go_on(loop):
    async def main():
        happened = []
        loop.call_later(0.001, happened.append, True)
        while not happened:
            await asyncio.sleep(0)

    loop.run_until_complete(main())
    assert loop.time() == 0.001


def test_polling_for_what_cannot_happen_is_a_deadlock(loop):
    async def main():
        while True:
            await asyncio.sleep(0)

    with pytest.raises(DeadlockError, match="poll"):
        loop.run_until_complete(main())


def test_threads_may_not_call_in(loop):
    async def main():
        def elsewhere():
            loop.call_soon_threadsafe(print)

        with pytest.raises(NotSimulatedError, match="race"):
            await asyncio.to_thread(elsewhere)
        errors = []

        def call():
            try:
                loop.call_soon_threadsafe(print)
            except NotSimulatedError as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        assert len(errors) == 1

    loop.run_until_complete(main())


def test_tasks_are_numbered_and_ended_in_the_order_they_were_made():
    def names():
        loop = VirtualLoop()

        async def main():
            for _ in range(12):
                task = loop.create_task(asyncio.sleep(1))
            await task
            return [each.get_name() for each in loop.tasks_in_order()]

        made = loop.run_until_complete(main())
        loop.close()
        return made

    assert names() == names() == ["task-1"]


def test_a_deadlock_tells_of_failures_that_nobody_noticed(loop):
    async def fail():
        raise ZeroDivisionError("a bug")

    async def main():
        loop.failed = loop.create_task(fail(), name="agent")
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"agent \(its host unknown\) failed, unnoticed: ZeroDivisionError: a bug"):
        loop.run_until_complete(main())
    loop.failed.exception()


def test_a_cancelled_sleep_does_not_hold_the_clock(loop):
    async def main():
        sleepers = [asyncio.create_task(asyncio.sleep(1e6)) for _ in range(1000)]
        await asyncio.sleep(1)
        for sleeper in sleepers:
            sleeper.cancel()
        await asyncio.gather(*sleepers, return_exceptions=True)
        assert len(loop.clock._queue) < 1000  # most are swept out at once
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert loop.clock.idle()
    assert loop.time() == 2.0


def test_a_cancelled_sleep_is_nothing_to_wait_for(loop):
    """Although a schedule in the background goes on for ever."""

    def again():
        loop.clock.call_at(loop.clock.now_s + 1, again, background=True)

    async def main():
        again()
        sleeper = asyncio.create_task(asyncio.sleep(1e6))
        await asyncio.sleep(5.5)
        sleeper.cancel()
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"after 5\.500000 s"):
        loop.run_until_complete(main())


def test_equal_times_keep_their_order_whoever_waits(loop):
    """Sleeps, timers and SimPy processes of one moment happen in the order in which they were asked for."""
    seen = []

    def process():
        yield loop.clock.timeout(0)  # the process itself begins in the next step
        seen.append("simpy")

    async def sleeper(name):
        await asyncio.sleep(1)
        seen.append(name)

    async def main():
        first = asyncio.create_task(sleeper("sleep 1"))
        await asyncio.sleep(0)
        loop.call_at(1.0, seen.append, "timer")
        loop.clock.call_at(1.0, lambda: loop.clock.process(process()))
        loop.clock.call_at(1.0, lambda: seen.append("late"), late=True)
        second = asyncio.create_task(sleeper("sleep 2"))
        await asyncio.gather(first, second)
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert seen == ["sleep 1", "timer", "sleep 2", "simpy", "late"]


def test_a_sleep_returns_what_it_was_given(loop):
    async def main():
        return await asyncio.sleep(1, "result"), await asyncio.wait_for(asyncio.sleep(1e-9, "soon"), 1)

    assert loop.run_until_complete(main()) == ("result", "soon")
    assert loop.time() == 1.000001


def test_stopping_leaves_the_rest_for_later(loop):
    seen = []
    loop.call_soon(loop.stop)
    loop.call_soon(seen.append, "the same turn")
    loop.call_soon(loop.call_soon, seen.append, "the next turn")
    loop.run_forever()
    assert seen == ["the same turn"]
    loop.call_later(1, loop.stop)
    loop.run_forever()
    assert seen == ["the same turn", "the next turn"]
    assert loop.time() == 1.0


def test_a_failing_callback_is_reported_and_the_loop_goes_on(loop):
    reported = []
    loop.set_exception_handler(lambda _loop, context: reported.append(repr(context["exception"])))

    async def main():
        sleeping = loop.create_future()
        sleeping.add_done_callback(lambda _future: 1 / 0)
        loop.call_later(1, asyncio.futures._set_result_unless_cancelled, sleeping, None)
        loop.call_soon(lambda: 1 / 0)
        await sleeping
        await asyncio.sleep(1)

    loop.run_until_complete(main())
    assert reported == ["ZeroDivisionError('division by zero')"] * 2
    assert loop.time() == 2.0


def test_debug_mode_can_be_switched(loop):
    async def main():
        before = loop.get_debug()
        loop.set_debug(True)
        await asyncio.sleep(1)
        return before, loop.get_debug()

    assert loop.run_until_complete(main()) == (asyncio.coroutines._is_debug_mode(), True)

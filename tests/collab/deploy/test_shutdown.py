"""SIGTERM: what is under way ends, for a while; then the program stops, and a second one ends it at once."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from collab.deploy.shutdown import Shutdown, Terminated, terminate
from collab.deploy.store import Store
from collab.errors import StoppedError


@pytest.fixture(autouse=True)
def as_in_the_command():
    before = signal.signal(signal.SIGTERM, terminate)
    yield
    assert signal.getsignal(signal.SIGTERM) is terminate  # whatever was heeded, it is as it was
    signal.signal(signal.SIGTERM, before)


def sigterm():
    os.kill(os.getpid(), signal.SIGTERM)


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


async def for_ever():
    await asyncio.Event().wait()


def test_without_a_signal_the_result_is_the_programs():
    async def program():
        await asyncio.sleep(0)
        return 7

    async def main():
        return await Shutdown().end_or_stop(asyncio.create_task(program()), "stopped")

    assert run(main()) == 7


def test_the_programs_own_error_is_raised():
    async def program():
        raise KeyError("mine")

    async def main():
        await Shutdown().end_or_stop(asyncio.create_task(program()), "stopped")

    with pytest.raises(KeyError, match="mine"):
        run(main())


def test_it_stops_once_what_is_held_has_ended_and_cancels_the_rest():
    asked, order = [], []

    async def main():
        shutdown = Shutdown(on_asked=lambda: asked.append(True))

        async def program():
            try:
                with shutdown.held():
                    sigterm()
                    await asyncio.sleep(0.05)
                    order.append(("held", bool(asked)))
                await for_ever()
            finally:
                order.append("cancelled")

        running = asyncio.create_task(program())
        try:
            await shutdown.end_or_stop(running, "stopped; go on later")
        finally:
            order.append(running.cancelled())

    with pytest.raises(StoppedError, match="stopped; go on later"):
        run(main())
    assert order == [("held", True), "cancelled", True]


def test_what_does_not_end_has_its_time_and_no_more():
    async def main():
        asyncio.get_running_loop().call_later(0.01, sigterm)
        began_s = asyncio.get_running_loop().time()
        with pytest.raises(StoppedError):
            await Shutdown(grace_s=0.1).end_or_stop(asyncio.create_task(for_ever()), "stopped", for_ever)
        return asyncio.get_running_loop().time() - began_s

    assert 0.1 <= run(main()) < 10


def test_a_result_that_comes_meanwhile_counts():
    async def main():
        done = asyncio.get_running_loop().create_future()

        async def leave():
            done.set_result("whole")
            await for_ever()

        asyncio.get_running_loop().call_later(0.01, sigterm)
        return await Shutdown().end_or_stop(done, "stopped", leave)

    assert run(main()) == "whole"


def test_the_second_signal_ends_it_where_it_stands():
    async def main():
        loop = asyncio.get_running_loop()
        loop.call_later(0.01, sigterm)
        loop.call_later(0.05, sigterm)
        await Shutdown().end_or_stop(asyncio.create_task(for_ever()), "stopped", for_ever)

    with pytest.raises(Terminated):
        run(main())


@pytest.mark.parametrize(("error", "is_there"), [(StoppedError, True), (Terminated, True), (KeyboardInterrupt, False)])
def test_a_store_without_uploads_outlives_a_stop_and_nothing_else(tmp_path, error, is_there):
    def begun():
        with Store(tmp_path / "store", {"scenario": "a"}) as store:
            store.claim("client-0")
            raise error

    with pytest.raises(error):
        begun()
    assert (tmp_path / "store").exists() == is_there
    if is_there:
        with Store(tmp_path / "store", {"scenario": "a"}) as again:
            assert list(again.claimed()) == ["client-0"]

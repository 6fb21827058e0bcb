from __future__ import annotations

import asyncio
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet import (
    CapacitySchedule,
    CapacityStep,
    Link,
    LinkSpec,
    Route,
    SimulatedNetwork,
    Tcp,
    capacities,
    explicit,
    star,
)
from simnet.errors import DeadlockError
from simnet.services import Reply
from simnet.tenancy import Message
from simnet.topology import Host, Topology

FAST = LinkSpec(1e9, 0.0)
PLAIN = Tcp.plain()


def schedule(*steps, every=None):
    return CapacitySchedule(tuple(CapacityStep(*step) for step in steps), every)


def network(link, **options):
    """Two hosts joined by one link, sender first."""
    return SimulatedNetwork(explicit([link], hosts=["a", "b"]), tcp=PLAIN, **options)


def sending(net, size_bytes):
    """Virtual seconds at which that many bytes, sent at 0 over a bare connection, have arrived at b."""
    arrived_s: list[float] = []

    async def main():
        flow = net.flows.open(net.topology.path("a", "b"), 0.0, lambda: 0.0)
        done = asyncio.get_running_loop().create_future()
        flow.send(size_bytes, lambda: None, lambda: done.set_result(None))
        await done
        arrived_s.append(net.now())

    net.run(main)
    return arrived_s[0]


@pytest.mark.parametrize(
    ("steps", "every", "arrival_s"),
    [
        # 8 Mbit/s is 1 MB/s. 4 MB: one second at 1, one at 2, the last megabyte at 4 MB/s.
        ([(1.0, 16e6), (2.0, 32e6)], None, 2.25),
        ([(0.0, 16e6)], None, 2.0),
        # Down from 1 to 5 s.
        ([(1.0, 0.0), (5.0, 8e6)], None, 8.0),
        # Seconds at 1, nothing, 1, nothing, ...: the fourth megabyte goes from 6 to 7.
        ([(0.0, 8e6), (1.0, 0.0)], 2.0, 7.0),
        # The link's own capacity holds until the first step of the first round only.
        ([(1.0, 16e6)], 1.5, 2.5),
    ],
)
def test_a_transfer_takes_what_the_schedule_gives(steps, every, arrival_s):
    link = Link("a", "b", 8e6, 0.0, schedule=schedule(*steps, every=every))
    assert sending(network(link), 4_000_000) == pytest.approx(arrival_s, abs=2e-6)


def when_done_s(followed, own_bps, size_bytes):
    """The moment at which the capacity, added up over time, is what is to be sent."""
    left_bits, at_s, bps = 8.0 * size_bytes, 0.0, own_bps
    for step in followed.changes():
        if bps > 0 and left_bits <= bps * (step.at_s - at_s):
            break
        left_bits -= bps * (step.at_s - at_s)
        at_s, bps = step.at_s, step.bandwidth_bps
    return at_s + left_bits / bps


@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.sampled_from([0.0, 1e6, 8e6, 33e6])), min_size=1, max_size=8),
    st.integers(1, 4_000_000),
)
def test_no_bit_is_lost_or_made_up_by_a_schedule(gaps, size_bytes):
    """Steps at whole centiseconds, the last of which leaves the link open or starts the schedule over."""
    times = list(accumulate(gap for gap, _ in gaps))
    steps = [(at / 100, bps) for at, (_, bps) in zip(times, gaps, strict=True)]
    every = (times[-1] + 50) / 100 if any(bps for _, bps in steps) else None
    followed = schedule(*steps, (times[-1] / 100 + 0.25, 8e6), every=every)
    arrival_s = sending(network(Link("a", "b", 5e6, 0.0, schedule=followed)), size_bytes)
    # A clock of microseconds rounds each step up, the end, too.
    assert arrival_s == pytest.approx(when_done_s(followed, 5e6, size_bytes), rel=1e-9, abs=2e-5)


def test_the_way_back_follows_its_own_schedule():
    link = Link("b", "a", 8e6, 0.0, schedule=schedule((0.5, 1.0)), reverse_schedule=schedule((1.0, 16e6)))
    assert sending(network(link), 3_000_000) == pytest.approx(2.0, abs=2e-6)


def test_the_capacity_of_a_host_bounds_what_all_its_links_carry():
    """Two transfers out of a host with 8 Mbit/s in all, each over a link of 8 Mbit/s."""
    links = [Link("a", "b", 8e6, 0.0), Link("a", "c", 8e6, 0.0)]
    hosts = (Host("a", uplink_bps=8e6), Host("b"), Host("c"))
    net = SimulatedNetwork(Topology(hosts, tuple(links)), tcp=PLAIN)
    arrived_s = []

    async def main():
        done = asyncio.get_running_loop().create_future()
        for peer in ("b", "c"):
            flow = net.flows.open(net.topology.path("a", peer), 0.0, lambda: 0.0)
            flow.send(1_000_000, lambda: None, lambda: arrived_s.append(net.now()))
        net.clock.call_at(3.0, lambda: done.set_result(None))
        await done

    net.run(main)
    assert arrived_s == [2.0, 2.0]


def test_a_schedule_that_repeats_does_not_keep_a_deadlocked_run_alive():
    net = network(Link("a", "b", 8e6, 0.0, schedule=schedule((0.5, 1e6), every=1.0)))

    async def main():
        await asyncio.sleep(10)
        await asyncio.get_running_loop().create_future()

    with pytest.raises(DeadlockError):
        net.run(main)
    assert net.now() == 10.0


def test_a_run_whose_link_never_comes_up_again_is_deadlocked():
    """Although another link goes on following its schedule."""
    links = [
        Link("a", "x", 8e6, 0.0, schedule=schedule((1.0, 0.0))),
        Link("x", "b", 8e6, 0.0, schedule=schedule((0.0, 0.0), (0.5, 8e6), every=1.0)),
    ]
    net = SimulatedNetwork(explicit(links, hosts=["a", "b"]), tcp=PLAIN)
    with pytest.raises(DeadlockError):
        sending(net, 10_000_000)
    assert net.now() < 3.0


def test_links_that_are_never_open_together_end_in_a_deadlock_at_last(monkeypatch):
    """Each comes up again and again, but a transfer over both never moves."""
    monkeypatch.setattr(capacities, "PATIENCE", 1000)
    links = [
        Link("a", "x", 8e6, 0.0, schedule=schedule((0.0, 0.0), (0.5, 8e6), every=1.0)),
        Link("x", "b", 8e6, 0.0, schedule=schedule((0.0, 8e6), (0.5, 0.0), every=1.0)),
    ]
    net = SimulatedNetwork(explicit(links, hosts=["a", "b"]), tcp=PLAIN)
    with pytest.raises(DeadlockError):
        sending(net, 1_000_000)
    assert net.now() == pytest.approx(500, abs=1)  # nothing moves at either of two moments a second


def test_a_step_at_the_moment_at_which_all_else_ends_is_still_awaited():
    """The alarm of the step stands in the queue behind one of the same microsecond."""
    net = network(Link("a", "b", 8e6, 0.0, schedule=schedule((0.5, 0.0), (3.0, 8e6))))

    async def main():
        flow = net.flows.open(net.topology.path("a", "b"), 0.0, lambda: 0.0)
        done = asyncio.get_running_loop().create_future()
        flow.send(1_000_000, lambda: None, lambda: done.set_result(None))
        await asyncio.sleep(3.0)
        await done
        assert net.now() == 3.5

    net.run(main)


def test_requests_outlive_a_link_that_is_down_for_a_while():
    """Through aiohttp: the body waits while the link carries nothing, and the answer comes when it is up again."""
    access = LinkSpec(8e6, 0.01, schedule=schedule((1.0, 0.0), (31.0, 8e6)))
    net = SimulatedNetwork(star(["client"], access=access, server=FAST), tcp=PLAIN)

    async def take(request):
        return Reply(message=request.message)

    async def ask(host):
        return await host.request("server", "POST", "/", Message(bytes(2_000_000)))

    async def main():
        await net.host("server").serve([Route("POST", "/", take)])
        reply = await net.host("client").start(ask(net.host("client")))
        return reply.status, net.now()

    status, at_s = net.run(main)
    assert status == 200
    assert 32.0 < at_s < 36.0

"""Exact virtual times of flows; each test states the sum."""

from __future__ import annotations

import json
from pathlib import Path as FilePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet.sharing import max_min
from simnet.tcp import Tcp, transfer_time_s
from tests.simnet.benches import Bench

REFERENCE = json.loads((FilePath(__file__).parents[1] / "reference" / "single_flows.json").read_text())["cases"]


def test_one_flow_alone():
    bench = Bench([8e6], Tcp.plain())
    bench.send(bench.flow([0], latency_s=0.05), "a", 1_000_000)
    assert bench.run() == {"a": 1.05}
    assert bench.sent == {"a": 1.0}


def test_a_second_flow_halves_the_rate_while_it_lasts():
    # 1 MB/s. a alone for 1 s (1 MB of 3 MB); both at 0.5 MB/s until b's 1 MB is sent at 3 s; a has 1 MB left: 4 s.
    bench = Bench([8e6], Tcp.plain())
    bench.send(bench.flow([0]), "a", 3_000_000)
    bench.send(bench.flow([0]), "b", 1_000_000, at_s=1.0)
    assert bench.run() == {"b": 3.0, "a": 4.0}


def test_pieces_arrive_in_order_and_on_time():
    bench = Bench([8e6], Tcp.plain())
    flow = bench.flow([0], latency_s=0.01)
    for index in range(4):
        bench.send(flow, f"piece {index}", 250_000)
    assert bench.run() == {"piece 0": 0.26, "piece 1": 0.51, "piece 2": 0.76, "piece 3": 1.01}


def test_latency_is_a_pipe_not_a_queue():
    # Ten messages of 1 kB at 1 MB/s with 1 s of latency: the last arrives at 10 ms + 1 s, not after 10 s.
    bench = Bench([8e6], Tcp.plain())
    flow = bench.flow([0], latency_s=1.0)
    for index in range(10):
        bench.send(flow, str(index), 1000)
    assert bench.run()["9"] == 1.01


def test_a_message_of_nothing_keeps_its_place():
    bench = Bench([8e6], Tcp.plain())
    flow = bench.flow([0], latency_s=0.5)
    bench.send(flow, "data", 1_000_000)
    bench.send(flow, "end", 0)
    bench.run()
    assert list(bench.arrived) == ["data", "end"]
    assert bench.arrived == {"data": 1.5, "end": 1.5}


def test_headers_slow_the_payload():
    bench = Bench([8e6], Tcp(slow_start=False))
    bench.send(bench.flow([0]), "a", 1_448_000)
    assert bench.run() == {"a": 1.502}


@pytest.mark.parametrize("name", REFERENCE)
def test_a_lone_flow_takes_what_the_closed_form_says_and_what_linux_takes(name):
    case = REFERENCE[name]
    latency_s = sum(link["latency_s"] for link in case["links"])
    expected_s = transfer_time_s(case["bytes"], min(link["bandwidth_bps"] for link in case["links"]), latency_s, Tcp())
    latency_s += Tcp().host_delay_s  # the hosts' delay is the connection's business, as is the handshake
    bench = Bench([link["bandwidth_bps"] for link in case["links"]], Tcp())
    flow = bench.flow(range(len(case["links"])), latency_s, 2 * latency_s)
    bench.send(flow, "all", case["bytes"], at_s=2 * latency_s)
    assert bench.run()["all"] == pytest.approx(expected_s, abs=1e-5)
    assert expected_s == pytest.approx(case["linux_s"], rel=0.02)


def test_an_idle_connection_starts_slowly_again():
    # 10 Mbit/s, round trip 100 ms: 14,480 B leave at once, more must wait. After 10 s of rest the window is
    # small again.
    tcp = Tcp(wire_bytes_per_segment=1448)
    bench = Bench([10e6], tcp)
    flow = bench.flow([0], 0.05, 0.1)
    bench.send(flow, "first", 100_000)
    bench.send(flow, "soon", 14_481, at_s=0.35)
    bench.send(flow, "later", 14_481, at_s=10.0)
    bench.run()
    assert bench.sent["soon"] == pytest.approx(0.35 + 14_481 * 8e-7, abs=2e-6)
    assert bench.sent["later"] == pytest.approx(10.1 + 8e-7, abs=2e-6)


@pytest.mark.parametrize("early_s", [0.0015, 0.0011, 0.0005])
def test_an_early_byte_does_not_open_the_window(early_s):
    # 100 Mbit/s, round trip 100 ms: 1 MB needs six rounds. One byte shortly before changes next to nothing.
    tcp = Tcp(wire_bytes_per_segment=1448)

    def last(bench, flow, at_s):
        bench.send(flow, "all", 1_000_000, at_s=at_s)
        return bench.run()["all"] - at_s

    fresh_bench = Bench([100e6], tcp)
    fresh_s = last(fresh_bench, fresh_bench.flow([0], 0.05, 0.1), 0.0)
    bench = Bench([100e6], tcp)
    flow = bench.flow([0], 0.05, 0.1)
    bench.send(flow, "byte", 1)
    assert last(bench, flow, 0.1 - early_s) == pytest.approx(fresh_s, rel=0.02)


def test_dropped_bytes_never_arrive_and_free_the_link():
    bench = Bench([8e6], Tcp.plain())
    doomed = bench.flow([0])
    bench.send(doomed, "doomed", 10_000_000)
    bench.send(bench.flow([0]), "other", 1_500_000)
    bench.clock.call_at(1.0, doomed.drop)  # both had 0.5 MB/s; the other has 1 MB left
    assert bench.run() == {"other": 2.0}


def test_a_flow_within_a_host_takes_no_time():
    bench = Bench([8e6], Tcp())
    bench.send(bench.flow([]), "a", 10**9)
    assert bench.run() == {"a": 0.0}


def test_jitter_never_reorders_a_connection():
    draws = np.random.default_rng(0)
    bench = Bench([8e6], Tcp.plain())
    flow = bench.flow([0], latency_s=0.1, jitter=lambda: draws.uniform(-0.1, 0.1))
    for index in range(50):
        bench.send(flow, str(index), 100)
    arrived = bench.run()
    assert list(arrived) == [str(index) for index in range(50)]
    assert list(arrived.values()) == sorted(arrived.values())


transfers = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        st.integers(1, 3_000_000),
        st.floats(0, 5),
        st.floats(0, 0.2),
    ),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(transfers, st.booleans())
def test_bytes_are_conserved_and_nobody_starves(plan, slow_start):
    tcp = Tcp(slow_start=slow_start)
    capacities = [5e6, 10e6, 20e6, 40e6]
    bench = Bench(capacities, tcp)
    expected = np.zeros(4)
    for index, (links, size, at_s, latency_s) in enumerate(plan):
        bench.send(bench.flow(links, latency_s, 2 * latency_s), str(index), size, at_s)
        expected[links] += size
    arrived = bench.run()
    assert len(arrived) == len(plan)
    assert bench.flows.carried_bytes == pytest.approx(expected, abs=1e-3 * len(plan))
    for index, (links, size, at_s, latency_s) in enumerate(plan):
        fastest_s = size * 8 * tcp.header_factor / min(capacities[link] for link in links) + latency_s
        assert arrived[str(index)] >= at_s + fastest_s - 2e-6
    steps = {event.host: event.values["wire_bps"] for event in bench.trace.of_kind("link") if len(event.values) == 1}
    assert set(steps.values()) <= {0.0}  # every link is at rest in the end


def fluid(plan, capacities):
    """The plain fluid model, flow by flow: when each of (links, size, at_s) is sent. Independent of `Flows`."""
    capacity = np.array(capacities) / 8
    left = np.array([float(size) for _, size, _ in plan])
    done = np.full(len(plan), np.nan)
    now_s = 0.0
    while np.isnan(done).any():
        active = [i for i, (_, _, at_s) in enumerate(plan) if at_s <= now_s and np.isnan(done[i])]
        starts = [at_s for _, _, at_s in plan if at_s > now_s]
        paths = [plan[i][0] for i in active]
        start = np.concatenate(([0], np.cumsum([len(path) for path in paths]))).astype(np.int64)
        rates = max_min(capacity, start, np.array([link for path in paths for link in path], dtype=np.int64))
        wait_s = min([*(left[active] / rates), *(at_s - now_s for at_s in starts)])
        left[active] -= rates * wait_s
        now_s += wait_s
        for i in active:
            if left[i] <= 1e-6:
                done[i] = now_s
    return done


@settings(max_examples=60, deadline=None)
@given(transfers)
def test_flows_in_groups_end_as_if_each_were_solved_by_itself(plan):
    capacities = [5e6, 10e6, 20e6, 40e6]
    plan = [(links, size, round(at_s, 3)) for links, size, at_s, _ in plan]
    bench = Bench(capacities, Tcp.plain())
    for index, (links, size, at_s) in enumerate(plan):
        bench.send(bench.flow(links), str(index), size, at_s)
    arrived = bench.run()
    assert [arrived[str(i)] for i in range(len(plan))] == pytest.approx(fluid(plan, capacities), abs=2e-6 * len(plan))


def test_many_alike_are_one_group():
    bench = Bench([8e8, *[8e6] * 300], Tcp.plain())
    for index in range(300):
        bench.send(bench.flow([1 + index, 0]), str(index), 1_000_000 + 1000 * index)
    bench.clock.call_at(0.1, lambda: sizes.append(len(bench.flows._rates._groups)))
    sizes = []
    bench.run()
    assert sizes == [1]
    assert len(bench.trace) < 1000  # nor does the trace grow with the square


def test_links_that_a_flow_has_for_itself_are_recorded_as_its_mean():
    bench = Bench([8e6, 8e6], Tcp.plain())
    bench.send(bench.flow([0, 1]), "a", 1_000_000)
    bench.send(bench.flow([0]), "b", 500_000, at_s=0.5)
    bench.run()
    recorded = [(event.at_s, event.host, event.values) for event in bench.trace.of_kind("link")]
    assert recorded == [
        (0.5, "link 0", {"wire_bps": 8e6, "since_us": 0}),
        (0.5, "link 1", {"wire_bps": 8e6, "since_us": 0}),
        (0.5, "link 0", {"wire_bps": 8e6}),
        (1.5, "link 1", {"wire_bps": 4e6, "since_us": 500_000}),
        (1.5, "link 0", {"wire_bps": 0.0}),
    ]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2_000_000), st.floats(0, 3)), min_size=1, max_size=10), st.floats(1.0, 4.0))
def test_more_capacity_on_one_bottleneck_never_delays_the_last_arrival(plan, factor):
    def last(capacity):
        bench = Bench([capacity], Tcp.plain())
        for index, (size, at_s) in enumerate(plan):
            bench.send(bench.flow([0]), str(index), size, at_s)
        return max(bench.run().values())

    assert last(8e6 * factor) <= last(8e6) + 2e-6


def test_capacity_may_change_and_a_link_that_is_down_holds_what_crosses_it():
    # 1 MB/s for 1 s, 0.5 MB/s for 1 s, nothing for 3 s, then 2 MB/s: of 3 MB, 1.5 MB are left after 5 s.
    bench = Bench([8e6, 80e6], Tcp.plain())
    bench.send(bench.flow([0, 1]), "a", 3_000_000)
    for at_s, bandwidth_bps in [(1.0, 4e6), (2.0, 0.0), (5.0, 16e6)]:
        bench.clock.call_at(at_s, lambda bandwidth_bps=bandwidth_bps: bench.flows.set_capacity(0, bandwidth_bps))
    assert bench.run() == {"a": 5.75}


def test_capacity_of_a_shared_link_may_change():
    bench = Bench([8e6], Tcp.plain())
    bench.send(bench.flow([0]), "a", 1_000_000)
    bench.send(bench.flow([0]), "b", 1_000_000)
    bench.clock.call_at(1.0, lambda: bench.flows.set_capacity(0, 0.0))
    bench.clock.call_at(2.0, lambda: bench.flows.set_capacity(0, 8e6))
    assert bench.run() == {"a": 3.0, "b": 3.0}

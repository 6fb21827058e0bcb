"""Where windows decide: CoDel, losses, crowds that starve a flow, BBR, the receiver's window."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet.tcp import Tcp, transfer_time_s
from simnet.topology import LinkTraits
from tests.simnet.benches import Bench

TCP = Tcp(host_delay_s=0.0)
CODEL = LinkTraits(queue="fq_codel")


def alone(size, rate_bps, rtt_s, trait=LinkTraits(), **options):  # noqa: B008 (immutable)
    bench = Bench([rate_bps], TCP, [trait])
    bench.send(bench.flow([0], rtt_s / 2, rtt_s, **options), "all", size)
    return bench.run()["all"]


def test_a_droptail_queue_of_one_pipe_costs_a_lone_flow_nothing():
    closed_s = transfer_time_s(9_000_000, 10e6, 0.025, TCP) - 0.05  # without the handshake
    assert alone(9_000_000, 10e6, 0.05) == pytest.approx(closed_s, abs=1e-5)


def test_codel_costs_a_lone_flow_a_part_of_its_time_the_more_the_longer_the_path():
    for rtt_s, least, most in ((0.03, 1.005, 1.06), (0.05, 1.03, 1.15)):
        ratio = alone(4_500_000, 20e6, rtt_s, CODEL) / alone(4_500_000, 20e6, rtt_s)
        assert least < ratio < most


def test_short_messages_do_not_notice_codel():
    for size in (200, 10_000, 40_000):
        assert alone(size, 10e6, 0.05, CODEL) == pytest.approx(alone(size, 10e6, 0.05), rel=0.01)


def test_a_crowd_under_codel_shares_evenly_and_uses_the_link():
    bench = Bench([20e6], TCP, [CODEL], unfairness=0.5)
    for index in range(8):
        bench.send(bench.flow([0], 0.015, 0.03, luck=index - 4.0), str(index), 1_000_000)
    arrived = bench.run()
    full_s = 8_000_000 * 8 * TCP.header_factor / 20e6 / TCP.crowd_efficiency
    assert max(arrived.values()) == pytest.approx(full_s, rel=0.05)
    assert min(arrived.values()) > 0.95 * max(arrived.values())


def test_droptail_is_unfair_by_chance_and_by_round_trip_time():
    bench = Bench([20e6], TCP, unfairness=0.3)
    bench.send(bench.flow([0], 0.015, 0.03, luck=1.6), "lucky", 2_000_000)
    bench.send(bench.flow([0], 0.015, 0.03, luck=-1.6), "unlucky", 2_000_000)
    bench.send(bench.flow([0], 0.06, 0.12), "far", 2_000_000)
    arrived = bench.run()
    assert arrived["lucky"] < 0.8 * arrived["unlucky"]
    assert arrived["unlucky"] < arrived["far"]


def test_without_unfairness_droptail_shares_evenly():
    bench = Bench([20e6], TCP)
    for index, luck in enumerate((1.6, -1.6)):
        bench.send(bench.flow([0], 0.015, 0.03, luck=luck), str(index), 2_000_000)
    arrived = bench.run()
    assert arrived["0"] == pytest.approx(arrived["1"], abs=1e-3)


def test_who_meets_crowds_at_every_link_is_starved_and_recovers_slowly():
    # The parking lot: Linux, under droptail, needs 1.8 s for each short flow and 9 s for the long one.
    bench = Bench([50e6] * 3, TCP, unfairness=0.2)
    bench.send(bench.flow([0, 1, 2], 0.03, 0.06), "long", 10_000_000)
    for link in range(3):
        bench.send(bench.flow([link], 0.01, 0.02), f"short {link}", 10_000_000)
    arrived = bench.run()
    assert 1.6 < arrived["short 0"] < 2.0
    assert 7.0 < arrived["long"] < 10.5


@pytest.mark.parametrize(("congestion", "low", "high"), [("cubic", 3.0, 9.0), ("reno", 3.0, 9.0), ("bbr", 1.0, 1.1)])
def test_losses_slow_down_those_who_take_them_for_congestion(congestion, low, high):
    lossless_s = alone(4_500_000, 20e6, 0.05, congestion=congestion)
    times_s = [
        alone(
            4_500_000,
            20e6,
            0.05,
            LinkTraits(loss=0.01),
            congestion=congestion,
            uniform=np.random.default_rng(seed).random,
        )
        for seed in range(8)
    ]
    assert low < np.mean(times_s) / lossless_s < high


def test_a_lossy_flow_leaves_to_others_what_it_cannot_use():
    bench = Bench([20e6, 20e6, 20e6], TCP, [LinkTraits(), LinkTraits(loss=0.02), LinkTraits()])
    lossy = bench.flow([1, 0], 0.025, 0.05, uniform=np.random.default_rng(1).random)
    bench.send(lossy, "lossy", 3_000_000)
    bench.send(bench.flow([2, 0], 0.025, 0.05), "clean", 10_000_000)
    arrived = bench.run()
    alone_s = 10_000_000 * 8 * TCP.header_factor / 20e6
    assert alone_s < arrived["clean"] < 1.4 * alone_s
    assert arrived["lossy"] > arrived["clean"]


def test_a_burst_of_losses_begins_and_ends_while_a_flow_sends():
    bench = Bench([20e6], TCP)
    flow = bench.flow([0], 0.025, 0.05, uniform=np.random.default_rng(2).random)
    bench.send(flow, "all", 9_000_000)
    bench.clock.call_at(1.0, lambda: bench.flows.set_loss(0, 0.05))
    bench.clock.call_at(3.0, lambda: bench.flows.set_loss(0, 0.0))
    calm_s = alone(9_000_000, 20e6, 0.05)
    assert calm_s + 1.0 < bench.run()["all"] < calm_s + 6.0  # two bad seconds, and the way back


def test_bbr_paces_its_start():
    # A window of 10 segments, then 20 and 40 spread over a round trip each; the 70th segment comes after three rounds.
    last_s = alone(70 * 1448, 1e9, 0.05, congestion="bbr")
    assert last_s == pytest.approx(3 * 0.05 + 0.025, rel=0.02)


def test_the_receivers_window_limits_a_long_fat_pipe():
    # Windows of 14,480 B, doubled ten times, are 29.6 MB in 11 rounds; then 16 MiB a round: 28 rounds leave 0.6 MB,
    # which takes 0.5 ms. With 0.2 s a round and 0.1 s for the last byte's way: 39 x 0.2 + 0.1 + 0.0005 s.
    assert alone(500_000_000, 10e9, 0.2) == pytest.approx(7.9005, abs=1e-4)


plans = st.lists(
    st.tuples(
        st.lists(st.integers(0, 3), min_size=1, max_size=3, unique=True),
        st.integers(1, 1_000_000),
        st.floats(0, 3),
        st.floats(0.001, 0.1),
        st.sampled_from(["cubic", "reno", "bbr"]),
        st.floats(-2, 2),
    ),
    min_size=1,
    max_size=8,
)
traits = st.lists(
    st.builds(
        LinkTraits,
        st.sampled_from(["droptail", "fq_codel"]),
        st.sampled_from([None, 20]),
        st.sampled_from([0.0, 0.0, 0.01]),
    ),
    min_size=4,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(
    plans,
    traits,
    st.lists(st.tuples(st.integers(0, 3), st.floats(0, 4), st.sampled_from([0.0, 1e6, 30e6])), max_size=4),
)
def test_whatever_the_windows_do_all_arrives_and_no_link_carries_more_than_it_can(plan, link_traits, changes):
    capacities_bps = [5e6, 10e6, 20e6, 40e6]
    bench = Bench(capacities_bps, TCP, link_traits, unfairness=0.3)
    expected = np.zeros(4)
    for index, (links, size, at_s, latency_s, congestion, luck) in enumerate(plan):
        draws = np.random.default_rng(index).random
        flow = bench.flow(links, latency_s, 2 * latency_s, congestion=congestion, luck=luck, uniform=draws)
        bench.send(flow, str(index), size, at_s)
        expected[links] += size
    for link, at_s, bandwidth_bps in changes:
        bench.clock.call_at(at_s, lambda link=link, bps=bandwidth_bps: bench.flows.set_capacity(link, bps))
        bench.clock.call_at(5.0, lambda link=link: bench.flows.set_capacity(link, capacities_bps[link]))
    arrived = bench.run()
    assert len(arrived) == len(plan)
    assert bench.flows.carried_bytes == pytest.approx(expected, abs=1e-2 * len(plan))
    most_bps = [
        max([bps, *(new for which, _, new in changes if which == link)]) for link, bps in enumerate(capacities_bps)
    ]
    for event in bench.trace.of_kind("link"):
        assert event.values["wire_bps"] <= most_bps[int(event.host.split()[1])] * (1 + 1e-6) + 1

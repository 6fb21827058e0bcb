"""One TCP sender, packet by packet: the laws of its parts, and the whole against real Linux and ns-3."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simnet.tcp import Tcp
from simnet.window import Bottleneck, CoDel, CongestionWindow, PacketFlow

SEGMENT = 1448
REFERENCE = json.loads((Path(__file__).parents[1] / "reference" / "windows.json").read_text())["cases"]


def transfer(
    size, rate_bps, rtt_s, *, codel=False, congestion="cubic", loss=0.0, seed=0, queue=None, window=10.0, step=None
):
    """Seconds from the first packet to the last one's arrival, half a round trip after it was served."""
    rate = rate_bps / 8 / Tcp().header_factor
    room = max(100, rate_bps * rtt_s / 12_000) if queue is None else queue
    uniform = np.random.default_rng(seed).random
    flow = PacketFlow(
        CongestionWindow(congestion, window),
        Bottleneck(room, CoDel() if codel else None, loss, uniform),
        rtt_s,
        SEGMENT,
        0.0,
    )
    while flow.delivered_bytes < size - 0.5:
        reached_s = flow.advance(flow.now_s + (step or rtt_s), rate, size)
    return reached_s + rtt_s / 2


# -- CoDel ---------------------------------------------------------------------------------------


def drops_of(delays, *, every_s=0.01, service_s=0.001):
    """At which times a queue with these delays, seen every 10 ms, drops."""
    codel = CoDel()
    times = [round(index * every_s, 6) for index in range(len(delays))]
    return [at for at, delay in zip(times, delays, strict=True) if codel.drops(at, delay, service_s)]


def test_codel_bears_a_burst_for_an_interval():
    assert drops_of([0.006] * 10) == []  # 90 ms over the target
    assert drops_of([0.006] * 9 + [0.004] + [0.006] * 9) == []


def test_codel_drops_after_an_interval_and_then_ever_faster():
    # First after 100 ms, then 100 ms / sqrt(1), / sqrt(2), / sqrt(3) later: 0.1, 0.2, 0.271, 0.328 s, seen each 10 ms.
    assert drops_of([0.02] * 34) == [0.1, 0.2, 0.28, 0.33]


def test_codel_stops_when_the_delay_is_gone():
    assert drops_of([0.02] * 15 + [0.001] + [0.02] * 9) == [0.1]


def test_codel_never_drops_the_only_packet():
    # At 1 Mbit/s a packet takes 12 ms, longer than the target; a queue of one is no queue.
    assert drops_of([0.012] * 50, service_s=0.012) == []


# -- windows -------------------------------------------------------------------------------------


def test_slow_start_adds_a_segment_for_each_acknowledgement():
    window = CongestionWindow("reno", 10.0)
    for order in range(10):
        window.acknowledged(0.1, 0.1, order, 10)
    assert window.segments == 20.0


def test_a_loss_takes_three_tenths_from_cubic_and_half_from_reno():
    for congestion, left in (("cubic", 70.0), ("reno", 50.0)):
        window = CongestionWindow(congestion, 100.0)
        window.lost()
        assert window.threshold == pytest.approx(left)


def test_reno_grows_by_a_segment_a_round():
    window = CongestionWindow("reno", 50.0, threshold=50.0)
    for order in range(50):
        window.acknowledged(0.1, 0.1, order, 50)
    assert window.segments == pytest.approx(51.0, abs=0.02)


def test_cubic_is_back_at_its_peak_after_the_time_of_the_rfc():
    # RFC 9438, section 4.2: K = cbrt(W_max (1 - beta) / C) = cbrt(1000 * 0.3 / 0.4) = 9.086 s.
    window = CongestionWindow("cubic", 1000.0)
    window.lost()
    window.segments = window.threshold
    rtt_s, now_s, order = 0.01, 0.0, 0
    reached_s = None
    while reached_s is None:
        now_s += rtt_s
        for _ in range(int(window.segments)):
            order += 1
            window.acknowledged(now_s, rtt_s, order, order)
        if window.segments >= 999.0:
            reached_s = now_s
    # The friendly region, 0.53 segments a round, is slower: 300 segments would take 566 rounds, 5.66 s, so it wins.
    assert reached_s == pytest.approx(300 / (3 * 0.3 / 1.7) * rtt_s, rel=0.03)


def test_a_timeout_begins_with_one_segment():
    window = CongestionWindow("cubic", 80.0)
    window.timed_out()
    assert window.segments == 1.0
    assert window.threshold == pytest.approx(56.0)


# -- the whole -----------------------------------------------------------------------------------


def test_a_window_that_never_fills_the_pipe_worked_by_hand():
    # 100 segments over a round trip of 0.1 s at 1 Gbit/s: 10, 20, 40 in three rounds, the last 30 in the fourth:
    # the 30th is served 30 x 12.016 us after the first acknowledgement of the third round came.
    service_s = 1502 * 8 / 1e9
    expected_s = 3 * (0.1 + service_s) + 30 * service_s + 0.05
    assert transfer(100 * SEGMENT, 1e9, 0.1) == pytest.approx(expected_s, abs=20 * service_s)


@pytest.mark.parametrize("name", [name for name, case in REFERENCE.items() if not case["loss"]])
def test_lone_flows_take_what_linux_takes(name):
    case = REFERENCE[name]
    # The handshake comes first, and the hosts take half a millisecond a round trip.
    rtt_s = case["rtt_s"] + 2 * Tcp().host_delay_s
    for queue in ("droptail", "fq_codel"):
        took_s = rtt_s + transfer(case["bytes"], case["bandwidth_bps"], rtt_s, codel=queue == "fq_codel")
        within = 0.01 if queue == "droptail" else 0.03
        low, high = case[queue]["min_s"], case[queue]["max_s"]
        assert low * (1 - within) <= took_s <= high * (1 + within), f"{queue}: {took_s:.4f} s"


@pytest.mark.parametrize("name", [name for name, case in REFERENCE.items() if case["loss"]])
def test_losses_cost_what_they_cost_linux(name):
    case = REFERENCE[name]
    rtt_s = case["rtt_s"] + 2 * Tcp().host_delay_s
    for congestion in ("cubic", "reno"):
        times_s = [
            rtt_s
            + transfer(case["bytes"], case["bandwidth_bps"], rtt_s, congestion=congestion, loss=case["loss"], seed=i)
            for i in range(40)
        ]
        assert np.mean(times_s) == pytest.approx(case[congestion]["mean_s"], rel=0.2)


def test_a_queue_that_is_too_short_wastes_the_link():
    # With room for a tenth of the pipe, Reno halves below it and climbs back by a segment a round.
    full_s = transfer(9_000_000, 50e6, 0.05, congestion="reno")
    assert transfer(9_000_000, 50e6, 0.05, congestion="reno", queue=20) > 1.1 * full_s


def test_the_receivers_window_bounds_the_rate():
    flow = PacketFlow(CongestionWindow("cubic", 10.0), Bottleneck(1e6), 0.1, SEGMENT, 0.0)
    flow.receive_window_segments = 20
    while flow.now_s < 10:
        flow.advance(flow.now_s + 0.1, 1e9, 1e9)
    assert flow.delivered_bytes == pytest.approx(10 / 0.1 * 20 * SEGMENT, rel=0.02)


def test_everything_is_repeated_until_it_is_through():
    for seed in range(20):
        assert math.isfinite(transfer(20 * SEGMENT, 10e6, 0.05, loss=0.5, seed=seed))


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 400_000),
    st.floats(1e6, 1e8),
    st.floats(0.001, 0.2),
    st.booleans(),
    st.floats(0, 0.1),
    st.integers(0, 9),
)
def test_nothing_is_faster_than_the_link_and_all_arrives_once(size, rate_bps, rtt_s, codel, loss, seed):
    rate = rate_bps / 8
    bottleneck = Bottleneck(100, CoDel() if codel else None, loss, np.random.default_rng(seed).random)
    flow = PacketFlow(CongestionWindow("cubic", 10.0), bottleneck, rtt_s, SEGMENT, 0.0)
    before = 0.0
    while flow.delivered_bytes < size - 0.5:
        at_s = flow.advance(flow.now_s + rtt_s, rate, size)
        assert flow.delivered_bytes >= before
        assert flow.delivered_bytes <= min(size, at_s * rate * (1 + 1e-9) + 1e-3) + 1e-6
        before = flow.delivered_bytes
    assert flow.delivered_bytes == pytest.approx(size)


def test_how_often_it_is_advanced_does_not_matter():
    whole = transfer(2_000_000, 20e6, 0.05, loss=0.003, seed=3)
    for step in (0.003, 0.02, 1.0, 100.0):
        assert transfer(2_000_000, 20e6, 0.05, loss=0.003, seed=3, step=step) == pytest.approx(whole, rel=1e-3)


def test_the_timeout_doubles_until_something_is_acknowledged():
    """Everything is lost: the sender tries after 0.25 s (0.2 s and a round trip), then after twice that, ..."""
    sent_s = []

    def lost():
        sent_s.append(packets.now_s)
        return 0.0

    packets = PacketFlow(CongestionWindow("cubic", 1.0), Bottleneck(100, None, 0.5, lost), 0.05, SEGMENT, 0.0)
    for _ in range(6):
        packets.advance(packets.next_event_s(), 1e6, SEGMENT)
    assert sent_s[-5:] == pytest.approx([0.25 * (2**times - 1) for times in range(1, 6)])

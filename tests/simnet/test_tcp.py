from __future__ import annotations

import pytest

from simnet.tcp import Tcp, transfer_time_s, window_covers_path


def test_the_plain_model_is_size_over_rate_and_three_latencies():
    # Handshake 2 x 25 ms, 9 MB at 10 Mbit/s 7.2 s, the last byte's way 25 ms.
    assert transfer_time_s(9_000_000, 10e6, 0.025, Tcp.plain()) == pytest.approx(7.275)


def test_slow_start_by_rounds_worked_by_hand():
    # Payload rate 10e6/8/(1502/1448) = 1,205,060 B/s; round trip 50 ms. Windows of 14,480, 28,960 and 57,920 B
    # each take less than a round trip to send; the next, 115,840 B, takes 96 ms and covers it. So 3 round trips
    # and (1,000,000 - 101,360) / 1,205,060 = 0.74572 s, after the handshake and before the last byte's way.
    tcp = Tcp(host_delay_s=0.0)
    assert transfer_time_s(1_000_000, 10e6, 0.025, tcp) == pytest.approx(0.05 + 0.15 + 0.74572 + 0.025, abs=1e-5)


@pytest.mark.parametrize(
    ("bytes_", "rate_bps", "latency_s", "expected_s"),
    # The column "all three" of the reference table.
    [
        (9_000_000, 10e6, 0.025, 7.609),
        (1_000_000, 10e6, 0.025, 0.971),
        (100_000, 10e6, 0.025, 0.222),
        (9_000_000, 100e6, 0.025, 1.046),
        (9_000_000, 1e9, 0.005, 0.144),
    ],
)
def test_the_three_corrections_as_published(bytes_, rate_bps, latency_s, expected_s):
    assert transfer_time_s(bytes_, rate_bps, latency_s, Tcp(host_delay_s=0.0)) == pytest.approx(expected_s, rel=0.02)


def test_a_window_covers_the_path_once_sending_it_takes_a_round_trip():
    assert window_covers_path(0.05, 0.05)
    assert not window_covers_path(0.049, 0.05)


def test_the_settings_are_those_of_linux():
    tcp = Tcp()
    assert tcp.header_factor == pytest.approx(1.0373, abs=1e-4)
    assert tcp.initial_window_bytes == 14_480
    assert Tcp.plain().header_factor == 1

"""The table of devices and radios: every number positive, ordered as the world is, and with a source."""

from __future__ import annotations

import pytest

from simnet import DEVICES, RADIOS
from simnet.profiles import sustained_rate


def test_the_devices_that_scenarios_and_the_issue_name_are_there():
    assert {
        "snapdragon-8-gen-2", "snapdragon-8-gen-3", "apple-a17-pro", "snapdragon-695", "raspberry-pi-4",
        "raspberry-pi-5", "jetson-nano", "jetson-orin-nano", "jetson-agx-orin", "laptop", "laptop-rtx-4060",
        "quadro-p5000m", "rtx-3060", "rtx-4090", "a100", "h100", "h200",
    } == set(DEVICES)  # fmt: skip
    assert {"ethernet", "wifi", "lte", "5g-nr"} <= set(RADIOS)


@pytest.mark.parametrize("name", DEVICES)
def test_a_profile_is_sane(name):
    device = DEVICES[name]
    assert device.name == name
    assert 1e9 < device.operations_per_s < 1e14
    assert 0.1 < device.idle_w < device.busy_w <= 1000
    assert len(device.source) > 20
    assert len(device.power_source) > 10


@pytest.mark.parametrize("name", RADIOS)
def test_a_radio_is_sane(name):
    radio = RADIOS[name]
    assert radio.name == name
    assert 1e-10 < radio.receive_j_per_bit <= radio.transmit_j_per_bit < 1e-6
    assert len(radio.source) > 20


def test_rates_that_the_readme_stands_on_have_not_moved():
    assert DEVICES["raspberry-pi-5"].operations_per_s == 6.1e9
    assert DEVICES["laptop"].operations_per_s == 40e9
    assert DEVICES["jetson-orin-nano"].operations_per_s == 128e9


def test_the_roofline_is_bytes_over_bandwidth_plus_operations_over_peak():
    # 6.541312 MB at 0.8 x 200 GB/s: 40.8832 us; 101.449728 MFLOP at 0.75 x 10 TFLOP/s: 13.5266304 us.
    assert sustained_rate(10e12, 200e9) == pytest.approx(101.449728e6 / 54.4098304e-6, rel=1e-12)
    assert sustained_rate(10e12, 1e30) == pytest.approx(7.5e12)


def test_rates_order_the_cards_as_generations_do():
    names = ["quadro-p5000m", "laptop-rtx-4060", "rtx-3060", "a100", "h100", "h200"]
    rates = [DEVICES[name].operations_per_s for name in names]
    assert rates == sorted(rates)

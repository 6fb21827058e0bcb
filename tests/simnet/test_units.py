from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simnet import units
from simnet.errors import UnitError


@pytest.mark.parametrize(
    ("text", "bps"),
    [("20 Mbit/s", 20e6), ("1.5Gbit/s", 1.5e9), ("2 MB/s", 16e6), ("1e3 kbit/s", 1e6), (0, 0.0), ("0", 0.0)],
)
def test_bandwidth(text, bps):
    assert units.bandwidth_bps(text) == bps


@pytest.mark.parametrize(
    ("text", "seconds"), [("10 ms", 0.01), ("3 us", 3e-6), ("3 µs", 3e-6), ("2 min", 120.0), ("1.5 s", 1.5)]
)
def test_durations_are_exact(text, seconds):
    assert units.duration_s(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("4.5 MB", 4_500_000), ("1 MiB", 1_048_576), ("10 B", 10)])
def test_sizes_are_whole_bytes(text, size):
    assert units.size_bytes(text) == size


def test_a_misspelt_unit_gets_the_nearest_one():
    with pytest.raises(UnitError, match=r'unknown unit "Mbits/s"; did you mean "Mbit/s"\?'):
        units.bandwidth_bps("20 Mbits/s")


@pytest.mark.parametrize("value", [20, 20.0, "20", True, None, [1], "fast", "-1 ms", "nan ms", "1 ms 2", ""])
def test_nonsense_is_refused(value):
    with pytest.raises(UnitError):
        units.duration_s(value)


def test_bits_and_bytes_are_told_apart():
    with pytest.raises(UnitError, match="unknown unit"):
        units.bandwidth_bps("20 Mb")


@given(st.floats(min_value=1e-5, max_value=1e11))
def test_formatting_keeps_four_digits(value):
    assert math.isclose(units.bandwidth_bps(units.format_bandwidth(value)), value, rel_tol=1e-3)


def test_formatting_picks_the_unit():
    assert units.format_bandwidth(2e7) == "20 Mbit/s"
    assert units.format_duration(0.01) == "10 ms"
    assert units.format_size(999_999) == "1 MB"
    assert units.format_size(0) == "0 B"


@pytest.mark.parametrize(("text", "watts"), [("20 W", 20.0), ("800 mW", 0.8), ("1.5 kW", 1500.0), (0, 0.0)])
def test_powers(text, watts):
    assert units.power_w(text) == watts
    assert units.power_w(units.format_power(watts)) == watts


@pytest.mark.parametrize(("text", "joules"), [("80 nJ/bit", 80e-9), ("9 pJ/bit", 9e-12), ("1e-7 J/bit", 1e-7)])
def test_energies_per_bit(text, joules):
    assert units.energy_per_bit_j(text) == joules
    assert units.energy_per_bit_j(units.format_energy_per_bit(joules)) == pytest.approx(joules, rel=1e-15)


@pytest.mark.parametrize(
    ("joules", "text"),
    [
        (0, "0 J"),
        (45.18, "45.18 J"),
        (1234, "1.234 kJ"),
        (0.0016, "1.6 mJ"),
        (3e-6, "3 uJ"),
        (5e-8, "50 nJ"),
        (2e6, "2 MJ"),
    ],
)
def test_energies_as_text(joules, text):
    assert units.format_energy(joules) == text


def test_rates_of_operations_as_text():
    assert units.format_operation_rate(1.6e12) == "1.6 TFLOP/s"
    assert units.operation_rate(units.format_operation_rate(6.1e9)) == 6.1e9


def test_lengths():
    assert [units.length_m(text) for text in ("2.5 km", "300 m", 0)] == [2500.0, 300.0, 0.0]
    assert units.format_length(2500) == "2.5 km"
    with pytest.raises(UnitError, match="5 has no unit; a length is written with one"):
        units.length_m(5)


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, 0.0), (1, 1.0), (0.25, 0.25), ("0.1 %", 0.001), ("100%", 1.0), ("1e-3 %", 1e-5), (" .5 % ", 0.005)],
)
def test_probabilities(value, expected):
    assert units.probability(value) == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("value", [-0.1, 1.1, "101 %", "-1 %", float("nan"), True, "0.1", "ten", None, "% 3", [0.1]])
def test_what_is_no_probability(value):
    with pytest.raises(UnitError, match="no probability"):
        units.probability(value)

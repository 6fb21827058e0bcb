"""Quantities as people write them ("20 Mbit/s", "10 ms", "4.5 MB") to and from SI floats.

Decimal prefixes are decimal (1 MB = 1,000,000 bytes), binary ones binary (1 MiB = 1,048,576 bytes), and
"bit" and "B" are never confused: a bandwidth in bytes must say so. A bare number is refused, except 0,
because "latency: 10" has cost people more days than the two letters cost to type.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping, Sequence

from simnet.errors import UnitError

_QUANTITY = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\d\s].*?)?\s*")
_PERCENTAGE = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*%\s*")

_BANDWIDTH: Mapping[str, float] = {
    "bit/s": 1.0,
    "kbit/s": 1e3,
    "Mbit/s": 1e6,
    "Gbit/s": 1e9,
    "Tbit/s": 1e12,
    "B/s": 8.0,
    "kB/s": 8e3,
    "MB/s": 8e6,
    "GB/s": 8e9,
}
_DURATION: Mapping[str, float] = {
    "us": 1e-6,
    "µs": 1e-6,
    "ms": 1e-3,
    "s": 1.0,
    "min": 60.0,
    "h": 3600.0,
}
_SIZE: Mapping[str, float] = {
    "B": 1.0,
    "kB": 1e3,
    "MB": 1e6,
    "GB": 1e9,
    "KiB": 1024.0,
    "MiB": 1024.0**2,
    "GiB": 1024.0**3,
}
_LENGTH: Mapping[str, float] = {
    "m": 1.0,
    "km": 1e3,
}
_OPERATION_RATE: Mapping[str, float] = {
    "FLOP/s": 1.0,
    "MFLOP/s": 1e6,
    "GFLOP/s": 1e9,
    "TFLOP/s": 1e12,
}
_POWER: Mapping[str, float] = {"mW": 1e-3, "W": 1.0, "kW": 1e3}
_ENERGY: Mapping[str, float] = {"nJ": 1e-9, "uJ": 1e-6, "mJ": 1e-3, "J": 1.0, "kJ": 1e3, "MJ": 1e6}
_ENERGY_PER_BIT: Mapping[str, float] = {"pJ/bit": 1e-12, "nJ/bit": 1e-9, "uJ/bit": 1e-6, "J/bit": 1.0}

KINDS: Sequence[Mapping[str, float]] = (
    _BANDWIDTH, _DURATION, _SIZE, _LENGTH, _OPERATION_RATE, _POWER, _ENERGY, _ENERGY_PER_BIT,
)  # fmt: skip
"""The units of each kind of quantity, and what they are in SI; no two kinds share a unit."""


def bandwidth_bps(text: object) -> float:
    """Bits per second of a bandwidth such as "20 Mbit/s" or "2 MB/s".

    Raises `UnitError` for a missing or unknown unit, or a value that is negative or not finite.
    """
    return _parse(text, _BANDWIDTH, "a bandwidth", "20 Mbit/s")


def duration_s(text: object) -> float:
    """Seconds of a duration such as "10 ms". Raises `UnitError` as `bandwidth_bps` does."""
    return _parse(text, _DURATION, "a duration", "10 ms")


def size_bytes(text: object) -> int:
    """Whole bytes of a size such as "4.5 MB". Raises `UnitError` as `bandwidth_bps` does."""
    return round(_parse(text, _SIZE, "a size", "4.5 MB"))


def operation_rate(text: object) -> float:
    """Floating-point operations per second of a rate such as "1.5 TFLOP/s". Raises `UnitError`."""
    return _parse(text, _OPERATION_RATE, "a rate of operations", "1.5 TFLOP/s")


def power_w(text: object) -> float:
    """Watts of a power such as "20 W". Raises `UnitError` as `bandwidth_bps` does."""
    return _parse(text, _POWER, "a power", "20 W")


def energy_per_bit_j(text: object) -> float:
    """Joules per bit of an energy such as "80 nJ/bit". Raises `UnitError` as `bandwidth_bps` does."""
    return _parse(text, _ENERGY_PER_BIT, "an energy per bit", "80 nJ/bit")


def length_m(text: object) -> float:
    """Metres of a length such as "2.5 km". Raises `UnitError` as `bandwidth_bps` does."""
    return _parse(text, _LENGTH, "a length", "2.5 km")


def probability(value: object) -> float:
    """A probability from 0 to 1, written as a number or as a percentage such as "0.1 %".

    Raises `UnitError` for anything else.
    """
    percentage = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    if percentage is not None:
        number = float(percentage[1]) / 100
    elif isinstance(value, bool) or not isinstance(value, (int, float)):
        raise UnitError(f'{value!r} is no probability; expected a number from 0 to 1, or a percentage such as "0.1 %"')
    else:
        number = float(value)
    if not 0 <= number <= 1:
        shown = f'"{value}"' if isinstance(value, str) else value
        raise UnitError(f"{shown} is no probability; it must lie between 0 and 1 (0 % and 100 %)")
    return number


def format_bandwidth(value_bps: float) -> str:
    """A bandwidth in bits per second as text, e.g. 2e7 -> "20 Mbit/s"."""
    return _format(value_bps, ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"), _BANDWIDTH)


def format_duration(value_s: float) -> str:
    """A duration in seconds as text, e.g. 0.01 -> "10 ms"."""
    return _format(value_s, ("us", "ms", "s"), _DURATION)


def format_length(value_m: float) -> str:
    """A length in metres as text, e.g. 2500 -> "2.5 km"."""
    return _format(value_m, ("m", "km"), _LENGTH)


def format_size(value_bytes: float) -> str:
    """A size in bytes as text with a decimal prefix, e.g. 4_500_000 -> "4.5 MB"."""
    return _format(value_bytes, ("B", "kB", "MB", "GB"), _SIZE)


def format_operation_rate(value: float) -> str:
    """Floating-point operations per second as text, e.g. 1.6e12 -> "1.6 TFLOP/s"."""
    return _format(value, ("FLOP/s", "MFLOP/s", "GFLOP/s", "TFLOP/s"), _OPERATION_RATE)


def format_power(value_w: float) -> str:
    """A power in watts as text, e.g. 0.8 -> "800 mW"."""
    return _format(value_w, ("mW", "W", "kW"), _POWER)


def format_energy(value_j: float) -> str:
    """An energy in joules as text, e.g. 1234 -> "1.234 kJ"."""
    return _format(value_j, ("nJ", "uJ", "mJ", "J", "kJ", "MJ"), _ENERGY) if value_j else "0 J"


def format_energy_per_bit(value_j: float) -> str:
    """An energy per bit in joules as text, e.g. 8e-8 -> "80 nJ/bit"."""
    return _format(value_j, ("pJ/bit", "nJ/bit", "uJ/bit"), _ENERGY_PER_BIT)


def _parse(value: object, units: Mapping[str, float], what: str, example: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise UnitError(f'{value!r} is not {what}; write it with a unit, e.g. "{example}"')
    if not isinstance(value, str):
        if value == 0:
            return 0.0
        raise UnitError(f'{value!r} has no unit; {what} is written with one, e.g. "{example}"')
    match = _QUANTITY.fullmatch(value)
    if match is None:
        raise UnitError(f'"{value}" is not {what}; expected a number and a unit, e.g. "{example}"')
    number, unit = float(match[1].replace("_", "")), match[2]
    if unit is None and number != 0:
        raise UnitError(f'"{value}" has no unit; {what} is written with one, e.g. "{example}"')
    if unit is not None and unit not in units:
        raise UnitError(f'"{value}" has the unknown unit "{unit}"{_nearest(unit, units)}')
    if not math.isfinite(number) or number < 0:
        raise UnitError(f'"{value}" is not {what}: it must be finite and not negative')
    # Dividing by a power of ten that a float holds exactly keeps "10 ms" at 0.01, where 10 * 1e-3 would not be.
    scale = 1.0 if unit is None else units[unit]
    return number / round(1 / scale) if scale < 1 else number * scale


def _nearest(unit: str, units: Mapping[str, float]) -> str:
    folded = {known.lower(): known for known in units}
    spelt = unit.lower()
    if spelt.endswith("bps"):  # as people say: bits per second
        spelt = f"{spelt.removesuffix('bps')}bit/s"
    close = difflib.get_close_matches(spelt, folded, n=1, cutoff=0.5)
    hint = f'; did you mean "{folded[close[0]]}"?' if close else ""
    return f"{hint} (known: {', '.join(units)})"


def _format(value: float, ladder: tuple[str, ...], units: Mapping[str, float]) -> str:
    unit = ladder[0]
    for step in ladder:
        if abs(value) >= units[step] * 0.9995:
            unit = step
    return f"{value / units[unit]:.4g} {unit}"

"""Quantities with units as fields of pydantic models: written "20 Mbit/s" in YAML, SI floats in Python."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer, WithJsonSchema

from simnet import units


def _field(parse: Callable[[object], float], write: Callable[[float], str], unit: str, example: str) -> Any:
    def written(value: float) -> str:
        text = write(value)  # rounded for reading; fall back on every digit where that loses some
        return text if parse(text) == value else f"{value!r} {unit}"

    schema = {"anyOf": [{"type": "string"}, {"const": 0}], "examples": [example]}
    return Annotated[
        float,
        BeforeValidator(parse),
        PlainSerializer(written, return_type=str),
        WithJsonSchema(schema),
    ]


Bandwidth = _field(units.bandwidth_bps, units.format_bandwidth, "bit/s", "20 Mbit/s")
Duration = _field(units.duration_s, units.format_duration, "s", "10 ms")
Size = _field(units.size_bytes, units.format_size, "B", "10 MB")
OperationRate = _field(units.operation_rate, lambda value: f"{value / 1e9:g} GFLOP/s", "FLOP/s", "50 GFLOP/s")
Power = _field(units.power_w, units.format_power, "W", "20 W")
EnergyPerBit = _field(units.energy_per_bit_j, units.format_energy_per_bit, "J/bit", "80 nJ/bit")
Length = _field(units.length_m, units.format_length, "m", "2.5 km")
Probability = Annotated[
    float,
    BeforeValidator(units.probability),
    WithJsonSchema(
        {"anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "string"}], "examples": ["0.1 %"]}
    ),
]

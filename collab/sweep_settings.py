"""The `sweep` section of a scenario: which settings take which values, and so which cells there are.

::

    sweep:
      partition.clients: [5, 10, 20]                                # a setting by its dotted name, and its values
      network.access.bandwidth: {logspace: [100 kbit/s, 1 Gbit/s, 5]}  # first, last, how many
      network.access.latency: {linspace: [10 ms, 50 ms, 5]}
      points:                                                       # settings that change together
        - {method.images_per_class: 1, method.expand: 1}
        - {method.images_per_class: 10, method.expand: 2}
      repeats: 3                                                    # each with the seeds seed, seed + 1, seed + 2

The cells are all combinations, the last axis changing first; `repeats` is the last of all. What is no axis stays as the
scenario says. Whether a value is valid is not known here: each cell is a scenario of its own and is checked as one.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from collab.document import PlacedError, nearest
from simnet.units import KINDS

POINTS = "points"
REPEATS = "repeats"
SEED = "seed"
MOST_CELLS = 100_000
_RANGES = ("linspace", "logspace")
_NEVER_SWEPT = {
    "name": "it names the sweep",
    "sweep": "a sweep has no sweeps within it",
    "extends": "it is read before anything else",
}
_NUMBER_AND_UNIT = re.compile(r"\s*([+-]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*(\S.*?)?\s*")
_LADDER = ("bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "us", "ms", "s", "B", "kB", "MB", "GB", "%")

Point = Mapping[str, Any]


class SweepSettings:
    """A sweep as it was written; `axes` and `points` say what it comes to."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        """Raises `PlacedError` for a section that means nothing."""
        if not isinstance(given, Mapping):
            raise PlacedError(f"found {given!r}, expected a map such as {{partition.beta: [0.1, 0.3]}}")
        self._groups: list[list[dict[str, Any]]] = []
        self.repeats = 1
        fields: dict[str, str] = {}
        for key, value in given.items():
            if key == REPEATS:
                self.repeats = _count(value)
                continue
            group = _points(value) if key == POINTS else _axis(str(key), value)
            for field in dict.fromkeys(field for point in group for field in point):
                _check_field(field, fields, key)
                fields[field] = key
            self._groups.append(group)
        if SEED in fields and self.repeats > 1:
            raise PlacedError(f"the seed is swept by {fields[SEED]} and by {REPEATS}; keep one of them", REPEATS)
        if not self._groups and self.repeats == 1:
            raise PlacedError("it names nothing to sweep; expected e.g. {partition.beta: [0.1, 0.3]}, or no sweep")
        if self.cells > MOST_CELLS:
            raise PlacedError(f"it comes to {self.cells:,} cells, expected at most {MOST_CELLS:,}; leave out values")
        self.given: Mapping[str, Any] = dict(given)

    @property
    def cells(self) -> int:
        """How many cells there are."""
        return math.prod(len(group) for group in self._groups) * self.repeats

    def points(self, seed: int) -> Iterator[dict[str, Any]]:
        """The point of every cell, in order: the value of each field, by its dotted name. `seed` is the scenario's."""
        seeds = [{SEED: seed + number} for number in range(self.repeats)] if self.repeats > 1 else [{}]
        for parts in itertools.product(*self._groups, seeds):
            yield {field: value for part in parts for field, value in part.items()}

    def axes(self, seed: int) -> dict[str, list[Any]]:
        """The values of each field, in the order in which they are given."""
        axes: dict[str, list[Any]] = {}
        for group in (*self._groups, [{SEED: seed + number} for number in range(self.repeats)]):
            for point in group:
                for field, value in point.items():
                    if value not in axes.setdefault(field, []):
                        axes[field].append(value)
        if self.repeats == 1 and not any(SEED in point for group in self._groups for point in group):
            del axes[SEED]
        return axes

    def origin(self, field: str, value: Any) -> tuple[str | int, ...]:
        """Where in the section a field takes a value."""
        if field in self.given:
            values = self.given[field]
            return (field, values.index(value)) if isinstance(values, list) and value in values else (field,)
        if field == SEED and self.repeats > 1:
            return (REPEATS,)
        points = self.given[POINTS]
        return next(((POINTS, index, field) for index, point in enumerate(points) if point[field] == value), (POINTS,))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SweepSettings) and self.given == other.given

    def __hash__(self) -> int:
        return hash(repr(self.given))

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For pydantic: made of a map; given back as that."""
        return core_schema.no_info_plain_validator_function(
            lambda given: given if isinstance(given, cls) else cls(given),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda sweep: dict(sweep.given)),
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """For editors."""
        ends = {"type": "array", "minItems": 3, "maxItems": 3}
        spaced = [
            {"type": "object", "properties": {kind: ends}, "required": [kind], "additionalProperties": False}
            for kind in _RANGES
        ]
        return {
            "type": "object",
            "description": "dotted name of a setting -> the values that it takes; the cells are all combinations",
            "properties": {
                REPEATS: {"type": "integer", "minimum": 1, "description": "each cell with so many seeds"},
                POINTS: {
                    "type": "array",
                    "items": {"type": "object"},
                    "minItems": 1,
                    "description": "settings that change together: a list of maps from dotted names to values",
                },
            },
            "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, *spaced]},
        }


def _check_field(field: str, fields: Mapping[str, str], key: str) -> None:
    top = field.split(".", 1)[0]
    if top in _NEVER_SWEPT:
        raise PlacedError(f"{field} cannot be swept: {_NEVER_SWEPT[top]}", key)
    if not all(field.split(".")):
        raise PlacedError(f'found "{field}", expected the dotted name of a setting, such as partition.beta', key)
    for other, owner in fields.items():
        if field == other or field.startswith(other + ".") or other.startswith(field + "."):
            raise PlacedError(f"{field} is swept twice, by {owner} and by {key}; keep one", key)


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise PlacedError(
            f"found {value!r}, expected how many seeds each cell is run with, a whole number from 1", REPEATS
        )
    return value


def _points(value: Any) -> list[dict[str, Any]]:
    if not isinstance(value, list) or not value:
        raise PlacedError(f"found {value!r}, expected a list of maps from dotted names to values", POINTS)
    for index, point in enumerate(value):
        if not isinstance(point, dict) or not point:
            raise PlacedError(
                f"found {point!r}, expected a map from dotted names to values, such as {{partition.beta: 0.1}}",
                POINTS,
                index,
            )
        if set(point) != set(value[0]):
            missing = sorted(set(point) ^ set(value[0]))
            raise PlacedError(
                f"all points must give the same settings; not all of them give {', '.join(missing)}", POINTS, index
            )
    return [{str(field): setting for field, setting in point.items()} for point in value]


def _axis(field: str, value: Any) -> list[dict[str, Any]]:
    match value:
        case [_, *_]:
            for index, entry in enumerate(value):
                if entry in value[:index]:
                    raise PlacedError(f"found {entry!r} twice; expected each value once, take one out", field, index)
            return [{field: entry} for entry in value]
        case {**entries} if len(entries) == 1 and next(iter(entries)) in _RANGES:
            kind, ends = next(iter(entries.items()))
            return [{field: entry} for entry in _spaced(str(kind), ends, field)]
        case {**entries} if len(entries) == 1:
            word = str(next(iter(entries)))
            raise PlacedError(
                f'found "{word}"{nearest(word, _RANGES)}; expected a list of values, or e.g. {{logspace: [1, 100, 3]}}',
                field,
            )
        case []:
            raise PlacedError("found an empty list, expected at least one value", field)
        case _:
            raise PlacedError(
                f"found {value!r}, expected a list of values, such as [{value}], or {{linspace: [1, 10, 4]}}", field
            )


def _spaced(kind: str, ends: Any, field: str) -> list[Any]:
    """Values from the first to the last: a fixed step apart, or a fixed factor."""
    example = {"linspace": "{linspace: [10 ms, 50 ms, 5]}", "logspace": "{logspace: [1 Mbit/s, 1 Gbit/s, 4]}"}[kind]
    told = f"expected the first value, the last, and how many, such as {example}"
    if not isinstance(ends, list) or len(ends) != 3:
        raise PlacedError(f"found {ends!r}, {told}", field, kind)
    first, last, count = ends
    if isinstance(count, bool) or not isinstance(count, int) or not 2 <= count <= MOST_CELLS:
        raise PlacedError(f"found {count!r} as the number of values, expected a whole number from 2", field, kind)
    low, high, unit = _measured(first, last, field, kind, told)
    if kind == "logspace" and (low <= 0 or high <= 0):
        raise PlacedError(f"found {first} to {last}; both ends of a logspace must be more than 0", field, kind)
    if low == high:
        raise PlacedError(f"found {first} twice, expected two values that differ", field, kind)
    if kind == "linspace" and isinstance(first, int) and isinstance(last, int) and (last - first) % (count - 1) == 0:
        return [first + step * ((last - first) // (count - 1)) for step in range(count)]
    shares = [step / (count - 1) for step in range(1, count - 1)]
    if kind == "logspace":
        between = [low * (high / low) ** share for share in shares]
    else:
        between = [low + (high - low) * share for share in shares]
    values = [low, *(float(f"{value:.6g}") for value in between), high]  # the ends as they are, round ones between
    if unit is None:
        whole = isinstance(first, int) and isinstance(last, int) and all(value == int(value) for value in values)
        return [int(value) for value in values] if whole else values
    return [_written(value, unit) for value in values]


def _written(value: float, unit: str) -> str:
    """A quantity in the largest decimal unit of which it is at least one: 3162.28 kbit/s is 3.16228 Mbit/s."""
    units = next((units for units in KINDS if unit in units), {unit: 1.0})
    base = value * units[unit]
    ladder = [name for name in units if name in _LADDER and units[name] <= base * (1 + 1e-9)]
    best = max(ladder, key=lambda name: units[name], default=unit)
    return f"{base / units[best]:.12g} {best}"


def _measured(first: Any, last: Any, field: str, kind: str, told: str) -> tuple[float, float, str | None]:
    """Both ends as numbers, and the unit that they are in."""
    ends = [_number_and_unit(end) for end in (first, last)]
    if None in ends or isinstance(first, bool) or isinstance(last, bool):
        raise PlacedError(f"found {first!r} and {last!r}, {told}", field, kind)
    (low, low_unit), (high, high_unit) = (end for end in ends if end is not None)
    if low_unit == high_unit:  # also one that is not known here: whether it is valid is seen in the cells
        return low, high, low_unit
    for units in KINDS:
        if low_unit is not None and high_unit is not None and {low_unit, high_unit} <= set(units):
            base = min(units, key=lambda unit: units[unit])  # of which the others are whole multiples
            many = {unit: round(scale / units[base]) for unit, scale in units.items()}
            return low * many[low_unit], high * many[high_unit], base
    raise PlacedError(
        f'found "{first}" and "{last}", expected two values of one kind, such as 1 ms and 1 s', field, kind
    )


def _number_and_unit(value: Any) -> tuple[float, str | None] | None:
    if isinstance(value, (int, float)):
        return (float(value), None) if math.isfinite(value) else None
    found = _NUMBER_AND_UNIT.fullmatch(value) if isinstance(value, str) else None
    return (float(found[1].replace("_", "")), found[2]) if found else None


__all__ = ["MOST_CELLS", "POINTS", "REPEATS", "SEED", "Point", "SweepSettings"]

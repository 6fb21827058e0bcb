"""Changes to what is msgpack that keep it msgpack: what a search by single bytes would come upon once in a lifetime."""

from __future__ import annotations

import random
import struct
from typing import Any

import msgpack

_EDGES: tuple[Any, ...] = (
    0, 1, -1, 127, 128, 255, 256, 2**31 - 1, 2**31, 2**32, 2**63 - 1, -(2**63), 2**64 - 1, 1e300, float("nan"),
    float("inf"), -0.0, True, False, None, "", "x" * 300, "\u0000", "é", b"", b"\0" * 8, [], {}, [[]], {"": {}},
    "task", "site", "fields", "sections", "dtype", "shape", "data", "classes", "counts", "means", "lows", "steps",
    "images", "labels", "embeddings", "synthetic", "model", "seeds", "control", "iterations", "networks", "master",
)  # fmt: skip
_SIZES = {"float32": 4, "float16": 2, "bfloat16": 2, "uint8": 1, "uint4": 0.5, "uint32": 4, "uint64": 8, "int64": 8}
_NUMBERS = (
    b"\0" * 8, b"\xff" * 8, struct.pack("<ff", float("nan"), float("inf")), struct.pack("<q", -1),
    struct.pack("<ff", 1e30, -1e30), struct.pack("<4e", float("inf"), float("nan"), 65504.0, -1.0), b"\1" + b"\0" * 7,
)  # fmt: skip


def mutated(packed: bytes, chance: random.Random) -> bytes | None:
    """The object in `packed` with one part changed; None if it is no msgpack."""
    try:
        value = msgpack.unpackb(packed, strict_map_key=False, max_array_len=1000, max_map_len=1000)
    except Exception:  # what the mutations before have made of it
        return None
    for _ in range(chance.randint(1, 3)):
        value = _changed(value, chance)
    try:
        return bytes(msgpack.packb(value))
    except (TypeError, ValueError, OverflowError):
        return None


def _changed(value: Any, chance: random.Random) -> Any:
    """A copy in which one part, at any depth, is another."""
    if isinstance(value, dict) and value and chance.random() < 0.85:
        if {"dtype", "shape", "data"} <= set(value) and chance.random() < 0.5:
            return _tensor(chance)
        return _changed_map(value, chance)
    if isinstance(value, list) and value and chance.random() < 0.7:
        at = chance.randrange(len(value))
        return [*value[:at], _changed(value[at], chance), *value[at + chance.randint(0, 1) :]]
    if isinstance(value, bytes) and value and chance.random() < 0.7:
        pattern = chance.choice(_NUMBERS)
        return (pattern * (len(value) // 8 + 1))[: len(value)]
    return chance.choice(_EDGES)


def _changed_map(value: dict[Any, Any], chance: random.Random) -> dict[Any, Any]:
    key = chance.choice(list(value))
    kind = chance.random()
    if kind < 0.1:
        return {other: part for other, part in value.items() if other != key}
    if kind < 0.2:
        return {**value, chance.choice(_EDGES[30:]): chance.choice([value[key], _tensor(chance)])}
    return {**value, key: _changed(value[key], chance)}


def _tensor(chance: random.Random) -> dict[str, Any]:
    """A tensor that is whole, of a type and shape by chance."""
    dtype = chance.choice(list(_SIZES))
    shape = [chance.choice((0, 1, 2, 3, 4)) for _ in range(chance.randint(0, 5))]
    numbers = 1
    for extent in shape:
        numbers *= extent
    size = -(-numbers // 2) if dtype == "uint4" else int(numbers * _SIZES[dtype])
    pattern = chance.choice(_NUMBERS)
    return {"dtype": dtype, "shape": shape, "data": (pattern * (size // 8 + 1))[:size]}

"""Arrays on their way into a safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

_LENGTH_BYTES = 8
_ALIGNED_BYTES = 8


def in_order(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays with their axes in order in memory, copied where they are not.

    Safetensors writes the memory of an array as it lies there, without a word, and reads it back with its shape alone.
    """
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}


def packed(arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str]) -> bytes:
    """The content of a safetensors file, the same whenever it is made of the same.

    Safetensors writes several entries of the metadata in an order that differs from call to call.
    """
    content = save(in_order(arrays), metadata=dict(metadata))
    start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    header = json.loads(content[_LENGTH_BYTES:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _ALIGNED_BYTES)
    return len(text).to_bytes(_LENGTH_BYTES, "little") + text + content[start:]

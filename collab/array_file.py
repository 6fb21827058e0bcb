"""Arrays on their way into a safetensors file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def in_order(arrays: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The arrays with their axes in order in memory, copied where they are not.

    Safetensors writes the memory of an array as it lies there, without a word, and reads it back with its shape alone.
    """
    return {name: np.ascontiguousarray(values) for name, values in arrays.items()}

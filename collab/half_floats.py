"""float16 arrays by their bits: numpy converts each half of its own, ten times slower than whole numbers.

Uploads consist of them, and a server looks at each number of each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_INFINITY = 0x7C00
_SIGN, _MAGNITUDE = 0x8000, 0x7FFF


def extremes(values: NDArray[np.float16]) -> tuple[float, float] | None:
    """The smallest and the largest of at least one number; None if not all are finite."""
    bits = values.reshape(-1).view(np.uint16)
    # Halves are a sign and a magnitude. As whole numbers with a sign, the positive ones are in order and above all
    # others; as numbers without one, the negative ones are above all others, and the lowest the highest of them.
    highest, lowest = int(bits.view(np.int16).max()), int(bits.max())
    if highest < 0:  # all are negative
        highest = int(bits.min())
    if lowest < _SIGN:  # none is
        lowest = int(bits.min())
    if highest & _MAGNITUDE >= _INFINITY or lowest & _MAGNITUDE >= _INFINITY:
        return None
    return _value(lowest), _value(highest)


def _value(bits: int) -> float:
    return float(np.array([bits], dtype=np.uint16).view(np.float16)[0])


@lru_cache(maxsize=1)
def multiples() -> NDArray[np.int64]:
    """How many times 2^-24 each float16 is, [65536], by its bits: exact, for finite ones; 0 for the others."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    whole: NDArray[np.int64] = (np.where(np.isfinite(values), values, 0.0) * 2.0**24).astype(np.int64)
    return whole

"""float16 arrays by their bits: numpy converts each half of its own, ten times slower than whole numbers.

Uploads consist of them, and a server looks at each number of each.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 16  # numbers at a time: what is looked at stays in the cache
_INFINITY = 0x7C00
_ALL_BUT_THE_SIGN = np.int16(0x7FFF)


def extremes(values: NDArray[np.float16]) -> tuple[float, float] | None:
    """The smallest and the largest of at least one number; None if not all are finite."""
    lowest, highest = 0x7FFF, -0x8000
    bits = values.reshape(-1).view(np.int16)
    for start in range(0, bits.size, _BLOCK):
        block = bits[start : start + _BLOCK]
        # Halves are a sign and a magnitude: with the magnitudes of the negative ones turned round, they are in the
        # order of whole numbers. -0 becomes -1, below 0.
        ordered = block ^ ((block >> np.int16(15)) & _ALL_BUT_THE_SIGN)
        lowest, highest = min(lowest, int(ordered.min())), max(highest, int(ordered.max()))
    if highest >= _INFINITY or lowest <= -1 - _INFINITY:
        return None
    return _value(lowest), _value(highest)


def _value(ordered: int) -> float:
    bits = np.array([ordered if ordered >= 0 else ordered ^ int(_ALL_BUT_THE_SIGN)], dtype=np.int16)
    return float(bits.view(np.float16)[0])


@lru_cache(maxsize=1)
def multiples() -> NDArray[np.int64]:
    """How many times 2^-24 each float16 is, [65536], by its bits: exact, for finite ones; 0 for the others."""
    values = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    whole: NDArray[np.int64] = (np.where(np.isfinite(values), values, 0.0) * 2.0**24).astype(np.int64)
    return whole

"""Bodies of which only the size matters: zero bytes that occupy no memory, and their SHA-256 without reading them all.

For studies of scale, in which thousands of clients send megabytes each that nobody looks at.
"""

from __future__ import annotations

import functools
import hashlib

_STEP_BYTES = 4096
_STEPS = 4096  # up to 16 MiB are looked up; what a body has beyond that is hashed
_buffer = [b""]  # one entry: the longest so far
_states = [hashlib.sha256()]
"""The state of SHA-256 after each step of zero bytes, as far as somebody needed it."""


def zeros(size_bytes: int) -> memoryview:
    """So many zero bytes, read only. All share one buffer, which the operating system backs by no memory of its own.

    Raises `ValueError` for a negative size.
    """
    if size_bytes < 0:
        raise ValueError(f"a body cannot have {size_bytes} bytes")
    if size_bytes > len(_buffer[0]):
        _buffer[0] = bytes(max(size_bytes, 2 * len(_buffer[0])))
    return memoryview(_buffer[0])[:size_bytes]


@functools.lru_cache(maxsize=4096)
def digest_of_zeros(size_bytes: int) -> str:
    """The SHA-256 of so many zero bytes, as 64 hexadecimal digits."""
    steps = min(size_bytes // _STEP_BYTES, _STEPS)
    while len(_states) <= steps:
        state = _states[-1].copy()
        state.update(zeros(_STEP_BYTES))
        _states.append(state)
    state = _states[steps].copy()
    state.update(zeros(size_bytes - steps * _STEP_BYTES))
    return state.hexdigest()

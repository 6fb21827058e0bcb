"""Random numbers that belong to a purpose.

Every draw in a run comes from a generator named after what it is for, for example ``generator(seed, "jitter",
"client-3->server")``. Adding a draw in one place then never shifts the numbers in another, and no global
generator is ever touched. Keys are SHA-256 of the name, so they do not depend on `PYTHONHASHSEED`; the
streams are Philox 4x64 (Salmon et al., SC 2011, doi:10.1145/2063384.2063405), which is counter based and the
same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from statistics import NormalDist

import numpy as np

_NORMAL = NormalDist()


def key(seed: int, *name: str | int) -> int:
    """A 64-bit key for the purpose `name` under `seed`; different names give unrelated keys."""
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator of its own for the purpose `name` under `seed`."""
    return np.random.Generator(np.random.Philox(key=key(seed, *name)))


def standard_normal(seed: int, *name: str | int) -> float:
    """A single draw from the standard normal distribution for the purpose `name`; costs no generator."""
    return _NORMAL.inv_cdf((key(seed, *name) + 0.5) / 2.0**64)


class LazyUniform:
    """Draws from [0, 1) for the purpose `name`; the generator is made at the first draw, which may never come."""

    __slots__ = ("_draw", "_name", "_seed")

    def __init__(self, seed: int, *name: str | int) -> None:
        self._seed = seed
        self._name = name
        self._draw: Callable[[], float] | None = None

    def __call__(self) -> float:
        """The next draw."""
        if self._draw is None:
            self._draw = generator(self._seed, *self._name).random
        return self._draw()

"""Random numbers that belong to a purpose.

Every draw in a run comes from a generator named after what it is for, for example ``generator(seed, "jitter",
"client-3->server")``. Adding a draw in one place then never shifts the numbers in another, and no global
generator is ever touched. Keys are SHA-256 of the name, so they do not depend on `PYTHONHASHSEED`; the
streams are Philox 4x64 (Salmon et al., SC 2011, doi:10.1145/2063384.2063405), which is counter based and the
same on every machine.
"""

from __future__ import annotations

import hashlib

import numpy as np


def key(seed: int, *name: str | int) -> int:
    """A 64-bit key for the purpose `name` under `seed`; different names give unrelated keys."""
    text = "/".join([str(seed), *(f"{type(part).__name__}:{part}" for part in name)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def generator(seed: int, *name: str | int) -> np.random.Generator:
    """A numpy generator of its own for the purpose `name` under `seed`."""
    return np.random.Generator(np.random.Philox(key=key(seed, *name)))

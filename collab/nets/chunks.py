"""How many images go through a network at a time."""

from __future__ import annotations

from functools import lru_cache

from collab.nets.spec import NetworkSpec, architecture_of

_CACHE_BYTES = 8 * 1024 * 1024  # activations of one chunk that still stay close to the processor


@lru_cache(maxsize=32)
def chunk_size(spec: NetworkSpec) -> int:
    """Images at a time on a CPU: as many as leave the largest feature map in the cache."""
    return max(8, _CACHE_BYTES // (4 * architecture_of(spec).largest_map(spec)))

"""How many images go through a network at a time."""

from __future__ import annotations

from functools import lru_cache

from collab.nets.spec import NetworkSpec, architecture_of

_CACHE_BYTES = 4 * 1024 * 1024  # of the largest feature map of a chunk, so that it stays close to the processor
_FEWEST = 16  # fewer leave too little work for one call


@lru_cache(maxsize=32)
def chunk_size(spec: NetworkSpec) -> int:
    """Images at a time on a CPU: as many as leave the largest feature map in the cache."""
    return max(_FEWEST, _CACHE_BYTES // (4 * architecture_of(spec).largest_map(spec)))

"""Settings of the process that torch runs in, made by the commands and not by the packages they import.

Not modelled: anything about the machine. Nothing here changes a result.
"""

from __future__ import annotations

import ctypes
import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager

# mallopt(3) of the GNU C library
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGEST_KEPT_BYTES = 1 << 30
_MOST_KEPT_BYTES = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Let the allocator keep freed memory for the next tensor, instead of handing it back to the system each time.

    By default the GNU C library maps every large block anew (32 MB and more always) and gives freed memory back as
    soon as it can. A network takes and frees hundreds of megabytes in every pass, and the system clears each page of
    them: up to half of the time of a pass in plain torch. One arena, since others cannot grow to such sizes. A process
    then holds more than it uses, in general up to 2 GiB, more where a small block that is in use lies above much that
    is free. Returns whether it was done; not where the user set MALLOC_*, or where there is another C library, or one
    too old for such a size.
    """
    if any(name.startswith("MALLOC_") for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # the last where there is no library of the process itself
        return False
    # The first may be refused, by old libraries; then nothing is changed.
    wanted = ((_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES), (_TRIM_THRESHOLD, _MOST_KEPT_BYTES), (_ARENA_MAX, 1))
    return all(mallopt(name, value) for name, value in wanted)


def give_back_memory() -> bool:
    """Hand freed memory back to the system, once; for after many small things that lie scattered over the heap.

    Hundreds of uploads at a time leave 50 MB of holes, none of which is large enough for what comes next. Returns
    whether there was any; not where there is another C library.
    """
    try:
        return bool(ctypes.CDLL(None).malloc_trim(0))
    except (AttributeError, OSError, TypeError):
        return False


@contextmanager
def importing() -> Iterator[None]:
    """Import large packages as a command should.

    Without the garbage collector, and kept from it ever after: it finds nothing among torch's modules, and
    looking takes a tenth of a second each time. With OpenMP's threads told to sleep soon when they wait: by
    default they spin for milliseconds, and two torch processes on one machine (a server and a site, two runs)
    take ten times as long.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    keep_freed_memory()
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()

"""Want of memory, told as such: torch, numpy and Python say it in words of their own, none of which name a remedy."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from collab.errors import OutOfMemoryError

REMEDY = (
    "lower compute.workers, evaluation.batch_size or the batch sizes and the width of the method, or take a machine "
    "with more memory"
)
# What torch raises when malloc fails is a plain RuntimeError.
_CPU_ALLOCATOR = re.compile(r"DefaultCPUAllocator: (?:can't|not enough) .*?(?:allocate (\d+) bytes|$)", re.DOTALL)


def shortage_in(error: BaseException) -> str | None:
    """What was short, if an error is about memory; None if it is about something else."""
    if isinstance(error, MemoryError):
        return f"memory ({error})" if str(error) else "memory"
    if any(cls.__module__.startswith("torch") and cls.__name__ == "OutOfMemoryError" for cls in type(error).__mro__):
        return f"memory on the GPU ({str(error).splitlines()[0]})"
    if isinstance(error, RuntimeError) and (match := _CPU_ALLOCATOR.search(str(error))):
        return f"memory ({int(match[1]) / 1e9:.3g} GB were asked for)" if match[1] else "memory"
    return None


@contextmanager
def naming_shortage(what: str, workers: int = 1) -> Iterator[None]:
    """Raise `OutOfMemoryError` for any error about memory within; `what` was running, on one of so many workers."""
    try:
        yield
    except OutOfMemoryError:
        raise
    except Exception as error:
        short = shortage_in(error)
        if short is None:
            raise
        raise OutOfMemoryError(shortage(what, short, workers)) from error


def shortage(what: str, short: str, workers: int) -> str:
    """The sentence for it."""
    at_once = f", one of {workers} at a time" if workers > 1 else ""
    return f"{what}{at_once}: there was not enough {short}; {REMEDY}"

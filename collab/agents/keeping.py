"""What agents compute, kept by its content: see `collab.content_cache`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from collab import methods
from collab.compute import Device
from collab.content_cache import remembered, using

T = TypeVar("T")


def kept(method: str, name: str, device: Device, parts: tuple[object, ...], work: Callable[[], T]) -> T:
    """What `work` of a method returns, as `remembered` has it; of another package's method nothing within is kept, for
    no digest of its code is known.
    """
    if methods.base_of(method) in methods.added():
        with using(None):
            return work()
    return remembered(name, device, parts, work)

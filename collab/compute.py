"""Where torch works, how many operations it took, and how far it is.

The operations of each pass through a network are known from the formulas of torch's own counter
(`torch.utils.flop_counter`: convolutions and matrix products, a multiply-add counts two; element-wise work is
not counted) and added up while a job runs. simnet gets the sum as a number.
"""

from __future__ import annotations

import contextvars
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, Literal, TypeVar

import torch

from collab.errors import ScenarioError
from simnet import Computed, Job

T = TypeVar("T")
DeviceChoice = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
PrecisionChoice = Literal["float32", "bfloat16", "auto"]
Progress = Callable[[str, int, int], None]


class _Meter:
    operations = 0


_meter: contextvars.ContextVar[_Meter | None] = contextvars.ContextVar("collab_meter", default=None)
_progress: contextvars.ContextVar[Progress | None] = contextvars.ContextVar("collab_progress", default=None)


@dataclass(frozen=True, slots=True)
class Device:
    """Where torch works, and how.

    `precision` is that in which images are embedded by networks that are not trained, and gradients carried back to
    the images. Weights, sums and what is optimised are float32.
    """

    torch: torch.device
    precision: Precision = "float32"

    def __str__(self) -> str:
        return str(self.torch)


CPU = Device(torch.device("cpu"))


def as_device(device: Device | torch.device | str) -> Device:
    """A device of torch as one of ours."""
    return device if isinstance(device, Device) else Device(torch.device(device))


def pick_device(choice: DeviceChoice, precision: PrecisionChoice = "float32") -> Device:
    """The device for a choice; `auto` takes a GPU if there is one, and bfloat16 if the chip has units for it.

    On a GPU the products of float32 numbers go through its TF32 units. Raises `ScenarioError` for a device that is
    not there.
    """
    if choice == "cuda" and not torch.cuda.is_available():
        raise ScenarioError("compute.device is cuda, but torch finds no such GPU here; use auto or cpu")
    cuda = choice == "cuda" or (choice == "auto" and torch.cuda.is_available())
    if cuda:
        torch.set_float32_matmul_precision("high")
    if precision == "auto":
        precision = "bfloat16" if (torch.cuda.is_bf16_supported() if cuda else _has_bfloat16_units()) else "float32"
    return Device(torch.device("cuda" if cuda else "cpu"), precision)


def _has_bfloat16_units() -> bool:
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def halved(size: int, what: str) -> int:
    """Half of `size`, with a warning that memory does not suffice for it. Re-raises for a size of 1."""
    if size <= 1:
        raise  # noqa: PLE0704  (the error that is being handled)
    torch.cuda.empty_cache()
    warnings.warn(f"the GPU has not enough memory for {size} {what}: going on with {size // 2}", stacklevel=3)
    return size // 2


def count(operations: int) -> None:
    """Add to the operations of the job that is running; does nothing outside one."""
    meter = _meter.get()
    if meter is not None:
        meter.operations += operations


def operations_of(function: Callable[[], object]) -> int:
    """The operations that torch's own counter sees while `function` runs; for what no closed formula is known of.

    Its first use takes a second, and watching makes small networks slow: let `function` work on one image, once.
    """
    from torch.utils.flop_counter import FlopCounterMode

    with torch.enable_grad(), FlopCounterMode(display=False) as counter:
        function()
    return int(counter.get_total_flops())


def counted(function: Callable[[], T]) -> tuple[T, int]:
    """What `function` returns, and the operations that it counted; they count for whoever watches around it, too."""
    meter = _Meter()
    token = _meter.set(meter)
    try:
        value = function()
    finally:
        _meter.reset(token)
    count(meter.operations)
    return value, meter.operations


def counted_job(
    name: str, function: Callable[..., T], *args: Any, key: str | None = None, portable: bool = False
) -> Job[T]:
    """A job that runs `function(*args)` and hands over the operations that it counted; `key` and `portable` as for
    `simnet.Job`.
    """
    return Job(name, _Counted(name, function, args), key, portable)


@dataclass(frozen=True, slots=True)
class _Counted(Generic[T]):
    """What such a job runs; an object, not a function within one, so that it can be pickled."""

    title: str
    function: Callable[..., T]
    args: tuple[Any, ...]

    def __call__(self) -> Computed[T]:
        value, operations = counted(partial(self.function, *self.args))
        return Computed(value, float(operations))


@contextmanager
def reporting_to(listener: Progress) -> Iterator[None]:
    """Within this context, `report` tells `listener` how far long computations are."""
    token = _progress.set(listener)
    try:
        yield
    finally:
        _progress.reset(token)


def report(what: str, done: int, total: int) -> None:
    """Say that `done` of `total` steps of `what` are done."""
    listener = _progress.get()
    if listener is not None:
        listener(what, done, total)

"""What a computer is to the simulation: how fast it works, what power it draws, and what virtual time a job costs.

A job runs for real; the virtual clock is then charged by the host's device: `modelled` (operations counted /
rate of the device; the default, and the only deterministic one beside `fixed`), `measured` (wall time x a
factor) or `fixed`. Modelled rates are sustained single-precision rates for small convolutions, not peaks. Not
modelled: memory, start-up, throttling, and jobs of one host that compete for its processor: they run one after
another.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Computed(Generic[T]):
    """What a job hands back: its result, and the floating-point operations that it took."""

    value: T
    operations: float


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A piece of computation: `run` does it, `name` is what the trace calls it.

    Jobs with the same `key` compute the same, so that an executor may remember what came out; None says nothing.
    A `portable` one can be pickled, and computes the same in any process.
    """

    name: str
    run: Callable[[], Computed[T]]
    key: str | None = None
    portable: bool = False


@dataclass(frozen=True, slots=True)
class Device:
    """A machine's speed at this kind of work, and its power.

    `operations_per_s` is sustained, in floating-point operations (a multiply-add counts two); `source` says
    where it comes from. `busy_w` is the power in watts while it computes, `idle_w` while it does not; `power_source`
    says where they come from. A device of 0 W is one of which nobody said what it draws: its energy is not counted.
    """

    name: str
    operations_per_s: float
    source: str
    busy_w: float = 0.0
    idle_w: float = 0.0
    power_source: str = "no power is given: its energy is not counted"


@dataclass(frozen=True, slots=True)
class Radio:
    """What a host's access to the network takes for each bit on the wire, in joules; `source` says who measured it."""

    name: str
    transmit_j_per_bit: float
    receive_j_per_bit: float
    source: str


UNLIMITED = Device("unlimited", float("inf"), "a host to which no device was assigned computes in no time")


class Timing(Protocol):
    """Says how many virtual seconds a finished job is charged."""

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """Virtual seconds for a job of `operations` that took `wall_s` here."""


@dataclass(frozen=True, slots=True)
class Modelled:
    """Operations divided by the device's rate; deterministic."""

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """operations / rate."""
        return operations / device.operations_per_s


@dataclass(frozen=True, slots=True)
class Measured:
    """Wall time on this machine times `factor`; differs from run to run."""

    factor: float = 1.0

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """wall time x factor."""
        return wall_s * self.factor


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same time for every job, for tests and lessons."""

    seconds: float

    def charge_s(self, device: Device, operations: float, wall_s: float) -> float:
        """The fixed time."""
        return self.seconds


def job(name: str, function: Callable[..., T], *args: Any, operations: float = 0.0) -> Job[T]:
    """A job from a plain function whose number of operations is known beforehand."""
    return Job(name, lambda: Computed(function(*args), operations))

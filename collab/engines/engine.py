"""What an engine is: a place where functions run, here or elsewhere, and where their results come back from."""

from __future__ import annotations

import functools
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, Literal, Protocol, Self, TypeVar

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
EngineName = Literal["inline", "processes", "ray"]


@dataclass(frozen=True, slots=True)
class Done(Generic[T_co]):
    """What a function returned, the wall seconds that it took where it ran, and the size of its result as it travelled
    (0 if it did not).
    """

    value: T_co
    wall_s: float
    size_bytes: int = 0


class EngineChoice(Protocol):
    """Which engine is wanted; `collab.settings.ComputeSettings` is one."""

    @property
    def executor(self) -> EngineName:
        """Its name."""

    @property
    def workers(self) -> int | None:
        """How many functions run at a time; None for as many as there are cores."""

    @property
    def threads(self) -> int | None:
        """Threads of torch in each worker; None for a fair share of the cores."""

    @property
    def address(self) -> str | None:
        """Of a cluster of Ray's: "auto", or where its head is. None for one of this machine's own."""

    @property
    def gpus_per_client(self) -> float | None:
        """The share of a GPU that Ray is to reserve for each function; None for the engine's default."""

    @property
    def device(self) -> str:
        """Where torch works: "auto", "cpu" or "cuda"."""


class Engine(Protocol):
    """Runs functions, at most `workers` of them at a time.

    What is submitted is taken as it is at that moment. Large arrays in it go to the workers by reference, stored once:
    whoever submits one must not change it afterwards. On every engine but `inline` functions and results are pickled:
    a function is one that can be imported (of a module, or an object made of one), not one of a script itself.
    """

    @property
    def workers(self) -> int:
        """How many functions run at a time."""

    def submit(self, function: Callable[..., T], *args: Any) -> Future[Done[T]]:
        """Run `function(*args)` as soon as a worker is free, in the order of submission.

        The future raises what the function raised, with its class; `collab.errors.OutOfMemoryError` for want of memory,
        and `WorkerLostError` if the worker that ran it was lost, and those that ran it again.
        """

    def close(self) -> None:
        """End the workers at once, whatever they do; what is not done is cancelled. May be repeated."""

    def __enter__(self) -> Self:
        """The engine; it is closed at the end of the block, also by an error or Ctrl-C."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""


def title_of(function: Callable[..., object]) -> str:
    """What to call a function in a message: its attribute `title`, or else its name."""
    while isinstance(function, functools.partial):
        function = function.func
    title = getattr(function, "title", None) or getattr(function, "__qualname__", None)
    return str(title or type(function).__name__)

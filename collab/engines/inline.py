"""The engine that needs nothing: functions run in this process, one at a time, when they are submitted."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from collab.engines.engine import Done, title_of
from collab.engines.shortage import naming_shortage

T = TypeVar("T")


class InlineEngine:
    """Runs functions at once, in the calling thread: `submit` returns when the function has ended."""

    workers = 1

    def submit(self, function: Callable[..., T], *args: Any) -> Future[Done[T]]:
        """Run it now. Ctrl-C is raised here, all else by the future."""
        future: Future[Done[T]] = Future()
        started_s = time.perf_counter()
        try:
            with naming_shortage(title_of(function), self.workers):
                value = function(*args)
        except Exception as error:  # raised again by the future
            future.set_exception(error)
        else:
            future.set_result(Done(value, time.perf_counter() - started_s))
        return future

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> Self:
        """The engine."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Nothing to end."""

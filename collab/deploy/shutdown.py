"""SIGTERM, in order: what is under way may end, for a bounded time, and nothing that was kept is lost.

Outside an event loop SIGTERM ends the process where it stands, as Ctrl-C does; that is safe too, only less polite. The
second one always does.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, TypeVar

from collab.errors import StoppedError

T = TypeVar("T")
GRACE_S = 30.0
"""How long what is under way may take to end."""
SERVER_STOPPED = "stopped; no run was written, the same command goes on with the uploads that were accepted"
SITE_STOPPED = "stopped; the same command goes on: where it was with --site and --disk, else from the beginning"


class Terminated(KeyboardInterrupt):
    """SIGTERM came, and nothing was there to end in order."""


def terminate(_number: int, _frame: FrameType | None) -> NoReturn:
    """What a command does at SIGTERM. Raises `Terminated`, in the main thread, wherever that is."""
    raise Terminated


class Shutdown:
    """One process that is told to stop: it hears of it, ends what is under way, and says so."""

    def __init__(self, grace_s: float = GRACE_S, on_asked: Callable[[], None] = lambda: None) -> None:
        self._grace_s = grace_s
        self._on_asked = on_asked
        self._holders = 0
        self._nothing_held = asyncio.Event()
        self._nothing_held.set()

    async def end_or_stop(
        self, running: asyncio.Future[T], what: str, leave: Callable[[], Awaitable[None]] | None = None
    ) -> T:
        """The result of `running`. Raises what it raises, and `StoppedError(what)` once SIGTERM has come.

        Before that `leave()` may bring to an end what is under way, for `grace_s` seconds; without it that is what was
        `held`. Then `running` is cancelled; if it has ended meanwhile, its result counts. To be awaited in the main
        thread.
        """
        with self._heeded() as asked:
            waiting: asyncio.Future[Any] = asyncio.ensure_future(asked.wait())
            ends: list[asyncio.Future[Any]] = [running, waiting]
            try:
                await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
                if not running.done():
                    ends[1] = waiting = asyncio.ensure_future((leave or self._until_nothing_held)())
                    await asyncio.wait(ends, timeout=self._grace_s, return_when=asyncio.FIRST_COMPLETED)
                if running.done():
                    return await running
                if waiting.done():
                    await waiting
                running.cancel()
                await asyncio.wait({running})
                raise StoppedError(what)
            finally:
                waiting.cancel()

    @contextmanager
    def held(self) -> Iterator[None]:
        """What should come to its end before the process stops."""
        self._holders += 1
        self._nothing_held.clear()
        try:
            yield
        finally:
            self._holders -= 1
            if self._holders == 0:
                self._nothing_held.set()

    async def _until_nothing_held(self) -> None:
        await self._nothing_held.wait()

    @contextmanager
    def _heeded(self) -> Iterator[asyncio.Event]:
        """An event that SIGTERM sets, once: the next one does what it did before."""
        loop, before, asked = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM), asyncio.Event()

        def ask() -> None:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)
            self._on_asked()
            asked.set()

        loop.add_signal_handler(signal.SIGTERM, ask)
        try:
            yield asked
        finally:
            loop.remove_signal_handler(signal.SIGTERM)
            signal.signal(signal.SIGTERM, before)

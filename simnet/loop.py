"""The asyncio event loop whose clock is SimPy.

`asyncio.sleep`, timeouts, timers of libraries and transfers all live in the one event queue of a
`simnet.clock.Clock`; the loop steps it where others wait for file descriptors. The wall clock is never read. Work
given to an executor runs at once, inline: a thread would race the virtual clock.

What has no meaning in virtual time (signals, subprocesses, file descriptors, TLS, UDP, `sendfile`) raises
`NotSimulatedError`; a run that can never wake again raises `DeadlockError`, which names who waits for what.
"""

from __future__ import annotations

import asyncio
import contextvars
import ipaddress
import socket
import threading
import weakref
from asyncio.futures import _set_result_unless_cancelled as wake_up  # type: ignore[attr-defined]  # asyncio.sleep's
from collections.abc import Callable, Sequence
from functools import partial
from heapq import heappop, heappush
from math import ceil, inf
from typing import Any, Protocol, TypeVar

from simpy.events import NORMAL

from simnet import waiting
from simnet.clock import TICKS_PER_SECOND, TOLERANCE_TICKS, Alarm, Clock
from simnet.errors import DeadlockError, NotSimulatedError
from simnet.refusals import RefusingLoop

T = TypeVar("T")
Address = tuple[str, int]
ProtocolFactory = Callable[[], asyncio.BaseProtocol]

current_host: contextvars.ContextVar[str] = contextvars.ContextVar("simnet_current_host")
"""The host that the running task belongs to; tasks and callbacks inherit it."""


_NOTHING: Any = object()
_NO_ENTRY = (0, 0, 0, None)
_TURNS_IN_ONE_MOMENT = 100_000
"""Turns of the loop after which time goes on although something is always ready to run."""


class Fabric(Protocol):
    """What the loop needs from the network behind it; see `simnet.streams`."""

    def resolve(self, name: str) -> str:
        """The address of the host called `name`. Raises `socket.gaierror` if there is none."""

    def name_of(self, address: str) -> str | None:
        """The host at an address, if there is one."""

    async def connect(
        self, address: Address, protocol_factory: ProtocolFactory
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Open a connection from the current host."""

    def listen(self, address: tuple[str | None, int], protocol_factory: ProtocolFactory) -> asyncio.AbstractServer:
        """Accept connections at the current host."""


class _Timer(asyncio.TimerHandle):
    """A timer handle that knows its alarm on the virtual clock."""

    __slots__ = ("alarm",)
    alarm: Alarm | None


class VirtualLoop(RefusingLoop):
    """An asyncio event loop in virtual time. `clock` is the SimPy environment that it runs on.

    Example:
        >>> loop = VirtualLoop()
        >>> loop.run_until_complete(asyncio.sleep(3600))
        >>> loop.time()
        3600.0
        >>> loop.close()
    """

    _ready: Any  # of BaseEventLoop: the handles that run next
    _stopping: bool
    _thread_id: int | None

    def __init__(self, clock: Clock | None = None) -> None:
        super().__init__()
        self.clock = clock if clock is not None else Clock()
        self.fabric: Fabric | None = None
        self.create_future = partial(asyncio.Future, loop=self)  # type: ignore[method-assign]
        self.set_debug(self.get_debug())
        self._turns = 0  # in this moment, while something polls
        self._waking = False
        self._clock_resolution = 1 / TICKS_PER_SECOND
        self._made: weakref.WeakKeyDictionary[asyncio.Task[Any], tuple[int, str | None]] = weakref.WeakKeyDictionary()
        self._made_count = 0
        self._runs_inline = False
        self._pending_connects: weakref.WeakKeyDictionary[socket.socket, Address] = weakref.WeakKeyDictionary()

    def __del__(self) -> None:
        """Nothing to warn of: a loop that was never closed holds no descriptors."""

    # -- tasks -----------------------------------------------------------------------------------

    def create_task(  # type: ignore[override]
        self, coro: Any, *, name: str | None = None, context: contextvars.Context | None = None, **options: Any
    ) -> asyncio.Task[Any]:
        """A task, numbered within this loop, so that names and order are the same in every run."""
        self._made_count += 1
        title = name if name is not None else f"task-{self._made_count}"
        task: asyncio.Task[Any] = super().create_task(coro, name=title, context=context, **options)
        host = current_host.get(None) if context is None else context.get(current_host)
        self._made[task] = (self._made_count, host)
        return task

    def tasks_in_order(self) -> list[asyncio.Task[Any]]:
        """All tasks that have not ended, in the order in which they were made."""
        return sorted((task for task in self._made if not task.done()), key=lambda task: self._made[task][0])

    def host_of(self, task: asyncio.Task[Any]) -> str | None:
        """The host that a task of this loop belongs to."""
        return self._made[task][1]

    # -- time ------------------------------------------------------------------------------------

    def time(self) -> float:
        """Virtual seconds since the start of the run."""
        return self.clock.now_s

    def call_later(  # type: ignore[override]
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` in `delay` virtual seconds."""
        if callback is wake_up and delay < inf and args[1] is None:
            # asyncio.sleep: its future lies in the queue itself, and serves as the handle, which is but cancelled.
            ticks = ceil(delay * TICKS_PER_SECOND - TOLERANCE_TICKS)
            if ticks > 0:
                clock, future = self.clock, args[0]
                heappush(clock._queue, (clock._now + ticks, NORMAL, next(clock._eid), future))
                return future  # type: ignore[no-any-return]
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.TimerHandle:
        """Run `callback` at the virtual time `when`."""
        self._check_closed()  # type: ignore[attr-defined]
        timer = _Timer(when, callback, args, self, context)
        ring = partial(self._ready.append, timer)
        timer.alarm = self.clock.call_at(when, ring) if when < inf else None  # "never", to asyncio
        return timer

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if isinstance(handle, _Timer) and handle.alarm is not None:
            handle.alarm.cancel()

    def set_debug(self, enabled: bool) -> None:
        """Switch asyncio's debug mode on or off."""
        super().set_debug(enabled)
        self.get_debug = partial(bool, enabled)  # type: ignore[method-assign]  # every future asks, so without a frame

    # -- turns -----------------------------------------------------------------------------------

    def _run_once(self) -> None:
        """Run what is ready, and step the clock when nothing is, until the loop is to stop."""
        ready = self._ready
        while True:
            for _ in range(len(ready)):
                handle = ready.popleft()
                if handle.__class__ is tuple:
                    self._wake(handle)
                elif not handle._cancelled:
                    handle._run()
            if self._stopping:
                return
            if ready:
                self._poll()
            else:
                self._turns = 0
                self._step()

    def _step(self) -> None:
        """Step the clock until something is ready or the loop is to stop."""
        clock, ready = self.clock, self._ready
        queue: list[Any] = clock._queue
        future_type, next_ready = asyncio.Future, ready.popleft
        while not ready:
            entry = queue[0] if queue else _NO_ENTRY
            event = entry[3]
            if event.__class__ is not future_type:
                if clock.idle():
                    raise DeadlockError(_who_waits(self))
                clock.step()
                continue
            # A task that sleeps wakes up: the most frequent event by far, so without the detours of the others.
            self._waking = True
            try:
                event.set_result(None)
            except asyncio.InvalidStateError:  # cancelled: the clock does not stop for it
                clock.idle()
                continue
            finally:
                self._waking = False
            heappop(queue)
            clock._now = entry[0]
            if ready:
                context, callback, future = next_ready()
                try:
                    context.run(callback, future)
                except BaseException as error:
                    self._report(error, callback)
                if self._stopping:
                    return

    def _wake(self, woken: tuple[contextvars.Context, Callable[[Any], object], Any]) -> None:
        context, callback, future = woken
        try:
            context.run(callback, future)
        except BaseException as error:
            self._report(error, callback)

    def _report(self, error: BaseException, callback: object) -> None:
        """What asyncio.Handle does with the error of a callback."""
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            raise error
        self.call_exception_handler({"message": f"Exception in callback {callback!r}", "exception": error})

    def _poll(self) -> None:
        """Something polls, with sleep(0): time would stand still for ever."""
        self._turns += 1
        if self._turns > _TURNS_IN_ONE_MOMENT:
            self._turns = 0  # also after an error: what ends the run needs turns of its own
            if self.clock.idle():
                raise DeadlockError("tasks poll with sleep(0) for what cannot happen any more; " + _who_waits(self))
            self.clock.step()

    def call_soon(  # type: ignore[override]
        self,
        callback: Callable[..., object],
        first: Any = _NOTHING,
        *others: Any,
        context: contextvars.Context | None = None,
    ) -> asyncio.Handle:
        """Run `callback` in the next turn."""
        if self._waking:  # called by the future that was given its result just now, which does not look at the answer
            self._ready.append((context, callback, first))
            return None  # type: ignore[return-value]
        self._check_closed()  # type: ignore[attr-defined]
        args = () if first is _NOTHING else (first, *others)
        if first.__class__ is asyncio.Future and first.cancelled():
            self.clock.sleep_cancelled()
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        """As `call_soon`. Raises `NotSimulatedError` from another thread, and from a job that runs inline."""
        if self._runs_inline or self._thread_id not in (None, threading.get_ident()):
            raise NotSimulatedError(
                "threads race the virtual clock: nothing may be called in from another thread, or from a function "
                "that runs in an executor"
            )
        return self.call_soon(callback, *args, context=context)

    def _write_to_self(self) -> None:
        """Nothing to wake: the loop never sleeps in the operating system."""

    # -- names and connections -------------------------------------------------------------------

    async def getaddrinfo(
        self,
        host: bytes | str | None,
        port: bytes | str | int | None,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (asyncio's own name)
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Addresses of a simulated host; takes no time. Raises `socket.gaierror` for an unknown name."""
        name = host.decode() if isinstance(host, bytes) else host or "127.0.0.1"
        if family == socket.AF_INET6:
            raise socket.gaierror(socket.EAI_FAMILY, "the simulated network has IPv4 only")
        try:
            address = str(ipaddress.ip_address(name))
        except ValueError:
            address = self._network().resolve(name)
        try:
            number = int(port or 0)
        except ValueError:
            raise socket.gaierror(socket.EAI_SERVICE, f"ports have numbers here, not names like {port!r}") from None
        return [(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, number))]

    async def getnameinfo(self, sockaddr: Any, flags: int = 0) -> tuple[str, str]:
        """The numeric form of an address: the simulated network has no reverse names."""
        return str(sockaddr[0]), str(sockaddr[1])

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Remember where the socket is to go; `create_connection` goes there and pays for the handshake."""
        self._pending_connects[sock] = (str(address[0]), int(address[1]))

    async def create_connection(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        **_options: Any,
    ) -> tuple[asyncio.Transport, asyncio.BaseProtocol]:
        """Connect over the simulated network, by name or with a socket that went through `sock_connect`.

        Raises `NotSimulatedError` for TLS, `simnet.errors.UnreachableError` if nobody listens there, and
        `simnet.errors.BoundaryError` if a trust boundary lies between.
        """
        if ssl:
            raise NotSimulatedError("TLS is not simulated: use plain http in virtual time")
        if sock is not None:
            # Close the real descriptor before the handshake takes time, or 1,000 clients run out of them.
            address = self._pending_connects.pop(sock, None)
            sock.close()
            if address is None:
                raise NotSimulatedError("create_connection(sock=...) with a socket that is no simulated one")
        else:
            infos = await self.getaddrinfo(host, port)
            address = infos[0][4]
        return await self._network().connect(address, protocol_factory)

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str | Sequence[str] | None = None,
        port: int | None = None,
        *,
        ssl: Any = None,
        sock: socket.socket | None = None,
        start_serving: bool = True,
        **_options: Any,
    ) -> asyncio.AbstractServer:
        """Listen on the current host. Raises `simnet.errors.PortInUseError` if the port is taken."""
        if ssl:
            raise NotSimulatedError("TLS is not simulated: use plain http in virtual time")
        if sock is not None or not start_serving:
            raise NotSimulatedError("create_server(sock=...) and start_serving=False are not simulated")
        if host is not None and not isinstance(host, str):
            if len(host) != 1:
                raise NotSimulatedError("create_server on several addresses is not simulated")
            host = host[0]
        return self._network().listen((host or None, port or 0), protocol_factory)

    def _network(self) -> Fabric:
        if self.fabric is None:
            raise NotSimulatedError("this loop has no network behind it; make one with simnet.SimulatedNetwork")
        return self.fabric

    # -- work ------------------------------------------------------------------------------------

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        """Run `func` at once, inline, in no virtual time: a thread would race the clock."""
        self._check_closed()  # type: ignore[attr-defined]
        future: asyncio.Future[T] = self.create_future()
        nested, self._runs_inline = self._runs_inline, True
        try:
            future.set_result(func(*args))
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # handed to whoever awaits the future
            future.set_exception(error)
        finally:
            self._runs_inline = nested
        return future

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Nothing to shut down."""


def _who_waits(loop: VirtualLoop) -> str:
    failed = [task for task in loop._made if task.done() and not task.cancelled() and task._log_traceback]
    name_of: waiting.NameOf = loop.fabric.name_of if loop.fabric is not None else lambda _address: None
    return waiting.report(
        loop.time(),
        [(task, loop._made[task][1]) for task in loop.tasks_in_order()],
        [(task, loop._made[task][1]) for task in sorted(failed, key=lambda task: loop._made[task][0])],
        name_of,
    )

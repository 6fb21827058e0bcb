"""Hosts that are switched off and on again, and the programs that start with them.

A crash takes no time and says goodbye to nobody: the tasks of the host are cancelled (what they still do in their
`finally` blocks reaches neither the network nor the disk), its listeners and connections vanish, its memory is gone.
Its disk is kept. Peers notice by a time-out, or by a reset once the host is up again and gets something for a
connection that it does not know. Not modelled: the time that starting takes; half a write to the disk.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from simnet.carriage import Carriage
from simnet.disk import MemoryDisk
from simnet.errors import FaultError, HostLostError
from simnet.loop import VirtualLoop
from simnet.network import ProgramFactory
from simnet.streams import StreamNetwork
from simnet.trace import Trace

T = TypeVar("T")
_TURNS = 1000  # of the loop that a task may take to end once it is cancelled


class Machine(Protocol):
    """What switching needs of a host."""

    name: str

    def start(self, program: Coroutine[Any, Any, T], name: str | None = None) -> asyncio.Task[T]:
        """Run a coroutine as a task of the host."""

    def renew_carriage(self) -> Carriage:
        """Forget everything that carries messages; returns it."""


@dataclass(eq=False)
class _Program:
    """A program that starts with its host, and what it is to yield."""

    machine: Machine
    factory: ProgramFactory[Any]
    name: str | None
    result: asyncio.Future[Any]
    task: asyncio.Task[Any] | None = None


class Power:
    """Which hosts are on, and what runs on them when they are."""

    def __init__(
        self, loop: VirtualLoop, streams: StreamNetwork, trace: Trace, machine_of: Callable[[str], Machine]
    ) -> None:
        self._loop = loop
        self._streams = streams
        self._trace = trace
        self._machine_of = machine_of
        self._off: Counter[str] = Counter()
        self._lost: set[str] = set()
        self._ending: dict[str, asyncio.Task[None]] = {}
        self._programs: defaultdict[str, list[_Program]] = defaultdict(list)
        self.disks: defaultdict[str, MemoryDisk] = defaultdict(MemoryDisk)

    def is_on(self, host: str) -> bool:
        """Whether the host is up."""
        return not self.disks[host].off

    def boot(self, machine: Machine, factory: ProgramFactory[T], name: str | None) -> asyncio.Future[T]:
        """Start a program now and after each restart; the result is that of its first run to come to an end.

        The future raises what the program raises, and `HostLostError` if the host crashes for good before the end.
        Cancelling it cancels the program.
        """
        program = _Program(machine, factory, name, self._loop.create_future())
        self._programs[machine.name].append(program)
        program.result.add_done_callback(lambda _: self._given_up(program))
        if self.is_on(machine.name):
            self._start(program)
        elif machine.name in self._lost:
            program.result.set_exception(self._lost_for_good(machine.name))
        return program.result

    def crash(self, host: str, *, for_good: bool) -> None:
        """Switch a host off; a second time only makes it take a second `restart` to come back."""
        self._off[host] += 1
        if for_good:
            self._lost.add(host)
            for program in self._programs[host]:
                if not program.result.done():
                    program.result.set_exception(self._lost_for_good(host))
        if self._off[host] > 1:
            return
        self._record(host, "crash")
        self.disks[host].off = True
        for task in self._tasks_of(host):
            task.cancel()
        self._streams.power_off(host)
        old = self._machine_of(host).renew_carriage()
        ending = self._loop.create_task(
            self._extinguish(host, old), name=f"the end of {host}", context=contextvars.Context()
        )
        self._ending[host] = ending

    def restart(self, host: str) -> None:
        """Switch a host on again, once everything from before has ended. Raises `FaultError` if it is on."""
        if not self._off[host]:
            raise FaultError(f"{host} cannot restart: it is on")
        self._off[host] -= 1
        if not self._off[host]:
            ending = self._ending[host]
            if ending.done():
                self._come_up(host)
            else:
                ending.add_done_callback(lambda _: self._come_up(host))

    def _come_up(self, host: str) -> None:
        if self._off[host] or not self.disks[host].off:  # it crashed once more meanwhile, or is up already
            return
        self.disks[host].off = False
        self._streams.power_on(host)
        self._record(host, "restart")
        for program in self._programs[host]:
            if not program.result.cancelled():
                self._start(program)

    def _start(self, program: _Program) -> None:
        program.task = program.machine.start(program.factory(), program.name)
        program.task.add_done_callback(lambda task: self._ended(program, task))

    def _ended(self, program: _Program, task: asyncio.Task[Any]) -> None:
        result = program.result
        if task.cancelled():
            if self.is_on(program.machine.name) and task is program.task:
                result.cancel()  # by its own doing
        elif error := task.exception():
            if not result.done():
                result.set_exception(error)
            elif not result.cancelled() and result.exception() is None:  # else whoever waited was told of a failure
                text = f"{task.get_name()} failed after its host's restart"
                self._loop.call_exception_handler({"message": text, "exception": error, "task": task})
        elif not result.done():
            result.set_result(task.result())

    def _given_up(self, program: _Program) -> None:
        if program.result.cancelled() and program.task is not None:
            program.task.cancel()

    def _tasks_of(self, host: str) -> list[asyncio.Task[Any]]:
        return [task for task in self._loop.tasks_in_order() if self._loop.host_of(task) == host]

    async def _extinguish(self, host: str, carriage: Carriage) -> None:
        """Cancel the host's tasks until none is left, also those that others make while they end."""
        for _ in range(_TURNS):
            await asyncio.sleep(0)
            tasks = self._tasks_of(host)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
        else:
            names = ", ".join(task.get_name() for task in self._tasks_of(host))
            self._loop.call_exception_handler({"message": f"{host} crashed, but these tasks refuse to end: {names}"})
        await carriage.abandon()

    def _lost_for_good(self, host: str) -> HostLostError:
        return HostLostError(f"{host} has crashed for good")

    def _record(self, host: str, what: str) -> None:
        self._trace.record(self._loop.time(), host, "power", what=what)

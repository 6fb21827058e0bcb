"""What the tasks of a run wait for, in words: the text of a `simnet.errors.DeadlockError`.

Of each task: its name, its host, what it awaits and where. What it awaits is read off the objects that its suspended
coroutines belong to: a connection (any object that holds a transport), a synchronisation primitive of asyncio, a
queue, other tasks, a sleep. Not known: who was to complete a bare future, who holds a lock, and what goes on inside
an asynchronous generator (Python does not show where it is suspended).
"""

from __future__ import annotations

import asyncio
import math
import os
import sysconfig
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FrameType
from typing import Any

import aiohttp

NameOf = Callable[[str], str | None]
"""The host at an address, if there is one."""

_MOST_TASKS = 1000  # lines of the text
_MOST_NAMES = 5  # of the tasks that one task awaits
_MACHINERY = (sysconfig.get_path("stdlib") + "/asyncio", os.path.dirname(__file__), os.path.dirname(aiohttp.__file__))
_LIBRARIES = (*_MACHINERY, *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")))
_TO_TRANSPORT = (("transport",), ("_transport",), ("_protocol", "transport"), ("protocol", "transport"))


def report(
    now_s: float,
    waiting: Sequence[tuple[asyncio.Task[Any], str | None]],
    failed: Iterable[tuple[asyncio.Task[Any], str | None]],
    name_of: NameOf,
) -> str:
    """The whole text: every waiting task with its host, and the tasks whose failure nobody noticed."""
    lines = [
        f"  {task.get_name()} ({_place(host)}) awaits {awaited(task, name_of)}, at {where(task)}"
        for task, host in waiting[:_MOST_TASKS]
    ]
    if len(waiting) > _MOST_TASKS:
        lines.append(f"  and {len(waiting) - _MOST_TASKS} more")
    for task, host in failed:
        error = task.exception()
        lines.append(f"  {task.get_name()} ({_place(host)}) failed, unnoticed: {type(error).__name__}: {error}")
    head = f"nothing will ever happen again after {now_s:.6f} s, but {len(waiting)} task(s) wait:"
    return "\n".join([head, *lines])


def _place(host: str | None) -> str:
    return f"on {host}" if host else "its host unknown"


def where(task: asyncio.Task[Any]) -> str:
    """The innermost place of the program itself that the task waits at, and what of a library it waits in there."""
    frames = list(_frames(task))
    if not frames:
        return "its start"
    own = frames[-1 if (index := _own(frames)) is None else index]
    inner = "" if frames[-1] is own else f" in {frames[-1].f_code.co_qualname}"
    return _place_in(own) + inner


def awaited(task: asyncio.Task[Any], name_of: NameOf) -> str:
    """What the task awaits, in words."""
    future = getattr(task, "_fut_waiter", None)
    if isinstance(future, asyncio.Task):
        return f"the task {future.get_name()}"
    if children := getattr(future, "_children", None):  # of asyncio.gather
        return _the_tasks(children)
    for frame in _library_first(task):
        words = _by_function(frame) or _by_owner(frame, name_of)
        if words is not None:
            return words
    return "its first turn" if future is None else "a future that nobody completes"


# -- the coroutines of a task ---------------------------------------------------------------------


def _frames(task: asyncio.Task[Any]) -> Iterator[FrameType]:
    """The frames of the coroutines that wait for each other, the task's own first."""
    if not task.get_stack():
        return  # it has not begun, or has ended
    coroutine: Any = task.get_coro()
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None:
            yield frame
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)


def _library_first(task: asyncio.Task[Any]) -> list[FrameType]:
    """The frames of the library that the task waits in, as the program called them, and then the program's own."""
    frames = list(_frames(task))
    own = _own(frames)
    return frames[::-1] if own is None else [*frames[own + 1 :], frames[own]]


def _own(frames: Sequence[FrameType]) -> int | None:
    """Which frame is the innermost of the program itself: of no library, or else of none that is made for waiting."""
    for excluded in (_LIBRARIES, _MACHINERY):  # the latter for a program that is installed beside its libraries
        for index in reversed(range(len(frames))):
            if not frames[index].f_code.co_filename.startswith(excluded):
                return index
    return None


def _is_library(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(_LIBRARIES)


def _place_in(frame: FrameType) -> str:
    return f"{frame.f_code.co_qualname} ({frame.f_code.co_filename}:{frame.f_lineno})"


# -- words ----------------------------------------------------------------------------------------


def _by_function(frame: FrameType) -> str | None:
    """What asyncio's own functions wait for; they have no object that says it."""
    if not _is_library(frame):
        return None
    name, local = frame.f_code.co_qualname, frame.f_locals
    if name == "sleep" and "delay" in local:
        if math.isinf(local["delay"]):
            return "a sleep without end"
        timer = local.get("h")
        if timer is None:
            return "a sleep of no time"
        if isinstance(timer, asyncio.Future):  # the loop gives a sleep its own future for a handle
            return f"a sleep of {local['delay']:g} s"
        return f"a sleep until {timer.when():.6f} s"
    if name == "_wait" and "fs" in local:  # of asyncio.wait
        return _the_tasks(local["fs"])
    if name == "wait_for" and isinstance(local.get("fut"), asyncio.Task):
        return f"the task {local['fut'].get_name()}"
    if name == "TaskGroup.__aexit__":
        return _the_tasks(local["self"]._tasks)
    return None


def _by_owner(frame: FrameType, name_of: NameOf) -> str | None:
    """What a method waits for, by the object that it belongs to."""
    owner, method = frame.f_locals.get("self"), frame.f_code.co_name
    kind = type(owner).__name__
    match owner:
        case asyncio.Event():
            return f"an {kind} to be set" if kind == "Event" else f"a {kind} to be set"
        case asyncio.Lock() | asyncio.Semaphore():
            return f"a {kind} to be released"
        case asyncio.Condition():
            return f"a {kind} to be notified"
        case asyncio.Barrier():
            return f"a {kind}: {owner.n_waiting} of {owner.parties} are there"
        case asyncio.Queue():
            return _of_queue(owner, method)
    transport = _transport_of(owner)
    return None if transport is None else _of_connection(transport, method, name_of)


def _of_queue(queue: asyncio.Queue[Any], method: str) -> str:
    kind = type(queue).__name__
    if method == "get":
        return f"an item of an empty {kind}"
    if method == "put":
        return f"room in a {kind} full with {queue.maxsize}"
    return f"the end of {getattr(queue, '_unfinished_tasks', 0)} unfinished item(s) of a {kind}"


def _transport_of(owner: object) -> asyncio.Transport | None:
    for path in _TO_TRANSPORT:
        found: Any = owner
        for attribute in path:
            found = getattr(found, attribute, None)
        if isinstance(found, asyncio.Transport):
            return found
    return None


def _of_connection(transport: asyncio.Transport, method: str, name_of: NameOf) -> str:
    near, far = (_end(transport.get_extra_info(key), name_of) for key in ("sockname", "peername"))
    outstanding = getattr(transport, "outstanding_bytes", None)
    going, coming = outstanding() if outstanding is not None else (transport.get_write_buffer_size(), 0)
    if "drain" in method:
        unsent = transport.get_write_buffer_size()
        return f"its connection {near} > {far} to take what was written ({unsent} B unsent, {going} B unread there)"
    return f"data from {far} on its connection {near} < {far} ({coming} B on the way, {going} B unread there)"


def _end(address: tuple[str, int] | None, name_of: NameOf) -> str:
    if address is None:
        return "nowhere"
    return f"{name_of(address[0]) or address[0]}:{address[1]}"


def _the_tasks(futures: Iterable[asyncio.Future[Any]]) -> str:
    names = sorted(
        future.get_name() if isinstance(future, asyncio.Task) else "a future" for future in futures if not future.done()
    )
    shown = ", ".join(names[:_MOST_NAMES])
    more = len(names) - _MOST_NAMES
    return f"the task{'' if len(names) == 1 else 's'} {shown}{f' and {more} more' if more > 0 else ''}"

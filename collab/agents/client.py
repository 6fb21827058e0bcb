"""The agent of a site: fetch a task, compute, upload, ask again, until told that the run is over.

It only ever opens connections, so it works behind NAT; it asks with `Prefer: wait`, so that the server can hold
a request until there is something to say. A request that fails for lack of a connection is repeated: the
protocol survives repeats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from collab.agents.messages import (
    ALREADY_ACCEPTED,
    TASK_PATH,
    UPLOAD_PATH,
    read_task,
    state_of,
    upload_message,
)
from collab.compute import counted_job
from collab.errors import RunFailedError
from collab.methods import Sections, Site, Task, Upload, get
from simnet import Host, Message, Reply
from simnet.errors import RateError, UnreachableError

POLL_WAIT_S = 60
TOO_FAST = 429
_FIRST_BACK_OFF_S = 1.0
_LONGEST_BACK_OFF_S = 30.0


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failed request is repeated: after 1, 2, 4, ... seconds, at most 30, `attempts` times in all."""

    attempts: int = 6
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0


async def take_part(host: Host, server: str, site: Site, patience: Patience | None = None) -> None:
    """Take part in a run as `site`, from the first task to the end.

    Raises `RunFailedError` if the server refuses an upload or says that the run failed, and
    `simnet.errors.UnreachableError` if it cannot be reached for longer than the patience lasts.
    """
    patience = patience or Patience()
    while True:
        reply = await _persist(host, server, "GET", TASK_PATH.format(site=site.name), None, patience)
        if reply.status == 204:
            await asyncio.sleep(_retry_after_s(reply))
            continue
        _expect(reply, 200, "asked for a task")
        state, content = state_of(reply)
        if state == "done":
            return
        if state == "failed":
            raise RunFailedError(f"the server gave up: {content.fields.get('reason')}")
        task = read_task(content)
        job = counted_job(task.method, partial(_work, task, site))
        sections = await host.compute(job)
        await _upload(host, server, task, Upload(site.name, sections), patience)


def _work(task: Task, site: Site) -> Sections:
    return get(task.method).client(task, site)


async def _upload(host: Host, server: str, task: Task, upload: Upload, patience: Patience) -> None:
    path = UPLOAD_PATH.format(task=task.identity, site=upload.site)
    reply = await _persist(host, server, "PUT", path, upload_message(upload, task.identity), patience)
    if reply.status == 409 and reply.code == ALREADY_ACCEPTED:
        return  # an earlier attempt got through, only its answer was lost
    _expect(reply, 201, "uploaded")


async def _persist(
    host: Host, server: str, method: str, path: str, message: Message | None, patience: Patience
) -> Reply:
    """Send a request, again and again while there is no connection or the server is in trouble."""
    pause_s = patience.first_pause_s
    headers = {"Prefer": f"wait={POLL_WAIT_S}"} if method == "GET" else {}
    for attempt in range(1, patience.attempts + 1):
        last = attempt == patience.attempts
        try:
            reply = await _once_allowed(host, server, method, path, message, headers)
            if reply.status < 500 or last:
                return reply
        except UnreachableError:
            if last:
                raise
        await asyncio.sleep(pause_s)
        pause_s = min(2 * pause_s, patience.longest_pause_s)
    raise AssertionError("the last attempt returns or raises")


async def _once_allowed(
    host: Host, server: str, method: str, path: str, message: Message | None, headers: Mapping[str, str]
) -> Reply:
    """Send a request; if it comes faster than a boundary lets pass, wait as told and send it again.

    Sites of one tenant that wait for the same boundary back off, so that not all of them ask at every turn.
    """
    pause_s = 0.0
    while True:
        try:
            reply = await host.request(server, method, path, message, headers)
            if reply.status != TOO_FAST:
                return reply
            wait_s = _retry_after_s(reply)
        except RateError as refusal:
            wait_s = refusal.retry_after_s
        await asyncio.sleep(max(wait_s, pause_s))
        pause_s = min(2 * pause_s or _FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S)


def _expect(reply: Reply, status: int, what: str) -> None:
    if reply.status != status:
        raise RunFailedError(
            f"the server answered {reply.status} when the site {what}: {reply.reason or 'no reason given'}"
        )


def _retry_after_s(reply: Reply) -> float:
    try:
        return max(0.0, float(reply.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0

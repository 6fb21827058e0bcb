"""The agent of a site: fetch a task, compute, upload, ask again, until told that the run is over.

It only ever opens connections, so it works behind NAT; it asks with `Prefer: wait`, so that the server can hold
a request until there is something to say. A request that fails for lack of a connection, or that is never answered, is
repeated: the protocol survives repeats. What was computed is kept on the host's disk until the server has it, so that a
site that crashes and starts anew goes on where it was.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from collab import wire
from collab.agents.answered import answer_once
from collab.agents.keeping import kept
from collab.agents.messages import (
    ALREADY_ACCEPTED,
    LATE,
    TASK_PATH,
    UPLOAD_PATH,
    read_task,
    state_of,
    upload_message,
)
from collab.agents.terms import Terms
from collab.compute import counted_job
from collab.errors import CredentialsError, RunFailedError, WireError
from collab.methods import Sections, Site, Task, Upload, get
from simnet import Host, Job, Message, Reply
from simnet.draws import key
from simnet.errors import InterruptedPartsError, RateError, UnreachableError

POLL_WAIT_S = 60
TOO_SLOW, TOO_FAST = 408, 429
_NOT_BELIEVED = {"unknown-host", "wrong-tenant", "not-you"}  # codes of 403
_FIRST_BACK_OFF_S = 1.0
_LONGEST_BACK_OFF_S = 30.0
_KEPT = "upload/"  # on the disk: the upload for each task


OnTrouble = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Patience:
    """How often a failed request is repeated: after 1, 2, 4, ... seconds, at most 30, `attempts` times in all.

    Each pause is up to half as long again, drawn from the names of site and request: of sites that lose the server at
    the same moment not all come back at the same one, and a run repeats.

    An answer may take `answer_s` beyond what the server was asked to wait and what the request takes at `slowest_bps`;
    twice as long each time, so that a link that is slower still gets it through in the end. Whoever waits has nothing
    to send, so TCP does not tell when the other end has crashed.
    """

    attempts: int = 9
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    answer_s: float = 240.0
    slowest_bps: float = 10_000.0

    def pause_s(self, attempt: int, site: str, path: str) -> float:
        """Seconds between an attempt (the first is 1) of a site and the next one."""
        steady_s = min(self.first_pause_s * 2.0 ** (attempt - 1), self.longest_pause_s)
        return steady_s * (1 + key(0, "back-off", site, path, attempt) / 2**65)

    def limit_s(self, attempt: int, size_bytes: int) -> float:
        """Seconds after which an attempt (the first is 1) to send so many bytes is given up."""
        return (POLL_WAIT_S + self.answer_s + 8 * size_bytes / self.slowest_bps) * 2.0 ** (attempt - 1)


async def take_part(
    host: Host,
    server: str,
    site: Site,
    patience: Patience | None = None,
    *,
    terms: Terms | None = None,
    uploading: Callable[[], AbstractContextManager[None]] = nullcontext,
    resumable: bool = False,
    on_trouble: OnTrouble = lambda _reason: None,
) -> None:
    """Take part in a run as `site`, from the first task to the end; do what is within the `terms`, if there are any.

    Each upload is sent within `uploading()`: whoever stops the site can wait for its end. With `resumable` uploads go
    in parts: where a connection breaks the next attempt goes on, and the patience lasts as long as they get further.
    `on_trouble` hears why the server has not answered when it is going to be asked again, and "" once it has.

    Raises `RunFailedError` if the server refuses an upload or says that the run failed, `ScenarioError` if it hands out
    a task that contradicts the terms, and `simnet.errors.UnreachableError` if it cannot be reached, or is in trouble,
    for longer than the patience lasts.
    """
    patience = patience or Patience()
    ask = partial(_persist, host, server, patience=patience, on_trouble=on_trouble)
    while True:
        reply = await ask("GET", TASK_PATH.format(site=site.name), None)
        if reply.status == 204:
            await asyncio.sleep(_retry_after_s(reply))
            continue
        _expect(reply, 200, "asked for a task")
        state, content = state_of(reply)
        if state == "done":
            _forget_uploads(host)  # one that was confirmed, and not forgotten because the site crashed
            return
        if state == "failed":
            raise RunFailedError(f"the server gave up: {content.fields.get('reason')}")
        task = read_task(content)
        if terms is not None:
            terms.check(task)
        answer_once(host.disk, task, reply.message.digest)
        upload = await _finished(host, site, client_job(site, task, reply.message.digest), task.identity)
        with uploading():
            send = partial(ask, "PUT", UPLOAD_PATH.format(task=task.identity, site=site.name), upload)
            await _upload(host, task, partial(send, resumable=resumable), resumable=resumable)


def client_job(site: Site, task: Task, digest: str) -> Job[Sections]:
    """What a site has to compute for a task; `digest` is that of the message that brought it.

    Whoever knows the message can have the computation begin before the site is told.
    """
    return counted_job(task.method, _Work(task, site), key=f"{site.name}/{digest}", portable=True)


@dataclass(frozen=True, slots=True)
class _Work:
    """What a site does for a task. In another process the settings are made anew: classes of presets have no place."""

    task: Task
    site: Site

    def __call__(self) -> Sections:
        task, site = self.task, self.site
        asked = (task.method, task.settings, task.seed, task.share, task.sections)
        parts = (*asked, site.name, site.data.digest, site.secret)
        return kept(task.method, "client", site.device, parts, partial(get(task.method).client, task, site))

    def __reduce__(self) -> tuple[Any, ...]:
        return _work_again, (replace(self.task, settings=self.task.settings.model_dump(exclude={"name"})), self.site)


def _work_again(task: Task, site: Site) -> _Work:
    return _Work(replace(task, settings=get(task.method).Settings(**task.settings)), site)


async def _finished(host: Host, site: Site, job: Job[Sections], task: str) -> Message:
    """The upload for a task: as it was computed before a crash, or computed now and kept."""
    place = _KEPT + task
    _forget_uploads(host, but=place)
    try:
        body = host.disk.read(place)
        return Message(body, wire.unpack(body).kinds)
    except (KeyError, WireError):
        pass  # there is none, or none that is whole: then it is computed, again if need be
    sections = await host.compute(job)
    message = upload_message(Upload(site.name, sections), task)
    host.disk.write(place, message.body)
    return message


def _forget_uploads(host: Host, but: str = "") -> None:
    for place in host.disk.keys(_KEPT):
        if place != but:
            host.disk.delete(place)


async def _upload(host: Host, task: Task, send: Callable[[], Awaitable[Reply]], *, resumable: bool) -> None:
    reply = await send()
    if reply.status == 410 and reply.code == LATE:
        host.record("late", task=task.identity)
    # An earlier attempt may have got through, and only its answer was lost.
    elif not (reply.status == 409 and reply.code == ALREADY_ACCEPTED):
        _expect(reply, 204 if resumable and reply.status == 204 else 201, "uploaded")
    host.disk.delete(_KEPT + task.identity)


async def _persist(
    host: Host,
    server: str,
    method: str,
    path: str,
    message: Message | None,
    *,
    patience: Patience,
    on_trouble: OnTrouble = lambda _reason: None,
    resumable: bool = False,
) -> Reply:
    """Send a request, again and again while there is no connection, no answer, or the server is in trouble."""
    attempt, reason = 1, ""
    headers = {"Prefer": f"wait={POLL_WAIT_S}"} if method == "GET" else {}
    while True:
        last = attempt == patience.attempts
        limit_s = patience.limit_s(attempt, 0 if message is None else len(message.body))
        send = partial(host.request, server, method, path, message, headers, resumable=resumable)
        try:
            reply = await _once_allowed(send, limit_s)
            if reply.status < 500 and reply.status != TOO_SLOW:
                if reason:
                    on_trouble("")
                return reply
            found = f"{server} answered {reply.status}: {reply.reason}"
            if last:  # it may be well again by the time that the site comes back
                raise UnreachableError(found)
        except UnreachableError as error:
            if isinstance(error, InterruptedPartsError) and error.gained_bytes > 0:
                attempt = 1
            elif last:
                raise
            found = str(error)
        except TimeoutError as error:
            found = f"{server} did not answer {host.name} within {limit_s:g} s"
            if last:
                raise UnreachableError(found) from error
        if not reason:
            reason = found
            on_trouble(reason)
        await asyncio.sleep(patience.pause_s(attempt, host.name, path))
        attempt += 1


async def _once_allowed(send: Callable[[], Awaitable[Reply]], limit_s: float) -> Reply:
    """Send a request; if it comes faster than a boundary lets pass, wait as told and send it again.

    Sites of one tenant that wait for the same boundary back off, so that not all of them ask at every turn. Raises
    `TimeoutError` if one answer takes longer than `limit_s`.
    """
    pause_s = 0.0
    while True:
        try:
            async with asyncio.timeout(limit_s):
                reply = await send()
            if reply.status != TOO_FAST:
                return reply
            wait_s = _retry_after_s(reply)
        except RateError as refusal:
            wait_s = refusal.retry_after_s
        await asyncio.sleep(max(wait_s, pause_s))
        pause_s = min(2 * pause_s or _FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S)


def _expect(reply: Reply, status: int, what: str) -> None:
    if reply.status != status:
        told = f"the server answered {reply.status} when the site {what}: {reply.reason or 'no reason given'}"
        not_believed = reply.status == 401 or (reply.status == 403 and reply.code in _NOT_BELIEVED)
        raise CredentialsError(told) if not_believed else RunFailedError(told)


def _retry_after_s(reply: Reply) -> float:
    try:
        return max(0.0, float(reply.headers.get("Retry-After", "1")))
    except ValueError:
        return 1.0

"""The agent of the server: hands out tasks, takes uploads in, refines once all are there, tells the sites when
it is over.

It is the `Fleet` that a method's server function asks. An upload that is not what the task asked for changes
nothing and gets an answer that says why; so does one that comes twice, late, or from the wrong site.

With `WaitingSettings` a round may be closed before all uploads are in; what was accepted counts, and whoever comes
afterwards is told to be late.

With a register a server keeps each upload there before it says that it was accepted. Started anew after a crash it
hands out the same tasks, takes in what it has kept, and waits for the rest: no upload is lost and none counts twice.
Large uploads are in its memory one at a time, however many come at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from collab import methods
from collab.agents.keeping import kept
from collab.agents.messages import (
    ALREADY_ACCEPTED,
    LATE,
    message,
    not_found,
    preferred_wait_s,
    read_upload,
    task_message,
)
from collab.agents.operations import GIVE_TASK, TAKE_UPLOAD
from collab.agents.register import Register
from collab.agents.rounds import Arrival, Round, RoundListener, UploadListener
from collab.compute import Device, counted_job
from collab.data import ImageSpec
from collab.errors import RefusedUploadError, WireError
from collab.methods import Ask, MethodSettings, Outcome, Task, Upload, check_sections
from collab.waiting_settings import WaitingSettings
from simnet import Host, Message, Reply, Request, Route, problem
from simnet.draws import key
from simnet.services import no_room, route_of
from simnet.spool import SpooledMessage

T = TypeVar("T")
FAREWELL_S = 30.0
_LOOK_AGAIN_S = 0.02
BACK_SOON_S = 2
"""After how many seconds those who waited are to ask again when the server is stopped."""


class ServerAgent:
    """One run of one method, seen from the server.

    A `register` keeps uploads on a disk; that disk, not the memory, then grows with the number of sites.
    """

    def __init__(
        self,
        host: Host,
        sites: Sequence[str],
        images: ImageSpec,
        method: str,
        settings: MethodSettings,
        seed: int,
        device: Device,
        on_upload: UploadListener | None = None,
        *,
        on_round: RoundListener | None = None,
        on_restored: UploadListener | None = None,
        register: Register | None = None,
        waiting: WaitingSettings | None = None,
    ) -> None:
        self.sites = tuple(sites)
        self.images = images
        self.settings: Any = settings
        self.seed = seed
        self.device = device
        self.serving = asyncio.Event()
        """Set when requests are answered."""
        self._host = host
        self._method = method
        self._on_upload = on_upload
        self._on_round = on_round
        self._on_restored = on_restored
        self._register = register
        self._accepting = asyncio.Lock()
        self._unanswered = 0  # uploads that are in and not confirmed
        self._at_hand: dict[tuple[str, str], Upload] = {}  # accepted, not yet folded, and not to be read again
        self._waiting = waiting
        self._lost: dict[str, str] = {}
        self._jobs = 0
        self.folded: dict[tuple[str, str], str] = {}
        """What the method has been given: (task, site) -> digest of the upload."""
        self._earlier_rounds = ""  # one digest of all that was given in them
        self._this_round: dict[str, str] = {}
        self._rounds: dict[str, Round] = {}
        self._current: Round | None = None
        self._news = {site: asyncio.Event() for site in self.sites}
        self._verdict: Message | None = None
        self._stopping = False
        self._told: set[str] = set()
        self._all_told = asyncio.Event()

    @property
    def share(self) -> int:
        """Images per class that each site is to distil."""
        return int(self.settings.images_per_site(len(self.sites)))

    @property
    def rounds(self) -> Mapping[str, Round]:
        """The rounds that this agent has begun, by task, in order; after a crash it comes to the earlier ones again."""
        return self._rounds

    @property
    def is_over(self) -> bool:
        """Whether the sites are being told how the run ended, or have been."""
        return self._verdict is not None

    def send_away(self) -> None:
        """Answer all who wait for a task, now: the server is to stop, and they are to ask again in a moment."""
        self._stopping = True
        for news in self._news.values():
            news.set()

    async def run(self, body_limit_bytes: int, extra_routes: Sequence[Route] = ()) -> Outcome:
        """Serve until the method has its result and the sites know; returns the result."""
        routes = [
            route_of(GIVE_TASK, self._give_task),
            route_of(
                TAKE_UPLOAD,
                self._take_upload,
                spool=self._register.spool if self._register else None,
                resumable=True,
                announced=self._announced,
            ),
            *extra_routes,
        ]
        await self._host.serve(routes, body_limit_bytes=body_limit_bytes)
        self.serving.set()
        try:
            outcome = await methods.get(self._method).server(self)
        except Exception as error:
            try:
                await self._part_with({"state": "failed", "reason": str(error)})
            finally:
                raise error  # also if the sites, told of it, bring the whole run down first
        self._host.record("result", method=self._method)
        await self._part_with({"state": "done"})
        return outcome

    # -- the fleet, as a method sees it ----------------------------------------------------------

    async def ask(self, asks: Mapping[str, Ask]) -> AsyncIterator[Upload]:
        """Send each site its task; yield the uploads as they arrive, one a site."""
        self._end_round()  # one that its method left early
        number = len(self._rounds) + 1
        mark = key(self.seed, "task", self._method, str(self.settings), number)
        this = Round(f"{self._method}-{number}-{mark:016x}", dict(asks), self._waiting)
        this.on_close = partial(self._keep_closed, this)
        self._open(this)
        kept = self._kept(this)
        this.answered.update(kept)
        this.close_at_quorum()
        self._rounds[this.identity] = self._current = this
        for site, reason in self._lost.items():
            this.lose(site, reason)
        if self._on_round is not None:
            self._on_round({site: self._task(this, ask) for site, ask in asks.items() if this.wants(site)})
        for site in asks:
            self._news[site].set()
        for position, site in enumerate(kept, 1):
            upload = self._read_again(this, site)
            self._host.record("restored", site=site, method=self._method)
            if self._on_restored is not None:
                self._on_restored(Arrival(upload, number, position, len(this.asks)))
            self._fold(this, site)
            yield upload
        position = len(kept)
        async for site in this.arrivals():
            arrived = self._at_hand.pop((this.identity, site), None)
            if arrived is None:
                await self._lull()
                arrived = self._read_again(this, site)
            position += 1
            if self._on_upload is not None:
                self._on_upload(Arrival(arrived, number, position, len(this.asks)))
            self._fold(this, site)
            yield arrived
            del arrived  # the next one is read with this one gone
        if this.missing:
            missing = " ".join(this.missing)
            self._host.record("closed", method=self._method, round=number, reason=this.closed, missing=missing)
        self._current = None
        self._end_round()
        this.forget()

    def _open(self, this: Round) -> None:
        """Keep that a task is handed out; it may have been before, and closed as well, until the server crashed."""
        if self._register is not None:
            now_s = self._host.elapsed_s()
            opened = self._register.open_task(this.identity, now_s)
            this.opened_s_ago = max(0.0, now_s - opened.at_s)
            this.closed = opened.closed

    def _keep_closed(self, this: Round, reason: str) -> None:
        if self._register is not None:
            self._register.close_task(this.identity, reason)

    async def _lull(self) -> None:
        """Let uploads come in, and be confirmed, before those that are in are worked on: whoever sends holds a link."""
        if self._register is not None and self._register.spool is not None:
            await self._register.spool.lull()
            while self._unanswered > 0:
                await asyncio.sleep(_LOOK_AGAIN_S)

    def _read_again(self, this: Round, site: str) -> Upload:
        """An upload as it was accepted."""
        if self._register is None:
            raise AssertionError("what is not at hand is in the register")
        return read_upload(self._register.read(this.identity, site), this.identity, site, intact=True)

    async def compute(self, name: str, function: Callable[..., T], *args: Any) -> T:
        """Compute at the server, in the time that its device needs."""
        self._jobs += 1
        # A server function is a function of the uploads, in any order: so is what it computes.
        given = (self._earlier_rounds, sorted(self._this_round.items()))
        digest = _digest(self._method, str(self.settings), self.seed, name, self._jobs, *given)
        parts = (digest, self.images)
        work = partial(kept, self._method, "server", self.device, parts, partial(function, *args))
        return await self._host.compute(counted_job(name, work, key=f"server/{digest}"))

    def _end_round(self) -> None:
        if self._this_round:
            self._earlier_rounds = _digest(self._earlier_rounds, sorted(self._this_round.items()))
            self._this_round = {}

    def _fold(self, this: Round, site: str) -> None:
        self.folded[this.identity, site] = self._this_round[site] = this.answered[site]

    def lose(self, site: str, reason: str) -> None:
        """Take note that a site will never be back.

        The run fails if its upload is still wanted, now or later, unless enough others suffice.
        """
        self._lost[site] = reason
        if self._current is not None:
            self._current.lose(site, reason)

    def _kept(self, this: Round) -> dict[str, str]:
        """The sites whose uploads for a task were accepted before a crash, and the digests of these."""
        if self._register is None:
            return {}
        return {site: digest for site, digest in self._register.uploads(this.identity).items() if site in this.asks}

    # -- the protocol ----------------------------------------------------------------------------

    async def _give_task(self, request: Request) -> Reply:
        site = request.parameters["site"]
        refusal = self._refuse_sender(request, site)
        if refusal is not None:
            return refusal
        wait_s = preferred_wait_s(request)
        if self._nothing_for(site) and wait_s > 0 and not self._stopping:
            await self._wait_for_news(site, wait_s)
        if self._verdict is not None:
            self._told.add(site)
            if len(self._told) == len(self.sites):
                self._all_told.set()
            return Reply(200, self._verdict)
        this = self._current
        if this is None or self._nothing_for(site):
            pause_s = BACK_SOON_S if self._stopping else int(wait_s <= 0)
            return Reply(204, headers={"Retry-After": str(pause_s)})
        return Reply(200, self._task(this, this.asks[site]))

    def _task(self, this: Round, ask: Ask) -> Message:
        """The message of a task, made once for all sites that are asked the same."""
        if id(ask) not in this.messages:
            task = Task(this.identity, self._method, self.settings, self.seed, self.share, ask.sections)
            this.messages[id(ask)] = task_message(task, self.settings, ask)
        return this.messages[id(ask)]

    async def _announced(self, request: Request) -> Reply | None:
        """The refusal of an upload of which nothing has come yet."""
        this = self._asked_by(request)
        return this if isinstance(this, Reply) else self._closed_to(this, request.parameters["site"], None)

    def _asked_by(self, request: Request) -> Round | Reply:
        """The round that an upload is for, if the sender was asked for one in it; else its refusal."""
        task, site = request.parameters["task"], request.parameters["site"]
        refusal = self._refuse_sender(request, site)
        if refusal is not None:
            return refusal
        this = self._rounds.get(task)
        if this is None and self._register is not None and self._register.has_task(task):
            return problem(503, "catching-up", f"after a crash the server has not come to the task {task} again yet")
        if this is None or site not in this.asks:
            return not_found("task", task)
        return this

    async def _take_upload(self, request: Request) -> Reply:
        this = self._asked_by(request)
        if isinstance(this, Reply):
            return this
        site, upload = request.parameters["site"], request.message
        refusal = self._closed_to(this, site, upload.digest)
        if refusal is not None:
            return refusal
        # Without a pause between the boundary's look at it, this one and the end of it: it is in memory meanwhile.
        try:
            content = read_upload(upload.body, this.identity, site, intact=upload.intact)
            check_sections(content.sections, this.asks[site].expects)
        except WireError as error:
            return problem(400, "unreadable", str(error))
        except RefusedUploadError as error:
            return problem(422, "not-as-asked", str(error))
        if isinstance(upload, SpooledMessage):
            del content  # as large as the body; it is read again when its turn has come
            return await self._keep(this, site, upload, None)
        return await self._keep(this, site, upload, content)

    async def _keep(self, this: Round, site: str, upload: Message, content: Upload | None) -> Reply:
        """Accept an upload that is as it should be; `content` is what is in it, if that is kept in memory."""
        self._unanswered += 1
        try:
            async with self._accepting:
                return await self._keep_one(this, site, upload, content)
        finally:
            self._unanswered -= 1

    async def _keep_one(self, this: Round, site: str, upload: Message, content: Upload | None) -> Reply:
        refusal = self._closed_to(this, site, upload.digest)  # to one that was sent twice, at the same time
        if refusal is not None:
            return refusal
        if self._register is not None:
            try:
                await self._register.accept(this.identity, site, upload)
            except OSError as error:
                return no_room(error.strerror or str(error))
            refusal = self._closed_to(this, site, upload.digest)
            if refusal is not None:  # a deadline has passed meanwhile
                self._register.take_back(this.identity, site)
                return refusal
        if content is not None:
            self._at_hand[this.identity, site] = content
        this.take_in(site, upload.digest)
        self._host.record("upload", site=site, method=self._method, bytes=len(upload.body))
        return Reply(201, message({"accepted": True}))

    def _closed_to(self, this: Round, site: str, digest: str | None) -> Reply | None:
        """The refusal of an upload that a site sends again, or too late; its digest is None before it is here."""
        if site in this.answered:
            other = "an upload of this site" if digest is None else "another upload of this site"
            detail = "this very upload" if this.answered[site] == digest else other
            return problem(409, ALREADY_ACCEPTED, f"{detail} was accepted for this task; nothing has changed")
        if this is not self._current or this.closed:
            return problem(410, LATE, "the task is closed; the upload was not used")
        return None

    def _refuse_sender(self, request: Request, site: str) -> Reply | None:
        if site not in self._news:
            return not_found("site", site)
        if request.source != site:
            return problem(403, "not-you", f"{request.source} may not speak for {site}")
        return None

    def _nothing_for(self, site: str) -> bool:
        if self._verdict is not None:
            return False
        this = self._current
        return this is None or not this.wants(site)

    async def _wait_for_news(self, site: str, wait_s: float) -> None:
        news = self._news[site]
        news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await news.wait()

    async def _part_with(self, fields: Mapping[str, Any]) -> None:
        """Tell every site how it ended; do not wait for ever for one that does not ask."""
        self._verdict = message(fields)
        for news in self._news.values():
            news.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(FAREWELL_S):
                await self._all_told.wait()


def _digest(*known: object) -> str:
    return hashlib.sha256(repr(known).encode()).hexdigest()

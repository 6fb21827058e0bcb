"""One run of `collab serve` and `collab join` under `kill -9` and broken links, and what must hold of it.

`benchmarks/faults.py` says what for, and plays many.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import multiprocessing
import os
import re
import shutil
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.faulty_link import FaultyLink, Sight
from collab.store import Run, find_run

LONGEST_RUN_S = 150.0
"""Whatever befalls a run, it has ended by then."""
_MOST_BYTES_UP = 300_000
_PRELOADED = [
    "__main__", "analysis.commands", "collab.cli", "collab.console", "collab.deploy.configuration", "collab.standalone",
    "pandas", "pyarrow.parquet",
]  # fmt: skip
_FAREWELL_S = 5.0  # how long sites have after the server has ended
_UPLOAD = re.compile(r"/v1/tasks/([^/]+)/uploads/([^/?]+)(/[^/?]+)?")
_SAME = ("result_digest", "accuracy", "accuracies")


class FindingError(Exception):
    """Something that no run may do."""


# -- processes -------------------------------------------------------------------------------------


def be_collab(arguments: list[str], folder: str, name: str) -> None:
    """The child: be the command `collab`, in a folder, and write what it prints to NAME.out and NAME.err there."""
    os.chdir(folder)
    for descriptor, suffix in ((1, "out"), (2, "err")):
        file = os.open(f"{name}.{suffix}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, descriptor)
        os.close(file)
    from collab.cli import main

    sys.argv = ["collab", *arguments]
    main()


def forking() -> ForkServerContext:
    """What starts processes from one that has imported all that `collab` needs."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOADED)
    return context


async def ended(process: BaseProcess) -> int:
    """The exit code of a process, once it has ended."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()
    loop.add_reader(process.sentinel, lambda: over.done() or over.set_result(None))
    try:
        await over
    finally:
        loop.remove_reader(process.sentinel)
    process.join()
    assert process.exitcode is not None
    return process.exitcode


# -- what is to happen -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Death:
    """When a process is killed: so long after a moment. Moments are what the link sees of uploads, and the `start`."""

    moment: str
    after_s: float


def draw_deaths(draws: np.random.Generator, most: int, quiet_s: float, *, server: bool) -> list[Death]:
    """Up to `most` deaths of one process, one after the other; a run without any takes `quiet_s`."""
    longest_s = {"start": 1.2 * quiet_s, "begun": 0.05, "whole": 0.04, "answered": 0.02}
    moments = list(longest_s)
    deaths = []
    for _ in range(int(draws.integers(most + 1))):
        moment = moments[int(draws.integers(len(moments)))]
        deaths.append(Death(moment, float(draws.uniform(0, longest_s[moment]))))
    if server and draws.random() < 0.1:
        deaths.append(Death("last", float(draws.uniform(0, quiet_s))))
    return deaths


@dataclass(frozen=True)
class Quiet:
    """A run that nothing befell: what it yielded and counted, and how long it took."""

    books: Mapping[str, Any]
    seconds: float


class Confirmations:
    """Which uploads the server has said that it has, and how: by the 201 to a whole one, or the 204 to the last part,
    which it repeats to whoever missed it.
    """

    def __init__(self) -> None:
        self.ways: dict[tuple[str, str], set[str]] = {}
        """By task and site."""
        self._lengths: dict[tuple[str, str], str] = {}  # of uploads in parts, as announced
        self._whole = 0

    def carries(self, task: str, site: str, sight: Sight) -> bool:
        """Whether a request brings an upload, or a part of it."""
        if sight.method == "POST" and sight.what == "begun":
            self._lengths[task, site] = sight.headers["upload-length"]
        return sight.method in ("PUT", "PATCH")

    def saw(self, task: str, site: str, answered: Sight) -> bool:
        """Take note of an answer; whether it confirms an upload."""
        way, told, upload = "", (answered.method, answered.status), (task, site)
        if told == ("PUT", 201):
            self._whole += 1
            way = f"whole, {self._whole}"
        elif told == ("PATCH", 204) and answered.headers["upload-offset"] == self._lengths.get(upload):
            way = answered.path
        if way:
            self.ways.setdefault(upload, set()).add(way)
        return bool(way)


class Trial:
    """One run of the scenario `text` in a folder of its own; without `quiet` nothing befalls it."""

    def __init__(
        self, context: ForkServerContext, text: str, sites: int, folder: Path, draws: np.random.Generator,
        quiet: Quiet | None,
    ) -> None:  # fmt: skip
        self._context = context
        self._folder = folder
        self._draws = draws
        self._quiet = quiet
        self._sites = [f"client-{number}" for number in range(sites)]
        self._pending: list[tuple[Death, str | None, asyncio.Future[None]]] = []
        self._alive: set[BaseProcess] = set()
        self._over = False
        self.confirmed = Confirmations()
        self.counts: Counter[str] = Counter()
        faults = 0 if quiet is None else int(draws.integers(1, 10))
        self._link = FaultyLink(draws, faults, _MOST_BYTES_UP, self._saw)
        (folder / "scenario.yaml").write_text(text)

    async def play(self) -> Quiet:
        """The run, from beginning to end. Raises `FindingError`."""
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(LONGEST_RUN_S), self._link, asyncio.TaskGroup() as group:
                sites = [group.create_task(self._site(site)) for site in self._sites]
                await self._server()
                self._over = True
                _, late = await asyncio.wait(sites, timeout=_FAREWELL_S)
                self.counts["sites that did not hear of the end"] += len(late)
                for task in late:
                    task.cancel()
        except TimeoutError:
            raise FindingError(f"it had not ended after {LONGEST_RUN_S:g} s") from None
        except BaseExceptionGroup as group:
            raise _first(group) from None
        finally:
            for process in self._alive:
                process.kill()
        self.counts.update(self._link.met)
        return await self._judged(time.monotonic() - began_s)

    # -- processes -------------------------------------------------------------------------------

    async def _server(self) -> None:
        store = self._folder / "store"
        arguments = ["serve", "scenario.yaml", "--port", "0", "--store", "store", "--name", "run", "--json"]
        for death in [*self._deaths(4, server=True), None]:
            code = await self._live("server", arguments, death)
            self._link.target = None
            if code != -9:
                if code:
                    raise FindingError(f"the server ended with {code}: {self._said('server')}")
                return
            self.counts["kills of the server"] += 1
            await asyncio.sleep(self._pause_s())
            if (self._folder / "runs" / "run").exists():
                self.counts["kills of a server whose run was written"] += 1
                return
            self._check_store(store)
        raise AssertionError("the last life has no death")

    async def _site(self, name: str) -> None:
        arguments = ["join", self._link.url, "--site", name, "--disk", "disks", "--patience", "90"]
        for death in [*self._deaths(2, server=False), None]:
            code = await self._live(name, arguments, death)
            if code == 0:
                if left := {file.name for file in (self._folder / "disks" / name).iterdir()} - {"lock"}:
                    raise FindingError(f"{name} has left on its disk {left}")
                return
            if code != -9:
                if self._over:  # it was started again too late to hear of the end
                    self.counts["sites that did not hear of the end"] += 1
                    return
                raise FindingError(f"{name} ended with {code}: {self._said(name)}")
            self.counts["kills of sites"] += 1
            await asyncio.sleep(self._pause_s())

    def _deaths(self, most: int, *, server: bool) -> list[Death]:
        return [] if self._quiet is None else draw_deaths(self._draws, most, self._quiet.seconds, server=server)

    def _pause_s(self) -> float:
        return float(self._draws.exponential(0.1))

    async def _live(self, name: str, arguments: list[str], death: Death | None) -> int:
        """The exit code of a process, which is killed if its `death` comes before its end."""
        process = self._context.Process(target=be_collab, args=(arguments, str(self._folder), name))
        error = self._folder / f"{name}.err"
        already = error.stat().st_size if error.exists() else 0
        process.start()
        self._alive.add(process)
        tasks = [asyncio.create_task(self._kill(process, death, None if name == "server" else name))]
        if name == "server":
            tasks.append(asyncio.create_task(self._find_port(error, already)))
        try:
            return await ended(process)
        finally:
            for task in tasks:
                task.cancel()
            process.kill()
            self._alive.discard(process)

    async def _kill(self, process: BaseProcess, death: Death | None, site: str | None) -> None:
        if death is None:
            return
        if death.moment != "start":
            moment = asyncio.get_running_loop().create_future()
            waiting = (death, site, moment)
            self._pending.append(waiting)
            try:
                await moment
            finally:
                self._pending.remove(waiting)
        await asyncio.sleep(death.after_s)
        process.kill()

    async def _find_port(self, file: Path, already: int) -> None:
        while True:
            if file.exists() and (found := re.search(rb"listening on \S+:(\d+);", file.read_bytes()[already:])):
                self._link.target = int(found[1])
                return
            await asyncio.sleep(0.01)

    def _said(self, name: str) -> str:
        return (self._folder / f"{name}.err").read_text()[-2000:]

    # -- what is seen and judged -----------------------------------------------------------------

    def _saw(self, sight: Sight) -> None:
        upload = _UPLOAD.fullmatch(sight.path)
        if sight.status >= 500:
            self.counts[f"answers {sight.status}"] += 1
        if upload is None:
            return
        task, site, _ = upload.groups()
        if sight.what == "answered":
            self.counts[f"uploads, {sight.method}: {sight.status}"] += 1
            if not self.confirmed.saw(task, site, sight):
                return
        elif not self.confirmed.carries(task, site, sight):
            return
        last = self._quiet is not None and len(self.confirmed.ways) == len(self._quiet.books["uploads"])
        for death, whose, moment in self._pending:
            fits = death.moment == sight.what or (death.moment == "last" and last)
            if fits and whose in (None, site) and not moment.done():
                moment.set_result(None)

    def _check_store(self, store: Path) -> None:
        """Raise `FindingError` if something that was confirmed is not in the store that a dead server has left."""
        confirmed = set(self.confirmed.ways)
        if not confirmed:
            return
        with tempfile.TemporaryDirectory() as place:
            for file in store.glob("register.sqlite*"):  # a copy: who opens it recovers it
                shutil.copy(file, place)
            with contextlib.closing(sqlite3.connect(Path(place) / "register.sqlite")) as database:
                try:
                    rows = database.execute("SELECT task, site, digest FROM uploads").fetchall()
                except sqlite3.OperationalError as error:
                    raise FindingError(f"the store has lost everything: {error}") from error
        for task, site, digest in rows:
            payload = store / "payloads" / digest[:2] / digest
            if not payload.exists() or hashlib.sha256(payload.read_bytes()).hexdigest() != digest:
                raise FindingError(f"the payload of {site} for {task} is lost or damaged after a kill")
        lost = confirmed - {(task, site) for task, site, _ in rows}
        if lost:
            raise FindingError(f"confirmed and not in the store after a kill: {sorted(lost)}")

    async def _judged(self, seconds: float) -> Quiet:
        """What the run has yielded, once all that must hold does."""
        run = find_run("run", self._folder / "runs")
        (summary,) = run.summary["methods"].values()
        if twice := [upload for upload, ways in self.confirmed.ways.items() if len(ways) > 1]:
            raise FindingError(f"confirmed, lost and taken in again: {twice}")
        books = {name: summary[name] for name in _SAME} | _books_of(run)
        if self._quiet is not None:
            for name, found in books.items():
                if found != self._quiet.books[name]:
                    raise FindingError(f"{name}: {found}, undisturbed: {self._quiet.books[name]}")
        if code := await self._live("audit", ["audit", "run"], None):
            raise FindingError(f"collab audit ended with {code}: {self._said('audit')}")
        if (self._folder / "store").exists() and not self.counts["kills of a server whose run was written"]:
            raise FindingError("the store is still there though the run is written")
        return Quiet(books, seconds)


def _books_of(run: Run) -> Mapping[str, Any]:
    """What a finished run has of its uploads: the site, round and bytes of each, and the digests of all images."""
    uploads = [(row.host, row.round, row.value) for row in run.metrics if row.metric == "upload_bytes"]
    images = run.methods[0].images
    return {
        "uploads": sorted(uploads),
        "images": {name: hashlib.sha256(pixels.tobytes()).hexdigest() for name, pixels in sorted(images.items())},
    }


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error

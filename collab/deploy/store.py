"""The store of a server: what it has accepted, safe against `kill -9` and power that fails at any instant.

    DIR/register.sqlite     tasks, sites, uploads and ledger (SQLite, WAL, synchronous=FULL)
    DIR/payloads/ab/abcd…   bodies of uploads, each named by its SHA-256
    DIR/incoming/           bodies on their way in; in `partial` those that come in parts, which outlast the server
    DIR/lock                held by the server that uses the store

A payload is written and synced, with the folders that name it, before the row that refers to it, and the row is
committed and synced before the site is told. So after a crash every row has its payload; a payload without a row was
never confirmed, and is deleted when the store is opened again. A store belongs to one scenario with one seed.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import sys
import threading
import time
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collab.agents.register import Opened
from collab.deploy.kept_ledger import KeptLedger
from collab.deploy.payloads import Payloads
from collab.deploy.quota import Quota
from collab.deploy.schema import NewerStoreError, migrate
from collab.deploy.shutdown import Terminated
from collab.errors import StoppedError, StoreError, TooFewUploadsError
from collab.process import give_back_memory
from simnet import Message
from simnet.disk import make_private_folder, sync
from simnet.ledger import Ledger, LedgerEntry
from simnet.spool import Spool, SpooledMessage, mapped

_STARTED = "(SELECT CAST(value AS REAL) FROM run WHERE key = 'started_unix_s')"
_WHY_CLOSED = "CASE WHEN closed_unix_s IS NULL THEN '' ELSE coalesce(closed_reason, 'by an earlier version') END"
_LARGEST_UNSYNCED_ENTRIES = 1000  # of the ledger, between two uploads
_MOST_WAITING_ENTRIES = 50_000  # of the ledger, while the register cannot be written: some 40 MB


@dataclass(frozen=True, slots=True)
class Accepted:
    """An upload in the store: the SHA-256 and length of its body, and when it came, in seconds of the run."""

    task: str
    site: str
    digest: str
    size_bytes: int
    at_s: float


class Store:
    """The register of a deployed server, in a folder. To be closed, best by `with`.

    `identity` is what the store belongs to, for example scenario and seed: a store of another is refused. Beyond the
    `quota` nothing is kept. Raises `StoreError`, also if another process uses the store or it was made by a newer
    version.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str], *, quota: Quota | None = None) -> None:
        self.folder = folder
        self._quota = quota or Quota(free_bytes=0, site_bytes=sys.maxsize)
        free_bytes, kept_s = self._quota.free_bytes, self._quota.unfinished_s
        self.spool = Spool(folder / "incoming", free_bytes=free_bytes, kept_s=kept_s, at_lull=give_back_memory)
        self._payloads = Payloads(folder / "payloads")
        self._lock = threading.Lock()
        self._ledger_entries: deque[str] = deque(maxlen=_MOST_WAITING_ENTRIES)
        self._untried_entries = 0  # that have come since writing was tried last
        self._failure = ""
        self._over = False
        self._goes_on = False
        self._seen: set[str] = set()  # digests that this process has computed
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            make_private_folder(folder)
            (folder / "register.sqlite").touch(mode=0o600)  # what SQLite puts beside it has the same permissions
            sync(folder.parent)
            self._held = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StoreError(f"{folder} cannot be the store: {error.strerror}; choose another --store") from error
        try:
            self._hold()
            self._database = sqlite3.connect(folder / "register.sqlite", isolation_level=None, check_same_thread=False)
            try:
                self._open(identity)
            except BaseException:
                self._database.close()
                raise
        except BaseException:
            os.close(self._held)
            raise

    def _hold(self) -> None:
        try:
            fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreError(
                f"{self.folder} is in use by another server; end that one, or choose another --store"
            ) from error

    def _open(self, identity: Mapping[str, str]) -> None:
        try:
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = FULL")
            self._database.execute("PRAGMA foreign_keys = ON")
            migrate(self._database)
        except NewerStoreError as error:
            raise StoreError(f"{self.folder} is the store of a newer version: {error}; update this program") from error
        except sqlite3.Error as error:
            raise StoreError(
                f"{self.folder}/register.sqlite cannot be read as a store: {error}; restore it, or choose another "
                "--store"
            ) from error
        self._belong_to(identity)
        self._check_not_failed()
        self._sweep()

    def _belong_to(self, identity: Mapping[str, str]) -> None:
        known = dict(self._database.execute("SELECT key, value FROM run"))
        if not known:
            values = {**identity, "started_unix_s": repr(time.time())}
            self._commit("INSERT INTO run VALUES (?, ?)", list(values.items()))
            return
        for name, value in identity.items():
            if known.get(name) != value:
                raise StoreError(
                    f"{self.folder} is the store of another run: its {name} is {_shown(known.get(name))}, this "
                    f"run's is {_shown(value)}; choose another --store, or delete that one if its run is over"
                )

    def _check_not_failed(self) -> None:
        """Refuse to begin again what cannot end otherwise. Raises `StoreError`."""
        for (reason,) in self._database.execute("SELECT value FROM run WHERE key = 'failed'"):
            raise StoreError(
                f"this run has failed already: {reason}; delete {self.folder} to begin anew, or choose another seed"
            )

    def _sweep(self) -> None:
        self.spool.clear()
        self._payloads.sweep(dict(self._database.execute("SELECT digest, size_bytes FROM uploads")))
        try:
            self._payloads.make_folders()
        except OSError as error:
            raise StoreError(f"{self.folder} cannot be the store: {error.strerror}; choose another --store") from error

    def close(self) -> None:
        """Write what is left of the ledger, and let go of the folder; where nothing is to go on, delete it."""
        with self._lock:
            self._commit()
            (uploads,) = self._database.execute("SELECT count(*) FROM uploads").fetchone()
            self._database.close()
            unfinished = any(self.spool.partial_folder.glob("bodies/*"))
            if self._over or (uploads == 0 and not unfinished and not self._goes_on):
                self._delete()
            os.close(self._held)

    def _delete(self) -> None:
        """Delete the store, and the folder if nothing else is in it."""
        # The register first: killed in between, payloads without rows are swept, rows without payloads are a loss.
        for file in sorted(self.folder.glob("register.sqlite*")):
            file.unlink()
        sync(self.folder)
        for name in ("payloads", "incoming"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "lock").unlink()
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def begin_writing(self, partial: Path) -> None:
        """Take note of the directory into which the run is being written."""
        with self._lock:
            self._commit("INSERT OR REPLACE INTO run VALUES ('partial', ?)", [(str(partial.resolve()),)])

    def clear_partial(self) -> None:
        """Delete what an earlier server of the run, which is gone, was writing: it is in the way of the next."""
        with self._lock:
            rows = self._database.execute("SELECT value FROM run WHERE key = 'partial'").fetchall()
        for (partial,) in rows:
            shutil.rmtree(partial, ignore_errors=True)

    def run_is_over(self) -> None:
        """The run is written: there is nothing to go on with, and `close` deletes the store."""
        self._over = True

    def goes_on(self) -> None:
        """The server is only being stopped: `close` keeps the store, also if all it holds are names."""
        self._goes_on = True

    def fails(self, reason: str) -> None:
        """The run has failed for good: whoever opens the store again is told why."""
        with self._lock:
            self._commit("INSERT OR REPLACE INTO run VALUES ('failed', ?)", [(reason,)])

    def __enter__(self) -> Store:
        return self

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        if isinstance(error, StoppedError | Terminated):
            self.goes_on()
        if isinstance(error, TooFewUploadsError):
            self.fails(str(error))
        self.close()

    # -- the register ----------------------------------------------------------------------------

    def open_task(self, task: str, now_s: float) -> Opened:
        """Keep that a task is handed out, at `now_s` of the run unless it was before."""
        with self._lock:
            self._database.execute(
                f"INSERT INTO tasks (task, opened_unix_s) VALUES (?, ? + {_STARTED}) ON CONFLICT DO NOTHING",
                (task, now_s),
            )
            at_s, closed = self._database.execute(
                f"SELECT opened_unix_s - {_STARTED}, {_WHY_CLOSED} FROM tasks WHERE task = ?", (task,)
            ).fetchone()
            return Opened(at_s, closed)

    def close_task(self, task: str, reason: str) -> None:
        """Keep that nothing more is taken in for a task, and why."""
        values = (time.time(), reason, task)
        with self._lock:
            self._database.execute("UPDATE tasks SET closed_unix_s = ?, closed_reason = ? WHERE task = ?", values)

    def has_task(self, task: str) -> bool:
        """Whether a task has been handed out, in this life of the server or an earlier one."""
        with self._lock:
            return self._database.execute("SELECT 1 FROM tasks WHERE task = ?", (task,)).fetchone() is not None

    def tasks(self) -> Collection[str]:
        """The tasks that have been handed out."""
        with self._lock:
            return [task for (task,) in self._database.execute("SELECT task FROM tasks ORDER BY rowid")]

    def uploads(self, task: str) -> Mapping[str, str]:
        """The sites whose uploads for a task were accepted, in this order, and the digests of these."""
        with self._lock:
            rows = self._database.execute("SELECT site, digest FROM uploads WHERE task = ? ORDER BY rowid", (task,))
            return dict(rows)

    async def accept(self, task: str, site: str, message: Message) -> None:
        """Keep a site's upload for a task: when this returns it is on the medium.

        Raises `OSError`, also if the register cannot be written or the site has its share of the disk; then nothing
        was kept.
        """
        try:
            await asyncio.to_thread(self._accept, task, site, message)
        except sqlite3.Error as error:
            raise OSError(errno.EIO, f"the register cannot be written: {error}") from error

    def _accept(self, task: str, site: str, message: Message) -> None:
        body = message.body
        self._quota.check(site, self._kept_bytes(site), len(body))
        if isinstance(message, SpooledMessage) and self.spool.owns(message.file):
            file = message.file
        else:
            file = self.spool.open(len(body))
            file.write(body)
        row = (task, site, message.digest, len(body), time.time())
        try:
            with self._payloads.placed(file, message.digest), self._lock:
                self._commit("INSERT INTO uploads VALUES (?, ?, ?, ?, ?)", [row])
        except BaseException:
            file.discard()
            raise
        self._seen.add(message.digest)

    def _kept_bytes(self, site: str) -> int:
        with self._lock:
            (kept,) = self._database.execute("SELECT sum(size_bytes) FROM uploads WHERE site = ?", (site,)).fetchone()
        return int(kept or 0)

    def take_back(self, task: str, site: str) -> None:
        """Forget an upload of which the site has not been told that it was accepted."""
        with self._lock:
            self._database.execute("DELETE FROM uploads WHERE task = ? AND site = ?", (task, site))

    def read(self, task: str, site: str) -> bytes:
        """The body of an upload that was accepted, as a read-only `memoryview` of its file.

        Raises `KeyError` if there is none, and `StoreError` if it is not what was accepted.
        """
        with self._lock:
            query = "SELECT digest FROM uploads WHERE task = ? AND site = ?"
            row = self._database.execute(query, (task, site)).fetchone()
        if row is None:
            raise KeyError((task, site))
        path = self._payloads.place(row[0])
        body = mapped(path)
        if row[0] not in self._seen and hashlib.sha256(body).hexdigest() != row[0]:
            raise StoreError(
                f"{path} has changed since the upload of {site} for {task} was confirmed; restore the "
                "file, or start over with another --store"
            )
        return body

    def accepted(self) -> list[Accepted]:
        """All uploads that were accepted, in order."""
        with self._lock:
            rows = self._database.execute(
                f"SELECT task, site, digest, size_bytes, max(0.0, accepted_unix_s - {_STARTED}) "
                "FROM uploads ORDER BY rowid"
            ).fetchall()
        return [Accepted(*row) for row in rows]

    # -- sites -----------------------------------------------------------------------------------

    def claim(self, site: str, key: str = "") -> None:
        """Keep that a site's name has been given away, to whoever has drawn the `key`, if that is not empty."""
        with self._lock:
            values = (site, time.time(), key or None)
            self._database.execute("INSERT INTO sites VALUES (?, ?, ?) ON CONFLICT DO NOTHING", values)

    def claimed(self) -> Mapping[str, str]:
        """The sites whose names have been given away -> the key of whoever got it, or nothing."""
        with self._lock:
            return dict(self._database.execute("SELECT site, coalesce(claim_key, '') FROM sites ORDER BY rowid"))

    # -- time and ledger -------------------------------------------------------------------------

    def elapsed_s(self) -> float:
        """Seconds since the store was made, which is when its run began."""
        with self._lock:
            (started,) = self._database.execute("SELECT value FROM run WHERE key = 'started_unix_s'").fetchone()
        return max(0.0, time.time() - float(started))

    def ledger(self) -> Ledger:
        """A ledger that begins with what the store has of it, and whose entries are kept as they come.

        They are written with the next upload, and every thousand: what was refused in the last moments before a crash
        may be missing, what was accepted is not. While the register cannot be written they wait, the latest of them.
        """
        return KeptLedger(self.ledger_entries(), self.note)

    def ledger_entries(self) -> list[LedgerEntry]:
        """The entries that are in the store."""
        with self._lock:
            rows = self._database.execute("SELECT entry FROM ledger ORDER BY line").fetchall()
        return [LedgerEntry(**json.loads(entry)) for (entry,) in rows]

    def note(self, entry: LedgerEntry) -> None:
        """Keep an entry of the ledger, with the next upload. That nothing can be written is no reason to refuse it."""
        with self._lock:
            self._ledger_entries.append(json.dumps(entry.as_dict()))
            self._untried_entries += 1
            if self._untried_entries >= _LARGEST_UNSYNCED_ENTRIES:
                self._write_ledger()

    def why_unwritable(self) -> str:
        """Why what waits of the ledger cannot be written, tried again if it could not before; empty if all is well."""
        with self._lock:
            if self._failure:
                self._write_ledger()
            return self._failure

    def _write_ledger(self) -> None:
        self._untried_entries = 0
        try:
            self._commit()
        except sqlite3.Error as error:
            self._failure = f"the register in {self.folder} cannot be written: {error}"

    def _commit(self, statement: str = "", rows: Sequence[tuple[Any, ...]] = ()) -> None:
        """Change the register and write what has come to the ledger, both or neither."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            if statement:
                self._database.executemany(statement, rows)
            entries = [(entry,) for entry in self._ledger_entries]
            self._database.executemany("INSERT INTO ledger (entry) VALUES (?)", entries)
        self._ledger_entries.clear()
        self._untried_entries, self._failure = 0, ""


def _shown(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:79]}…"


def run_identity(scenario: str, seed: int, text: str) -> Mapping[str, str]:
    """What a store belongs to: a scenario by its name, its seed and all that its file says."""
    return {"scenario": scenario, "seed": str(seed), "text_sha256": hashlib.sha256(text.encode()).hexdigest()}


def place_beside(runs_dir: Path, identity: Mapping[str, str]) -> Path:
    """Where the store of a run is if nobody says: hidden among the run directories, the same for the same run."""
    return runs_dir / f".{identity['scenario']}-{identity['text_sha256'][:8]}.store"

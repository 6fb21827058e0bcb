"""Where uploads that have begun are in a folder: they outlast the process. On a host's disk: `simnet.disk_bodies`.

    PARTIAL/bodies/IDENTITY         what has come of a body
    PARTIAL/bodies/IDENTITY.OFFSET  empty: what has come from there on counts only when its part is whole
    PARTIAL/records/k-IDENTITY      whose it is, as JSON; once the upload is finished also how it ended

A record names a body that is there, or an end; whatever else a process that was killed has left is deleted when the
next one opens the folder. A body is hashed as it comes, and anew after a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

from simnet.disk import FolderDisk, MemoryDisk, make_private_folder, sync
from simnet.disk_bodies import DiskBody
from simnet.spool import Spool, SpooledMessage, SpoolError, SpoolFile
from simnet.tenancy import Message
from simnet.uploads import PartialBody, Upload

_READ_BYTES = 1024 * 1024


class PartialBodies(Protocol):
    """A place for uploads that have begun."""

    def new_body(self, identity: str, length_bytes: int) -> PartialBody:
        """An empty body, that is to be so long. Raises `OSError`, also if it has no room."""

    def left(self, kept_s: float) -> Iterator[Upload]:
        """What an earlier process has left, each kept for `kept_s` seconds after its last byte."""

    async def keep(self, upload: Upload) -> None:
        """Keep an upload as it is now. Raises `OSError`."""

    def drop(self, upload: Upload) -> None:
        """Forget an upload, with its body."""


class _PartialFile(SpoolFile):
    """A file that `discard` does not delete: what has come of a body is of use also if it cannot be accepted now."""

    def write(self, piece: bytes) -> None:
        """Add what came next, whole or not at all. Raises `simnet.spool.SpoolError`."""
        try:
            super().write(piece)
        except SpoolError:
            os.ftruncate(self._file.fileno(), self.size_bytes)
            raise

    def discard(self) -> None:
        """Close it."""
        self._file.close()

    def go_on(self, known: Any, size_bytes: int) -> None:
        """Set what is known of the bytes that are there: their hash and number."""
        self._hash = known
        self.size_bytes = self._written_back_bytes = size_bytes

    @property
    def known(self) -> Any:
        """The hash so far."""
        return self._hash

    def cut_back(self, known: Any, size_bytes: int) -> None:
        """Take back what was written after a moment. Raises `OSError`."""
        os.ftruncate(self._file.fileno(), size_bytes)
        self.go_on(known, size_bytes)


class FileBody:
    """A body in a file. Raises `OSError` if there is none."""

    def __init__(self, spool: Spool, path: Path) -> None:
        self.path = path
        self.size_bytes = path.stat().st_size
        self._spool = spool
        self._known: Any = hashlib.sha256() if self.size_bytes == 0 else None  # the hash, unless it is to be made anew
        self._file: _PartialFile | None = None
        self._unsynced = True
        self._syncing = asyncio.Lock()
        self._mark: Path | None = None  # of a part that counts only as a whole

    async def open(self) -> None:
        """Go on at the end; what an earlier process has left is hashed first. Raises `OSError`."""
        if self._known is None:
            self._known = await asyncio.to_thread(_hash_of, self.path)
        self._file = _PartialFile(self._spool, self.path)
        self._file.go_on(self._known, self.size_bytes)

    def _open_file(self) -> _PartialFile:
        if self._file is None:
            raise RuntimeError(f"{self.path} is written while it is closed")
        return self._file

    def write(self, piece: bytes) -> None:
        """Add what came next, whole or not at all. Raises `simnet.spool.SpoolError`."""
        file = self._open_file()
        file.write(piece)
        self.size_bytes = file.size_bytes
        self._unsynced = True

    def mark(self, *, whole: bool = False) -> Callable[[], None]:
        """What takes back, while the body is open, all that is written from now on; `left` does if it is a `whole` and
        this process dies. Raises `OSError`.
        """
        if whole:
            # Its name holds all it says, so it is never half there. It goes, on the medium, when the part is synced.
            self._mark = self.path.with_name(f"{self.path.name}.{self.size_bytes}")
            self._mark.touch()
            self._unsynced = True
        known, size_bytes = self._open_file().known.copy(), self.size_bytes

        def undo() -> None:
            self._open_file().cut_back(known, size_bytes)
            self.size_bytes = size_bytes

        return undo

    def close(self) -> None:
        """Stop, for now."""
        if self._file is not None:
            self._known = self._file.known
            self._file.discard()
            self._file = None
        if self._mark is not None:
            self._mark.unlink(missing_ok=True)
            self._mark = None

    async def sync(self) -> None:
        """Have all of it on the medium. Raises `OSError`."""
        async with self._syncing:  # who comes meanwhile waits: what is on its way to the medium is not there
            if self._unsynced:
                self._unsynced = False  # first: what is written meanwhile is to be synced again
                try:
                    await asyncio.to_thread(_sync, self.path)
                except BaseException:
                    self._unsynced = True
                    raise

    async def message(self, kinds: frozenset[str], content_type: str) -> Message:
        """The body, whole, as a message; whoever gets it may take the file over. Raises `OSError`."""
        await self.open()
        return SpooledMessage(self._open_file(), kinds, content_type)

    def release(self) -> bool:
        """Let go of the message; whether nobody has taken the file over."""
        is_here = self._file is not None and not self._file.has_place
        self._unsynced = True  # somebody may have taken it over and given it back: its name is to be safe again
        self.close()
        return is_here

    def drop(self) -> None:
        """Delete the file, unless somebody has taken it over."""
        self.close()
        self.path.unlink(missing_ok=True)


class FolderBodies:
    """Uploads in the partial folder of a spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._bodies = spool.partial_folder / "bodies"
        self._records = FolderDisk(spool.partial_folder / "records")

    def new_body(self, identity: str, length_bytes: int) -> PartialBody:
        """An empty body, that is to be so long. Raises `OSError`, also if it has no room."""
        make_private_folder(self._bodies)
        self._spool.check_room(length_bytes)
        path = self._bodies / identity
        path.touch(mode=0o600)
        return FileBody(self._spool, path)

    def left(self, kept_s: float) -> Iterator[Upload]:
        """What an earlier process has left; what is of no use is deleted. Raises `OSError`."""
        self._records.sweep()
        self._cut_back()
        paths = {path.name: path for path in self._bodies.glob("*")}
        for identity in self._records.keys(""):
            upload = self._read(identity, kept_s)
            if upload is None:
                self._records.delete(identity)
                continue
            if upload.outcome is None:
                paths.pop(identity, None)
            yield upload
        for path in paths.values():
            path.unlink()

    def _cut_back(self) -> None:
        """Take back of each body what came of a part that counts only as a whole, and did not get there."""
        marks = [path for path in self._bodies.glob("*.*") if path.suffix[1:].isdecimal()]
        for mark in marks:
            body, size_bytes = self._bodies / mark.stem, int(mark.suffix[1:])
            if body.exists() and body.stat().st_size > size_bytes:
                os.truncate(body, size_bytes)
            mark.unlink()

    def _read(self, identity: str, kept_s: float) -> Upload | None:
        """An upload by its record; None if that cannot be read, or its body is gone without an outcome."""
        path = self._bodies / identity
        try:
            upload = Upload.recorded(identity, self._records.read(identity), DiskBody(MemoryDisk(), identity))
            if upload.outcome is None:
                upload.body = FileBody(self._spool, path)
                # It was kept anew with every part, without a new record.
                upload.expires_unix_s = max(upload.expires_unix_s, path.stat().st_mtime + kept_s)
        except (KeyError, ValueError, FileNotFoundError):
            return None
        return upload

    async def keep(self, upload: Upload) -> None:
        """Have the upload's record on the medium. Raises `OSError`."""
        await asyncio.to_thread(self._records.write, upload.identity, upload.record())

    def drop(self, upload: Upload) -> None:
        """Delete record and body. Raises `OSError`."""
        self._records.delete(upload.identity)
        upload.body.drop()


def _hash_of(path: Path) -> Any:
    known = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(_READ_BYTES):
            known.update(piece)
    return known


def _sync(path: Path) -> None:
    """Have the bytes of a file on the medium, and its name."""
    sync(path)
    sync(path.parent)

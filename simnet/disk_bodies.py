"""Uploads that have begun, on the disk of the host that serves them: they outlast a crash in virtual time, too.

    PLACE/record/IDENTITY        whose it is, as JSON; once the upload is finished also how it ended
    PLACE/body/IDENTITY/OFFSET   what came at once of a body, from there on
    PLACE/body/IDENTITY/mark     an offset: what has come from there on counts only when its part is whole

As on a disk of this machine, all that has been written is there after a crash. Nothing is copied on its way to a disk
in memory. Not modelled: after a crash the time for which an upload is kept begins anew.
"""

from __future__ import annotations

import contextlib
import errno
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator

from simnet.disk import Disk
from simnet.spool import SpoolError
from simnet.tenancy import Message
from simnet.uploads import PartialBody, Upload


class DiskBody:
    """A body under keys of a disk: a new one, or what is under the keys that are `left` after a crash."""

    def __init__(self, disk: Disk, place: str, left: Collection[str] = ()) -> None:
        self._disk = disk
        self._place = place
        self._mark = f"{place}/mark"
        self._marked = False
        self._pieces: dict[int, str] = {}  # where one begins -> its key, in order
        self.size_bytes = 0
        if left:
            self._find(left)

    def _find(self, keys: Collection[str]) -> None:
        """Know again what was written; delete what does not count."""
        end_bytes = int(self._disk.read(self._mark)) if self._mark in keys else math.inf
        for key in sorted(keys):
            if key == self._mark:
                continue
            offset = int(key.rpartition("/")[2])
            if offset == self.size_bytes and offset < end_bytes:
                self._pieces[offset] = key
                self.size_bytes += len(self._disk.read(key))
            else:
                self._disk.delete(key)
        self._disk.delete(self._mark)

    async def open(self) -> None:
        """Nothing to do."""

    def write(self, piece: bytes) -> None:
        """Add what came next. Raises `simnet.spool.SpoolError`."""
        key = f"{self._place}/{self.size_bytes:015}"
        try:
            self._disk.write(key, piece)
        except OSError as error:
            raise SpoolError(error.strerror or str(error)) from error
        self._pieces[self.size_bytes] = key
        self.size_bytes += len(piece)

    def mark(self, *, whole: bool = False) -> Callable[[], None]:
        """What takes back all that is written from now on; after a crash it has been taken back if it is a `whole`.

        Raises `OSError`.
        """
        size_bytes = self.size_bytes
        if whole:
            self._disk.write(self._mark, str(size_bytes).encode())
            self._marked = True

        def undo() -> None:
            with contextlib.suppress(OSError):  # of a host that is off: what is marked is taken back at its next start
                for offset in [offset for offset in self._pieces if offset >= size_bytes]:
                    self._disk.delete(self._pieces.pop(offset))
            self.size_bytes = size_bytes

        return undo

    def close(self) -> None:
        """The part is over: what has come of it and was not taken back counts."""
        if self._marked:
            self._marked = False
            with contextlib.suppress(OSError):  # as above
                self._disk.delete(self._mark)

    async def sync(self) -> None:
        """Nothing to do: what is written is on the disk."""

    async def message(self, kinds: frozenset[str], content_type: str) -> Message:
        """The body, whole, as a message. Raises `OSError`, also if the disk has lost some of it."""
        try:
            whole = b"".join(self._disk.read(key) for key in self._pieces.values())
        except KeyError as error:
            raise OSError(errno.EIO, f"the disk has lost {error}") from error
        if len(self._pieces) > 1:  # in one piece from now on: not twice in memory, where the disk is
            first, *others = self._pieces.values()
            self._disk.write(first, whole)
            for key in others:
                self._disk.delete(key)
            self._pieces = {0: first}
        return Message(whole, kinds, content_type)

    def release(self) -> bool:
        """True: it is here until it is dropped."""
        return True

    def drop(self) -> None:
        """Forget it. Raises `OSError`."""
        for key in (*self._pieces.values(), self._mark):
            self._disk.delete(key)
        self._pieces.clear()


class DiskBodies:
    """Uploads under `place` of a host's disk, kept by its clock `unix_s`."""

    def __init__(self, disk: Disk, place: str, unix_s: Callable[[], float]) -> None:
        self._disk = disk
        self._records = f"{place}/record/"
        self._bodies = f"{place}/body/"
        self._unix_s = unix_s

    def new_body(self, identity: str, length_bytes: int) -> PartialBody:
        """An empty body. Raises `OSError`."""
        return DiskBody(self._disk, self._bodies + identity)

    def left(self, kept_s: float) -> Iterator[Upload]:
        """What was begun before the host crashed; what is of no use is deleted. Raises `OSError`."""
        bodies: defaultdict[str, list[str]] = defaultdict(list)
        for key in self._disk.keys(self._bodies):
            bodies[key.removeprefix(self._bodies).partition("/")[0]].append(key)
        for key in self._disk.keys(self._records):
            identity = key.removeprefix(self._records)
            body = DiskBody(self._disk, self._bodies + identity, bodies.pop(identity, ()))
            try:
                upload = Upload.recorded(identity, self._disk.read(key), body)
            except ValueError:
                self._disk.delete(key)
                body.drop()
                continue
            upload.expires_unix_s = self._unix_s() + kept_s
            yield upload
        for keys in bodies.values():
            for key in keys:
                self._disk.delete(key)

    async def keep(self, upload: Upload) -> None:
        """Keep the upload's record. Raises `OSError`."""
        self._disk.write(self._records + upload.identity, upload.record())

    def drop(self, upload: Upload) -> None:
        """Delete record and body. Raises `OSError`."""
        self._disk.delete(self._records + upload.identity)
        upload.body.drop()

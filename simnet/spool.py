"""Bodies that go to a file as they come: a service that takes in many large ones holds none of them in memory.

A body is hashed on its way. Who serves the request may take the file over (`SpoolFile.settle`); what nobody has taken
over is deleted once the request is answered. On real sockets only: in virtual time a body stays where its sender has
it until it is read.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import mmap
import os
import tempfile
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import cast

from simnet.disk import make_private_folder
from simnet.errors import SimnetError
from simnet.tenancy import Message

KEPT_S = 24 * 3600.0
"""How long unfinished uploads are kept if nobody says."""
SMALLEST_SPOOLED_BYTES = 64 * 1024
"""Bodies that are announced to be shorter stay in memory: a file for each would cost more than it saves."""
_LOOK_EVERY_BYTES = 4 * 1024 * 1024
_WRITE_BACK_EVERY_BYTES = 1024 * 1024
_LULL_S, _LULL_BYTES = 0.2, 1_000_000
LONGEST_LULL_S = 60.0
"""How long what is in waits for what comes in."""


class SpoolError(SimnetError):
    """A body cannot be written down; the reason is the system's."""


class Spool:
    """A folder for bodies on their way in. It is made when the first one comes.

    What a process that was killed left there is of no use to anybody: `clear` deletes it. Unfinished uploads, which
    are of use, are in `partial_folder` (`simnet.partial_bodies`), for `kept_s` seconds after somebody was at them.
    `free_bytes` of the file system are left to others. `at_lull` is called in a lull after bodies have come in.
    """

    def __init__(
        self,
        folder: Path,
        *,
        free_bytes: int = 0,
        kept_s: float = KEPT_S,
        at_lull: Callable[[], object] = lambda: None,
    ) -> None:
        self.folder = folder
        self.partial_folder = folder / "partial"
        self.free_bytes = free_bytes
        self.kept_s = kept_s
        self._at_lull = at_lull
        self.received_bytes = 0
        """Of all bodies so far."""
        self._before_bytes = 0  # when `lull` looked last
        self._tidied_bytes = 0  # when `at_lull` was called last
        self._waited_s = 0.0  # for a lull, since the last one

    def open(self, announced_bytes: int = 0) -> SpoolFile:
        """A new file for one body. Raises `OSError`, also if a body of so many bytes has no room."""
        make_private_folder(self.folder)
        self.check_room(announced_bytes)
        return SpoolFile(self)

    def check_room(self, more_bytes: int) -> None:
        """Raises `OSError` if so many bytes more would not leave what is to be left."""
        if self.free_bytes:
            found = os.statvfs(self.folder)
            if found.f_bavail * found.f_frsize - more_bytes < self.free_bytes:
                raise OSError(errno.ENOSPC, f"{self.free_bytes} B of the disk must stay free")

    async def lull(self) -> None:
        """Return when no more than 5 MB/s come in: what can be done later would hold up who is sending.

        Or after a minute: somebody may send for ever, on purpose. Then nobody waits again until there has been a lull.
        """
        while self.received_bytes - self._before_bytes > _LULL_BYTES:
            self._before_bytes = self.received_bytes
            if self._waited_s >= LONGEST_LULL_S:
                break
            self._waited_s += _LULL_S
            await asyncio.sleep(_LULL_S)
        else:
            self._waited_s = 0.0
        if self.received_bytes > self._tidied_bytes:
            self._tidied_bytes = self.received_bytes
            self._at_lull()

    def clear(self) -> None:
        """Delete what lies there, but for unfinished uploads. Only while nobody else uses the folder."""
        for left in self.folder.iterdir() if self.folder.is_dir() else ():
            if left != self.partial_folder:
                left.unlink()

    def owns(self, file: SpoolFile) -> bool:
        """Whether a body came into this folder, and may be given a place from here."""
        return file.path.parent == self.folder or self.partial_folder in file.path.parents


class SpoolFile:
    """One body as it comes, in `path` or a new file. Deleted by `discard`, unless `settle` has given it a place before.

    A file that is there already goes on at its end; who opens it sets `size_bytes` and the hash. Raises `OSError`.
    """

    def __init__(self, spool: Spool, path: Path | None = None) -> None:
        if path is None:
            descriptor, name = tempfile.mkstemp(dir=spool.folder, prefix="body-")
            path = Path(name)
        else:
            descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
        self._spool = spool
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self.path = self._came_to = path
        self.size_bytes = self._written_back_bytes = 0

    def write(self, piece: bytes) -> None:
        """Add what came next. Raises `SpoolError`."""
        rest = memoryview(piece)
        try:
            if self.size_bytes // _LOOK_EVERY_BYTES != (self.size_bytes + len(piece)) // _LOOK_EVERY_BYTES:
                self._spool.check_room(0)  # others write, too, and not every body has been announced
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise SpoolError(error.strerror or str(error)) from error
        self._hash.update(piece)
        self.size_bytes += len(piece)
        self._spool.received_bytes += len(piece)
        if self.size_bytes - self._written_back_bytes >= _WRITE_BACK_EVERY_BYTES:
            self._write_back()

    def _write_back(self) -> None:
        """Have the medium begin with what is new: many bodies that end together would wait for it together.

        It is what Linux does first on this advice; it drops what the medium has by then, which is next to nothing.
        """
        new_bytes = self.size_bytes - self._written_back_bytes
        if hasattr(os, "posix_fadvise"):  # not on macOS
            with contextlib.suppress(OSError):  # it is advice, and not every kernel takes any
                os.posix_fadvise(self._file.fileno(), self._written_back_bytes, new_bytes, os.POSIX_FADV_DONTNEED)
        self._written_back_bytes = self.size_bytes

    @property
    def digest(self) -> str:
        """SHA-256 of what has come so far, as 64 hexadecimal digits."""
        return self._hash.hexdigest()

    def sync(self) -> None:
        """Have all of it on the medium. Raises `OSError`."""
        os.fsync(self._file.fileno())

    def settle(self, path: Path) -> None:
        """Make `path`, in the same file system, the file's place: it is its owner's from now on. Raises `OSError`."""
        os.replace(self.path, path)
        self.path = path
        self._file.close()

    def take_back(self) -> None:
        """Undo `settle`: the file is again where it came to, and nobody's. Raises `OSError`."""
        os.replace(self.path, self._came_to)
        self.path = self._came_to

    @property
    def has_place(self) -> bool:
        """Whether somebody has taken it over."""
        return self.path != self._came_to

    def discard(self) -> None:
        """Delete the file if it still has no place; close it."""
        self._file.close()
        if not self.has_place:
            self.path.unlink(missing_ok=True)


class SpooledMessage(Message):
    """A message whose body is a file. `body` maps the file while somebody looks, so that nothing stays in memory."""

    file: SpoolFile

    def __init__(self, file: SpoolFile, kinds: frozenset[str], content_type: str, *, intact: bool = False) -> None:
        self.__dict__.update(file=file, kinds=kinds, content_type=content_type, _view=lambda: None, _intact=intact)

    @property
    def intact(self) -> bool:
        """Whether the file's digest is the one that the sender has told."""
        return bool(self.__dict__["_intact"])

    @property
    def body(self) -> bytes:
        """The body: a read-only `memoryview`, the same one as long as anybody holds it."""
        view: bytes | None = self.__dict__["_view"]()
        if view is None:
            view = mapped(self.file.path)
            self.__dict__["_view"] = weakref.ref(cast("memoryview", view)) if view else (lambda: b"")
        return view

    def _hashed(self) -> str:
        return self.file.digest


def mapped(path: Path) -> bytes:
    """The bytes of a file as a read-only `memoryview`, without reading them: pages come as they are looked at.

    Raises `OSError`.
    """
    with path.open("rb") as file:
        if os.fstat(file.fileno()).st_size == 0:
            return b""
        return cast("bytes", memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)))

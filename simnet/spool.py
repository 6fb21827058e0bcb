"""Bodies that go to a file as they come: a service that takes in many large ones holds none of them in memory.

A body is hashed on its way. Who serves the request may take the file over (`SpoolFile.settle`); what nobody has taken
over is deleted once the request is answered. On real sockets only: in virtual time a body stays where its sender has
it until it is read.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import tempfile
from pathlib import Path
from typing import cast

from simnet.errors import SimnetError
from simnet.tenancy import Message

SMALLEST_SPOOLED_BYTES = 64 * 1024
"""Bodies that are announced to be shorter stay in memory: a file for each would cost more than it saves."""


class SpoolError(SimnetError):
    """A body cannot be written down; the reason is the system's."""


class Spool:
    """A folder for bodies on their way in. It is made when the first one comes.

    What a process that was killed left there is of no use to anybody: `clear` deletes it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> SpoolFile:
        """A new file for one body. Raises `OSError`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return SpoolFile(self.folder)

    def clear(self) -> None:
        """Delete what lies there. Only while nobody else uses the folder."""
        for left in self.folder.iterdir() if self.folder.is_dir() else ():
            left.unlink()


class SpoolFile:
    """One body as it comes. Deleted by `discard`, unless `settle` has given it a place before."""

    def __init__(self, folder: Path) -> None:
        descriptor, path = tempfile.mkstemp(dir=folder, prefix="body-")
        self._file = os.fdopen(descriptor, "wb", buffering=0)
        self._hash = hashlib.sha256()
        self.path = Path(path)
        self.size_bytes = 0

    def write(self, piece: bytes) -> None:
        """Add what came next. Raises `SpoolError`."""
        self._hash.update(piece)
        rest = memoryview(piece)
        try:
            while rest:
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise SpoolError(error.strerror or str(error)) from error
        self.size_bytes += len(piece)

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

    def discard(self) -> None:
        """Delete the file if it still has no place; close it."""
        if not self._file.closed:
            self._file.close()
            self.path.unlink(missing_ok=True)


class SpooledMessage(Message):
    """A message whose body is a file. `body` maps the file anew at each look, so that nothing stays in memory."""

    file: SpoolFile

    def __init__(self, file: SpoolFile, kinds: frozenset[str], content_type: str) -> None:
        self.__dict__.update(file=file, kinds=kinds, content_type=content_type)

    @property
    def body(self) -> bytes:
        """The body: a read-only `memoryview`."""
        return mapped(self.file.path)

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

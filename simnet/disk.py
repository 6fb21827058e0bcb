"""What a host keeps when it crashes: a small store of bytes under keys.

Modelled: everything written is kept, each write is whole or not there at all; nothing can be read or written while
the host is off. Not modelled: the time that reading and writing takes, space that runs out, files that decay.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote

from simnet.errors import DiskInUseError

_PREFIX = "k-"
_SUFFIX = ".part"
_LOCK = "lock"


class Disk(Protocol):
    """A store that outlasts the programs of its host. Keys are any text, for example "upload/client-3"."""

    def read(self, key: str) -> bytes:
        """What was written under `key` last. Raises `KeyError` if nothing was."""

    def write(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`: when this returns it is safe."""

    def delete(self, key: str) -> None:
        """Forget `key`; does nothing if there is none."""

    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, sorted."""


def make_private_folder(folder: Path) -> None:
    """Make a folder, with those above it that are missing, which nobody but its owner can look into. Raises `OSError`.

    One that is there keeps its permissions: they are whoever made it's to choose.
    """
    if not folder.is_dir():
        make_private_folder(folder.parent)
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
        except FileExistsError as error:
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(folder)) from error


def sync(path: Path) -> None:
    """Have a file, or the names in a folder, on the medium: a new name is safe only once its folder is.

    Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class MemoryDisk:
    """A simulated host's disk; gone when the run ends. Raises `OSError` (EIO) while it is `off`."""

    def __init__(self) -> None:
        self.off = False
        self._kept: dict[str, bytes] = {}

    def read(self, key: str) -> bytes:
        """What was written under `key` last. Raises `KeyError` if nothing was."""
        return self._powered()[key]

    def write(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
        self._powered()[key] = bytes(data)

    def delete(self, key: str) -> None:
        """Forget `key`; does nothing if there is none."""
        self._powered().pop(key, None)

    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        return sorted(key for key in self._powered() if key.startswith(prefix))

    def _powered(self) -> dict[str, bytes]:
        if self.off:
            raise OSError(errno.EIO, "the disk belongs to a machine that is switched off")
        return self._kept


class FolderDisk:
    """A disk in a folder of this machine, one file a key. The folder is made when something is written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other program that asks for it from the folder, which is made, until the end of the `with` block
        or of this process. Raises `DiskInUseError`, and another `OSError` if the folder cannot be written.
        """
        make_private_folder(self._folder)
        # The file stays: of two that wait while it is deleted, each could hold one.
        lock = os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise DiskInUseError(errno.EAGAIN, "in use by another program", str(self._folder)) from None
            yield
        finally:
            os.close(lock)

    def sweep(self) -> None:
        """Delete what writes have left that were cut off by a kill. Only while nobody else uses the folder."""
        for left in self._folder.glob(f"*{_SUFFIX}"):
            left.unlink(missing_ok=True)

    def read(self, key: str) -> bytes:
        """What was written under `key` last. Raises `KeyError` if nothing was, `OSError` if it cannot be read."""
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            raise KeyError(key) from None

    def write(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`: on the medium, and whole, when this returns. Raises `OSError`."""
        make_private_folder(self._folder)
        descriptor, partial = tempfile.mkstemp(suffix=_SUFFIX, dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.replace(partial, self._file(key))
        except BaseException:
            Path(partial).unlink(missing_ok=True)
            raise
        sync(self._folder)

    def delete(self, key: str) -> None:
        """Forget `key`; does nothing if there is none."""
        self._file(key).unlink(missing_ok=True)

    def keys(self, prefix: str = "") -> list[str]:
        """All keys that begin with `prefix`, sorted."""
        if not self._folder.is_dir():
            return []
        keys = (_key_of(file.name) for file in self._folder.glob(f"{_PREFIX}*"))
        return sorted(key for key in keys if key.startswith(prefix))

    def _file(self, key: str) -> Path:
        return self._folder / _name_of(key)


def _name_of(key: str) -> str:
    return _PREFIX + quote(key, safe="").replace(".", "%2E")


def _key_of(name: str) -> str:
    return unquote(name.removeprefix(_PREFIX))

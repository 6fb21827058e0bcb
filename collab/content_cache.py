"""Results of computations, kept by what they were computed of: the cells of a sweep share them.

A bandwidth changes nothing of what a site computes, an evaluation nothing of what a server refines. `remembered` names
a computation by all that it is a function of; where a cache is in use it is done once and read from a file after that,
with the operations that it counted, so that virtual time and energy are the same. Its name also holds the versions of
torch and of this program's own code, the number of threads and the kind of processor, which can change the last digits.
What methods of other packages compute is not kept: of their code nothing is known here.

Files are written under another name first; one that is damaged counts as none. Of two processes that come to the same
computation at the same time one waits for the other. What was used longest ago is removed when there is too much.
Values are pickled: a cache is as trustworthy as its directory, which only its owner can write.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import fcntl
import functools
import hashlib
import logging
import os
import pickle
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import BaseModel

import simnet
from collab.compute import Device, count, counted

T = TypeVar("T")
DEFAULT_LIMIT_BYTES = 2_000_000_000
_LARGEST_SHARE = 8  # a result of more than an eighth of the limit is not kept
_MEASURED_TIMES = 64  # what is there is measured anew for each 64th of the limit that is written
_DIGEST_BYTES = 32
_LOG = logging.getLogger(__name__)
_current: contextvars.ContextVar[ContentCache | None] = contextvars.ContextVar("collab_content_cache", default=None)


class ContentCache:
    """A directory of results by content, of at most about `limit_bytes`."""

    def __init__(self, directory: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES) -> None:
        """Raises `OSError` if the directory cannot be made."""
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.directory = directory
        self.limit_bytes = limit_bytes
        self._has_failed = False
        self.hits = 0
        self.misses = 0
        self._held_bytes = self._measure()
        self._unmeasured_bytes = 0

    def get(self, key: str) -> bytes | None:
        """What was put under a key; None if there is nothing, or nothing whole."""
        path = self._path(key)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        digest, value = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
        if hashlib.sha256(value).digest() != digest:
            _LOG.warning("%s is damaged and is made anew", path)
            return None
        with contextlib.suppress(OSError):  # removed by another process meanwhile
            os.utime(path)
        return value

    def put(self, key: str, value: bytes) -> None:
        """Keep a value, if it is not too large; what was used longest ago makes room. Raises `OSError`."""
        if len(value) * _LARGEST_SHARE > self.limit_bytes:
            return
        path = self._path(key)
        path.parent.mkdir(exist_ok=True)
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(hashlib.sha256(value).digest() + value)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._unmeasured_bytes += len(value) + _DIGEST_BYTES
        if self._unmeasured_bytes * _MEASURED_TIMES > self.limit_bytes:  # other processes write, too
            self._held_bytes, self._unmeasured_bytes = self._measure(), 0
        if self._held_bytes + self._unmeasured_bytes > self.limit_bytes:
            self._make_room()

    def keep(self, key: str, value: bytes) -> None:
        """As `put`, but a full disk is no reason to lose what was computed: it is said once, and nothing is kept."""
        try:
            self.put(key, value)
        except OSError as error:
            if not self._has_failed:
                _LOG.warning("nothing more is kept in %s: %s", self.directory, error.strerror or error)
            self._has_failed = True

    @contextmanager
    def only_one(self, key: str) -> Iterator[None]:
        """Hold off other processes that want to compute the same."""
        path = self._path(key).with_suffix(".lock")
        path.parent.mkdir(exist_ok=True)
        while True:
            with path.open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_nlink:  # else whoever held it has removed it: wait for the next
                    try:
                        yield
                    finally:
                        path.unlink(missing_ok=True)
                    return

    def _path(self, key: str) -> Path:
        return self.directory / key[:2] / key

    def _files(self) -> list[tuple[float, int, Path]]:
        """When each was last used, its bytes, its path."""
        found = []
        for path in self.directory.glob("??/*"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                if path.suffix != ".lock":
                    found.append((status.st_mtime, status.st_size, path))
        return found

    def _measure(self) -> int:
        return sum(size for _, size, _ in self._files())

    def _make_room(self) -> None:
        """Remove what was used longest ago until a tenth of the limit is free."""
        files = sorted(self._files())
        held = sum(size for _, size, _ in files)
        for _, size, path in files:
            if held <= 0.9 * self.limit_bytes:
                break
            path.unlink(missing_ok=True)
            held -= size
        self._held_bytes, self._unmeasured_bytes = held, 0


@contextmanager
def using(cache: ContentCache | None) -> Iterator[None]:
    """Within this context `remembered` keeps what it computes in `cache`; None switches it off."""
    token = _current.set(cache)
    try:
        yield
    finally:
        _current.reset(token)


def remembered(name: str, device: Device, parts: tuple[object, ...], function: Callable[[], T]) -> T:
    """What `function` returns: computed now, or before, of the same `parts` and on the same kind of `device`.

    `parts` are all that it is a function of, see `content_digest`. The operations that it counts are counted either
    way. What cannot be pickled is an error of the caller. Without a cache in use it is simply called.
    """
    cache = _current.get()
    if cache is None:
        return function()
    key = content_digest(name, _environment(), str(device), device.precision, torch.get_num_threads(), *parts)
    content = cache.get(key)
    if content is None:
        with cache.only_one(key):
            content = cache.get(key)  # another process may have been first
            if content is None:
                cache.misses += 1
                value, operations = counted(function)
                cache.keep(key, struct.pack("<q", operations) + pickle.dumps(value, protocol=5))
                return value
    cache.hits += 1
    count(struct.unpack_from("<q", content)[0])
    found: T = pickle.loads(memoryview(content)[8:])
    return found


def content_digest(*parts: object) -> str:
    """SHA-256 of values, as 64 hexadecimal digits: the same for equal ones in every process.

    Of None, truth values, numbers, text, bytes, arrays, tensors, settings (pydantic models), data classes, and lists,
    tuples, sets and mappings of these. Raises `TypeError` for anything else.
    """
    sha = hashlib.sha256()
    _feed(sha, parts)
    return sha.hexdigest()


def _feed(sha: Any, value: object) -> None:
    """Each value with its type and size before it, so that no two spellings run into each other."""
    match value:
        case None | bool() | int() | float() | str():
            text = repr(value).encode()
            sha.update(b"%d:" % len(text) + text)
        case bytes():
            sha.update(b"b%d:" % len(value) + value)
        case np.ndarray():
            sha.update(f"a{value.dtype.str}{value.shape}:".encode())
            sha.update(np.ascontiguousarray(value).data)
        case torch.Tensor():
            sha.update(b"t")
            _feed(sha, value.detach().cpu().contiguous().numpy())
        case BaseModel():
            sha.update(f"m{type(value).__qualname__}:".encode())
            _feed(sha, value.model_dump(mode="json"))
        case Mapping():
            sha.update(b"d%d:" % len(value))
            for key, inner in sorted(value.items(), key=lambda entry: repr(entry[0])):
                _feed(sha, key)
                _feed(sha, inner)
        case list() | tuple():
            sha.update(b"l%d:" % len(value))
            for inner in value:
                _feed(sha, inner)
        case set() | frozenset():
            sha.update(b"s")
            _feed(sha, sorted(value, key=repr))
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            sha.update(f"c{type(value).__qualname__}:".encode())
            _feed(sha, {field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
        case _:
            raise TypeError(f"{type(value).__qualname__} has no digest of its content")


@functools.lru_cache(maxsize=1)
def _environment() -> str:
    """What results depend on beside what they are computed of: versions, this program's own code, the processor."""
    packages = (Path(__file__).parent, Path(simnet.__file__).parent)  # every random draw is simnet's
    sources = [source for package in packages for source in sorted(package.rglob("*.py"))]
    code = hashlib.sha256(b"".join(hashlib.sha256(source.read_bytes()).digest() for source in sources)).hexdigest()
    capability = torch.backends.cpu.get_cpu_capability()
    card = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return content_digest(code, sys.version, torch.__version__, np.__version__, capability, card)

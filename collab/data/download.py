"""Fetching published files over HTTP: resumed where it broke off, checked before they get their name.

A file grows under the name `FILE.part` and is renamed when it is whole and its SHA-256 is the published one, so
that a file with its own name is never half a file. What was received stays after an interruption, and the next
attempt asks only for the rest (HTTP Range, RFC 9110 section 14); a server that knows no ranges sends it all again.
Mirrors are tried in turn. Not modelled: parallel connections, and the time-out of a transfer as a whole (a server
that is silent for too long is given up, one that is slow is not).
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path

from collab.data.progress import Progress, silence
from collab.errors import DataError

_CHUNK_BYTES = 1 << 16
_ATTEMPTS = 5
_BUSY = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file as its authors publish it: its name, length and SHA-256, and the addresses that serve it."""

    name: str
    size_bytes: int
    sha256: str
    urls: tuple[str, ...] = ()


class _BrokenOffError(Exception):
    """The transfer ended early. Another attempt may go on from there, and should if the server is only `busy`."""

    def __init__(self, message: str, *, busy: bool = False) -> None:
        super().__init__(message)
        self.busy = busy


class _UselessError(Exception):
    """A mirror does not have the file."""


def download(
    file: PublishedFile,
    path: Path,
    progress: Progress = silence,
    *,
    timeout_s: float = 20.0,
    pause_s: float = 1.0,
) -> None:
    """Fetch `file` to `path`; if another process does just that, wait for it instead.

    A server silent for `timeout_s` is given up; before an attempt to go on the pause is `pause_s` times the number
    of attempts so far. Raises `DataError` with what every mirror answered, or if the disk refuses.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent, lambda: progress(f"waiting for another process: {path.name}", 0, 0, "B")):
            if not path.exists():
                _from_any_mirror(file, path, progress, timeout_s, pause_s)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}; choose another directory with COLLAB_DATA_DIR"
        ) from error


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal. Raises `OSError`."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _alone(directory: Path, on_wait: Callable[[], None]) -> Iterator[None]:
    """Hold the lock of a directory, so that of several processes one downloads and the others find it done."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            on_wait()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _from_any_mirror(file: PublishedFile, path: Path, progress: Progress, timeout_s: float, pause_s: float) -> None:
    failures = []
    for url in file.urls:
        try:
            _from_mirror(url, file, path, progress, timeout_s, pause_s)
        except (_UselessError, _BrokenOffError) as error:
            failures.append(f"{url}: {error}")
        else:
            return
    raise DataError(f"{file.name} cannot be downloaded ({'; '.join(failures) or 'no address is known'})")


def _from_mirror(
    url: str, file: PublishedFile, path: Path, progress: Progress, timeout_s: float, pause_s: float
) -> None:
    """Fetch from one mirror in several attempts, check, and give the file its name."""
    partial = path.with_name(f"{path.name}.part")
    foreign = partial.exists()  # begun in another call: what was received may be of another version of the file
    for attempt in range(1, _ATTEMPTS + 1):
        before = _size(partial)
        try:
            _transfer(url, file, partial, progress, timeout_s)
        except _BrokenOffError as error:
            if attempt == _ATTEMPTS or not (error.busy or _size(partial) > before):
                raise
            time.sleep(pause_s * attempt)
            continue
        found = sha256_of(partial)
        if found == file.sha256:
            partial.replace(path)
            return
        partial.unlink()
        if not foreign:
            raise _UselessError(f"has the SHA-256 {found}, expected {file.sha256}")
        foreign = False
    raise _BrokenOffError(f"not whole after {_ATTEMPTS} attempts")


def _transfer(url: str, file: PublishedFile, partial: Path, progress: Progress, timeout_s: float) -> None:
    """One request for what is missing of the file. Raises `_BrokenOffError` or `_UselessError`."""
    held = _size(partial)
    if held > file.size_bytes:
        partial.unlink()
        held = 0
    if held == file.size_bytes:
        return
    headers = {"User-Agent": "collab", "Accept-Encoding": "identity"}
    if held:
        headers["Range"] = f"bytes={held}-"
    with _answer(urllib.request.Request(url, headers=headers), timeout_s) as response:
        if held and not _continues(response, held):
            held = 0
        _check_length(response.headers.get("Content-Length"), held, file)
        with partial.open("ab" if held else "wb") as output:
            while chunk := _read(response, held, file):
                held += len(chunk)
                if held > file.size_bytes:
                    raise _UselessError(f"sends more than the {file.size_bytes} bytes of the published file")
                output.write(chunk)
                progress(f"downloading {file.name}", held, file.size_bytes, "B")
    if held < file.size_bytes:
        raise _BrokenOffError(f"broke off after {held} of {file.size_bytes} bytes")


def _answer(request: urllib.request.Request, timeout_s: float) -> HTTPResponse:
    try:
        response: HTTPResponse = urllib.request.urlopen(request, timeout=timeout_s)
    except urllib.error.HTTPError as error:
        error.close()
        answer = f"answers {error.code} {error.reason}"
        if error.code in _BUSY or error.code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise _BrokenOffError(answer, busy=True) from error
        raise _UselessError(answer) from error
    except urllib.error.URLError as error:
        raise _BrokenOffError(str(error.reason)) from error
    except (OSError, HTTPException, ValueError) as error:
        raise _BrokenOffError(str(error) or type(error).__name__) from error
    return response


def _continues(response: HTTPResponse, held: int) -> bool:
    """Whether the answer starts where we broke off; if not, it is the whole file."""
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return False
    content_range = response.headers.get("Content-Range", "")
    start = re.match(r"bytes (\d+)-", content_range)
    if start is None or int(start[1]) != held:
        raise _UselessError(f'sends the range "{content_range}", asked for all from byte {held}')
    return True


def _check_length(announced: str | None, held: int, file: PublishedFile) -> None:
    if announced is not None and announced.isdecimal() and held + int(announced) != file.size_bytes:
        raise _UselessError(f"offers {held + int(announced)} bytes, the published file has {file.size_bytes}")


def _read(response: HTTPResponse, held: int, file: PublishedFile) -> bytes:
    try:
        return response.read(_CHUNK_BYTES)
    except (OSError, HTTPException) as error:
        reason = str(error) or type(error).__name__
        raise _BrokenOffError(f"broke off after {held} of {file.size_bytes} bytes: {reason}") from error


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0

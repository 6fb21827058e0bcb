"""The words of tus 1.0.0 (https://tus.io): headers, checksums, metadata; `simnet.resumable` and `resuming` use them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from simnet.services import Reply

VERSION = "1.0.0"
EXTENSIONS = "creation,checksum,expiration,termination"
CHECKSUMS = ("sha1", "sha256", "md5")
PART_TYPE = "application/offset+octet-stream"
UPLOAD = "upload"
"""The parameter that a path has more where a message comes in parts."""
RESUMABLE, LENGTH, OFFSET, METADATA = "Tus-Resumable", "Upload-Length", "Upload-Offset", "Upload-Metadata"
CHECKSUM, EXPIRES, OVERRIDE = "Upload-Checksum", "Upload-Expires", "X-HTTP-Method-Override"
NO_UPLOAD, GONE, OTHER_OFFSET, MISMATCH = "no-upload", "upload-gone", "other-offset", "checksum-mismatch"
CHECKSUM_MISMATCH = 460
_KEY = re.compile(r"[!-+\--~]+")  # ASCII without comma and space


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A request of the protocol before its body is read. `path` is that of the message, as text and as it was sent.

    `upload` names one that has begun, "" if none. `pieces()` reads the body; `interrupt()` breaks the connection off.
    """

    source: str
    method: str
    path: str
    raw_path: str
    upload: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    kinds: frozenset[str]
    body_bytes: int | None
    """As announced; None if that was not said and there is a body."""
    pieces: Callable[[], AsyncIterator[bytes]]
    interrupt: Callable[[], None]


def part_of(source: str, http: web.Request, kinds: frozenset[str]) -> PartRequest:
    """A request as aiohttp has it."""
    upload = http.match_info.get(UPLOAD, "")
    parameters = {name: value for name, value in http.match_info.items() if name != UPLOAD}
    path, raw_path = http.path, http.rel_url.raw_path
    if upload:
        path, raw_path = path.removesuffix(f"/{upload}"), raw_path.rsplit("/", 1)[0]
    announced = http.content_length if http.content_length is not None or http.can_read_body else 0
    headers, pieces, interrupt = http.headers, partial(_pieces, http), partial(_break_off, http)
    return PartRequest(
        source, http.method, path, raw_path, upload, parameters, headers, kinds, announced, pieces, interrupt
    )


async def _pieces(http: web.Request) -> AsyncIterator[bytes]:
    while chunk := await http.content.readany():
        yield chunk


def _break_off(http: web.Request) -> None:
    if http.transport is not None:
        http.transport.abort()


def bare_if_asked(reply: Reply, http: web.Request) -> Reply:
    """An answer to HEAD as HEAD can carry it: refusals without a word. It says that no body follows, for else aiohttp
    would give up the connection.
    """
    if http.method != "HEAD":
        return reply
    headers = {**(reply.headers if reply.status < 400 else {}), "Content-Length": "0"}
    return _BareReply(reply.status, headers=headers, unsaid_code=reply.code)


@dataclass(frozen=True, slots=True)
class _BareReply(Reply):
    """A reply without a body, of which this side still knows why it refuses: for its log and its counters."""

    unsaid_code: str = ""

    @property
    def code(self) -> str:
        """Why the request failed, for programs."""
        return self.unsaid_code


class Checksum:
    """The sum that a part is to have."""

    def __init__(self, algorithm: str, expected: bytes) -> None:
        self._sum: Any = hashlib.new(algorithm, usedforsecurity=False)
        self._expected = expected

    @classmethod
    def told(cls, text: str) -> Checksum | None:
        """As a header says it; None if that cannot be understood."""
        algorithm, _, encoded = text.strip().partition(" ")
        try:
            return cls(algorithm, base64.b64decode(encoded, validate=True)) if algorithm in CHECKSUMS else None
        except ValueError:
            return None

    def update(self, piece: bytes) -> None:
        """Add what came next."""
        self._sum.update(piece)

    def agrees(self) -> bool:
        """Whether what came has that sum."""
        return hmac.compare_digest(self._sum.digest(), self._expected)


def metadata_in(header: str) -> dict[str, bytes] | None:
    """What `Upload-Metadata` holds: key -> value; None if it cannot be understood."""
    told: dict[str, bytes] = {}
    for pair in header.split(",") if header.strip() else ():
        key, _, value = pair.strip().partition(" ")
        try:
            told[key] = base64.b64decode(value.strip(), validate=True)
        except ValueError:
            return None
        if not _KEY.fullmatch(key):
            return None
    return told


def metadata_of(told: Mapping[str, str]) -> str:
    """The value of `Upload-Metadata` that says this."""
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in told.items())


def spoken(reply: Reply) -> Reply:
    """An answer as the protocol wants it: with its version, and on 412 with those that are spoken."""
    versions = {"Tus-Version": VERSION} if reply.status == 412 else {}
    return Reply(reply.status, reply.message, {**reply.headers, RESUMABLE: VERSION, **versions})


def number_in(text: str | None) -> int | None:
    """A length or an offset in bytes; None if it is none."""
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,15}", text) else None

"""One message in parts, over as many connections as it takes: tus 1.0.0, the end of who sends it.

A call of `Resuming.exchange` makes one attempt: it asks how much of the message is there, and sends the rest. If the
connection breaks, the next call with the same message goes on where that one has got to, also after a crash: which
upload a message belongs to is kept on the host's disk. A service that offers no uploads gets the message whole.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import cast

from simnet.disk import Disk
from simnet.errors import InterruptedPartsError, UnreachableError
from simnet.services import Reply
from simnet.tenancy import Message
from simnet.tus import (
    GONE,
    LENGTH,
    METADATA,
    MISMATCH,
    NO_UPLOAD,
    OFFSET,
    OTHER_OFFSET,
    PART_TYPE,
    RESUMABLE,
    VERSION,
    metadata_of,
    number_in,
)

Ask = Callable[[str, str, Message, Mapping[str, str]], Awaitable[Reply]]
"""Sends one HTTP request to the peer: method, path, body and headers. Raises `UnreachableError`."""
_TURNS = 4  # of asking and sending within one attempt, if the service keeps changing its mind
_BEGIN_ANEW = frozenset({NO_UPLOAD, GONE, MISMATCH})
_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
_KEPT = "unfinished/"  # on the disk


@dataclass(frozen=True, slots=True)
class _Known:
    """An upload, and how much of it was there when that was asked last."""

    upload: str
    offset: int
    resumed: bool


class Part(Message):
    """A part of a message on its way: written in small pieces, so that what came before a break counts."""


class Resuming:
    """The messages of one host to one peer that go in parts."""

    def __init__(self, peer: str, disk: Disk, ask: Ask, admit: Callable[[Reply], object]) -> None:
        self._peer = peer
        self._disk = disk
        self._ask = ask
        self._admit = admit

    async def exchange(self, path: str, message: Message, headers: Mapping[str, str]) -> Reply | None:
        """Get a message, or what is missing of it, to the service at `path`; returns what that says to the whole.

        None if the service takes messages only whole. Raises `UnreachableError` if the connection breaks: call again.
        `InterruptedPartsError` says how much came of the attempt before.
        """
        for turn in range(_TURNS):
            known = self._known(path, message)
            if known is None:
                announced = await self._announce(path, message, headers)
                if isinstance(announced, Reply):
                    return None if _is_not_offered(announced) else announced
                known = announced
            told = await self._offset(path, known, message, headers) if known.resumed else 0
            if isinstance(told, Reply):
                return told
            if told is None:
                self._disk.delete(self._place(path))
                continue
            self._keep(path, message, known.upload, told)
            try:
                reply = await self._send(f"{path}/{known.upload}", told, message, headers)
            except UnreachableError as error:
                raise InterruptedPartsError(str(error), told - known.offset) from error
            if not reply.may_come_again and reply.code != OTHER_OFFSET:
                self._disk.delete(self._place(path))
            if reply.code not in _BEGIN_ANEW | {OTHER_OFFSET} or turn == _TURNS - 1:
                return reply
            self._admit(reply)
        raise UnreachableError(f"{self._peer} loses again and again what is sent to it")

    async def _announce(self, path: str, message: Message, headers: Mapping[str, str]) -> _Known | Reply:
        """A new upload, or the refusal of one."""
        told = {"sha256": message.digest}
        if message.content_type != Message().content_type:
            told["filetype"] = message.content_type
        sent = {**headers, RESUMABLE: VERSION, LENGTH: str(len(message.body)), METADATA: metadata_of(told)}
        reply = await self._ask("POST", path, Message(b"", message.kinds), sent)
        if reply.status != 201:
            return reply
        # Only the name counts: wherever else the service points to, the message goes to the path that was inspected.
        name = reply.headers.get("Location", "").rsplit("/", 1)[-1]
        if not _NAME.fullmatch(name):
            raise self._is_not_tus(f"the Location {reply.headers.get('Location')!r}")
        return _Known(name, 0, resumed=False)

    async def _offset(
        self, path: str, known: _Known, message: Message, headers: Mapping[str, str]
    ) -> int | Reply | None:
        """How much the service has; None if it does not know the upload any more; or it is in trouble."""
        sent = {**headers, RESUMABLE: VERSION}
        reply = await self._ask("HEAD", f"{path}/{known.upload}", Message(b"", message.kinds), sent)
        if reply.status in (403, 404, 410):
            return None
        if reply.status != 200:
            return reply
        offset = number_in(reply.headers.get(OFFSET))
        if offset is None or offset > len(message.body):
            raise self._is_not_tus(f"the {OFFSET} {reply.headers.get(OFFSET)!r} of {len(message.body)}")
        return offset

    async def _send(self, place: str, offset: int, message: Message, headers: Mapping[str, str]) -> Reply:
        rest = cast("bytes", memoryview(message.body)[offset:])
        sent = {**headers, RESUMABLE: VERSION, OFFSET: str(offset)}
        reply = await self._ask("PATCH", place, Part(rest, message.kinds, PART_TYPE), sent)
        if reply.status == 204 and number_in(reply.headers.get(OFFSET)) != len(message.body):
            raise self._is_not_tus(f"the {OFFSET} {reply.headers.get(OFFSET)!r} after all of {len(message.body)}")
        return reply

    def _known(self, path: str, message: Message) -> _Known | None:
        """The upload that the message belongs to, as far as this host remembers."""
        try:
            kept = json.loads(self._disk.read(self._place(path)))
            same = (kept["path"], kept["digest"]) == (path, message.digest)
            return _Known(str(kept["upload"]), int(kept["offset"]), resumed=True) if same else None
        except (KeyError, ValueError, TypeError):
            return None

    def _keep(self, path: str, message: Message, upload: str, offset: int) -> None:
        kept = {"path": path, "digest": message.digest, "upload": upload, "offset": offset}
        self._disk.write(self._place(path), json.dumps(kept).encode())

    def _place(self, path: str) -> str:
        """Where the upload to a path is kept on the disk: the last one, for it is what would go on."""
        return _KEPT + hashlib.sha256(f"{self._peer} {path}".encode()).hexdigest()[:32]

    def _is_not_tus(self, what: str) -> UnreachableError:
        return UnreachableError(f"what answers as {self._peer} does not take parts as tus 1.0 says: {what}")


def forget_unfinished(disk: Disk) -> None:
    """Forget on a host's disk what had been begun: none of it is going to be sent, or it was, and the host crashed."""
    for place in disk.keys(_KEPT):
        disk.delete(place)


def _is_not_offered(reply: Reply) -> bool:
    """Whether a service has no uploads where one was announced."""
    return reply.status in (404, 405) and reply.code in ("", "not-found")

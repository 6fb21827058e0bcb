"""One message in parts, over as many connections as it takes: tus 1.0.0 (https://tus.io), the end of the service.

Beside `PUT path` a resumable route offers, with the extensions creation, checksum, expiration and termination,

    POST path               announce a message: its length, and what it is (Upload-Length, Upload-Metadata)
    HEAD path/UPLOAD        ask how much of it is here (Upload-Offset)
    PATCH path/UPLOAD       send more of it, from there on
    DELETE path/UPLOAD      give it up
    OPTIONS                 ask what is offered

It is a way in which one message travels. Parts are no messages: what a boundary has to check is the whole, once where
it leaves and once where it arrives, when it is put together. Then the route's handler gets it as the request that it
would have been. A 2xx becomes 204, as tus wants it; a refusal is the answer to the last PATCH. How it ended is kept for
a while: who lost the answer repeats the last PATCH, without a body, and gets it again. After 429 or 5xx the body is
kept instead, and that PATCH is another attempt.

A sender may have `MOST_UPLOADS` uploads, and no more bytes in unfinished ones than one message may have: the oldest go.
A part with a checksum counts whole or not at all; any other as far as it came before its connection broke. If the
metadata tell the SHA-256 of the whole (`sha256`, 64 hexadecimal digits), that is checked, too.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Protocol

from simnet.disk import Disk
from simnet.disk_bodies import DiskBodies
from simnet.held_uploads import HeldUploads, expiry_of
from simnet.part_operations import operations_of_parts
from simnet.partial_bodies import FolderBodies, PartialBodies
from simnet.services import Reply, Request, Route, no_room, problem, too_large
from simnet.spool import SpoolError
from simnet.tenancy import Message
from simnet.tus import (
    CHECKSUM,
    CHECKSUM_MISMATCH,
    CHECKSUMS,
    EXTENSIONS,
    LENGTH,
    METADATA,
    MISMATCH,
    OFFSET,
    OTHER_OFFSET,
    OVERRIDE,
    PART_TYPE,
    RESUMABLE,
    UPLOAD,
    VERSION,
    Checksum,
    PartRequest,
    metadata_in,
    number_in,
)
from simnet.uploads import Outcome, Upload

_METHODS = ("OPTIONS", "HEAD", "PATCH", "DELETE", "POST")  # of an upload


class Surroundings(Protocol):
    """What uploads need of the host that serves them."""

    @property
    def disk(self) -> Disk:
        """What the host keeps when it crashes."""

    def unix_s(self) -> float:
        """Seconds since 1970; in virtual time, since the start of the run."""

    def unguessable(self, purpose: str) -> str:
        """A name that nobody can guess, of 32 hexadecimal digits."""


Serve = Callable[[Route, Request], Awaitable[Reply]]


class Uploads:
    """The messages to one route that come in parts.

    `serve` checks a message that is whole and lets the handler answer, `ask` only does the latter; `record` writes down
    what there is to say of a part. No message may be longer than `limit_bytes`, if that is not 0.
    """

    def __init__(
        self,
        route: Route,
        host: Surroundings,
        *,
        serve: Serve,
        ask: Serve,
        record: Callable[..., None],
        limit_bytes: int,
    ) -> None:
        self._route = route
        self._host = host
        self._serve = serve
        self._ask = ask
        self._record = record
        self._limit_bytes = limit_bytes
        self._bodies: PartialBodies = (
            DiskBodies(host.disk, _place_of(route.path), host.unix_s)
            if route.spool is None
            else FolderBodies(route.spool)
        )
        self._held = HeldUploads(self._bodies, host.unix_s, kept_s=route.kept_s, limit_bytes=limit_bytes)

    async def answer(self, part: PartRequest) -> Reply:
        """What the service says to a request of the protocol."""
        method = part.headers.get(OVERRIDE, part.method).upper()
        if method == "OPTIONS":
            return self._offer()
        if part.headers.get(RESUMABLE) != VERSION:
            return problem(412, "tus-version", f"say {RESUMABLE}: {VERSION}; no other version is spoken here")
        self._held.sweep()
        if not part.upload:
            return await self._create(part) if method == "POST" else _no_such_method(method, "POST")
        upload = self._held.get(part.upload)
        if upload is None or upload.path != part.path:
            return self._held.missing(part.upload)
        if upload.sender != part.source:
            return problem(403, "not-you", f"{part.source} may not go on with an upload of another")
        if method == "HEAD":
            return await self._tell(upload)
        if method == "PATCH":
            return await self._extend(upload, part)
        if method == "DELETE":
            return await self._give_up(upload)
        return _no_such_method(method, "HEAD, PATCH and DELETE")

    def close(self) -> None:
        """Sweep no more; what is in a folder stays there."""
        self._held.close()

    # -- the operations --------------------------------------------------------------------------

    def _offer(self) -> Reply:
        largest = {"Tus-Max-Size": str(self._limit_bytes)} if self._limit_bytes > 0 else {}
        algorithms = {"Tus-Checksum-Algorithm": ",".join(CHECKSUMS)}
        return Reply(204, headers={"Tus-Version": VERSION, "Tus-Extension": EXTENSIONS, **algorithms, **largest})

    async def _create(self, part: PartRequest) -> Reply:
        length_bytes = number_in(part.headers.get(LENGTH))
        if length_bytes is None:
            return problem(400, "no-length", f"say the length of the whole message in {LENGTH}, in bytes")
        if part.body_bytes != 0:
            return problem(400, "early-body", "an upload is announced without a body; send that with PATCH")
        if 0 < self._limit_bytes < length_bytes:
            return too_large(self._limit_bytes)
        metadata = part.headers.get(METADATA, "")
        told = metadata_in(metadata)
        if told is None:
            return problem(400, "metadata", f"{METADATA} holds keys and Base64: key value,key value")
        content_type = told.get("filetype", b"").decode("ascii", "replace") or Message().content_type
        refusal = await self._announced(part, Message(b"", part.kinds, content_type))
        if refusal is not None:
            return refusal
        identity = self._host.unguessable("upload")
        await self._held.make_room(part.source, length_bytes)
        try:
            body = self._bodies.new_body(identity, length_bytes)
            expires_unix_s = self._held.new_expiry_unix_s()
            upload = Upload(
                identity, part.source, part.path, part.kinds, content_type, length_bytes, metadata, expires_unix_s, body
            )
            if not await self._held.enter(upload):
                return self._held.missing(identity)
        except OSError as error:
            return no_room(error.strerror or str(error))
        if length_bytes == 0:
            with upload.taken_by(None):
                reply = await self._whole(upload, part)
            if reply.status >= 400:
                return reply
        return Reply(201, headers={"Location": f"{part.raw_path}/{identity}", **expiry_of(upload)})

    async def _announced(self, part: PartRequest, message: Message) -> Reply | None:
        """The service's refusal of a message of which nothing has come yet, or None."""
        announced = self._route.announced
        if announced is None:
            return None

        async def handle(request: Request) -> Reply:
            return await announced(request) or Reply(204)

        reply = await self._ask(replace(self._route, handler=handle), self._request(part, message))
        return reply if reply.status >= 400 else None

    async def _tell(self, upload: Upload) -> Reply:
        await upload.interrupted()
        if upload not in self._held:
            return self._held.missing(upload.identity)
        offset = upload.offset  # before it is synced: more may come meanwhile
        if upload.outcome is None and upload.busy is None:
            refusal = await self._safe(upload)
            if refusal is not None:
                return refusal
        if upload.outcome is None:
            self._held.renew(upload)
        headers = {OFFSET: str(offset), LENGTH: str(upload.length_bytes), "Cache-Control": "no-store"}
        if upload.metadata:
            headers[METADATA] = upload.metadata
        return Reply(200, headers={**headers, **expiry_of(upload)})

    async def _give_up(self, upload: Upload) -> Reply:
        await upload.at_rest()
        if upload not in self._held:
            return self._held.missing(upload.identity)
        self._held.forget(upload)
        return Reply(204)

    async def _extend(self, upload: Upload, part: PartRequest) -> Reply:
        if part.headers.get("Content-Type", "").split(";")[0].strip().lower() != PART_TYPE:
            return problem(415, "part-type", f"a part has the Content-Type {PART_TYPE}")
        if "Content-Encoding" in part.headers:
            return problem(415, "part-encoding", "a part is sent as it is, without a Content-Encoding")
        offset = number_in(part.headers.get(OFFSET))
        if offset is None:
            return problem(400, "no-offset", f"say in {OFFSET} where the part begins, in bytes")
        checksum = None
        if (told := part.headers.get(CHECKSUM)) is not None:
            checksum = Checksum.told(told)
            if checksum is None:
                known = ", ".join(CHECKSUMS)
                return problem(400, "checksum", f"{CHECKSUM} is an algorithm ({known}), a space, and its sum in Base64")
        await upload.at_rest()
        if upload not in self._held:
            return self._held.missing(upload.identity)
        with upload.taken_by(part.interrupt):
            return await self._extended(upload, part, offset, checksum)

    async def _extended(self, upload: Upload, part: PartRequest, offset: int, checksum: Checksum | None) -> Reply:
        if offset != upload.offset:  # which is told where it has been synced, by HEAD
            return problem(409, OTHER_OFFSET, f"at {offset} nothing can be added: ask HEAD, and go on from there")
        if part.body_bytes is not None and offset + part.body_bytes > upload.length_bytes:
            return _too_long(upload)
        if upload.outcome is not None:
            return self._as_ended(upload, upload.outcome.reply())
        try:
            refusal = await self._written(upload, part, checksum) or await self._safe(upload)
        finally:  # also if the connection broke: what came of the part counts
            self._held.renew(upload)
        if refusal is not None:
            return refusal
        if upload.body.size_bytes < upload.length_bytes:
            return Reply(204, headers={OFFSET: str(upload.body.size_bytes), **expiry_of(upload)})
        return await self._whole(upload, part)

    async def _written(self, upload: Upload, part: PartRequest, checksum: Checksum | None) -> Reply | None:
        """Let the part go into the body, as far as it comes; a refusal if it cannot stay, or nothing more fits."""
        body = upload.body
        try:
            await body.open()
            undo = body.mark(whole=checksum is not None)
        except OSError as error:
            body.close()
            return no_room(error.strerror or str(error))
        begins_at, counts = body.size_bytes, checksum is None
        try:
            async for piece in part.pieces():
                if body.size_bytes + len(piece) > upload.length_bytes:
                    counts = False
                    return _too_long(upload)
                body.write(piece)
                if checksum is not None:
                    checksum.update(piece)
            if checksum is not None:
                counts = checksum.agrees()
                if not counts:
                    detail = f"the part from {begins_at} on has another sum; nothing of it is kept: send it again"
                    return problem(CHECKSUM_MISMATCH, MISMATCH, detail)
            return None
        except SpoolError as error:
            return no_room(str(error))
        finally:
            if not counts:
                undo()
            body.close()
            came_bytes = body.size_bytes - begins_at
            self._record(peer=upload.sender, path=upload.path, offset=begins_at, bytes=came_bytes)

    async def _safe(self, upload: Upload) -> Reply | None:
        """Have on the medium what is going to be told; a refusal if that fails."""
        try:
            await upload.body.sync()
        except OSError as error:
            return no_room(error.strerror or str(error))
        return None

    async def _whole(self, upload: Upload, part: PartRequest) -> Reply:
        """Serve the message, now that all of it is here."""
        if upload.busy is not None:
            upload.busy.interrupt = None  # whoever sends the end again waits for this answer
        try:
            message = await upload.body.message(upload.kinds, upload.content_type)
        except OSError:  # the medium has lost it
            self._held.forget(upload)
            return self._held.missing(upload.identity)
        told = (metadata_in(upload.metadata) or {}).get("sha256")
        if told is not None and not hmac.compare_digest(told, message.digest.encode()):
            upload.body.release()
            self._held.forget(upload)
            detail = "what is here is not what was announced by its SHA-256; nothing of it is kept: begin anew"
            return problem(CHECKSUM_MISMATCH, MISMATCH, detail)

        async def as_part(request: Request) -> Reply:
            reply = await self._route.handler(request)
            return Reply(204) if reply.status < 300 else reply

        try:
            reply = await self._serve(replace(self._route, handler=as_part), self._request(part, message))
        finally:
            del message
            is_here = upload.body.release()
        if reply.may_come_again:
            if not is_here:
                self._held.forget(upload)
            return reply
        await self._keep_outcome(upload, Outcome.of(reply))
        return self._as_ended(upload, reply)

    async def _keep_outcome(self, upload: Upload, outcome: Outcome) -> None:
        upload.outcome = outcome
        self._held.renew(upload)
        try:
            await self._bodies.keep(upload)
            upload.body.drop()
        except OSError:
            # A medium that keeps nothing more: whoever asks again announces anew, and hears from the service itself.
            self._held.forget(upload)

    def _as_ended(self, upload: Upload, reply: Reply) -> Reply:
        if reply.status >= 400:
            return reply
        return Reply(204, headers={OFFSET: str(upload.length_bytes), **expiry_of(upload)})

    def _request(self, part: PartRequest, message: Message) -> Request:
        return Request(part.source, self._route.method, part.path, part.parameters, part.headers, message)


def _place_of(path: str) -> str:
    """Where on a disk the uploads to a path are: in no other's place, and in a name of any length."""
    return f"incoming/{hashlib.sha256(path.encode()).hexdigest()[:32]}"


def _too_long(upload: Upload) -> Reply:
    detail = f"the part goes beyond the {upload.length_bytes} bytes that were announced; nothing of it is kept"
    return problem(413, "too-long", detail)


def _no_such_method(method: str, known: str) -> Reply:
    return problem(405, "method", f"{method} means nothing here; {known} do")


def routes_of_parts(route: Route) -> list[Route]:
    """The routes at which the parts of messages to a resumable one arrive; they are as open, and described with it."""
    if route.about is not None:
        return [
            replace(route, method=part.method, path=part.path, about=part) for part in operations_of_parts(route.about)
        ]
    place = f"{route.path}/{{{UPLOAD}}}"
    asked = [("OPTIONS", route.path), ("POST", route.path), *((method, place) for method in _METHODS)]
    return [replace(route, method=method, path=path) for method, path in asked]

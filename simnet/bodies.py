"""How the body of a request is taken in: into memory or a file; in virtual time, without waking up for parts of it.
And that of an answer, of which no more is taken in than any may have.
"""

from __future__ import annotations

import aiohttp
from aiohttp import web

from simnet.errors import InspectionError
from simnet.services import Reply, problem
from simnet.spool import SMALLEST_SPOOLED_BYTES, SpoolFile
from simnet.transport import StreamTransport


def unreadable(error: web.RequestPayloadError) -> Reply:
    """The refusal of what aiohttp would call an error of the service."""
    return problem(400, "unreadable", f"the body is not framed or compressed as its headers say: {error}")


async def body_of(http: web.Request, limit_bytes: int) -> bytes | None:
    """The whole body; None if it is longer than the limit.

    As `web.Request.read` does, but the request keeps none of it: aiohttp keeps the last request of a connection for as
    long as that is idle.
    """
    _await_body(http, limit_bytes)
    chunks, size_bytes = [], 0
    while chunk := await http.content.readany():
        chunks.append(chunk)
        size_bytes += len(chunk)
        if 0 < limit_bytes < size_bytes:
            return None
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)


async def spooled(http: web.Request, file: SpoolFile, limit_bytes: int) -> bool:
    """Let the body go to a file as it comes; False if it is longer than the limit. Raises `SpoolError`."""
    _await_body(http, limit_bytes)
    while chunk := await http.content.readany():
        file.write(chunk)
        if 0 < limit_bytes < file.size_bytes:
            return False
    return True


async def answer_of(response: aiohttp.ClientResponse, limit_bytes: int) -> bytes:
    """The whole body of an answer. Raises `simnet.errors.InspectionError` if it is longer than the limit."""
    announced_bytes = response.content_length
    if announced_bytes is not None and announced_bytes <= limit_bytes and "Content-Encoding" not in response.headers:
        return await response.read()
    body = bytearray()
    while chunk := await response.content.readany():
        body += chunk
        if len(body) > limit_bytes:
            raise InspectionError(f"the answer has more than {limit_bytes} B, more than any may have")
    return bytes(body)


def is_long(http: web.Request, limit_bytes: int) -> bool:
    """Whether a body may have more bytes than are kept in memory; one that is refused anyway has not."""
    announced_bytes = http.content_length
    if announced_bytes is None:
        return http.can_read_body
    return announced_bytes >= SMALLEST_SPOOLED_BYTES and not 0 < limit_bytes < announced_bytes


def _await_body(http: web.Request, limit_bytes: int) -> None:
    """Do not wake up for parts of a body that is read whole: in virtual time, it stays where its sender has it.

    aiohttp collects what arrives. A hundred clients that send 9 MB at the same time would fill 900 MB; so they are read
    one after another, at the same moment of virtual time. A body that is too large is not waited for: its sender is
    told as soon as the limit is passed.
    """
    announced_bytes, transport = http.content_length, http.transport
    if "Content-Encoding" in http.headers or not announced_bytes or 0 < limit_bytes < announced_bytes:
        return  # of what is compressed, nobody can tell how much has come already
    if isinstance(transport, StreamTransport):
        transport.hold_back(announced_bytes - http.content.total_bytes)


def has_body(http: web.Request) -> bool:
    """Whether a body comes with a request."""
    announced = http.content_length
    return http.can_read_body if announced is None else announced > 0

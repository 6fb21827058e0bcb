"""How many bytes a request and its answer have on the wire, and what their heads say: as aiohttp would write them.

A head is a start line, lines of headers and an empty line (RFC 9112). Which headers aiohttp adds, and when, is stated
here once more, because building its requests costs more than all the rest of a message that is handed over; a test
holds the two against each other byte by byte. Not modelled: chunked bodies, compression, proxies, HTTP/1.0.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus

from aiohttp import hdrs
from aiohttp.client_reqrep import ClientRequest
from aiohttp.helpers import must_be_empty_body, parse_content_type, should_remove_content_length
from aiohttp.http import SERVER_SOFTWARE
from multidict import CIMultiDict, CIMultiDictProxy, istr
from yarl import URL

from simnet.carriage import FROM_HEADER, KIND_HEADER, kinds_in_words
from simnet.services import Reply
from simnet.tenancy import Message

_REQUEST_LINE_REST = len("  HTTP/1.1\r\n")
_STATUS_LINE_REST = len("HTTP/1.1 200 \r\n")
_HEADER_REST = len(": \r\n")
_EMPTY_LINE = 2
_LENGTH_HEADER = len("Content-Length") + _HEADER_REST
_NO_TYPE = "application/octet-stream"  # what aiohttp says of a message that does not say what it is
_BODYLESS_METHODS = ClientRequest.GET_METHODS
# Paths that no software writes in another way: no escapes, no query, no segment that begins with a dot.
_PLAIN_PATH = re.compile(r"/|(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+/?")


class RequestHead:
    """What a service sees of a request beside its message; aiohttp's router takes it for a request of its own."""

    __slots__ = ("_own", "_source", "authority", "message", "method", "path", "path_qs", "path_safe", "size_bytes")

    def __init__(
        self, method: str, url: str, authority: str, path: str, source: str, message: Message, own: Mapping[str, str]
    ) -> None:
        """`url` is the peer's, `authority` its value of the header Host, `own` the headers that the agent set."""
        self.method = method.upper()
        self.authority = authority
        self.message = message
        self._source = source
        self._own = own
        if _PLAIN_PATH.fullmatch(path):
            self.path = self.path_qs = self.path_safe = path
        else:
            whole = URL(url + path)
            self.path, self.path_qs, self.path_safe = whole.path, whole.raw_path_qs, whole.path_safe
        self.size_bytes = self._measured()

    @property
    def rel_url(self) -> RequestHead:
        """Where aiohttp's router looks for `path_safe`."""
        return self

    @property
    def headers(self) -> CIMultiDictProxy[str]:
        """All headers, in the order in which aiohttp sends them."""
        message = self.message
        headers = CIMultiDict({"Host": self.authority})
        headers.extend((_as_parsed(name), value) for name, value in self._own.items())
        headers[FROM_HEADER] = self._source
        headers[KIND_HEADER] = kinds_in_words(message.kinds)
        headers["Content-Type"] = message.content_type
        for name, value in _USUAL.items():
            headers.setdefault(name, value)
        if (length := _content_length(self.method, message)) is not None:
            headers["Content-Length"] = length
        return CIMultiDictProxy(headers)

    def _measured(self) -> int:
        """Bytes of the request line and all headers."""
        message, method = self.message, self.method
        size_bytes = len(method) + len(self.path_qs) + _REQUEST_LINE_REST + _EMPTY_LINE
        size_bytes += _CONSTANT_BYTES + len(self.authority) + _encoded(self._source) + _told_bytes(message)
        if (length := _content_length(method, message)) is not None:
            size_bytes += _LENGTH_HEADER + len(length)
        for name, value in self._own.items():
            size_bytes += _header_bytes(name, value)
            if (usual := _USUAL_BY_LOWER_NAME.get(name.lower())) is not None:
                size_bytes -= _header_bytes(*usual)
        return size_bytes


class AnswerHead:
    """The status line and the headers of an answer, and the message as the asker gets it."""

    __slots__ = ("reply", "size_bytes")

    def __init__(self, method: str, reply: Reply, now_s: float) -> None:
        """`method` is that of the request, `reply` what the service said."""
        message, status = reply.message, reply.status
        size, empty = len(message.body), must_be_empty_body(method, status)
        own = reply.headers
        headers = {_as_parsed(name): value for name, value in own.items()} if own else {}
        headers[KIND_HEADER] = kinds_in_words(message.kinds)
        if size:
            headers["Content-Type"] = message.content_type
        if (size or (status != 304 and method != "HEAD")) and not should_remove_content_length(method, status):
            headers["Content-Length"] = str(size)
        headers.setdefault("Date", _date(int(now_s)))
        headers.setdefault("Server", SERVER_SOFTWARE)
        text = "".join(headers) + "".join(headers.values())
        self.size_bytes = _status_line_bytes(status) + _EMPTY_LINE + _HEADER_REST * len(headers) + _encoded(text)
        if not size or empty:
            message = replace(message, body=b"", content_type=headers.get("Content-Type", ""))
        self.reply = Reply(status, as_received(message), headers)


def authority_of(url: str) -> str:
    """The value of the header Host for a URL such as "http://server:8080"."""
    return URL(url).host_port_subcomponent or ""


def as_received(message: Message) -> Message:
    """The message as the other end reads it: with the type in the form that HTTP software tells it, and some kind."""
    media_type = _media_type(message.content_type)
    if media_type == message.content_type and message.kinds:
        return message
    return replace(message, kinds=message.kinds or Message().kinds, content_type=media_type)


def _content_length(method: str, message: Message) -> str | None:
    if size := len(message.body):
        return str(size)
    return None if method in _BODYLESS_METHODS else "0"


def _as_parsed(name: str) -> str:
    """The name of a header as aiohttp's parser gives it: those that it knows in their usual spelling."""
    return _KNOWN.get(name.lower(), name)


def _told_bytes(message: Message) -> int:
    return _encoded(kinds_in_words(message.kinds)) + _encoded(message.content_type)


def _header_bytes(name: str, value: str) -> int:
    return _encoded(name) + _encoded(value) + _HEADER_REST


def _encoded(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


@lru_cache
def _status_line_bytes(status: int) -> int:
    known = status in HTTPStatus._value2member_map_
    return _STATUS_LINE_REST + (len(HTTPStatus(status).phrase) if known else 0)


@lru_cache
def _media_type(content_type: str) -> str:
    return parse_content_type(content_type)[0] if content_type else _NO_TYPE


@lru_cache(maxsize=16)
def _date(second: int) -> str:
    """Virtual time has no calendar: it begins in 1970."""
    return formatdate(second, usegmt=True)


_KNOWN = {name.lower(): str(name) for name in vars(hdrs).values() if isinstance(name, istr)}
_USUAL = {str(name): str(value) for name, value in ClientRequest.DEFAULT_HEADERS.items()}
_USUAL["User-Agent"] = SERVER_SOFTWARE
_USUAL_BY_LOWER_NAME = {name.lower(): (name, value) for name, value in _USUAL.items()}
_CONSTANT_BYTES = sum(_header_bytes(name, value) for name, value in _USUAL.items()) + sum(
    _header_bytes(name, "") for name in ("Host", FROM_HEADER, KIND_HEADER, "Content-Type")
)

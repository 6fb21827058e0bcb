"""What a service is made of: requests, replies, routes, and refusals that say why (RFC 9457)."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from simnet.errors import BoundaryError, RateError
from simnet.operations import Operation
from simnet.spool import KEPT_S, Spool
from simnet.tenancy import Message

PROBLEM_TYPE = "application/problem+json"
DETAIL_LIMIT = 1000
"""Characters of a refusal's reason that cross a boundary: refusals are not inspected, so they must be small."""
RETRY_AFTER = "Retry-After"
_CODE_LIMIT = 64
_PROBLEM_URN = "urn:problem:"


@dataclass(frozen=True, slots=True)
class Request:
    """What a service sees of a request. `source` is the asking host, None if it did not say."""

    source: str | None
    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]
    message: Message


@dataclass(frozen=True, slots=True)
class Reply:
    """A status as in HTTP, a message, and headers such as Retry-After."""

    status: int = 200
    message: Message = field(default_factory=Message)
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def reason(self) -> str:
        """Why a request failed, in the words of the service; empty if it did not say."""
        return self._problem_member("detail")

    @property
    def code(self) -> str:
        """Why a request failed, for programs; empty if the service did not say."""
        return self._problem_member("type").removeprefix(_PROBLEM_URN)

    @property
    def may_come_again(self) -> bool:
        """Whether it refuses a request for what was the matter at the time, so that it makes sense to repeat it."""
        return self.status in (408, 429) or self.status >= 500

    def _problem_member(self, name: str) -> str:
        if self.message.content_type != PROBLEM_TYPE:
            return ""
        try:
            return str(json.loads(self.message.body).get(name, ""))
        except (ValueError, AttributeError):
            return ""


def problem(status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply that refuses a request and says why (RFC 9457): `code` for programs, `detail` for people."""
    body = json.dumps({"type": _PROBLEM_URN + code, "status": status, "detail": detail}).encode()
    return Reply(status, Message(body, content_type=PROBLEM_TYPE), headers or {})


def too_large(limit_bytes: int) -> Reply:
    """The refusal of a body that is longer than a service takes in."""
    return problem(413, "too-large", f"Maximum request body size {limit_bytes} exceeded.")


def no_room(reason: str) -> Reply:
    """The refusal of a body that cannot be kept: 507. It may be sent again later."""
    return problem(507, "no-room", f"The body cannot be kept: {reason}. Send it again later.")


def as_refusal(reply: Reply) -> Reply | None:
    """The reply cut down to what a refusal may say (code, status, a short reason, whole seconds until a retry makes
    sense); None if it is no refusal.
    """
    if reply.status < 400 or reply.message.content_type != PROBLEM_TYPE:
        return None
    told = problem(reply.status, reply.code[:_CODE_LIMIT], _shortened(reply.reason))
    retry_after = reply.headers.get(RETRY_AFTER, "")
    seconds = {RETRY_AFTER: retry_after} if re.fullmatch(r"[0-9]{1,6}", retry_after) else {}
    return Reply(reply.status, told.message, seconds)


def boundary_problem(refusal: BoundaryError) -> Reply:
    """The reply to a message that a boundary does not let in: 403, or 429 with Retry-After if it may come later."""
    if isinstance(refusal, RateError):
        return problem(429, "rate", str(refusal), {RETRY_AFTER: str(math.ceil(refusal.retry_after_s))})
    return problem(403, "boundary", str(refusal))


def _shortened(text: str) -> str:
    return text if len(text) <= DETAIL_LIMIT else text[: DETAIL_LIMIT - 1] + "…"


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of a service: `path` may have parameters, as in "/tasks/{task}".

    An `open_to_all` route takes control messages from callers that do not say who they are. With a `spool`, large
    bodies go to a file there as they come, on real sockets. `about` describes the operation to others.
    The answer of a `fixed` route is the same for everybody and known before the run: no boundary has to look into it.

    A message to a `resumable` route, whose method is PUT, may also come in parts (`simnet.resumable`). Then `announced`
    sees the request before any byte of its body comes, and may refuse it; what is unfinished is kept for `kept_s`
    seconds after the last part, in the `spool` if there is one.
    """

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Reply]]
    open_to_all: bool = False
    spool: Spool | None = None
    about: Operation | None = None
    fixed: bool = False
    resumable: bool = False
    announced: Callable[[Request], Awaitable[Reply | None]] | None = None
    kept_s: float = KEPT_S


def route_of(
    about: Operation,
    handler: Callable[[Request], Awaitable[Reply]],
    *,
    open_to_all: bool | None = None,
    spool: Spool | None = None,
    fixed: bool = False,
    resumable: bool = False,
    announced: Callable[[Request], Awaitable[Reply | None]] | None = None,
) -> Route:
    """The route of an operation that describes itself; open to all as it says, unless said otherwise."""
    is_open = about.open_to_all if open_to_all is None else open_to_all
    kept_s = KEPT_S if spool is None else spool.kept_s
    return Route(about.method, about.path, handler, is_open, spool, about, fixed, resumable, announced, kept_s)

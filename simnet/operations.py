"""What an operation of a service is, for whoever writes a client: told beside the handler, printed as OpenAPI.

`COMMON` is what the carriage may answer in place of any service.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Answer:
    """One way in which an operation ends: status, and when that is. A refusal has a `code` for programs.

    `kinds` are the kinds of content of its body, none if there is no body; `content_type` is that body's, of a refusal
    always application/problem+json.
    """

    status: int
    says: str
    code: str = ""
    kinds: tuple[str, ...] = ()
    content_type: str = "application/msgpack"
    headers: Mapping[str, str] = field(default_factory=dict)
    """Name of a header -> what it says."""


@dataclass(frozen=True, slots=True)
class Operation:
    """A method at a path, with what it takes and all of its answers but the common ones.

    `parameters` are those of the path, `headers` what a request may say beside the usual; name -> meaning. One that
    has a pattern (a regular expression) in `patterns` must be there, and match. `sends` says
    what the body of a request holds, `sends_kinds` of which kinds it may be, `sends_type` its Content-Type; none if
    there is no body.
    """

    name: str
    method: str
    path: str
    summary: str
    answers: tuple[Answer, ...]
    parameters: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    patterns: Mapping[str, str] = field(default_factory=dict)
    sends: str = ""
    sends_kinds: tuple[str, ...] = ()
    sends_type: str = "application/msgpack"
    open_to_all: bool = False
    """Whether callers may be served that do not say who they are."""


COMMON = (
    Answer(400, "the body is truncated, altered, too deep, or not of the kind that it claims", "unreadable"),
    Answer(400, "the body is not the one that Content-Digest tells of", "altered"),
    Answer(401, "nothing proves who sends it, and this deployment demands a proof", "no-identity"),
    Answer(401, "the token is none of this deployment, or names nobody", "bad-token"),
    Answer(401, "token or certificate has ended", "expired"),
    Answer(401, "token or certificate was revoked", "revoked"),
    Answer(401, "the token is for another deployment", "other-audience"),
    Answer(401, "the certificate is of another authority", "other-authority"),
    Answer(401, "the certificate names no site and tenant", "no-site"),
    Answer(403, "the sender is not said", "unknown-sender"),
    Answer(403, "no rule lets it cross, or its answer come back", "boundary"),
    Answer(403, "the sender is not who the path, or the header, says", "not-you"),
    Answer(403, "what was proved is no host of the run", "unknown-host"),
    Answer(403, "what was proved belongs to another tenant here", "wrong-tenant"),
    Answer(403, "certificate and token are not of the same site", "two-senders"),
    Answer(403, "the sender has made as many requests as one may in a run", "used-up"),
    Answer(408, "the body does not come: send it again", "slow"),
    Answer(413, "the body is longer than the service takes in", "too-large"),
    Answer(415, "the body is compressed", "encoded", headers={"Accept-Encoding": "identity"}),
    Answer(417, "something else is expected than 100-continue", "unmet-expectation"),
    Answer(429, "the sender comes too often", "rate", headers={"Retry-After": "seconds to wait"}),
    Answer(429, "too many requests of the sender wait for their answers", "busy", headers={"Retry-After": "seconds"}),
    Answer(431, "path and headers are longer than may cross a boundary uninspected", "boundary"),
    Answer(500, "the service failed; its log says why", "internal"),
    Answer(503, "the server cannot tell who is revoked", "unavailable"),
    Answer(503, "too many connections are open", "busy", headers={"Retry-After": "seconds"}),
    Answer(503, "the server is being stopped: repeat", "shutting-down", headers={"Retry-After": "seconds"}),
    Answer(507, "the server has no room to keep the body", "no-room"),
)

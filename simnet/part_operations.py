"""The operations of tus beside one that takes messages in parts: told as `simnet.operations` tells any."""

from __future__ import annotations

from collections.abc import Mapping

from simnet.operations import Answer, Operation
from simnet.tus import (
    CHECKSUM,
    CHECKSUM_MISMATCH,
    EXPIRES,
    EXTENSIONS,
    GONE,
    LENGTH,
    METADATA,
    MISMATCH,
    NO_UPLOAD,
    OFFSET,
    OTHER_OFFSET,
    OVERRIDE,
    PART_TYPE,
    RESUMABLE,
    UPLOAD,
    VERSION,
)

_SPOKEN = {RESUMABLE: f"{VERSION}: the version of the protocol"}
_VERSION = {RESUMABLE: r"^1\.0\.0$"}
_NUMBER = r"^[0-9]{1,15}$"
_EXPIRES = {EXPIRES: "when the upload is forgotten, unless another part comes before"}
_COMMON = (
    Answer(405, "the method, or what X-HTTP-Method-Override says in its place, means nothing here", "method"),
    Answer(
        412,
        "another version of tus than 1.0.0, or none, was asked for",
        "tus-version",
        headers={"Tus-Version": VERSION},
    ),
)
_MISSING = (
    Answer(403, "the upload is another sender's", "not-you"),
    Answer(404, "no such upload: announce it anew", NO_UPLOAD),
    Answer(410, "the upload has ended, expired or given way to newer ones: announce it anew", GONE),
)
_NO_ROOM = Answer(507, "there is no room to keep it: repeat later", "no-room")
_OFFERED = Answer(
    204,
    "what is offered",
    headers={
        "Tus-Version": VERSION,
        "Tus-Extension": EXTENSIONS,
        "Tus-Checksum-Algorithm": "for Upload-Checksum",
        "Tus-Max-Size": "bytes that a message may have",
    },
)
_HERE = {OFFSET: "bytes that are here"}


def operations_of_parts(whole: Operation) -> tuple[Operation, ...]:
    """What an operation offers more if its message may come in parts; what that refuses, these may refuse, too."""
    parameters = {**whole.parameters, UPLOAD: "The end of the Location that the announcement was answered with."}
    path = f"{whole.path}/{{{UPLOAD}}}"
    offered = "Ask how messages may come in parts (tus 1.0.0)."
    return (
        Operation(f"{whole.name}Offers", "OPTIONS", whole.path, offered, (_OFFERED,), whole.parameters),
        _announced(whole),
        Operation(f"{whole.name}PartOffers", "OPTIONS", path, offered, (_OFFERED,), parameters),
        Operation(
            f"{whole.name}PartOffset",
            "HEAD",
            path,
            "Ask how much of a message is here.",
            (
                Answer(200, "so much", headers={**_HERE, LENGTH: "bytes in all", METADATA: "as announced", **_EXPIRES}),
                *_MISSING,
                _NO_ROOM,
                *_COMMON,
            ),
            parameters,
            _SPOKEN,
            _VERSION,
        ),
        _part(whole, path, parameters),
        Operation(
            f"{whole.name}PartGivenUp",
            "DELETE",
            path,
            "Give an upload up.",
            (Answer(204, "it is gone"), *_MISSING, *_COMMON),
            parameters,
            _SPOKEN,
            _VERSION,
        ),
        Operation(
            f"{whole.name}PartOverridden",
            "POST",
            path,
            f"Any of these by {OVERRIDE}, where methods are few.",
            (
                Answer(200, "as HEAD says"),
                Answer(204, "as PATCH or DELETE say, or OPTIONS"),
                *_part(whole, path, parameters).answers[1:],
            ),
            parameters,
            {**_part(whole, path, parameters).headers, OVERRIDE: "HEAD, PATCH or DELETE"},
            {**_VERSION, OVERRIDE: "^(HEAD|PATCH|DELETE)$"},
        ),
    )


def _announced(whole: Operation) -> Operation:
    return Operation(
        f"{whole.name}Announced",
        "POST",
        whole.path,
        "Announce a message that comes in parts (tus 1.0.0).",
        (
            Answer(201, "it may come", headers={"Location": "path of the upload", **_EXPIRES}),
            Answer(400, "no length, or none that is a number", "no-length"),
            Answer(400, "the announcement has a body", "early-body"),
            Answer(400, f"{METADATA} is not keys and Base64", "metadata"),
            _NO_ROOM,
            *_refused(whole),
            *_COMMON,
        ),
        whole.parameters,
        {
            **_SPOKEN,
            LENGTH: "bytes of the whole message",
            METADATA: "key Base64, ...: `filetype` is its Content-Type, `sha256` its digest in hexadecimal digits",
            "Boundary-Kind": "the kinds of content of the whole message",
        },
        {**_VERSION, LENGTH: _NUMBER},
    )


def _part(whole: Operation, path: str, parameters: Mapping[str, str]) -> Operation:
    return Operation(
        f"{whole.name}Part",
        "PATCH",
        path,
        "Send the next part of a message; with the last one it is served.",
        (
            Answer(204, "it is here; if it was the last, the message was accepted", headers={**_HERE, **_EXPIRES}),
            Answer(400, f"no {OFFSET}, or none that is a number", "no-offset"),
            Answer(400, f"{CHECKSUM} cannot be understood", "checksum"),
            *_MISSING,
            Answer(409, "the part begins elsewhere than what is here ends: go on from there", OTHER_OFFSET),
            Answer(413, "the part goes beyond what was announced", "too-long"),
            Answer(415, f"the Content-Type is not {PART_TYPE}", "part-type"),
            Answer(415, "the part has a Content-Encoding", "part-encoding"),
            Answer(CHECKSUM_MISMATCH, "the part, or the whole, has another checksum; it is not kept", MISMATCH),
            _NO_ROOM,
            *_refused(whole),
            *_COMMON,
        ),
        parameters,
        {
            **_SPOKEN,
            OFFSET: "where the part begins",
            CHECKSUM: "sha1, sha256 or md5, a space, and the Base64 of the part's",
        },
        {**_VERSION, OFFSET: _NUMBER},
        "the bytes of the message from there on, as many as come",
        whole.sends_kinds,
        PART_TYPE,
    )


def _refused(whole: Operation) -> tuple[Answer, ...]:
    return tuple(answer for answer in whole.answers if answer.status >= 400)

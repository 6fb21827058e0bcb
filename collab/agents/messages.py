"""The messages of the protocol: what tasks, uploads and answers look like. `docs/protocol.md` is this in words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from collab import wire
from collab.agents.operations import (
    ALREADY_ACCEPTED,
    CLAIM_PATH,
    EXPERIMENT_PATH,
    LATE,
    SITES_PATH,
    TASK_PATH,
    UPLOAD_PATH,
)
from collab.errors import RefusedUploadError, WireError
from collab.methods import Ask, MethodSettings, Sections, Task, Upload, get, names
from collab.privacy.guard import MAX_CONTROL_BYTES
from simnet import Message, Reply, Request, problem

_LONGEST_WAIT_S = 120.0


def message(fields: Mapping[str, Any], sections: Sections | None = None) -> Message:
    """A message of the given fields and tensors."""
    content = wire.Content(fields, sections or {})
    return Message(wire.pack(content), content.kinds)


def task_message(task: Task, settings: MethodSettings, ask: Ask) -> Message:
    """The answer that gives a site its task."""
    expects = {
        kind: {name: expected.described() for name, expected in tensors.items()}
        for kind, tensors in ask.expects.items()
    }
    fields = {
        "state": "task",
        "task": task.identity,
        "method": task.method,
        "settings": settings.model_dump(mode="json", exclude={"name"}),
        "seed": task.seed,
        "share": task.share,
        "expects": expects,
    }
    return message(fields, ask.sections)


def read_task(content: wire.Content) -> Task:
    """The task in an answer. Raises `WireError` for one that this program cannot do."""
    fields = content.fields
    try:
        name = fields["method"]
        if name not in names():
            raise WireError(f"the server asks for the method {name!r}, known here are {', '.join(names())}")
        settings = get(name).Settings(**fields["settings"])
        return Task(fields["task"], name, settings, fields["seed"], fields["share"], content.sections)
    except (KeyError, TypeError, ValueError) as error:
        raise WireError(f"the task cannot be understood: {error}") from error


def upload_message(upload: Upload, task: str) -> Message:
    """A site's upload for a task."""
    return message({"task": task, "site": upload.site}, upload.sections)


def read_upload(body: bytes, task: str, site: str, *, intact: bool = False) -> Upload:
    """The upload in a body, see `wire.unpack`.

    Raises `RefusedUploadError` if it is another site's, or for another task.
    """
    content = wire.unpack(body, intact=intact)
    size = len(wire.pack(wire.Content(content.fields)))
    if size > MAX_CONTROL_BYTES:
        raise RefusedUploadError(f"the fields take {size} bytes; a site may send {MAX_CONTROL_BYTES}")
    for name, expected in (("task", task), ("site", site)):
        if content.fields.get(name) != expected:
            raise RefusedUploadError(
                f"the upload was made for the {name} {content.fields.get(name)!r} and sent for {expected!r}"
            )
    return Upload(site, content.sections)


def state_of(reply: Reply) -> tuple[str, wire.Content]:
    """The state that an answer tells, and all of its content."""
    content = wire.unpack(reply.message.body)
    return str(content.fields.get("state")), content


def preferred_wait_s(request: Request) -> float:
    """The seconds of "Prefer: wait=N" (RFC 7240), at most 120; 0 if there is none."""
    match = re.search(r"\bwait=(\d+)", request.headers.get("Prefer", ""))
    return min(float(match[1]), _LONGEST_WAIT_S) if match else 0.0


def not_found(what: str, name: str) -> Reply:
    """404: there is no such task or site."""
    return problem(404, f"unknown-{what}", f'there is no {what} "{name}" here')


__all__ = [
    "ALREADY_ACCEPTED",
    "CLAIM_PATH",
    "EXPERIMENT_PATH",
    "LATE",
    "SITES_PATH",
    "TASK_PATH",
    "UPLOAD_PATH",
    "message",
    "not_found",
    "preferred_wait_s",
    "read_task",
    "read_upload",
    "state_of",
    "task_message",
    "upload_message",
]

"""What is known of a message that comes in parts: whose it is, how much of it is here, who is at it, how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from simnet.services import Reply, problem
from simnet.tenancy import Message


@dataclass(frozen=True, slots=True)
class Outcome:
    """How an upload ended: the status of its answer, and if it was refused why, for programs and for people."""

    status: int
    code: str = ""
    detail: str = ""

    @classmethod
    def of(cls, reply: Reply) -> Outcome:
        """What is kept of an answer."""
        return cls(reply.status, reply.code, reply.reason)

    def reply(self) -> Reply:
        """The answer again."""
        return problem(self.status, self.code, self.detail) if self.status >= 400 else Reply(self.status)


class PartialBody(Protocol):
    """The beginning of a body. Between `open` and `close` it grows by `write`."""

    @property
    def size_bytes(self) -> int:
        """How much has come."""

    async def open(self) -> None:
        """Go on at the end. Raises `OSError`."""

    def write(self, piece: bytes) -> None:
        """Add what came next, whole or not at all. Raises `simnet.spool.SpoolError`."""

    def mark(self, *, whole: bool = False) -> Callable[[], None]:
        """What takes back, while the body is open, all that is written from now on.

        If that counts as a `whole` only, it is also taken back if the process does not live to close the body. Raises
        `OSError`.
        """

    def close(self) -> None:
        """Stop, for now."""

    async def sync(self) -> None:
        """Have all of it where it is to be: what is told of it then holds after a crash. Raises `OSError`."""

    async def message(self, kinds: frozenset[str], content_type: str) -> Message:
        """The body, whole, as a message; whoever gets it may take the file over. Raises `OSError`."""

    def release(self) -> bool:
        """Let go of the message; whether the body is still here."""

    def drop(self) -> None:
        """Forget it."""


@dataclass(eq=False, slots=True)
class Busy:
    """A request that is at an upload. `interrupt` breaks off its connection; None once all of the body is here."""

    interrupt: Callable[[], None] | None
    over: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Upload:
    """A message that comes in parts: who sends it where, what it is to be, and until when its parts are kept."""

    identity: str
    sender: str
    path: str
    kinds: frozenset[str]
    content_type: str
    length_bytes: int
    metadata: str
    """As the sender has put it."""
    expires_unix_s: float
    body: PartialBody
    outcome: Outcome | None = None
    busy: Busy | None = None
    """Who is at it now."""

    def record(self) -> bytes:
        """What is to be kept of it beside the body, as JSON."""
        outcome = self.outcome
        record = {
            "sender": self.sender,
            "path": self.path,
            "kinds": sorted(self.kinds),
            "content_type": self.content_type,
            "length_bytes": self.length_bytes,
            "metadata": self.metadata,
            "expires_unix_s": self.expires_unix_s,
            "outcome": outcome and {"status": outcome.status, "code": outcome.code, "detail": outcome.detail},
        }
        return json.dumps(record).encode()

    @classmethod
    def recorded(cls, identity: str, data: bytes, body: PartialBody) -> Upload:
        """The upload of a record. Raises `ValueError` if that cannot be read."""
        try:
            record = json.loads(data)
            outcome = None if record["outcome"] is None else Outcome(**record["outcome"])
            return cls(
                identity, str(record["sender"]), str(record["path"]), frozenset(record["kinds"]),
                str(record["content_type"]), int(record["length_bytes"]), str(record["metadata"]),
                float(record["expires_unix_s"]), body, outcome,
            )  # fmt: skip
        except (KeyError, TypeError) as error:
            raise ValueError(f"this is no record of an upload: {error!r}") from error

    @property
    def offset(self) -> int:
        """How much is here, in bytes; all of it if it has ended."""
        return self.body.size_bytes if self.outcome is None else self.length_bytes

    @contextlib.contextmanager
    def taken_by(self, interrupt: Callable[[], None] | None) -> Iterator[None]:
        """Be at the upload for a while, alone; nobody else may be."""
        self.busy = busy = Busy(interrupt)
        try:
            yield
        finally:
            self.busy = None
            busy.over.set()

    async def interrupted(self) -> None:
        """Break off whoever still sends: its sender asks anew, so that connection is dead, though nobody knows."""
        busy = self.busy
        if busy is not None and busy.interrupt is not None:
            busy.interrupt()
            await busy.over.wait()

    async def at_rest(self) -> None:
        """Wait until nobody is at it."""
        while self.busy is not None:
            await self.interrupted()
            if self.busy is not None:
                await self.busy.over.wait()

"""What a server must not forget: which tasks it has handed out, and which uploads it has accepted.

An upload is in the register before the site is told that it was accepted. A server that starts anew, on the register
that it had before, goes on with every upload that it has confirmed. `DiskRegister` keeps it on a host's disk, in
virtual time or in a folder; `collab.deploy.store` is the one of a deployment.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from simnet import Message
from simnet.disk import Disk
from simnet.spool import Spool

_ROUND = "round/"
_ACCEPTED = "accepted/"
_CLOSED = b" closed: "


@dataclass(frozen=True, slots=True)
class Opened:
    """When a task was handed out first, in seconds of the run, and why it was closed since, if it was."""

    at_s: float
    closed: str = ""


class Register(Protocol):
    """What outlasts the program of a server."""

    @property
    def spool(self) -> Spool | None:
        """Where large bodies go as they come; None if they are to stay in memory until they were looked at."""

    def open_task(self, task: str, now_s: float) -> Opened:
        """Keep that a task is handed out, at `now_s` of the run unless it was before: a deadline counts from then."""

    def close_task(self, task: str, reason: str) -> None:
        """Keep that nothing more is taken in for a task, and why."""

    def has_task(self, task: str) -> bool:
        """Whether a task has been handed out, in this life of the server or an earlier one."""

    def uploads(self, task: str) -> Mapping[str, str]:
        """The sites whose uploads for a task were accepted, and the digests of these (SHA-256 of the body)."""

    async def accept(self, task: str, site: str, message: Message) -> None:
        """Keep a site's upload for a task, the first and only one: when this returns it is safe. Raises `OSError`."""

    def take_back(self, task: str, site: str) -> None:
        """Forget an upload of which the site has not been told that it was accepted."""

    def read(self, task: str, site: str) -> bytes:
        """The body of an upload, every byte as it was accepted. Raises `KeyError` if there is none."""


class DiskRegister:
    """The register on the disk of a host."""

    spool: Spool | None = None

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def open_task(self, task: str, now_s: float) -> Opened:
        """Keep that a task is handed out, at `now_s` of the run unless it was before."""
        if not self.has_task(task):
            self._disk.write(_ROUND + task, repr(now_s).encode())
        kept = self._disk.read(_ROUND + task)
        at_s, _, closed = kept.partition(_CLOSED)
        return Opened(float(at_s), closed.decode())

    def close_task(self, task: str, reason: str) -> None:
        """Keep that nothing more is taken in for a task, and why."""
        self._disk.write(_ROUND + task, self._disk.read(_ROUND + task) + _CLOSED + reason.encode())

    def has_task(self, task: str) -> bool:
        """Whether a task has been handed out."""
        return _ROUND + task in self._disk.keys(_ROUND + task)

    def uploads(self, task: str) -> Mapping[str, str]:
        """The sites whose uploads for a task were accepted, and the digests of these."""
        places = self._disk.keys(_place(task, ""))
        return {place.rsplit("/", 1)[1]: Message(self._disk.read(place)).digest for place in places}

    async def accept(self, task: str, site: str, message: Message) -> None:
        """Keep a site's upload for a task."""
        self._disk.write(_place(task, site), message.body)

    def take_back(self, task: str, site: str) -> None:
        """Forget an upload."""
        self._disk.delete(_place(task, site))

    def read(self, task: str, site: str) -> bytes:
        """The body of an upload that was accepted. Raises `KeyError` if there is none."""
        return self._disk.read(_place(task, site))


def _place(task: str, site: str) -> str:
    return f"{_ACCEPTED}{task}/{site}"

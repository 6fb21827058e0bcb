"""The uploads in parts that a service holds for one route: how many of whom, and until when."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import Callable
from email.utils import formatdate

from simnet.partial_bodies import PartialBodies
from simnet.services import Reply, problem
from simnet.tus import EXPIRES, GONE, NO_UPLOAD
from simnet.uploads import Upload

MOST_UPLOADS = 4
_MOST_GONE = 1000  # identities that are remembered, to say 410 rather than 404


class HeldUploads:
    """Begins with what an earlier process has left in `bodies`. An upload is held for `kept_s` seconds after somebody
    was at it, by the clock `unix_s`; a sender has `MOST_UPLOADS` of them, and in unfinished ones no more than
    `limit_bytes`, if that is not 0.
    """

    def __init__(self, bodies: PartialBodies, unix_s: Callable[[], float], *, kept_s: float, limit_bytes: int) -> None:
        self._bodies = bodies
        self._unix_s = unix_s
        self._kept_s = kept_s
        self._limit_bytes = limit_bytes
        self._uploads = {upload.identity: upload for upload in bodies.left(kept_s)}
        self._gone: dict[str, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self.sweep()

    def __contains__(self, upload: Upload) -> bool:
        return upload.identity in self._uploads

    def get(self, identity: str) -> Upload | None:
        """The upload of this name, or None."""
        return self._uploads.get(identity)

    async def enter(self, upload: Upload) -> bool:
        """Hold a new upload, on the medium; False if it has given way before it was there. Raises `OSError`."""
        self._uploads[upload.identity] = upload  # first: who announces meanwhile has to count it
        try:
            await self._bodies.keep(upload)
        except BaseException:
            if upload in self:
                self.forget(upload)
            raise
        if upload not in self:
            self._bodies.drop(upload)  # its record came after it had been forgotten
            return False
        self.sweep()
        return True

    async def make_room(self, sender: str, length_bytes: int) -> None:
        """Let the oldest uploads of a sender go: those that have ended first, those that are coming last.

        Who enters an upload of that length before anything else happens keeps within the bounds.
        """
        served: set[str] = set()
        while True:
            mine = [upload for upload in self._uploads.values() if upload.sender == sender]
            mine = [upload for upload in mine if upload.identity not in served]
            held_bytes = sum(upload.length_bytes for upload in mine if upload.outcome is None)
            if not mine or (len(mine) < MOST_UPLOADS and not 0 < self._limit_bytes < held_bytes + length_bytes):
                return
            oldest = min(mine, key=lambda upload: (upload.outcome is None, upload.busy is not None))
            await oldest.interrupted()
            if oldest.busy is not None:  # it is being served, and soon over
                served.add(oldest.identity)
            elif oldest in self:
                self.forget(oldest)

    def forget(self, upload: Upload) -> None:
        """Hold an upload no more."""
        del self._uploads[upload.identity]
        self._gone[upload.identity] = None
        if len(self._gone) > _MOST_GONE:
            del self._gone[next(iter(self._gone))]
        with contextlib.suppress(OSError):  # what cannot be deleted now is swept when the folder is opened next
            self._bodies.drop(upload)

    # -- for how long ----------------------------------------------------------------------------

    def renew(self, upload: Upload) -> None:
        """Somebody was at it: its time begins anew."""
        upload.expires_unix_s = self.new_expiry_unix_s()

    def new_expiry_unix_s(self) -> float:
        """When an upload that somebody is at now expires."""
        return self._unix_s() + self._kept_s

    def sweep(self) -> None:
        """Forget what has expired, and come back when the next one does."""
        now_s = self._unix_s()
        for upload in list(self._uploads.values()):
            if upload.expires_unix_s <= now_s and upload.busy is None:
                self.forget(upload)
        self.close()
        if self._uploads:
            next_s = min(upload.expires_unix_s for upload in self._uploads.values())
            # Whoever is at an upload then gets a second more.
            self._timer = asyncio.get_running_loop().call_later(max(next_s - now_s, 1.0), self.sweep)

    def close(self) -> None:
        """Sweep no more; what is in a folder stays there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what is said of them --------------------------------------------------------------------

    def missing(self, identity: str) -> Reply:
        """The answer to whoever asks for one that is not held."""
        if identity in self._gone:
            return problem(410, GONE, "the upload has ended, expired or given way to newer ones: announce it anew")
        return problem(404, NO_UPLOAD, "there is no such upload here: announce it anew")


def expiry_of(upload: Upload) -> dict[str, str]:
    """The header that says until when it is held."""
    return {EXPIRES: formatdate(math.floor(upload.expires_unix_s), usegmt=True)}

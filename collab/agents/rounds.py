"""One round at the server: who was asked, who has answered, and when it is over.

It is over when all uploads are in; with `WaitingSettings` also at a quorum, at a deadline, or when only such sites are
missing as will never be back. Whatever was accepted until then counts, nothing after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from collab.errors import RunFailedError, TooFewUploadsError
from collab.methods import Ask, Upload
from collab.waiting_settings import WaitingSettings
from simnet import Message

GRACE_S = 60.0
"""How long sites have, whatever the deadline, to come back to a server that has been down."""
_MOST_NAMED = 8  # sites in one sentence


@dataclass(frozen=True)
class Arrival:
    """An upload that was taken in: the `number`th of the `asked` ones of its round. Both numbers count from 1."""

    upload: Upload
    round_number: int
    number: int
    asked: int


UploadListener = Callable[[Arrival], None]
"""Hears of an upload that is taken in; or, after a crash, that had been before."""
RoundListener = Callable[[Mapping[str, Message]], None]
"""Hears, before the sites do, which message each is going to get as its task."""


@dataclass
class Round:
    """The tasks of one `ask`. `on_close` hears why a round that lacks uploads is closed, before it is."""

    identity: str
    asks: Mapping[str, Ask]
    waiting: WaitingSettings | None = None
    on_close: Callable[[str], None] = lambda _reason: None
    answered: dict[str, str] = field(default_factory=dict)
    """Site -> digest of its upload."""
    lost: dict[str, str] = field(default_factory=dict)
    """Site that will never be back -> why."""
    messages: dict[int, Message] = field(default_factory=dict)
    """By the identity of the ask."""
    closed: str = ""
    """Why it was closed, if not because all uploads are in."""
    opened_s_ago: float = 0.0
    """When the tasks were ready first, by a server that has crashed since."""
    _arrived: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)

    @property
    def missing(self) -> list[str]:
        """The sites that have not answered."""
        return [site for site in self.asks if site not in self.answered]

    def wants(self, site: str) -> bool:
        """Whether an upload of the site would be taken in."""
        return site in self.asks and site not in self.answered and not self.closed

    def take_in(self, site: str, digest: str) -> None:
        """Accept a site's upload; the quorum may then be reached."""
        self.answered[site] = digest
        self._arrived.put_nowait(site)
        self.close_at_quorum()

    def lose(self, site: str, reason: str) -> None:
        """Take note that a site will never be back."""
        self.lost[site] = reason
        self._arrived.put_nowait(None)

    def close_at_quorum(self) -> None:
        """Close the round if enough uploads are in."""
        quorum = None if self.waiting is None else self.waiting.quorum
        if quorum is not None and quorum <= len(self.answered) < len(self.asks) and not self.closed:
            self._close("quorum")

    async def arrivals(self) -> AsyncIterator[str]:
        """The sites as their uploads come, until the round is over; from here, or before a crash, counts the deadline.

        Raises `RunFailedError` if it cannot go on with what is in and can still come.
        """
        deadline_s = None if self.waiting is None else self.waiting.deadline
        left_s = None if deadline_s is None else max(deadline_s - self.opened_s_ago, min(deadline_s, GRACE_S))
        ends_s = None if left_s is None else asyncio.get_running_loop().time() + left_s
        while True:
            self._check_still_possible()
            over = self._is_over()
            if over and self._arrived.empty():
                break
            try:
                async with asyncio.timeout_at(None if over else ends_s):
                    arrived = await self._arrived.get()
            except TimeoutError:
                self._close("deadline")
                continue
            if arrived is not None:
                yield arrived
        if self.missing and not self.closed:
            self._close("the others are lost")

    def forget(self) -> None:
        """Keep the sites' names alone: what was sent may be a network in each of very many rounds."""
        self.asks = dict.fromkeys(self.asks, Ask())
        self.messages = {}

    def _is_over(self) -> bool:
        return bool(self.closed) or all(site in self.lost for site in self.missing)

    def _close(self, reason: str) -> None:
        self.on_close(reason)
        self.closed = reason

    def _check_still_possible(self) -> None:
        """Raise `RunFailedError` if fewer uploads are in, or can still come, than the server goes on with."""
        needed = len(self.asks) if self.waiting is None else min(self.waiting.at_least, len(self.asks))
        coming = [] if self.closed else [site for site in self.missing if site not in self.lost]
        possible = len(self.answered) + len(coming)
        if possible >= needed:
            return
        if self.closed:
            raise TooFewUploadsError(
                f"{len(self.answered)} of {len(self.asks)} uploads for {self.identity} were in when it was closed "
                f"({self.closed}), at least {needed} are needed; missing: {_few(self.missing)}"
            )
        reason = next(self.lost[site] for site in self.missing if site in self.lost)
        more = "" if self.waiting is None else f"; {possible} can still come in all, at least {needed} are needed"
        raise RunFailedError(f"{reason}, and its upload for {self.identity} is missing{more}")


def _few(sites: Sequence[str]) -> str:
    more = len(sites) - _MOST_NAMED
    return ", ".join(sites[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

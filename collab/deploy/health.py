"""In which state a server is, and whether a site that comes now is served. May be asked from any thread."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from collab.agents.rounds import Round
from simnet.units import format_size

_LOOK_AGAIN_S = 1.0
_PROBE = b"\0" * 4096


class State(StrEnum):
    """What a server does."""

    STARTING = "starting"
    """It reads the data, and does not listen yet."""
    CATCHING_UP = "catching-up"
    """After a crash it goes again through the rounds that were over before."""
    COLLECTING = "collecting"
    """Tasks are handed out, and uploads awaited."""
    COMPUTING = "computing"
    """Uploads are in; whoever asks waits for the next task, or the end."""
    TELLING = "telling"
    """The sites are told how it ended."""
    JUDGING = "judging"
    """The sites are gone; the result is evaluated and written."""
    STOPPING = "shutting-down"
    """It was told to stop."""


_UNREADY = {
    State.STARTING: "the data is being read; nobody is served yet",
    State.CATCHING_UP: "after a crash the server has not come to the task that was handed out last yet",
    State.JUDGING: "the run is over; its result is being evaluated and written",
    State.STOPPING: "the server is being stopped",
}


class Served(Protocol):
    """What is looked at: the agent of a server."""

    @property
    def rounds(self) -> Mapping[str, Round]:
        """The rounds that it has begun, by their task, in order."""

    @property
    def is_over(self) -> bool:
        """Whether the sites are being told how it ended."""


@dataclass(frozen=True, slots=True)
class Sites:
    """How many sites there are in the latest round."""

    asked: int = 0
    finished: int = 0
    """Whose upload was accepted."""
    missing: int = 0
    """Whose upload was not."""
    lost: int = 0
    """Those of the missing that will not be back."""


class Health:
    """The health of one server.

    With a `store` folder it is not ready while nothing can be written there, or less than `reserve_bytes` are free; nor
    while `lets_nobody_in` says why nobody is let in, whatever he brings.
    """

    def __init__(
        self, store: Path | None = None, reserve_bytes: int = 0, lets_nobody_in: Callable[[], str] = lambda: ""
    ) -> None:
        self._lets_nobody_in = lets_nobody_in
        self._store = store
        self._reserve_bytes = reserve_bytes
        self._agent: Served | None = None
        self._earlier_tasks: Collection[str] = ()
        self._over = False
        self._stopping = False
        self._why_unwritable: Callable[[], str] = lambda: ""
        self._looked_s = float("-inf")
        self._found = ""

    def serves(self, agent: Served, earlier_tasks: Collection[str] = ()) -> None:
        """The agent answers requests; `earlier_tasks` are those that servers before it had handed out."""
        self._agent, self._earlier_tasks = agent, earlier_tasks

    def keeps(self, why_unwritable: Callable[[], str]) -> None:
        """There is a register in the store, and this tells why it cannot be written; empty if it can."""
        self._why_unwritable = why_unwritable

    def stops(self) -> None:
        """It was told to stop."""
        self._stopping = True

    def is_over(self) -> None:
        """Nobody is served any more."""
        self._over = True

    @property
    def state(self) -> State:
        """What the server does now."""
        agent = self._agent
        if self._stopping:
            return State.STOPPING
        if self._over:
            return State.JUDGING
        if agent is None:
            return State.STARTING
        if agent.is_over:
            return State.TELLING
        rounds = agent.rounds
        if any(task not in rounds for task in self._earlier_tasks):
            return State.CATCHING_UP
        latest = self._latest()
        return State.COLLECTING if latest is not None and latest.missing and not latest.closed else State.COMPUTING

    def unready(self) -> str:
        """Why a site that comes now is not served as it should be; empty if it is."""
        return _UNREADY.get(self.state) or next(iter(self.troubles().values()), "")

    def troubles(self) -> dict[str, str]:
        """What somebody has to mend before sites are served: what it is about (`access`, `store`) -> the reason."""
        found = {"access": self._lets_nobody_in(), "store": self._unwritable()}
        return {about: reason for about, reason in found.items() if reason}

    @property
    def goes_on(self) -> bool:
        """Whether servers before it had handed out tasks."""
        return bool(self._earlier_tasks)

    def rounds(self) -> list[Round]:
        """The rounds that were begun, in order."""
        return [] if self._agent is None else list(self._agent.rounds.values())

    @property
    def round_number(self) -> int:
        """The number of the latest round, from 1; 0 before the first."""
        return 0 if self._agent is None else len(self._agent.rounds)

    def uploads(self) -> int:
        """How many uploads were accepted in the run; those before a crash count once they are caught up with."""
        return sum(len(each.answered) for each in self.rounds())

    def sites(self) -> Sites:
        """The sites of the latest round."""
        latest = self._latest()
        if latest is None:
            return Sites()
        asked, finished = len(latest.asks), len(latest.answered)
        return Sites(asked, finished, asked - finished, len(latest.lost))

    def _latest(self) -> Round | None:
        rounds = self.rounds()
        return rounds[-1] if rounds else None

    def _unwritable(self) -> str:
        """Why nothing can be written in the store; looked at once a second at most, however often it is asked."""
        if self._store is None:
            return ""
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_AGAIN_S:
            found = _why_unwritable(self._store, self._reserve_bytes) or self._why_unwritable()
            self._looked_s, self._found = now_s, found
        return self._found


def _why_unwritable(folder: Path, reserve_bytes: int) -> str:
    try:
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(_PROBE)
        free_bytes = shutil.disk_usage(folder).free
    except OSError as error:
        return f"the store {folder} cannot be written: {error.strerror}"
    if free_bytes < reserve_bytes:
        free, reserve = format_size(free_bytes), format_size(reserve_bytes)
        return f"{free} are free where the store {folder} is; {reserve} are to stay free"
    return ""

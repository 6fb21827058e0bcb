"""A run at a glance: where its time went, what crossed its boundaries, and which files there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from collab.store import MethodRun, Run
from simnet.ledger import LedgerEntry
from simnet.trace import Event

_SERVER = "server"


@dataclass(frozen=True)
class SlowestPath:
    """What a result waited for: the site whose upload came last, and what it and then the server did.

    `computed_s` is what the site computed until then, `elsewhere_s` the rest: its messages on their way, waiting for
    the server, and in methods of several rounds for the other sites.
    """

    site: str
    computed_s: float
    elsewhere_s: float
    last_upload_s: float
    server_s: float
    result_s: float

    @classmethod
    def of(cls, events: Sequence[Event]) -> SlowestPath | None:
        """That of the trace of one method; None if nothing was uploaded."""
        uploads = [event for event in events if event.kind == "upload"]
        if not uploads:
            return None
        last = max(uploads, key=lambda event: event.at_us)
        site = str(last.values["site"])
        result_s = max((event.at_s for event in events if event.kind == "result"), default=last.at_s)
        computed_s = sum(
            _seconds(event)
            for event in events
            if event.kind == "compute" and event.host == site and event.at_us <= last.at_us
        )
        return cls(site, computed_s, last.at_s - computed_s, last.at_s, result_s - last.at_s, result_s)


def _seconds(event: Event) -> float:
    return event.at_s - int(str(event.values["start_us"])) / 1e6


@dataclass(frozen=True)
class LedgerTotals:
    """What crossed the boundaries of one method, each message once, and what was refused."""

    messages: int
    size_bytes: int
    refused: int

    @classmethod
    def of(cls, entries: Sequence[LedgerEntry]) -> LedgerTotals:
        """Those of a ledger: of a message that crossed, one line tells of its leaving and one of its arriving."""
        crossed = [entry for entry in entries if entry.verdict == "crossed"]
        point = "leaving" if any(entry.point == "leaving" for entry in crossed) else "arriving"
        counted = [entry.size_bytes for entry in crossed if entry.point == point]
        return cls(len(counted), sum(counted), sum(entry.verdict == "refused" for entry in entries))


@dataclass(frozen=True)
class KeptFile:
    """A file of a run directory, by its path within it."""

    name: str
    size_bytes: int


def slowest_path(method: MethodRun) -> SlowestPath | None:
    """What the result of a method waited for. Raises `RunDirectoryError`."""
    return SlowestPath.of(list(method.trace))


def ledger_totals(method: MethodRun) -> LedgerTotals:
    """What crossed the boundaries of a method. Raises `RunDirectoryError`."""
    return LedgerTotals.of(method.ledger)


def files(run: Run) -> list[KeptFile]:
    """All files of a run directory: first those of the run, then those of each method."""
    paths = [path for path in run.path.rglob("*") if path.is_file()]
    return [
        KeptFile(str(path.relative_to(run.path)), path.stat().st_size)
        for path in sorted(paths, key=lambda path: (len(path.relative_to(run.path).parts), _name(path)))
    ]


def _name(path: Path) -> str:
    return str(path)

"""The record of everything that happened in a run, and its digest.

An event is a moment in microseconds, the host (or link) that it happened at, a kind, and named values. The
digest is the SHA-256 of the canonical form of all events in order; wall-clock times never enter it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

Value = str | int | float | bool | None | list[str]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened: `at_us` in microseconds of virtual time, `host` where, `kind` what."""

    at_us: int
    host: str
    kind: str
    values: Mapping[str, Value]

    @property
    def at_s(self) -> float:
        """The moment in seconds."""
        return self.at_us / 1_000_000

    def canonical(self) -> str:
        """One line of JSON with sorted keys: the form that is stored and digested."""
        record = {"at_us": self.at_us, "host": self.host, "kind": self.kind, **self.values}
        return json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)

    @classmethod
    def parse(cls, line: str) -> Event:
        """The event of one line that `canonical` wrote. Raises `ValueError` or `KeyError` for any other text."""
        record = json.loads(line)
        return cls(record.pop("at_us"), record.pop("host"), record.pop("kind"), record)


class Trace:
    """Events in the order in which they happened."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._lines: list[str] = []  # canonical forms, as far as somebody asked for them

    def record(self, at_s: float, host: str, kind: str, **values: Value) -> None:
        """Append an event that happened at `at_s` seconds."""
        self._events.append(Event(round(at_s * 1_000_000), host, kind, values))

    def __iter__(self) -> Iterator[Event]:
        return iter(self._events)

    def __len__(self) -> int:
        return len(self._events)

    def of_kind(self, kind: str) -> list[Event]:
        """All events of one kind."""
        return [event for event in self._events if event.kind == kind]

    def lines(self) -> list[str]:
        """The canonical form of every event."""
        self._lines.extend(event.canonical() for event in self._events[len(self._lines) :])
        return self._lines

    def digest(self) -> str:
        """SHA-256 over the canonical lines, each ended by a line feed, as 64 hexadecimal digits."""
        return hashlib.sha256("".join(f"{line}\n" for line in self.lines()).encode()).hexdigest()

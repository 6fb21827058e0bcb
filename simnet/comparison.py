"""Where two traces part: the first event that differs, and what came before it.

Two runs of one scenario that part have the same past up to that event, so it is the place to look at; what follows is
its echo. Values are compared in their canonical form (1 and 1.0 differ). Not done: aligning traces after a
difference.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest

from simnet.trace import Event, Trace, Value

_CONTEXT = 5
_MISSING = "(nothing)"


@dataclass(frozen=True, slots=True)
class FieldDifference:
    """One field of an event, in both traces as JSON, or "(nothing)" where the event has no such field."""

    name: str
    first: str
    second: str


@dataclass(frozen=True, slots=True)
class Difference:
    """The first event that differs: its number (the first event is 0), in either trace (None: that trace has ended).

    `before` are the last events that are the same in both.
    """

    index: int
    first: Event | None
    second: Event | None
    before: Sequence[Event]

    @property
    def fields(self) -> list[FieldDifference]:
        """The fields that differ; none if one of the traces has ended."""
        if self.first is None or self.second is None:
            return []
        ours, theirs = _fields(self.first), _fields(self.second)
        return [
            FieldDifference(name, ours.get(name, _MISSING), theirs.get(name, _MISSING))
            for name in dict.fromkeys((*ours, *theirs))
            if ours.get(name) != theirs.get(name)
        ]

    def in_words(self, first_name: str, second_name: str) -> str:
        """Some lines that name the event, the fields that differ with both values, and the events before it."""
        event = self.first or self.second
        assert event is not None
        if self.first is None or self.second is None:
            ended, other = (first_name, second_name) if self.first is None else (second_name, first_name)
            lines = [f"event {self.index} is {other} only, the trace {ended} ends before it: {_line(event)}"]
        else:
            lines = [f"event {self.index} differs: {_line(event)}"]
            lines += [f"  {each.name}: {each.first} {first_name}, {each.second} {second_name}" for each in self.fields]
        if self.before:
            lines.append("the events before it, the same in both:")
            start = self.index - len(self.before)
            lines += [f"  {start + place}: {_line(before)}" for place, before in enumerate(self.before)]
        else:
            lines.append("it is the first event of all")
        return "\n".join(lines)


def first_difference(first: Trace, second: Trace) -> Difference | None:
    """The first event that differs between two traces, or None if they are equal."""
    if first.digest() == second.digest():
        return None
    before: deque[Event] = deque(maxlen=_CONTEXT)
    for index, (ours, theirs) in enumerate(zip_longest(first, second)):
        if ours is None or theirs is None or ours.canonical() != theirs.canonical():
            return Difference(index, ours, theirs, tuple(before))
        before.append(ours)
    raise AssertionError("two traces of different digests have the same events")


def _fields(event: Event) -> dict[str, str]:
    fields: dict[str, Value] = {"at_us": event.at_us, "host": event.host, "kind": event.kind, **event.values}
    return {name: json.dumps(value) for name, value in fields.items()}


def _line(event: Event) -> str:
    values = " ".join(f"{name}={json.dumps(value)}" for name, value in event.values.items())
    return f"{event.at_s:.6f} s, {event.host}, {event.kind} {values}".rstrip()

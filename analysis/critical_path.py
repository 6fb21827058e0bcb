"""The critical path of a run: the chain of computing, sending and waiting that decided when the result was there.

It is found backwards from the result: whatever ended last at a host before something began there is taken as its
cause. A computation leads to its beginning at the same host, a message to the moment at which its sender had it ready;
where nothing ended at that very moment, the host waited. What a host waits for outside the network, a restart for
instance, is seen as waiting only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from analysis.playback import Message
from simnet.trace import Event

StepKind = Literal["computing", "sending", "waiting"]


@dataclass(frozen=True, slots=True)
class Step:
    """A stretch of the path, in seconds of the run. A message goes from `host` to `to`; all else stays at `host`."""

    kind: StepKind
    host: str
    start_s: float
    end_s: float
    what: str
    to: str | None = None

    @property
    def duration_s(self) -> float:
        """How long it took."""
        return self.end_s - self.start_s


@dataclass(frozen=True, slots=True)
class _Ended:
    """Something that was over at a host at a moment; by `rank` the likelier cause among those of one moment.

    It was wanted from `start_us` on and began at `begun_us`, when there was a connection.
    """

    end_us: int
    start_us: int
    begun_us: int
    rank: int
    kind: StepKind
    source: str
    what: str


@dataclass
class _Place:
    """All that ended at one host, the earliest first."""

    ended: list[_Ended] = field(default_factory=list)
    moments: list[int] = field(default_factory=list)

    def sort(self) -> None:
        self.ended.sort(key=lambda one: (one.end_us, one.rank))
        self.moments = [one.end_us for one in self.ended]

    def cause(self, at_us: int, asked_by: str | None, started_us: int) -> _Ended | None:
        """What ended last by a moment; of several of one moment that from `asked_by`, unless it is a computation."""
        index = bisect_right(self.moments, at_us) - 1
        while index >= 0 and self.ended[index].start_us >= started_us:
            index -= 1  # of no length, and it began where we are: it would lead nowhere
        if index < 0:
            return None
        best = self.ended[index]
        if best.kind == "computing":
            return best
        same = (one for one in self.ended[: index + 1][::-1] if one.end_us == best.end_us and one.source == asked_by)
        return next(same, best)


def critical_path(trace: Iterable[Event], sent: Sequence[Message], server: str, result_us: int) -> list[Step]:
    """The steps from the beginning of the run to its result, each beginning where the one before it ended."""
    places = _places(trace, sent, server)
    steps: list[Step] = []
    host, at_us, asked_by = server, result_us, None
    while at_us > 0:
        cause = places[host].cause(at_us, asked_by, at_us) if host in places else None
        ended_us = 0 if cause is None else cause.end_us
        if ended_us < at_us:
            steps.append(Step("waiting", host, ended_us / 1e6, at_us / 1e6, ""))
        if cause is None:
            break
        to = host if cause.kind == "sending" else None
        steps.append(Step(cause.kind, cause.source, cause.begun_us / 1e6, cause.end_us / 1e6, cause.what, to))
        if cause.begun_us > cause.start_us:
            start_s, begun_s = cause.start_us / 1e6, cause.begun_us / 1e6
            steps.append(Step("waiting", cause.source, start_s, begun_s, "for a connection"))
        asked_by = host if cause.kind == "sending" else None
        host, at_us = cause.source, cause.start_us
    return steps[::-1]


def _places(trace: Iterable[Event], sent: Sequence[Message], server: str) -> Mapping[str, _Place]:
    places: dict[str, _Place] = {}
    for event in trace:
        if event.kind == "compute":
            start_us = int(str(event.values["start_us"]))
            ended = _Ended(event.at_us, start_us, start_us, 2, "computing", event.host, str(event.values["job"]))
            places.setdefault(event.host, _Place()).ended.append(ended)
    for message in sent:
        if message.fate == "arrived":
            source, target = (message.host, server) if message.up else (server, message.host)
            what = f"{message.kind.replace('+', ' + ')}, {message.size_bytes:,} B"
            rank = 0 if message.is_control else 1
            ended = _Ended(message.ended_us, message.asked_us, message.sent_us, rank, "sending", source, what)
            places.setdefault(target, _Place()).ended.append(ended)
    for place in places.values():
        place.sort()
    return places


def shares(path: Sequence[Step]) -> dict[StepKind, float]:
    """Seconds of the path by what was done, in that order."""
    totals: dict[StepKind, float] = {"computing": 0.0, "sending": 0.0, "waiting": 0.0}
    for step in path:
        totals[step.kind] += step.duration_s
    return totals

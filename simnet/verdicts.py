"""Rules of faults: they see a message, a connection attempt or a computation, and say what befalls it.

A rule answers pass, hold (so many seconds), drop or reset; several rules add up: the longest way out wins (reset before
drop before hold), and holds are summed. What a verdict means:

- a message (what one write hands to TCP, in pieces of at most 256 KiB; with the carriage `sized`, a whole one):
  `Hold` lets it, and what follows on its connection, arrive later; `Drop` loses it, so that TCP sends it again
  after 0.2, 0.4, 0.8, ... seconds and asks the rules each time; `Reset` breaks its connection at both ends;
- a connection attempt: `Hold` answers later, `Drop` loses it, so that it is repeated as Linux does, `Reset` refuses it;
- a computation: `Hold` makes it take longer; `Drop` crashes its host, `Reset` crashes and restarts it.

Every verdict other than pass is in the trace. Not seen by rules: acknowledgements, the end of a stream, and the kinds
of content in a message, which is nothing but bytes at this level.
"""

from __future__ import annotations

from dataclasses import dataclass

from simnet.clock import Clock
from simnet.trace import Trace, Value


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing befalls it."""


@dataclass(frozen=True, slots=True)
class Hold:
    """It takes `seconds` longer. Raises `ValueError` for less than nothing."""

    seconds: float

    def __post_init__(self) -> None:
        if not self.seconds >= 0:
            raise ValueError(f"held for {self.seconds} s; expected 0 or more")


@dataclass(frozen=True, slots=True)
class Drop:
    """It is lost."""


@dataclass(frozen=True, slots=True)
class Reset:
    """It is broken off, and those concerned are told."""


Verdict = Pass | Hold | Drop | Reset
PASS = Pass()
DROP = Drop()
RESET = Reset()


@dataclass(frozen=True, slots=True)
class Transfer:
    """A message that has crossed the network and is about to be handed over."""

    source: str
    target: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt to connect: one packet of a handshake."""

    source: str
    target: str
    port: int


@dataclass(frozen=True, slots=True)
class Work:
    """A job of a host, and the virtual seconds that it takes."""

    host: str
    job: str
    duration_s: float


class FaultRule:
    """What befalls the network's messages, connections and computations. Each method may be left as it is.

    Example:
        >>> class Lossy(FaultRule):
        ...     def message(self, transfer):
        ...         return DROP if transfer.target == "server" else PASS

    holds from `network.faults.install(Lossy())` on, or within `with network.faults.install(Lossy()):`.
    """

    def message(self, transfer: Transfer) -> Verdict:
        """What befalls a message."""
        return PASS

    def connection(self, attempt: Attempt) -> Verdict:
        """What befalls an attempt to connect."""
        return PASS

    def computation(self, work: Work) -> Verdict:
        """What befalls a job."""
        return PASS


class Rules:
    """The rules in force, in the order in which they were installed."""

    def __init__(self, clock: Clock, trace: Trace) -> None:
        self.clock = clock
        self._trace = trace
        self._rules: list[FaultRule] = []

    @property
    def silent(self) -> bool:
        """Whether there are none."""
        return not self._rules

    def add(self, rule: FaultRule) -> None:
        """Put a rule in force."""
        self._rules.append(rule)

    def remove(self, rule: FaultRule) -> None:
        """Put a rule out of force; does nothing if it is not in force."""
        self._rules = [other for other in self._rules if other is not rule]

    def message(self, transfer: Transfer) -> Verdict:
        """The joint verdict on a message."""
        verdict = _joint([rule.message(transfer) for rule in self._rules])
        self._record(verdict, transfer.source, "message", peer=transfer.target, bytes=transfer.size_bytes)
        return verdict

    def connection(self, attempt: Attempt) -> Verdict:
        """The joint verdict on an attempt to connect."""
        verdict = _joint([rule.connection(attempt) for rule in self._rules])
        self._record(verdict, attempt.source, "connection", peer=attempt.target, port=attempt.port)
        return verdict

    def computation(self, work: Work) -> Verdict:
        """The joint verdict on a job."""
        verdict = _joint([rule.computation(work) for rule in self._rules])
        self._record(verdict, work.host, "computation", job=work.job)
        return verdict

    def _record(self, verdict: Verdict, host: str, what: str, **values: Value) -> None:
        if isinstance(verdict, Pass):
            return
        if isinstance(verdict, Hold):
            values["hold_us"] = round(verdict.seconds * 1e6)
        name = type(verdict).__name__.lower()
        self._trace.record(self.clock.now_s, host, "fault", verdict=name, what=what, **values)


def _joint(verdicts: list[Verdict]) -> Verdict:
    held_s = 0.0
    worst: Verdict = PASS
    for verdict in verdicts:
        if isinstance(verdict, Hold):
            held_s += verdict.seconds
        elif isinstance(verdict, Reset) or (isinstance(verdict, Drop) and not isinstance(worst, Reset)):
            worst = verdict
    if isinstance(worst, Pass) and held_s > 0:
        return Hold(held_s)
    return worst

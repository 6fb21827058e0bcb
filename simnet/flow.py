"""What is known of one flow, and of flows that are treated alike.

A flow is one direction of one connection: pieces of payload that wait to be sent, and where TCP is with it. All the
rules by which flows live are in `simnet.flows`.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from simnet.clock import Alarm
from simnet.topology import CongestionControl, Path
from simnet.window import PacketFlow

Notice = Callable[[], None]
MARK_S = 0.25


def always_one() -> float:
    """A draw by which nothing is ever lost."""
    return 1.0


@dataclass(slots=True)
class Piece:
    """Bytes that were handed over together: `end` is the flow's offset of their last byte."""

    end: int
    on_sent: Notice
    on_arrived: Notice


@dataclass(eq=False, slots=True)
class Group:
    """Sending flows that get the same rate: same shared links, same limit of their own, same weight."""

    links: tuple[int, ...]
    limit: float
    weight: float
    rate: float = 0.0  # payload bytes per second, of each member
    lone: bool = False  # whether its members are held back by nothing that they share
    served: float = 0.0  # bytes that a member would have sent since the group came to be
    count: int = 0  # of members
    level: float = field(init=False)  # at which its limit is reached, see `simnet.sharing`
    marked_s: float = 0.0  # when `marked_bytes` was what a member had sent
    marked_bytes: float = 0.0
    mean_before: float = 0.0  # mean rate between the mark before and this one
    due: list[tuple[float, int, int, Flow]] = field(default_factory=list)
    """A heap of what happens next: the value of `served` at which it does, the flow's turn and epoch, the flow."""

    def __post_init__(self) -> None:
        self.level = self.limit / self.weight

    def mark(self, now_s: float) -> None:
        """Remember how far a member has come; to be done every `MARK_S`."""
        self.mean_before = self.recent_rate(now_s)
        self.marked_s, self.marked_bytes = now_s, self.served

    def recent_rate(self, now_s: float) -> float:
        """The mean rate of a member over the last quarter of a second or two."""
        since_s = now_s - self.marked_s
        if since_s < MARK_S / 2 and self.mean_before > 0:
            return self.mean_before
        return (self.served - self.marked_bytes) / since_s if since_s > 0 else self.rate

    def next_due(self) -> float:
        """The value of `served` at which something happens next; infinite if nothing does."""
        due = self.due
        while due:
            at, _, epoch, flow = due[0]
            if flow.epoch == epoch and flow.group is self:
                return at
            heapq.heappop(due)  # it has left, or has come back since
        return math.inf

    def flows(self) -> list[Flow]:
        """The members, in the order of their turns."""
        found = [entry[3] for entry in self.due if entry[3].group is self and entry[3].epoch == entry[2]]
        return sorted(found, key=lambda flow: flow.turn)


class Conductor(Protocol):
    """Who lets flows live: `simnet.flows.Flows`."""

    def pushed(self, flow: Flow) -> None:
        """Something was queued."""

    def stop(self, flow: Flow) -> None:
        """Nothing more is to be sent."""

    def hand_over(self, flow: Flow, piece: Piece) -> None:
        """A piece is sent."""


@dataclass(eq=False, slots=True)
class Flow:
    """One direction of one connection. Made by `Flows.open`."""

    conductor: Conductor = field(repr=False)
    path: Path
    rtt_s: float
    draw_jitter_s: Callable[[], float]
    window_bytes: float
    congestion: CongestionControl = "cubic"
    luck: float = 1.0  # factor of its share where a queue shares unfairly
    uniform: Callable[[], float] = always_one  # draws from [0, 1) that decide which packets are lost
    pieces: list[Piece] = field(default_factory=list)
    queued_bytes: int = 0
    limit: float = math.inf  # payload bytes per second that its own window allows
    packets: PacketFlow | None = None  # while the window decides how fast it is, packet by packet
    packets_base: float = 0.0  # offset at which `packets` began to count
    round_start_s: float = -math.inf
    round_end: float = math.inf  # offset at which the window of this round is used up
    left: Group | None = None  # the group that it has left just now
    recent_rate: float = 0.0  # before it came into its group
    last_sent_s: float = -math.inf
    last_arrival_s: float = 0.0
    waking: Alarm | None = None
    group: Group | None = None  # while it sends
    turn: int = 0  # the order in which flows that are due at once have their turn
    epoch: int = 0  # what the flow has in heaps from before is void
    joined_s: float = 0.0
    joined_bytes: float = 0.0
    counted_bytes: float = 0.0
    base: float = 0.0  # of `group.served`, at which this flow had sent nothing
    _sent_bytes: float = 0.0

    @property
    def sent_bytes(self) -> float:
        """Bytes that have left the sender, as of the last time that all flows were brought up to date."""
        if self.group is None:
            return self._sent_bytes
        return min(self.group.served - self.base, float(self.queued_bytes), self.round_end)

    @sent_bytes.setter
    def sent_bytes(self, value: float) -> None:
        self._sent_bytes = value
        if self.group is not None:
            self.base = self.group.served - value

    @property
    def open_window(self) -> bool:
        """Whether its window holds it back no more."""
        return self.packets is None and self.window_bytes == math.inf

    def send(self, size_bytes: int, on_sent: Notice, on_arrived: Notice) -> None:
        """Queue `size_bytes` of payload (0 keeps its place in the order, too).

        `on_sent` is called when the last byte has left the sender, `on_arrived` when it reached the receiver.
        """
        self.queued_bytes += size_bytes
        piece = Piece(self.queued_bytes, on_sent, on_arrived)
        if size_bytes == 0 and not self.pieces:
            self.conductor.hand_over(self, piece)
            return
        self.pieces.append(piece)
        self.conductor.pushed(self)

    def drop(self) -> None:
        """Forget everything that has not left yet; its notices are never called."""
        self.pieces.clear()
        self.conductor.stop(self)
        self.packets = None
        self.queued_bytes = math.floor(self.sent_bytes)
        self.sent_bytes = float(self.queued_bytes)

    def due(self) -> float:
        """The offset of the next thing that happens: a piece is sent, or the window is used up."""
        return min(float(self.pieces[0].end), self.round_end) if self.pieces else math.inf

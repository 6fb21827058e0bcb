"""The record of how much of each link is in use, as the trace holds it.

Events of the kind `link`, whose host is the link, in bits per second on the wire (headers included). Of a link that
several flows share: the steps of its load. Of a link that one flow had for itself: the mean over the time since
`since_us`, when that time is over; as steps, a thousand such links behind one bottleneck would each step whenever
one of them does, and the trace would grow with the square of their number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from simnet.clock import TICKS_PER_SECOND, Clock
from simnet.trace import Trace


class LinkMeter:
    """Writes the load of links into a trace."""

    def __init__(self, clock: Clock, trace: Trace, link_names: Sequence[str], header_factor: float) -> None:
        self._clock = clock
        self._trace = trace
        self._names = link_names
        self._wire_bits_per_byte = 8 * header_factor
        self._load_bps: dict[int, float] = {}

    def shared(self, load: Mapping[int, float]) -> None:
        """The load, from now on, of every link that several flows share: payload bytes per second by link."""
        before, self._load_bps = self._load_bps, {}
        for link in sorted(before.keys() | load.keys()):
            wire_bps = round(load.get(link, 0.0) * self._wire_bits_per_byte, 3)
            if wire_bps != before.get(link, 0.0):
                self._trace.record(self._clock.now_s, self._names[link], "link", wire_bps=wire_bps)
            if wire_bps > 0:
                self._load_bps[link] = wire_bps

    def changed(self, links: Iterable[int], load: Mapping[int, float]) -> None:
        """The load, from now on, of some of the links that several flows share; that of the others is as it was."""
        for link in links:
            wire_bps = round(load[link] * self._wire_bits_per_byte, 3)
            if wire_bps != self._load_bps.get(link, 0.0):
                self._trace.record(self._clock.now_s, self._names[link], "link", wire_bps=wire_bps)
            self._load_bps[link] = wire_bps

    def alone(self, links: Iterable[int], since_s: float, sent_bytes: float) -> None:
        """What one flow has sent over links that it had for itself since `since_s`, now that it no longer has."""
        now_s = self._clock.now_s
        if now_s <= since_s or sent_bytes <= 0:
            return
        wire_bps = round(sent_bytes * self._wire_bits_per_byte / (now_s - since_s), 3)
        since_us = round(since_s * TICKS_PER_SECOND)
        for link in links:
            self._trace.record(now_s, self._names[link], "link", wire_bps=wire_bps, since_us=since_us)

"""When a flow's window decides how fast it is, and what follows from that.

Most of the time the fluid model is enough: a droptail queue of one bandwidth-delay product keeps the pipe full whatever
CUBIC does behind it. It is not enough where packets are lost at random, where CoDel keeps the queue of a lone flow
short, and where a flow that a crowd had starved has the link for itself. Then the flow is followed packet by packet
(`simnet.window`), a round trip at a time: what gets through in it, at the rate that the links offer, is the flow's
limit in the fluid model meanwhile. BBR (Cardwell et al., ACM Queue 14(5), 2016) paces: its start-up is a rate that
doubles each round, and losses cost it little more than the lost packets.

Not modelled: CoDel among flows that share a saturated link (each drops, but what one leaves another takes), BBR's
probing for bandwidth and round-trip time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from simnet.flow import Flow, Group
from simnet.tcp import Tcp
from simnet.topology import LinkTraits, Path
from simnet.window import CODEL_TARGET_S, Bottleneck, CoDel, CongestionWindow, PacketFlow

_PACKET_BITS = 1500 * 8
_SMALLEST_QUEUE_PACKETS = 100
_QUEUE_FILL = 0.8  # of a droptail queue that a crowd keeps full, on average
_FULL = 1 - 1e-6
_STARVED = 0.7  # of a full pipe; CUBIC's own losses take it down to that
_BBR_LOSS_COST = 3.3  # relative to the share of packets lost; fitted to Linux at 1 %
_SHORTEST_S = 1e-6
_CREEP_BYTES = 1e-3  # what a flow sends while its sender waits in vain: next to nothing, but it comes to an end
_STARVING = 2.8  # power of the number of crowds that a CUBIC flow meets; from the parking lot of three links
_TRAIN_SHARE = (0.46, 0.505)
"""Linux ends slow start at half a round trip of acknowledgements, but for the jitter of its own timing. A hundredth
more or less decides whether CoDel, 100 ms later, drops once or twice: the reference times of 100 Mbit/s show both."""


class Links(Protocol):
    """What the rest of the network does; `simnet.rates.Rates`."""

    @property
    def now_s(self) -> float:
        """The moment in seconds."""

    def capacity(self, link: int) -> float:
        """Capacity of a directed link, payload bytes per second."""

    def own_capacity(self, flow: Flow) -> float:
        """The narrowest of the links that the flow has for itself, payload bytes per second."""

    def offered(self, flow: Flow) -> float:
        """What the flow would get if it had no window, payload bytes per second."""

    def regroup(self, flow: Flow) -> None:
        """Share anew, now that the flow's limit has changed."""


class Pacing:
    """Follows the flows whose windows matter."""

    links: Links
    """To be set before the first flow begins."""

    def __init__(self, tcp: Tcp, traits: Sequence[LinkTraits], unfairness: float) -> None:
        self._tcp = tcp
        self._traits = traits
        self._unfairness = unfairness  # standard deviation of the logarithm of a flow's share of a droptail queue
        self._loss = {link: trait.loss for link, trait in enumerate(traits) if trait.loss > 0}
        self._codel = {link for link, trait in enumerate(traits) if trait.queue == "fq_codel"}

    def factor(self, luck: float) -> float:
        """What a draw from the standard normal distribution makes of a flow's share, in steps: groups stay few."""
        return math.exp(self._unfairness * max(-2.4, min(2.4, 0.8 * round(luck / 0.8))))

    def weight(self, flow: Flow, shared: tuple[int, ...]) -> float:
        """The flow's share of crowded links, relative to others.

        A droptail queue gives more to flows with short round trips and, by chance, to some; a flow that meets crowds
        at several links one after another is starved (CUBIC; the parking lot of the reference page).
        """
        if not self._unfairness or all(link in self._codel for link in shared):
            return 1.0
        steps = round(2 * math.log2(max(flow.rtt_s, 1e-3)))  # steps of a factor of 1.4: again few groups
        starved = 1.0 if flow.congestion == "bbr" else math.pow(len(shared), _STARVING)
        return flow.luck * math.exp2(-steps / 2) / starved

    def set_loss(self, link: int, probability: float) -> None:
        """Change how many packets a link loses."""
        self._loss.pop(link, None)
        if probability > 0:
            self._loss[link] = probability

    def loss_on(self, path: Path) -> float:
        """With what probability a packet is lost on a path, now."""
        if not self._loss:
            return 0.0
        return 1.0 - math.prod(1.0 - self._loss.get(link, 0.0) for link in path.links)

    # -- the turns of a flow's life --------------------------------------------------------------

    def began(self, flow: Flow) -> None:
        """A flow begins, or begins again after a pause, with its first window."""
        if flow.congestion == "bbr":
            return
        if self.loss_on(flow.path) > 0:
            if self._tcp.slow_start:
                self._follow(flow, self._initial_segments())
            else:
                self._follow_losses(flow, self.links.offered(flow))
        elif (
            self._tcp.slow_start
            and flow.queued_bytes - flow.sent_bytes > flow.window_bytes
            and self._codel_alone(flow)
            and self._nearly_covers(flow, flow.window_bytes)
        ):
            self._follow(flow, self._initial_segments())

    def resumed(self, flow: Flow) -> None:
        """A flow goes on after a pause that was too short to forget its window."""
        if flow.packets is not None:
            self.next_round(flow)
        elif flow.open_window and flow.congestion == "bbr":
            flow.limit = self._receive_limit(flow)
        elif self.loss_on(flow.path) > 0 and flow.congestion != "bbr":
            if flow.open_window:
                self._follow_losses(flow, self.links.offered(flow))
            else:
                self._follow(flow, flow.window_bytes / self._tcp.segment_bytes)

    def acknowledged(self, flow: Flow) -> None:
        """The next round of slow start begins: the acknowledgements of the last window are coming in."""
        if flow.congestion == "bbr":
            flow.limit = flow.window_bytes / flow.rtt_s
        elif self.loss_on(flow.path) > 0:
            self._follow(flow, flow.window_bytes / self._tcp.segment_bytes)
        elif self._codel_alone(flow) and self._nearly_covers(flow, flow.window_bytes / 2):
            before = flow.window_bytes / 2 / self._tcp.segment_bytes
            self._follow(flow, before, under_way=int(before))

    def opened(self, flow: Flow) -> bool:
        """The window covers the path; returns whether the flow's limit has changed."""
        limit = self._receive_limit(flow)
        changed = limit != flow.limit
        flow.limit = limit
        return changed

    def next_round(self, flow: Flow) -> None:
        """A round trip is over: find out what gets through in the next one."""
        packets = flow.packets
        if packets is None:
            self._next_bbr_round(flow)
            return
        offered = self.links.offered(flow)
        if self._may_let_go(flow, packets, offered):
            self._let_go(flow)
        elif offered > 0:
            self._advance(flow, packets, offered)

    def path_changed(self, flow: Flow) -> None:
        """The loss on the path of a flow that sends has changed."""
        loss = self.loss_on(flow.path)
        if flow.packets is not None:
            flow.packets.set_loss(loss, flow.uniform)
        elif loss > 0 and flow.congestion != "bbr" and flow.group is not None:
            self._follow_losses(flow, flow.group.rate, sending=True)
            self.links.regroup(flow)
        elif flow.congestion == "bbr" and flow.open_window:
            flow.limit = self._receive_limit(flow)
            self.links.regroup(flow)

    def on_their_own(self, group: Group) -> None:
        """The members of a group have become free of others: what they share holds them back no more."""
        now_s = self.links.now_s
        for flow in group.flows():
            if not flow.open_window or flow.congestion == "bbr" or not self._tcp.slow_start:
                continue
            adapted = now_s - flow.joined_s >= flow.rtt_s
            before = group.recent_rate(now_s) if adapted else flow.recent_rate
            if before == 0:  # it has shared with nobody yet
                continue
            pipe_bytes = group.rate * flow.rtt_s
            if self._codel_alone(flow):
                window_bytes = min(before, group.rate) * (flow.rtt_s + CODEL_TARGET_S)
            else:
                window_bytes = before * (flow.rtt_s + _QUEUE_FILL * self._queue_delay_s(flow))
                if window_bytes >= _STARVED * pipe_bytes:
                    continue
            window = max(window_bytes / self._tcp.segment_bytes, 2.0)
            under_way = int(min(window_bytes, pipe_bytes) / self._tcp.segment_bytes)
            self._follow(flow, window, under_way=under_way, threshold=window)
            self.links.regroup(flow)

    # -- packet by packet ------------------------------------------------------------------------

    def _follow_losses(self, flow: Flow, rate: float, *, sending: bool = False) -> None:
        """Packets get lost on the way of a flow whose window allows this rate; it may be `sending` already."""
        window = max(rate * flow.rtt_s / self._tcp.segment_bytes, self._initial_segments())
        self._follow(flow, window, under_way=int(window) if sending else 0, threshold=window)

    def _follow(self, flow: Flow, window: float, *, under_way: int = 0, threshold: float = math.inf) -> None:
        """From now on the flow is followed packet by packet, with a window of so many segments."""
        congestion = CongestionWindow(flow.congestion, window, threshold)
        low, high = _TRAIN_SHARE
        congestion.train_share = low + (high - low) * flow.uniform()
        if math.isfinite(threshold):
            congestion.remember_loss()
        packets = PacketFlow(congestion, self._bottleneck(flow), flow.rtt_s, self._tcp.segment_bytes, self.links.now_s)
        packets.receive_window_segments = self._tcp.receive_window_bytes / self._tcp.segment_bytes
        offered = self.links.offered(flow)
        if under_way and offered > 0:
            adapted = math.isfinite(threshold)  # it has filled its round trip evenly; in slow start it comes in bursts
            spacing_s = max(self._tcp.segment_bytes / offered, flow.rtt_s / under_way if adapted else 0.0)
            packets.under_way(under_way, spacing_s)
        flow.packets, flow.packets_base = packets, flow.sent_bytes
        flow.window_bytes = math.inf
        if offered > 0:
            self._advance(flow, packets, offered)

    def _advance(self, flow: Flow, packets: PacketFlow, offered: float) -> None:
        """Let a round trip pass in which the links offer so much; the flow's limit is what got through in it."""
        available = flow.queued_bytes - flow.packets_base
        before = packets.delivered_bytes
        packets.set_loss(
            self.loss_on(flow.path), flow.uniform
        )  # it may have changed while the flow had nothing to send
        began_s = max(packets.now_s, self.links.now_s)
        packets.now_s = began_s
        reached_s = packets.advance(began_s + flow.rtt_s, offered, available)
        through = packets.delivered_bytes - before
        if through <= 0:  # nothing gets through before a timeout; what is lost after it is decided then
            through, reached_s = _CREEP_BYTES, max(reached_s, packets.next_event_s())
            flow.packets_base += through
        flow.limit = through / max(reached_s - began_s, through / offered, _SHORTEST_S)
        flow.round_end = min(flow.packets_base + packets.delivered_bytes, float(flow.queued_bytes))

    def _may_let_go(self, flow: Flow, packets: PacketFlow, offered: float) -> bool:
        """Whether the fluid model is enough again."""
        if self.loss_on(flow.path) > 0 or packets.window.slow_start:
            return False
        if self._codel_alone(flow):
            return offered < self.links.own_capacity(flow) * _FULL  # it shares a full link: CoDel hurts nobody
        return packets.window.segments * self._tcp.segment_bytes >= offered * flow.rtt_s

    def _let_go(self, flow: Flow) -> None:
        flow.packets = None
        flow.window_bytes = flow.round_end = math.inf
        self.opened(flow)

    def _next_bbr_round(self, flow: Flow) -> None:
        flow.round_start_s = self.links.now_s
        if flow.window_bytes >= self.links.offered(flow) * flow.rtt_s:
            self._let_go(flow)
        else:
            flow.window_bytes *= 2
            flow.limit = flow.window_bytes / flow.rtt_s
            flow.round_end = flow.sent_bytes + flow.window_bytes

    # -- what the path is like -------------------------------------------------------------------

    def _initial_segments(self) -> float:
        return float(self._tcp.initial_window_segments)

    def _receive_limit(self, flow: Flow) -> float:
        """What the receiver's window allows, if that is less than the links do; for BBR also what losses cost."""
        own = self.links.own_capacity(flow)
        limit = self._tcp.receive_window_bytes / flow.rtt_s if flow.rtt_s > 0 else math.inf
        if flow.congestion == "bbr" and (loss := self.loss_on(flow.path)) > 0:
            limit = min(limit, own / (1 + _BBR_LOSS_COST * loss), own * (1 - loss))
        return limit if limit < own else math.inf

    def _codel_alone(self, flow: Flow) -> bool:
        """Whether what holds the flow back is a link of its own that CoDel guards."""
        if not self._codel or not self._codel.intersection(flow.path.links):
            return False
        own = self.links.own_capacity(flow)
        return math.isfinite(own) and self.links.offered(flow) >= own * _FULL and self._narrowest(flow) in self._codel

    def _nearly_covers(self, flow: Flow, window_bytes: float) -> bool:
        """Whether the next window may fill the pipe: HyStart looks for that from half a round trip on."""
        return 2 * window_bytes >= flow.rtt_s / 2 * self.links.own_capacity(flow)

    def _narrowest(self, flow: Flow) -> int:
        return min(flow.path.links, key=self.links.capacity)

    def _queue_bits(self, flow: Flow, link: int) -> float:
        packets = self._traits[link].queue_packets if link < len(self._traits) else None
        if packets is None:
            wire_bps = self.links.capacity(link) * 8 * self._tcp.header_factor
            return max(_SMALLEST_QUEUE_PACKETS * _PACKET_BITS, wire_bps * flow.rtt_s)
        return packets * _PACKET_BITS

    def _queue_delay_s(self, flow: Flow) -> float:
        """What full droptail queues add to the way."""
        factor = 8 * self._tcp.header_factor
        return sum(
            self._queue_bits(flow, link) / (self.links.capacity(link) * factor)
            for link in flow.path.links
            if link not in self._codel and self.links.capacity(link) > 0
        )

    def _bottleneck(self, flow: Flow) -> Bottleneck:
        link = self._narrowest(flow)
        queue_segments = self._queue_bits(flow, link) / _PACKET_BITS
        codel = CoDel() if link in self._codel else None
        return Bottleneck(queue_segments, codel, self.loss_on(flow.path), flow.uniform)

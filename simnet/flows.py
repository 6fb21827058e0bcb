"""Bytes in motion: active flows on the SimPy clock.

While a flow has bytes to send it gets its weighted max-min share of every link on its path; the shares are computed
anew whenever a flow starts, stops, waits for an acknowledgement or changes what its window allows. What is sent arrives
one propagation delay (and jitter) after its last byte left. A flow is in one of three states: it opens its window round
by round (slow start); its window holds it back no more, and the fluid model alone says how fast it is; or its window
decides, and `simnet.pacing` follows it packet by packet. Not modelled: the load that acknowledgements put on the way
back, and the queueing delay that flows cause one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from simnet.clock import Clock
from simnet.flow import Flow, Piece, always_one
from simnet.meter import LinkMeter
from simnet.pacing import Pacing
from simnet.rates import Rates
from simnet.tcp import Tcp, window_covers_path
from simnet.topology import CongestionControl, LinkTraits, Path
from simnet.trace import Trace


class Flows:
    """All flows of a network, from their first byte to their last."""

    def __init__(
        self,
        clock: Clock,
        capacities_bps: Sequence[float],
        tcp: Tcp,
        trace: Trace | None = None,
        link_names: Sequence[str] = (),
        traits: Sequence[LinkTraits] = (),
        unfairness: float = 0.0,
    ) -> None:
        self._clock = clock
        self.tcp = tcp
        capacity = [bps / 8 / tcp.header_factor for bps in capacities_bps]
        meter = None if trace is None else LinkMeter(clock, trace, link_names, tcp.header_factor)
        self._pacing = Pacing(tcp, traits, unfairness)
        self._rates = Rates(
            clock,
            capacity,
            tcp.crowd_efficiency,
            meter,
            weight=self._pacing.weight,
            on_due=self._pass_milestone,
            on_free=self._pacing.on_their_own,
        )
        self._pacing.links = self._rates

    @property
    def carried_bytes(self) -> np.ndarray:
        """Payload that each link has carried until now."""
        return self._rates.carried_bytes

    def set_capacity(self, link: int, bandwidth_bps: float) -> None:
        """Change the capacity of a directed link, from now on; at 0 it is down and what crosses it waits."""
        self._rates.set_capacity(link, bandwidth_bps / 8 / self.tcp.header_factor)

    def capacity(self, link: int) -> float:
        """Capacity of a directed link, payload bytes per second."""
        return self._rates.capacity(link)

    def set_loss(self, link: int, probability: float) -> None:
        """Lose packets on a directed link with this probability, from now on."""
        self._rates.settle()
        self._pacing.set_loss(link, probability)
        for flow in tuple(self._rates.users[link]):
            self._pacing.path_changed(flow)

    def loss(self, path: Path) -> float:
        """With what probability a packet is lost on the way, now."""
        return self._pacing.loss_on(path)

    def active_on(self, link: int) -> tuple[Flow, ...]:
        """The flows that have something to send over a directed link and may."""
        return tuple(self._rates.users[link])

    def open(
        self,
        path: Path,
        rtt_s: float,
        draw_jitter_s: Callable[[], float],
        *,
        congestion: CongestionControl = "cubic",
        luck: float = 0.0,
        uniform: Callable[[], float] = always_one,
    ) -> Flow:
        """A new, empty flow along `path`.

        `draw_jitter_s` gives each message's deviation from the path's latency; `luck`, a draw from the standard normal
        distribution, says how it fares where a queue shares by chance; `uniform` draws from [0, 1) which packets are
        lost.
        """
        window = self.tcp.initial_window_bytes
        return Flow(self, path, rtt_s, draw_jitter_s, window, congestion, self._pacing.factor(luck), uniform)

    # -- a flow's life ---------------------------------------------------------------------------

    def pushed(self, flow: Flow) -> None:
        """Something was queued on a flow: it starts, unless it is on its way already."""
        if flow.group is not None or flow.waking is not None:
            return
        self._rates.settle()
        now_s = self._clock.now_s
        if now_s - flow.last_sent_s > flow.rtt_s + self.tcp.idle_reset_s:
            flow.window_bytes = self.tcp.initial_window_bytes
            flow.limit, flow.packets = math.inf, None
            self._begin_round(flow)
            self._pacing.began(flow)
        else:
            if flow.packets is None and now_s - flow.round_start_s >= flow.rtt_s:
                self._begin_round(flow)
            elif flow.packets is None and now_s > flow.last_sent_s:
                # It paused within a round: what was sent before still counts, but the pipe must be filled anew.
                flow.round_start_s = now_s
            self._pacing.resumed(flow)
        self._rates.enter(flow)

    def _begin_round(self, flow: Flow) -> None:
        flow.round_start_s = self._clock.now_s
        flow.round_end = flow.sent_bytes + flow.window_bytes

    def stop(self, flow: Flow) -> None:
        """Take a flow out, wherever it is."""
        if flow.waking is not None:
            flow.waking.cancel()
            flow.waking = None
        if flow.group is not None:
            self._rates.settle()
            self._rates.leave(flow)

    def _wait_for_acknowledgement(self, flow: Flow) -> None:
        self._rates.leave(flow)

        def acknowledged() -> None:
            flow.waking = None
            flow.window_bytes = min(2 * flow.window_bytes, self.tcp.receive_window_bytes)
            self._rates.settle()
            self._begin_round(flow)
            self._pacing.acknowledged(flow)
            self._rates.enter(flow)

        flow.waking = self._clock.call_at(flow.round_start_s + flow.rtt_s, acknowledged)

    def _pass_milestone(self, flow: Flow) -> None:
        """Hand over the pieces that are sent; go on with the next round if this one is over."""
        now_s = self._clock.now_s
        flow.last_sent_s = now_s
        sent_bytes = max(flow.sent_bytes, flow.due())  # not read back: adding and subtracting may lose the last bit
        flow.sent_bytes = sent_bytes
        self._rates.count(flow)
        while flow.pieces and flow.pieces[0].end <= sent_bytes:
            self.hand_over(flow, flow.pieces.pop(0))
        if flow.group is None:  # a notice has dropped it
            return
        if not flow.pieces:
            self._rates.leave(flow)
            return
        if sent_bytes >= flow.round_end:
            if flow.packets is not None or flow.limit < math.inf:  # followed, or paced
                self._pacing.next_round(flow)
                self._rates.regroup(flow)
                return
            if not window_covers_path(now_s - flow.round_start_s, flow.rtt_s):
                self._wait_for_acknowledgement(flow)
                return
            flow.window_bytes = flow.round_end = math.inf
            if self._pacing.opened(flow):
                self._rates.regroup(flow)
                return
        self._rates.await_due(flow, flow.group)

    def hand_over(self, flow: Flow, piece: Piece) -> None:
        """A piece has left: it arrives later, and whoever sent it is told now."""
        arrival_s = max(flow.last_arrival_s, self._clock.now_s + flow.path.latency_s + flow.draw_jitter_s())
        flow.last_arrival_s = arrival_s
        self._clock.call_at(arrival_s, piece.on_arrived)
        piece.on_sent()

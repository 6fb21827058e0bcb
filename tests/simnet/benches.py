"""Flows on a clock, with their arrivals written down; for the tests of flows, rates and pacing."""

from __future__ import annotations

from collections.abc import Sequence

from simnet.clock import Clock
from simnet.flows import Flows
from simnet.tcp import Tcp
from simnet.topology import LinkTraits, Path
from simnet.trace import Trace


def still() -> float:
    """No jitter."""
    return 0.0


class Bench:
    """Flows on a clock, with the arrivals written down."""

    def __init__(
        self, capacities_bps: Sequence[float], tcp: Tcp, traits: Sequence[LinkTraits] = (), unfairness: float = 0.0
    ) -> None:
        self.clock = Clock()
        self.trace = Trace()
        names = [f"link {i}" for i in range(len(capacities_bps))]
        self.flows = Flows(self.clock, capacities_bps, tcp, self.trace, names, traits, unfairness)
        self.arrived: dict[str, float] = {}
        self.sent: dict[str, float] = {}

    def flow(self, links, latency_s=0.0, rtt_s=0.0, jitter=still, **options):
        return self.flows.open(Path(tuple(links), latency_s, ()), rtt_s, jitter, **options)

    def send(self, flow, name, size, at_s=0.0):
        def note(where):
            return lambda: where.__setitem__(name, self.clock.now_s)

        self.clock.call_at(at_s, lambda: flow.send(size, note(self.sent), note(self.arrived)))

    def run(self):
        while not self.clock.idle():
            self.clock.step()
        return self.arrived

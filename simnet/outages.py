"""What does not get through: hosts that are off, links that are down or lossy, pairs of hosts cut off from each other.

Modelled: a packet towards a host that is off, over a link without capacity or between two hosts that are cut off from
each other is lost; no error comes back. What that does to connections is up to `simnet.transport` (established
ones: `cut`, `mend`, `vanish`) and `simnet.streams` (new ones). Not modelled: answers of routers (ICMP unreachable);
other routes around what is down.

Numbers of the kernel (Linux before 6.5, ip-sysctl.rst): `tcp_syn_retries` = 6, the first repetition of an attempt to
connect after 1 s, each next one after twice that time; `tcp_retries2` = 15, the first after 0.2 s, each next one after
twice that time, at most 120 s.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable

from simnet.flows import Flows
from simnet.topology import Topology

CONNECT_ATTEMPTS_S = (0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0)
"""When, counted from its beginning, a connection attempt that nobody answers is repeated."""
CONNECT_TIMEOUT_S = 127.0
"""When it ends with ETIMEDOUT."""
RETRANSMISSION_TIMEOUT_S = 924.6
"""How long what is not acknowledged is repeated before the connection ends with ETIMEDOUT."""


class Outages:
    """Which packets are lost. `hosts_down` is read only: `StreamNetwork.power_off` and `power_on` change it."""

    def __init__(self, topology: Topology, flows: Flows, when_changed: Callable[[], None]) -> None:
        self._topology = topology
        self._flows = flows
        self._when_changed = when_changed
        self.hosts_down: set[str] = set()
        self._links_down: set[int] = set()
        self._cut_off: Counter[tuple[str, str]] = Counter()
        self._capacities_bps = topology.capacities_bps()
        self._factors: dict[int, list[float]] = {}
        self._own_loss = [link.loss_of(direction) for link in topology.links for direction in (0, 1)]
        self._bursts: dict[int, list[float]] = {}

    def set_capacity(self, link: int, bandwidth_bps: float) -> None:
        """Change the capacity of a directed link; at 0 the link is down."""
        self._capacities_bps[link] = bandwidth_bps
        self._apply(link, down=bandwidth_bps == 0)

    def scale(self, link: int, factor: float) -> None:
        """Leave `factor` of a directed link's capacity, beside what else scales it; at 0 the link is down."""
        self._factors.setdefault(link, []).append(factor)
        self._apply(link, down=0 in self._factors[link])

    def unscale(self, link: int, factor: float) -> None:
        """Take back one `scale` of this link by this factor. Raises `ValueError` if there was none."""
        self._factors.get(link, []).remove(factor)
        self._apply(link, down=0 in self._factors[link])

    def follow(self, link: int, bandwidth_bps: float) -> None:
        """Change the capacity of a directed link as its schedule says; at 0 what is sent waits, nothing is lost."""
        self._capacities_bps[link] = bandwidth_bps
        self._apply(link, down=link in self._links_down)

    def lose(self, link: int, probability: float) -> None:
        """Lose packets on a directed link with this probability, independently of what else loses some there."""
        self._bursts.setdefault(link, []).append(probability)
        self._apply_loss(link)

    def lose_no_more(self, link: int, probability: float) -> None:
        """Take back one `lose` on this link with this probability. Raises `ValueError` if there was none."""
        self._bursts.get(link, []).remove(probability)
        self._apply_loss(link)

    def _apply_loss(self, link: int) -> None:
        own, bursts = self._own_loss[link], self._bursts[link]
        kept = math.prod(1 - probability for probability in (own, *bursts))
        self._flows.set_loss(link, 1 - kept if bursts else own)

    def _apply(self, link: int, *, down: bool) -> None:
        factor = math.prod(self._factors.get(link, ()))
        self._flows.set_capacity(link, 0.0 if down else self._capacities_bps[link] * factor)
        if down != (link in self._links_down):
            (self._links_down.add if down else self._links_down.discard)(link)
            self._when_changed()

    def cut_off(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Let nothing through from the first host of each pair to the second."""
        self._cut_off.update(pairs)
        self._when_changed()

    def join_again(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Take back one `cut_off` of each of these pairs."""
        self._cut_off = +(self._cut_off - Counter(pairs))
        self._when_changed()

    def passes(self, source: str, target: str) -> bool:
        """Whether a packet that `source` sends now reaches `target`."""
        if not (self.hosts_down or self._links_down or self._cut_off):
            return True
        if source in self.hosts_down or target in self.hosts_down or (source, target) in self._cut_off:
            return False
        return self._links_down.isdisjoint(self._topology.path(source, target).links)

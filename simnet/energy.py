"""Energy: joules of computing, waiting, sending and receiving, host by host.

    compute = busy power x seconds computing          transmit = energy per bit x bits sent
    idle    = idle power x seconds not computing      receive  = energy per bit x bits received

until the host's part is over: until the last program that was started there has ended, or the run has, for a host
that only serves. Bits are those on the wire, headers included. Not modelled: power that depends on load, the power of
a radio that is on but silent, the network beyond the hosts, and whatever a host does after its part.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass

from simnet.devices import Device, Radio


@dataclass(frozen=True, slots=True)
class HostEnergy:
    """What one host's part in a run took. `device` and `radio` are names; None where nothing is counted."""

    device: str | None
    radio: str | None
    busy_s: float
    idle_s: float
    sent_bytes: float
    received_bytes: float
    compute_j: float
    idle_j: float
    transmit_j: float
    receive_j: float

    @property
    def total_j(self) -> float:
        """All of it."""
        return self.compute_j + self.idle_j + self.transmit_j + self.receive_j

    @property
    def span_s(self) -> float:
        """How long the host's part went on."""
        return self.busy_s + self.idle_s

    @property
    def counted(self) -> bool:
        """Whether anything is: the device has a power, or the host a radio."""
        return self.device is not None or self.radio is not None


def host_energy(
    device: Device,
    radio: Radio | None,
    *,
    busy_s: float,
    span_s: float,
    sent_bytes: float,
    received_bytes: float,
) -> HostEnergy:
    """The energy of a host that computed for `busy_s` of the `span_s` that its part went on.

    `sent_bytes` and `received_bytes` are those on the wire. Raises `ValueError` for a negative quantity, or for more
    time computing than there was.
    """
    if min(busy_s, sent_bytes, received_bytes) < 0:
        raise ValueError(f"negative: {busy_s} s, {sent_bytes} B sent, {received_bytes} B received")
    if busy_s > span_s:
        raise ValueError(f"computed for {busy_s} s of {span_s} s")
    return HostEnergy(
        device=device.name if device.busy_w > 0 else None,
        radio=None if radio is None else radio.name,
        busy_s=busy_s,
        idle_s=span_s - busy_s,
        sent_bytes=sent_bytes,
        received_bytes=received_bytes,
        compute_j=device.busy_w * busy_s,
        idle_j=device.idle_w * (span_s - busy_s),
        transmit_j=0.0 if radio is None else 8 * sent_bytes * radio.transmit_j_per_bit,
        receive_j=0.0 if radio is None else 8 * received_bytes * radio.receive_j_per_bit,
    )


class TimeSheet:
    """How long each host computed, and when the last program that was started there ended."""

    def __init__(self) -> None:
        self._busy_s: defaultdict[str, float] = defaultdict(float)
        self._running: Counter[str] = Counter()
        self._ended_s: dict[str, float] = {}

    def computed(self, host: str, seconds: float) -> None:
        """The host has computed for so long."""
        self._busy_s[host] += seconds

    def started(self, host: str) -> None:
        """A program was started at the host."""
        self._running[host] += 1

    def ended(self, host: str, at_s: float) -> None:
        """A program of the host has ended."""
        self._running[host] -= 1
        self._ended_s[host] = at_s

    def busy_s(self, host: str) -> float:
        """How long the host has computed."""
        return self._busy_s[host]

    def span_s(self, host: str, now_s: float) -> float:
        """How long the host's part went on: to its last program's end, or to `now_s` if one runs or none ever did."""
        over = host in self._ended_s and not self._running[host]
        return min(self._ended_s[host], now_s) if over else now_s

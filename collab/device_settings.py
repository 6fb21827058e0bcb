"""The `devices` and `radios` parts of a scenario: which computer a host is, and how it reaches the network.

Both are maps from a role (`client`, `server`) or a host's name to a profile of simnet's table or to numbers of one's
own; a name beats a role. What the profiles hold, `collab devices` lists.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

from pydantic import Field

from collab.network_settings import Settings
from collab.quantities import EnergyPerBit, OperationRate, Power
from simnet import DEVICES, RADIOS, Device, Radio

T = TypeVar("T")
_GIVEN = "given in the scenario"


class CustomDevice(Settings):
    """A device of your own: its sustained rate of operations, and its power."""

    rate: OperationRate = Field(gt=0, description="operations that it sustains, such as 50 GFLOP/s")
    power: Power | None = Field(None, gt=0, description="while it computes; without it, no energy is counted")
    idle_power: Power | None = Field(None, description="while it does not; 0 W if not given")

    def device(self) -> Device:
        """The device as simnet knows it."""
        if self.power is None:
            return Device("custom", self.rate, _GIVEN)
        return Device("custom", self.rate, _GIVEN, self.power, self.idle_power or 0.0, _GIVEN)


class CustomRadio(Settings):
    """A radio of your own: what it takes for each bit on the wire, headers included."""

    transmit: EnergyPerBit = Field(description="for each bit that it sends, such as 80 nJ/bit")
    receive: EnergyPerBit = Field(description="for each bit that it receives")

    def radio(self) -> Radio:
        """The radio as simnet knows it."""
        return Radio("custom", self.transmit, self.receive, _GIVEN)


DeviceMap = Mapping[str, str | CustomDevice]
RadioMap = Mapping[str, str | CustomRadio]


def devices_of(chosen: DeviceMap, role_of: Mapping[str, str]) -> dict[str, Device]:
    """The device of every host that has one; `role_of` gives the role of each host."""
    return {
        host: DEVICES[choice] if isinstance(choice, str) else choice.device()
        for host, choice in _resolved(chosen, role_of)
    }


def radios_of(chosen: RadioMap, role_of: Mapping[str, str]) -> dict[str, Radio]:
    """The radio of every host that has one; `role_of` gives the role of each host."""
    return {
        host: RADIOS[choice] if isinstance(choice, str) else choice.radio()
        for host, choice in _resolved(chosen, role_of)
    }


def _resolved(chosen: Mapping[str, T], role_of: Mapping[str, str]) -> Iterator[tuple[str, T]]:
    for host, role in role_of.items():
        choice = chosen.get(host, chosen.get(role))
        if choice is not None:
            yield host, choice

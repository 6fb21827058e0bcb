"""The `faults` of a scenario: what goes wrong, when and for how long, as settings that build simnet's own.

What a fault does is simnet's business (`simnet.fault_kinds`); here stand its names, its units and its bounds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field

from collab.network_settings import Settings
from collab.quantities import Duration, Probability
from simnet import fault_kinds
from simnet.faults import Fault, Planned

Link = Annotated[
    str, Field(description='"client-3" for all links of a host or relay, "a -- b" for one, "a > b" one way')
]
Group = Annotated[str, Field(description="a host, a tenant, or * for all")]
Chance = Annotated[Probability, Field(gt=0)]


class FaultSettings(Settings):
    """What all faults share: when they begin, and how long they last."""

    at: Duration = Field(description="when it begins, counted from the start of the run")
    for_: Duration | None = Field(None, alias="for", gt=0, description="how long it lasts; to the end if not given")

    def planned(self) -> Planned:
        """The fault as simnet knows it."""
        return Planned(self.at, self.named(), self.for_)

    def named(self) -> Fault:
        """What goes wrong."""
        raise NotImplementedError


class LinkDownSettings(FaultSettings):
    """A link carries nothing."""

    fault: Literal["link-down"]
    link: Link

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.LinkDown(self.link)


class BandwidthSettings(FaultSettings):
    """A link keeps a part of its bandwidth."""

    fault: Literal["bandwidth"]
    link: Link
    factor: float = Field(gt=0, le=1, description="what is left of the bandwidth, 1 for all of it")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.BandwidthCollapse(self.link, self.factor)


class LossSettings(FaultSettings):
    """Packets are lost at random on a link, beside those that it loses anyway; TCP repeats them and slows down."""

    fault: Literal["loss"]
    link: Link
    probability: Annotated[Probability, Field(lt=1)] = Field(
        description="of each packet; for a link that carries nothing: link-down"
    )

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.BurstLoss(self.link, self.probability)


class PartitionSettings(FaultSettings):
    """Hosts on different sides do not reach each other."""

    fault: Literal["partition"]
    sides: tuple[tuple[Group, ...], ...] = Field(min_length=2, description="each a list of hosts or tenants")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.Partition(self.sides)


class CrashSettings(FaultSettings):
    """A host is off; it restarts at the end of the fault, if there is one, with what is on its disk."""

    fault: Literal["crash"]
    host: str = Field(description="client-3 or server")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.HostCrash(self.host)


class SlowSettings(FaultSettings):
    """A host computes more slowly."""

    fault: Literal["slow"]
    host: str = Field(description="client-3 or server")
    factor: float = Field(gt=0, le=1e6, description="its jobs take so many times as long")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.SlowHost(self.host, self.factor)


class ClockSettings(FaultSettings):
    """A host's clock is wrong."""

    fault: Literal["clock"]
    host: str = Field(description="client-3 or server")
    ahead: Duration = Field(0.0, description="what it shows too much")
    drift: float = Field(0.0, gt=-1, lt=1, description="seconds that it gains in each; negative if it loses")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.ClockSkew(self.host, self.ahead, self.drift)


class HoldSettings(FaultSettings):
    """Messages arrive later."""

    fault: Literal["hold"]
    source: Group = Field("*", alias="from")
    to: Group = "*"
    delay: Duration = Field(description="how much later")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.HoldMessages(self.source, self.to, self.delay)


class DropSettings(FaultSettings):
    """Messages and attempts to connect are lost between hosts; TCP repeats them."""

    fault: Literal["drop"]
    source: Group = Field("*", alias="from")
    to: Group = "*"
    probability: Chance = Field(1.0, description="of each message")

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.DropMessages(self.source, self.to, self.probability)


class ResetSettings(FaultSettings):
    """Connections break: those that are open, and new ones as soon as something is sent."""

    fault: Literal["reset"]
    source: Group = Field("*", alias="from")
    to: Group = "*"

    def named(self) -> Fault:
        """The fault as simnet knows it."""
        return fault_kinds.ResetConnections(self.source, self.to)


AnyFault = Annotated[
    LinkDownSettings
    | BandwidthSettings
    | LossSettings
    | PartitionSettings
    | CrashSettings
    | SlowSettings
    | ClockSettings
    | HoldSettings
    | DropSettings
    | ResetSettings,
    Field(discriminator="fault"),
]


def plan_of(faults: Iterable[FaultSettings]) -> list[Planned]:
    """The faults as simnet knows them."""
    return [fault.planned() for fault in faults]

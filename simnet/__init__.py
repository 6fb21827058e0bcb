"""asyncio programs on a simulated network, in virtual time. Knows nothing of learning."""

from simnet.devices import Computed, Device, Fixed, Job, Measured, Modelled, Radio, job
from simnet.energy import HostEnergy
from simnet.errors import SimnetError
from simnet.limits import Rate
from simnet.loop import VirtualLoop
from simnet.network import Host, Network, SimulatedNetwork
from simnet.profiles import DEVICES, RADIOS
from simnet.services import Reply, Request, Route, problem
from simnet.sockets import SocketNetwork
from simnet.tcp import Tcp
from simnet.tenancy import Boundaries, Message, Rule
from simnet.topology import LinkSpec, Topology, star, two_tier

__all__ = [
    "DEVICES",
    "RADIOS",
    "Boundaries",
    "Computed",
    "Device",
    "Fixed",
    "Host",
    "HostEnergy",
    "Job",
    "LinkSpec",
    "Measured",
    "Message",
    "Modelled",
    "Network",
    "Radio",
    "Rate",
    "Reply",
    "Request",
    "Route",
    "Rule",
    "SimnetError",
    "SimulatedNetwork",
    "SocketNetwork",
    "Tcp",
    "Topology",
    "VirtualLoop",
    "job",
    "problem",
    "star",
    "two_tier",
]

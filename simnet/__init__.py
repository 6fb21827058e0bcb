"""asyncio programs on a simulated network, in virtual time. Knows nothing of learning."""

from simnet.devices import DEVICES, Computed, Device, Fixed, Job, Measured, Modelled, job
from simnet.errors import SimnetError
from simnet.loop import VirtualLoop
from simnet.network import Host, Network, SimulatedNetwork
from simnet.services import Reply, Request, Route, problem
from simnet.sockets import SocketNetwork
from simnet.tcp import Tcp
from simnet.tenancy import Boundaries, Message, Rule
from simnet.topology import LinkSpec, Topology, star, two_tier

__all__ = [
    "DEVICES",
    "Boundaries",
    "Computed",
    "Device",
    "Fixed",
    "Host",
    "Job",
    "LinkSpec",
    "Measured",
    "Message",
    "Modelled",
    "Network",
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

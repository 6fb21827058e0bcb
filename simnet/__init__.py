"""asyncio programs on a simulated network, in virtual time. Knows nothing of learning."""

from simnet.builders import explicit, geometric, ring, star, tree, two_tier
from simnet.devices import Computed, Device, Fixed, Job, Measured, Modelled, Radio, job
from simnet.energy import HostEnergy
from simnet.errors import SimnetError
from simnet.limits import Rate
from simnet.loop import VirtualLoop
from simnet.network import Host, Network
from simnet.profiles import DEVICES, RADIOS
from simnet.schedule import CapacitySchedule, CapacityStep, read_mahimahi
from simnet.services import Reply, Request, Route, problem
from simnet.simulated import SimulatedNetwork
from simnet.sockets import SocketNetwork
from simnet.tcp import Tcp
from simnet.tenancy import Boundaries, Message, Rule
from simnet.topology import Link, LinkSpec, Topology

__all__ = [
    "DEVICES",
    "RADIOS",
    "Boundaries",
    "CapacitySchedule",
    "CapacityStep",
    "Computed",
    "Device",
    "Fixed",
    "Host",
    "HostEnergy",
    "Job",
    "Link",
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
    "explicit",
    "geometric",
    "job",
    "problem",
    "read_mahimahi",
    "ring",
    "star",
    "tree",
    "two_tier",
]

"""FedProx: FedAvg whose sites are held back near the global weights.

Li, Sahu, Zaheer, Sanjabi, Talwalkar and Smith, "Federated Optimization in Heterogeneous Networks" (MLSys 2020),
arXiv:1812.06127. A site minimises F_k(w) + mu / 2 ||w - w_t||^2, where w_t are the weights that it was sent, so that
sites with skewed data do not drift apart. With mu = 0 this is FedAvg, to the bit.

As in FedAvg, sites are drawn uniformly and weighted by their numbers of samples; Algorithm 2 of the paper
draws them by these numbers and averages plainly, which is the same in expectation. Not modelled: sites that do less
than E epochs because they are slow.
"""

from __future__ import annotations

from pydantic import Field

from collab.methods import Fleet, Outcome, Sections, Site, Task, fedavg

UPLOADS = fedavg.UPLOADS
TASKS = fedavg.TASKS
upload_bytes = fedavg.upload_bytes
client_operations = fedavg.client_operations  # the pull is element-wise and not counted


class Settings(fedavg.Settings):
    """Settings of FedProx. The paper tunes mu over 0.001, 0.01, 0.1 and 1 for each data set."""

    mu: float = Field(0.01, ge=0, le=1e6, description="how strongly weights are held back near the global ones")


def client(task: Task, site: Site) -> Sections:
    """The weights of the task, trained on the site's own data without going far."""
    settings: Settings = task.settings
    return fedavg.train_round(task, site, settings.mu)


async def server(fleet: Fleet) -> Outcome:
    """As FedAvg."""
    return await fedavg.server(fleet)

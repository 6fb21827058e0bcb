"""Quantity skew: clients of very different size, all with the same mixture of classes.

As in Li et al., "Federated Learning on Non-IID Data Silos: An Experimental Study", ICDE 2022 (arXiv:2102.02079,
section III-D), who draw the sizes from Dir(beta), with one departure: they draw again until no client has fewer than 10
samples, which never ends for many clients; here every client first gets the minimum, and the sizes of what is left are
drawn.
"""

from __future__ import annotations

import numpy as np

from collab.data.partitions.dealing import Indices, check_clients, cut, deal, holdings, proportions
from collab.errors import PartitionError


def divide(
    labels: Indices, clients: int, beta: float, minimum_samples: int, generator: np.random.Generator
) -> list[Indices]:
    """Random samples for every client: `minimum_samples` and a share of the rest drawn from Dir(beta, ..., beta).

    Raises `PartitionError` for more clients than samples, fewer samples than the minima add up to, or a beta of which
    there is no draw.
    """
    check_clients(len(labels), clients)
    rest = len(labels) - clients * minimum_samples
    if rest < 0:
        raise PartitionError(
            f"{clients} clients with {minimum_samples} samples at least need {clients * minimum_samples}, but there "
            f"are {len(labels)} training samples; set partition.minimum_samples to {len(labels) // clients} or less, "
            "or lower partition.clients"
        )
    sizes = minimum_samples + cut(rest, proportions(clients, beta, generator))
    owner = np.empty(len(labels), dtype=np.int64)
    deal(generator.permutation(len(labels)), sizes, owner)
    return holdings(owner, clients)

"""Label skew by Dirichlet draws, as the paper writes it: p_k ~ Dir(beta), and nothing else."""

from __future__ import annotations

import numpy as np

from collab.data.partitions.dealing import Indices, check_clients, classes_of, cut, deal, holdings, proportions


def divide(labels: Indices, clients: int, beta: float, generator: np.random.Generator) -> list[Indices]:
    """Each class divided by proportions drawn from Dir(beta, ..., beta), as in the paper (section 5).

    The smaller `beta`, the more skewed; a client may lack a class, or (many clients, small beta) hold nothing at
    all. Raises `PartitionError` for more clients than samples, or a beta of which there is no draw.
    """
    check_clients(len(labels), clients)
    owner = np.empty(len(labels), dtype=np.int64)
    for label in classes_of(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        deal(members, cut(len(members), proportions(clients, beta, generator)), owner)
    return holdings(owner, clients)

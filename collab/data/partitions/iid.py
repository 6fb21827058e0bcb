"""Independent and identically distributed: what every client holds is a fair draw from the whole."""

from __future__ import annotations

import numpy as np

from collab.data.partitions.dealing import Indices, check_clients


def divide(labels: Indices, clients: int, generator: np.random.Generator) -> list[Indices]:
    """A random permutation cut into equal parts. Raises `PartitionError` for more clients than samples."""
    check_clients(len(labels), clients)
    return np.array_split(generator.permutation(len(labels)), clients)

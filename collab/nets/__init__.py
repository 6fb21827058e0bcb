"""Networks drawn from a seed, the same on every machine and device."""

from __future__ import annotations

from collab.nets.embedding import Operations, chunk_size, embed_in_chunks, operations_per_image
from collab.nets.network import Network, draw_parameters, seeded_network
from collab.nets.spec import ARCHITECTURES, ArchitectureName, NetworkSpec, Parameter, full_layout

__all__ = [
    "ARCHITECTURES",
    "ArchitectureName",
    "Network",
    "NetworkSpec",
    "Operations",
    "Parameter",
    "chunk_size",
    "draw_parameters",
    "embed_in_chunks",
    "full_layout",
    "operations_per_image",
    "seeded_network",
]

"""Embedding many images without gradients, and what that costs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from collab.compute import count
from collab.nets.network import Network
from collab.nets.spec import NetworkSpec, architecture_of

_CACHE_BYTES = 6 * 1024 * 1024  # activations of one chunk that still stay close to the processor


@dataclass(frozen=True, slots=True)
class Operations:
    """Floating-point operations for one image: embedding it, and carrying a gradient back from the embedding to it."""

    forward: int
    backward_to_image: int


@lru_cache(maxsize=32)
def operations_per_image(spec: NetworkSpec) -> Operations:
    """By the formulas of torch's own counter; no sample influences another, so both grow linearly with the images.

    Only convolutions count, and by those formulas a gradient costs on its way to the input of a convolution what the
    input cost on its way out, whatever the stride; weights take none here. So both are the same.

    The counter itself (`FlopCounterMode`) gives the same, as a test says, but watching makes a small network
    twice as slow, and its import takes a second.
    """
    forward = architecture_of(spec).forward_operations(spec)
    return Operations(forward, backward_to_image=forward)


@torch.no_grad()
def embed_in_chunks(network: Network, images: Tensor) -> Tensor:
    """Embeddings [n, D] without gradients, in chunks whose activations stay in the processor's cache."""
    count(len(images) * operations_per_image(network.spec).forward)
    return torch.cat([network.embed(chunk) for chunk in torch.split(images, chunk_size(network.spec))])


@lru_cache(maxsize=32)
def chunk_size(spec: NetworkSpec) -> int:
    """Images that go through the network at a time."""
    return max(8, _CACHE_BYTES // (4 * architecture_of(spec).largest_map(spec)))

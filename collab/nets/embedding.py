"""Embedding many images by one network, with or without the way back to them, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from collab.compute import Device, count, halved
from collab.nets import half
from collab.nets.chunks import chunk_size
from collab.nets.network import Network
from collab.nets.spec import NetworkSpec, architecture_of
from collab.nets.stack import Stack

_GPU_IMAGES = 4096


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


class Embedder:
    """A network ready to embed many images: what depends on its weights alone is done once.

    With `bfloat16` as the device's precision images, and gradients by them, go through in that type.
    """

    def __init__(self, network: Network) -> None:
        self.spec = network.spec
        self.device = network.device
        self._embed = half.embedder(network) if network.device.precision == "bfloat16" else _in_float32(network)

    def differentiable(self, images: Tensor) -> Tensor:
        """Embeddings [n, D] of images [n, channels, side, side], in float32; differentiable once by the images."""
        return torch.cat([self._embed(piece) for piece in torch.split(images, self._at_once(len(images)))])

    def pieces(self, images: Tensor) -> Iterator[Tensor]:
        """Embeddings, without gradients, float32 [m, D], of one piece of the images after the other.

        Where a GPU has not enough memory for a piece, it is halved from then on, with a warning.
        """
        count(len(images) * operations_per_image(self.spec).forward)
        start, size = 0, self._at_once(len(images))
        while start < len(images):
            try:
                with torch.inference_mode():
                    embedded = self._embed(images[start : start + size])
            except torch.OutOfMemoryError:
                size = halved(size, "images at a time")
                continue
            yield embedded
            start += size

    def _at_once(self, images: int) -> int:
        most = _GPU_IMAGES if self.device.torch.type != "cpu" else embedded_at_once(self.spec, self.device)
        return max(1, min(images, most))


def _in_float32(network: Network) -> Callable[[Tensor], Tensor]:
    stack = Stack(network.spec, [weights[None] for weights in network.parameters()], network.device)
    prepared = stack.prepared()
    return lambda images: stack.embed_with(prepared, images[None])[0]


def embedded_at_once(spec: NetworkSpec, device: Device) -> int:
    """How many images are embedded together on a CPU, so that their maps stay in its cache."""
    return half.CHUNK if device.precision == "bfloat16" else chunk_size(spec)


def embed_in_chunks(network: Network, images: Tensor) -> Tensor:
    """Embeddings [n, D] without gradients."""
    with torch.no_grad():
        return torch.cat(list(Embedder(network).pieces(images)))

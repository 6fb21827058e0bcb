"""Embedding in bfloat16, for processors and graphics cards with units for it: channels last, compiled.

Compiling fuses the norm, the ReLU and the pooling; it happens once for an architecture and size, because every piece of
images is filled up to the same number. Where torch finds no C++ compiler (or Triton, on a GPU) the same function runs
uncompiled, with a warning. The matrix units add up in float32; embeddings, and gradients by the images, come out as
float32.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
from torch import Tensor
from torch.nn import functional

from collab.nets.network import Network
from collab.nets.spec import NetworkSpec, architecture_of

CHUNK = 50  # images at a time on a CPU: their activations stay in the cache


def embedder(network: Network) -> Callable[[Tensor], Tensor]:
    """A function that embeds images [n, channels, side, side], n up to `CHUNK` on a CPU, as float32 [n, D].

    Differentiable by the images.
    """
    weights = [_as_half(tensor) for tensor in network.parameters()[:-2]]
    embed = _compiled(network.spec, network.device.torch.type)
    fill = network.device.torch.type == "cpu"

    def run(images: Tensor) -> Tensor:
        n = len(images)
        if fill and n < CHUNK:
            images = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, CHUNK - n))
        return embed(weights, _as_half(images))[:n].float()

    return run


def _as_half(tensor: Tensor) -> Tensor:
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.to(torch.bfloat16, memory_format=layout)


@lru_cache(maxsize=8)
def _compiled(spec: NetworkSpec, device: str) -> Callable[[Sequence[Tensor], Tensor], Tensor]:
    embed = partial(architecture_of(spec).embed, spec)
    if device == "cpu" and not any(map(shutil.which, ("g++", "clang++", "c++"))):
        warnings.warn("torch finds no C++ compiler: embeddings in bfloat16 run uncompiled, more slowly", stacklevel=2)
        return embed
    return torch.compile(embed, dynamic=None if device == "cuda" else False)

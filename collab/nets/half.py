"""Embedding in bfloat16, for processors and graphics cards with units for it: channels last, compiled.

Compiling fuses the norm, the ReLU and the pooling; it happens once for an architecture and size, and for either
direction, because every piece of images is filled up to the same number. Where torch finds no C++ compiler (on a GPU:
no Triton) the same function runs uncompiled, with a warning. The matrix units add up in float32; embeddings, and
gradients by the images, come out as float32.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from importlib.util import find_spec
from inspect import signature
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from collab.nets import convnet, winograd
from collab.nets.network import Network
from collab.nets.spec import NetworkSpec, architecture_of

CHUNK = 50  # images at a time on a CPU: their activations stay in the cache


def embedder(network: Network) -> Callable[[Tensor], Tensor]:
    """A function that embeds images [n, channels, side, side], n up to `CHUNK` on a CPU, as float32 [n, D].

    Differentiable by the images.
    """
    spec, device = network.spec, network.device.torch.type
    weights = [_as_half(tensor) for tensor in network.parameters()[:-2]]
    first = _first_block_of(network) if device == "cpu" and spec.channels == 1 and winograd.serves(spec) else None

    def run(images: Tensor) -> Tensor:
        n = len(images)
        if device == "cpu" and n < CHUNK:
            images = functional.pad(images, (0, 0, 0, 0, 0, 0, 0, CHUNK - n))
        if first is not None and not torch.is_grad_enabled():
            embedded = _compiled(spec, device, _embed_in_one_pass)(weights, first, images)
        else:
            embedded = _compiled(spec, device, architecture_of(spec).embed)(weights, _as_half(images))
        return embedded[:n].float()

    return run


def _first_block_of(network: Network) -> Sequence[Tensor]:
    """Kernel [9, width], scale and shift [width] of the first block of a ConvNet for one channel, in float32."""
    kernel, _, scale, shift = network.parameters()[: convnet.PER_BLOCK]
    return kernel.flatten(1).T.contiguous(), scale, shift


def _embed_in_one_pass(spec: NetworkSpec, weights: Sequence[Tensor], first: Sequence[Tensor], images: Tensor) -> Tensor:
    """A ConvNet for images of one channel, whose first and widest map is never written to memory.

    As in `collab.nets.winograd` its instance norm follows from the covariance of the image patches, and is a factor on
    the weights of each image; convolution, ReLU and pooling are then one loop. No gain with three channels.
    """
    kernel, scale, shift = first
    padding = convnet.first_padding(spec)
    half = (spec.side + 2 * padding - 2) // 2
    padded = functional.pad(images[:, 0], (padding,) * 4)
    shifted = [padded[:, y : y + 2 * half, x : x + 2 * half].flatten(1) for y in range(3) for x in range(3)]
    patches = torch.stack(shifted, dim=1)  # [n, 9, 4 half^2]
    patches = patches - patches.mean(dim=2, keepdim=True)
    covariance = torch.bmm(patches, patches.mT) / patches.shape[2]
    variance = ((covariance @ kernel) * kernel).sum(dim=1).clamp_min(0)
    weighted = kernel * (torch.rsqrt(variance + convnet.EPSILON) * scale)[:, None]  # [n, 9, width]
    places = patches.view(-1, 9, half, 2, half, 2)
    pooled = torch.zeros(())
    for row in range(2):
        for column in range(2):
            maps = shift
            for tap in range(9):
                maps = maps + places[:, tap, :, row, :, column, None] * weighted[:, None, None, tap, :]
            pooled = pooled + functional.relu(maps)
    x = (pooled * 0.25).to(torch.bfloat16).permute(0, 3, 1, 2)
    return convnet.embed_from(spec, weights, x, 1).flatten(1)


def _as_half(tensor: Tensor) -> Tensor:
    layout = torch.channels_last if tensor.dim() == 4 else torch.contiguous_format
    return tensor.to(torch.bfloat16, memory_format=layout)


@lru_cache(maxsize=16)
def _compiled(spec: NetworkSpec, device: str, embed: Callable[..., Tensor]) -> Callable[..., Tensor]:
    function = partial(embed, spec)
    lacking = _lacking(device)
    if lacking:
        warnings.warn(f"torch finds no {lacking}: embeddings in bfloat16 run uncompiled, more slowly", stacklevel=2)
        return function
    # Each with a cache of its own: together they reach torch's limit after a few networks of different sizes, and
    # what comes later runs uncompiled, with other last bits.
    apart: dict[str, Any] = (
        {"isolate_recompiles": True} if "isolate_recompiles" in signature(torch.compile).parameters else {}
    )
    return torch.compile(function, dynamic=None if device == "cuda" else False, **apart)


def _lacking(device: str) -> str:
    """What torch would need to compile, and is not here."""
    if device == "cuda":
        return "" if find_spec("triton") else "Triton"
    return "" if any(map(shutil.which, ("g++", "clang++", "c++"))) else "C++ compiler"

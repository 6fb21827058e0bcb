"""Networks drawn from a seed, the same on every machine and device.

Weights come from a Philox stream keyed by the seed, drawn on the CPU in float32 in the order of construction,
so client and server build the same network from eight bytes. Not here yet: AlexNet, VGG11, ResNet18.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import conv_flop_count

from collab.compute import count

_CACHE_BYTES = 6 * 1024 * 1024  # activations of one chunk that still stay close to the processor


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Which network: `width` filters in each of `depth` blocks, for images of `channels` x `side` x `side`."""

    width: int
    depth: int
    channels: int
    side: int
    classes: int

    @property
    def first_padding(self) -> int:
        """Padding of the first convolution: 3 for one-channel images whatever their size, as in the literature."""
        return 3 if self.channels == 1 else 1

    @property
    def final_side(self) -> int:
        """Side of the last feature map."""
        side = self.side + 2 * self.first_padding - 2
        for _ in range(self.depth):
            side //= 2
        return side

    @property
    def embedding_size(self) -> int:
        """Length of an embedding: the flattened last feature map, before the linear head."""
        return self.width * self.final_side**2


@dataclass(frozen=True, slots=True)
class Block:
    """The parameters of one block: convolution (kernel [width, channels, 3, 3] and bias) and norm (scale and shift)."""

    kernel: Tensor
    bias: Tensor
    scale: Tensor
    shift: Tensor


class ConvNet:
    """ConvNet: `depth` blocks of convolution 3x3, instance norm, ReLU and 2x2 average pooling, then a linear head.

    The network of the dataset-distillation literature (Gidaris and Komodakis 2018; Zhao et al., ICLR 2021).
    Instance norm has an affine scale and shift and no running statistics, so samples never influence each
    other. Not a torch module: those draw from the global generator when they are made, and cost more than a
    small network's work.
    """

    def __init__(self, spec: NetworkSpec, device: torch.device | str = "cpu") -> None:
        self.spec = spec

        def empty(*shape: int) -> Tensor:
            return torch.empty(shape, device=device)

        width = spec.width
        inputs = [spec.channels, *([width] * (spec.depth - 1))]
        self.blocks = [
            Block(empty(width, channels, 3, 3), empty(width), empty(width), empty(width)) for channels in inputs
        ]
        self.head_weight = empty(spec.classes, spec.embedding_size)
        self.head_bias = empty(spec.classes)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings [n, D] of images [n, channels, side, side]."""
        x, padding = images, self.spec.first_padding
        for block in self.blocks:
            x = functional.conv2d(x, block.kernel, block.bias, padding=padding)
            x = functional.group_norm(x, self.spec.width, block.scale, block.shift)
            x = functional.avg_pool2d(functional.relu(x), 2)
            padding = 1
        return x.flatten(1)

    def scores(self, images: Tensor) -> Tensor:
        """Class scores [n, classes] of images [n, channels, side, side]."""
        return functional.linear(self.embed(images), self.head_weight, self.head_bias)

    def parameters(self) -> list[Tensor]:
        """All weights, block by block, the head last."""
        blocks = [tensor for block in self.blocks for tensor in (block.kernel, block.bias, block.scale, block.shift)]
        return [*blocks, self.head_weight, self.head_bias]

    @torch.no_grad()
    def reseed(self, seed: int) -> ConvNet:
        """Draw all weights anew from `seed`, in place; returns the network.

        Weights and biases of convolutions and the head are uniform on +-1/sqrt(fan-in), torch's own default;
        scales are 1 and shifts 0.
        """
        stream = np.random.Philox(key=seed)
        drawn = [*((block.kernel, block.bias) for block in self.blocks), (self.head_weight, self.head_bias)]
        for weight, bias in drawn:
            bound = 1 / math.sqrt(weight[0].numel())
            weight.copy_(_uniform(stream, weight.shape, bound))
            bias.copy_(_uniform(stream, bias.shape, bound))
        for block in self.blocks:
            block.scale.fill_(1.0)
            block.shift.fill_(0.0)
        return self

    def checksum(self) -> str:
        """SHA-256 of all weights, for comparing client and server."""
        sha = hashlib.sha256()
        for parameter in self.parameters():
            sha.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()


@dataclass(frozen=True, slots=True)
class Operations:
    """Floating-point operations for one image: embedding it, and carrying a gradient back from the embedding to it."""

    forward: int
    backward_to_image: int


@lru_cache(maxsize=32)
def operations_per_image(spec: NetworkSpec) -> Operations:
    """By the formulas of torch's own counter; no sample influences another, so both grow linearly with the images.

    The counter itself (`FlopCounterMode`) gives the same, as a test says, but watching makes a small network
    twice as slow, and its import takes a second.
    """
    forward, side, padding, channels = 0, spec.side, spec.first_padding, spec.channels
    for _ in range(spec.depth):
        wide = side + 2 * padding - 2
        out_shape = [1, spec.width, wide, wide]
        forward += conv_flop_count([1, channels, side, side], [spec.width, channels, 3, 3], out_shape)
        side, padding, channels = wide // 2, 1, spec.width
    return Operations(forward, backward_to_image=forward)


def seeded_network(spec: NetworkSpec, seed: int, device: torch.device | str = "cpu") -> ConvNet:
    """A network of `spec` whose weights are drawn from `seed`."""
    return ConvNet(spec, device).reseed(seed)


@torch.no_grad()
def embed_in_chunks(network: ConvNet, images: Tensor) -> Tensor:
    """Embeddings [n, D] without gradients, in chunks whose activations stay in the processor's cache."""
    count(len(images) * operations_per_image(network.spec).forward)
    return torch.cat([network.embed(chunk) for chunk in torch.split(images, chunk_size(network.spec))])


@lru_cache(maxsize=32)
def chunk_size(spec: NetworkSpec) -> int:
    """Images that go through the network at a time."""
    widest = spec.width * (spec.side + 2 * spec.first_padding - 2) ** 2 * 4
    return max(8, _CACHE_BYTES // widest)


def _uniform(stream: np.random.Philox, shape: torch.Size, bound: float) -> Tensor:
    # The raw stream is fixed for all versions of numpy, which its distributions are not. The upper 24 bits
    # become a float32 on [0, 1) without rounding.
    raw = stream.random_raw(math.prod(shape)) >> np.uint64(40)
    unit = torch.from_numpy(raw.astype(np.float32) * np.float32(2.0**-24))
    return unit.mul_(2 * bound).sub_(bound).reshape(shape)

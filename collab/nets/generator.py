"""A generator of images, as a pure function of explicit weights: what DENSE synthesises with.

Linear from `latent_size` numbers to 128 maps of a quarter of the side; batch norm; twice as large; convolution 3x3
to 128 maps, batch norm, leaky ReLU (0.2); twice as large; convolution 3x3 to 64 maps, batch norm, leaky ReLU;
convolution 3x3 to the channels of an image; sigmoid. Enlarging repeats pixels. The norms go by the batch, always.

A side that is no multiple of four gets the next larger image, of which the middle is cut out (the published code knows
28 and 32 only).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

_MAPS = (128, 128, 64)
_SPREAD = 0.02  # of fresh weights


@dataclass(frozen=True, slots=True)
class GeneratorSpec:
    """Which generator, in numbers: for images of `channels` x `side` x `side` in [0, 1]."""

    latent_size: int
    channels: int
    side: int

    @property
    def first_side(self) -> int:
        """Side of the first maps."""
        return -(-self.side // 4)

    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Of the weights: linear and its bias; scale and shift of a norm; twice kernel, scale, shift; kernel, bias."""
        first, second, third = _MAPS
        return (
            (first * self.first_side**2, self.latent_size),
            (first * self.first_side**2,),
            (first,),
            (first,),
            (second, first, 3, 3),
            (second,),
            (second,),
            (third, second, 3, 3),
            (third,),
            (third,),
            (self.channels, third, 3, 3),
            (self.channels,),
        )

    def draw(self, draws: np.random.Generator) -> list[Tensor]:
        """Fresh weights on the CPU: normal with deviation 0.02, around 1 for the scales of norms; biases are 0."""
        weights = []
        for position, shape in enumerate(self.shapes()):
            if position in _SCALES or len(shape) > 1:
                centre = 1.0 if position in _SCALES else 0.0
                values = draws.standard_normal(shape, dtype=np.float32) * np.float32(_SPREAD) + np.float32(centre)
                weights.append(torch.from_numpy(values))
            else:
                weights.append(torch.zeros(shape))
        return weights

    def operations(self) -> int:
        """Floating-point operations to generate one image; a gradient by all weights and latents takes twice that."""
        sides = [2 * self.first_side, 4 * self.first_side, 4 * self.first_side]
        kernels = [self.shapes()[4], self.shapes()[7], self.shapes()[10]]
        convolved = sum(math.prod(kernel) * side**2 for kernel, side in zip(kernels, sides, strict=True))
        return 2 * (math.prod(self.shapes()[0]) + convolved)


_SCALES = (2, 5, 8)  # positions among the weights


def generate(spec: GeneratorSpec, weights: Sequence[Tensor], latents: Tensor) -> Tensor:
    """Images [n, channels, side, side] in [0, 1] from latents [n, latent_size]."""
    linear, linear_bias, scale0, shift0, kernel1, scale1, shift1, kernel2, scale2, shift2, kernel3, bias3 = weights
    x = functional.linear(latents, linear, linear_bias).reshape(-1, _MAPS[0], spec.first_side, spec.first_side)
    x = _twice_as_large(_normed(x, scale0, shift0))
    x = _normed(functional.conv2d(x, kernel1, padding=1), scale1, shift1)
    x = _twice_as_large(functional.leaky_relu(x, 0.2))
    x = _normed(functional.conv2d(x, kernel2, padding=1), scale2, shift2)
    x = functional.conv2d(functional.leaky_relu(x, 0.2), kernel3, bias3, padding=1)
    margin = (4 * spec.first_side - spec.side) // 2
    return torch.sigmoid(x[:, :, margin : margin + spec.side, margin : margin + spec.side])


def _normed(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return functional.batch_norm(x, None, None, scale, shift, training=True)


def _twice_as_large(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")

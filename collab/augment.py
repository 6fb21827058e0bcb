"""Differentiable siamese augmentation (DSA): Zhao and Bilen, ICML 2021, arXiv:2102.08259.

One operation per batch, drawn from the data set's strategy. Siamese use: a real and a synthetic batch get the same
operation with the same parameters, because both are drawn from the same seed; here from a generator keyed by
(seed of the network, class), always on the CPU, so that a client on a CPU and a server on a GPU agree. Training
use: parameters independent per sample. Images are in normalised space; uncovered area is 0, the mean colour.

Departs from the published code, which re-seeds the global generator with seed, seed + 1, ... before each draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Operation = Literal["color", "crop", "cutout", "flip", "scale", "rotate"]
OPERATIONS: tuple[Operation, ...] = ("color", "crop", "cutout", "flip", "scale", "rotate")

_LARGEST_SCALE = 1.2
_LARGEST_ANGLE_DEGREES = 15.0
_SHIFT_SHARE = 0.125
_CUTOUT_SHARE = 0.5
Augmentation = Callable[[Tensor], Tensor]


def siamese(strategy: Sequence[Operation], generator: np.random.Generator) -> Augmentation:
    """One operation with one set of parameters, for any batch that is to be treated alike."""
    return _draw(strategy, generator, samples=1)


def per_sample(strategy: Sequence[Operation], generator: np.random.Generator, samples: int) -> Augmentation:
    """One operation for a batch of `samples` images, with parameters of its own for each."""
    return _draw(strategy, generator, samples)


def crop_and_flip(generator: np.random.Generator, samples: int, *, reach: int, flip: bool) -> Augmentation:
    """What classifiers are trained under: each image padded by `reach` zeros and cropped back to its size at random,
    then mirrored with probability one half if `flip`. With a reach of 0 nothing moves.
    """
    uniforms = torch.from_numpy(generator.random((3, samples), dtype=np.float32))
    down, right = ((row * (2 * reach + 1)).floor().long().clamp_(max=2 * reach) - reach for row in uniforms[:2])
    mirrored = uniforms[2:]

    def apply(images: Tensor) -> Tensor:
        moved = _shift(images, down.to(images.device), right.to(images.device)) if reach else images
        return _flip(moved, mirrored.to(images.device)) if flip else moved

    return apply


def _draw(strategy: Sequence[Operation], generator: np.random.Generator, samples: int) -> Augmentation:
    if not strategy:
        return lambda images: images
    operation = strategy[int(generator.integers(len(strategy)))]
    # Three uniforms per sample whatever the operation needs: the stream then has one layout.
    uniforms = torch.from_numpy(generator.random((3, samples), dtype=np.float32))
    apply = _APPLY[operation]
    return lambda images: apply(images, uniforms.to(images.device))


def _color(images: Tensor, uniforms: Tensor) -> Tensor:
    brightness, saturation, contrast = uniforms.reshape(3, -1, 1, 1, 1)
    images = images + (brightness - 0.5)
    if images.shape[1] > 1:  # grey images have no saturation
        grey = images.mean(dim=1, keepdim=True)
        images = (images - grey) * (2.0 * saturation) + grey
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    adjusted: Tensor = (images - mean) * (contrast + 0.5) + mean
    return adjusted


def _crop(images: Tensor, uniforms: Tensor) -> Tensor:
    height, width = images.shape[-2:]
    shifts = []
    for axis, side in enumerate((height, width)):
        reach = int(_SHIFT_SHARE * side + 0.5)
        shifts.append((uniforms[axis] * (2 * reach + 1)).floor().long().clamp_(max=2 * reach) - reach)
    return _shift(images, *shifts)


def _shift(images: Tensor, down: Tensor, right: Tensor) -> Tensor:
    """Move each image by whole pixels; one shift for all, or one per image."""
    height, width = images.shape[-2:]
    rows, columns = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
    from_row, from_column = rows - down[:, None], columns - right[:, None]
    covered = ((from_row >= 0) & (from_row < height))[:, None, :, None] & ((from_column >= 0) & (from_column < width))[
        :, None, None, :
    ]
    from_row, from_column = from_row.clamp(0, height - 1), from_column.clamp(0, width - 1)
    if len(down) == 1:
        moved = images[:, :, from_row[0]][:, :, :, from_column[0]]
    else:
        sample = torch.arange(len(images), device=images.device)[:, None, None]
        moved = images.permute(0, 2, 3, 1)[sample, from_row[:, :, None], from_column[:, None, :]]
        moved = moved.permute(0, 3, 1, 2)
    return moved * covered


def _cutout(images: Tensor, uniforms: Tensor) -> Tensor:
    kept = torch.ones(1, 1, 1, 1, dtype=torch.bool, device=images.device)
    inside = []
    for axis, side in enumerate(images.shape[-2:]):
        size = int(_CUTOUT_SHARE * side + 0.5)
        centres = side + 1 - size % 2
        centre = (uniforms[axis] * centres).floor().clamp_(max=centres - 1)
        position = torch.arange(side, device=images.device)
        start = (centre - size // 2).clamp(0, side - 1)[:, None]
        end = (centre - size // 2 + size - 1).clamp(0, side - 1)[:, None]
        inside.append((position >= start) & (position <= end))
    kept = ~(inside[0][:, None, :, None] & inside[1][:, None, None, :])
    return images * kept


def _flip(images: Tensor, uniforms: Tensor) -> Tensor:
    flipped = (uniforms[0] < 0.5).reshape(-1, 1, 1, 1)
    return torch.where(flipped, images.flip(-1), images)


def _scale(images: Tensor, uniforms: Tensor) -> Tensor:
    smallest = 1 / _LARGEST_SCALE
    factors = uniforms[:2] * (_LARGEST_SCALE - smallest) + smallest
    zero = torch.zeros_like(factors[0])
    return _resample(images, torch.stack([factors[0], zero, zero, zero, factors[1], zero], dim=1))


def _rotate(images: Tensor, uniforms: Tensor) -> Tensor:
    angle = (uniforms[0] - 0.5) * (2 * _LARGEST_ANGLE_DEGREES * math.pi / 180)
    zero = torch.zeros_like(angle)
    cosine, sine = angle.cos(), angle.sin()
    return _resample(images, torch.stack([cosine, -sine, zero, sine, cosine, zero], dim=1))


def _resample(images: Tensor, affine: Tensor) -> Tensor:
    """Affine resampling, bilinear with zeros outside; `affine` holds one or n rows of a 2x3 matrix."""
    n, channels, height, width = images.shape
    matrices = affine.reshape(-1, 2, 3)
    grid = functional.affine_grid(matrices, [len(matrices), channels, height, width], align_corners=False)
    return functional.grid_sample(images, grid.expand(n, -1, -1, -1), align_corners=False)


_APPLY: Mapping[Operation, Callable[[Tensor, Tensor], Tensor]] = {
    "color": _color,
    "crop": _crop,
    "cutout": _cutout,
    "flip": _flip,
    "scale": _scale,
    "rotate": _rotate,
}

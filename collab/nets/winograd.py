"""ConvNet on a CPU: 3x3 convolutions as matrix products over tiles (Lavin and Gray, CVPR 2016, arXiv:1509.09308).

F(m x m, 3 x 3) computes m x m outputs of a 3x3 convolution from an (m+2) x (m+2) tile of its input with (m+2)^2
multiplications in place of 9 m^2: a quarter of them for m = 4. The transforms are matrices with few small numbers

    Y = A^T [ (G g G^T) * (B^T d B) ] A

written here as Kronecker products, so that all work is matrix products over channels. Feature maps are laid out
[n, side, side, channels]. The first block has too few input channels to gain from tiles; its instance norm follows from
the covariance of the image patches, so that the widest feature map is written once and read once. The norm, the ReLU
and the pooling of the others are one function with one backward pass. Biases before an instance norm change nothing
and are left out.

`N` networks of one spec work at once on `N` groups of images. Agrees with `collab.nets.convnet` to about 1e-5. Not
twice differentiable, which is an error and not a wrong number; not for maps of an odd side.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from collab.nets import convnet
from collab.nets.spec import NetworkSpec

_Way = TypeVar("_Way", bound="Callable[..., Any]")


def _once(backward: _Way) -> _Way:
    """torch's mark, which has no types: the ways back below keep maps that torch would take for constants."""
    return cast("_Way", once_differentiable(backward))


@dataclass(frozen=True)
class Tiling:
    """The transforms of F(m x m, 3 x 3), `output` being m."""

    output: int
    image: Tensor
    """B^T (x) B^T, [(m+2)^2, (m+2)^2]"""
    kernel: Tensor
    """G (x) G, [(m+2)^2, 9]"""
    result: Tensor
    """A^T (x) A^T, [m^2, (m+2)^2]"""

    @property
    def tile(self) -> int:
        """Side of an input tile."""
        return self.output + 2


def _tiling(output: int, image: list[list[float]], kernel: list[list[float]], result: list[list[float]]) -> Tiling:
    squared = [
        torch.kron(matrix, matrix).float()
        for matrix in (torch.tensor(rows, dtype=torch.float64) for rows in (image, kernel, result))
    ]
    return Tiling(output, *squared)


TWO = _tiling(
    2,
    [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
    [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
    [[1, 1, 1, 0], [0, 1, -1, -1]],
)
FOUR = _tiling(
    4,
    [
        [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ],
    [
        [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
        [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
    ],
    [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
)  # fmt: skip


def serves(spec: NetworkSpec) -> bool:
    """Whether networks of this spec can be computed here: a ConvNet all of whose maps have even sides."""
    return spec.architecture == "convnet" and all(side % 2 == 0 for side in convnet.sides(spec)[:-1])


@dataclass(frozen=True)
class Prepared:
    """Weights of N networks in the form in which they are used; made once, used for many images.

    Attributes:
        first: kernels of the first block, [N, 9 channels, width].
        tiled: transformed kernels of the others, each [(m+2)^2, N, width, width].
        scales: of each block, [N, width].
        shifts: of each block, [N, width].
    """

    first: Tensor
    tiled: Sequence[Tensor]
    scales: Sequence[Tensor]
    shifts: Sequence[Tensor]

    def tensors(self) -> list[Tensor]:
        """All of them; `of` puts them together again."""
        return [self.first, *self.tiled, *self.scales, *self.shifts]

    @classmethod
    def of(cls, spec: NetworkSpec, tensors: Sequence[Tensor]) -> Prepared:
        """Weights from their list."""
        tiled, depth = tensors[1 : spec.depth], spec.depth
        return cls(tensors[0], tiled, tensors[depth : 2 * depth], tensors[2 * depth :])


def prepare(spec: NetworkSpec, parameters: Sequence[Tensor]) -> Prepared:
    """Weights of N networks, each tensor [N, ...] in the order of the spec's layout. Differentiable."""
    per_block = convnet.PER_BLOCK
    kernels = parameters[0 : per_block * spec.depth : per_block]
    tiled = []
    for kernel, side in zip(kernels[1:], convnet.sides(spec)[1:-1], strict=True):
        networks, width, channels = kernel.shape[:3]
        flat = kernel.permute(3, 4, 0, 2, 1).reshape(9, -1)
        tiled.append((_tiling_of(side).kernel @ flat).view(-1, networks, channels, width))
    first = kernels[0].flatten(2).transpose(1, 2)
    scales = parameters[2 : per_block * spec.depth : per_block]
    shifts = parameters[3 : per_block * spec.depth : per_block]
    return Prepared(first, tiled, scales, shifts)


def embed(spec: NetworkSpec, weights: Prepared, images: Tensor) -> Tensor:
    """Embeddings [N, b, D] of images [N, b, channels, side, side], each group by a network of its own.

    Differentiable, once, by the images and by the prepared weights.
    """
    networks, size = images.shape[:2]
    x = _first_block(images, weights.first, weights.scales[0], weights.shifts[0], convnet.first_padding(spec))
    for kernels, scale, shift in zip(weights.tiled, weights.scales[1:], weights.shifts[1:], strict=True):
        x = _block(x, kernels, scale, shift)
    return x.permute(0, 3, 1, 2).reshape(networks, size, -1)


def _tiling_of(side: int) -> Tiling:
    return FOUR if side % FOUR.output == 0 else TWO


def _first_block(images: Tensor, kernel: Tensor, scale: Tensor, shift: Tensor, padding: int) -> Tensor:
    """Block one: [N, b, channels, side, side] -> [N b, half, half, width].

    A convolution is linear in the image patches p, so with centred patches its output w'p has mean 0 and variance
    w' Cov(p) w, and the norm is a factor on the weights of each image.
    """
    networks, size = images.shape[:2]
    patches = _patches(images.flatten(0, 1), padding)  # [n, 4, half^2, 9 channels]
    n, _, area, length = patches.shape
    patches = patches.view(n, 4 * area, length)
    patches = patches - patches.mean(dim=1, keepdim=True)
    covariance = torch.bmm(patches.mT, patches).div(4 * area).view(networks, size, length, length)
    variance = ((covariance @ kernel[:, None]) * kernel[:, None]).sum(dim=2)  # [N, b, width]
    factor = torch.rsqrt(variance.clamp_min(0) + convnet.EPSILON) * scale[:, None]
    weights = kernel[:, None] * factor[:, :, None]  # [N, b, 9 channels, width]
    weights = torch.cat([weights, shift[:, None, None].expand(-1, size, -1, -1)], dim=2).flatten(0, 1)
    ones = patches.new_ones(n, 4 * area, 1)
    maps = torch.bmm(torch.cat([patches, ones], dim=2), weights)  # [n, 4 half^2, width]
    half = round(area**0.5)
    return _relu_pool(maps.view(n, 4, -1)).view(n, half, half, -1)


def _block(x: Tensor, kernels: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """A block after the first: [n, side, side, channels] -> [n, side / 2, side / 2, width]."""
    n, side, _, channels = x.shape
    squared, networks, _, width = kernels.shape
    tiling = _tiling_of(side)
    tiles = _tiles(x, tiling.output)  # [(m+2)^2, n t^2 channels]
    transformed = (tiling.image @ tiles).view(squared * networks, -1, channels)
    products = torch.bmm(transformed, kernels.reshape(squared * networks, channels, width))
    outputs = (tiling.result @ products.view(squared, -1)).view(tiling.output**2, n, -1, width)
    return _norm_relu_pool(outputs, scale, shift)


class _Patches(torch.autograd.Function):
    """All 3x3 patches of images, sorted by their place in the 2x2 pooling window."""

    @staticmethod
    def forward(ctx: Any, images: Tensor, padding: int) -> Tensor:
        """[n, c, side, side] -> [n, 4, half^2, 9 c]."""
        n, channels, side, _ = images.shape
        half = (side + 2 * padding - 2) // 2
        ctx.shape, ctx.padding = images.shape, padding
        padded = functional.pad(images, (padding,) * 4)
        windows = padded.unfold(2, 3, 1).unfold(3, 3, 1).reshape(n, channels, half, 2, half, 2, 3, 3)
        return windows.permute(0, 3, 5, 2, 4, 1, 6, 7).reshape(n, 4, half * half, channels * 9)

    @staticmethod
    @_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Each patch's gradient goes back to where it was read."""
        n, channels, side, _ = ctx.shape
        padding = ctx.padding
        wide = side + 2 * padding - 2
        half = wide // 2
        places = gradients[0].view(n, 2, 2, half, half, channels, 3, 3).permute(6, 7, 0, 5, 3, 1, 4, 2)
        places = places.reshape(3, 3, n, channels, wide, wide)
        padded = places.new_zeros(n, channels, wide + 2, wide + 2)
        for row in range(3):
            for column in range(3):
                padded[:, :, row : row + wide, column : column + wide] += places[row, column]
        return padded[:, :, padding : padding + side, padding : padding + side], None


class _ReluPool(torch.autograd.Function):
    """ReLU, in place, and the mean over the places of the pooling window."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor) -> Tensor:
        """[n, 4, values] -> [n, values]."""
        active = maps.relu_()  # nobody else reads it: it comes from a product that keeps its factors only
        ctx.save_for_backward(active)
        pooled: Tensor = active.mean(dim=1)
        return pooled

    @staticmethod
    @_once
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """A quarter to each place that is active."""
        (active,) = ctx.saved_tensors
        spread: Tensor = (active > 0) * (gradients[0] * 0.25)[:, None]
        return spread


class _Tiles(torch.autograd.Function):
    """Overlapping tiles of feature maps that are padded by 1."""

    @staticmethod
    def forward(ctx: Any, maps: Tensor, output: int) -> Tensor:
        """[n, side, side, channels] -> [(m+2)^2, n t^2 channels] with t = side / m."""
        ctx.shape, ctx.output = maps.shape, output
        padded = functional.pad(maps, (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, output + 2, output).unfold(2, output + 2, output)
        return windows.permute(4, 5, 0, 1, 2, 3).reshape((output + 2) ** 2, -1)

    @staticmethod
    @_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Overlapping tiles add up, first along columns, then along rows."""
        n, side, _, channels = ctx.shape
        output, tile, tiles = ctx.output, ctx.output + 2, side // ctx.output
        given = gradients[0].view(tile, tile, n, tiles, tiles, channels)
        columns = given.new_zeros(tile, n, tiles, side + 2, channels)
        for column in range(tile):
            columns[:, :, :, column : column + side : output] += given[:, column]
        padded = given.new_zeros(n, side + 2, side + 2, channels)
        for row in range(tile):
            padded[:, row : row + side : output] += columns[row]
        return padded[:, 1:-1, 1:-1], None


class _NormReluPool(torch.autograd.Function):
    """Instance norm, ReLU and 2x2 average pooling of tiles."""

    @staticmethod
    def forward(ctx: Any, tiles: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        """[m^2, n, t^2, width] and [N, width] twice -> [n, side / 2, side / 2, width]."""
        squared, n, area, width = tiles.shape
        count = squared * area
        groups = n // len(scale)
        centred = tiles - (tiles.sum(dim=0).sum(dim=1) / count)[:, None]
        variance = centred.square().sum(dim=0).sum(dim=1) / count
        deviation = torch.rsqrt(variance + convnet.EPSILON)
        normed = centred.mul_(deviation[:, None])
        factor, offset = (one.repeat_interleave(groups, dim=0)[:, None] for one in (scale, shift))
        ctx.save_for_backward(normed, deviation, factor, offset)
        ctx.networks = len(scale)
        activated = torch.addcmul(offset, normed, factor).relu_()
        half, side = round(squared**0.5) // 2, round(area**0.5)
        windows = activated.view(half, 2, half, 2, n, side, side, width)
        pooled = windows[:, 0, :, 0] + windows[:, 0, :, 1]
        pooled += windows[:, 1, :, 0]
        pooled += windows[:, 1, :, 1]
        return pooled.mul_(0.25).permute(2, 3, 0, 4, 1, 5).reshape(n, half * side, half * side, width)

    @staticmethod
    @_once
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The derivative of an instance norm after that of the ReLU."""
        normed, deviation, factor, offset = ctx.saved_tensors
        squared, n, area, width = normed.shape
        count = squared * area
        half, side = round(squared**0.5) // 2, round(area**0.5)
        pooled = gradients[0].reshape(n, side, half, side, half, width).permute(2, 4, 0, 1, 3, 5) * 0.25
        spread = pooled.reshape(half, 1, half, 1, n, area, width)
        active = torch.addcmul(offset, normed, factor) > 0
        given = (active.view(half, 2, half, 2, n, area, width) * spread).view(squared, n, area, width)
        by_shift = given.sum(dim=0).sum(dim=1)  # [n, width]
        by_scale = (given * normed).sum(dim=0).sum(dim=1)
        before = given.sub_((by_shift / count)[:, None]).addcmul_(normed, (by_scale / count)[:, None], value=-1)
        before.mul_(deviation[:, None] * factor)
        networks = ctx.networks
        return before, by_scale.view(networks, -1, width).sum(dim=1), by_shift.view(networks, -1, width).sum(dim=1)


# torch does not say what these return.
_patches = cast("Callable[[Tensor, int], Tensor]", _Patches.apply)
_relu_pool = cast("Callable[[Tensor], Tensor]", _ReluPool.apply)
_tiles = cast("Callable[[Tensor, int], Tensor]", _Tiles.apply)
_norm_relu_pool = cast("Callable[[Tensor, Tensor, Tensor], Tensor]", _NormReluPool.apply)

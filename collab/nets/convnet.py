"""ConvNet: `depth` blocks of convolution 3x3, instance norm, ReLU and 2x2 average pooling.

The network of the dataset-distillation literature (Gidaris and Komodakis 2018; Zhao et al., ICLR 2021). Instance norm
has an affine scale and shift and no running statistics, so samples never influence each other. The first convolution
of one-channel images is padded by 3 whatever their size, as in the published code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import conv_flop_count

from collab.nets.spec import NetworkSpec, Parameter

PER_BLOCK = 4  # kernel, bias, scale, shift
EPSILON = 1e-5  # of instance norm, torch's own


def first_padding(spec: NetworkSpec) -> int:
    """Padding of the first convolution."""
    return 3 if spec.channels == 1 else 1


def sides(spec: NetworkSpec) -> list[int]:
    """Sides of the feature maps that come out of the convolutions, and of the last one after pooling."""
    side, found = spec.side + 2 * first_padding(spec) - 2, []
    for _ in range(spec.depth):
        found.append(side)
        side //= 2
    return [*found, side]


def layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """Kernel [width, channels, 3, 3], bias, scale and shift [width] of each block."""
    found: list[Parameter] = []
    channels, width = spec.channels, spec.width
    for block in range(spec.depth):
        fan_in = channels * 9
        found += [
            Parameter(f"block{block}.kernel", (width, channels, 3, 3), fan_in),
            Parameter(f"block{block}.bias", (width,), fan_in),
            Parameter(f"block{block}.scale", (width,), constant=1.0),
            Parameter(f"block{block}.shift", (width,), constant=0.0),
        ]
        channels = width
    return tuple(found)


def embed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Embeddings [n, D] of images [n, channels, side, side]."""
    return embed_from(spec, parameters, images, 0).flatten(1)


def embed_from(spec: NetworkSpec, parameters: Sequence[Tensor], x: Tensor, first: int) -> Tensor:
    """The last map, from what goes into block number `first`."""
    for block in range(first, spec.depth):
        kernel, bias, scale, shift = parameters[PER_BLOCK * block : PER_BLOCK * (block + 1)]
        x = functional.conv2d(x, kernel, bias, padding=first_padding(spec) if block == 0 else 1)
        x = functional.group_norm(x, spec.width, scale, shift)
        x = functional.avg_pool2d(functional.relu(x), 2)
    return x


def embedding_size(spec: NetworkSpec) -> int:
    """Width times the area of the last map."""
    return spec.width * sides(spec)[-1] ** 2


def forward_operations(spec: NetworkSpec) -> int:
    """By the formulas of torch's own counter: convolutions only, a multiply-add counts two."""
    return sum(_operations(spec))


def first_operations(spec: NetworkSpec) -> int:
    """Those of the first convolution, from which no gradient goes on to the images when weights are trained."""
    return next(_operations(spec))


def _operations(spec: NetworkSpec) -> Iterator[int]:
    """Those of each convolution."""
    side, channels = spec.side, spec.channels
    for wide in sides(spec)[:-1]:
        kernel = [spec.width, channels, 3, 3]
        yield int(conv_flop_count([1, channels, side, side], kernel, [1, spec.width, wide, wide]))
        side, channels = wide // 2, spec.width


def largest_map(spec: NetworkSpec) -> int:
    """Numbers in the largest map that one image leaves."""
    return spec.width * sides(spec)[0] ** 2


def smallest_side(spec: NetworkSpec) -> int:
    """`depth` times halved, a pixel must be left; the padding of one-channel images adds four."""
    return max(1, (1 << spec.depth) - 2 * (first_padding(spec) - 1))

"""AlexNet, as the dataset-distillation literature reduces it to small images: five convolutions, no norm at all.

Convolution 5x5 to 128 maps, ReLU, max-pool 2; 5x5 to 192, ReLU, max-pool 2; 3x3 to 256, ReLU; 3x3 to 192, ReLU; 3x3
to 192, ReLU, max-pool 2 (the "AlexNet" of Zhao et al., ICLR 2021, after Krizhevsky et al. 2012). The first
convolution of one-channel images is padded by 4 instead of 2, as in the published code.

Departs from the literature: the last map is averaged down to 4x4 before the head, so that the embedding is 3,072
numbers for images of 28 to 64 pixels alike. The published head fits 32x32 only and fails at 64x64 (12,288 numbers).
Smaller images leave smaller maps, which stay as they are.

Without a norm, embeddings of a fresh network are some 20 times smaller than ConvNet's, matching losses some 400 times:
learning rates of images that suit ConvNet hardly move anything here.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from collab.nets.layers import Convolution, pool_to
from collab.nets.spec import NetworkSpec, Parameter

_LAST_SIDE = 4
_POOLED = (True, True, False, False, True)  # which convolutions are followed by max-pooling


def convolutions(spec: NetworkSpec) -> tuple[Convolution, ...]:
    """The five convolutions."""
    return (
        Convolution("block0", spec.channels, 128, kernel=5, padding=4 if spec.channels == 1 else 2),
        Convolution("block1", 128, 192, kernel=5, padding=2),
        Convolution("block2", 192, 256, kernel=3, padding=1),
        Convolution("block3", 256, 192, kernel=3, padding=1),
        Convolution("block4", 192, 192, kernel=3, padding=1),
    )


def layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """Kernel and bias of each convolution."""
    return tuple(parameter for convolution in convolutions(spec) for parameter in convolution.layout())


def embed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Embeddings [n, D] of images [n, channels, side, side]."""
    x = images
    for block, (convolution, pooled) in enumerate(zip(convolutions(spec), _POOLED, strict=True)):
        kernel, bias = parameters[2 * block : 2 * block + 2]
        x = functional.relu(convolution(x, kernel, bias))
        x = functional.max_pool2d(x, 2) if pooled else x
    return pool_to(x, _LAST_SIDE).flatten(1)


def embedding_size(spec: NetworkSpec) -> int:
    """192 times the area of the last map, at most 4x4."""
    return 192 * min(_sides(spec)[-1], _LAST_SIDE) ** 2


def forward_operations(spec: NetworkSpec) -> int:
    """By the formulas of torch's own counter: convolutions only, a multiply-add counts two."""
    pairs = zip(convolutions(spec), _sides(spec), strict=False)
    return sum(convolution.operations(side) for convolution, side in pairs)


def first_operations(spec: NetworkSpec) -> int:
    """Those of the first convolution, from which no gradient goes on to the images when weights are trained."""
    return convolutions(spec)[0].operations(spec.side)


def largest_map(spec: NetworkSpec) -> int:
    """Numbers in the largest map that one image leaves."""
    return 128 * convolutions(spec)[0].side_after(spec.side) ** 2


def smallest_side(spec: NetworkSpec) -> int:
    """Three times halved, a pixel must be left; the padding of one-channel images adds four."""
    return 4 if spec.channels == 1 else 8


def _sides(spec: NetworkSpec) -> list[int]:
    """Sides of the maps that go into the convolutions, and of the last one after pooling."""
    side, found = spec.side, [spec.side]
    for convolution, pooled in zip(convolutions(spec), _POOLED, strict=True):
        side = convolution.side_after(side) // (2 if pooled else 1)
        found.append(side)
    return found

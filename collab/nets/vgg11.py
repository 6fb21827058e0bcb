"""VGG11 with instance norm, as the dataset-distillation literature has it: eight convolutions 3x3, five max-pools.

Maps 64, pool, 128, pool, 256, 256, pool, 512, 512, pool, 512, 512, pool (Simonyan and Zisserman 2015, configuration
A); after each convolution instance norm and ReLU, one linear head. The first convolution of one-channel images is
padded by 3 instead of 1, as in the published code.

Departs from the literature: the last map is averaged to 1x1 before the head, so that the embedding is 512 numbers
for images of 28 to 64 pixels alike; the published head fits 32x32 only and fails at 64x64 (2,048 numbers).

At 32x32 the last norm sees maps of 2x2, and the last pool takes the largest of four normalised numbers: each entry of
an embedding lies within [0, 1.74] and says little about the class. Distilling with VGG11 is known to suffer from it
(the rows of the paper's Table 3).
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from collab.nets.layers import Convolution, instance_norm, pool_to
from collab.nets.spec import NetworkSpec, Parameter

_WIDTHS = (64, 128, 256, 256, 512, 512, 512, 512)
_POOLED = (True, True, False, True, False, True, False, True)  # which convolutions are followed by max-pooling
_PER_BLOCK = 4  # kernel, bias, scale, shift


def convolutions(spec: NetworkSpec) -> tuple[Convolution, ...]:
    """The eight convolutions."""
    inputs = (spec.channels, *_WIDTHS[:-1])
    first = 3 if spec.channels == 1 else 1
    return tuple(
        Convolution(f"block{block}", before, width, kernel=3, padding=first if block == 0 else 1)
        for block, (before, width) in enumerate(zip(inputs, _WIDTHS, strict=True))
    )


def layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """Kernel, bias, scale and shift of each block."""
    return tuple(parameter for convolution in convolutions(spec) for parameter in convolution.layout(norm=True))


def embed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Embeddings [n, 512] of images [n, channels, side, side]."""
    x = images
    for block, (convolution, pooled) in enumerate(zip(convolutions(spec), _POOLED, strict=True)):
        kernel, bias, scale, shift = parameters[_PER_BLOCK * block : _PER_BLOCK * (block + 1)]
        x = functional.relu(instance_norm(convolution(x, kernel, bias), scale, shift))
        x = functional.max_pool2d(x, 2) if pooled else x
    return pool_to(x, 1).flatten(1)


def embedding_size(spec: NetworkSpec) -> int:  # noqa: ARG001 (the same for all)
    """One number a map of the last block."""
    return _WIDTHS[-1]


def forward_operations(spec: NetworkSpec) -> int:
    """By the formulas of torch's own counter: convolutions only, a multiply-add counts two."""
    operations, side = 0, spec.side
    for convolution, pooled in zip(convolutions(spec), _POOLED, strict=True):
        operations += convolution.operations(side)
        side = convolution.side_after(side) // (2 if pooled else 1)
    return operations


def first_operations(spec: NetworkSpec) -> int:
    """Those of the first convolution, from which no gradient goes on to the images when weights are trained."""
    return convolutions(spec)[0].operations(spec.side)


def largest_map(spec: NetworkSpec) -> int:
    """Numbers in the largest map that one image leaves."""
    return _WIDTHS[0] * convolutions(spec)[0].side_after(spec.side) ** 2


def smallest_side(spec: NetworkSpec) -> int:
    """Four times halved, 2x2 pixels must be left for the last norm, of which a single one would make a zero; the
    padding of one-channel images adds four.
    """
    return 28 if spec.channels == 1 else 32

"""ResNet18 for small images, with instance norm: a stem and four stages of two basic blocks.

Stem: convolution 3x3 to 64 maps without bias, norm, ReLU, no pooling (He et al., CVPR 2016, section 4.2, at the widths
of ResNet18). Stages of 64, 128, 256 and 512 maps; the first block of the last three halves the side. A block is
convolution 3x3, norm, ReLU, convolution 3x3, norm, plus its input, ReLU; where the shape changes the input goes
through a convolution 1x1 and a norm. The literature's code pads no one-channel images by 3 here, nor does this.

Departs from the literature: the last map is averaged to 1x1 before the head, so that the embedding is 512 numbers
for every size of images; the published window of 4x4 leaves 2,048 at 64x64, which its head does not fit. At 28x28 and
32x32, where the last map has 4x4 pixels, it is the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from torch import Tensor
from torch.nn import functional

from collab.nets.layers import Convolution, instance_norm, pool_to
from collab.nets.spec import NetworkSpec, Parameter

_WIDTHS = (64, 128, 256, 512)
_BLOCKS = 2  # in a stage


@dataclass(frozen=True, slots=True)
class BasicBlock:
    """Two convolutions and what their input goes through beside them; None for nothing."""

    first: Convolution
    second: Convolution
    shortcut: Convolution | None

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """All its convolutions, in the order in which their weights are drawn."""
        return (self.first, self.second) if self.shortcut is None else (self.first, self.second, self.shortcut)


def stem(spec: NetworkSpec) -> Convolution:
    """The first convolution."""
    return Convolution("stem", spec.channels, _WIDTHS[0], kernel=3, padding=1)


@lru_cache(maxsize=1)
def blocks() -> tuple[BasicBlock, ...]:
    """All eight blocks."""
    return tuple(_blocks())


def _blocks() -> Iterator[BasicBlock]:
    inputs = _WIDTHS[0]
    for stage, width in enumerate(_WIDTHS):
        for number in range(_BLOCKS):
            name = f"stage{stage}.block{number}"
            stride = 2 if stage > 0 and number == 0 else 1
            changes = stride > 1 or inputs != width
            yield BasicBlock(
                Convolution(f"{name}.first", inputs, width, kernel=3, padding=1, stride=stride),
                Convolution(f"{name}.second", width, width, kernel=3, padding=1),
                Convolution(f"{name}.shortcut", inputs, width, 1, padding=0, stride=stride) if changes else None,
            )
            inputs = width


def layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """Kernel, scale and shift of each convolution; none has a bias."""
    every = (stem(spec), *(convolution for block in blocks() for convolution in block.convolutions))
    return tuple(parameter for convolution in every for parameter in convolution.layout(bias=False, norm=True))


def embed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Embeddings [n, 512] of images [n, channels, side, side]."""
    weights = iter(parameters)

    def normed(convolution: Convolution, x: Tensor) -> Tensor:
        kernel, scale, shift = next(weights), next(weights), next(weights)
        return instance_norm(convolution(x, kernel), scale, shift)

    x = functional.relu(normed(stem(spec), images))
    for block in blocks():
        inner = functional.relu(normed(block.first, x))
        inner = normed(block.second, inner)
        beside = x if block.shortcut is None else normed(block.shortcut, x)
        x = functional.relu(inner + beside)
    return pool_to(x, 1).flatten(1)


def embedding_size(spec: NetworkSpec) -> int:  # noqa: ARG001 (the same for all)
    """One number a map of the last stage."""
    return _WIDTHS[-1]


def forward_operations(spec: NetworkSpec) -> int:
    """By the formulas of torch's own counter: convolutions only, a multiply-add counts two."""
    operations, side = stem(spec).operations(spec.side), spec.side
    for block in blocks():
        after = block.first.side_after(side)
        operations += block.first.operations(side) + block.second.operations(after)
        operations += 0 if block.shortcut is None else block.shortcut.operations(side)
        side = after
    return operations


def first_operations(spec: NetworkSpec) -> int:
    """Those of the first convolution, from which no gradient goes on to the images when weights are trained."""
    return stem(spec).operations(spec.side)


def largest_map(spec: NetworkSpec) -> int:
    """Numbers in the largest map that one image leaves."""
    return _WIDTHS[0] * spec.side**2


def smallest_side(spec: NetworkSpec) -> int:  # noqa: ARG001 (the same for all)
    """Three times halved, rounding up, 2x2 pixels must be left for the last norms, which make zeros of single ones."""
    return 9

"""The two classifiers of the published code of DENSE (Zhang et al., NeurIPS 2022), for grey images and for colour.

One channel: twice convolution 5x5 padded by 2 (to 16, then 32 maps), batch norm, ReLU, max-pool 2. Three channels:
three convolutions 3x3 without padding to 128 maps, each with ReLU, max-pool 2 after the first two, no norm at all.
Smaller than ConvNet by far where images are grey: 29,034 weights and 96 running statistics at 28x28.

Batch norm couples the images of a batch while a network is trained (momentum 0.1, eps 1e-5, as torch's own); in use
it goes by the running statistics, which are the last two weights of each norm and travel with the others. They are
those of the data that the network was trained on: of a site without a class, they know nothing of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional

from collab.nets.layers import Convolution
from collab.nets.spec import NetworkSpec, Parameter
from collab.nets.training import Statistics

_PER_NORMED_BLOCK = 6  # kernel, bias, scale, shift, mean, variance


def spec_for(channels: int, side: int, classes: int) -> NetworkSpec:
    """The network for such images. Raises `ScenarioError` for images too small for it."""
    width, depth = (16, 2) if channels == 1 else (128, 3)
    return NetworkSpec(width, depth, channels, side, classes, "dense")


def convolutions(spec: NetworkSpec) -> tuple[Convolution, ...]:
    """Two for grey images, three for others."""
    if spec.channels == 1:
        return Convolution("block0", 1, 16, kernel=5, padding=2), Convolution("block1", 16, 32, kernel=5, padding=2)
    inputs = (spec.channels, 128, 128)
    return tuple(Convolution(f"block{block}", n, 128, kernel=3, padding=0) for block, n in enumerate(inputs))


def layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """Kernel and bias of each convolution; for grey images also scale, shift, running mean and variance of its norm."""
    found: list[Parameter] = []
    for convolution in convolutions(spec):
        found += convolution.layout(norm=spec.channels == 1)
        if spec.channels == 1:
            shape = (convolution.outputs,)
            found.append(Parameter(f"{convolution.name}.mean", shape, constant=0.0, statistic=True))
            found.append(Parameter(f"{convolution.name}.variance", shape, constant=1.0, statistic=True))
    return tuple(found)


def embed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
    """Embeddings [n, D] of images [n, channels, side, side], norms by the running statistics."""
    if spec.channels == 1:
        return _embed_grey(spec, parameters, images, by_batch=False, observed=None)
    x = images
    for block, convolution in enumerate(convolutions(spec)):
        x = functional.relu(convolution(x, *parameters[2 * block : 2 * block + 2]))
        x = functional.max_pool2d(x, 2) if block < 2 else x
    return x.flatten(1)


def embed_batch(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> tuple[Tensor, list[Statistics]]:
    """Embeddings of grey images, norms by the statistics of the batch, and these."""
    observed: list[Statistics] = []
    return _embed_grey(spec, parameters, images, by_batch=True, observed=observed), observed


def embed_observed(spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> tuple[Tensor, list[Statistics]]:
    """Embeddings of grey images, norms by the running statistics, and those of the batch."""
    observed: list[Statistics] = []
    return _embed_grey(spec, parameters, images, by_batch=False, observed=observed), observed


def _embed_grey(
    spec: NetworkSpec,
    parameters: Sequence[Tensor],
    images: Tensor,
    *,
    by_batch: bool,
    observed: list[Statistics] | None,
) -> Tensor:
    x = images
    for block, convolution in enumerate(convolutions(spec)):
        first = _PER_NORMED_BLOCK * block
        kernel, bias, scale, shift, mean, variance = parameters[first : first + _PER_NORMED_BLOCK]
        x = convolution(x, kernel, bias)
        if observed is not None:
            observed.append(Statistics.of(x))
        if by_batch:
            x = functional.batch_norm(x, None, None, scale, shift, training=True)
        else:
            x = functional.batch_norm(x, mean, variance, scale, shift)
        x = functional.max_pool2d(functional.relu(x), 2)
    return x.flatten(1)


def embedding_size(spec: NetworkSpec) -> int:
    """Maps times the area of the last one."""
    return convolutions(spec)[-1].outputs * _sides(spec)[-1] ** 2


def forward_operations(spec: NetworkSpec) -> int:
    """By the formulas of torch's own counter: convolutions only, a multiply-add counts two."""
    pairs = zip(convolutions(spec), _sides(spec), strict=False)
    return sum(convolution.operations(side) for convolution, side in pairs)


def first_operations(spec: NetworkSpec) -> int:
    """Those of the first convolution, from which no gradient goes on to the images when weights are trained."""
    return convolutions(spec)[0].operations(spec.side)


def largest_map(spec: NetworkSpec) -> int:
    """Numbers in the largest map that one image leaves."""
    first = convolutions(spec)[0]
    return first.outputs * first.side_after(spec.side) ** 2


def smallest_side(spec: NetworkSpec) -> int:
    """A pixel must be left in the end; without padding, three convolutions need more of them."""
    return 4 if spec.channels == 1 else 18


def _sides(spec: NetworkSpec) -> list[int]:
    """Sides of the maps that go into the convolutions, and of what leaves the last block."""
    side, found = spec.side, [spec.side]
    for block, convolution in enumerate(convolutions(spec)):
        side = convolution.side_after(side) // (2 if block < 2 else 1)
        found.append(side)
    return found

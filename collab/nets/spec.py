"""Which network, in numbers that every party knows, and what its weights are called.

An architecture is a module of this package with pure functions of a spec::

    def layout(spec) -> tuple[Parameter, ...]        # the weights before the head, in the order of drawing
    def embed(spec, parameters, images) -> Tensor    # [n, channels, side, side] -> [n, D]
    def embedding_size(spec) -> int                  # D
    def forward_operations(spec) -> int              # floating-point operations to embed one image
    def first_operations(spec) -> int                # of these, those of the first convolution
    def largest_map(spec) -> int                     # numbers in the largest map of one image: for the size of chunks
    def smallest_side(spec) -> int                   # of images that leave something to embed

The linear head that makes class scores of an embedding is the same for all, see `collab.nets.network`.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, Protocol, cast, get_args

from torch import Tensor

from collab.errors import ScenarioError

ArchitectureName = Literal["convnet", "alexnet", "vgg11", "resnet18"]
ARCHITECTURES: tuple[ArchitectureName, ...] = get_args(ArchitectureName)
"""Those that a scenario can name; `dense` belongs to a method that trains it its own way."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One tensor of weights: drawn uniformly on +-1/sqrt(`fan_in`), or `constant` everywhere if there is no fan-in.

    A `statistic` runs along with the batches that a network is trained on; no gradient changes it.
    """

    name: str
    shape: tuple[int, ...]
    fan_in: int | None = None
    constant: float = 0.0
    statistic: bool = False

    @property
    def size(self) -> int:
        """Number of weights."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class NetworkSpec:
    """Which network, for images of `channels` x `side` x `side`.

    `width` (filters per block) and `depth` (blocks) are ConvNet's; the other architectures have sizes of their own.
    Raises `ScenarioError` for images too small to leave anything to embed.
    """

    width: int
    depth: int
    channels: int
    side: int
    classes: int
    architecture: ArchitectureName | Literal["dense"] = "convnet"

    def __post_init__(self) -> None:
        if self.side < (smallest := architecture_of(self).smallest_side(self)):
            depth = f" of depth {self.depth}" if self.architecture == "convnet" else ""
            colour = "one channel" if self.channels == 1 else f"{self.channels} channels"
            raise ScenarioError(
                f"{self.architecture}{depth} cannot take images of {self.side}x{self.side} pixels and {colour}: too "
                f"little is left of them to embed; expected at least {smallest}x{smallest}. Take larger images or "
                f"another network{' or depth' if depth else ''}"
            )

    @property
    def embedding_size(self) -> int:
        """Length of an embedding: the flattened last feature map, before the linear head."""
        return architecture_of(self).embedding_size(self)

    @property
    def weights(self) -> int:
        """Number of all weights, those of the head included."""
        return sum(parameter.size for parameter in full_layout(self))


class Architecture(Protocol):
    """What a module of this package offers, see above."""

    def layout(self, spec: NetworkSpec) -> tuple[Parameter, ...]:
        """The weights before the head."""

    def embed(self, spec: NetworkSpec, parameters: Sequence[Tensor], images: Tensor) -> Tensor:
        """Embeddings of images."""

    def embedding_size(self, spec: NetworkSpec) -> int:
        """Length of an embedding."""

    def forward_operations(self, spec: NetworkSpec) -> int:
        """Operations to embed one image."""

    def first_operations(self, spec: NetworkSpec) -> int:
        """Of these, those of the first convolution."""

    def largest_map(self, spec: NetworkSpec) -> int:
        """Numbers in the largest map that one image leaves."""

    def smallest_side(self, spec: NetworkSpec) -> int:
        """Side of the smallest images that leave something to embed."""


def architecture_of(spec: NetworkSpec) -> Architecture:
    """The module of the spec's architecture."""
    return cast("Architecture", importlib.import_module(f"collab.nets.{spec.architecture}"))


@lru_cache(maxsize=256)
def full_layout(spec: NetworkSpec) -> tuple[Parameter, ...]:
    """All weights of a network, the linear head last."""
    size = spec.embedding_size
    head = (Parameter("head.weight", (spec.classes, size), size), Parameter("head.bias", (spec.classes,), size))
    return (*architecture_of(spec).layout(spec), *head)

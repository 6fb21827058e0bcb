"""A network: a spec and its weights, drawn from a seed, the same on every machine and device.

Weights come from a Philox stream keyed by the seed, drawn on the CPU in float32 in the order of construction, so
client and server build the same network from eight bytes. Not torch modules: those draw from the global generator
when they are made, and cost more than a small network's work.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from collab.compute import Device, as_device
from collab.nets.spec import NetworkSpec, Parameter, architecture_of, full_layout


class Network:
    """The network of a spec with weights of its own; every function takes other weights instead, too.

    `parameters` are tensors in the order of `full_layout(spec)`: what `architecture.layout` lists, then the head's
    weight [classes, D] and bias [classes].
    """

    def __init__(self, spec: NetworkSpec, parameters: Sequence[Tensor], device: Device | None = None) -> None:
        self.spec = spec
        self._parameters = list(parameters)
        self.device = device or as_device(self._parameters[0].device)
        self._embed = architecture_of(spec).embed

    def embed(self, images: Tensor, parameters: Sequence[Tensor] | None = None) -> Tensor:
        """Embeddings [n, D] of images [n, channels, side, side]."""
        return self._embed(self.spec, self._parameters if parameters is None else parameters, images)

    def scores(self, images: Tensor, parameters: Sequence[Tensor] | None = None) -> Tensor:
        """Class scores [n, classes] of images [n, channels, side, side]."""
        given = self._parameters if parameters is None else parameters
        return functional.linear(self._embed(self.spec, given, images), given[-2], given[-1])

    def parameters(self) -> list[Tensor]:
        """All weights, in the order in which they are drawn, the head last."""
        return list(self._parameters)

    def named(self) -> Mapping[str, Tensor]:
        """All weights by name."""
        names = (parameter.name for parameter in full_layout(self.spec))
        return dict(zip(names, self._parameters, strict=True))

    @torch.no_grad()
    def reseed(self, seed: int) -> Network:
        """Draw all weights anew from `seed`, in place; returns the network.

        Weights and biases of convolutions and the head are uniform on +-1/sqrt(fan-in), torch's own default; scales
        are 1 and shifts 0.
        """
        return self.take(draw_parameters(self.spec, seed))

    @torch.no_grad()
    def take(self, parameters: Sequence[Tensor]) -> Network:
        """Copy other weights into its own; returns the network."""
        for mine, other in zip(self._parameters, parameters, strict=True):
            mine.copy_(other)
        return self

    def checksum(self) -> str:
        """SHA-256 of all weights, for comparing client and server."""
        sha = hashlib.sha256()
        for parameter in self._parameters:
            sha.update(parameter.detach().cpu().contiguous().numpy().tobytes())
        return sha.hexdigest()


def draw_parameters(spec: NetworkSpec, seed: int) -> list[Tensor]:
    """Fresh weights, float32 on the CPU, in the order of `full_layout(spec)`."""
    stream = np.random.Philox(key=seed)
    return [_draw(stream, parameter) for parameter in full_layout(spec)]


def seeded_network(spec: NetworkSpec, seed: int, device: Device | torch.device | str = "cpu") -> Network:
    """A network of `spec` whose weights are drawn from `seed`."""
    where = as_device(device)
    return Network(spec, [drawn.to(where.torch) for drawn in draw_parameters(spec, seed)], where)


def reseeded(network: Network, seeds: Sequence[int]) -> Iterator[Network]:
    """The network reseeded by one seed after the other; while it is used, a thread draws the next weights."""
    if len(seeds) < 2:  # nothing to draw meanwhile: a thread of torch's own would cost more than it saves
        yield from (network.reseed(seed) for seed in seeds)
        return
    with ThreadPoolExecutor(1, "weights") as ahead:
        coming = [ahead.submit(draw_parameters, network.spec, seed) for seed in seeds[:1]]
        for following in range(1, len(seeds) + 1):
            drawn = coming.pop().result()
            if following < len(seeds):
                coming.append(ahead.submit(draw_parameters, network.spec, seeds[following]))
            yield network.take(drawn)


def _draw(stream: np.random.Philox, parameter: Parameter) -> Tensor:
    if parameter.fan_in is None:
        return torch.full(parameter.shape, parameter.constant)
    # The raw stream is fixed for all versions of numpy, which its distributions are not. The upper 24 bits
    # become a float32 on [0, 1) without rounding.
    raw = stream.random_raw(parameter.size) >> np.uint64(40)
    unit = torch.from_numpy(raw.astype(np.float32) * np.float32(2.0**-24))
    bound = parameter.fan_in**-0.5
    return unit.mul_(2 * bound).sub_(bound).reshape(parameter.shape)

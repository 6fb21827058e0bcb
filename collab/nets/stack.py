"""Several networks of one spec at once, by the fastest way that the device has.

On a CPU a ConvNet runs tile by tile (`collab.nets.winograd`), in pieces whose activations stay in the processor's
cache: one network after the other where images are many, several together where they are few. On a GPU all networks
run together under `torch.func.vmap`, which turns their convolutions into grouped ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from collab.compute import Device, as_device
from collab.nets import winograd
from collab.nets.chunks import chunk_size
from collab.nets.network import Network, draw_parameters
from collab.nets.spec import NetworkSpec, architecture_of

Loss = Callable[[Tensor, slice, slice], Tensor]


class Stack:
    """N networks of one spec; weights are tensors [N, ...] in the order of `full_layout(spec)`."""

    def __init__(self, spec: NetworkSpec, parameters: Sequence[Tensor], device: Device | None = None) -> None:
        self.spec = spec
        self.parameters = list(parameters)
        self.device = device or as_device(parameters[0].device)
        self._tiled = self.device.torch.type == "cpu" and winograd.serves(spec)

    @classmethod
    def of(cls, networks: Sequence[Network]) -> Stack:
        """The stack of networks of one spec, with copies of their weights."""
        first = networks[0]
        stacked = [torch.stack(tensors) for tensors in zip(*(each.parameters() for each in networks), strict=True)]
        return cls(first.spec, stacked, first.device)

    @classmethod
    def seeded(cls, spec: NetworkSpec, seeds: Sequence[int], device: Device) -> Stack:
        """Networks whose weights are drawn from `seeds`."""
        return cls.of([Network(spec, [w.to(device.torch) for w in draw_parameters(spec, s)], device) for s in seeds])

    def __len__(self) -> int:
        return len(self.parameters[0])

    def network(self, index: int) -> Network:
        """One of them, with weights of its own."""
        return Network(self.spec, [weights[index].detach().clone() for weights in self.parameters], self.device)

    def embed(self, images: Tensor) -> Tensor:
        """Embeddings [N, b, D] of images [N, b, channels, side, side]; differentiable once by images and weights."""
        return self.embed_with(self.prepared(), images)

    def scores(self, images: Tensor) -> Tensor:
        """Class scores [N, b, classes] of images [N, b, channels, side, side]."""
        return _scores(self.embed(images), *self.parameters[-2:])

    def gradients(self, images: Tensor, loss_of: Loss) -> list[Tensor]:
        """Gradients by all weights, each [N, ...], of the sum of losses over pieces of the networks and images.

        Args:
            images: [N, b, channels, side, side].
            loss_of: gives the loss of scores [n, m, classes], of networks `slice` and images `slice` of them.
        """
        leaves = [weights.detach().requires_grad_() for weights in self.parameters]
        prepared = self.prepared(leaves)
        # Every piece adds to the gradients of the prepared weights; what prepared them is then followed back once.
        used = [tensor.detach().requires_grad_() for tensor in prepared]
        head = leaves[-2:]
        for networks, samples in self._pieces(images.shape[1]):
            part = [tensor[self._of_networks(tensor, networks)] for tensor in used]
            weight, bias = (tensor[networks] for tensor in head)
            scores = _scores(self.embed_with(part, images[networks, samples]), weight, bias)
            torch.autograd.backward(loss_of(scores, networks, samples))
        wanted = [(tensor, use.grad) for tensor, use in zip(prepared, used, strict=True) if use.grad is not None]
        # As one number: handed gradients, torch's backward imports sympy, half a second and 30 MB of every run.
        torch.autograd.backward(torch.stack([(tensor * gradient).sum() for tensor, gradient in wanted]).sum())
        return [torch.zeros_like(leaf) if leaf.grad is None else leaf.grad for leaf in leaves]

    def prepared(self, parameters: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Weights as they are used. Those of tiled kernels have the networks along their second axis."""
        body = (self.parameters if parameters is None else parameters)[:-2]
        if self._tiled:
            return winograd.prepare(self.spec, body).tensors()
        return [weights.view_as(weights) for weights in body]

    def _of_networks(self, tensor: Tensor, networks: slice) -> tuple[slice, ...]:
        return (slice(None), networks) if self._tiled and tensor.dim() == 4 else (networks,)

    def embed_with(self, prepared: Sequence[Tensor], images: Tensor) -> Tensor:
        """As `embed`, with weights that `prepared` gave."""
        if self._tiled:
            return winograd.embed(self.spec, winograd.Prepared.of(self.spec, prepared), images)
        embed = partial(architecture_of(self.spec).embed, self.spec)
        if self.device.torch.type == "cpu":  # grouped convolutions are slow there
            each = [embed([tensor[index] for tensor in prepared], images[index]) for index in range(len(images))]
            return torch.stack(each)
        return torch.func.vmap(embed)(list(prepared), images)

    def _pieces(self, samples: int) -> Iterator[tuple[slice, slice]]:
        """Networks and images that go through together."""
        if self.device.torch.type != "cpu":
            yield slice(0, len(self)), slice(0, samples)
            return
        limit = chunk_size(self.spec)
        together = max(1, limit // samples)
        for first in range(0, len(self), together):
            for start in range(0, samples, limit):
                yield slice(first, first + together), slice(start, start + limit)


def _scores(embeddings: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """[N, b, D] by heads [N, classes, D] and [N, classes]."""
    return torch.baddbmm(bias[:, None], embeddings, weight.mT)


def cross_entropies(scores: Tensor, labels: Tensor) -> Tensor:
    """Sum over all networks and images of the cross entropy of scores [N, b, classes] and labels [N, b]."""
    return functional.cross_entropy(scores.flatten(0, 1), labels.flatten(), reduction="sum")

from __future__ import annotations

import pytest
import torch

from collab.compute import CPU
from collab.nets import NetworkSpec, Stack, chunk_size, cross_entropies, seeded_network, stack

SPECS = [NetworkSpec(8, 2, 1, 16, 4), NetworkSpec(6, 3, 1, 16, 4)]  # tiled, and not


def some_images(spec: NetworkSpec, *shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(*shape, spec.channels, spec.side, spec.side, generator=generator)


@pytest.mark.parametrize("spec", SPECS)
def test_each_network_scores_its_own_images(spec):
    networks = [seeded_network(spec, seed) for seed in (3, 4, 5)]
    images = some_images(spec, 3, 4)
    expected = torch.stack([network.scores(group) for network, group in zip(networks, images, strict=True)])
    torch.testing.assert_close(Stack.of(networks).scores(images), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("spec", SPECS)
def test_seeds_give_the_networks_that_they_always_give(spec):
    assert Stack.seeded(spec, [8, 9], CPU).network(1).checksum() == seeded_network(spec, 9).checksum()


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("limit", [2, 3, 9, 100])
def test_gradients_do_not_depend_on_the_pieces(spec, limit, monkeypatch):
    """By weights, against one backward pass of each network alone."""
    networks = [seeded_network(spec, seed) for seed in (3, 4, 5)]
    images = some_images(spec, 3, 4)
    labels = torch.tensor([[0, 1, 2, 3], [3, 3, 1, 0], [2, 0, 0, 1]])
    monkeypatch.setattr(stack, "chunk_size", lambda spec: limit)
    found = Stack.of(networks).gradients(images, lambda scores, n, s: cross_entropies(scores, labels[n, s]) / 4)
    for index, network in enumerate(networks):
        leaves = [parameter.requires_grad_() for parameter in network.parameters()]
        loss = torch.nn.functional.cross_entropy(network.scores(images[index], leaves), labels[index])
        for ours, theirs in zip(found, torch.autograd.grad(loss, leaves), strict=True):
            torch.testing.assert_close(ours[index], theirs, atol=1e-5, rtol=1e-3)


def test_a_stack_has_weights_of_its_own():
    network = seeded_network(SPECS[0], 1)
    copied = Stack.of([network])
    copied.parameters[0] += 1.0
    assert network.checksum() == seeded_network(SPECS[0], 1).checksum()


def test_wider_networks_go_through_in_smaller_chunks():
    sizes = [chunk_size(NetworkSpec(width, 3, 3, 32, 10)) for width in (16, 64, 128)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] == 16
